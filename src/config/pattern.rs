//! Patterns for hosts: a glob in each label, so `*.dkr.ecr.*.amazonaws.com` can never match a longer foreign name.
//!
//! A `*` stands for any characters inside one label; it never crosses a dot or a colon. [`TagPattern`] knows no labels.

use std::{fmt, str::FromStr};

/// A host pattern, with the port if one is meant: `*.dkr.ecr.*.amazonaws.com`, `registry.corp:5000`.
#[derive(Clone, PartialEq, Eq)]
pub struct HostPattern(Box<str>);

impl HostPattern {
    /// Whether `host[:port]` is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let mut wanted = self.0.split(['.', ':']);
        let mut labels = host.split(['.', ':']);
        loop {
            match (wanted.next(), labels.next()) {
                (None, None) => return self.0.contains(':') == host.contains(':'),
                (Some(glob), Some(label)) if label_matches(glob, label) => {}
                _ => return false,
            }
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn label_matches(glob: &str, label: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else {
        return glob.eq_ignore_ascii_case(label);
    };
    let Some(tail) = label.get(first.len()..).filter(|_| label[..first.len()].eq_ignore_ascii_case(first)) else {
        return false;
    };
    (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|tail| label_matches(rest, tail)))
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let label_ok = |label: &str| {
            !label.is_empty()
                && !label.contains("**")
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*'))
        };
        let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok());
        if host.split('.').all(label_ok) && port_ok {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        Err(format!(
            "{text:?} is not a host pattern; write a host name in which * stands for part of one label, \
             such as \"*.dkr.ecr.*.amazonaws.com\""
        ))
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host pattern and the port, which may be left out for any port: `*.s3.us-east-1.amazonaws.com:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPattern(HostPattern);

impl PortPattern {
    /// Whether `host` at `port` is meant.
    #[must_use]
    pub fn matches(&self, host: &str, port: u16) -> bool {
        if self.0.0.contains(':') {
            return self.0.matches(&format!("{host}:{port}"));
        }
        self.0.matches(host)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for PortPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

/// Tags of repositories, such as `team/*:v*`; without a colon all tags. A `*` stands for any characters.
#[derive(Clone, PartialEq, Eq)]
pub struct TagPattern {
    repository: Box<str>,
    tag: Box<str>,
}

impl TagPattern {
    /// Whether this tag is meant, of the repository called `name` in its registry.
    #[must_use]
    pub fn matches(&self, name: &str, tag: &str) -> bool {
        label_matches(&self.repository, name) && label_matches(&self.tag, tag)
    }
}

impl FromStr for TagPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (repository, tag) = text.split_once(':').unwrap_or((text, "*"));
        let is_fit = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/*".contains(&byte);
            !part.is_empty() && !part.contains("**") && part.bytes().all(fits)
        };
        if is_fit(repository) && is_fit(tag) && !tag.contains('/') {
            return Ok(Self { repository: repository.into(), tag: tag.into() });
        }
        Err(format!(
            "{text:?} is no pattern of tags; write repository:tag without the registry, in which * stands for any \
             characters, such as \"team/*:v*\""
        ))
    }
}

impl fmt::Debug for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}:{}\"", self.repository, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, host: &str, want: bool) {
        assert_eq!(pattern.parse::<HostPattern>().unwrap().matches(host), want, "{pattern} on {host}");
    }

    #[test]
    fn a_star_stays_inside_its_label() {
        check("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", true);
        check("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", false);
        check("*.dkr.ecr.*.amazonaws.com", "a.b.dkr.ecr.eu-west-1.amazonaws.com", false);
        check("1234*.dkr.ecr.eu-*.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", true);
        check("1234*.dkr.ecr.eu-*.amazonaws.com", "999956789012.dkr.ecr.eu-west-1.amazonaws.com", false);
        check("a*c*e", "abcde", true);
        check("a*c*e", "abcd", false);
    }

    #[test]
    fn a_port_is_part_of_the_name() {
        check("registry.corp", "registry.corp:5000", false);
        check("registry.corp:5000", "registry.corp:5000", true);
        check("registry.corp:5000", "registry.corp.5000", false);
    }

    #[test]
    fn a_pattern_for_connections_may_leave_the_port_out() {
        let any: PortPattern = "*.example".parse().unwrap();
        assert!(any.matches("a.example", 443) && any.matches("a.example", 80));
        let one: PortPattern = "*.example:443".parse().unwrap();
        assert!(one.matches("a.example", 443) && !one.matches("a.example", 80));
    }

    #[test]
    fn a_pattern_of_tags_names_repository_and_tag() {
        let check = |pattern: &str, name: &str, tag: &str, want: bool| {
            assert_eq!(pattern.parse::<TagPattern>().unwrap().matches(name, tag), want, "{pattern} on {name}:{tag}");
        };
        check("team/*:v*", "team/app", "v1.2", true);
        check("team/*:v*", "team/app/web", "v1", true);
        check("team/*:v*", "teams/app", "v1", false);
        check("team/*:v*", "team/app", "latest", false);
        check("app", "app", "latest", true);
        check("*:v1", "any/thing", "v1", true);
        for text in ["", ":v1", "app:", "a b", "app:v/1", "app:**", "host:5000/app:v1"] {
            assert!(text.parse::<TagPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_no_pattern() {
        for text in ["", "a..b", "**.b", "https://a.b", "a/b", "[a].b", "a:b", "a?b"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }
}
