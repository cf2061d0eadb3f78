//! What the cache promises, a file for each promise.

mod b08_head;
mod b09_tokens;
mod b10_freshness;
mod b10_quiet;
mod b11_errors;
mod b14_exact;
mod causes;
