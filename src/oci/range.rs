//! The byte ranges of an HTTP `Range` header (RFC 9110 section 14).
//!
//! Other units, malformed headers and more ranges than any client has use for are no error: they are answered with the
//! whole. What overlaps or touches is one range, so no header makes an answer longer than the whole.

use std::ops::Range;

/// More ranges than this are not looked at (RFC 9110 section 17.15).
const MOST_RANGES: usize = 100;

/// Ranges as they were asked for, before the size of the whole is known; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteRanges(Vec<ByteRange>);

/// One range as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteRange {
    /// `a-`
    From(u64),
    /// `a-b`, both included
    Between(u64, u64),
    /// `-n`, the last n bytes
    Last(u64),
}

/// All ranges lie beyond the end: answered with 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("range not satisfiable in {size} bytes")]
pub struct Unsatisfiable {
    /// The size of the whole.
    pub size: u64,
}

impl ByteRanges {
    /// Reads a `Range` header; `None` when it asks for nothing that is answered with 206.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, list) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        // the empty elements of a list mean nothing (section 5.6.1)
        let elements = list.split(',').map(|element| element.trim_matches([' ', '\t'])).filter(|text| !text.is_empty());
        let ranges: Option<Vec<_>> = elements.take(MOST_RANGES + 1).map(ByteRange::parse).collect();
        ranges.filter(|ranges| (1..=MOST_RANGES).contains(&ranges.len())).map(Self)
    }

    /// The bytes meant, in a whole of `size` bytes: no empty range, none that meets another, in the order asked for.
    pub fn resolve(&self, size: u64) -> Result<Vec<Range<u64>>, Unsatisfiable> {
        let mut apart: Vec<Range<u64>> = Vec::with_capacity(self.0.len());
        for range in self.0.iter().map(|range| range.resolve(size)).filter(|range| !range.is_empty()) {
            insert(&mut apart, range);
        }
        if apart.is_empty() { Err(Unsatisfiable { size }) } else { Ok(apart) }
    }
}

/// Adds a range; what it meets becomes one with it, at the place of the first.
fn insert(apart: &mut Vec<Range<u64>>, mut range: Range<u64>) {
    let mut place = apart.len();
    while let Some(met) = apart.iter().position(|other| other.start <= range.end && range.start <= other.end) {
        let other = apart.remove(met);
        range = range.start.min(other.start)..range.end.max(other.end);
        place = place.min(met);
    }
    apart.insert(place.min(apart.len()), range);
}

impl ByteRange {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    fn resolve(self, size: u64) -> Range<u64> {
        match self {
            Self::From(first) => first..size,
            Self::Between(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        }
    }
}

/// A position; one beyond all counting is as good as the last that can be counted.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, size: u64, want: &[Range<u64>]) {
        let ranges = ByteRanges::parse(header).unwrap_or_else(|| panic!("{header:?} is no range"));
        let want = if want.is_empty() { Err(Unsatisfiable { size }) } else { Ok(want.to_vec()) };
        assert_eq!(ranges.resolve(size), want, "{header:?} of {size}");
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range is the answer")]
    fn a_range_is_resolved_against_the_size() {
        check("bytes=0-", 10, &[0..10]);
        check("bytes=3-5", 10, &[3..6]);
        check("bytes=3-500", 10, &[3..10]);
        check("Bytes = 3-3", 10, &[3..4]);
        check("bytes=-4", 10, &[6..10]);
        check("bytes=-40", 10, &[0..10]);
        check("bytes=10-", 10, &[]);
        check("bytes=-0", 10, &[]);
        check("bytes=0-", 0, &[]);
        check("bytes=-5", 0, &[]);
        check("bytes=0-18446744073709551615", 10, &[0..10]);
        check("bytes=5-99999999999999999999999999", 10, &[5..10]);
        check("bytes=99999999999999999999999999-", 10, &[]);
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range is the answer")]
    fn several_ranges_keep_their_order_and_what_meets_is_one() {
        check("bytes=0-1,4-5", 10, &[0..2, 4..6]);
        check("bytes=4-5 ,\t0-1", 10, &[4..6, 0..2]);
        check("bytes=0-1,2-5", 10, &[0..6]);
        check("bytes=8-9,0-1,5-7", 10, &[5..10, 0..2]);
        check("bytes=0-,0-,0-,-10", 10, &[0..10]);
        check("bytes=,0-0,,-1,", 10, &[0..1, 9..10]);
        // what lies beyond the end is left out as long as something is left
        check("bytes=50-60,3-4,99-", 10, &[3..5]);
        check("bytes=50-60,-0", 10, &[]);
    }

    #[test]
    fn what_asks_for_no_bytes_is_answered_with_the_whole() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=,",
            "bytes=5-3",
            "bytes=0-1,9-8",
            "bytes=0-1,x",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=a-b",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=1 - 2",
            "0-1",
        ] {
            assert_eq!(ByteRanges::parse(header), None, "{header:?}");
        }
    }

    #[test]
    fn more_ranges_than_anyone_needs_are_answered_with_the_whole() {
        let header = |count: u64| {
            let ranges: Vec<_> = (0..count).map(|i| format!("{0}-{0}", i * 2)).collect();
            format!("bytes={}", ranges.join(","))
        };
        assert_eq!(ByteRanges::parse(&header(100)).unwrap().resolve(1000).unwrap().len(), 100);
        assert_eq!(ByteRanges::parse(&header(101)), None);
    }

    #[test]
    fn any_set_of_ranges_names_the_bytes_that_a_naive_reading_names() {
        let mut state = 11_u64;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..3000 {
            let size = next(60);
            let mut wanted = vec![false; usize::try_from(size).unwrap()];
            let mut texts = Vec::new();
            for _ in 0..=next(7) {
                let (first, more) = (next(70), next(20));
                let (text, meant) = match next(3) {
                    0 => (format!("{first}-"), first..size),
                    1 => (format!("{first}-{}", first + more), first..first + more + 1),
                    _ => (format!("-{more}"), size.saturating_sub(more)..size),
                };
                texts.push(text);
                for at in meant.filter(|at| *at < size) {
                    wanted[usize::try_from(at).unwrap()] = true;
                }
            }
            let header = format!("bytes={}", texts.join(", "));
            let got = ByteRanges::parse(&header).unwrap().resolve(size).unwrap_or_default();
            let mut named = vec![0; wanted.len()];
            got.iter().cloned().flatten().for_each(|at| named[usize::try_from(at).unwrap()] += 1);
            assert_eq!(named, wanted.iter().map(|wanted| i32::from(*wanted)).collect::<Vec<_>>(), "{header} of {size}");
            let mut sorted = got;
            sorted.sort_by_key(|range| range.start);
            assert!(sorted.windows(2).all(|pair| pair[0].end < pair[1].start), "{header} of {size}: {sorted:?}");
        }
    }
}
