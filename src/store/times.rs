//! When content was read: in memory with every request, on the disk now and then. Never a write for a read.
//!
//! The time of the last read is the file's access time, set by us, so it is right where the system keeps none. A daemon
//! that is killed forgets what was read since the last flush, a minute at most.

use std::{
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

use super::{BlobStore, mark};

impl BlobStore {
    /// Brings the times that changed to the disk.
    pub fn flush(&self) {
        let mut read = Vec::new();
        for (digest, held) in self.table().iter_mut() {
            if std::mem::take(&mut held.is_read_since) {
                read.push((digest.clone(), held.read_at));
            }
        }
        for (digest, at) in read {
            // the order of eviction, not the content: one that is gone has no place in it
            let _ = set_read(&self.path(&digest), at);
        }
    }

    /// The last that is done before the daemon ends in order.
    pub fn stop(&self) {
        self.flush();
        if !self.has_doubts() {
            mark::stopped(&self.inner().dir);
        }
    }
}

fn set_read(path: &Path, at: SystemTime) -> io::Result<()> {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: timespec(at), last_modification: omitted };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

fn timespec(at: SystemTime) -> Timespec {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timespec { tv_sec: since.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: since.subsec_nanos().into() }
}
