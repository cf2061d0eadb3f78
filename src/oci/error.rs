//! The error codes of the distribution specification, and the JSON body that carries them.
//!
//! Says nothing about HTTP statuses: those belong to the one place that answers.

use serde::{Deserialize, Serialize};

/// An error code as the distribution specification (section "Error Codes") spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `BLOB_UNKNOWN`
    BlobUnknown,
    /// `DENIED`
    Denied,
    /// `DIGEST_INVALID`
    DigestInvalid,
    /// `MANIFEST_UNKNOWN`
    ManifestUnknown,
    /// `NAME_INVALID`
    NameInvalid,
    /// `NAME_UNKNOWN`
    NameUnknown,
    /// `SIZE_INVALID`
    SizeInvalid,
    /// `TAG_INVALID`
    TagInvalid,
    /// `TOOMANYREQUESTS`
    TooManyRequests,
    /// `UNAUTHORIZED`
    Unauthorized,
    /// `UNKNOWN`: the upstream or this machine failed
    Unknown,
    /// `UNSUPPORTED`
    Unsupported,
}

impl Code {
    /// The code as it is spelled on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unknown => "UNKNOWN",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Body<T> {
    errors: Vec<T>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'a str,
    message: &'a str,
}

/// The JSON body of an error answer.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "two strings always are JSON")]
pub fn body(code: Code, message: &str) -> Vec<u8> {
    let code = code.as_str();
    let errors = vec![Entry { code, message }];
    let mut text = serde_json::to_vec(&Body { errors }).expect("two strings are JSON");
    text.push(b'\n');
    text
}

/// What an upstream registry said in an error body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UpstreamError {
    /// Its code, empty when it sent none.
    #[serde(default)]
    pub code: String,
    /// Its words, empty when it sent none.
    #[serde(default)]
    pub message: String,
}

impl UpstreamError {
    /// Reads an error body; what is not the specification's JSON (ECR's front end sends text, XML, HTML or nothing)
    /// becomes a message without a code.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let parsed = serde_json::from_slice::<Body<Self>>(body).ok();
        if let Some(first) = parsed.and_then(|body| body.errors.into_iter().next()) {
            return first;
        }
        let text = String::from_utf8_lossy(body);
        let plain = text.trim().chars().take(200).filter(|c| !c.is_control()).collect::<String>();
        let message = if plain.starts_with('<') { String::new() } else { plain };
        Self { code: String::new(), message }
    }

    /// Whether this says that the authorization token is no longer (or was never) good, in the words Amazon ECR uses:
    /// a 403 for an expired token, a 400 for a garbled one or any bad bearer at ECR Public.
    #[must_use]
    pub fn is_about_the_token(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.code == Code::Denied.as_str()
            && (message.starts_with("your authorization token has expired")
                || message.starts_with("your authorization token is invalid")
                // what STS says of the session that the token was minted with
                || message.starts_with("the security token included in the request is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back_as_it_was_written() {
        let got = UpstreamError::parse(&body(Code::Denied, "a \"quoted\" reason"));
        assert_eq!((got.code.as_str(), got.message.as_str()), ("DENIED", "a \"quoted\" reason"));
    }

    #[test]
    fn text_and_html_bodies_are_not_lost_and_not_trusted() {
        assert_eq!(UpstreamError::parse(b"Not Authorized\n").message, "Not Authorized");
        assert_eq!(UpstreamError::parse(b"<html>no</html>"), UpstreamError::default());
        assert_eq!(UpstreamError::parse(b""), UpstreamError::default());
        assert_eq!(UpstreamError::parse(b"{\"errors\":[]}").code, "");
    }

    #[test]
    fn only_the_words_about_the_token_mean_the_token() {
        let denied = |message: &str| UpstreamError { code: "DENIED".into(), message: message.into() };
        assert!(denied("Your authorization token has expired. Reauthenticate and try again.").is_about_the_token());
        assert!(denied("Your Authorization Token has expired. Please run 'aws ecr get-login'").is_about_the_token());
        assert!(denied("Your Authorization Token is invalid.").is_about_the_token());
        assert!(denied("The security token included in the request is expired").is_about_the_token());
        assert!(
            !denied("User: arn:aws:iam::1:user/a is not authorized to perform: ecr:BatchGetImage").is_about_the_token()
        );
        let other = UpstreamError { code: "UNKNOWN".into(), ..denied("Your authorization token has expired.") };
        assert!(!other.is_about_the_token());
    }
}
