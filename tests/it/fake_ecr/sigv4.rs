//! AWS Signature Version 4 as the receiver sees it: the credential scope, and, on demand, the signature.
//!
//! Only header signatures of requests without a query, which is all that the SDKs send to these services.
use std::fmt::Write as _;

use super::digest::{hex, hmac, sha256_hex};
use super::http::Incoming;

/// What the `Authorization` header says about the signer.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    pub(super) access_key: String,
    pub(super) region: String,
    pub(super) service: String,
    date: String,
    signed_headers: String,
    signature: String,
}

impl Credential {
    pub(super) fn of(incoming: &Incoming) -> Option<Self> {
        let rest = incoming.header("authorization")?.strip_prefix("AWS4-HMAC-SHA256")?;
        let field = |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = scope[..] else {
            return None;
        };
        Some(Self {
            access_key: access_key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            date: date.to_owned(),
            signed_headers: field("SignedHeaders").unwrap_or("").to_owned(),
            signature: field("Signature").unwrap_or("").to_owned(),
        })
    }
}

/// Whether the request is signed with `secret`.
pub(super) fn verify(incoming: &Incoming, credential: &Credential, secret: &str) -> bool {
    let mut canonical = format!("{}\n{}\n\n", incoming.method, incoming.path());
    for name in credential.signed_headers.split(';') {
        let values: Vec<String> =
            incoming.all(name).map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let _ = writeln!(canonical, "{name}:{}", values.join(","));
    }
    let body = sha256_hex(&incoming.body);
    let _ = write!(canonical, "\n{}\n{body}", credential.signed_headers);
    let Credential { date, region, service, .. } = credential;
    let time = incoming.header("x-amz-date").unwrap_or("");
    let canonical = sha256_hex(canonical.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{date}/{region}/{service}/aws4_request\n{canonical}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date.as_str(), region, service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    hex(&hmac(&key, text.as_bytes())) == credential.signature
}
