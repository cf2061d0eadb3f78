//! [`Turns`]: who verifies content that is in doubt. One at a time; whoever comes meanwhile waits for what that one finds.
//!
//! Knows nothing of content but its digest. Waiting blocks.

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::oci::Digest;

#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<Digest>>,
    given_back: Condvar,
}

/// The right to verify one content, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    digest: Digest,
}

impl Turns {
    /// The turn, or nothing when somebody else had it, who is done now.
    pub(super) fn take(&self, digest: &Digest) -> Option<Turn<'_>> {
        let mut taken = self.lock();
        if taken.insert(digest.clone()) {
            return Some(Turn { turns: self, digest: digest.clone() });
        }
        while taken.contains(digest) {
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.digest);
        self.turns.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_meanwhile_waits_for_what_the_first_one_finds() {
        let (turns, digest) = (Turns::default(), Digest::of(b"1"));
        let first = turns.take(&digest).unwrap();
        assert!(turns.take(&Digest::of(b"2")).is_some(), "others have a turn of their own");
        std::thread::scope(|scope| {
            let others = [(); 3].map(|()| scope.spawn(|| drop(turns.take(&digest))));
            drop(first);
            // nobody waits for ever, whether it came before the end or had a turn after it
            for other in others {
                other.join().unwrap();
            }
        });
        assert!(turns.take(&digest).is_some());
    }
}
