//! Blobs at the registry: `HEAD` from the registry itself, `GET` as a redirect to the storage.
//!
//! The redirect's path never shows the digest.
use super::http::{Answer, Span, span};
use super::knob::{HeadBlob, Redirect};
use super::public;
use super::registry::Visit;
use super::s3;

fn unknown(visit: &Visit<'_>, name: &str, digest: &str) -> Answer {
    if visit.state.store().repository(&visit.key, name).is_none() {
        return visit.repository_unknown(name);
    }
    let account = &visit.registry.account;
    let message = format!(
        "The layer with digest {digest} does not exist within the repository with name '{name}' in \
         the registry with id '{account}'"
    );
    Answer::error(404, "BLOB_UNKNOWN", &message)
}

pub(super) fn head(visit: &Visit<'_>, name: &str, digest: &str) -> Answer {
    if visit.registry.public {
        return public::not_authorized();
    }
    if let HeadBlob::Status(status) = visit.state.knobs.lock(|knobs| knobs.head_blob) {
        return Answer::new(status);
    }
    let blob = visit.state.store().blob_of(&visit.key, name, digest);
    match blob {
        Some(blob) => Answer::new(200)
            .with("Content-Type", "application/octet-stream")
            .with("Docker-Content-Digest", digest)
            .body(blob),
        None => unknown(visit, name, digest),
    }
}

pub(super) fn get(visit: &Visit<'_>, name: &str, digest: &str) -> Answer {
    let Some(blob) = visit.state.store().blob_of(&visit.key, name, digest) else {
        return unknown(visit, name, digest);
    };
    let (inline, redirect) = visit.state.knobs.lock(|knobs| (knobs.inline_blobs, knobs.redirect.clone()));
    if inline {
        let answer = match span(visit.incoming.header("range"), blob.len()) {
            Span::Whole => Answer::new(200).body(blob),
            Span::Beyond => Answer::new(416).with("Content-Range", format!("bytes */{}", blob.len())),
            Span::Part(from, to) => Answer::new(206)
                .with("Content-Range", format!("bytes {from}-{}/{}", to - 1, blob.len()))
                .body(blob.slice(from..to)),
        };
        return answer.with("Content-Type", "application/octet-stream").with("Docker-Content-Digest", digest);
    }
    let location = location(visit, name, digest, redirect);
    Answer::new(307).with("Location", location).with("Docker-Content-Digest", digest)
}

fn location(visit: &Visit<'_>, name: &str, digest: &str, redirect: Redirect) -> String {
    let (registry, state) = (&visit.registry, visit.state);
    let storage = s3::host_of(registry);
    match redirect {
        Redirect::Storage => {
            let signed = s3::presign(state, registry, name, digest, &storage);
            format!("https://{storage}{signed}")
        }
        Redirect::Base(base) => {
            let authority = base.split("://").last().unwrap_or("");
            let host = authority.split([':', '/']).next().unwrap_or("");
            let signed = s3::presign(state, registry, name, digest, host);
            format!("{}{signed}", base.trim_end_matches('/'))
        }
        Redirect::Relative => {
            let signed = s3::presign(state, registry, name, digest, &registry.host);
            format!("{}{signed}", s3::LOCAL)
        }
        Redirect::Loop(count) => {
            let hop = visit.incoming.query("hop").and_then(|hop| hop.parse().ok());
            let hop: u32 = hop.unwrap_or(0);
            if hop >= count {
                return self::location(visit, name, digest, Redirect::Storage);
            }
            let host = &registry.host;
            format!("https://{host}/v2/{name}/blobs/{digest}?hop={}", hop + 1)
        }
    }
}
