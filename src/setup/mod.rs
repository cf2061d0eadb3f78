//! Writing client configuration, and undoing it; and the doctor, who looks at all of it and mends nothing.
//!
//! Touches only the entries it is asked for; a file that cannot be read as what it should be is left as it is.

mod docker;
pub mod doctor;

pub use docker::{Docker, Error, Outcome};
