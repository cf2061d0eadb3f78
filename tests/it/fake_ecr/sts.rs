//! STS: `GetCallerIdentity`, `AssumeRole`, `AssumeRoleWithWebIdentity`, `GetSessionToken`.
//!
//! Keys that it gives out belong to the role's session from then on. Trust policies are knobs, no more.
use std::time::Duration;

use url::form_urlencoded;

use super::State;
use super::api::account_of;
use super::clock::iso_date;
use super::failure::{message_of, status_of};
use super::http::{Answer, Incoming, xml};
use super::session::{Session, Sessions};

/// A wrong code; AWS ends it with a blank.
const WRONG_CODE: &str = "MultiFactorAuthentication failed with invalid MFA one time pass code. ";
const WRONG_SERIAL: &str = "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA \
                            serial number is valid and associated with this user.";

fn parameter(incoming: &Incoming, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(&incoming.body);
    let found = pairs.find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

/// `Action=` of a query-protocol call.
pub(super) fn action(incoming: &Incoming) -> Option<String> {
    parameter(incoming, "Action").or_else(|| incoming.query("Action"))
}

/// An error in the form of the query protocol.
pub(super) fn error(code: &str, message: &str) -> Answer {
    let message = xml(message);
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>fake</RequestId></ErrorResponse>"
    );
    Answer::new(status_of(code)).with("Content-Type", "text/xml").body(body)
}

/// One call and who makes it.
pub(super) struct Call<'a> {
    pub(super) state: &'a State,
    pub(super) incoming: &'a Incoming,
    pub(super) principal: &'a str,
    /// The session that the caller's key belongs to.
    pub(super) session: Option<Session>,
}

impl Call<'_> {
    pub(super) fn answer(&self, action: &str) -> Answer {
        let result = match action {
            "GetCallerIdentity" => Ok(format!(
                "<Arn>{}</Arn><UserId>AROAFAKE:session</UserId><Account>{}</Account>",
                xml(self.principal),
                account_of(self.principal)
            )),
            "AssumeRole" => self.trusted().and_then(|()| self.assumed()),
            "AssumeRoleWithWebIdentity" => self.assumed(),
            "GetSessionToken" => self.session_token(),
            _ => Err(error("InvalidAction", "no such action")),
        };
        let result = match result {
            Ok(result) => result,
            Err(answer) => return answer,
        };
        let body = format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{result}\
             </{action}Result><ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata></{action}Response>"
        );
        Answer::new(200).with("Content-Type", "text/xml").body(body)
    }

    fn parameter(&self, name: &str) -> Option<String> {
        parameter(self.incoming, name)
    }

    /// Whether the role lets the caller in, by its device and its external id.
    fn trusted(&self) -> Result<(), Answer> {
        let role = self.parameter("RoleArn").unwrap_or_default();
        let (device, id) = self.state.knobs.lock(|knobs| {
            let aws = &knobs.aws;
            (aws.mfa.get(&role).cloned(), aws.external_ids.get(&role).cloned())
        });
        let given = self.code()?;
        let known = self.session.as_ref().is_some_and(|session| session.mfa);
        let denied = |why: &str| {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {role}{why}",
                self.principal
            );
            Err(error("AccessDenied", &message))
        };
        if device.is_some_and(|(serial, _)| !known && given.as_deref() != Some(serial.as_str())) {
            return denied(" with an explicit deny");
        }
        if id.is_some() && self.parameter("ExternalId") != id {
            return denied("");
        }
        Ok(())
    }

    /// The serial number of the device whose code came along and is right.
    fn code(&self) -> Result<Option<String>, Answer> {
        let (serial, code) = match (self.parameter("SerialNumber"), self.parameter("TokenCode")) {
            (None, None) => return Ok(None),
            (Some(serial), Some(code)) => (serial, code),
            _ => {
                let message = "Both SerialNumber and TokenCode must be specified when using MFA";
                return Err(error("ValidationError", message));
            }
        };
        let wanted = self.state.knobs.lock(|knobs| {
            let mut devices = knobs.aws.mfa.values();
            devices.find(|(known, _)| *known == serial).map(|(_, code)| code.clone())
        });
        match wanted {
            None => Err(error("AccessDenied", WRONG_SERIAL)),
            Some(wanted) if wanted != code => Err(error("AccessDenied", WRONG_CODE)),
            Some(_) => Ok(Some(serial)),
        }
    }

    /// How long the session is to last, `usual` when the call does not say.
    fn life(&self, usual: Duration, longest: u64) -> Result<Duration, Answer> {
        let Some(text) = self.parameter("DurationSeconds") else {
            return Ok(usual);
        };
        match text.parse() {
            Ok(seconds @ 900..) if seconds <= longest => Ok(Duration::from_secs(seconds)),
            Ok(900..) => {
                let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
                Err(error("ValidationError", message))
            }
            _ => {
                let message = format!(
                    "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: \
                     Member must have value greater than or equal to 900"
                );
                Err(error("ValidationError", &message))
            }
        }
    }

    fn assumed(&self) -> Result<String, Answer> {
        let role = self.parameter("RoleArn").unwrap_or_default();
        let session = self.parameter("RoleSessionName").unwrap_or_else(|| "session".to_owned());
        let (usual, longest) = self.state.knobs.lock(|knobs| {
            let longest = knobs.aws.longest.get(&role).copied();
            (knobs.aws.session_life, longest.unwrap_or(43_200))
        });
        let life = self.life(usual, longest)?;
        let mfa = self.parameter("TokenCode").is_some();
        let name = role.rsplit('/').next().unwrap_or("role");
        let arn = format!("arn:aws:sts::{}:assumed-role/{name}/{session}", account_of(&role));
        let opened = Sessions::open(self.state, &arn, life, mfa);
        Ok(format!(
            "{}<AssumedRoleUser><Arn>{}</Arn><AssumedRoleId>AROAFAKE:{}</AssumedRoleId></AssumedRoleUser>",
            credentials(&opened),
            xml(&arn),
            xml(&session)
        ))
    }

    fn session_token(&self) -> Result<String, Answer> {
        if self.session.is_some() {
            return Err(error("AccessDenied", "Cannot call GetSessionToken with session credentials"));
        }
        let mfa = self.code()?.is_some();
        let life = self.life(Duration::from_hours(12), 129_600)?;
        Ok(credentials(&Sessions::open(self.state, self.principal, life, mfa)))
    }
}

/// What a knob refuses the action with.
pub(super) fn refused(code: &str) -> Answer {
    error(code, message_of(code))
}

fn credentials(session: &Session) -> String {
    format!(
        "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
        session.access_key,
        session.secret,
        session.token,
        iso_date(session.expires)
    )
}
