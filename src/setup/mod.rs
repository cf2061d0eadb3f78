//! Writing client configuration, and undoing it.
//!
//! Touches only the entries it is asked for; a file that cannot be read as what it should be is left as it is.

mod docker;

pub use docker::{Docker, Error, Outcome};
