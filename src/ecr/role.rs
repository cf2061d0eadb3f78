//! Assuming roles, and the one-time codes they may ask for.
//!
//! The AWS SDK's own chain ignores `mfa_serial` and `duration_seconds`; here a role is always assumed by one call with
//! everything the configuration says. A code is never asked for here: it is handed in, or the caller is told to get one.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_sts::types::Credentials as Given;

use super::{
    Mfa, Role,
    failure::{MintError, MintErrorKind, of_call},
    sdk::{Sdk, Service},
};
use crate::secret::Secret;

/// What CloudTrail shows when the configuration names no session.
pub(super) const SESSION_NAME: &str = "longshore";

/// Credentials that a one-time code was spent on, kept so that the next code is not asked for before they end.
#[derive(Clone, Debug)]
pub struct Session {
    /// For which role and device.
    pub what: String,
    /// The credentials, as JSON.
    pub secret: Secret,
    /// When they end.
    pub expires_at: SystemTime,
}

/// What is at hand when a code is asked for, and what was gained.
#[derive(Clone, Debug, Default)]
pub(super) struct Codes {
    /// A one-time code that was got for this attempt.
    pub(super) code: Option<Secret>,
    /// A session of an earlier attempt, or of this one.
    pub(super) session: Option<Session>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
}

impl Session {
    fn new(what: &str, given: &Credentials) -> Option<Self> {
        let written = Written {
            access_key_id: given.access_key_id().to_owned(),
            secret_access_key: given.secret_access_key().to_owned(),
            session_token: given.session_token()?.to_owned(),
        };
        let secret = Secret::new(serde_json::to_string(&written).ok()?);
        Some(Self { what: what.to_owned(), secret, expires_at: given.expiry()? })
    }

    fn credentials(&self) -> Option<Credentials> {
        let written: Written = serde_json::from_str(self.secret.expose()).ok()?;
        let (id, secret, token) = (written.access_key_id, written.secret_access_key, written.session_token);
        Some(Credentials::new(id, secret, Some(token), Some(self.expires_at), "session"))
    }
}

impl Codes {
    /// A session that is still good for `what`.
    pub(super) fn session_for(&self, what: &str) -> Option<Credentials> {
        let session = self.session.as_ref().filter(|session| session.what == what)?;
        let is_good = session.expires_at > SystemTime::now() + std::time::Duration::from_mins(1);
        session.credentials().filter(|_| is_good)
    }

    /// The code for a device; that there is none is an error the caller can do something about.
    fn code(&mut self, mfa: &Mfa) -> Result<Secret, MintError> {
        self.code.take().ok_or_else(|| needed(mfa))
    }
}

fn needed(mfa: &Mfa) -> MintError {
    let cause = format!("a one-time code of {} is needed", mfa.serial);
    let remedy = "sign in on a terminal with: longshore login REGISTRY, or set mfa_command";
    MintError { mfa: Some(Box::new(mfa.clone())), ..MintError::new(MintErrorKind::MfaNeeded, cause, remedy) }
}

/// What a session for a role or a device is called.
fn what(role: Option<&Role>, mfa: &Mfa) -> String {
    format!("{} {}", role.map_or("own identity", |role| &role.arn), mfa.serial)
}

/// The session that is open already for a role or device; without one, whether a code is at hand that would be needed
/// before anything can be asked.
pub(super) fn check_code(
    role: Option<&Role>,
    mfa: Option<&Mfa>,
    codes: &Codes,
) -> Result<Option<Credentials>, MintError> {
    let Some(mfa) = mfa else { return Ok(None) };
    let open = codes.session_for(&what(role, mfa));
    if open.is_none() && codes.code.is_none() {
        return Err(needed(mfa));
    }
    Ok(open)
}

/// Assumes a role with `source`'s rights.
pub(super) async fn assume(
    sdk: &Sdk,
    source: Credentials,
    role: &Role,
    codes: &mut Codes,
) -> Result<Credentials, MintError> {
    let client = aws_sdk_sts::Client::new(&sdk.config(Service::Sts, source));
    let mut call = client
        .assume_role()
        .role_arn(&role.arn)
        .role_session_name(role.session_name.as_deref().unwrap_or(SESSION_NAME))
        .set_external_id(role.external_id.clone())
        .set_duration_seconds(role.duration.and_then(|duration| i32::try_from(duration.as_secs()).ok()));
    if let Some(mfa) = &role.mfa {
        call = call.serial_number(&mfa.serial).token_code(codes.code(mfa)?.expose());
    }
    let answer = call.send().await.map_err(|error| of_call("AssumeRole", &error))?;
    let given = given("AssumeRole", answer.credentials())?;
    if let Some(mfa) = &role.mfa {
        codes.session = Session::new(&what(Some(role), mfa), &given).or(codes.session.take());
    }
    Ok(given)
}

/// A session of the identity itself that a one-time code was given for.
pub(super) async fn session(
    sdk: &Sdk,
    source: Credentials,
    mfa: &Mfa,
    codes: &mut Codes,
) -> Result<Credentials, MintError> {
    let client = aws_sdk_sts::Client::new(&sdk.config(Service::Sts, source));
    let code = codes.code(mfa)?;
    let call = client.get_session_token().serial_number(&mfa.serial).token_code(code.expose());
    let answer = call.send().await.map_err(|error| of_call("GetSessionToken", &error))?;
    let given = given("GetSessionToken", answer.credentials())?;
    codes.session = Session::new(&what(None, mfa), &given).or(codes.session.take());
    Ok(given)
}

/// Assumes a role with a web identity token, which is all the identity there is.
pub(super) async fn assume_with_web_identity(
    sdk: &Sdk,
    role: &str,
    session_name: &str,
    token: &Secret,
) -> Result<Credentials, MintError> {
    // the call is not signed
    let nobody = Credentials::new("anonymous", "", None, None, "nobody");
    let client = aws_sdk_sts::Client::new(&sdk.config(Service::Sts, nobody));
    let call = client
        .assume_role_with_web_identity()
        .role_arn(role)
        .role_session_name(session_name)
        .web_identity_token(token.expose());
    let answer = call.send().await.map_err(|error| of_call("AssumeRoleWithWebIdentity", &error))?;
    given("AssumeRoleWithWebIdentity", answer.credentials())
}

fn given(action: &str, given: Option<&Given>) -> Result<Credentials, MintError> {
    let given = given.ok_or_else(|| MintError::malformed(format!("{action}: the answer holds no credentials")))?;
    let expires_at = SystemTime::try_from(*given.expiration())
        .map_err(|_| MintError::malformed(format!("{action}: the session's end is out of range")))?;
    let token = Some(given.session_token().to_owned());
    Ok(Credentials::new(given.access_key_id(), given.secret_access_key(), token, Some(expires_at), "sts"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mfa(serial: &str) -> Mfa {
        Mfa { serial: serial.to_owned(), command: None }
    }

    fn codes(what: &str, left: Duration) -> Codes {
        let secret = r#"{"access_key_id":"ASIA","secret_access_key":"secret","session_token":"token"}"#.to_owned();
        let (what, secret, expires_at) = (what.to_owned(), Secret::new(secret), SystemTime::now() + left);
        Codes { code: None, session: Some(Session { what, secret, expires_at }) }
    }

    #[test]
    fn a_session_of_another_role_or_device_is_not_taken() {
        let role = |arn: &str| Role { arn: arn.to_owned(), ..Role::default() };
        let own = what(Some(&role("a")), &mfa("device"));
        let codes = codes(&own, Duration::from_hours(1));
        assert!(codes.session_for(&own).is_some());
        for other in
            [what(Some(&role("b")), &mfa("device")), what(Some(&role("a")), &mfa("x")), what(None, &mfa("device"))]
        {
            assert!(codes.session_for(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_session_is_not_taken_in_its_last_minute() {
        let left = |seconds| codes("x", Duration::from_secs(seconds)).session_for("x").is_some();
        assert_eq!([left(0), left(50), left(70)], [false, false, true]);
    }

    #[test]
    fn a_code_is_missed_before_it_is_used_and_kept_until_then() {
        let none = Codes::default();
        let missing = check_code(None, Some(&mfa("device")), &none).unwrap_err();
        assert_eq!((missing.kind, missing.mfa), (MintErrorKind::MfaNeeded, Some(Box::new(mfa("device")))));
        let one = Codes { code: Some(Secret::new("123456".to_owned())), session: None };
        check_code(None, Some(&mfa("device")), &one).unwrap();
        assert!(one.code.is_some());
        assert!(check_code(None, None, &none).is_ok());
    }
}
