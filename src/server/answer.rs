//! What handlers are asked and how they answer; errors, in the specification's JSON.

use hyper::{
    Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SERVER},
};

use super::{body::Body, sendfile::Marks};
use crate::{
    cache::{self, Answer, Status},
    oci::{self, Code},
};

pub(super) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("x-longshore-cache");
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What handlers need to know of a request.
pub(super) struct Asked<'a> {
    pub(super) head: bool,
    pub(super) headers: &'a HeaderMap,
    pub(super) client: &'a str,
    /// The connection the answer goes to.
    pub(super) marks: &'a Marks,
}

/// An answer, how it came about, and how many bytes came from upstream before its body.
pub(super) type Handled = Result<(Response<Body>, Status, u64), Problem>;

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Problem(pub(super) Answer);

impl Problem {
    pub(super) fn new(status: StatusCode, code: Code, message: String) -> Self {
        Self(Answer { status, code, message, retry_after: None })
    }

    pub(super) fn bad(code: Code, error: &oci::Invalid) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, error.to_string())
    }

    /// Something of a repository was not to be had; `missing` is the code if that is because it does not exist.
    pub(super) fn cache(error: &cache::Error, missing: Code) -> Self {
        Self(error.answer(missing))
    }

    pub(super) fn response(self) -> Response<Body> {
        let Answer { status, code, message, retry_after } = self.0;
        let body = oci::body(code, &message);
        let mut response = Response::new(Body::full(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.extend(retry_after.map(|value| (RETRY_AFTER, value)));
        response
    }
}

/// `/v2/`: this server speaks the API, and asks for no credentials.
pub(super) fn base() -> Response<Body> {
    let mut response = Response::new(Body::full(b"{}".to_vec()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
    // `longshore doctor` compares it with its own
    response.headers_mut().insert(SERVER, HeaderValue::from_static(concat!("longshore/", env!("CARGO_PKG_VERSION"))));
    response
}
