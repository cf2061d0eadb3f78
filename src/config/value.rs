//! Single values of the configuration: sizes, durations, paths and names as people write them.
//!
//! A value that does not parse says what to write instead; none is guessed.

use std::{fmt, net::SocketAddr, num::NonZeroU64, path::PathBuf, str::FromStr, time::Duration};

use bytesize::ByteSize;
use ipnet::IpNet;
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};

use super::{Endpoint, FinishFill};

/// A size above zero, such as `"50GB"`.
#[derive(Clone, Copy)]
pub(super) struct Size(pub(super) NonZeroU64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a size such as \"50GB\" or \"20GiB\"")?;
        let bytes = text.parse::<ByteSize>().ok().and_then(|size| NonZeroU64::new(size.as_u64()));
        bytes.map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not a size above zero; write a number and a unit, such as \"50GB\" or \"20GiB\""
            ))
        })
    }
}

/// A size such as `"1GB"`; zero is allowed.
#[derive(Clone, Copy)]
pub(super) struct Amount(pub(super) u64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a size such as \"1GB\" or \"0\"")?;
        let bytes = text.parse::<ByteSize>().ok().map(|size| Self(size.as_u64()));
        bytes.ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not a size; write a number and a unit, such as \"1GB\" or \"32MiB\""
            ))
        })
    }
}

/// A duration such as `"6h"`, `"90s"` or `"1h30m"`; zero is allowed.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a duration such as \"6h\", \"90s\" or \"500ms\"")?;
        let duration = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
        duration.map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not a duration; write a number and a unit, such as \"6h\", \"90s\" or \"500ms\""
            ))
        })
    }
}

/// A duration above zero.
#[derive(Clone, Copy)]
pub(super) struct TimeLimit(pub(super) Duration);

impl<'de> Deserialize<'de> for TimeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Time(duration) = Time::deserialize(deserializer)?;
        if duration.is_zero() {
            return Err(de::Error::custom("a limit of zero lets nothing through; write for example \"30s\""));
        }
        Ok(Self(duration))
    }
}

/// A path from the root: where a program happens to be started must not matter.
pub(super) struct WholePath(pub(super) PathBuf);

impl<'de> Deserialize<'de> for WholePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::from(text(deserializer, "a path")?);
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
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a text")?;
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

impl FromStr for FinishFill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|percent| *percent <= 100);
        match (text, percent) {
            ("always", _) => Ok(Self::Always),
            ("never", _) => Ok(Self::Never),
            (_, Some(percent)) => Ok(Self::From(percent)),
            _ => Err(format!("{text:?} is no such policy; write \"always\", \"never\" or for example \"50%\"")),
        }
    }
}

impl fmt::Display for FinishFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::From(percent) => write!(f, "{percent}%"),
            Self::Never => f.write_str("never"),
        }
    }
}

/// Reads a string and says what was wanted when it is something else (a bare number, most often).
fn text<'de, D: Deserializer<'de>>(deserializer: D, want: &'static str) -> Result<String, D::Error> {
    struct Text(&'static str);
    impl de::Visitor<'_> for Text {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}, in quotes", self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_str(Text(want))
}

/// A size as people write it, exact in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MiB", 1024 * 1024), ("MB", 1_000_000), ("kB", 1000)];
    for (unit, factor) in UNITS {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// A duration as people write it.
pub(super) fn show_duration(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| format!("{}s", duration.as_secs()), |span| format!("{span:#}"))
}
