//! Variables of the environment; an empty one is one that is not set, for the AWS CLI and for us.

use std::env;

/// What a variable is set to.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable is set to something, be it text or not.
pub(super) fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}
