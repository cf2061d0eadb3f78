//! Lists: tags with ECR's paging and limit, the catalog, referrers.
//!
//! `last` is an opaque token, as on ECR: a client that computes it itself gets the first page.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::http::Answer;
use super::image::INDEX;
use super::registry::Visit;

const MOST: usize = 1000;

fn page_size(visit: &Visit<'_>) -> Result<usize, Answer> {
    let asked = visit.incoming.query("n").and_then(|n| n.parse().ok());
    let count: usize = asked.unwrap_or(100);
    if count <= MOST {
        return Ok(count.max(1));
    }
    let message = "Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have \
                   value less than or equal to 1000'";
    Err(Answer::error(405, "UNSUPPORTED", message))
}

pub(super) fn tags(visit: &Visit<'_>, name: &str) -> Answer {
    let count = match page_size(visit) {
        Ok(count) => count,
        Err(answer) => return answer,
    };
    let store = visit.state.store();
    let Some(repository) = store.repository(&visit.key, name) else {
        return visit.repository_unknown(name);
    };
    let start = visit.incoming.query("last").and_then(|last| position(&last));
    let start = start.unwrap_or(0);
    let all = repository.tags.iter().map(|(tag, _)| tag);
    let page: Vec<&String> = all.skip(start).take(count).collect();
    let next = start + page.len();
    let body = json!({"name": name, "tags": page});
    let answer = Answer::new(200).with("Content-Type", "text/plain; charset=utf-8").body(format!("{body}\n"));
    if next >= repository.tags.len() {
        return answer;
    }
    let last = URL_SAFE_NO_PAD.encode(format!("next:{next}"));
    let link = format!("</v2/{name}/tags/list?last={last}&n={count}>; rel=\"next\"");
    answer.with("Link", link)
}

fn position(last: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(last).ok()?).ok()?;
    text.strip_prefix("next:")?.parse().ok()
}

pub(super) fn catalog(visit: &Visit<'_>) -> Answer {
    let count = match page_size(visit) {
        Ok(count) => count,
        Err(answer) => return answer,
    };
    let store = visit.state.store();
    let mut names = store.names(&visit.key);
    names.truncate(count);
    Answer::json(200, &json!({"repositories": names}))
}

pub(super) fn referrers(visit: &Visit<'_>, name: &str, digest: &str) -> Answer {
    let status = visit.state.knobs.lock(|knobs| knobs.referrers_status);
    if status != 200 {
        return Answer::error(status, "UNSUPPORTED", "The operation is unsupported.");
    }
    let store = visit.state.store();
    let Some(repository) = store.repository(&visit.key, name) else {
        return visit.repository_unknown(name);
    };
    let filter = visit.incoming.query("artifactType");
    let mut found = Vec::new();
    for (own, manifest) in &repository.manifests {
        let json: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
        let kind = json["artifactType"].as_str();
        let kind = kind.or(json["config"]["mediaType"].as_str()).unwrap_or("");
        let wanted = filter.as_ref().is_none_or(|filter| filter == kind);
        if json["subject"]["digest"] == digest && wanted {
            found.push(json!({
                "mediaType": manifest.media_type,
                "digest": own,
                "size": manifest.bytes.len(),
                "artifactType": kind,
            }));
        }
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": found});
    let answer = Answer::new(200).with("Content-Type", INDEX).body(index.to_string());
    match filter {
        Some(_) => answer.with("OCI-Filters-Applied", "artifactType"),
        None => answer,
    }
}
