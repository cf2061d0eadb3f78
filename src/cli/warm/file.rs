//! The images a file names. What kind of file it is, is told by its content, never by its name.
//!
//! Asks nobody: a file that includes or extends another one is read alone, and that is said.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde_json::Value;

use super::{amazon, compose, kubernetes, platform::Platform};
use crate::chain::chain;

/// Larger than any file of these kinds, and far less than memory.
const MOST_BYTES: u64 = 16 << 20;
const STDIN: &str = "-";

/// An image that a file wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As the file has it.
    pub(super) image: String,
    /// For which platform, if the file says.
    pub(super) platform: Option<Platform>,
}

/// What a file names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) wanted: Vec<Wanted>,
    /// What is left out, and why.
    pub(super) notes: Vec<String>,
}

impl Found {
    pub(super) fn want(&mut self, image: &str) {
        self.wanted.push(Wanted { image: image.to_owned(), platform: None });
    }
}

/// Reads the file called `path`, or standard input.
pub(super) fn read(path: &Path) -> Result<Found, String> {
    let name = if path.as_os_str() == STDIN { "standard input".to_owned() } else { path.display().to_string() };
    let text = text(path).map_err(|error| format!("{name}: {error}"))?;
    let folder = path.parent().filter(|_| path.as_os_str() != STDIN).unwrap_or(Path::new(""));
    let found = images(&text, folder).map_err(|problem| format!("{name}: {problem}"))?;
    if found.wanted.is_empty() {
        let words = [&["it names no image".to_owned()], found.notes.as_slice()].concat().join("; ");
        return Err(format!("{name}: {words}"));
    }
    Ok(found)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn Read> =
        if path.as_os_str() == STDIN { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
    source.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB: not a file of images"));
    }
    Ok(text)
}

fn images(text: &str, folder: &Path) -> Result<Found, String> {
    let documents = documents(text)?;
    let first = documents.iter().find(|document| !document.is_null()).ok_or("it is empty")?;
    if first.get("AWSEBDockerrunVersion").is_some() {
        return amazon::dockerrun(first);
    }
    if let Some(definition) = amazon::task_definition(first) {
        return amazon::task(definition);
    }
    if documents.iter().any(kubernetes::is_manifest) {
        return Ok(kubernetes::images(&documents));
    }
    if compose::is_compose(first) {
        return compose::images(first, &compose::Variables::beside(folder)?);
    }
    Err("it is neither a compose file (services), nor a Kubernetes manifest (apiVersion and kind), nor an ECS task \
         definition (containerDefinitions), nor a Dockerrun.aws.json (AWSEBDockerrunVersion)"
        .to_owned())
}

/// The documents of a YAML stream; JSON is one of them.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    if text.trim_start().starts_with('{')
        && let Ok(document) = serde_json::from_str(text)
    {
        return Ok(vec![document]);
    }
    serde_saphyr::from_multiple(text).map_err(|error| {
        let words = chain(error.without_snippet());
        let words = words.strip_prefix("error: ").unwrap_or(&words);
        format!("it is neither YAML nor JSON: {words}")
    })
}

#[cfg(test)]
mod tests;
