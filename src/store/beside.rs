//! What lies beside content and index: downloads, under way or at rest, and what is in quarantine.
//!
//! Few files, looked at when asked for; nothing is kept of them in memory.

use std::{
    fs::{self, DirEntry, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::SystemTime,
};

use super::{BlobStore, walk};
use crate::oci::Digest;

/// One of them.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) digest: Digest,
    /// Bytes of the disk.
    pub(super) taken: u64,
    pub(super) changed_at: SystemTime,
    /// Whether nobody works on it.
    pub(super) rests: bool,
}

impl BlobStore {
    /// What is or was being fetched.
    pub(super) fn staging_files(&self) -> impl Iterator<Item = Beside> {
        files(&self.staging()).into_iter().filter_map(|(entry, changed_at)| {
            let name = entry.file_name().into_string().ok()?;
            // `<hex>-<number>` is of a writer that never rests
            let (hex, is_once) = name.split_once('-').map_or((&*name, false), |(hex, _)| (hex, true));
            let digest: Digest = format!("sha256:{hex}").parse().ok()?;
            let path = entry.path();
            let taken = walk::taken(&path) + walk::taken(&path.with_extension("journal"));
            let rests = !is_once && !self.is_written(&digest);
            Some(Beside { digest, taken, changed_at, rests })
        })
    }

    /// Content that turned out not to be what its name says.
    pub(super) fn quarantined(&self) -> Vec<Beside> {
        let files = files(&self.inner().dir.join("quarantine")).into_iter();
        let beside = files.filter_map(|(entry, changed_at)| {
            let digest = format!("sha256:{}", entry.file_name().to_str()?).parse().ok()?;
            Some(Beside { digest, taken: walk::taken(&entry.path()), changed_at, rests: true })
        });
        beside.collect()
    }

    pub(super) fn quarantine_path(&self, digest: &Digest) -> PathBuf {
        self.inner().dir.join("quarantine").join(digest.hex())
    }

    /// Takes content out of the reach of readers whose `file` is not what its name says, and keeps it for a while. Nothing is
    /// done if another file lies there by now: somebody has put it right. Without `file`, it could not even be opened.
    pub(super) fn quarantine(&self, digest: &Digest, file: Option<&File>) {
        let (path, to) = (self.path(digest), self.quarantine_path(digest));
        let changing = self.changing();
        let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let there = fs::metadata(&path).map(inode);
        let wrong = file.and_then(|file| file.metadata().map(inode).ok());
        if there.is_ok_and(|there| wrong.is_some_and(|wrong| wrong != there)) {
            return;
        }
        self.table().remove(digest);
        tracing::warn!(event = "damaged", %digest, "cached content is not what its name says; it is in quarantine and is fetched again");
        let moved = self.counted(&changing, path.parent().unwrap_or(&path), || {
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::rename(&path, &to)
        });
        // a quarantine that takes nothing must not leave it where readers are
        let moved = moved.or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => fs::remove_file(&path),
        });
        if let Err(error) = moved {
            tracing::warn!(path = %path.display(), %error, "damaged content could not be deleted; it is not served");
        }
        self.remove_content_record(&changing, digest);
        // its day begins now; one that keeps its time goes with the next sweep
        let _ = file.map(|file| file.set_modified(SystemTime::now()));
    }
}

fn files(dir: &std::path::Path) -> Vec<(DirEntry, SystemTime)> {
    // a folder that is gone or cannot be read has nothing that could be dropped
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()?.modified().ok().map(|at| (entry, at))).collect()
}
