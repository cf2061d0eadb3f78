//! An error and its causes on one line, for people.
//!
//! Adds no `Debug` text, which may hold what must not be shown.

use std::error::Error;

/// The words of `error` and of each of its causes that says something new.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn causes_follow_and_nothing_is_said_twice() {
    #[derive(Debug, thiserror::Error)]
    #[error("the\n daemon")]
    struct Outer(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("no disk")]
    struct Inner(#[source] std::fmt::Error);
    let error = Outer(Inner(std::fmt::Error));
    assert_eq!(chain(&error), format!("the daemon: no disk: {}", std::fmt::Error));
}
