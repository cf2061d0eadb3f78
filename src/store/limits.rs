//! [`Limits`]: how much of the disk the cache folder may take, and for how long.
//!
//! Looks at the disk for the defaults; deletes nothing: that is the sweep.

use std::{fmt, io, num::NonZeroU64, path::Path, time::Duration};

use super::walk;
use crate::oci::Registry;

/// The most that is kept without being asked to.
const MOST: u64 = 50_000_000_000;
/// The part of the free disk that is kept without being asked to.
const SHARE: u64 = 5;

/// What the cache folder may take.
#[derive(Debug, Default)]
pub struct Limits {
    /// Bytes of the disk for the whole folder; without it, the default of this disk.
    pub max_size: Option<NonZeroU64>,
    /// Bytes of the disk that stay free; without it, the default of this disk.
    pub min_free: Option<u64>,
    /// What was not read for so long goes. Zero keeps it until its room is needed.
    pub max_age: Duration,
    /// What single registries may take of it.
    pub quotas: Quotas,
}

impl From<Option<NonZeroU64>> for Limits {
    /// Only the size is limited.
    fn from(max_size: Option<NonZeroU64>) -> Self {
        Self { max_size, ..Self::default() }
    }
}

/// What a group of registries may take of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quota {
    /// What the group is called.
    pub name: String,
    /// Bytes of the disk.
    pub max_size: NonZeroU64,
}

type QuotaOf = dyn Fn(&Registry) -> Option<Quota> + Send + Sync;

/// Which quota a registry falls under.
#[derive(Default)]
pub struct Quotas(Option<Box<QuotaOf>>);

impl Quotas {
    /// Quotas as `of` tells them.
    pub fn new(of: impl Fn(&Registry) -> Option<Quota> + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(of)))
    }

    pub(super) fn of(&self, registry: &Registry) -> Option<Quota> {
        self.0.as_ref().and_then(|of| of(registry))
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quotas")
    }
}

/// The limits of one folder, with the defaults of its disk.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) max_size: u64,
    pub(super) min_free: u64,
    pub(super) max_age: Duration,
    pub(super) quotas: Quotas,
}

impl Bounds {
    /// The limits of the folder `dir`, which takes `used` of its disk.
    pub(super) fn new(dir: &Path, limits: Limits, used: u64) -> io::Result<Self> {
        let max_size = limits.max_size.map_or_else(|| default_bound(dir, used), Ok)?.get();
        let min_free = limits.min_free.map_or_else(|| default_free(dir), Ok)?;
        Ok(Self { max_size, min_free, max_age: limits.max_age, quotas: limits.quotas })
    }
}

/// The bound when none is configured: the smaller of 50 GB and a fifth of the free disk around `dir`, where what the
/// cache holds already counts as free.
pub fn default_size(dir: &Path) -> io::Result<NonZeroU64> {
    default_bound(dir, walk::taken_below(dir))
}

fn default_bound(dir: &Path, used: u64) -> io::Result<NonZeroU64> {
    let free = free(dir)?;
    Ok(NonZeroU64::new(MOST.min((free + used) / SHARE)).unwrap_or(NonZeroU64::MIN))
}

/// What stays free when nothing is configured: the smaller of 1 GB and a twentieth of the disk around `dir`.
pub fn default_free(dir: &Path) -> io::Result<u64> {
    const MOST_FREE: u64 = 1_000_000_000;
    const PART: u64 = 20;
    let disk = disk(dir)?;
    Ok(MOST_FREE.min(disk.f_blocks.saturating_mul(disk.f_frsize) / PART))
}

/// Bytes that this user may still write around `dir`.
pub(super) fn free(dir: &Path) -> io::Result<u64> {
    let disk = disk(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn disk(dir: &Path) -> io::Result<rustix::fs::StatVfs> {
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    Ok(rustix::fs::statvfs(existing)?)
}
