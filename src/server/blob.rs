//! `blobs/<digest>`, GET with ranges, and HEAD.

use std::ops::Range;

use hyper::{
    Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_RANGE, RANGE,
    },
};

use super::{
    Server,
    answer::{Asked, CONTENT_DIGEST, Handled, Problem},
    body::{Body, Source},
};
use crate::{
    cache::{Blob, Status},
    oci::{ByteRange, Code, Digest, Repository, Unsatisfiable},
};

pub(super) async fn blob(server: &Server, repository: Repository, digest: Digest, asked: &Asked<'_>) -> Handled {
    let blob = server.cache.blob(&repository, &digest, asked.client).await;
    let blob = blob.map_err(|error| Problem::cache(&error, Code::BlobUnknown))?;
    // a range of another content is no range of this one (RFC 9110 section 13.1.5)
    let is_meant = asked.headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == format!("\"{digest}\"").as_bytes());
    let range = asked.headers.get(RANGE).filter(|_| is_meant);
    let range = range.and_then(|value| value.to_str().ok()).and_then(ByteRange::parse);
    let size = match &blob {
        Blob::Stored(reader) => Some(reader.size),
        Blob::Filling { size, .. } => *size,
    };
    let part = match range.zip(size).map(|(range, size)| range.resolve(size)).transpose() {
        Ok(part) => part,
        Err(unsatisfiable) => return Ok((beyond_the_end(unsatisfiable), Status::Bypass, 0)),
    };
    let length = part.as_ref().map(|part| part.end - part.start).or(size);
    let (source, status) = match blob {
        Blob::Stored(reader) => {
            let range = part.clone().unwrap_or(0..reader.size);
            (Source::Stored { reader, range }, Status::Hit)
        }
        Blob::Filling { mut reader, status, .. } => {
            if let Some(part) = &part {
                reader.narrow(part.start, part.end);
            }
            (Source::Filling(reader), status)
        }
    };
    let mut response = Response::new(Body::stream(source, length));
    describe(&mut response, &digest, length);
    if let Some((part, size)) = part.zip(size) {
        mark_part(&mut response, &part, size);
    }
    Ok((response, status, 0))
}

pub(super) async fn size(server: &Server, repository: Repository, digest: Digest, asked: &Asked<'_>) -> Handled {
    let size = server.cache.blob_size(&repository, &digest, asked.client).await;
    let (size, status) = size.map_err(|error| Problem::cache(&error, Code::BlobUnknown))?;
    let mut response = Response::new(Body::full(Vec::new()));
    describe(&mut response, &digest, size);
    Ok((response, status, 0))
}

fn describe(response: &mut Response<Body>, digest: &Digest, length: Option<u64>) {
    set(response, CONTENT_TYPE, "application/octet-stream");
    set(response, ACCEPT_RANGES, "bytes");
    set(response, CONTENT_DIGEST, digest.as_str());
    set(response, ETAG, &format!("\"{digest}\""));
    if let Some(length) = length {
        set(response, CONTENT_LENGTH, &length.to_string());
    }
}

fn mark_part(response: &mut Response<Body>, part: &Range<u64>, size: u64) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set(response, CONTENT_RANGE, &format!("bytes {}-{}/{size}", part.start, part.end - 1));
}

fn beyond_the_end(Unsatisfiable { size }: Unsatisfiable) -> Response<Body> {
    let mut response = Response::new(Body::full(Vec::new()));
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).ok();
    response.headers_mut().extend(value.map(|value| (name, value)));
}
