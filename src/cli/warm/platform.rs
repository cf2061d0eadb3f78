//! [`Platform`]: which images of an index are wanted.
//!
//! Variants are compared as containerd does it: `arm64` means `arm64/v8`, `arm` means `arm/v7`, `amd64` means `amd64/v1`.

use std::{env::consts, fmt, str::FromStr};

use serde::Deserialize;

/// An operating system, an architecture, perhaps a variant; in Go's words, as the image specification has them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
}

/// Which platforms of an index are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Platforms {
    All,
    These(Vec<Platform>),
}

impl Platform {
    /// That of the containers of this machine: they are of Linux, also on a Mac.
    pub(super) fn own() -> Self {
        let architecture = match consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// An index names what is no platform so: attestations.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    fn has_kind_of(&self, other: &Self) -> bool {
        self.os == other.os && self.architecture == other.architecture
    }

    fn variant(&self) -> &str {
        let usual = match self.architecture.as_str() {
            "arm64" => "v8",
            "arm" => "v7",
            "amd64" => "v1",
            _ => "",
        };
        self.variant.as_deref().filter(|variant| !variant.is_empty()).unwrap_or(usual)
    }
}

impl Platforms {
    /// Which of the platforms of an index are wanted, by their places; or the one that is not there.
    pub(super) fn of(&self, there: &[Option<Platform>]) -> Result<Vec<usize>, Platform> {
        let Self::These(wanted) = self else { return Ok((0..there.len()).collect()) };
        let mut places = Vec::new();
        for platform in wanted {
            let with = |is_meant: &dyn Fn(&Platform) -> bool| {
                let found = there.iter().enumerate().filter(|(_, there)| there.as_ref().is_some_and(is_meant));
                found.map(|(place, _)| place).collect::<Vec<_>>()
            };
            let mut found = with(&|there| there.has_kind_of(platform) && there.variant() == platform.variant());
            if found.is_empty() && platform.variant.is_none() {
                found = with(&|there| there.has_kind_of(platform)).into_iter().take(1).collect();
            }
            if found.is_empty() {
                return Err(platform.clone());
            }
            places.extend(found);
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() < 2 && parts.iter().all(is_word) => Ok(Self {
                os: os.to_ascii_lowercase(),
                architecture: match architecture.to_ascii_lowercase().as_str() {
                    "x86_64" | "x86-64" => "amd64".to_owned(),
                    "aarch64" => "arm64".to_owned(),
                    other => other.to_owned(),
                },
                variant: variant.first().map(|variant| variant.to_ascii_lowercase()),
            }),
            _ => Err("write os/architecture[/variant], such as linux/arm64, or all".to_owned()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &[&str], there: &[&str], want: Result<&[usize], &str>) {
        let wanted = Platforms::These(wanted.iter().map(|text| text.parse().unwrap()).collect());
        let there: Vec<_> = there.iter().map(|text| text.parse().ok()).collect();
        let got = wanted.of(&there).map_err(|platform| platform.to_string());
        assert_eq!(got, want.map(<[usize]>::to_vec).map_err(str::to_owned));
    }

    #[test]
    fn variants_are_compared_as_containerd_does() {
        check(&["linux/arm64"], &["linux/amd64", "linux/arm64/v8"], Ok(&[1]));
        check(&["linux/arm64/v8"], &["linux/arm64"], Ok(&[0]));
        check(&["linux/arm"], &["linux/arm/v6", "linux/arm/v7"], Ok(&[1]));
        check(&["linux/arm"], &["linux/arm/v5", "linux/arm/v6"], Ok(&[0]));
        check(&["linux/arm/v6"], &["linux/arm/v7"], Err("linux/arm/v6"));
        check(&["linux/amd64"], &["linux/amd64/v3", "linux/amd64"], Ok(&[1]));
        check(&["linux/amd64", "linux/arm64"], &["linux/arm64", "", "linux/amd64"], Ok(&[0, 2]));
        check(&["linux/amd64"], &["windows/amd64", "unknown/unknown"], Err("linux/amd64"));
        check(&["windows/amd64"], &["windows/amd64", "windows/amd64"], Ok(&[0, 1]));
    }

    #[test]
    fn a_platform_is_two_words_or_three() {
        assert_eq!("Linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        for text in ["linux", "linux/", "/arm64", "linux/arm/v7/x", "linux/arm 64", ""] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
