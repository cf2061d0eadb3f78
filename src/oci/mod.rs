//! The vocabulary of the OCI distribution and image specifications.
//!
//! Pure words: nothing here does I/O, is async or reads a clock. A value that exists is well formed.

mod digest;
mod error;
mod image;
mod manifest;
mod name;
mod range;
mod route;
mod signed;

pub use digest::{Digest, Verifier};
pub use error::{Code, UpstreamError, body};
pub use image::ImageName;
pub use manifest::{Accept, Descriptor, Manifest, MediaType};
pub use name::{Reference, Registry, Repository, RepositoryName, Tag, server_address, server_host};
pub use range::{ByteRanges, Unsatisfiable};
pub use route::{Object, Route};

/// A text that is not what it should be: what it is meant to be, the text, and what was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: wanted {want}")]
pub struct Invalid {
    /// The word the text was read as, for example `digest`.
    pub what: &'static str,
    /// The text as it came, cut to a length that fits a log line.
    pub text: String,
    /// What would have been right.
    pub want: &'static str,
}

impl Invalid {
    pub(crate) fn new(what: &'static str, text: &str, want: &'static str) -> Self {
        let text = text.chars().take(200).collect();
        Self { what, text, want }
    }
}
