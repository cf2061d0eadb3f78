//! The TOML as it is written, and the checks between it and a [`Config`].
//!
//! `impl Default` of the raw tables is the one list of defaults, each with its reason.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::{
    Access, Cache, Config, Invalid, LogFormat, PortPattern, TokenProtection, Upstream,
    identity::HelperName,
    origin,
    rule::RawRegistry,
    value::{Size, Text, Time, TimeLimit, WholePath},
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
    size: Option<Size>,
    revalidate: Time,
    stale_after: Time,
}

impl Default for RawCache {
    fn default() -> Self {
        Self {
            dir: None,
            size: None,
            // a pull after a push sees the push; one small request a pull is the price
            revalidate: Time(Duration::ZERO),
            // long enough for a slow answer, short enough that nobody thinks the pull hangs
            stale_after: Time(Duration::from_secs(2)),
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
            size: raw.cache.size.map(|size| size.0),
            revalidate: raw.cache.revalidate.0,
            stale_after: raw.cache.stale_after.0,
        },
        access: Access { networks },
        upstream: Upstream {
            ca_file: raw.upstream.ca_file.map(|file| file.0),
            connect_timeout: raw.upstream.connect_timeout.0,
            idle_timeout: raw.upstream.idle_timeout.0,
            connect_to: connect_to.collect::<Result<_, _>>()?,
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
