//! What a push has made, for a test to compare with.
//!
//! Only data; nothing here is looked up later.
use bytes::Bytes;

/// A blob that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Blob {
    /// `sha256:<hex>`.
    pub digest: String,
    /// Its length in bytes.
    pub size: usize,
}

/// One platform's image of an index.
#[derive(Clone, Debug)]
pub struct Child {
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// Digest of its manifest.
    pub digest: String,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// Its config blob.
    pub config: Blob,
    /// Its layers, lowest first.
    pub layers: Vec<Blob>,
}

/// What [`push_image`](super::FakeEcr::push_image) made.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `host/name`.
    pub repository: String,
    /// The tag it was pushed under.
    pub tag: String,
    /// Digest the tag points at.
    pub digest: String,
    /// Media type of what the tag points at.
    pub media_type: String,
    /// Its bytes.
    pub manifest: Bytes,
    /// One for each platform of an index; exactly one when the tag is no index.
    pub children: Vec<Child>,
}

impl Pushed {
    /// Layers of all platforms, each once.
    #[must_use]
    pub fn layers(&self) -> Vec<Blob> {
        let mut layers: Vec<Blob> = Vec::new();
        for layer in self.children.iter().flat_map(|child| &child.layers) {
            if !layers.contains(layer) {
                layers.push(layer.clone());
            }
        }
        layers
    }

    /// Configs and layers of all platforms, each once.
    #[must_use]
    pub fn blobs(&self) -> Vec<Blob> {
        let configs = self.children.iter().map(|child| child.config.clone());
        configs.chain(self.layers()).collect()
    }

    /// Config of the first platform.
    #[must_use]
    pub fn config(&self) -> &Blob {
        &self.children[0].config
    }
}
