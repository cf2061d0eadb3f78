//! Names: [`Registry`], [`Repository`], [`Tag`], [`Reference`], with the grammar of the distribution specification.
//!
//! A name is never looked up here: a well-formed registry may well not exist.

use std::{fmt, str::FromStr};

use super::{Digest, Invalid};

const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
const MAX_HOST: usize = 253;

macro_rules! text_word {
    ($word:ident) => {
        impl $word {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// The host, and the port if one was given, under which a registry is known: `host[:port]`, lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registry(Box<str>);
text_word!(Registry);

impl Registry {
    /// The host without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(host, _)| host)
    }
}

impl FromStr for Registry {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("registry", text, "host[:port], such as registry.example:5000");
        let lower = text.to_ascii_lowercase();
        let (host, port) = match lower.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (lower.as_str(), None),
        };
        let host_ok = host.len() <= MAX_HOST && host.split('.').all(is_host_label);
        let port_ok = port.is_none_or(|port| !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0));
        if host_ok && port_ok { Ok(Self(lower.into())) } else { Err(invalid()) }
    }
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}

/// The path of a repository inside its registry: `[a-z0-9]+` components with `.`, `_`, `__` or `-` between, and `/`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Box<str>);
text_word!(RepositoryName);

impl FromStr for RepositoryName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() <= MAX_NAME && text.split('/').all(is_name_component) {
            return Ok(Self(text.into()));
        }
        Err(Invalid::new(
            "repository name",
            text,
            "lower-case letters and digits, with . _ __ or - between them, in components parted by /",
        ))
    }
}

fn is_name_component(component: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

/// A repository: its registry and its name there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// Where it is.
    pub registry: Registry,
    /// What it is called there.
    pub name: RepositoryName,
}

/// `registry/name`, as [`Repository`] is displayed; nothing is added that a person might leave out.
impl FromStr for Repository {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (registry, name) =
            text.split_once('/').ok_or_else(|| Invalid::new("repository", text, "a registry, / and a name"))?;
        Ok(Self { registry: registry.parse()?, name: name.parse()? })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tag: a movable name for a manifest, `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);
text_word!(Tag);

impl FromStr for Tag {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let ok = text.len() <= MAX_TAG
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
        if ok {
            return Ok(Self(text.into()));
        }
        Err(Invalid::new("tag", text, "up to 128 letters, digits, _ . or -, the first not . or -"))
    }
}

/// How a manifest is asked for: by a tag, which moves, or by its digest, which does not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// A movable name.
    Tag(Tag),
    /// The content itself.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.contains(':') {
            return text.parse().map(Self::Digest);
        }
        text.parse().map(Self::Tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The host in what a client calls a server: scheme, path, port, trailing dot and upper case are dropped.
#[must_use]
pub fn server_host(server: &str) -> String {
    server_address(server).0
}

/// The host in what a client calls a server, as [`server_host`] has it, and the port if one is given. An IPv6 address
/// is without its brackets.
///
/// Docker sends `host[:port]`, others add `https://` or a path (see the `docker login` sources).
#[must_use]
pub fn server_address(server: &str) -> (String, Option<u16>) {
    let server = server.trim();
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let server = server.split(['/', '?', '#']).next().unwrap_or_default();
    let server = server.rsplit_once('@').map_or(server, |(_, host)| host);
    let bracketed = server.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    let port = port.and_then(|port| port.parse().ok());
    (host.trim_end_matches('.').to_ascii_lowercase(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: FromStr>(texts: &[&str], ok: bool) {
        for text in texts {
            assert_eq!(text.parse::<T>().is_ok(), ok, "{text:?}");
        }
    }

    #[test]
    fn a_registry_is_a_host_with_at_most_a_port() {
        check::<Registry>(&["localhost:5000", "public.ecr.aws", "A.example", "127.0.0.1:80"], true);
        check::<Registry>(
            &["", "a..b", "-a.b", "a:", "a:0", "a:+5", "a:65536", "a/b", "a b", "é.b", "a:1:2", "a@b"],
            false,
        );
    }

    #[test]
    fn a_repository_name_keeps_to_the_grammar_of_the_specification() {
        check::<RepositoryName>(&["a", "a/b", "a.b_c__d---e/f0", &"a".repeat(255)], true);
        check::<RepositoryName>(
            &["", "/", "a/", "/a", "a//b", "A", "a.", ".a", "a..b", "a___b", "a/../b", "a%2fb", &"a".repeat(256)],
            false,
        );
    }

    #[test]
    fn a_tag_starts_with_a_word_character() {
        check::<Tag>(&["latest", "_1", "V1.0-rc", &"a".repeat(128)], true);
        check::<Tag>(&["", ".a", "-a", "a+b", "a/b", &"a".repeat(129)], false);
    }

    #[test]
    fn the_host_of_a_server_is_found_in_every_spelling() {
        for server in [
            "public.ecr.aws",
            "https://public.ecr.aws",
            "http://Public.ECR.aws/v1/",
            "public.ecr.aws:443",
            " public.ecr.aws.\n",
            "https://public.ecr.aws:443/v2/?x=y",
            "https://AWS@public.ecr.aws/",
        ] {
            assert_eq!(server_host(server), "public.ecr.aws", "{server:?}");
        }
    }

    #[test]
    fn the_port_of_a_server_is_found_behind_names_and_addresses() {
        let check =
            |server, host: &str, port| assert_eq!(server_address(server), (host.to_owned(), port), "{server:?}");
        check("localhost:5577", "localhost", Some(5577));
        check("http://LocalHost.:5577/v2/", "localhost", Some(5577));
        check("127.0.0.1", "127.0.0.1", None);
        check("http://[::1]:5577/", "::1", Some(5577));
        check("[::1]", "::1", None);
        check("a.b:port", "a.b", None);
        check("a.b:99999", "a.b", None);
        check("[::1", "[", None);
    }
}
