//! One request: access, route, handler, and the headers every answer has.

use std::{net::SocketAddr, time::Instant};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{HeaderValue, USER_AGENT},
};

use super::{
    Server, access,
    answer::{self, API_VERSION, Asked, CACHE_STATUS, Handled, Problem},
    blob,
    body::Body,
    manifest,
    record::Record,
    relay, resolve,
    sendfile::Marks,
};
use crate::{
    cache::Status,
    oci::{Code, Object, Route},
};

pub(super) async fn handle(
    server: &Server,
    peer: SocketAddr,
    marks: &Marks,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let (parts, _) = request.into_parts();
    let client = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let asked = Asked { head: parts.method == Method::HEAD, headers: &parts.headers, client, marks };
    let handled = if access::allows(&server.config.access, peer.ip()) {
        route(server, &parts.method, &parts.uri, &asked).await
    } else {
        Err(stranger(peer))
    };
    let (mut response, status, upstream_bytes) =
        handled.unwrap_or_else(|problem| (problem.response(), Status::Bypass, 0));
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(CACHE_STATUS, HeaderValue::from_static(status.as_str()));
    let record = Record {
        started,
        peer: peer.ip(),
        method: parts.method,
        client: parts.headers.get(USER_AGENT).cloned(),
        uri: parts.uri,
        status: response.status(),
        cache: status,
        upstream_bytes,
        sent: 0,
        broken: None,
    };
    response.map(|body| body.with_record(record))
}

async fn route(server: &Server, method: &Method, uri: &hyper::Uri, asked: &Asked<'_>) -> Handled {
    let route = Route::parse(uri.path()).map_err(|(code, error)| Problem::bad(code, &error))?;
    let (name, object) = match route {
        None => return Err(not_of_the_api(uri.path())),
        Some(Route::Base) => return Ok((answer::base(), Status::Bypass, 0)),
        Some(Route::Repository { name, object }) => (name, object),
    };
    let repository = resolve::repository(&server.config, &name, uri.query())?;
    match (method, object) {
        (&Method::GET | &Method::HEAD, Object::Manifest(reference)) => {
            manifest::manifest(server, repository, reference, asked).await
        }
        (&Method::GET, Object::Blob(digest)) => blob::blob(server, repository, digest, asked).await,
        (&Method::HEAD, Object::Blob(digest)) => blob::size(server, repository, digest, asked).await,
        (&Method::GET | &Method::HEAD, Object::Tags) => {
            relay::relay(server, &repository, (&name, "tags/list"), uri.query(), asked).await
        }
        (&Method::GET | &Method::HEAD, Object::Referrers(digest)) => {
            let object = format!("referrers/{digest}");
            relay::relay(server, &repository, (&name, &object), uri.query(), asked).await
        }
        (method, _) => Err(unsupported(method)),
    }
}

fn stranger(peer: SocketAddr) -> Problem {
    let message = format!("{} may not use this cache; its owner can list the network in [access] networks", peer.ip());
    Problem::new(StatusCode::FORBIDDEN, Code::Denied, message)
}

fn not_of_the_api(path: &str) -> Problem {
    let message = format!("{path} is not a path of the distribution API, which begins with /v2/");
    Problem::new(StatusCode::NOT_FOUND, Code::Unsupported, message)
}

fn unsupported(method: &Method) -> Problem {
    let message = format!("longshore serves pulls; for this {method}, talk to the registry itself");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, message)
}
