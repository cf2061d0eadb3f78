//! [`Leases`]: which content is open, so that the sweep leaves it alone.
//!
//! Counts only; holds no file.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::oci::Digest;

type Table = Mutex<HashMap<Digest, usize>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Leases(Arc<Table>);

/// Content is not swept while a lease on it lives.
#[derive(Debug)]
pub(super) struct Lease {
    digest: Digest,
    table: Arc<Table>,
}

impl Leases {
    /// A lease, and whether it is the only one.
    pub(super) fn take(&self, digest: &Digest) -> (Lease, bool) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(digest.clone()).or_default();
        *count += 1;
        let is_only = *count == 1;
        (Lease { digest: digest.clone(), table: Arc::clone(&self.0) }, is_only)
    }

    pub(super) fn is_taken(&self, digest: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.digest);
            }
        }
    }
}
