//! The size of a blob, for at most one byte of it.
//!
//! A HEAD is a try, never a need: many registries answer it worse than a GET. Nothing is fetched whole to learn its length.

use std::time::Instant;

use hyper::{Method, StatusCode};

use super::{
    Error, Question, Upstream,
    authorize::Authorization,
    blob::{content_length, content_range},
    manifest::is_page,
    send::is_passing,
};
use crate::{
    ecr::EcrRegistry,
    oci::{Digest, Repository},
};

impl Upstream {
    /// The size of a blob, for at most one byte of it.
    pub async fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
        client: &str,
    ) -> Result<Option<u64>, Error> {
        let mut patience = self.patience();
        loop {
            let error = match self.ask_size(repository, digest, client).await {
                Err(error) => error,
                size => return size,
            };
            let Some(pause) = patience.pause(&error, Instant::now()) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask_size(&self, repository: &Repository, digest: &Digest, client: &str) -> Result<Option<u64>, Error> {
        let path = format!("blobs/{digest}");
        let mut question = Question { method: Method::HEAD, repository, path, accept: None, range: None, client };
        let is_public = EcrRegistry::parse(repository.registry.host()).is_some_and(|ecr| ecr.scope.public);
        // ECR Public answers 401 to every HEAD of a blob
        if !is_public && let Some(size) = self.head_blob(&question).await? {
            return Ok(Some(size));
        }
        question.method = Method::GET;
        let (response, storage) = self.follow(&question, Some("bytes=0-0")).await?;
        match response.status() {
            StatusCode::OK if is_page(response.headers()) => {
                Err(Error::not_the_registry(&repository.registry, "text/html"))
            }
            StatusCode::OK => Ok(content_length(response.headers())),
            StatusCode::PARTIAL_CONTENT => Ok(content_range(response.headers()).and_then(|(_, total)| total)),
            // of no bytes there is no first one
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(0)),
            _ => Err(self.no_blob(repository, response, storage.as_ref()).await),
        }
    }

    /// What a HEAD told. A no is not believed, and costs no token: only a GET tells what it means.
    async fn head_blob(&self, question: &Question<'_>) -> Result<Option<u64>, Error> {
        let (repository, registry) = (question.repository, &question.repository.registry);
        self.may_ask(registry)?;
        let credential = self.credentials.get(registry).await.map_err(Error::Credentials)?;
        let authorization = self.known_authorization(repository, &credential).await.unwrap_or(Authorization::None);
        let response = self.send(self.request(question, &authorization)?, registry).await?;
        if is_passing(response.status()) {
            return Err(Error::Refused(self.refusal(repository, response).await));
        }
        let is_told = response.status() == StatusCode::OK && !is_page(response.headers());
        Ok(content_length(response.headers()).filter(|_| is_told))
    }
}
