//! The AWS SDK's set-up: one HTTP client for all calls, and the endpoints that follow the registry's class.
//!
//! Certificates are the machine's and those of `AWS_CA_BUNDLE`; proxies are those of the environment. The Rust SDK would
//! take neither from its environment with a client of one's own.

use std::{fs, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, provider_config::ProviderConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_ecr::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

use super::{
    Identity, Profiles, TokenScope, endpoint,
    failure::{MintError, MintErrorKind},
    files::{self, Files},
    network::said,
    variable::{is_set, variable},
};

/// One attempt at an API; the SDK makes up to three within the caller's deadline.
const ATTEMPT: Duration = Duration::from_secs(4);
/// The pause after a first failure is below this, after a second below twice this.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The SDK, set up for one scope and identity.
pub(super) struct Sdk {
    base: SdkConfig,
    http: SharedHttpClient,
    local: SharedHttpClient,
    files: Files,
    scope: TokenScope,
    endpoint_url: Option<String>,
}

/// The services that are called, by the name their endpoint variable ends with.
#[derive(Clone, Copy)]
pub(super) enum Service {
    Ecr,
    EcrPublic,
    Sts,
    Oidc,
}

impl Service {
    /// Whether it is what the configuration's `endpoint_url` is about.
    fn is_of_ecr(self) -> bool {
        matches!(self, Self::Ecr | Self::EcrPublic)
    }
}

impl Sdk {
    pub(super) async fn new(scope: &TokenScope, identity: &Identity, profiles: &Profiles) -> Result<Self, MintError> {
        endpoint::check(identity, profiles)?;
        let profile = identity.profile.clone().unwrap_or_else(|| Profiles::selected().0);
        let bundle = profiles.profile(&profile).and_then(|mut profile| profile.remove("ca_bundle"));
        let tls = tls(bundle)?;
        let http = http_client(tls.clone(), ProxyConfig::from_env());
        let local = http_client(tls, ProxyConfig::disabled());
        let files = files::files(profiles);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .no_credentials()
            .http_client(http.clone())
            .profile_files(files.clone())
            .region(Region::new(scope.region.clone()))
            .retry_config(RetryConfig::standard().with_initial_backoff(FIRST_PAUSE))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build());
        if identity.profile.is_some() || Profiles::selected().1 {
            loader = loader.profile_name(profile);
        }
        let base = loader.load().await;
        Ok(Self { base, http, local, files, scope: scope.clone(), endpoint_url: identity.endpoint_url.clone() })
    }

    /// The configuration of a service's client.
    pub(super) fn config(&self, service: Service, credentials: Credentials) -> SdkConfig {
        let mut config = self.base.to_builder();
        config.set_credentials_provider(Some(SharedCredentialsProvider::new(credentials)));
        if let Some(url) = self.endpoint_url.as_ref().filter(|_| service.is_of_ecr()) {
            config.set_endpoint_url(Some(url.clone()));
        }
        // never switched off here: the user's own AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT stay in force;
        // not asked for beside an endpoint the user chose, which the SDK refuses
        if !self.is_endpoint_chosen(service) {
            if self.scope.fips {
                config.set_use_fips(Some(true));
            }
            if self.scope.dual_stack {
                config.set_use_dual_stack(Some(true));
            }
        }
        config.build()
    }

    /// The configuration of the SDK's own sources of credentials out in the network.
    pub(super) fn provider(&self) -> ProviderConfig {
        self.provider_with(self.http.clone())
    }

    /// The same for those on this machine or beside it, which no proxy reaches.
    pub(super) fn local_provider(&self) -> ProviderConfig {
        self.provider_with(self.local.clone())
    }

    /// The AWS configuration files for the SDK's own sources.
    pub(super) fn files(&self) -> Files {
        self.files.clone()
    }

    fn provider_with(&self, http: SharedHttpClient) -> ProviderConfig {
        ProviderConfig::without_region()
            .with_region(self.base.region().cloned())
            .with_http_client(http)
            .with_behavior_version(Some(BehaviorVersion::latest()))
            .with_retry_config(RetryConfig::standard().with_initial_backoff(FIRST_PAUSE))
            .with_timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build())
    }

    /// Whether the environment or the configuration says where the API is.
    fn is_endpoint_chosen(&self, service: Service) -> bool {
        let own = match service {
            Service::Ecr => "AWS_ENDPOINT_URL_ECR",
            Service::EcrPublic => "AWS_ENDPOINT_URL_ECR_PUBLIC",
            Service::Sts => "AWS_ENDPOINT_URL_STS",
            Service::Oidc => "AWS_ENDPOINT_URL_SSO_OIDC",
        };
        let in_environment = ["AWS_ENDPOINT_URL", own].into_iter().any(is_set);
        in_environment || (service.is_of_ecr() && self.endpoint_url.is_some())
    }
}

fn tls(bundle: Option<String>) -> Result<TlsContext, MintError> {
    let tls = TlsContext::builder().with_trust_store(trust_store(bundle)?).build();
    tls.map_err(|error| {
        MintError::new(MintErrorKind::Unreachable, said(&error), "put certificates in PEM form into AWS_CA_BUNDLE")
    })
}

fn http_client(tls: TlsContext, proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls.clone()).build()
    })
}

/// The machine's own certificates, and those of `AWS_CA_BUNDLE` or of the profile's `ca_bundle`.
fn trust_store(bundle: Option<String>) -> Result<TrustStore, MintError> {
    let store = TrustStore::default();
    let in_environment = variable("AWS_CA_BUNDLE");
    let Some(path) = in_environment.or(bundle) else {
        return Ok(store);
    };
    let problem = |problem: &str| {
        let remedy = "correct AWS_CA_BUNDLE (ca_bundle in the profile): a file of certificates in PEM form";
        MintError::new(MintErrorKind::Unreachable, format!("AWS_CA_BUNDLE {path}: {problem}"), remedy)
    };
    let pem = fs::read(&path).map_err(|error| problem(&error.to_string()))?;
    if !pem.windows(11).any(|window| window == b"-----BEGIN ") {
        return Err(problem("holds no certificate"));
    }
    Ok(store.with_pem_certificate(pem))
}

#[test]
fn an_endpoint_of_longshores_configuration_is_of_ecr_only() {
    assert!(Service::Ecr.is_of_ecr() && Service::EcrPublic.is_of_ecr());
    assert!(!Service::Sts.is_of_ecr() && !Service::Oidc.is_of_ecr());
}
