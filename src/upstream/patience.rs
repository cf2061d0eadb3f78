//! [`Patience`]: how often, and how far apart, one question is asked again while an upstream is out of order.
//!
//! Exponential backoff with full jitter under one total budget. It asks nothing itself and reads no clock: time is an argument.

use std::time::{Duration, Instant, SystemTime};

use ring::rand::{SecureRandom as _, SystemRandom};

use super::Error;

/// The most that is waited before the second attempt; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The most that is waited between two attempts that nobody told us how far to hold apart.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What is left of the time in which a question may be asked again.
#[derive(Clone, Debug)]
pub struct Patience {
    until: Instant,
    bound: Duration,
}

impl Patience {
    /// Patience for `budget` from `now` on.
    #[must_use]
    pub fn new(budget: Duration, now: Instant) -> Self {
        Self { until: now + budget, bound: FIRST_PAUSE }
    }

    /// How long to wait before asking again after `error`; `None` when that is of no use or would take too long. What the
    /// upstream itself asked to wait is waited, or the error stands. So is the time its host is left alone for, if it does
    /// answer: one that is gone, or silent, keeps nobody waiting but the first who asks.
    pub fn pause(&mut self, error: &Error, now: Instant) -> Option<Duration> {
        let told = error.retry_after(SystemTime::now());
        let is_throttled = matches!(error, Error::Refused(refusal) if refusal.status == 429);
        let is_of_use = error.may_pass() || error.is_rest_of_one_that_answers() || (is_throttled && told.is_some());
        if !is_of_use {
            return None;
        }
        let pause = told.unwrap_or_else(|| self.bound.mul_f64(lot()));
        self.bound = (self.bound * 2).min(LONGEST_PAUSE);
        Some(pause).filter(|pause| now + *pause < self.until)
    }
}

/// A number from 0 to 1, drawn by lot.
pub(super) fn lot() -> f64 {
    let mut bytes = [0; 4];
    // a system without randomness gets the middle
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use hyper::StatusCode;

    use super::*;
    use crate::{
        oci::{Registry, UpstreamError},
        upstream::{
            Refusal,
            error::{OutOfOrder, SharedError},
        },
    };

    fn refused(status: u16, retry_after: Option<&str>) -> Error {
        Error::Refused(Refusal {
            registry: "a.example".parse::<Registry>().unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            said: UpstreamError::default(),
            retry_after: retry_after.map(|text| text.parse().unwrap()),
        })
    }

    #[test]
    fn pauses_grow_and_end_with_the_budget() {
        let now = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(10), now);
        let mut bound = FIRST_PAUSE;
        for _ in 0..20 {
            assert!(patience.pause(&refused(500, None), now).unwrap() <= bound);
            bound = (bound * 2).min(LONGEST_PAUSE);
        }
        assert_eq!(patience.pause(&refused(500, None), now + Duration::from_secs(10)), None);
        assert_eq!(Patience::new(Duration::ZERO, now).pause(&refused(500, None), now), None);
    }

    #[test]
    fn what_the_upstream_asks_for_is_waited_when_it_fits() {
        let now = Instant::now();
        for (status, told, want) in [
            (503, "7", Some(7)),
            (429, "7", Some(7)),
            (429, "11", None),
            (503, "11", None),
            (503, "0", Some(0)),
            (404, "1", None),
            (403, "1", None),
        ] {
            let pause = Patience::new(Duration::from_secs(10), now).pause(&refused(status, Some(told)), now);
            assert_eq!(pause, want.map(Duration::from_secs), "{status} {told}");
        }
        // asking again unasked makes it worse
        assert_eq!(Patience::new(Duration::from_secs(10), now).pause(&refused(429, None), now), None);
    }

    #[test]
    fn a_host_that_is_left_alone_is_waited_for_if_it_answers() {
        let now = Instant::now();
        let answered = || -> SharedError { Arc::new(OutOfOrder(StatusCode::SERVICE_UNAVAILABLE)) };
        let failed = |kind: io::ErrorKind| -> SharedError { Arc::new(io::Error::from(kind)) };
        for (source, seconds, want) in [
            (answered(), 1, Some(1)),
            (answered(), 11, None),
            (failed(io::ErrorKind::ConnectionRefused), 1, None),
            (failed(io::ErrorKind::TimedOut), 1, None),
        ] {
            let registry: Registry = "a.example".parse().unwrap();
            let (host, rest) = (registry.to_string(), Duration::from_secs(seconds));
            let down = Error::Down { registry, host, failures: 5, rest, source };
            let pause = Patience::new(Duration::from_secs(10), now).pause(&down, now);
            assert_eq!(pause, want.map(Duration::from_secs), "{down:?}");
        }
    }

    #[test]
    fn a_date_is_as_good_as_a_number_of_seconds() {
        let at = |text: &str| {
            refused(503, Some(text)).retry_after(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770))
        };
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(at("soon"), None);
        assert_eq!(at(" 3 "), Some(Duration::from_secs(3)));
    }

    #[test]
    fn lots_are_between_nothing_and_all() {
        assert!((0..100).map(|_| lot()).all(|lot| (0.0..=1.0).contains(&lot)));
    }
}
