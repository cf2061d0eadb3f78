//! The test's hand on the AWS side of the fake: where its services listen, what they were asked.
//!
//! Registry and storage are in `mod.rs`.
use std::net::SocketAddr;

use super::FakeEcr;
use super::call::ApiCall;
use super::request::Listener;

impl FakeEcr {
    /// The AWS API over TLS: it shows a certificate for whatever name is asked.
    #[must_use]
    pub fn api_tls_address(&self) -> SocketAddr {
        self.0.addresses.api_tls
    }

    /// For `HTTPS_PROXY`: every tunnel ends at the AWS API over TLS.
    #[must_use]
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.0.addresses.proxy)
    }

    /// For `AWS_EC2_METADATA_SERVICE_ENDPOINT`; with `/ecs/credentials` or `/v1/credentials` for
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        format!("http://{}", self.0.addresses.metadata)
    }

    /// Expires every AWS session given out so far, as [`Knob::ExpireSession`] does for one.
    pub fn expire_sessions(&self) {
        self.state().sessions.expire_all();
    }

    /// Every call of the AWS API, in order, whatever was answered.
    #[must_use]
    pub fn calls(&self) -> Vec<ApiCall> {
        self.state().log.calls()
    }

    /// How many calls of the AWS API had this action, e.g. `GetAuthorizationToken`.
    #[must_use]
    pub fn count_calls(&self, action: &str) -> usize {
        self.calls().iter().filter(|call| call.action == action).count()
    }

    /// `host:port` of every tunnel that was asked for, in order, whatever was answered.
    #[must_use]
    pub fn connects(&self) -> Vec<String> {
        let mut requests = self.requests_to(Listener::Proxy);
        requests.retain(|request| request.method == "CONNECT");
        requests.into_iter().map(|request| request.target).collect()
    }
}
