//! [`ImageName`]: an image as people and their files write it, `[registry/]repository[:tag][@digest]`.
//!
//! A name without a registry stays one: which registry is meant is for who has a configuration to say.

use std::{fmt, str::FromStr};

use super::{Digest, Invalid, Reference, Registry, RepositoryName, Tag};

const WANT: &str = "[registry/]repository[:tag][@digest], such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1";
const LATEST: &str = "latest";

/// A name that may begin with a registry, and what is asked for under it: the digest if one is given, else the tag, else
/// `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName {
    /// The registry, if there is one, and the repository, with a slash between.
    pub name: String,
    /// Which image of it.
    pub reference: Reference,
}

impl ImageName {
    /// The part before the first slash, when it can only be a host, and what follows it.
    #[must_use]
    pub fn front(&self) -> Option<(&str, &str)> {
        front(&self.name)
    }
}

fn front(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(front, _)| front.contains(['.', ':']) || *front == "localhost")
}

impl FromStr for ImageName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("name of an image", text, WANT);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((name, tag)) => (name, Some(tag.parse::<Tag>()?)),
            None => (rest, None),
        };
        let repository = match front(name) {
            Some((front, rest)) => {
                front.parse::<Registry>().map_err(|_| invalid())?;
                rest
            }
            None => name,
        };
        repository.parse::<RepositoryName>().map_err(|_| invalid())?;
        let reference = match (digest, tag) {
            (Some(digest), _) => Reference::Digest(digest),
            (None, Some(tag)) => Reference::Tag(tag),
            (None, None) => Reference::Tag(LATEST.parse()?),
        };
        Ok(Self { name: name.to_owned(), reference })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = if matches!(self.reference, Reference::Tag(_)) { ':' } else { '@' };
        write!(f, "{}{before}{}", self.name, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn an_image_is_named_by_tag_by_digest_or_by_neither() {
        for (text, want) in [
            ("app", "app:latest".to_owned()),
            ("app:v1", "app:v1".to_owned()),
            ("a.b:5000/app", "a.b:5000/app:latest".to_owned()),
            ("a.b:5000/x/app:v1", "a.b:5000/x/app:v1".to_owned()),
            (&format!("a.b/app@{DIGEST}"), format!("a.b/app@{DIGEST}")),
            (&format!("a.b/app:v1@{DIGEST}"), format!("a.b/app@{DIGEST}")),
            // as docker reads it: a repository and a tag
            ("localhost:5000", "localhost:5000".to_owned()),
            ("my.registry/app", "my.registry/app:latest".to_owned()),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for text in [
            "",
            ":v1",
            "app:",
            "/app",
            "App",
            "a b",
            "app@",
            "app@sha256:12",
            "https://a.b/app",
            "a.b//app",
            "a.b/",
            "app:v 1",
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }
}
