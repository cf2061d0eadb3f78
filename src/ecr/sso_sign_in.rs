//! Signing in to IAM Identity Center with a device code, which a person confirms in a browser, wherever that is.
//!
//! The sign-in is kept where the AWS CLI keeps its own and in its form, so that the CLI and every SDK find it. No browser is
//! opened here, and nothing is printed.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sdk_ssooidc::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::create_token::CreateTokenOutput,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::{
    Identity, Partition, Profiles, SignIn, TokenScope,
    failure::{MintError, MintErrorKind, of_call},
    sdk::{Sdk, Service},
};
use crate::secret::Secret;

const NAME: &str = "longshore";
/// What a sign-in is for when the session does not say: credentials of accounts' roles.
const SCOPE: &str = "sso:account:access";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const REFRESH: &str = "refresh_token";
/// RFC 8628: how often is asked when the service does not say, and what `slow_down` adds to that.
const INTERVAL: Duration = Duration::from_secs(5);

/// A sign-in that waits for a person.
pub struct Invitation {
    /// The page to open.
    pub page: String,
    /// The page with the code filled in, if the service has one.
    pub link: Option<String>,
    /// The code to confirm there.
    pub code: String,
    sign_in: SignIn,
    oidc: Client,
    registration: Registration,
    device: Secret,
    interval: Duration,
    deadline: Instant,
}

/// This program, as the service knows it.
struct Registration {
    id: String,
    secret: Secret,
    expires_at: SystemTime,
}

/// What the service said this time.
enum Polled {
    SignedIn(Box<CreateTokenOutput>),
    Pending,
    SlowDown,
}

/// The file of the AWS CLI.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    start_url: &'a str,
    region: &'a str,
    access_token: &'a str,
    expires_at: String,
    client_id: &'a str,
    client_secret: &'a str,
    registration_expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

/// What of it a sign-in is renewed with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renewable {
    client_id: String,
    client_secret: Zeroizing<String>,
    registration_expires_at: String,
    refresh_token: Zeroizing<String>,
}

impl SignIn {
    /// Begins to sign in.
    pub async fn invite(&self) -> Result<Invitation, MintError> {
        let oidc = self.oidc().await?;
        let registration = self.register(&oidc).await?;
        let call = oidc.start_device_authorization();
        let call = call.client_id(&registration.id).client_secret(registration.secret.expose());
        let answer = call.start_url(&self.start_url).send().await;
        let answer = answer.map_err(|error| self.refused("StartDeviceAuthorization", &error))?;
        let (Some(page), Some(code), Some(device)) =
            (answer.verification_uri().and_then(page), answer.user_code(), answer.device_code())
        else {
            return Err(MintError::malformed("StartDeviceAuthorization: the answer holds no page and code"));
        };
        let seconds = |number: i32| u64::try_from(number).ok().filter(|&number| number > 0).map(Duration::from_secs);
        Ok(Invitation {
            page,
            link: answer.verification_uri_complete().and_then(self::page),
            code: code.chars().filter(|character| !character.is_control()).collect(),
            sign_in: self.clone(),
            device: Secret::new(device.to_owned()),
            interval: seconds(answer.interval()).unwrap_or(INTERVAL),
            deadline: Instant::now() + seconds(answer.expires_in()).unwrap_or_default(),
            oidc,
            registration,
        })
    }

    /// Renews a sign-in without a person; returns when it ends then, `None` where a person is needed.
    pub async fn renew(&self) -> Result<Option<SystemTime>, MintError> {
        let text = self.file().and_then(|file| fs::read(file).ok()).map(Zeroizing::new);
        let Some(found) = text.and_then(|text| serde_json::from_slice::<Renewable>(&text).ok()) else {
            return Ok(None);
        };
        let expires_at = found.registration_expires_at.parse::<Timestamp>().map(SystemTime::from);
        let Some(expires_at) = expires_at.ok().filter(|end| *end > SystemTime::now()) else { return Ok(None) };
        let secret = Secret::new(found.client_secret.to_string());
        let registration = Registration { id: found.client_id, secret, expires_at };
        let oidc = self.oidc().await?;
        let call = oidc.create_token().client_id(&registration.id).client_secret(registration.secret.expose());
        let answer = call.grant_type(REFRESH).refresh_token(found.refresh_token.as_str()).send().await;
        match answer {
            Ok(token) => self.keep(&registration, &token, Some(&found.refresh_token)).map(Some),
            Err(SdkError::ServiceError(_)) => Ok(None),
            Err(error) => Err(self.refused("CreateToken", &error)),
        }
    }

    async fn oidc(&self) -> Result<Client, MintError> {
        if self.region.is_empty() {
            let cause = format!("{} names no sso_region", self.name());
            return Err(MintError::credentials(cause, "add sso_region to the AWS configuration"));
        }
        let region = self.region.clone();
        let scope = TokenScope { partition: Partition::Aws, region, fips: false, dual_stack: false, public: false };
        let identity = Identity { profile: Some(self.profile.clone()), ..Identity::default() };
        let sdk = Sdk::new(&scope, &identity, &Profiles::read()).await?;
        // its calls are not signed
        let nobody = Credentials::new("anonymous", "", None, None, "nobody");
        Ok(Client::new(&sdk.config(Service::Oidc, nobody)))
    }

    /// As the AWS CLI does: only named sessions have scopes, and with them sign-ins that can be renewed.
    async fn register(&self, oidc: &Client) -> Result<Registration, MintError> {
        let scopes = self.session.as_ref().map(|session| {
            let scopes = Profiles::read().sso_session(session).remove("sso_registration_scopes");
            let scopes = scopes.filter(|scopes| !scopes.is_empty()).unwrap_or_else(|| SCOPE.to_owned());
            scopes.split(',').map(|scope| scope.trim().to_owned()).collect()
        });
        let call = oidc.register_client().client_name(NAME).client_type("public").set_scopes(scopes);
        let answer = call.send().await.map_err(|error| self.refused("RegisterClient", &error))?;
        let (Some(id), Some(secret)) = (answer.client_id(), answer.client_secret()) else {
            return Err(MintError::malformed("RegisterClient: the answer holds no client"));
        };
        let end = u64::try_from(answer.client_secret_expires_at()).unwrap_or_default();
        let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(end);
        Ok(Registration { id: id.to_owned(), secret: Secret::new(secret.to_owned()), expires_at })
    }

    /// Writes the sign-in down; returns when it ends.
    fn keep(
        &self,
        registration: &Registration,
        token: &CreateTokenOutput,
        refresh_token: Option<&str>,
    ) -> Result<SystemTime, MintError> {
        let access_token = token.access_token();
        let access_token =
            access_token.ok_or_else(|| MintError::malformed("CreateToken: the answer holds no token"))?;
        let life = Duration::from_secs(u64::try_from(token.expires_in()).unwrap_or_default());
        let expires_at = SystemTime::now() + life;
        let written = Written {
            start_url: &self.start_url,
            region: &self.region,
            access_token,
            expires_at: time(expires_at),
            client_id: &registration.id,
            client_secret: registration.secret.expose(),
            registration_expires_at: time(registration.expires_at),
            refresh_token: token.refresh_token().or(refresh_token),
        };
        let file = self.file().ok_or_else(|| MintError::credentials("there is no home folder", "set HOME"))?;
        let kept = serde_json::to_vec(&written).map(Zeroizing::new).map_err(io::Error::from);
        kept.and_then(|text| replace(&file, &text)).map_err(|error| {
            let cause = format!("the sign-in cannot be kept in {}: {error}", file.display());
            MintError::credentials(cause, "let this user write to that folder")
        })?;
        Ok(expires_at)
    }

    fn refused<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> MintError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let SdkError::ServiceError(service) = error else { return of_call(action, error) };
        let code = service.err().code().unwrap_or("no error code");
        let message = service.err().message().map(|message| format!(": {message}")).unwrap_or_default();
        let remedy = format!(
            "compare sso_start_url ({}) and sso_region ({}) in the AWS configuration with the page where people sign in",
            self.start_url, self.region
        );
        let cause = format!("{}: {action}: {code}{message}", self.name());
        MintError::new(MintErrorKind::Refused, cause, remedy)
    }
}

impl Invitation {
    /// Waits for the person, as long as the code is good; returns when the sign-in ends.
    pub async fn accepted(mut self) -> Result<SystemTime, MintError> {
        loop {
            if Instant::now() + self.interval > self.deadline {
                return Err(self.over());
            }
            // the service prescribes how often it is asked
            sleep(self.interval).await;
            match self.poll().await? {
                Polled::SignedIn(token) => return self.sign_in.keep(&self.registration, &token, None),
                Polled::Pending => {}
                Polled::SlowDown => self.interval += INTERVAL,
            }
        }
    }

    async fn poll(&self) -> Result<Polled, MintError> {
        let (id, secret) = (&self.registration.id, self.registration.secret.expose());
        let call = self.oidc.create_token().client_id(id).client_secret(secret);
        let answer = call.grant_type(DEVICE).device_code(self.device.expose()).send().await;
        let error = match answer {
            Ok(token) => return Ok(Polled::SignedIn(Box::new(token))),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(said) if said.is_authorization_pending_exception() => Ok(Polled::Pending),
            Some(said) if said.is_slow_down_exception() => Ok(Polled::SlowDown),
            Some(said) if said.is_expired_token_exception() => Err(self.over()),
            Some(said) if said.is_access_denied_exception() => {
                let cause = format!("{}: the sign-in was denied in the browser", self.sign_in.name());
                Err(MintError::new(MintErrorKind::Refused, cause, "run it again, and allow it there"))
            }
            Some(_) => Err(self.sign_in.refused("CreateToken", &error)),
            None => match self.sign_in.refused("CreateToken", &error) {
                // a line that is down for a moment takes no confirmed code away
                failed if matches!(failed.kind, MintErrorKind::Silent | MintErrorKind::Unreachable) => {
                    Ok(Polled::SlowDown)
                }
                failed => Err(failed),
            },
        }
    }

    fn over(&self) -> MintError {
        let cause = format!("{}: nobody confirmed the code while it was good", self.sign_in.name());
        MintError::credentials(cause, "run it again, and open the page soon")
    }
}

/// An address that may be shown, and handed to a browser.
fn page(address: &str) -> Option<String> {
    let is_one = address.starts_with("https://") && address.chars().all(|character| character.is_ascii_graphic());
    is_one.then(|| address.to_owned())
}

/// To the second, as the AWS CLI writes it.
fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.0}")).unwrap_or_default()
}

/// Puts `text` in the place of `file`, whole and for this user alone.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // made 0600 by tempfile
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text)?;
    new.as_file().sync_data()?;
    new.persist(file)?;
    Ok(())
}
