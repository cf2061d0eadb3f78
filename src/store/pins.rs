//! Pins: images that no sweep takes.
//!
//! A pin protects a manifest, for an index all its children, and all their configs and layers, those that come later too.
//! One by tag follows its tag.

use std::{
    collections::HashSet,
    io,
    sync::{MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{BlobStore, index::Record};
use crate::oci::{Digest, Reference, Repository, Tag};

/// An image that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) repository: Repository,
    pub(super) reference: Reference,
    /// what the reference meant when it was pinned
    pub(super) digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct PinRecord {
    digest: String,
}

fn key(repository: &Repository, reference: &Reference) -> String {
    format!("pin {repository} {reference}")
}

/// A record of a pin.
pub(super) fn pin_of(record: &Record) -> Option<Pin> {
    let (repository, reference) = record.key.strip_prefix("pin ")?.split_once(' ')?;
    let said = PinRecord::deserialize(&record.metadata).ok()?;
    Some(Pin {
        repository: repository.parse().ok()?,
        reference: reference.parse().ok()?,
        digest: said.digest.parse().ok()?,
    })
}

impl BlobStore {
    /// Pins an image, or lets it go. Returns the manifest it means; nothing if the cache knows no such image.
    pub fn pin(&self, repository: &Repository, reference: &Reference, on: bool) -> io::Result<Option<Digest>> {
        let known = self.pin_list().iter().find(|pin| is_of(pin, repository, reference)).cloned();
        let digest = match (on, known) {
            (false, None) => return Ok(None),
            (false, Some(pin)) => {
                self.remove_record(&self.changing(), &key(repository, reference))?;
                pin.digest
            }
            (true, _) => {
                let Some(digest) = self.meant(repository, reference)? else { return Ok(None) };
                let record = PinRecord { digest: digest.to_string() };
                self.put(&self.changing(), &key(repository, reference), &digest, 0, &record)?;
                digest
            }
        };
        {
            let mut pins = self.pin_list();
            pins.retain(|pin| !is_of(pin, repository, reference));
            if on {
                let (repository, reference) = (repository.clone(), reference.clone());
                pins.push(Pin { repository, reference, digest: digest.clone() });
            }
        }
        self.refresh_pins();
        Ok(Some(digest))
    }

    /// What is pinned, and which manifest that means now.
    pub fn pins(&self) -> io::Result<Vec<(Repository, Reference, Digest)>> {
        let pins = self.pin_list().clone();
        let pins = pins.into_iter().map(|pin| {
            let digest = self.meant(&pin.repository, &pin.reference)?.unwrap_or(pin.digest);
            Ok((pin.repository, pin.reference, digest))
        });
        pins.collect()
    }

    /// The manifest a reference means: of those a tag is known to point to, the newest that is here.
    pub(super) fn meant(&self, repository: &Repository, reference: &Reference) -> io::Result<Option<Digest>> {
        let digests = match reference {
            Reference::Digest(digest) => vec![digest.clone()],
            Reference::Tag(tag) => self.tag_digests(repository, tag)?,
        };
        for digest in digests {
            let content = self.manifest_content(repository, &digest)?;
            if content.is_some_and(|content| self.table().contains(&content)) {
                return Ok(Some(digest));
            }
        }
        Ok(None)
    }

    pub(super) fn is_pinned_tag(&self, repository: &Repository, tag: &Tag) -> bool {
        let is_it = |pin: &Pin| {
            pin.repository == *repository && matches!(&pin.reference, Reference::Tag(pinned) if pinned == tag)
        };
        self.pin_list().iter().any(is_it)
    }

    /// Finds out anew what no sweep may take.
    pub(super) fn refresh_pins(&self) {
        // held to the end: of two that do this at once, the second knows more
        let pins = self.pin_list();
        let mut pinned = HashSet::new();
        for pin in pins.iter() {
            let tagged = match &pin.reference {
                Reference::Tag(tag) => self.tag_digests(&pin.repository, tag).unwrap_or_default(),
                Reference::Digest(_) => Vec::new(),
            };
            let roots = if tagged.is_empty() { vec![pin.digest.clone()] } else { tagged };
            for root in roots {
                // what is not known yet will mostly be kept under its own name
                let content = self.manifest_content(&pin.repository, &root).ok().flatten();
                self.reach(content.unwrap_or_else(|| root.clone()), &mut pinned);
                pinned.insert(root);
            }
        }
        self.table().pinned = pinned;
    }

    fn pin_list(&self) -> MutexGuard<'_, Vec<Pin>> {
        self.inner().pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of(pin: &Pin, repository: &Repository, reference: &Reference) -> bool {
    (&pin.repository, &pin.reference) == (repository, reference)
}
