//! Whether the ECR API of a scope can be reached, and what time it is there.
//!
//! Asks without a signature, so no credentials are looked for and none leave the machine; AWS refuses, and that it
//! answers is all that is wanted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_sdk_ecr::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        http::HttpResponse,
        interceptors::{BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut},
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
    primitives::{DateTime, DateTimeFormat},
};

use super::{
    Identity, Profiles, TokenScope,
    failure::{MintError, of_call},
    sdk::{Sdk, Service},
};

const ACTION: &str = "GetAuthorizationToken";
/// What a signature adds to a request.
const SIGNATURE: [&str; 3] = ["authorization", "x-amz-date", "x-amz-security-token"];

/// An API that answered.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Scheme and authority.
    pub url: String,
    /// How long it took, from the name to the answer's head.
    pub took: Duration,
    /// How far this machine's clock is ahead of the API's, in seconds; `None` when the answer carries no date.
    pub ahead: Option<i64>,
}

/// Asks the API of `scope`, over the proxy and with the certificates that minting would use.
pub async fn probe(scope: &TokenScope, identity: &Identity) -> Result<Reached, MintError> {
    let sdk = Sdk::new(scope, identity, &Profiles::read()).await?;
    let seen = Witness::default();
    let started = Instant::now();
    let nobody = Credentials::new("NOBODY", "nothing", None, None, "probe");
    if scope.public {
        let config = aws_sdk_ecrpublic::config::Builder::from(&sdk.config(Service::EcrPublic, nobody))
            .retry_config(RetryConfig::disabled())
            .build();
        let call = aws_sdk_ecrpublic::Client::from_conf(config).get_authorization_token().customize();
        answered(call.interceptor(seen.clone()).send().await)?;
    } else {
        let config = aws_sdk_ecr::config::Builder::from(&sdk.config(Service::Ecr, nobody))
            .retry_config(RetryConfig::disabled())
            .build();
        let call = aws_sdk_ecr::Client::from_conf(config).get_authorization_token().customize();
        answered(call.interceptor(seen.clone()).send().await)?;
    }
    let seen = seen.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Reached { url: seen.url, took: started.elapsed(), ahead: seen.ahead })
}

/// Any answer of AWS will do, also a refusal; a page of somebody else's will not.
fn answered<T, E>(outcome: Result<T, SdkError<E, HttpResponse>>) -> Result<(), MintError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match outcome {
        Err(SdkError::ServiceError(service)) if service.err().code().is_some_and(|code| !code.is_empty()) => Ok(()),
        Err(error) => Err(of_call(ACTION, &error)),
        Ok(_) => Ok(()),
    }
}

/// Sees where the request goes and what time the answer says; takes the signature off.
#[derive(Clone, Debug, Default)]
struct Witness(Arc<Mutex<Seen>>);

#[derive(Clone, Debug, Default)]
struct Seen {
    url: String,
    ahead: Option<i64>,
}

impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        for header in SIGNATURE {
            request.headers_mut().remove(header);
        }
        let uri = request.uri();
        let url = url::Url::parse(uri).map(|url| url.origin().ascii_serialization());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).url = url.unwrap_or_default();
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let there = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        let here = DateTime::from(SystemTime::now()).secs();
        let ahead = there.map(|there| here.saturating_sub(there.secs()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ahead = ahead;
        Ok(())
    }
}
