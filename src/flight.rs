//! [`Flights`]: one piece of work at a time for each key, with any number waiting for its outcome.
//!
//! The work runs in a task of its own, so a caller that goes away ends nothing; nothing is remembered when it is done.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

type Table<K, V> = Mutex<HashMap<K, watch::Receiver<Option<V>>>>;

/// The pieces of work under way.
#[derive(Debug)]
pub struct Flights<K, V>(Arc<Table<K, V>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The work under way ended without an outcome: it panicked or the runtime is going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was given up")]
pub struct GivenUp;

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the work under way for `key`, or starts `work`. The flag says whether this call started it.
    pub async fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<(V, bool), GivenUp>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (mut outcome, started) = self.enter(key, work);
        let value = outcome.wait_for(Option::is_some).await.map_err(|_| GivenUp)?;
        value.clone().map(|value| (value, started)).ok_or(GivenUp)
    }

    fn enter<F>(&self, key: K, work: impl FnOnce() -> F) -> (watch::Receiver<Option<V>>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // a closed channel is one whose task died: its place is free
        if let Some(outcome) = table.get(&key).filter(|outcome| outcome.has_changed().is_ok()) {
            return (outcome.clone(), false);
        }
        let (sender, outcome) = watch::channel(None);
        table.insert(key.clone(), outcome.clone());
        let (table, work) = (Arc::clone(&self.0), work());
        tokio::spawn(async move {
            let value = work.await;
            table.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            sender.send_replace(Some(value));
        });
        (outcome, true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn fifty_callers_share_one_piece_of_work() {
        let (flights, runs, gate) =
            (Arc::new(Flights::default()), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (flights, runs, gate) = (Arc::clone(&flights), Arc::clone(&runs), Arc::clone(&gate));
            callers.spawn(async move {
                let work = || async move {
                    gate.notified().await;
                    runs.fetch_add(1, Ordering::SeqCst)
                };
                flights.join("key", work).await
            });
        }
        tokio::task::yield_now().await;
        gate.notify_one();
        let outcomes = callers.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok((0, true))).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok((0, false))).count(), 49);
    }

    #[tokio::test]
    async fn work_goes_on_when_the_caller_that_started_it_leaves() {
        let (flights, gate) = (Arc::new(Flights::default()), Arc::new(Notify::new()));
        let (leaver, opener) = (Arc::clone(&flights), Arc::clone(&gate));
        let starter = tokio::spawn(async move {
            leaver
                .join(1, || async move {
                    opener.notified().await;
                    "done"
                })
                .await
        });
        tokio::task::yield_now().await;
        starter.abort();
        gate.notify_one();
        assert_eq!(flights.join(1, || async { "started again" }).await, Ok(("done", false)));
    }

    #[tokio::test]
    async fn work_that_panics_leaves_no_trace() {
        let flights: Flights<u8, u8> = Flights::default();
        assert_eq!(flights.join(1, || async { panic!("on purpose") }).await, Err(GivenUp));
        assert_eq!(flights.join(1, || async { 7 }).await, Ok((7, true)));
    }
}
