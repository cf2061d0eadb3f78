//! What the cache promises (B1 to B14), over real sockets, each test named after its promise.

mod b06_healing;
mod b13_bounds;
