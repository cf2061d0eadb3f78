//! Why there was no answer, in words: proxies, names, certificates, connections.
//!
//! Decides by the words of the errors, since neither hyper nor rustls nor the SDK lets others see their kinds.

use std::{error::Error, io};

use super::failure::{CLOCK, MintError, MintErrorKind};
use crate::chain::chain;

/// What the layers between the SDK and a socket put before what went wrong.
const LAYERS: [&str; 7] = [
    "dispatch failure: ",
    "response error: ",
    "unexpected credentials error: ",
    "an error occurred while loading credentials: ",
    "the credential provider was not enabled: ",
    "io error: ",
    "client error (Connect): ",
];

/// Where the SDK begins to show the request or answer that went wrong, with everything that is secret in it.
const REQUESTS: [&str; 4] = [" to request `", "Request {", "Response {", "SdkBody"];

/// The words of an error and its causes without the names of the layers they came through, and without the request.
///
/// The only way in which an error of the SDK becomes text.
pub(super) fn said(error: &(dyn Error + 'static)) -> String {
    let mut text = without_request(chain(error));
    while let Some(rest) = LAYERS.into_iter().find_map(|layer| text.strip_prefix(layer)) {
        text = rest.to_owned();
    }
    text
}

fn without_request(mut text: String) -> String {
    if let Some(at) = REQUESTS.into_iter().filter_map(|mark| text.find(mark)).min() {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Whether no answer came at all, by the words of an error of the SDK.
pub(super) fn is_dispatch_failure(error: &(dyn Error + 'static)) -> bool {
    chain(error).contains("dispatch failure")
}

/// What went wrong on the way to an API.
pub(super) fn of_network(action: &str, error: &(dyn Error + 'static)) -> MintError {
    let said = said(error);
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (cause, remedy) = if has(&["custom endpoint are not supported"]) {
        (
            "FIPS or dual-stack is asked for, and an endpoint of one's own as well",
            "keep one: unset AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT, or take endpoint_url out of the profile",
        )
    } else if has(&["proxy authorization required"]) {
        ("the proxy asks for a user and password", "write them into HTTPS_PROXY, as http://user:password@host:port")
    } else if has(&["tunnel error: unsuccessful"]) {
        (
            "the proxy refuses to connect to AWS",
            "have it let the host through, or write the host into NO_PROXY if it needs no proxy; HTTPS_PROXY names the proxy",
        )
    } else if has(&["tunnel error", "proxy connect"]) {
        let why = said.rsplit("underlying connection: ").next().unwrap_or_default();
        let cause = format!("{action}: the proxy cannot be reached: {why}");
        return MintError::new(
            MintErrorKind::Unreachable,
            cause,
            "correct HTTPS_PROXY, or unset it if there is no proxy",
        );
    } else {
        let cause = format!("{action}: {said}");
        return MintError::new(MintErrorKind::Unreachable, cause, remedy(&said, is_refused(error)));
    };
    MintError::new(MintErrorKind::Unreachable, format!("{action}: {cause}"), remedy)
}

fn remedy(said: &str, is_refused: bool) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["UnknownIssuer", "unknown issuer"]) {
        "a proxy shows a certificate of its own: put its CA into AWS_CA_BUNDLE, or into the machine's trust store"
    } else if has(&["NotValidForName", "not valid for name"]) {
        "another server answers in AWS's place: check the network, DNS and HTTPS_PROXY"
    } else if has(&["certificate expired", "Expired", "NotValidYet", "not valid yet"]) {
        CLOCK
    } else if has(&["invalid peer certificate", "received fatal alert", "InvalidContentType", "corrupt message"]) {
        "the server does not speak AWS's TLS: check the endpoint and HTTPS_PROXY"
    } else if has(&["dns error", "failed to lookup address"]) {
        "there is no network, no DNS, or no such region: check the connection and the region in the registry's name"
    } else if is_refused {
        "nothing listens there: check AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_ECR and the endpoint_url of the configuration"
    } else {
        "the connection broke off: try again, then check the network and HTTPS_PROXY"
    }
}

fn is_refused(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source()).any(|source| {
        source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    })
}

#[test]
fn a_request_is_never_part_of_what_an_error_said() {
    let said = |text: &str| without_request(text.to_owned());
    let sdk = "failed to apply endpoint `http://a b` to request `Request { body: SdkBody { inner: Once(WebIdentityToken=s3cr3t";
    assert_eq!(said(sdk), "failed to apply endpoint `http://a b`…");
    assert_eq!(said("invalid: Request { s3cr3t"), "invalid: …");
    assert_eq!(said("body: SdkBody { s3cr3t"), "body: …");
    assert_eq!(said("failed to construct request: no region"), "failed to construct request: no region");
    assert_eq!(said("tcp connect error: Connection refused"), "tcp connect error: Connection refused");
}
