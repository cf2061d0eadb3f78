//! What the store knows when it is opened: the table of contents and the pins, from one walk over the folder.
//!
//! Content that has no record of having been verified, or not its size, is deleted: it is as good as never fetched.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use super::{
    BlobStore,
    contents::{Held, Table},
    pins::{self, Pin},
    records,
    walk::{self, Found},
};
use crate::oci::{Digest, Registry};

#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) table: Table,
    pub(super) tree: u64,
    pub(super) pins: Vec<Pin>,
}

/// Looks at the folder `dir`. What changed after `doubted_since` is verified before all else.
pub(super) fn look(dir: &Path, doubted_since: Option<SystemTime>) -> Start {
    let mut start = Start::default();
    let mut known = HashMap::<Digest, (u64, Option<Arc<Registry>>)>::new();
    let found = walk::walk(dir, &mut |record| {
        if let Some((digest, from)) = records::content_of(&record) {
            known.insert(digest, (record.size, from.map(Arc::new)));
        } else {
            start.pins.extend(pins::pin_of(&record));
        }
    });
    start.tree = found.tree;
    for file in &found.files {
        match known.remove(&file.digest).filter(|(size, _)| *size == file.size) {
            Some((size, from)) => {
                let in_doubt = doubted_since.is_some_and(|since| file.changed_at >= since);
                let held = Held {
                    size,
                    taken: file.taken,
                    read_at: file.read_at,
                    verified_at: if in_doubt { SystemTime::UNIX_EPOCH } else { file.changed_at },
                    changed_at: file.changed_at,
                    from,
                    is_read_since: false,
                };
                start.table.insert(&file.digest, held);
            }
            None => start.tree += remove(dir, file, &found),
        }
    }
    start
}

/// Deletes content that cannot be believed; returns what it still takes of the disk.
fn remove(dir: &Path, file: &walk::File, found: &Found) -> u64 {
    // where records could not be read, they may say that it is right
    if found.is_partial {
        return file.taken;
    }
    let hex = file.digest.hex();
    let path = dir.join(walk::CONTENT).join("sha256").join(&hex[..2]).join(&hex[2..4]).join(&hex[4..]);
    match fs::remove_file(&path) {
        Ok(()) => 0,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "content that was never verified could not be deleted");
            file.taken
        }
    }
}

impl BlobStore {
    /// Looks at the folder again, after somebody else changed it: what is gone is forgotten, and all is counted.
    pub(super) fn recount(&self) {
        let _changing = self.changing();
        let found = walk::walk(&self.inner().dir, &mut |_| {});
        let mut files: HashMap<Digest, u64> = found.files.into_iter().map(|file| (file.digest, file.taken)).collect();
        let mut table = self.table();
        if !found.is_partial {
            let gone: Vec<Digest> =
                table.iter().map(|(digest, _)| digest).filter(|digest| !files.contains_key(digest)).cloned().collect();
            gone.iter().for_each(|digest| drop(table.remove(digest)));
        }
        files.retain(|digest, _| !table.contains(digest));
        let unknown: u64 = files.values().sum();
        self.inner().tree.store(found.tree + unknown, Ordering::Relaxed);
    }
}
