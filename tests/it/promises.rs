//! The promises of the cache, a file for each: real daemon, real sockets, numbers that were promised.

mod b07_connections;
mod b07_ranges;
mod raw;
