//! The settings of the AWS side: who may sign in how, and what the proxy wants.
//!
//! `Knob` says what each of them means.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

/// Where a sign-in with a device code stands: what `CreateToken` answers until it is set again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceSignIn {
    /// `AuthorizationPendingException`.
    #[default]
    Pending,
    /// `SlowDownException`.
    SlowDown,
    /// A token, once for each device code.
    Approved,
    /// `AccessDeniedException`.
    Denied,
    /// `ExpiredTokenException`.
    Expired,
}

/// The state of these knobs.
#[derive(Clone, Debug)]
pub(in super::super) struct Aws {
    /// Role → serial number and code of the device it demands.
    pub(in super::super) mfa: BTreeMap<String, (String, String)>,
    pub(in super::super) external_ids: BTreeMap<String, String>,
    /// Role → most seconds of a session.
    pub(in super::super) longest: BTreeMap<String, u64>,
    pub(in super::super) session_life: Duration,
    /// Action → error code.
    pub(in super::super) refused: BTreeMap<String, String>,
    /// Tokens that the access portal takes.
    pub(in super::super) sso_tokens: BTreeSet<String>,
    pub(in super::super) device: DeviceSignIn,
    /// `user:password`.
    pub(in super::super) proxy_credentials: Option<String>,
    pub(in super::super) metadata_role: Option<String>,
    pub(in super::super) metadata_region: String,
    pub(in super::super) container_authorization: Option<String>,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            mfa: BTreeMap::new(),
            external_ids: BTreeMap::new(),
            longest: BTreeMap::new(),
            session_life: Duration::from_hours(1),
            refused: BTreeMap::new(),
            sso_tokens: BTreeSet::new(),
            device: DeviceSignIn::default(),
            proxy_credentials: None,
            metadata_role: Some("instance".to_owned()),
            metadata_region: "us-east-1".to_owned(),
            container_authorization: None,
        }
    }
}
