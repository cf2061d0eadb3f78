//! `tags/list` and `referrers/<digest>`: asked upstream each time, answered in the client's own words for the name.

use hyper::{
    Response,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK},
};
use url::form_urlencoded;

use super::{
    Server,
    answer::{Asked, Handled, Problem},
    body::Body,
};
use crate::{
    cache::Status,
    oci::{Code, Repository},
};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Passes on `object`, which is what stands behind the repository's name; `name` is what the client called it.
pub(super) async fn relay(
    server: &Server,
    repository: &Repository,
    (name, object): (&str, &str),
    query: Option<&str>,
    asked: &Asked<'_>,
) -> Handled {
    let path = format!("{object}{}", without_namespace(query));
    let relayed = server.cache.relay(repository, &path, asked.client).await;
    let relayed = relayed.map_err(|error| Problem::cache(&error, Code::NameUnknown))?;
    let upstream_bytes = relayed.body.len() as u64;
    let mut response = Response::new(Body::full(relayed.body));
    let kept = [CONTENT_TYPE, FILTERS_APPLIED].into_iter();
    let kept = kept.filter_map(|key| relayed.headers.get(&key).cloned().map(|value| (key, value)));
    response.headers_mut().extend(kept);
    let next = relayed.next.map(|next| next.replacen(&format!("/v2/{}/", repository.name), &format!("/v2/{name}/"), 1));
    // the next page is asked for in the same way as this one
    let next = next.map(|next| namespace(query).map_or(next.clone(), |ns| with_namespace(&next, &ns)));
    let link = next.and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
    response.headers_mut().extend(link.map(|link| (LINK, link)));
    Ok((response, Status::Bypass, upstream_bytes))
}

fn namespace(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == "ns").map(|(_, value)| value.into_owned())
}

fn with_namespace(path: &str, namespace: &str) -> String {
    let pair = form_urlencoded::Serializer::new(String::new()).append_pair("ns", namespace).finish();
    format!("{path}{}{pair}", if path.contains('?') { '&' } else { '?' })
}

/// The query as upstream is to see it: `ns` was for us.
fn without_namespace(query: Option<&str>) -> String {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(key, _)| key != "ns");
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { query } else { format!("?{query}") }
}
