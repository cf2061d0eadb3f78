//! `manifests/<reference>`, GET and HEAD.

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{ACCEPT, AGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, WARNING},
};

use super::{
    Server,
    answer::{Asked, CONTENT_DIGEST, Handled, Problem},
    body::Body,
    ranges,
};
use crate::{
    cache::{ManifestQuestion, Status},
    oci::{Accept, Code, Reference, Repository},
};

pub(super) async fn manifest(
    server: &Server,
    repository: Repository,
    reference: Reference,
    asked: &Asked<'_>,
) -> Handled {
    let accept = asked.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let question = ManifestQuestion {
        repository,
        reference,
        accept: Accept::new(accept),
        head: asked.head,
        client: asked.client.to_owned(),
    };
    let answer = server.cache.manifest(question).await;
    let answer = answer.map_err(|error| Problem::cache(&error, Code::ManifestUnknown))?;
    let descriptor = &answer.descriptor;
    let is_known = ranges::is_known(asked.headers, &descriptor.digest);
    let body = match answer.manifest {
        Some(manifest) if !asked.head && !is_known => manifest.bytes,
        _ => Bytes::new(),
    };
    let mut response = Response::new(Body::full(body));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    let mut set =
        |name: HeaderName, value: String| headers.extend(HeaderValue::try_from(value).map(|value| (name, value)));
    set(CONTENT_TYPE, descriptor.media_type.to_string());
    if !is_known {
        set(CONTENT_LENGTH, descriptor.size.to_string());
    }
    set(CONTENT_DIGEST, descriptor.digest.to_string());
    set(ETAG, format!("\"{}\"", descriptor.digest));
    if answer.status == Status::Stale {
        set(WARNING, "110 - \"Response is Stale\"".to_owned());
        if let Some(age) = answer.age {
            set(AGE, age.as_secs().to_string());
        }
    }
    Ok((response, answer.status, answer.upstream_bytes))
}
