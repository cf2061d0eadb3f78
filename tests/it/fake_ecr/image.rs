//! Images that real runtimes can unpack: gzipped tar layers, a config with right diff ids, manifests.
//!
//! A layer depends on its seed and size only, so two images share a layer when they name the same one.
//! Its bytes are incompressible and the same in every run.
use bytes::Bytes;
use serde_json::{Value, json};

use super::digest;
use super::hello;
use super::pushed::{Blob, Child, Pushed};

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The four docker media types and their OCI twins, which ECR converts by rewriting them.
pub(super) const TWINS: [(&str, &str); 3] = [(DOCKER, OCI), (DOCKER_CONFIG, OCI_CONFIG), (DOCKER_LAYER, OCI_LAYER)];

/// Index media type of OCI, for the referrers API.
pub(super) const INDEX: &str = OCI_INDEX;

#[derive(Clone, Copy, Debug)]
struct Layer {
    seed: u64,
    size: usize,
}

/// What to push: platforms, layers and a format.
#[derive(Clone, Debug)]
pub struct Image {
    platforms: Vec<String>,
    index: bool,
    oci: bool,
    seed: u64,
    own: Vec<usize>,
    shared: Vec<Layer>,
    labels: Vec<(String, String)>,
}

/// Everything a repository must hold to serve an image.
pub(super) struct Built {
    pub(super) blobs: Vec<Bytes>,
    pub(super) pushed: Pushed,
    pub(super) child_type: &'static str,
}

impl Image {
    /// A docker (schema 2) image for one platform with one layer of 64 KiB.
    #[must_use]
    pub fn linux_amd64() -> Self {
        Self::platform("linux/amd64")
    }

    /// The same for `os/architecture[/variant]`.
    #[must_use]
    pub fn platform(platform: &str) -> Self {
        Self {
            platforms: vec![platform.to_owned()],
            index: false,
            oci: false,
            seed: 1,
            own: vec![64 << 10],
            shared: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// An index (manifest list) with one image for each platform.
    #[must_use]
    pub fn index<P: AsRef<str>>(platforms: impl IntoIterator<Item = P>) -> Self {
        let platforms = platforms.into_iter().map(|p| p.as_ref().to_owned());
        Self { platforms: platforms.collect(), index: true, ..Self::linux_amd64() }
    }

    /// OCI media types.
    #[must_use]
    pub fn oci(self) -> Self {
        Self { oci: true, ..self }
    }

    /// Docker media types, the default.
    #[must_use]
    pub fn docker(self) -> Self {
        Self { oci: false, ..self }
    }

    /// `count` layers of `size` bytes, on top of the shared ones.
    #[must_use]
    pub fn layers(self, count: usize, size: usize) -> Self {
        self.layer_sizes(vec![size; count])
    }

    /// Layers of these sizes, on top of the shared ones.
    #[must_use]
    pub fn layer_sizes(self, sizes: impl Into<Vec<usize>>) -> Self {
        let own = sizes.into();
        Self { own, ..self }
    }

    /// Another seed gives other layers, hence other digests.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// A lowest layer that any image (and every platform) with the same two numbers has too.
    #[must_use]
    pub fn shared_layer(mut self, seed: u64, size: usize) -> Self {
        self.shared.push(Layer { seed, size });
        self
    }

    /// A label in the config: a cheap way to another digest with the same layers.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn build(&self, repository: &str, tag: &str) -> Built {
        let mut blobs = Vec::new();
        let children: Vec<Child> = self.platforms.iter().map(|platform| self.child(platform, &mut blobs)).collect();
        let (child_type, list_type) = if self.oci { (OCI, OCI_INDEX) } else { (DOCKER, DOCKER_LIST) };
        let (media_type, manifest) = match children.first() {
            Some(child) if !self.index => (child_type, child.manifest.clone()),
            _ => (list_type, list(list_type, child_type, &children)),
        };
        let pushed = Pushed {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest::of(&manifest),
            media_type: media_type.to_owned(),
            manifest,
            children,
        };
        Built { blobs, pushed, child_type }
    }

    fn child(&self, platform: &str, blobs: &mut Vec<Bytes>) -> Child {
        let salt = platform.bytes().fold(self.seed, |salt, byte| digest::mix(salt.wrapping_add(u64::from(byte))));
        let own =
            (0..).zip(&self.own).map(|(number, &size)| Layer { seed: digest::mix(salt.wrapping_add(number)), size });
        let mut diff_ids = Vec::new();
        let mut layers = Vec::new();
        for layer in self.shared.iter().copied().chain(own) {
            let tar = hello::layer_tar(layer.seed, layer.size);
            diff_ids.push(digest::of(&tar));
            layers.push(keep(hello::gzip(&tar), blobs));
        }
        let config = keep(self.config(platform, &diff_ids), blobs);
        let (manifest_type, config_type, layer_type) =
            if self.oci { (OCI, OCI_CONFIG, OCI_LAYER) } else { (DOCKER, DOCKER_CONFIG, DOCKER_LAYER) };
        let described: Vec<Value> = layers.iter().map(|b| describe(layer_type, b)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": describe(config_type, &config),
            "layers": described,
        });
        let manifest = pretty(&manifest);
        Child { platform: platform.to_owned(), digest: digest::of(&manifest), manifest, config, layers }
    }

    fn config(&self, platform: &str, diff_ids: &[String]) -> Vec<u8> {
        let labels: serde_json::Map<String, Value> =
            self.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let created = "2024-01-01T00:00:00Z";
        let step = json!({"created": created, "created_by": "fake-ecr"});
        let mut config = platform_json(platform);
        config["created"] = json!(created);
        config["config"] = json!({"Cmd": ["/hello"], "Env": ["PATH=/"], "Labels": labels});
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config["history"] = json!(vec![step; diff_ids.len()]);
        config.to_string().into_bytes()
    }
}

fn keep(bytes: Vec<u8>, blobs: &mut Vec<Bytes>) -> Blob {
    let (digest, size) = (digest::of(&bytes), bytes.len());
    blobs.push(bytes.into());
    Blob { digest, size }
}

fn describe(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "size": blob.size, "digest": blob.digest})
}

fn platform_json(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let mut json = json!({
        "os": parts.next().unwrap_or("linux"),
        "architecture": parts.next().unwrap_or("amd64"),
    });
    if let Some(variant) = parts.next() {
        json["variant"] = json!(variant);
    }
    json
}

fn list(list_type: &str, child_type: &str, children: &[Child]) -> Bytes {
    let described = children.iter().map(|child| {
        json!({
            "mediaType": child_type,
            "size": child.manifest.len(),
            "digest": child.digest,
            "platform": platform_json(&child.platform),
        })
    });
    let manifests: Vec<Value> = described.collect();
    pretty(&json!({"schemaVersion": 2, "mediaType": list_type, "manifests": manifests}))
}

fn pretty(value: &Value) -> Bytes {
    format!("{value:#}").into()
}
