//! Single values of the configuration: sizes and durations as people write them.
//!
//! A value that does not parse says what to write instead; none is guessed.

use std::{fmt, num::NonZeroU64, time::Duration};

use bytesize::ByteSize;
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};

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

/// Reads a string and says what was wanted when it is something else (a bare number, most often).
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D, want: &'static str) -> Result<String, D::Error> {
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
pub(super) fn show_size(bytes: NonZeroU64) -> String {
    let bytes = bytes.get();
    for (unit, factor) in [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000)] {
        if bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// A duration as people write it.
pub(super) fn show_duration(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| format!("{}s", duration.as_secs()), |span| format!("{span:#}"))
}
