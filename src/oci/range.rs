//! One byte range of an HTTP `Range` header (RFC 9110 section 14).
//!
//! Several ranges in one header, other units and malformed headers are no error: they are answered with the whole.

use std::ops::Range;

/// A range as it was asked for, before the size of the whole is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=a-`
    From(u64),
    /// `bytes=a-b`, both included
    Between(u64, u64),
    /// `bytes=-n`, the last n bytes
    Last(u64),
}

/// The range lies beyond the end: answered with 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("range not satisfiable in {size} bytes")]
pub struct Unsatisfiable {
    /// The size of the whole.
    pub size: u64,
}

impl ByteRange {
    /// Reads a `Range` header; `None` when it asks for nothing that is answered with 206.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, ranges) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = ranges.trim().split_once('-')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
        match (first, last) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The bytes meant, in a whole of `size` bytes.
    pub fn resolve(self, size: u64) -> Result<Range<u64>, Unsatisfiable> {
        let range = match self {
            Self::From(first) => first..size,
            Self::Between(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        if range.is_empty() {
            return Err(Unsatisfiable { size });
        }
        Ok(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, size: u64, want: Option<&Result<Range<u64>, Unsatisfiable>>) {
        let got = ByteRange::parse(header).map(|range| range.resolve(size));
        assert_eq!(got.as_ref(), want, "{header:?} of {size}");
    }

    #[test]
    fn a_range_is_resolved_against_the_size() {
        check("bytes=0-", 10, Some(&Ok(0..10)));
        check("bytes=3-5", 10, Some(&Ok(3..6)));
        check("bytes=3-500", 10, Some(&Ok(3..10)));
        check("Bytes = 3-3", 10, Some(&Ok(3..4)));
        check("bytes=-4", 10, Some(&Ok(6..10)));
        check("bytes=-40", 10, Some(&Ok(0..10)));
        check("bytes=10-", 10, Some(&Err(Unsatisfiable { size: 10 })));
        check("bytes=-0", 10, Some(&Err(Unsatisfiable { size: 10 })));
        check("bytes=0-", 0, Some(&Err(Unsatisfiable { size: 0 })));
        check("bytes=0-18446744073709551615", 10, Some(&Ok(0..10)));
    }

    #[test]
    fn what_is_not_one_byte_range_is_answered_with_the_whole() {
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-3", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "bytes=a-b"]
        {
            assert_eq!(ByteRange::parse(header), None, "{header:?}");
        }
    }
}
