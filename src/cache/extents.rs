//! [`Extents`]: which bytes of a file are there.
//!
//! Sorted, disjoint, never touching: bytes that meet are one extent.

use std::ops::Range;

/// A set of byte ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents(Vec<Range<u64>>);

impl Extents {
    /// Adds a range; an empty one adds nothing.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // extents that overlap or touch the new one become part of it
        let first = self.0.partition_point(|extent| extent.end < range.start);
        let last = self.0.partition_point(|extent| extent.start <= range.end);
        let merged = match self.0.get(first..last) {
            Some([one, ..]) => one.start.min(range.start)..self.0[last - 1].end.max(range.end),
            _ => range,
        };
        self.0.splice(first..last, [merged]);
    }

    /// Takes a range out.
    pub(super) fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|extent| extent.end <= range.start);
        let last = self.0.partition_point(|extent| extent.start < range.end);
        let cut = self.0[first..last].iter().flat_map(|extent| [extent.start..range.start, range.end..extent.end]);
        let left: Vec<_> = cut.filter(|left| left.start < left.end).collect();
        self.0.splice(first..last, left);
    }

    /// The first bytes from `at` on, and before `end`, that are not there.
    pub(super) fn gap_from(&self, at: u64, end: u64) -> Option<Range<u64>> {
        let start = self.end_from(at);
        let next = self.0.iter().find(|extent| extent.start >= start).map_or(end, |extent| extent.start.min(end));
        (start < next).then_some(start..next)
    }

    /// How many bytes are there.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|extent| extent.end - extent.start).sum()
    }

    /// Where the bytes that are there without a gap from `at` on end; `at` itself when it is not there.
    pub(super) fn end_from(&self, at: u64) -> u64 {
        let after = self.0.partition_point(|extent| extent.end <= at);
        self.0.get(after).filter(|extent| extent.start <= at).map_or(at, |extent| extent.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ranges: &[Range<u64>], want: &[Range<u64>]) {
        let mut extents = Extents::default();
        for range in ranges {
            extents.insert(range.clone());
        }
        assert_eq!(extents.0, want, "{ranges:?}");
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one extent is one range")]
    fn ranges_that_meet_or_overlap_are_one() {
        check(&[0..5, 5..9], &[0..9]);
        check(&[5..9, 0..5], &[0..9]);
        check(&[0..5, 6..9], &[0..5, 6..9]);
        check(&[0..5, 6..9, 5..6], &[0..9]);
        check(&[0..2, 4..6, 8..10, 1..9], &[0..10]);
        check(&[4..6, 0..100], &[0..100]);
        check(&[0..100, 4..6], &[0..100]);
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is the case")]
        check(&[3..3, 5..4], &[]);
    }

    #[test]
    fn the_end_is_that_of_the_extent_around() {
        let mut extents = Extents::default();
        extents.insert(0..5);
        extents.insert(7..9);
        assert_eq!([0, 4, 5, 6, 7, 9].map(|at| extents.end_from(at)), [5, 5, 5, 6, 9, 9]);
    }

    #[test]
    fn any_order_of_pieces_gives_the_same_set_as_bits_do() {
        // a fixed sequence that visits lengths and places without pattern
        let mut state = 7_u64;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let (mut extents, mut bits) = (Extents::default(), [false; 200]);
        for _ in 0..300 {
            let start = next(190);
            let end = start + next(10);
            extents.insert(start..end);
            for bit in start..end {
                bits[usize::try_from(bit).unwrap()] = true;
            }
            let start = next(190);
            let end = start + next(8);
            extents.remove(&(start..end));
            for bit in start..end {
                bits[usize::try_from(bit).unwrap()] = false;
            }
            assert_eq!(extents.count(), bits.iter().filter(|bit| **bit).count() as u64);
            for at in 0..200_usize {
                let end = (at..200).find(|&i| !bits[i]).unwrap_or(200);
                assert_eq!(extents.end_from(at as u64), end as u64);
                let to = (end..200).find(|&i| bits[i]).unwrap_or(200);
                let gap = extents.gap_from(at as u64, 200);
                assert_eq!(gap, (end < to).then_some(end as u64..to as u64));
            }
            assert!(extents.0.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
