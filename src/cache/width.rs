//! [`Width`]: how many connections a blob is worth.
//!
//! Starts with one, doubles while that makes the blob come faster, and goes back a step when it does not. Pure: time and bytes
//! are told.

/// A step that brings less than this is none: the line, or the disk, is full.
const GAIN: f64 = 1.2;
/// A connection that brings so much in one look is held up by this machine: another one would only bring bytes out of order.
const PLENTY: f64 = (40 * 1024 * 1024) as f64;
/// After so many looks without change, another step is tried: the line may have become free.
const PATIENCE: u32 = 40;

#[derive(Debug)]
pub(super) struct Width {
    now: usize,
    most: usize,
    /// bytes in one look before the last step
    before: Option<f64>,
    /// looks since it settled
    settled: Option<u32>,
}

impl Width {
    pub(super) fn new(most: usize) -> Self {
        Self { now: 1, most: most.max(1), before: None, settled: None }
    }

    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// So many bytes came since the last look, over as many connections as were to be used all the time.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than three digits")]
    pub(super) fn look(&mut self, bytes: u64) {
        let rate = bytes as f64;
        if let Some(looks) = &mut self.settled {
            *looks += 1;
            if *looks < PATIENCE {
                return;
            }
            (self.settled, self.before) = (None, None);
        }
        match self.before {
            // the step did not help: it is taken back
            Some(before) if rate < before * GAIN => {
                self.now = (self.now / 2).max(1);
                self.settled = Some(0);
            }
            _ if self.now >= self.most || rate >= PLENTY * self.now as f64 => self.settled = Some(0),
            _ => {
                self.before = Some(rate);
                self.now = (self.now * 2).min(self.most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(most: usize, rate: impl Fn(usize) -> u64, want: &[usize]) {
        let mut width = Width::new(most);
        let seen: Vec<_> = want
            .iter()
            .map(|_| {
                width.look(rate(width.now()));
                width.now()
            })
            .collect();
        assert_eq!(seen, want);
    }

    #[test]
    fn it_grows_while_each_connection_has_its_own_limit() {
        check(16, |width| width as u64 * 25, &[2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn it_goes_back_when_the_line_is_full() {
        check(16, |_| 125, &[2, 1, 1, 1]);
        check(16, |width| (width as u64 * 25).min(100), &[2, 4, 8, 4, 4]);
    }

    #[test]
    fn it_tries_again_after_a_while() {
        let mut width = Width::new(16);
        width.look(100);
        width.look(100);
        assert_eq!(width.now(), 1);
        for _ in 1..PATIENCE {
            width.look(100);
            assert_eq!(width.now(), 1);
        }
        width.look(100);
        assert_eq!(width.now(), 2);
    }

    #[test]
    fn it_stays_where_one_is_fast_enough() {
        check(16, |_| 50 * 1024 * 1024, &[1, 1]);
        check(16, |width| width as u64 * 30 * 1024 * 1024, &[2, 4, 8]);
    }

    #[test]
    fn one_is_the_most_where_one_is_allowed() {
        check(1, |width| width as u64, &[1, 1]);
    }
}
