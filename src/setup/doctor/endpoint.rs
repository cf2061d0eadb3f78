//! The ECR APIs: whether they are reached, by which way, and whether this machine's clock agrees with theirs.

use super::{
    MOST, beside,
    finding::{Check, Finding, Subject, check},
    surroundings::{Surroundings, variable, without_password},
};
use crate::{
    credentials::Wanted,
    ecr::{Reached, probe},
};

/// AWS refuses signatures that are five minutes off; a minute before that it is a matter of luck.
const TOO_FAR: i64 = 4 * 60;
/// A clock that is set by the network is within a second.
const NOTABLE: i64 = 60;
const CLOCK: &str = "sudo timedatectl set-ntp true";

pub(super) async fn look(around: &Surroundings, is_offline: bool) -> Vec<Finding> {
    if is_offline {
        let check = check("endpoint", Subject::Endpoint, "ECR API");
        return vec![check.skipped("not asked: --offline")];
    }
    let mut endpoints: Vec<&Wanted> = Vec::new();
    for (_, wanted) in around.wanted() {
        let is_same = |known: &&Wanted| known.scope == wanted.scope && known.identity == wanted.identity;
        if !endpoints.iter().any(is_same) {
            endpoints.push(wanted);
        }
    }
    beside(endpoints.into_iter().take(MOST).map(endpoint)).await.into_iter().flatten().collect()
}

async fn endpoint(wanted: &Wanted) -> Vec<Finding> {
    let check = check("endpoint", Subject::Endpoint, format!("API of {}", wanted.scope));
    match probe(&wanted.scope, &wanted.identity).await {
        Ok(reached) => {
            let found = format!("{} answered in {} ms{}", reached.url, reached.took.as_millis(), way(&reached.url));
            vec![check.ok(found), clock(&reached)]
        }
        Err(error) => vec![check.problem(format!("{}{}", error.cause, way("https://")), error.remedy)],
    }
}

fn clock(reached: &Reached) -> Finding {
    let check: Check = check("clock", Subject::Endpoint, "this machine's clock");
    let Some(ahead) = reached.ahead else { return check.skipped("the API's answer carries no date") };
    let off = ahead.abs();
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let found = format!("{off} s {side} AWS");
    if off > TOO_FAR {
        check.problem(format!("{found}, whose limit is 300 s"), CLOCK)
    } else if off > NOTABLE {
        check.warning(found, CLOCK)
    } else {
        check.ok("agrees with AWS")
    }
}

/// Over which proxy a URL is reached.
fn way(url: &str) -> String {
    let names: [&str; 4] = if url.starts_with("https") {
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    } else {
        ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
    };
    let Some((name, proxy)) = names.into_iter().find_map(|name| Some((name, variable(name)?))) else {
        return String::new();
    };
    let proxy = without_password(&proxy);
    let except = variable("NO_PROXY").or_else(|| variable("no_proxy"));
    let except = except.map(|hosts| format!(", NO_PROXY={hosts}")).unwrap_or_default();
    format!(" ({name}={proxy}{except})")
}
