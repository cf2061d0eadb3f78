//! [`Breakers`]: a host that does not answer is left alone for a while, so that everybody else learns it in no time.
//!
//! It judges hosts, never what they say: any answer below 500 is an answer. It reads no clock: time is an argument.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::error::SharedError;

/// So many questions in a row that bring no answer, and the host counts as down.
const FAILURES: u32 = 5;
/// How long a host is left alone at first; it doubles with each probe that fails.
const FIRST_REST: Duration = Duration::from_secs(1);
/// How long to wait, while one question finds out whether it is over, before looking what came of that.
pub(super) const PROBED_REST: Duration = Duration::from_millis(100);
/// It is never left alone for longer: who repairs it wants to see that it works.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Names of hosts come from clients: so many are worth remembering.
const MOST_HOSTS: usize = 1024;

/// What is known of each host that was asked.
#[derive(Debug, Default)]
pub(super) struct Breakers(Mutex<HashMap<Box<str>, Breaker>>);

/// Leave to ask a host. Dropped without a word, it says nothing of the host.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breakers: &'a Breakers,
    host: Box<str>,
    since: Instant,
    is_probe: bool,
}

/// A host that is left alone.
#[derive(Clone, Debug)]
pub(super) struct Down {
    /// How many questions in a row brought no answer.
    pub(super) failures: u32,
    /// How long it is still left alone.
    pub(super) rest: Duration,
    /// Why the last question brought none.
    pub(super) cause: SharedError,
}

/// One host.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    last_answer: Option<Instant>,
    resting: Option<Resting>,
}

#[derive(Debug)]
struct Resting {
    until: Instant,
    rest: Duration,
    is_probed: bool,
    cause: SharedError,
}

impl Breakers {
    /// Leave to ask `host`, unless it is down. When its rest is over, one question at a time finds out.
    pub(super) fn enter(&self, host: &str, now: Instant) -> Result<Leave<'_>, Down> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_probe = false;
        if let Some(Breaker { failures, resting: Some(resting), .. }) = hosts.get_mut(host) {
            if now < resting.until || resting.is_probed {
                return Err(resting.down(*failures, now));
            }
            (resting.is_probed, is_probe) = (true, true);
        }
        Ok(Leave { breakers: self, host: host.into(), since: now, is_probe })
    }

    /// Whether `host` is down, without asking for leave.
    pub(super) fn down(&self, host: &str, now: Instant) -> Option<Down> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = hosts.get(host)?;
        let resting = breaker.resting.as_ref().filter(|resting| now < resting.until || resting.is_probed)?;
        Some(resting.down(breaker.failures, now))
    }

    fn change<T>(&self, host: &str, change: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, breaker| breaker.resting.is_some());
        }
        let has_room = hosts.len() < MOST_HOSTS || hosts.contains_key(host);
        has_room.then(|| change(hosts.entry(host.into()).or_default()))
    }
}

impl Resting {
    fn down(&self, failures: u32, now: Instant) -> Down {
        let rest = self.until.saturating_duration_since(now);
        let rest = if self.is_probed { rest.max(PROBED_REST) } else { rest };
        Down { failures, rest, cause: Arc::clone(&self.cause) }
    }
}

impl Leave<'_> {
    /// The host answered, whatever it said. Whether it was down before.
    pub(super) fn answered(mut self, now: Instant) -> bool {
        self.is_probe = false;
        let answered = Breaker { failures: 0, last_answer: Some(now), resting: None };
        let before = self.breakers.change(&self.host, |breaker| std::mem::replace(breaker, answered));
        before.is_some_and(|breaker| breaker.resting.is_some())
    }

    /// The host brought no answer, because of `cause`. `share` (from 0 to 1, drawn by lot) spreads the probes of many
    /// machines. Silence counts at once, unless others were answered meanwhile: nobody shall wait as long again. Returns for
    /// how long the host is left alone because of it, if it is.
    pub(super) fn failed(mut self, cause: SharedError, is_silence: bool, share: f64, now: Instant) -> Option<Duration> {
        let (since, was_probe) = (self.since, self.is_probe);
        self.is_probe = false;
        self.breakers.change(&self.host, |breaker| {
            let others_were_answered = breaker.last_answer.is_some_and(|at| at >= since);
            breaker.failures = breaker.failures.saturating_add(1);
            let is_down = breaker.failures >= FAILURES || (is_silence && !others_were_answered);
            let rest = match &breaker.resting {
                // a question that was under way when the rest began tells nothing new
                Some(_) if !was_probe => return None,
                Some(resting) => (resting.rest * 2).min(LONGEST_REST),
                None if is_down => FIRST_REST,
                None => return None,
            };
            // from three quarters of it to all of it
            let drawn = rest.mul_f64(0.75 + share.clamp(0.0, 1.0) / 4.0);
            breaker.resting = Some(Resting { until: now + drawn, rest, is_probed: false, cause });
            Some(drawn)
        })?
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            // the probe was given up: the next question is one
            self.breakers.change(&self.host, |breaker| {
                if let Some(resting) = &mut breaker.resting {
                    resting.is_probed = false;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const HOST: &str = "a.example:443";

    fn fail(breakers: &Breakers, now: Instant, is_silence: bool) {
        let cause = Arc::new(io::Error::other("refused"));
        breakers.enter(HOST, now).unwrap().failed(cause, is_silence, 1.0, now);
    }

    /// A host that went down at `now`.
    fn down(now: Instant) -> Breakers {
        let breakers = Breakers::default();
        for _ in 0..FAILURES {
            fail(&breakers, now, false);
        }
        breakers
    }

    #[test]
    fn a_host_is_down_after_five_failures_in_a_row() {
        let (breakers, now) = (Breakers::default(), Instant::now());
        for _ in 0..FAILURES - 1 {
            fail(&breakers, now, false);
        }
        breakers.enter(HOST, now).unwrap().answered(now);
        for _ in 0..FAILURES {
            assert!(breakers.enter(HOST, now).is_ok());
            fail(&breakers, now, false);
        }
        let down = breakers.enter(HOST, now).unwrap_err();
        assert_eq!((down.failures, down.rest, down.cause.to_string().as_str()), (FAILURES, FIRST_REST, "refused"));
        assert!(breakers.enter("b.example:443", now).is_ok());
    }

    #[test]
    fn one_probe_at_a_time_finds_out_whether_it_is_over() {
        let start = Instant::now();
        let breakers = down(start);
        let later = start + FIRST_REST;
        let probe = breakers.enter(HOST, later).unwrap();
        // in no time nothing is found out: who is told to wait that long, asks in a circle
        assert_eq!(breakers.enter(HOST, later).unwrap_err().rest, PROBED_REST);
        assert_eq!(breakers.down(HOST, later).unwrap().rest, PROBED_REST);
        drop(probe);
        // one that was given up leaves its place to the next
        assert!(breakers.down(HOST, later).is_none());
        breakers.enter(HOST, later).unwrap().answered(later);
        assert!(breakers.enter(HOST, later).is_ok() && breakers.enter(HOST, later).is_ok());
    }

    #[test]
    fn each_probe_that_fails_doubles_the_rest_up_to_half_a_minute() {
        let mut now = Instant::now();
        let breakers = down(now);
        for want in [2, 4, 8, 16, 30, 30] {
            now += LONGEST_REST;
            fail(&breakers, now, false);
            assert_eq!(breakers.down(HOST, now).unwrap().rest, Duration::from_secs(want));
        }
        now += LONGEST_REST;
        breakers.enter(HOST, now).unwrap().answered(now);
        fail(&breakers, now, true);
        assert_eq!(breakers.down(HOST, now).map(|down| down.rest), None, "an answer at that very moment");
        now += FIRST_REST;
        fail(&breakers, now, true);
        assert_eq!(breakers.down(HOST, now).unwrap().rest, FIRST_REST);
    }

    #[test]
    fn silence_counts_at_once_unless_others_were_answered_meanwhile() {
        let start = Instant::now();
        let later = start + Duration::from_secs(30);
        let breakers = Breakers::default();
        let silent = breakers.enter(HOST, start).unwrap();
        breakers.enter(HOST, later).unwrap().answered(later);
        silent.failed(Arc::new(io::Error::other("silent")), true, 1.0, later);
        assert!(breakers.down(HOST, later).is_none());
        fail(&breakers, later + FIRST_REST, true);
        assert!(breakers.down(HOST, later + FIRST_REST).is_some());
    }

    #[test]
    fn what_was_under_way_when_the_rest_began_does_not_lengthen_it() {
        let start = Instant::now();
        let breakers = Breakers::default();
        let under_way: Vec<_> = (0..20).map(|_| breakers.enter(HOST, start).unwrap()).collect();
        for leave in under_way {
            leave.failed(Arc::new(io::Error::other("reset")), true, 1.0, start);
        }
        assert_eq!(breakers.down(HOST, start).unwrap().rest, FIRST_REST);
    }

    #[test]
    fn lots_spread_the_probes() {
        let (breakers, now) = (Breakers::default(), Instant::now());
        breakers.enter(HOST, now).unwrap().failed(Arc::new(io::Error::other("silent")), true, 0.0, now);
        assert_eq!(breakers.down(HOST, now).unwrap().rest, FIRST_REST.mul_f64(0.75));
    }

    #[test]
    fn any_number_of_names_takes_bounded_room() {
        let (breakers, now) = (Breakers::default(), Instant::now());
        for number in 0..3 * MOST_HOSTS {
            let host = format!("{number}.example");
            breakers.enter(&host, now).unwrap().failed(Arc::new(io::Error::other("no such host")), false, 1.0, now);
        }
        assert!(breakers.0.lock().unwrap().len() <= MOST_HOSTS);
    }
}
