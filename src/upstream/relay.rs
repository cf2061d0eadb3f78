//! Questions that are passed on as they are: tags and referrers.
//!
//! Reads only; nothing of it is kept.

use bytes::Bytes;
use hyper::{
    Method, StatusCode,
    header::{HeaderMap, LINK},
};
use url::Url;

use super::{Error, Question, Upstream};
use crate::oci::Repository;

/// A page of tags or referrers is far smaller.
const LONGEST_LIST: usize = 16 * 1024 * 1024;

/// A registry's answer, to be passed on.
#[derive(Debug)]
pub struct Relayed {
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The body of the answer.
    pub body: Bytes,
    /// Path and query of the next page, if there is one.
    pub next: Option<String>,
}

impl Upstream {
    /// Asks for what lies behind a repository's name, such as `tags/list?n=10`.
    pub async fn relay(&self, repository: &Repository, path: &str, client: &str) -> Result<Relayed, Error> {
        let registry = &repository.registry;
        let question =
            Question { method: Method::GET, repository, path: path.to_owned(), accept: None, range: None, client };
        let response = self.ask_patiently(&question, Some(self.patience())).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::Refused(self.refusal(repository, response).await));
        }
        let (parts, body) = response.into_parts();
        let body = self.collect(registry, registry.as_str(), body, LONGEST_LIST).await?;
        let base = Url::parse(&self.uri(registry, "/")).map_err(|source| Error::protocol(registry, source))?;
        Ok(Relayed { next: next_page(&base, &parts.headers), headers: parts.headers, body })
    }
}

/// The target of a `Link` header with `rel="next"` (RFC 8288), which may be relative or absolute.
fn next_page(base: &Url, headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let target = base.join(target).ok().filter(|_| parameters.contains("next"))?;
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}{query}", target.path()))
}

#[test]
fn the_next_page_is_found_in_relative_and_absolute_links() {
    let base = Url::parse("https://a.b/").unwrap();
    for (link, want) in [
        ("</v2/r/tags/list?last=x%3D&n=2>; rel=\"next\"", Some("/v2/r/tags/list?last=x%3D&n=2")),
        ("<https://a.b/v2/r/tags/list?n=2>; rel=next", Some("/v2/r/tags/list?n=2")),
        ("</v2/r/tags/list>; rel=\"prev\"", None),
        ("garbage", None),
    ] {
        let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
        assert_eq!(next_page(&base, &headers).as_deref(), want, "{link}");
    }
}
