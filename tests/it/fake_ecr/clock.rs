//! The virtual clock: real time plus what the test has added.
//!
//! Tokens and presigned URLs expire by it, so that 12 hours take no time. It never goes backwards and
//! never sleeps: delays and rates are always in real time.
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Real time plus an offset that only grows.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Duration>);

impl Clock {
    pub(super) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Virtual time since the Unix epoch.
    pub(super) fn now(&self) -> Duration {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        real + *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn http_date(&self) -> String {
        format(self.now(), "%a, %d %b %Y %H:%M:%S GMT")
    }
}

/// `20190814T220617Z`, the form of `X-Amz-Date`.
pub(super) fn amazon_date(time: Duration) -> String {
    format(time, "%Y%m%dT%H%M%SZ")
}

/// `2019-08-14T22:06:17Z`, the form in S3's errors and in image configs.
pub(super) fn iso_date(time: Duration) -> String {
    format(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// The inverse of [`amazon_date`].
pub(super) fn parse_amazon_date(text: &str) -> Option<Duration> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let second = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(second).ok()?))
}

fn format(time: Duration, pattern: &str) -> String {
    let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX).strftime(pattern).to_string()
}
