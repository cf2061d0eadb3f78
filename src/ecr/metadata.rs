//! The instance role of EC2: asked once, briefly, because on every other machine nobody answers.
//!
//! Remembers nothing itself: that the metadata service is absent is told to the caller, who knows where to keep it.

use std::{env, fs, time::Duration};

use aws_config::{
    imds::{self, credentials::ImdsCredentialsProvider},
    provider_config::ProviderConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, error::CredentialsError},
};

use super::{
    failure::MintError,
    network::{is_dispatch_failure, said},
};

/// On a machine that is not known to be of EC2 the whole probe takes no longer.
const PROBE: Duration = Duration::from_secs(1);
/// An instance's metadata service may be slow while the instance starts.
const ON_EC2: Duration = Duration::from_secs(3);

/// What the metadata service gave.
pub(super) enum Answer {
    Credentials(Credentials),
    /// It answers, and this instance has no role.
    NoRole,
    /// Nobody answers.
    Absent,
}

/// Whether the user switched the metadata service off.
pub(super) fn is_disabled() -> bool {
    env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether the firmware says that this is an EC2 instance (AWS: "Identify EC2 instances").
#[must_use]
pub fn is_ec2() -> bool {
    let says = |path: &str, word: &str| fs::read_to_string(path).is_ok_and(|text| text.starts_with(word));
    says("/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2")
        || says("/sys/devices/virtual/dmi/id/board_asset_tag", "i-")
        || says("/sys/hypervisor/uuid", "ec2")
}

/// Asks for the credentials of the instance's role.
pub(super) async fn ask(config: &ProviderConfig) -> Result<Answer, MintError> {
    let limit = if is_ec2() { ON_EC2 } else { PROBE };
    let client = imds::Client::builder()
        .configure(config)
        .max_attempts(1)
        .connect_timeout(limit)
        .read_timeout(limit)
        .operation_attempt_timeout(limit)
        .operation_timeout(limit)
        .build();
    let provider = ImdsCredentialsProvider::builder().configure(config).imds_client(client).build();
    match tokio::time::timeout(limit, provider.provide_credentials()).await {
        Err(_) => Ok(Answer::Absent),
        Ok(Ok(credentials)) => Ok(Answer::Credentials(credentials)),
        Ok(Err(CredentialsError::CredentialsNotLoaded(context))) => {
            let said = said(&CredentialsError::CredentialsNotLoaded(context));
            Ok(if said.contains("404") { Answer::NoRole } else { Answer::Absent })
        }
        Ok(Err(error)) if is_silence(&error) => Ok(Answer::Absent),
        Ok(Err(error)) => {
            let remedy = "the instance metadata service answers, but not as it should: check \
                          AWS_EC2_METADATA_SERVICE_ENDPOINT, or set AWS_EC2_METADATA_DISABLED=true";
            Err(MintError::credentials(format!("the role of this instance: {}", said(&error)), remedy))
        }
    }
}

fn is_silence(error: &CredentialsError) -> bool {
    matches!(error, CredentialsError::ProviderTimedOut(_))
        || said(error).contains("timeout")
        || is_dispatch_failure(error)
}
