//! How a test writes a rule: which requests first, then what happens to them.
//!
//! Nothing here acts; each method only notes a wish.
use std::time::Duration;

use super::super::failure::{message_of, status_of};
use super::super::request::Listener;
use super::super::{s3, sts};
use super::{Action, Rule, milliseconds};

impl Rule {
    /// Requests of one listener.
    #[must_use]
    pub fn on(listener: Listener) -> Self {
        Self { listener: Some(listener), ..Self::default() }
    }

    /// Requests of any listener.
    #[must_use]
    pub fn anywhere() -> Self {
        Self::default()
    }

    /// Only this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only targets (path and query) that contain the text; with `*` the whole target must fit.
    #[must_use]
    pub fn path(mut self, pattern: &str) -> Self {
        self.path = Some(pattern.to_owned());
        self
    }

    /// Only hosts that contain the text; with `*` the whole host must fit.
    #[must_use]
    pub fn host(mut self, pattern: &str) -> Self {
        self.host = Some(pattern.to_owned());
        self
    }

    /// Only requests for this blob or manifest, on the registry or on S3.
    #[must_use]
    pub fn digest(mut self, digest: &str) -> Self {
        self.digest = Some(digest.to_owned());
        self
    }

    /// Only requests that are or stand for this AWS action, e.g. `GetAuthorizationToken`.
    #[must_use]
    pub fn action(mut self, action: &str) -> Self {
        self.action = Some(action.to_owned());
        self
    }

    /// Only requests that carry this header.
    #[must_use]
    pub fn with_header(mut self, name: &str) -> Self {
        self.header = Some(name.to_owned());
        self
    }

    /// Only the `number`th match, from 1.
    #[must_use]
    pub fn nth(self, number: u64) -> Self {
        self.nth_range(number, number)
    }

    /// Only matches `from..=to`, from 1.
    #[must_use]
    pub fn nth_range(mut self, from: u64, to: u64) -> Self {
        (self.nth_from, self.nth_to) = (from, Some(to));
        self
    }

    /// Only the first match.
    #[must_use]
    pub fn once(self) -> Self {
        self.nth(1)
    }

    /// Each match with this probability, the same ones for the same seed.
    #[must_use]
    pub fn chance(mut self, chance: f64, seed: u64) -> Self {
        self.chance = Some((chance, seed));
        self
    }

    /// Any action; the methods below are shorter.
    #[must_use]
    pub fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// See [`Action::Status`].
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        self.then(Action::Status(status))
    }

    /// See [`Action::Body`].
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        self.then(Action::Body(body.into()))
    }

    /// See [`Action::SetHeader`].
    #[must_use]
    pub fn set_header(self, name: &str, value: &str) -> Self {
        self.then(Action::SetHeader(name.to_owned(), value.to_owned()))
    }

    /// See [`Action::DropHeader`].
    #[must_use]
    pub fn drop_header(self, name: &str) -> Self {
        self.then(Action::DropHeader(name.to_owned()))
    }

    /// See [`Action::DelayMs`].
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        self.then(Action::DelayMs(milliseconds(delay)))
    }

    /// See [`Action::FirstByteMs`].
    #[must_use]
    pub fn first_byte_delay(self, delay: Duration) -> Self {
        self.then(Action::FirstByteMs(milliseconds(delay)))
    }

    /// See [`Action::BytesPerSecond`].
    #[must_use]
    pub fn bytes_per_second(self, rate: u64) -> Self {
        self.then(Action::BytesPerSecond(rate))
    }

    /// See [`Action::StallAfter`].
    #[must_use]
    pub fn stall_after(self, bytes: u64, duration: Duration) -> Self {
        self.then(Action::StallAfter(bytes, milliseconds(duration)))
    }

    /// See [`Action::Hold`].
    #[must_use]
    pub fn hold(self) -> Self {
        self.then(Action::Hold)
    }

    /// See [`Action::HoldAfter`].
    #[must_use]
    pub fn hold_after(self, bytes: u64) -> Self {
        self.then(Action::HoldAfter(bytes))
    }

    /// See [`Action::ResetAfter`].
    #[must_use]
    pub fn reset_after(self, bytes: u64) -> Self {
        self.then(Action::ResetAfter(bytes))
    }

    /// See [`Action::FinAfter`].
    #[must_use]
    pub fn fin_after(self, bytes: u64) -> Self {
        self.then(Action::FinAfter(bytes))
    }

    /// See [`Action::FlipByte`].
    #[must_use]
    pub fn flip_byte(self, at: usize) -> Self {
        self.then(Action::FlipByte(at))
    }

    /// An error of the registry API with ECR's body.
    #[must_use]
    pub fn registry_error(self, status: u16, code: &str, message: &str) -> Self {
        let errors = serde_json::json!({"errors": [{"code": code, "message": message}]});
        self.status(status).set_header("Content-Type", "application/json; charset=utf-8").body(format!("{errors}\n"))
    }

    /// An error of the AWS API, HTTP 400 (500 for `ServerException`).
    #[must_use]
    pub fn api_error(self, code: &str, message: &str) -> Self {
        let status = if code == "ServerException" { 500 } else { 400 };
        let error = serde_json::json!({"__type": code, "message": message});
        self.status(status).set_header("Content-Type", "application/x-amz-json-1.1").body(error.to_string())
    }

    /// An error of any JSON service of AWS, with the message and the status that the code comes with.
    #[must_use]
    pub fn aws_failure(self, code: &str) -> Self {
        self.status(status_of(code)).api_error(code, message_of(code)).set_header("x-amzn-ErrorType", code)
    }

    /// An error of STS, as XML.
    #[must_use]
    pub fn sts_error(self, code: &str, message: &str) -> Self {
        let answer = sts::error(code, message);
        self.status(answer.status).set_header("Content-Type", "text/xml").body(answer.body)
    }

    /// What a client hears whose clock is hours behind: its signature has expired, by the clock of the answer.
    #[must_use]
    pub fn clock_skew(self) -> Self {
        let message =
            "Signature expired: 20261122T041500Z is now earlier than 20261122T081000Z (20261122T081500Z - 5 min.)";
        self.api_error("InvalidSignatureException", message).set_header("Date", "Sun, 22 Nov 2026 08:15:00 GMT")
    }

    /// 200 and not a byte.
    #[must_use]
    pub fn empty_answer(self) -> Self {
        self.status(200)
    }

    /// An error of S3, as XML.
    #[must_use]
    pub fn s3_error(self, status: u16, code: &str, message: &str) -> Self {
        self.status(status).set_header("Content-Type", "application/xml").body(s3::error_body(code, message, ""))
    }

    /// What a captive portal says to everything.
    #[must_use]
    pub fn captive_portal(self) -> Self {
        self.status(200)
            .set_header("Content-Type", "text/html")
            .body("<html><body>Please log in to the guest network</body></html>")
    }

    /// What a company's proxy says without credentials.
    #[must_use]
    pub fn proxy_407(self) -> Self {
        self.status(407)
            .set_header("Proxy-Authenticate", "Basic realm=\"proxy\"")
            .set_header("Content-Type", "text/html")
            .body("<html><body>Proxy Authentication Required</body></html>")
    }
}
