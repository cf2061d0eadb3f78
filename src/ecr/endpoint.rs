//! Whether every endpoint that somebody chose is a URL: asked before the AWS SDK sees one.
//!
//! Over an empty endpoint the SDK panics, and over one that is no URL it shows its whole request, secrets included.

use std::{collections::BTreeSet, env};

use hyper::Uri;
use url::Url;

use super::{
    Identity, Profiles,
    failure::{MintError, MintErrorKind},
};

/// The services that are called, as a `[services]` section names them; in capitals their variables end so.
const SERVICES: [&str; 6] = ["ecr", "ecr_public", "sts", "sso", "sso_oidc", "signin"];
const KEY: &str = "endpoint_url";
const VARIABLE: &str = "AWS_ENDPOINT_URL";

/// Checks the endpoints of the environment, of `identity` and of every profile that it leads to.
pub(super) fn check(identity: &Identity, profiles: &Profiles) -> Result<(), MintError> {
    let of_services = SERVICES.map(|service| format!("{VARIABLE}_{}", service.to_ascii_uppercase()));
    for name in [VARIABLE.to_owned()].into_iter().chain(of_services) {
        if let Some(url) = env::var_os(&name) {
            variable(&name, &url.to_string_lossy())?;
        }
    }
    if let Some(url) = &identity.endpoint_url {
        setting("endpoint_url of the rule", "Longshore's configuration", url)?;
    }
    // whichever is asked, the SDK reads the one that the environment selects as well
    let selected = Profiles::selected().0;
    let mut open: Vec<_> = identity.profile.iter().cloned().chain([selected]).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(profile) = profiles.profile(&name) else { continue };
        let place = || profiles.place("profile", &name).unwrap_or_default();
        if let Some(url) = profile.get(KEY) {
            setting(&format!("{KEY} of profile {name:?}"), &place(), url)?;
        }
        if let Some(section) = profile.get("services") {
            services(profiles, section)?;
        }
        open.extend(profile.get("source_profile").filter(|source| seen.insert((*source).clone())).cloned());
    }
    Ok(())
}

/// Checks a `[services]` section.
fn services(profiles: &Profiles, section: &str) -> Result<(), MintError> {
    for (service, key, url) in profiles.services(section) {
        if key == KEY && SERVICES.contains(&service.as_str()) {
            let place = profiles.place("services", section).unwrap_or_default();
            setting(&format!("{KEY} of {service} in [services {section}]"), &place, &url)?;
        }
    }
    Ok(())
}

fn variable(name: &str, url: &str) -> Result<(), MintError> {
    if is_endpoint(url) {
        return Ok(());
    }
    let shown = shown(url);
    Err(if url.is_empty() {
        problem(format!("{name} is set to nothing"), format!("take it away: unset {name}"))
    } else if url.contains("://") {
        problem(
            format!("{name} is {shown}, which is not a URL"),
            format!("correct {name}: https:// or http:// and a host"),
        )
    } else {
        problem(format!("{name} is {shown}, which is not a URL"), format!("write {name}=https://{shown}, or http://"))
    })
}

fn setting(what: &str, place: &str, url: &str) -> Result<(), MintError> {
    if is_endpoint(url) {
        return Ok(());
    }
    let remedy = format!("correct it in {place}: it begins with https:// or http:// and names a host; or take it out");
    let cause = if url.is_empty() {
        format!("{what} is empty")
    } else {
        format!("{what} is {}, which is not a URL", shown(url))
    };
    Err(problem(cause, remedy))
}

fn problem(cause: String, remedy: String) -> MintError {
    MintError::new(MintErrorKind::Unreachable, cause, remedy)
}

/// Whether both readers of URLs take it: the one that knows what a host is, and the SDK's, which takes no white space.
fn is_endpoint(text: &str) -> bool {
    let is_http =
        |url: Url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    let has_host = |uri: Uri| uri.host().is_some_and(|host| !host.is_empty());
    Url::parse(text).is_ok_and(is_http) && text.parse::<Uri>().is_ok_and(has_host)
}

/// What is shown of it: no password, and nothing that moves a cursor.
fn shown(text: &str) -> String {
    let (_, text) = text.rsplit_once('@').unwrap_or(("", text));
    text.escape_debug().to_string()
}

#[test]
fn an_endpoint_is_an_http_url_with_a_host() {
    for good in ["http://localhost:4566", "https://api.example/ecr/", "http://[::1]:80", "https://vpce-1.ecr.example"] {
        assert!(is_endpoint(good), "{good}");
    }
    for bad in [
        "",
        "localhost:4566",
        "http://",
        "https:///path",
        "http://a b",
        "http://a/b c",
        "ftp://a",
        "http://a:b",
        " http://a",
        "a b",
    ] {
        assert!(!is_endpoint(bad), "{bad}");
    }
    assert_eq!(shown("http://me:secret@a b\u{1b}"), "a b\\u{1b}");
}
