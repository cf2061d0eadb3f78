//! [`Identity`]: with whose rights tokens are minted, as names.
//!
//! Holds no secret, so it can be written down beside a token and compared later.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// The annotation of a Kubernetes service account that names the role its images are pulled with.
pub const ROLE_ANNOTATION: &str = "eks.amazonaws.com/ecr-role-arn";

/// Names in the AWS configuration; empty is the AWS credential chain as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// The profile, which beats access keys in the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that is assumed with the credentials that were found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The MFA device for a session of one's own, when no role is assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa: Option<Mfa>,
    /// The URL of the ECR API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
}

/// A role and how it is assumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Role {
    /// The role.
    pub arn: String,
    /// What its trust policy may ask for.
    pub external_id: Option<String>,
    /// The session's name in CloudTrail.
    pub session_name: Option<String>,
    /// How long the session lasts; STS's own default is an hour.
    pub duration: Option<Duration>,
    /// The device whose code the role asks for.
    pub mfa: Option<Mfa>,
}

/// A device that shows one-time codes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mfa {
    /// Its serial number or ARN.
    pub serial: String,
    /// The command that prints the code; without one a person is asked. It may hold a secret and is never written down.
    #[serde(skip_serializing, default)]
    pub command: Option<String>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.profile {
            Some(profile) => write!(f, "profile {profile}")?,
            None => f.write_str("the AWS credential chain")?,
        }
        if let Some(role) = &self.role {
            write!(f, ", role {}", role.arn)?;
        }
        Ok(())
    }
}
