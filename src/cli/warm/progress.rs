//! What is seen of a run while it goes on, on standard error: bars at a terminal, else one line for each blob and image.

use std::io::{self, IsTerminal as _, Write as _};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    pull::{Fetched, Pulled},
    registry::Origin,
};
use crate::cli::cache::Bytes;

const OF_IMAGE: &str =
    "{prefix}\n  {bar:40} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
const OF_ALL: &str = "{prefix}: {decimal_bytes} of {decimal_total_bytes} so far, {decimal_bytes_per_sec}, {elapsed}";
/// As many digits as docker shows, with what stands before them.
const SHORT: usize = "sha256:".len() + 12;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Volume {
    /// Only what failed.
    Failures,
    /// Lines, or bars at a terminal.
    All,
}

/// The run as a whole.
pub(super) struct Progress {
    volume: Volume,
    bars: Option<(MultiProgress, ProgressBar)>,
    images: usize,
}

/// One image of it.
#[derive(Clone)]
pub(super) struct ImageProgress {
    typed: String,
    says_lines: bool,
    bar: ProgressBar,
    all: ProgressBar,
}

impl Progress {
    pub(super) fn new(volume: Volume, images: usize) -> Self {
        let is_seen = volume == Volume::All && io::stderr().is_terminal();
        let bars = is_seen.then(|| {
            let bars = MultiProgress::new();
            let all = bars.add(ProgressBar::new(0).with_style(style(OF_ALL)));
            (bars, all)
        });
        Self { volume, bars, images }
    }

    /// The next image, by its number.
    pub(super) fn image(&self, typed: &str, number: usize) -> ImageProgress {
        let says_lines = self.volume == Volume::All && self.bars.is_none();
        let (bar, all) = match &self.bars {
            Some((bars, all)) => {
                all.set_prefix(format!("image {number} of {}", self.images));
                let bar = ProgressBar::new(0).with_style(style(OF_IMAGE)).with_prefix(typed.to_owned());
                (bars.insert_before(all, bar), all.clone())
            }
            None => (ProgressBar::hidden(), ProgressBar::hidden()),
        };
        ImageProgress { typed: typed.to_owned(), says_lines, bar, all }
    }

    pub(super) fn came(&self, image: &ImageProgress, pulled: &Pulled) {
        image.bar.finish_and_clear();
        if self.volume == Volume::All {
            let blobs = pulled.blobs.len();
            let bytes = pulled.blobs.iter().chain(&pulled.manifests).map(|fetched| fetched.size).sum();
            let had = pulled.blobs.iter().filter(|blob| blob.origin != Origin::Upstream).count();
            let plural = if blobs == 1 { "" } else { "s" };
            self.line(&format!("{}: {blobs} blob{plural}, {}, {had} from the cache", image.typed, Bytes(bytes)));
        }
    }

    /// What a person should know though nothing failed.
    pub(super) fn note(&self, words: &str) {
        if self.volume == Volume::All {
            self.line(words);
        }
    }

    pub(super) fn failed(&self, words: &str) {
        self.line(&format!("longshore: {words}"));
    }

    pub(super) fn end(&self) {
        if let Some((_, all)) = &self.bars {
            all.finish_and_clear();
        }
    }

    fn line(&self, line: &str) {
        match &self.bars {
            Some((bars, _)) => bars.suspend(|| say(line)),
            None => say(line),
        }
    }
}

impl ImageProgress {
    /// So many bytes are to come.
    pub(super) fn expect(&self, bytes: u64) {
        self.bar.inc_length(bytes);
        self.all.inc_length(bytes);
    }

    /// So many bytes came.
    pub(super) fn came(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.all.inc(bytes);
    }

    /// So many bytes come once more.
    pub(super) fn take_back(&self, bytes: u64) {
        self.bar.dec(bytes);
        self.all.dec(bytes);
    }

    pub(super) fn fetched(&self, blob: &Fetched) {
        if self.says_lines {
            let from = if blob.origin == Origin::Upstream { "upstream" } else { "the cache" };
            let digest = blob.digest.as_str().get(..SHORT).unwrap_or_default();
            say(&format!("{}: {digest} {} from {from}", self.typed, Bytes(blob.size)));
        }
    }

    /// The image did not come: its bar goes.
    pub(super) fn give_up(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of our own is well formed")
}

fn say(line: &str) {
    // where would the failure to write it be written?
    let _ = writeln!(io::stderr(), "{line}");
}
