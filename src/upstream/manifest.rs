//! Asking for manifests, and for what a tag points to.
//!
//! A manifest that came is named by the digest of its bytes: ECR leaves the header out of GET answers.

use hyper::{
    Method, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};

use serde::{Deserialize, de::IgnoredAny};

use super::{Error, Patience, Question, Upstream, blob::content_length, send::is_passing};
use crate::oci::{Accept, Descriptor, Digest, Manifest, MediaType, Reference, Registry, Repository};

/// The largest manifest taken: what the specification asks registries to take.
const LONGEST_MANIFEST: usize = 4 * 1024 * 1024;
const DIGEST_HEADER: &str = "docker-content-digest";

/// What a HEAD request told.
#[derive(Clone, Debug)]
pub enum Head {
    /// What the reference points to.
    Descriptor(Descriptor),
    /// The registry's HEAD does not tell, so the manifest itself was fetched.
    Manifest(Manifest),
}

/// Which manifest is asked for, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct ManifestRequest<'a> {
    /// Of which repository.
    pub repository: &'a Repository,
    /// By tag or digest.
    pub reference: &'a Reference,
    /// The types that will do.
    pub accept: &'a Accept,
    /// Who asks, for the registry's own log.
    pub client: &'a str,
}

impl Upstream {
    /// What a reference points to, without its bytes where the registry allows. Asked again while `patience` lasts.
    pub async fn head(&self, request: ManifestRequest<'_>, patience: Option<Patience>) -> Result<Head, Error> {
        let registry = &request.repository.registry;
        let question = manifest_question(Method::HEAD, request);
        match self.ask_patiently(&question, patience.clone()).await {
            Ok(response) if response.status() == StatusCode::OK => {
                if is_page(response.headers()) {
                    return Err(Error::not_the_registry(registry, "text/html"));
                }
                let told = descriptor(response.headers());
                if let Some(descriptor) = told.filter(|told| is_of(&told.digest, request.reference)) {
                    return too_large(registry, descriptor.size).map_or(Ok(Head::Descriptor(descriptor)), Err);
                }
            }
            Ok(response) if response.status() != StatusCode::METHOD_NOT_ALLOWED => {
                return Err(Error::Refused(self.refusal(request.repository, response).await));
            }
            // the answer to a HEAD has no body: whether the token is over or the right is missing, only a GET tells
            Err(Error::Refused(refusal)) if !is_passing(refusal.status) && refusal.said.message.is_empty() => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.manifest(request, patience).await.map(Head::Manifest)
    }

    /// The manifest that a reference points to. By digest, its bytes are those of the digest. Asked again while `patience`
    /// lasts.
    pub async fn manifest(&self, request: ManifestRequest<'_>, patience: Option<Patience>) -> Result<Manifest, Error> {
        let question = manifest_question(Method::GET, request);
        let response = self.ask_patiently(&question, patience).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::Refused(self.refusal(request.repository, response).await));
        }
        self.read(request, response).await
    }

    async fn read(&self, request: ManifestRequest<'_>, response: Response<Incoming>) -> Result<Manifest, Error> {
        let registry = &request.repository.registry;
        if is_page(response.headers()) {
            return Err(Error::not_the_registry(registry, "text/html"));
        }
        let media_type = media_type(response.headers())
            .ok_or_else(|| Error::protocol(registry, "a manifest came without a media type"))?;
        let announced: Option<Digest> =
            response.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(error) = content_length(response.headers()).and_then(|size| too_large(registry, size)) {
            return Err(error);
        }
        let bytes = self.collect(registry, registry.as_str(), response.into_body(), LONGEST_MANIFEST).await?;
        let (asked, name) = match request.reference {
            Reference::Digest(digest) => (true, Some(digest)),
            Reference::Tag(_) => (false, announced.as_ref()),
        };
        // whatever is kept must be what a manifest can be; what has the digest that was asked for is what was asked for
        if !asked && !is_manifest(&bytes) {
            let words = format!("what came as a manifest ({media_type}) is not JSON, or no manifest");
            return Err(Error::protocol(registry, words));
        }
        let Some(name) = name else {
            return Ok(Manifest::new(media_type, bytes));
        };
        let got = Digest::of(&bytes);
        Manifest::named(media_type, bytes, name)
            .ok_or_else(|| Error::protocol(registry, format!("bytes of digest {got} came for {name}")))
    }
}

/// Whether an answer is a page for people: no manifest is one, and what a guest network shows in its place is.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media_type| media_type.as_str() == "text/html")
}

/// What every manifest has one of. Which of them, differs: an artifact has no version, an old image no media type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Telltale {
    schema_version: Option<IgnoredAny>,
    media_type: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

/// Whether bytes can be a manifest: a JSON object with one of the fields that manifests have.
fn is_manifest(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Telltale>(bytes)
        .is_ok_and(|found| found.schema_version.or(found.media_type).or(found.manifests).is_some())
}

/// Whether what was told of `digest` is about what was asked for.
fn is_of(digest: &Digest, reference: &Reference) -> bool {
    match reference {
        Reference::Digest(asked) => asked == digest,
        Reference::Tag(_) => true,
    }
}

fn too_large(registry: &Registry, size: u64) -> Option<Error> {
    (size > LONGEST_MANIFEST as u64).then(|| Error::TooLarge { registry: registry.clone(), most: LONGEST_MANIFEST })
}

fn manifest_question(method: Method, request: ManifestRequest<'_>) -> Question<'_> {
    let ManifestRequest { repository, reference, accept, client } = request;
    let (path, accept) = (format!("manifests/{reference}"), Some(accept.as_str()));
    Question { method, repository, path, accept, range: None, client }
}

fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    headers.get(CONTENT_TYPE)?.to_str().ok().map(MediaType::new)
}

fn descriptor(headers: &HeaderMap) -> Option<Descriptor> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let digest = text(DIGEST_HEADER)?.parse().ok()?;
    let size = text(CONTENT_LENGTH.as_str())?.parse().ok()?;
    Some(Descriptor { media_type: media_type(headers)?, digest, size })
}
