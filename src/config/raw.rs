//! The TOML as it is written, and the checks between it and a [`Config`].
//!
//! `impl Default` of the raw tables is the one list of defaults, each with its reason.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{
    Access, Cache, Config, Endpoint, HostPattern, IdentityRule, Invalid, LogFormat, PortPattern, RegistryRule,
    TokenProtection, Upstream,
    identity::{ApiUrl, HelperName, RoleArn, Word},
    origin,
    value::{self, Size, Time, TimeLimit},
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    r#match: Spanned<Text<HostPattern>>,
    endpoint: Option<Text<Endpoint>>,
    username: Option<Spanned<String>>,
    password_file: Option<Spanned<WholePath>>,
    token_host: Option<Spanned<Text<Registry>>>,
    alias: Option<Text<Registry>>,
    profile: Option<Text<Word>>,
    role_arn: Option<Text<RoleArn>>,
    external_id: Option<Text<Word>>,
    session_name: Option<Text<Word>>,
    duration: Option<TimeLimit>,
    region: Option<Text<Word>>,
    endpoint_url: Option<Text<ApiUrl>>,
    mfa_serial: Option<Text<Word>>,
    mfa_command: Option<Text<Word>>,
    #[serde(default)]
    anonymous: bool,
}

/// A path from the root: where a program happens to be started must not matter.
struct WholePath(PathBuf);

impl<'de> Deserialize<'de> for WholePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::from(value::text(deserializer, "a path")?);
        if path.is_absolute() {
            return Ok(Self(path));
        }
        Err(de::Error::custom(format!(
            "{:?} is not a whole path; write one that begins with /",
            path.display().to_string()
        )))
    }
}

/// A string that is read by the `FromStr` of its type, so that the error has the string's place.
pub(super) struct Text<T>(T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = value::text(deserializer, "a text")?;
        let explain = |error: T::Err| de::Error::custom(explain::<T>(&text, &error.to_string()));
        text.parse().map(Self).map_err(explain)
    }
}

/// Words for the types of the standard library and of ipnet, whose errors do not name the text.
fn explain<T>(text: &str, error: &str) -> String {
    let kind = std::any::type_name::<T>();
    if kind == std::any::type_name::<SocketAddr>() {
        return format!("{text:?} is not an address and port; write for example \"127.0.0.1:5577\"");
    }
    if kind == std::any::type_name::<IpNet>() {
        return format!("{text:?} is not a network; write for example \"10.0.0.0/8\" or \"192.0.2.7/32\"");
    }
    error.to_owned()
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem =
            || format!("{text:?} is not an endpoint; write \"https://host[:port]\" or \"http://host[:port]\"");
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(problem()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| problem())?;
        Ok(Self { tls, authority })
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
        registries: raw.registry.into_iter().map(rule).collect::<Result<_, _>>()?,
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

fn rule(raw: RawRegistry) -> Result<RegistryRule, (usize, String)> {
    match (&raw.username, &raw.password_file) {
        (None, Some(file)) => {
            let problem = "there is a password without a user; add username = \"…\" to the table";
            return Err((file.span().start, problem.to_owned()));
        }
        (Some(user), None) => {
            let problem = "there is a user without a password; add password_file = \"/path\" to the table";
            return Err((user.span().start, problem.to_owned()));
        }
        _ => {}
    }
    if let Some(host) = raw.token_host.as_ref().filter(|host| host.get_ref().0.as_str().contains(':')) {
        let problem = "the token service is reached by https on its usual port; write the host without a port";
        return Err((host.span().start, problem.to_owned()));
    }
    let at = raw.r#match.span().start;
    let identity = IdentityRule {
        profile: raw.profile.map(|text| text.0.0),
        role_arn: raw.role_arn.map(|text| text.0.0),
        external_id: raw.external_id.map(|text| text.0.0),
        session_name: raw.session_name.map(|text| text.0.0),
        duration: raw.duration.map(|time| time.0),
        region: raw.region.map(|text| text.0.0),
        endpoint_url: raw.endpoint_url.map(|text| text.0.0),
        mfa_serial: raw.mfa_serial.map(|text| text.0.0),
        mfa_command: raw.mfa_command.map(|text| text.0.0),
        anonymous: raw.anonymous,
    };
    if let Some((key, problem)) = identity.problem() {
        return Err((at, format!("{key} of this table: {problem}")));
    }
    if raw.username.is_some() && identity != IdentityRule::default() {
        return Err((at, "this table names a user and an AWS identity; keep one of the two".to_owned()));
    }
    Ok(RegistryRule {
        pattern: raw.r#match.into_inner().0,
        endpoint: raw.endpoint.map(|text| text.0),
        username: raw.username.map(Spanned::into_inner),
        password_file: raw.password_file.map(|file| file.into_inner().0),
        token_host: raw.token_host.map(|text| text.into_inner().0.host().to_owned()),
        alias: raw.alias.map(|text| text.0),
        identity,
    })
}
