//! [`Secret`]: a password or token in memory.
//!
//! Never printed (no `Display`, `Debug` redacts), never serialized, wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// Text that must not reach a log, an error or a file other than the token store's.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over `text`; the caller keeps no copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Every call is a place to review: it may go to the peer it is for, or to the token store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[test]
fn debug_shows_nothing_of_a_secret() {
    assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(redacted)");
}
