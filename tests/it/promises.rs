//! The promises of the cache, a file for each: real daemon, real sockets, numbers that were promised.

mod ahead;
mod b01_one_fetch;
mod b02_readers;
mod b03_breaks;
mod b04_crash;
mod b05_wrong_bytes;
mod b06_healing;
mod b07_connections;
mod b07_ranges;
mod b08_head;
mod b09_tokens;
mod b10_freshness;
mod b10_quiet;
mod b11_errors;
mod b13_bounds;
mod b13_full_disk;
mod b14_exact;
mod causes;
mod parallel;
mod raw;

use crate::rig::{APP, Rig};

/// The size of a blob, unless a promise says otherwise.
const S: usize = 24 * 1024 * 1024;

/// Bytes without pattern, others for each seed.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; count];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}

fn blob(seed: u64) -> Vec<u8> {
    bytes(seed, S)
}

fn path(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// A rig for tests that hold an answer back for as long as a slow machine needs.
async fn patient() -> Rig {
    Rig::with_upstream("", "idle_timeout = \"30s\"").await
}

/// The whole blob, which must come.
async fn body_of(rig: &Rig, digest: &str) -> Vec<u8> {
    rig.get(&path(APP, digest)).await.ok().body.unwrap().to_vec()
}
