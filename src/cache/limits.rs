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

/// Names of registries come from clients: of more than so many, those that nobody waits for are forgotten.
const MOST_REGISTRIES: usize = 1024;

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
        if table.len() >= MOST_REGISTRIES && !table.contains_key(registry) {
            // one that is held, or waited for, is counted twice
            table.retain(|_, connections| Arc::strong_count(connections) > 1);
        }
        let new = || Arc::new(Semaphore::new(self.per_registry.get()));
        Arc::clone(table.entry(registry.clone()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn any_number_of_names_takes_bounded_room_and_what_is_held_still_counts() {
        let limits = Limits::new(&Config::default().upstream);
        let held: Registry = "held.example".parse().unwrap();
        let first = limits.one(&held).await.unwrap();
        for number in 0..3 * MOST_REGISTRIES {
            limits.one_more(&format!("{number}.example").parse().unwrap()).unwrap();
        }
        assert!(limits.of_registries.lock().unwrap().len() <= MOST_REGISTRIES);
        let left = limits.of(&held).available_permits();
        assert_eq!(left + 1, limits.per_registry.get());
        drop(first);
    }
}
