//! [`Plan`]: which bytes of a blob are still to be fetched, and who fetches which.
//!
//! Pure: knows no connection and no file.

use std::ops::Range;

use super::extents::Extents;

/// What one of several connections fetches in one request: a round trip is little beside it, and readers that go from the
/// start get their bytes smoothly.
const TOGETHER: u64 = 8 * 1024 * 1024;
/// Smaller pieces are not worth a request.
const LEAST: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Plan {
    /// there already, or being fetched
    taken: Extents,
    size: Option<u64>,
    /// what one connection takes while it is alone: a whole blob, most often
    alone: u64,
    /// how many connections are to fetch
    width: usize,
    /// how many do
    active: usize,
}

impl Plan {
    /// A plan for what is missing of a blob of which `there` is there; `alone` is what one connection may ask for.
    pub(super) fn new(there: &[Range<u64>], size: Option<u64>, alone: u64) -> Self {
        let mut taken = Extents::default();
        for extent in there {
            taken.insert(extent.clone());
        }
        Self { taken, size, alone, width: 1, active: 0 }
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.size = Some(size);
        // what was asked for beyond the end is nobody's
        self.taken.remove(&(size..u64::MAX));
    }

    /// So many connections are to fetch from now on.
    pub(super) fn set_width(&mut self, width: usize) {
        self.width = width;
    }

    /// One more connection fetches; whether it is the only one.
    pub(super) fn enter(&mut self) -> bool {
        self.active += 1;
        self.active == 1
    }

    /// One fewer.
    pub(super) fn leave(&mut self) {
        self.active -= 1;
    }

    /// Takes the next piece: where a reader waits for bytes that nobody fetches, else the first. Nothing for a connection
    /// that is one too many.
    pub(super) fn claim(&mut self, waiting: &[u64]) -> Option<Range<u64>> {
        let end = self.end();
        let wanted = waiting.iter().filter_map(|at| self.gap_at(*at)).min_by_key(|gap| gap.start);
        let gap = match wanted {
            None if self.active > self.width => return None,
            None => self.taken.gap_from(0, end)?,
            Some(gap) => gap,
        };
        let width = self.width.max(self.active);
        let share = (self.left() / (2 * width as u64)).clamp(LEAST, TOGETHER);
        let most = if width == 1 { self.alone } else { share };
        let piece = gap.start..gap.end.min(gap.start.saturating_add(most));
        self.taken.insert(piece.clone());
        Some(piece)
    }

    /// Takes what follows `piece` up to what is taken: its connection sends it anyway.
    pub(super) fn extend(&mut self, piece: &mut Range<u64>) {
        if let Some(gap) = self.taken.gap_from(piece.end, self.end()).filter(|gap| gap.start == piece.end) {
            piece.end = gap.end;
            self.taken.insert(gap);
        }
    }

    /// Gives back what was not fetched.
    pub(super) fn give_back(&mut self, piece: &Range<u64>) {
        self.taken.remove(piece);
    }

    /// How many bytes nobody fetches yet.
    pub(super) fn left(&self) -> u64 {
        self.end().saturating_sub(self.taken.count())
    }

    /// Whether nobody fetches the byte at `at`.
    pub(super) fn is_left(&self, at: u64) -> bool {
        self.gap_at(at).is_some()
    }

    fn gap_at(&self, at: u64) -> Option<Range<u64>> {
        self.taken.gap_from(at, self.end()).filter(|gap| gap.start == at)
    }

    fn end(&self) -> u64 {
        self.size.unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one extent is one range")]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn plan(there: &[Range<u64>], size: Option<u64>, width: usize) -> Plan {
        let mut plan = Plan::new(there, size, 32 * MIB);
        plan.set_width(width);
        plan
    }

    #[test]
    fn one_connection_takes_large_pieces_and_several_take_smaller_ones() {
        let mut plan = plan(&[], Some(100 * MIB), 1);
        assert_eq!(plan.claim(&[]), Some(0..32 * MIB));
        plan.set_width(2);
        assert_eq!(plan.claim(&[]), Some(32 * MIB..40 * MIB));
        plan.set_width(16);
        assert_eq!(plan.claim(&[]), Some(40 * MIB..40 * MIB + 60 * MIB / 32));
        assert_eq!(plan.left(), 60 * MIB - 60 * MIB / 32);
    }

    #[test]
    fn one_connection_too_many_gets_nothing_but_what_a_reader_waits_for() {
        let mut plan = plan(&[], Some(100 * MIB), 1);
        assert!(plan.enter());
        plan.claim(&[]);
        assert!(!plan.enter());
        assert_eq!(plan.claim(&[]), None);
        assert_eq!(plan.claim(&[50 * MIB]), Some(50 * MIB..58 * MIB));
        plan.leave();
        assert_eq!(plan.claim(&[]), Some(32 * MIB..50 * MIB));
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let mut plan = plan(&[0..5, 7..10], Some(12), 1);
        assert_eq!([(); 3].map(|()| plan.claim(&[])), [Some(5..7), Some(10..12), None]);
        plan.give_back(&(6..7));
        assert_eq!(plan.claim(&[]), Some(6..7));
    }

    #[test]
    fn what_is_left_is_counted_right_when_the_size_is_told_late() {
        let mut plan = plan(&[], None, 1);
        assert_eq!(plan.claim(&[]), Some(0..32 * MIB));
        plan.set_size(10);
        assert_eq!(plan.left(), 0);
        plan.give_back(&(3..10));
        assert_eq!((plan.left(), plan.claim(&[])), (7, Some(3..10)));
    }

    #[test]
    fn a_reader_that_waits_where_nobody_fetches_comes_first() {
        let mut plan = plan(&[], Some(100 * MIB), 1);
        plan.claim(&[]);
        plan.set_width(2);
        assert!(plan.is_left(64 * MIB) && !plan.is_left(MIB) && !plan.is_left(100 * MIB));
        assert_eq!(plan.claim(&[MIB, 64 * MIB]), Some(64 * MIB..72 * MIB));
        assert_eq!(plan.claim(&[MIB, 64 * MIB]), Some(32 * MIB..40 * MIB));
    }

    #[test]
    fn a_server_that_sends_all_is_let_do_so() {
        let mut first = plan(&[50..60], None, 1);
        assert_eq!(first.claim(&[]), Some(0..50));
        let mut plan = plan(&[], None, 1);
        let mut piece = plan.claim(&[]).unwrap();
        plan.set_size(40 * MIB);
        plan.extend(&mut piece);
        assert_eq!(piece, 0..40 * MIB);
        assert_eq!(plan.claim(&[]), None);
    }
}
