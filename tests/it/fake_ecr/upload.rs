//! Layer uploads, with ECR's oddities: 201 for `PATCH`, a `Range` that never moves after the first chunk.
//!
//! An upload lives in memory until it is completed, cancelled, or the fake ends.
use super::digest;
use super::http::Answer;
use super::registry::Visit;
use super::store::Upload;

fn location(visit: &Visit<'_>, name: &str, id: &str) -> String {
    format!("https://{}/v2/{name}/blobs/uploads/{id}", visit.registry.host)
}

fn created(visit: &Visit<'_>, name: &str, digest: &str) -> Answer {
    let host = &visit.registry.host;
    Answer::new(201)
        .with("Location", format!("https://{host}/v2/{name}/blobs/{digest}"))
        .with("Docker-Content-Digest", digest)
}

pub(super) fn open(visit: &Visit<'_>, name: &str) -> Answer {
    let (mounting, create, eof) =
        visit.state.knobs.lock(|knobs| (knobs.blob_mounting, knobs.create_on_push, knobs.missing_eof));
    let mut store = visit.state.store();
    if store.repository(&visit.key, name).is_none() {
        if !create {
            let mut answer = visit.repository_unknown(name);
            answer.silent = eof;
            return answer;
        }
        store.create(&visit.key, name);
    }
    let mount = visit.incoming.query("mount").zip(visit.incoming.query("from"));
    if let Some((digest, from)) = mount.filter(|_| mounting)
        && let Some(bytes) = store.blob_of(&visit.key, &from, &digest)
    {
        store.put_blob(&visit.key, name, bytes);
        return created(visit, name, &digest);
    }
    let id = digest::uuid_of(&format!("upload {}", visit.state.serial()));
    let upload = Upload { registry: visit.key.clone(), repository: name.to_owned(), ..Upload::default() };
    store.uploads.insert(id.clone(), upload);
    Answer::new(202).with("Location", location(visit, name, &id)).with("Docker-Upload-Uuid", id).with("Range", "0-0")
}

fn unknown() -> Answer {
    Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "Upload not found")
}

pub(super) fn append(visit: &Visit<'_>, name: &str, id: &str) -> Answer {
    let (status, minimum) = visit.state.knobs.lock(|k| (k.patch_status, k.minimum_part));
    let mut store = visit.state.store();
    let home = (visit.key.as_str(), name);
    let upload = store.uploads.get_mut(id);
    let Some(upload) = upload.filter(|u| (u.registry.as_str(), u.repository.as_str()) == home) else {
        return unknown();
    };
    let range = visit.incoming.header("content-range");
    if let Some(range) = range {
        let first = range.trim_start_matches("bytes ").split('-').next();
        let first = first.and_then(|first| first.trim().parse::<usize>().ok());
        if first != Some(upload.bytes.len()) {
            return Answer::new(416).with("Range", format!("0-{}", upload.first.saturating_sub(1)));
        }
        if !upload.bytes.is_empty() && upload.last_chunk < minimum {
            let message = format!(
                "Uploaded layer part size of {} bytes is too small; every part but the last must \
                 have at least {minimum} bytes",
                upload.last_chunk
            );
            return Answer::error(400, "UNSUPPORTED", &message);
        }
    }
    upload.bytes.extend_from_slice(&visit.incoming.body);
    upload.last_chunk = visit.incoming.body.len();
    if upload.first == 0 {
        upload.first = upload.bytes.len();
    }
    Answer::new(status)
        .with("Location", location(visit, name, id))
        .with("Docker-Upload-Uuid", id)
        .with("Range", format!("0-{}", upload.first.saturating_sub(1)))
}

pub(super) fn complete(visit: &Visit<'_>, name: &str, id: &str) -> Answer {
    let mut store = visit.state.store();
    let Some(mut upload) = store.uploads.remove(id) else {
        return unknown();
    };
    upload.bytes.extend_from_slice(&visit.incoming.body);
    let wanted = visit.incoming.query("digest").unwrap_or_default();
    let got = digest::of(&upload.bytes);
    if wanted != got {
        let message = format!("The layer digest {wanted} does not match the content digest {got}");
        return Answer::error(400, "DIGEST_INVALID", &message);
    }
    store.put_blob(&visit.key, name, upload.bytes.into());
    created(visit, name, &got)
}

pub(super) fn cancel(visit: &Visit<'_>, id: &str) -> Answer {
    let status = visit.state.knobs.lock(|knobs| knobs.delete_upload_status);
    if status >= 300 {
        return Answer::error(status, "UNSUPPORTED", "The operation is unsupported.");
    }
    let removed = visit.state.store().uploads.remove(id);
    removed.map_or_else(unknown, |_| Answer::new(status))
}
