//! Knobs: lasting changes of behaviour, as opposed to faults, which hit single requests.
//!
//! The default of every knob is what real ECR does, as far as it is known. A knob never counts.
mod aws;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

pub(super) use aws::Aws;
pub use aws::DeviceSignIn;

/// Where `GET` of a blob is redirected to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirect {
    /// The S3 (or `CloudFront`) name, as ECR does.
    Storage,
    /// Another scheme and authority, e.g. `http://127.0.0.1:4000`, the same path and signature.
    Base(String),
    /// A `Location` without scheme and host; the registry listener then serves the object itself.
    Relative,
    /// This many redirects to the blob's own address before the real one.
    Loop(u32),
}

/// What `HEAD` of a blob is answered with in private mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadBlob {
    /// 200 with length and digest.
    Answered,
    /// This status and no body.
    Status(u16),
}

/// The shape of the answer of `GetAuthorizationToken`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenReply {
    /// As AWS sends it.
    Proper,
    /// No `expiresAt`.
    NoExpiry,
    /// `expiresAt` one hour ago, though the token works.
    PastExpiry,
    /// This many entries in `authorizationData`.
    Entries(u8),
    /// A base64 text that does not decode to UTF-8.
    NotUtf8,
    /// A proper body with `Content-Type: text/html`.
    Html,
}

/// One lasting change of behaviour. In JSON: `{"get_digest": true}`; durations are in seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Knob {
    /// `Docker-Content-Digest` on `GET` of a manifest.
    GetDigest(bool),
    /// Blobs are served by the registry itself (200/206) instead of a redirect.
    InlineBlobs(bool),
    /// Where blobs are redirected to.
    RedirectTo(Redirect),
    /// `HEAD` of a blob, private mode.
    HeadBlob(HeadBlob),
    /// The principal (ARN) may do nothing from now on.
    RevokePrincipal(String),
    /// Takes [`Knob::RevokePrincipal`] back.
    RestorePrincipal(String),
    /// Repositories no principal may use: `host/name`, `*` matches anything.
    DenyRepository(String),
    /// Takes [`Knob::DenyRepository`] of the same text back.
    AllowRepository(String),
    /// Tags of the repository (`host/name`) cannot be moved.
    ImmutableTags(String, bool),
    /// Whether `mount=` works within one registry.
    BlobMounting(bool),
    /// A push creates the repository.
    CreateOnPush(bool),
    /// Opening an upload in a missing repository closes the connection without an answer.
    RepositoryMissingEof(bool),
    /// Pulls per second without a token at public.ecr.aws; `None` is no limit.
    AnonymousRate(Option<f64>),
    /// Calls per second of an ECR action such as `BatchGetImage`; `None` is no limit.
    Throttle(String, Option<f64>),
    /// Seconds in `Retry-After` of a 429; `None` is no such header.
    RetryAfter(Option<u64>),
    /// Life of private tokens.
    TokenLifetime(#[serde(deserialize_with = "seconds")] Duration),
    /// Life of anonymous bearer tokens.
    AnonymousLifetime(#[serde(deserialize_with = "seconds")] Duration),
    /// Life of presigned URLs.
    UrlLifetime(#[serde(deserialize_with = "seconds")] Duration),
    /// Size of the token before the outer base64.
    TokenBytes(usize),
    /// The shape of the API's answer.
    TokenReply(TokenReply),
    /// Status for a token that is not one or is of another region.
    InvalidTokenStatus(u16),
    /// Status of `PATCH` on an upload; ECR says 201.
    PatchStatus(u16),
    /// Status of `DELETE` on an upload.
    DeleteUploadStatus(u16),
    /// Status of the referrers API other than 200, e.g. 404 or 405.
    ReferrersStatus(u16),
    /// Smallest chunk that may be followed by another.
    MinimumPart(usize),
    /// Access key id → ARN of the principal it belongs to.
    Principal(String, String),
    /// Requests with this access key id must be signed with this secret.
    VerifySignature(String, String),
    /// Bytes per second of all S3 answers together.
    S3Rate(Option<u64>),
    /// Bytes per second of each S3 connection, whatever the others do.
    S3ConnectionRate(Option<u64>),
    /// Delay before every answer, all listeners but the control one.
    Latency(#[serde(deserialize_with = "seconds")] Duration),
    /// Role → serial number and code without which `AssumeRole` is denied; `GetSessionToken` knows them too.
    RequireMfa(String, String, String),
    /// Role → external id without which `AssumeRole` is denied.
    ExternalId(String, String),
    /// Role → most seconds that `DurationSeconds` may ask for.
    LongestSession(String, u64),
    /// What sessions are told to last when the request does not say.
    SessionLifetime(#[serde(deserialize_with = "seconds")] Duration),
    /// The session of this access key id is over.
    ExpireSession(String),
    /// The action of any service → the error code it is refused with, in its service's form.
    Refuse(String, String),
    /// Takes [`Knob::Refuse`] of the same action back.
    Grant(String),
    /// A token that the access portal takes.
    SsoToken(String),
    /// One that it takes no more.
    RevokeSsoToken(String),
    /// Where sign-ins with a device code stand.
    DeviceSignIn(DeviceSignIn),
    /// `user:password` that the proxy demands.
    ProxyCredentials(Option<String>),
    /// Name of the instance's role; `None` is no role.
    MetadataRole(Option<String>),
    /// Region of the instance.
    MetadataRegion(String),
    /// `Authorization` that container credentials demand.
    ContainerAuthorization(Option<String>),
}

/// The state of all knobs.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a knob of its own")]
pub(super) struct Settings {
    pub(super) get_digest: bool,
    pub(super) inline_blobs: bool,
    pub(super) redirect: Redirect,
    pub(super) head_blob: HeadBlob,
    pub(super) revoked: BTreeSet<String>,
    pub(super) denied: BTreeSet<String>,
    pub(super) immutable: BTreeSet<String>,
    pub(super) blob_mounting: bool,
    pub(super) create_on_push: bool,
    pub(super) missing_eof: bool,
    pub(super) rates: BTreeMap<String, f64>,
    pub(super) retry_after: Option<u64>,
    pub(super) token_life: Duration,
    pub(super) anonymous_life: Duration,
    pub(super) url_life: Duration,
    pub(super) token_bytes: usize,
    pub(super) token_reply: TokenReply,
    pub(super) invalid_token_status: u16,
    pub(super) patch_status: u16,
    pub(super) delete_upload_status: u16,
    pub(super) referrers_status: u16,
    pub(super) minimum_part: usize,
    pub(super) principals: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) s3_rate: Option<u64>,
    pub(super) s3_connection_rate: Option<u64>,
    pub(super) latency: Duration,
    pub(super) aws: Aws,
}

/// The bucket of pulls without a token at public.ecr.aws.
pub(super) const ANONYMOUS: &str = "anonymous";

impl Default for Settings {
    fn default() -> Self {
        Self {
            get_digest: false,
            inline_blobs: false,
            redirect: Redirect::Storage,
            head_blob: HeadBlob::Answered,
            revoked: BTreeSet::new(),
            denied: BTreeSet::new(),
            immutable: BTreeSet::new(),
            blob_mounting: false,
            create_on_push: false,
            missing_eof: false,
            rates: BTreeMap::new(),
            retry_after: None,
            token_life: Duration::from_hours(12),
            anonymous_life: Duration::from_hours(1),
            url_life: Duration::from_hours(1),
            token_bytes: 2048,
            token_reply: TokenReply::Proper,
            invalid_token_status: 400,
            patch_status: 201,
            delete_upload_status: 204,
            referrers_status: 200,
            minimum_part: 5 << 20,
            principals: BTreeMap::new(),
            secrets: BTreeMap::new(),
            s3_rate: None,
            s3_connection_rate: None,
            latency: Duration::ZERO,
            aws: Aws::default(),
        }
    }
}

impl Settings {
    fn apply(&mut self, knob: Knob) {
        match knob {
            Knob::GetDigest(on) => self.get_digest = on,
            Knob::InlineBlobs(on) => self.inline_blobs = on,
            Knob::RedirectTo(to) => self.redirect = to,
            Knob::HeadBlob(how) => self.head_blob = how,
            Knob::RevokePrincipal(arn) => _ = self.revoked.insert(arn),
            Knob::RestorePrincipal(arn) => _ = self.revoked.remove(&arn),
            Knob::DenyRepository(pattern) => _ = self.denied.insert(pattern),
            Knob::AllowRepository(pattern) => _ = self.denied.remove(&pattern),
            Knob::ImmutableTags(repository, true) => _ = self.immutable.insert(repository),
            Knob::ImmutableTags(repository, false) => _ = self.immutable.remove(&repository),
            Knob::BlobMounting(on) => self.blob_mounting = on,
            Knob::CreateOnPush(on) => self.create_on_push = on,
            Knob::RepositoryMissingEof(on) => self.missing_eof = on,
            Knob::AnonymousRate(rate) => self.limit(ANONYMOUS.to_owned(), rate),
            Knob::Throttle(action, rate) => self.limit(action, rate),
            Knob::RetryAfter(seconds) => self.retry_after = seconds,
            Knob::TokenLifetime(life) => self.token_life = life,
            Knob::AnonymousLifetime(life) => self.anonymous_life = life,
            Knob::UrlLifetime(life) => self.url_life = life,
            Knob::TokenBytes(bytes) => self.token_bytes = bytes,
            Knob::TokenReply(reply) => self.token_reply = reply,
            Knob::InvalidTokenStatus(status) => self.invalid_token_status = status,
            Knob::PatchStatus(status) => self.patch_status = status,
            Knob::DeleteUploadStatus(status) => self.delete_upload_status = status,
            Knob::ReferrersStatus(status) => self.referrers_status = status,
            Knob::MinimumPart(bytes) => self.minimum_part = bytes,
            Knob::Principal(key, arn) => _ = self.principals.insert(key, arn),
            Knob::VerifySignature(key, secret) => _ = self.secrets.insert(key, secret),
            Knob::S3Rate(rate) => self.s3_rate = rate,
            Knob::S3ConnectionRate(rate) => self.s3_connection_rate = rate,
            Knob::Latency(latency) => self.latency = latency,
            Knob::RequireMfa(role, serial, code) => _ = self.aws.mfa.insert(role, (serial, code)),
            Knob::ExternalId(role, id) => _ = self.aws.external_ids.insert(role, id),
            Knob::LongestSession(role, seconds) => _ = self.aws.longest.insert(role, seconds),
            Knob::SessionLifetime(life) => self.aws.session_life = life,
            // not a setting: `State::set` ends the session
            Knob::ExpireSession(_) => {}
            Knob::Refuse(action, code) => _ = self.aws.refused.insert(action, code),
            Knob::Grant(action) => _ = self.aws.refused.remove(&action),
            Knob::SsoToken(token) => _ = self.aws.sso_tokens.insert(token),
            Knob::RevokeSsoToken(token) => _ = self.aws.sso_tokens.remove(&token),
            Knob::DeviceSignIn(stand) => self.aws.device = stand,
            Knob::ProxyCredentials(wanted) => self.aws.proxy_credentials = wanted,
            Knob::MetadataRole(role) => self.aws.metadata_role = role,
            Knob::MetadataRegion(region) => self.aws.metadata_region = region,
            Knob::ContainerAuthorization(wanted) => self.aws.container_authorization = wanted,
        }
    }

    fn limit(&mut self, action: String, rate: Option<f64>) {
        match rate {
            Some(rate) => _ = self.rates.insert(action, rate),
            None => _ = self.rates.remove(&action),
        }
    }
}

/// The knobs behind their lock.
#[derive(Debug, Default)]
pub(super) struct Knobs(Mutex<Settings>);

impl Knobs {
    pub(super) fn set(&self, knob: Knob) {
        self.lock_mut(|settings| settings.apply(knob));
    }

    pub(super) fn lock<T>(&self, read: impl FnOnce(&Settings) -> T) -> T {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_mut(&self, write: impl FnOnce(&mut Settings)) {
        write(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}
