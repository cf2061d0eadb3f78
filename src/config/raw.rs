//! The TOML as it is written, and the checks between it and a [`Config`].
//!
//! `impl Default` of the raw tables is the one list of defaults, each with its reason.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::{
    Access, Cache, Config, FinishFill, Invalid, LogFormat, PortPattern, TokenProtection, Upstream,
    identity::HelperName,
    origin,
    rule::RawRegistry,
    value::{Amount, Size, Text, Time, TimeLimit, WholePath},
};
use crate::oci::Registry;

/// Docker's users know `localhost:5000` taken by every other registry; 5577 is free in the IANA list.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5577);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    listen: Option<Spanned<Text<SocketAddr>>>,
    default_registry: Option<Text<Registry>>,
    grace: Time,
    log_format: RawLogFormat,
    token_store: Spanned<RawTokenStore>,
    token_key_file: Option<Spanned<WholePath>>,
    fallback: RawFallback,
    cache: RawCache,
    access: RawAccess,
    upstream: RawUpstream,
    registry: Vec<RawRegistry>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            listen: None,
            default_registry: None,
            // a large layer on a slow line gets a chance, a service manager's 90 s are not used up
            grace: Time(Duration::from_secs(30)),
            log_format: RawLogFormat::Text,
            // what every AWS tool does with the keys these tokens are minted with, which are worth more
            token_store: Spanned::new(0..0, RawTokenStore::File),
            token_key_file: None,
            fallback: RawFallback::default(),
            cache: RawCache::default(),
            access: RawAccess::default(),
            upstream: RawUpstream::default(),
            registry: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawLogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawTokenStore {
    File,
    EncryptedFile,
    Keyring,
    Memory,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFallback {
    helper: Option<Text<HelperName>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCache {
    dir: Option<WholePath>,
    max_size: Option<Size>,
    min_free: Option<Amount>,
    max_age: Time,
    revalidate: Time,
    stale_after: Time,
    offline: bool,
    keep_deleted: bool,
    finish_fill: Text<FinishFill>,
    scrub_every: Time,
    scrub_rate: Size,
}

impl Default for RawCache {
    fn default() -> Self {
        Self {
            dir: None,
            max_size: None,
            min_free: None,
            // room is what runs out, not time
            max_age: Time(Duration::ZERO),
            // a pull after a push sees the push; one small request a pull is the price
            revalidate: Time(Duration::ZERO),
            // long enough for a slow answer, short enough that nobody thinks the pull hangs
            stale_after: Time(Duration::from_secs(2)),
            offline: false,
            keep_deleted: false,
            // who asked once asks again, and the bytes are half paid for
            finish_fill: Text(FinishFill::Always),
            // disks rot by the month
            scrub_every: Time(Duration::from_hours(7 * 24)),
            // a full cache of 50 GB in an hour and a half, for one percent of a core
            scrub_rate: Size(NonZeroU64::new(10_000_000).unwrap_or(NonZeroU64::MIN)),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAccess {
    networks: Vec<Text<IpNet>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawUpstream {
    ca_file: Option<WholePath>,
    connect_timeout: TimeLimit,
    idle_timeout: TimeLimit,
    connect_to: BTreeMap<Spanned<String>, Text<Registry>>,
    retry_for: Time,
    parallel_above: Amount,
    connections_per_host: NonZeroUsize,
    connections: NonZeroUsize,
    prefetch: usize,
    touch_after: Time,
}

impl Default for RawUpstream {
    fn default() -> Self {
        Self {
            ca_file: None,
            // three SYNs are sent in this time
            connect_timeout: TimeLimit(Duration::from_secs(10)),
            // shorter than the minute after which clients give up on a silent proxy
            idle_timeout: TimeLimit(Duration::from_secs(30)),
            connect_to: BTreeMap::new(),
            // an overloaded registry is over it in seconds; clients wait for a minute
            retry_for: Time(Duration::from_secs(10)),
            // below, one connection is done before a second has its first byte
            parallel_above: Amount(32 * 1024 * 1024),
            connections_per_host: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
            connections: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            // docker asks for three layers at a time: these are the next
            prefetch: 2,
            // ECR counts a pull a day as one: an image in use must not look forgotten
            touch_after: Time(Duration::from_hours(20)),
        }
    }
}

/// What an empty text means, without a parser: without a file the helper has no use for one.
pub(super) fn defaults() -> Result<Config, String> {
    check(Raw::default()).map_err(|(_, problem)| problem)
}

pub(super) fn parse(text: &str) -> Result<Config, Invalid> {
    let raw: Raw = toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| span.start);
        origin::invalid(text, at, error.message())
    })?;
    check(raw).map_err(|(at, problem)| origin::invalid(text, Some(at), &problem))
}

fn check(raw: Raw) -> Result<Config, (usize, String)> {
    let networks: Vec<IpNet> = raw.access.networks.into_iter().map(|text| text.0).collect();
    if let Some(listen) = &raw.listen {
        let address = listen.get_ref().0;
        if !address.ip().is_loopback() && networks.is_empty() {
            return Err((
                listen.span().start,
                format!(
                    "{address} is reachable from other machines, which would then pull with this machine's rights; \
                     list those that may in [access] as networks = [\"10.0.0.0/8\"], or listen on 127.0.0.1"
                ),
            ));
        }
    }
    let connect_to = raw.upstream.connect_to.into_iter();
    let connect_to = connect_to.map(|(pattern, target)| {
        let at = pattern.span().start;
        let pattern: PortPattern = pattern.get_ref().parse().map_err(|problem| (at, problem))?;
        Ok((pattern, target.0.to_string()))
    });
    Ok(Config {
        listen: raw.listen.map_or(DEFAULT_LISTEN, |listen| listen.into_inner().0),
        default_registry: raw.default_registry.map(|text| text.0),
        grace: raw.grace.0,
        token_store: token_store(&raw.token_store, raw.token_key_file)?,
        fallback_helper: raw.fallback.helper.map(|name| name.0.0),
        log_format: match raw.log_format {
            RawLogFormat::Text => LogFormat::Text,
            RawLogFormat::Json => LogFormat::Json,
        },
        cache: Cache {
            dir: raw.cache.dir.map(|dir| dir.0),
            max_size: raw.cache.max_size.map(|size| size.0),
            min_free: raw.cache.min_free.map(|amount| amount.0),
            max_age: raw.cache.max_age.0,
            revalidate: raw.cache.revalidate.0,
            stale_after: raw.cache.stale_after.0,
            offline: raw.cache.offline,
            keep_deleted: raw.cache.keep_deleted,
            finish_fill: raw.cache.finish_fill.0,
            scrub_every: raw.cache.scrub_every.0,
            scrub_rate: raw.cache.scrub_rate.0,
        },
        access: Access { networks },
        upstream: Upstream {
            ca_file: raw.upstream.ca_file.map(|file| file.0),
            connect_timeout: raw.upstream.connect_timeout.0,
            idle_timeout: raw.upstream.idle_timeout.0,
            connect_to: connect_to.collect::<Result<_, _>>()?,
            retry_for: raw.upstream.retry_for.0,
            parallel_above: raw.upstream.parallel_above.0,
            connections_per_host: raw.upstream.connections_per_host,
            connections: raw.upstream.connections,
            prefetch: raw.upstream.prefetch,
            touch_after: raw.upstream.touch_after.0,
        },
        registries: raw.registry.into_iter().map(RawRegistry::check).collect::<Result<_, _>>()?,
    })
}

fn token_store(
    store: &Spanned<RawTokenStore>,
    key_file: Option<Spanned<WholePath>>,
) -> Result<TokenProtection, (usize, String)> {
    Ok(match (*store.get_ref(), key_file) {
        (RawTokenStore::EncryptedFile, Some(file)) => TokenProtection::EncryptedFile(file.into_inner().0),
        (RawTokenStore::EncryptedFile, None) => {
            let problem =
                "there is no key to encrypt with; add token_key_file = \"/path\", a file of 32 random bytes or more";
            return Err((store.span().start, problem.to_owned()));
        }
        (_, Some(file)) => {
            let problem = "nothing is encrypted with it; add token_store = \"encrypted-file\" or take it out";
            return Err((file.span().start, problem.to_owned()));
        }
        (RawTokenStore::File, None) => TokenProtection::File,
        (RawTokenStore::Keyring, None) => TokenProtection::Keyring,
        (RawTokenStore::Memory, None) => TokenProtection::Memory,
    })
}
