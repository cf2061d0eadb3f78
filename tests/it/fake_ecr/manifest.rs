//! Manifests: reading with ECR's conversion between docker and OCI types, and pushing.
//!
//! A digest is never converted and a list never is; what a tag answers depends on `Accept`.
use bytes::Bytes;
use serde_json::Value;

use super::digest;
use super::http::{Answer, Incoming};
use super::image::TWINS;
use super::registry::Visit;
use super::store::{Manifest, Repository};

pub(super) fn get(visit: &Visit<'_>, name: &str, reference: &str) -> Answer {
    let mut store = visit.state.store();
    let Some(repository) = store.existing(&visit.key, name) else {
        return visit.repository_unknown(name);
    };
    let Some((digest, manifest)) = find(repository, reference, visit.incoming) else {
        return Answer::error(404, "MANIFEST_UNKNOWN", "Requested image not found");
    };
    let mut answer = Answer::new(200).with("Content-Type", manifest.media_type).body(manifest.bytes);
    if visit.incoming.is_head() || visit.state.knobs.lock(|knobs| knobs.get_digest) {
        answer = answer.with("Docker-Content-Digest", digest);
    }
    answer
}

fn find(repository: &mut Repository, reference: &str, incoming: &Incoming) -> Option<(String, Manifest)> {
    let digest = repository.resolve(reference)?;
    let manifest = repository.manifests.get(&digest)?.clone();
    if reference.starts_with("sha256:") || accepts(incoming, &manifest.media_type) {
        return Some((digest, manifest));
    }
    let converted = converted(&manifest)?;
    if !accepts(incoming, &converted.media_type) {
        return None;
    }
    // the converted manifest can then be asked for by its own digest
    Some((repository.put(None, converted.clone()), converted))
}

fn accepts(incoming: &Incoming, media_type: &str) -> bool {
    let mut any = false;
    for accepted in incoming.all("accept").flat_map(|line| line.split(',')) {
        any = true;
        let accepted = accepted.split(';').next().unwrap_or("").trim();
        if [media_type, "*/*", "application/*", "application/json"].contains(&accepted) {
            return true;
        }
    }
    !any
}

fn twin(media_type: &str) -> Option<&'static str> {
    TWINS.iter().find_map(|&(docker, oci)| match media_type {
        text if text == docker => Some(oci),
        text if text == oci => Some(docker),
        _ => None,
    })
}

fn converted(manifest: &Manifest) -> Option<Manifest> {
    let media_type = twin(&manifest.media_type)?;
    let mut json: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    rewrite(&mut json["mediaType"]);
    rewrite(&mut json["config"]["mediaType"]);
    for layer in json["layers"].as_array_mut()? {
        rewrite(&mut layer["mediaType"]);
    }
    json["mediaType"] = media_type.into();
    Some(Manifest { media_type: media_type.to_owned(), bytes: json.to_string().into() })
}

fn rewrite(value: &mut Value) {
    if let Some(other) = value.as_str().and_then(twin) {
        *value = other.into();
    }
}

pub(super) fn put(visit: &Visit<'_>, name: &str, reference: &str) -> Answer {
    let bytes = visit.incoming.body.clone();
    let media_type = visit.incoming.header("content-type").unwrap_or("");
    let json = serde_json::from_slice::<Value>(&bytes).ok();
    let Some(json) = json.filter(|json| json.is_object() && !media_type.contains(';')) else {
        let message = "Invalid parameter at 'ImageManifest' failed to satisfy constraint: \
                       'Invalid JSON syntax'";
        return Answer::error(405, "UNSUPPORTED", message);
    };
    let create = visit.state.knobs.lock(|knobs| knobs.create_on_push);
    let mut store = visit.state.store();
    if create {
        store.create(&visit.key, name);
    }
    let Some(repository) = store.existing(&visit.key, name) else {
        return visit.repository_unknown(name);
    };
    if let Some(answer) = objection(visit, repository, name, reference, &bytes, &json) {
        return answer;
    }
    let tag = (!reference.starts_with("sha256:")).then_some(reference);
    let media_type = match json["mediaType"].as_str() {
        Some(declared) if media_type.is_empty() => declared,
        _ => media_type,
    };
    let manifest = Manifest { media_type: media_type.to_owned(), bytes };
    let digest = repository.put(tag, manifest);
    let answer = Answer::new(201).with("Docker-Content-Digest", digest);
    match json["subject"]["digest"].as_str() {
        Some(subject) => answer.with("OCI-Subject", subject),
        None => answer,
    }
}

fn objection(
    visit: &Visit<'_>,
    repository: &Repository,
    name: &str,
    reference: &str,
    bytes: &Bytes,
    json: &Value,
) -> Option<Answer> {
    if reference.starts_with("sha256:") && digest::of(bytes) != reference {
        let message = "The image digest does not match the manifest";
        return Some(Answer::error(400, "DIGEST_INVALID", message));
    }
    if let Some(missing) = missing(repository, json) {
        let message = format!(
            "Layers with digests '[{missing}]' required for pushing image into repository with name \
             '{name}' in the registry with id '{}' do not exist",
            visit.registry.account
        );
        return Some(Answer::error(404, "MANIFEST_BLOB_UNKNOWN", &message));
    }
    let full = format!("{}/{name}", visit.registry.plain_host());
    let immutable = visit.state.knobs.lock(|knobs| knobs.immutable.contains(&full));
    let taken = repository.tags.iter().any(|(tag, _)| tag == reference);
    let message = format!(
        "The image tag '{reference}' already exists in the '{name}' repository and cannot be \
         overwritten because the repository is immutable."
    );
    (immutable && taken).then(|| Answer::error(400, "TAG_INVALID", &message))
}

/// The first blob or manifest that is named but not there.
fn missing(repository: &Repository, json: &Value) -> Option<String> {
    let list = |name: &str| json[name].as_array().cloned().unwrap_or_default();
    let blobs = list("layers").into_iter().chain([json["config"].clone()]);
    let blobs = blobs
        .filter_map(|blob| blob["digest"].as_str().map(str::to_owned))
        .find(|digest| !repository.layers.contains(digest));
    let children = list("manifests");
    let children = children
        .iter()
        .filter_map(|child| child["digest"].as_str())
        .find(|digest| !repository.manifests.contains_key(*digest));
    blobs.or(children.map(str::to_owned))
}
