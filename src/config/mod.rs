//! The configuration: plain data that is valid because it exists.
//!
//! Reads no file and no environment variable: the text is handed in, the answer is a [`Config`] or the line, the key
//! and the problem. Helper and daemon read the same text.

mod identity;
mod origin;
mod pattern;
mod raw;
mod rule;
mod value;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use crate::oci::Registry;

pub use identity::IdentityRule;
pub use origin::{Origins, settings};
pub use pattern::{HostPattern, PortPattern, TagPattern};

/// Everything that can be configured. `Config::default()` is what runs without a file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the daemon listens. Loopback, unless `access` says who else may come.
    pub listen: SocketAddr,
    /// The registry of names that carry none.
    pub default_registry: Option<Registry>,
    /// How long running transfers may go on after the first request to stop.
    pub grace: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where authorization tokens are kept.
    pub token_store: TokenProtection,
    /// The credential helper for hosts that are not ECR, by the name that follows `docker-credential-`.
    pub fallback_helper: Option<String>,
    /// What is kept on disk, and how long tags are believed.
    pub cache: Cache,
    /// Which other machines may come.
    pub access: Access,
    /// How upstreams are reached.
    pub upstream: Upstream,
    /// What is special about single registries; the first that matches counts.
    pub registries: Vec<RegistryRule>,
}

/// `[cache]`
#[derive(Clone, Debug)]
pub struct Cache {
    /// The cache folder; without one, the user's cache folder is used.
    pub dir: Option<PathBuf>,
    /// How much of the disk may be taken; without one, the smaller of 50 GB and a fifth of the free disk.
    pub max_size: Option<NonZeroU64>,
    /// How much of the disk stays free; without one, the smaller of 1 GB and a twentieth of the disk.
    pub min_free: Option<u64>,
    /// What was not read for so long is deleted. Zero keeps it until its room is needed.
    pub max_age: Duration,
    /// How long a tag's digest is believed without asking upstream. Zero asks each time.
    pub revalidate: Duration,
    /// How long upstream may take to say what a cached tag points to, before the cached answer is served as stale.
    pub stale_after: Duration,
    /// Whether nothing is asked upstream: what is not cached does not exist, what is cached is served, stale or not.
    pub offline: bool,
    /// Whether a cached tag that is gone upstream is served nevertheless.
    pub keep_deleted: bool,
    /// What becomes of a download when all its clients have left.
    pub finish_fill: FinishFill,
    /// How often all content is read again and compared with its digest. Zero never does.
    pub scrub_every: Duration,
    /// Bytes a second that this may read.
    pub scrub_rate: NonZeroU64,
}

/// What becomes of a download when all its clients have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishFill {
    /// It goes on to its end.
    Always,
    /// It goes on when at least so many percent of it are there, else it rests until somebody asks again.
    From(u8),
    /// It rests until somebody asks again.
    Never,
}

/// `[access]`
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Networks whose machines may use the daemon. Loopback always may.
    pub networks: Vec<IpNet>,
}

/// `[upstream]`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Certificates (PEM) trusted besides the machine's own.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an upstream may send nothing, before its headers and within its body.
    pub idle_timeout: Duration,
    /// Where `host:port` really is, for PrivateLink names and tests. TLS still checks the name.
    pub connect_to: Vec<(PortPattern, String)>,
    /// How long a question is asked again that an upstream out of order did not answer.
    pub retry_for: Duration,
    /// Blobs above this size are fetched over several connections, when that is faster. Zero never does.
    pub parallel_above: u64,
    /// How many connections may fetch blobs from one host.
    pub connections_per_host: NonZeroUsize,
    /// How many connections may fetch blobs in all.
    pub connections: NonZeroUsize,
    /// How many blobs are fetched ahead at a time when a client reads the manifest that names them. Zero fetches none.
    pub prefetch: usize,
    /// An image that is served from the cache is asked for upstream at least this often. Zero never does.
    pub touch_after: Duration,
}

/// `[[registry]]`: what is special about the registries a pattern matches.
#[derive(Clone, Debug)]
pub struct RegistryRule {
    /// Which registries.
    pub pattern: HostPattern,
    /// Where the registry really is: `http://` or `https://`, host and port.
    pub endpoint: Option<Endpoint>,
    /// Who logs in.
    pub username: Option<String>,
    /// The file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The host whose token service is given the password, when it is not the registry's own.
    pub token_host: Option<String>,
    /// The ECR registry that this name stands for: a CNAME, a PrivateLink name, a proxy.
    pub alias: Option<Registry>,
    /// How much of the cache the registries of this rule may take.
    pub max_size: Option<NonZeroU64>,
    /// `repository:tag` patterns of tags that never move.
    pub immutable: Vec<TagPattern>,
    /// With whose rights ECR is asked.
    pub identity: IdentityRule,
}

/// How authorization tokens are kept on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenProtection {
    /// In files that only their owner can read.
    File,
    /// In files that are encrypted with the key in this file.
    EncryptedFile(PathBuf),
    /// In the keyring of the operating system.
    Keyring,
    /// In the memory of the daemon only.
    Memory,
}

/// Where a registry is, and whether it speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// `host[:port]`
    pub authority: Registry,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why a text is not a configuration. Lines and columns count from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Where, when the problem has one place.
    pub line: Option<usize>,
    /// Which key, with its table, such as `cache.max_size`.
    pub key: Option<String>,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl std::error::Error for Invalid {}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl Default for Config {
    fn default() -> Self {
        raw::defaults().expect("the defaults are valid: a test reads them")
    }
}

impl Config {
    /// Reads a configuration from TOML.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        raw::parse(text)
    }

    /// The first rule that matches `registry`, which is of the AWS account `account` if it is of ECR.
    #[must_use]
    pub fn rule(&self, registry: &Registry, account: Option<&str>) -> Option<&RegistryRule> {
        let is_meant = |pattern: &HostPattern| {
            pattern.matches(registry.as_str()) || account.is_some_and(|account| pattern.as_str() == account)
        };
        self.registries.iter().find(|rule| is_meant(&rule.pattern))
    }
}

/// The address by which this machine reaches what listens on `listen` here.
#[must_use]
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests;
