//! Signed manifests of schema 1: a JSON object with a list of JSON web signatures in it ("prettyjws").
//!
//! Finds what was signed, whose digest is the manifest's name. Signatures themselves are never verified, as by no registry
//! client today: a digest that was asked for says more than a key nobody knows.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

#[derive(Deserialize)]
struct Signed {
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    protected: String,
}

/// The protected header of a signature: how to get from the bytes as they are to the bytes that were signed.
#[derive(Deserialize, PartialEq, Eq)]
struct Protected {
    #[serde(rename = "formatLength")]
    length: usize,
    #[serde(rename = "formatTail")]
    tail: String,
}

/// What the signatures in `bytes` sign: the first `formatLength` bytes and the `formatTail` behind them. `None` when there
/// are no signatures, or they do not agree on it.
pub(super) fn payload(bytes: &[u8]) -> Option<Vec<u8>> {
    let signed: Signed = serde_json::from_slice(bytes).ok()?;
    let mut headers = signed.signatures.iter().map(|signature| protected(&signature.protected));
    let first = headers.next()??;
    if !headers.all(|header| header.as_ref() == Some(&first)) {
        return None;
    }
    let mut payload = bytes.get(..first.length)?.to_vec();
    payload.extend(decode(&first.tail)?);
    Some(payload)
}

fn protected(text: &str) -> Option<Protected> {
    serde_json::from_slice(&decode(text)?).ok()
}

/// Base64 for URLs; some signers left its padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "{\n   \"schemaVersion\": 1,\n   \"name\": \"app\"\n}";

    /// As libtrust formats it: the signatures go in before the closing brace.
    fn sign(tail: &str, headers: &[&str]) -> String {
        let length = MANIFEST.len() - tail.len();
        let signatures: Vec<_> =
            headers.iter().map(|header| format!("{{\"protected\": {:?}}}", URL_SAFE_NO_PAD.encode(header))).collect();
        format!("{},\n   \"signatures\": [{}]\n}}", &MANIFEST[..length], signatures.join(","))
    }

    fn header(length: usize, tail: &str) -> String {
        let tail = URL_SAFE_NO_PAD.encode(tail);
        format!("{{\"formatLength\":{length},\"formatTail\":{tail:?},\"time\":\"2014-01-01T00:00:00Z\"}}")
    }

    #[test]
    fn what_was_signed_is_found() {
        let good = header(MANIFEST.len() - 2, "\n}");
        assert_eq!(payload(sign("\n}", &[&good]).as_bytes()).unwrap(), MANIFEST.as_bytes());
        assert_eq!(payload(sign("\n}", &[&good, &good]).as_bytes()).unwrap(), MANIFEST.as_bytes());
    }

    #[test]
    fn what_is_not_signed_or_badly_is_not_guessed() {
        let good = header(MANIFEST.len() - 2, "\n}");
        let other = header(MANIFEST.len() - 3, "\n}");
        for text in [
            MANIFEST.to_owned(),
            String::new(),
            sign("\n}", &[]),
            sign("\n}", &[&good, &other]),
            sign("\n}", &[&header(usize::MAX, "\n}")]),
            sign("\n}", &["{}"]),
            sign("\n}", &["garbage"]),
        ] {
            assert_eq!(payload(text.as_bytes()), None, "{text}");
        }
    }
}
