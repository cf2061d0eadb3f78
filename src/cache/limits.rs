//! [`Limits`]: how many connections fetch blobs at once, from one registry and in all.
//!
//! Counts only; knows no connection.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config, oci::Registry};

#[derive(Debug)]
pub(super) struct Limits {
    all: Arc<Semaphore>,
    of_registries: Mutex<HashMap<Registry, Arc<Semaphore>>>,
    per_registry: NonZeroUsize,
}

/// The right to one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _of_registry: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Limits {
    pub(super) fn new(config: &config::Upstream) -> Self {
        let all = Arc::new(Semaphore::new(config.connections.get()));
        Self { all, of_registries: Mutex::default(), per_registry: config.connections_per_host }
    }

    /// Waits for a connection: who waits longest is first.
    pub(super) async fn one(&self, registry: &Registry) -> Option<Permit> {
        // the semaphores are never closed
        let of_registry = self.of(registry).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permit { _of_registry: of_registry, _of_all: of_all })
    }

    /// One more connection, if nobody needs it as their first.
    pub(super) fn one_more(&self, registry: &Registry) -> Option<Permit> {
        let of_registry = self.of(registry).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Permit { _of_registry: of_registry, _of_all: of_all })
    }

    fn of(&self, registry: &Registry) -> Arc<Semaphore> {
        let mut table = self.of_registries.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.per_registry.get()));
        Arc::clone(table.entry(registry.clone()).or_insert_with(new))
    }
}
