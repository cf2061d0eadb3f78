//! The least of STS: `GetCallerIdentity`, `AssumeRole`, `AssumeRoleWithWebIdentity`.
//!
//! Keys that it gives out belong to the role's session from then on; nothing else about them is checked.
use std::time::Duration;

use url::form_urlencoded;

use super::State;
use super::api::account_of;
use super::clock::iso_date;
use super::http::{Answer, Incoming, xml};
use super::knob::Knob;

fn parameter(incoming: &Incoming, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(&incoming.body);
    let found = pairs.find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

/// `Action=` of a query-protocol call.
pub(super) fn action(incoming: &Incoming) -> Option<String> {
    parameter(incoming, "Action").or_else(|| incoming.query("Action"))
}

pub(super) fn answer(state: &State, incoming: &Incoming, action: &str, principal: &str) -> Answer {
    let result = match action {
        "GetCallerIdentity" => format!(
            "<Arn>{}</Arn><UserId>AROAFAKE:session</UserId><Account>{}</Account>",
            xml(principal),
            account_of(principal)
        ),
        "AssumeRole" | "AssumeRoleWithWebIdentity" => assumed(state, incoming),
        _ => {
            let error = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
                         <Type>Sender</Type><Code>InvalidAction</Code><Message>no such action</Message>\
                         </Error><RequestId>fake</RequestId></ErrorResponse>";
            return Answer::new(400).with("Content-Type", "text/xml").body(error);
        }
    };
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{result}\
         </{action}Result><ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata></{action}Response>"
    );
    Answer::new(200).with("Content-Type", "text/xml").body(body)
}

fn assumed(state: &State, incoming: &Incoming) -> String {
    let role = parameter(incoming, "RoleArn").unwrap_or_default();
    let session = parameter(incoming, "RoleSessionName").unwrap_or_else(|| "session".to_owned());
    let name = role.rsplit('/').next().unwrap_or("role");
    let arn = format!("arn:aws:sts::{}:assumed-role/{name}/{session}", account_of(&role));
    let key = format!("ASIAFAKE{:012}", state.serial());
    state.knobs.set(Knob::Principal(key.clone(), arn.clone()));
    let expires = iso_date(state.clock.now() + Duration::from_hours(1));
    format!(
        "<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>session-token</SessionToken><Expiration>{expires}</Expiration></Credentials>\
         <AssumedRoleUser><Arn>{}</Arn><AssumedRoleId>AROAFAKE:{}</AssumedRoleId></AssumedRoleUser>",
        xml(&arn),
        xml(&session)
    )
}
