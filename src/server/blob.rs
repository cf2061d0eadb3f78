//! `blobs/<digest>`, GET with ranges, and HEAD.

use hyper::{
    Response, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue},
};

use super::{
    Server,
    answer::{Asked, CONTENT_DIGEST, Handled, Problem},
    body::{Body, Source},
    ranges::{self, Kind},
};
use crate::{
    cache::{Blob, Status},
    oci::{Code, Digest, Repository, Unsatisfiable},
};

pub(super) async fn blob(server: &Server, repository: Repository, digest: Digest, asked: &Asked<'_>) -> Handled {
    if ranges::is_known(asked.headers, &digest) {
        // whoever has it needs no byte of it: whether it still exists costs none either
        return size(server, repository, digest, asked).await;
    }
    let blob = server.cache.blob(&repository, &digest, asked.client).await;
    let blob = blob.map_err(|error| Problem::cache(&error, Code::BlobUnknown))?;
    let (source, size, status) = match blob {
        Blob::Stored(reader) => {
            let size = reader.size;
            (Source::Stored(reader), Some(size), Status::Hit)
        }
        Blob::Filling { reader, size, status } => (Source::Filling(reader), size, status),
    };
    let selection = match ranges::select(asked.headers, &digest, size) {
        Ok(selection) => selection,
        Err(unsatisfiable) => return Ok((beyond_the_end(unsatisfiable), Status::Bypass, 0)),
    };
    let body = Body::stream(source, selection.parts, selection.length, asked.marks.clone());
    let mut response = Response::new(body);
    describe(&mut response, &digest, selection.length);
    match selection.kind {
        Kind::Whole => {}
        Kind::One(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, CONTENT_RANGE, &range);
        }
        Kind::Several(content_type) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, CONTENT_TYPE, &content_type);
        }
    }
    Ok((response, status, 0))
}

pub(super) async fn size(server: &Server, repository: Repository, digest: Digest, asked: &Asked<'_>) -> Handled {
    let size = server.cache.blob_size(&repository, &digest, asked.client).await;
    let (size, status) = size.map_err(|error| Problem::cache(&error, Code::BlobUnknown))?;
    let mut response = Response::new(Body::full(Vec::new()));
    if ranges::is_known(asked.headers, &digest) {
        describe(&mut response, &digest, None);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        describe(&mut response, &digest, size);
    }
    Ok((response, status, 0))
}

fn describe(response: &mut Response<Body>, digest: &Digest, length: Option<u64>) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    set(response, CONTENT_DIGEST, digest.as_str());
    set(response, ETAG, &format!("\"{digest}\""));
}

fn beyond_the_end(Unsatisfiable { size }: Unsatisfiable) -> Response<Body> {
    let mut response = Response::new(Body::full(Vec::new()));
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
