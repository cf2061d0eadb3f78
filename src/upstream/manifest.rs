//! Asking for manifests, and for what a tag points to.
//!
//! A manifest that came is named by the digest of its bytes: ECR leaves the header out of GET answers.

use hyper::{
    Method, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};

use super::{Error, Question, Upstream};
use crate::oci::{Accept, Descriptor, Digest, Manifest, MediaType, Reference, Repository};

/// The largest manifest taken: four times what the specification asks registries to take.
const LONGEST_MANIFEST: usize = 16 * 1024 * 1024;
const DIGEST_HEADER: &str = "docker-content-digest";

/// What a HEAD request told.
#[derive(Clone, Debug)]
pub enum Head {
    /// What the reference points to.
    Descriptor(Descriptor),
    /// The registry's HEAD does not tell, so the manifest itself was fetched.
    Manifest(Manifest),
}

impl Upstream {
    /// What `reference` points to, without its bytes where the registry allows.
    pub async fn head(
        &self,
        repository: &Repository,
        reference: &Reference,
        accept: &Accept,
        client: &str,
    ) -> Result<Head, Error> {
        let question = manifest_question(Method::HEAD, repository, reference, accept, client);
        match self.ask(&question).await {
            Ok(response) if response.status() == StatusCode::OK => {
                if let Some(descriptor) = descriptor(response.headers()) {
                    return Ok(Head::Descriptor(descriptor));
                }
            }
            Ok(response) if response.status() != StatusCode::METHOD_NOT_ALLOWED => {
                return Err(Error::Refused(self.refusal(repository, response).await));
            }
            // the answer to a HEAD has no body: whether the token is over or the right is missing, only a GET tells
            Err(Error::Refused(refusal)) if refusal.said.message.is_empty() => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.manifest(repository, reference, accept, client).await.map(Head::Manifest)
    }

    /// The manifest that `reference` points to. By digest, its bytes are those of the digest.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        accept: &Accept,
        client: &str,
    ) -> Result<Manifest, Error> {
        let question = manifest_question(Method::GET, repository, reference, accept, client);
        let response = self.ask(&question).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::Refused(self.refusal(repository, response).await));
        }
        let manifest = self.read(repository, response).await?;
        let got = &manifest.descriptor.digest;
        match reference {
            Reference::Digest(want) if want != got => {
                Err(Error::protocol(&repository.registry, format!("bytes of digest {got} came for {want}")))
            }
            _ => Ok(manifest),
        }
    }

    async fn read(&self, repository: &Repository, response: Response<Incoming>) -> Result<Manifest, Error> {
        let registry = &repository.registry;
        let media_type = media_type(response.headers())
            .ok_or_else(|| Error::protocol(registry, "a manifest came without a media type"))?;
        let announced = response.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = self.collect(registry, registry.as_str(), response.into_body(), LONGEST_MANIFEST).await?;
        let manifest = Manifest::new(media_type, body);
        let got = &manifest.descriptor.digest;
        // a captive portal answers 200 with a page; whatever is kept must at least be JSON
        if serde_json::from_slice::<serde::de::IgnoredAny>(&manifest.bytes).is_err() {
            let media_type = &manifest.descriptor.media_type;
            return Err(Error::protocol(registry, format!("what came as a manifest ({media_type}) is not JSON")));
        }
        if announced.is_some_and(|announced: Digest| announced != *got) {
            return Err(Error::protocol(registry, format!("bytes of digest {got} came under another digest's name")));
        }
        Ok(manifest)
    }
}

fn manifest_question<'a>(
    method: Method,
    repository: &'a Repository,
    reference: &Reference,
    accept: &'a Accept,
    client: &'a str,
) -> Question<'a> {
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
