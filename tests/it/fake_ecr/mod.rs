//! A fake Amazon ECR: registry (private and public), blob storage, AWS API, faults on demand, a log of all.
//!
//! It answers in the bytes that were seen of the real one, over real sockets, from a thread of its own.
//! It shares no code with the program under test, and two fakes never share anything.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(missing_docs, clippy::missing_panics_doc, clippy::missing_errors_doc)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod answer;
mod api;
mod aws;
mod blob;
mod cached;
mod call;
mod clock;
mod connection;
mod control;
mod digest;
mod failure;
mod fault;
mod hello;
mod http;
mod image;
mod knob;
mod listener;
mod listing;
mod log;
mod manifest;
mod metadata;
mod oidc;
mod plan;
mod portal;
mod proxy;
mod public;
mod pushed;
mod registry;
mod request;
mod route;
mod s3;
mod session;
mod signin;
mod sigv4;
mod start;
mod state;
mod store;
mod sts;
mod tls;
mod token;
mod upload;
mod writing;

use std::borrow::Borrow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use api::DEFAULT_PRINCIPAL;
pub use cached::{cache_login, cache_sso_token};
pub use call::ApiCall;
pub use control::parse_image;
pub use fault::{Action, FaultHandle, Rule};
pub use image::Image;
pub use knob::{DeviceSignIn, HeadBlob, Knob, Redirect, TokenReply};
pub use pushed::{Blob, Child, Pushed};
pub use request::{Listener, Request, Stats};
pub use s3::CLOUDFRONT;
pub use start::Options;
pub use tls::REGIONS;

use start::Running;
use state::State;
use store::{Manifest, split};

/// A running fake. Clones are handles to the same one; it stops when the last is dropped.
#[derive(Clone, Debug)]
pub struct FakeEcr(Arc<Running>);

impl FakeEcr {
    /// Starts on free ports of 127.0.0.1 and returns when all of them listen.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts on the given addresses.
    pub async fn start_with(options: Options) -> Self {
        Self(Arc::new(start::start(options).await))
    }

    /// The registry over TLS.
    #[must_use]
    pub fn registry_address(&self) -> SocketAddr {
        self.0.addresses.registry_tls
    }

    /// The same registry over plain HTTP.
    #[must_use]
    pub fn registry_plain_address(&self) -> SocketAddr {
        self.0.addresses.registry_plain
    }

    /// The blob storage over TLS: S3 and `CloudFront`.
    #[must_use]
    pub fn s3_address(&self) -> SocketAddr {
        self.0.addresses.s3_tls
    }

    /// The same storage over plain HTTP.
    #[must_use]
    pub fn s3_plain_address(&self) -> SocketAddr {
        self.0.addresses.s3_plain
    }

    /// For `AWS_ENDPOINT_URL` or any of `AWS_ENDPOINT_URL_ECR`, `_ECR_PUBLIC`, `_STS`, `_SSO`, `_SSO_OIDC`, `_SIGNIN`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.0.addresses.api)
    }

    /// The control interface, see `control.rs`.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}", self.0.addresses.control)
    }

    /// The certificate authority to trust.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.state().ca_pem.clone()
    }

    fn state(&self) -> &State {
        &self.0.state
    }

    /// Moves the virtual clock forward: tokens and presigned URLs expire by it.
    pub fn advance(&self, by: Duration) {
        self.state().clock.advance(by);
    }

    /// Virtual time since the epoch.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().clock.now()
    }

    /// Stores an image; `repository` is `host/name`, made when missing.
    #[track_caller]
    pub fn push_image(&self, repository: &str, tag: &str, image: impl Borrow<Image>) -> Pushed {
        split(repository);
        let image = image.borrow();
        self.state().store().push(repository, tag, image)
    }

    /// Stores a manifest of any bytes and returns its digest.
    #[track_caller]
    pub fn push_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: Vec<u8>) -> String {
        let (key, name) = split(repository);
        let manifest = Manifest { media_type: media_type.to_owned(), bytes: bytes.into() };
        self.state().store().create(&key, &name).put(tag, manifest)
    }

    /// Stores a blob and returns its digest.
    #[track_caller]
    pub fn push_blob(&self, repository: &str, bytes: Vec<u8>) -> String {
        let (key, name) = split(repository);
        self.state().store().put_blob(&key, &name, bytes.into())
    }

    /// Makes an empty repository.
    #[track_caller]
    pub fn create_repository(&self, repository: &str) {
        let (key, name) = split(repository);
        self.state().store().create(&key, &name);
    }

    /// Whether there was one.
    #[track_caller]
    pub fn delete_repository(&self, repository: &str) -> bool {
        let (key, name) = split(repository);
        self.state().store().remove(&key, &name)
    }

    /// Whether there was such a tag. The manifest stays.
    #[track_caller]
    pub fn delete_tag(&self, repository: &str, tag: &str) -> bool {
        let (key, name) = split(repository);
        let mut store = self.state().store();
        let repository = store.existing(&key, &name);
        repository.is_some_and(|repository| {
            let before = repository.tags.len();
            repository.tags.retain(|(other, _)| other != tag);
            repository.tags.len() < before
        })
    }

    /// The bytes of a manifest by tag or digest, as stored.
    #[track_caller]
    #[must_use]
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Vec<u8>> {
        let (key, name) = split(repository);
        let store = self.state().store();
        let repository = store.repository(&key, &name)?;
        let digest = repository.resolve(reference)?;
        Some(repository.manifests.get(&digest)?.bytes.to_vec())
    }

    /// The bytes of a blob, whichever repository holds it.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.state().store().blob(digest).map(|bytes| bytes.to_vec())
    }

    /// Puts a rule in force, after those that are.
    pub fn fault(&self, rule: Rule) -> FaultHandle {
        self.state().faults.add(rule)
    }

    /// No rule hits anything any more. What is held stays held until its handle releases it.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Expires every token given out so far.
    pub fn expire_tokens(&self) {
        token::expire_all(self.state());
    }

    /// Expires every presigned URL given out so far.
    pub fn expire_urls(&self) {
        s3::expire_all(self.state());
    }

    /// Every request on every listener but control, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.requests()
    }

    /// Those of one listener.
    #[must_use]
    pub fn requests_to(&self, listener: Listener) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.listener == listener);
        requests
    }

    /// How many of one listener had this method.
    #[must_use]
    pub fn count(&self, listener: Listener, method: &str) -> usize {
        let requests = self.requests_to(listener);
        requests.iter().filter(|r| r.method == method).count()
    }

    /// `GET`s of a digest on the storage.
    #[must_use]
    pub fn s3_gets(&self, digest: &str) -> u64 {
        self.stats().s3_gets.get(digest).copied().unwrap_or(0)
    }

    /// Empties the log and sets all counters but those of open connections to zero.
    pub fn clear_requests(&self) {
        self.state().log.clear();
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state().log.stats()
    }

    /// Changes a behaviour until it is set again.
    pub fn set(&self, knob: Knob) {
        self.state().set(knob);
    }

    /// Closes every connection and refuses new ones, on all listeners but control.
    pub fn stop_listening(&self) {
        self.0.partition(true);
    }

    /// Listens again, on the same ports.
    pub fn resume(&self) {
        self.0.partition(false);
    }
}
