//! Writing client configuration, and undoing it; what only an administrator may write is printed. And the doctor, who
//! looks at all of it and mends nothing.
//!
//! Touches only the entries it is asked for; a file that cannot be read as what it should be is left as it is.

mod docker;
pub mod doctor;
mod kubelet;

pub use docker::{Docker, Error, Outcome};
pub use kubelet::Kubelet;
