//! One image: its manifests for the platforms that are wanted, then its blobs, three at a time.
//!
//! Asks as a client would, so that the daemon has all that a client will ask for.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio::task::JoinSet;

use super::{
    platform::{Platform, Platforms},
    progress::ImageProgress,
    registry::{Broken, Origin, Registry, Served},
};
use crate::oci::{Digest, ImageName, Reference};

/// As many as docker asks for.
const AT_A_TIME: usize = 3;
/// An index of indexes of indexes is nobody's image.
const DEEPEST: usize = 3;

/// What is to be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// The image as it was typed.
    pub(super) typed: String,
    pub(super) image: ImageName,
    pub(super) platforms: Platforms,
}

/// A piece of content that came.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) origin: Origin,
}

/// An image that came.
pub(super) struct Pulled {
    pub(super) digest: Digest,
    pub(super) manifests: Vec<Fetched>,
    pub(super) blobs: Vec<Fetched>,
}

/// Blobs that this run has seen come, with their sizes.
pub(super) type Seen = BTreeMap<Digest, u64>;

#[derive(Deserialize)]
struct Parsed {
    manifests: Option<Vec<Child>>,
    config: Option<Blob>,
    layers: Option<Vec<Blob>>,
    blobs: Option<Vec<Blob>>,
    #[serde(rename = "fsLayers")]
    layers_of_old: Option<Vec<OldLayer>>,
}

#[derive(Deserialize)]
struct Child {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Blob {
    digest: String,
    #[serde(default)]
    size: u64,
    /// content that lies elsewhere and is not pulled from a registry
    urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct OldLayer {
    #[serde(rename = "blobSum")]
    digest: String,
}

pub(super) async fn pull(
    registry: &Registry,
    job: &Job,
    seen: &mut Seen,
    progress: &ImageProgress,
) -> Result<Pulled, String> {
    let name = &job.image.name;
    let top = registry.manifest(name, &job.image.reference).await?;
    let digest = top.digest.clone();
    let (mut manifests, mut wanted) = (Vec::new(), BTreeMap::new());
    let mut open = vec![(top, 0)];
    while let Some((served, depth)) = open.pop() {
        let parsed = parse(&served)?;
        for child in children(&parsed, job)? {
            if depth == DEEPEST {
                return Err("its indexes are nested too deep".to_owned());
            }
            open.push((registry.manifest(name, &Reference::Digest(child)).await?, depth + 1));
        }
        wanted.extend(blobs(parsed)?);
        let size = served.bytes.len() as u64;
        manifests.push(Fetched { digest: served.digest, size, origin: served.origin });
    }
    progress.expect(wanted.iter().filter(|(digest, _)| !seen.contains_key(digest)).map(|(_, size)| size).sum());
    let blobs = fetch_all(registry, name, wanted, seen, progress).await?;
    Ok(Pulled { digest, manifests, blobs })
}

async fn fetch_all(
    registry: &Registry,
    name: &str,
    wanted: BTreeMap<Digest, u64>,
    seen: &mut Seen,
    progress: &ImageProgress,
) -> Result<Vec<Fetched>, String> {
    let mut blobs = Vec::new();
    // dropped with a failure, it ends the others of this image
    let mut tasks = JoinSet::new();
    let mut open = wanted.into_iter();
    loop {
        while tasks.len() < AT_A_TIME
            && let Some((digest, size)) = open.next()
        {
            if let Some(&size) = seen.get(&digest) {
                blobs.push(Fetched { digest, size, origin: Origin::Cache });
                continue;
            }
            let (registry, name, progress) = (registry.clone(), name.to_owned(), progress.clone());
            tasks.spawn(async move { fetch(&registry, &name, digest, size, &progress).await });
        }
        let Some(fetched) = tasks.join_next().await else { return Ok(blobs) };
        let fetched = fetched.map_err(|died| died.to_string())??;
        seen.insert(fetched.digest.clone(), fetched.size);
        progress.fetched(&fetched);
        blobs.push(fetched);
    }
}

async fn fetch(
    registry: &Registry,
    name: &str,
    digest: Digest,
    expected: u64,
    progress: &ImageProgress,
) -> Result<Fetched, String> {
    let came = |bytes| progress.came(bytes);
    let mut outcome = registry.blob(name, &digest, &came).await;
    if let Err(Broken::Off(bytes, _)) = outcome {
        // what the daemon learned meanwhile it says to who asks again
        progress.take_back(bytes);
        outcome = registry.blob(name, &digest, &came).await;
    }
    let (size, origin) = outcome.map_err(|broken| format!("blob {digest}: {broken}"))?;
    // manifests of the first version do not say
    if expected != 0 && size != expected {
        return Err(format!("blob {digest}: it has {size} bytes, the manifest says {expected}"));
    }
    Ok(Fetched { digest, size, origin })
}

fn parse(served: &Served) -> Result<Parsed, String> {
    serde_json::from_slice(&served.bytes).map_err(|error| format!("manifest {}: {error}", served.digest))
}

/// The manifests of an index that are wanted.
fn children(parsed: &Parsed, job: &Job) -> Result<Vec<Digest>, String> {
    let children = parsed.manifests.as_deref().unwrap_or_default();
    let there: Vec<_> = children.iter().map(|child| child.platform.clone()).collect();
    let is_of_platforms = there.iter().any(Option::is_some);
    let platforms = if is_of_platforms { &job.platforms } else { &Platforms::All };
    let places = platforms.of(&there).map_err(|missing| {
        let known = there.iter().flatten().filter(|platform| !platform.is_unknown());
        let known: Vec<_> = known.map(ToString::to_string).collect();
        format!("it is not there for {missing}, only for {}", known.join(", "))
    })?;
    let digests = places.into_iter().map(|place| children[place].digest.parse());
    digests.collect::<Result<_, _>>().map_err(|error: crate::oci::Invalid| error.to_string())
}

/// Digests and sizes of what a manifest consists of.
fn blobs(parsed: Parsed) -> Result<Vec<(Digest, u64)>, String> {
    let Parsed { config, layers, blobs, layers_of_old, .. } = parsed;
    let all = config.into_iter().chain(layers.into_iter().flatten()).chain(blobs.into_iter().flatten());
    let here = all.filter(|blob| blob.urls.as_ref().is_none_or(Vec::is_empty)).map(|blob| (blob.digest, blob.size));
    let old = layers_of_old.into_iter().flatten().map(|layer| (layer.digest, 0));
    let parsed = here.chain(old).map(|(digest, size)| Ok((digest.parse()?, size)));
    parsed.collect::<Result<_, _>>().map_err(|error: crate::oci::Invalid| error.to_string())
}
