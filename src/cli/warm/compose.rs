//! Compose files: the image of each service, with variables put in as compose does it.
//!
//! Reads the environment and the `.env` beside the file; never another compose file.

use std::{collections::BTreeMap, env, fs, io, path::Path};

use serde_json::Value;

use super::{
    file::{Found, Wanted},
    interpolate::interpolate,
};

/// What `${…}` stands for.
#[derive(Debug, Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of the process, and those of `.env` in `folder` that the process does not have.
    pub(super) fn beside(folder: &Path) -> Result<Self, String> {
        let path = folder.join(".env");
        let mut variables = match fs::read_to_string(&path) {
            Ok(text) => lines(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        variables.extend(env::vars_os().filter_map(text));
        Ok(Self(variables))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
impl<const COUNT: usize> From<[(&str, &str); COUNT]> for Variables {
    fn from(pairs: [(&str, &str); COUNT]) -> Self {
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }
}

pub(super) fn is_compose(document: &Value) -> bool {
    document.get("services").is_some_and(|services| services.is_object() || services.is_null())
}

pub(super) fn images(document: &Value, variables: &Variables) -> Result<Found, String> {
    let mut found = Found::default();
    if document.get("include").is_some() {
        found.notes.push("the files it includes are not read: give them with --from, too".to_owned());
    }
    for (name, service) in document["services"].as_object().into_iter().flatten() {
        if let Some(reason) = left_out(service) {
            found.notes.push(format!("service {name} is left out: {reason}"));
            continue;
        }
        let put_in = |text: &str| {
            interpolate(text, &|name| variables.get(name))
                .map_err(|problem| format!("service {name}: {text}: {problem}"))
        };
        let image = put_in(service["image"].as_str().unwrap_or_default())?;
        for unset in image.unset {
            found.notes.push(format!("service {name}: {unset} is not set and stands for nothing"));
        }
        let platform =
            service["platform"].as_str().map(put_in).transpose()?.filter(|platform| !platform.text.is_empty());
        let platform = platform.map(|platform| platform.text.parse()).transpose();
        let platform = platform.map_err(|problem: String| format!("service {name}: platform: {problem}"))?;
        found.wanted.push(Wanted { image: image.text, platform });
    }
    Ok(found)
}

/// Why a service has no image to pull.
fn left_out(service: &Value) -> Option<&'static str> {
    if matches!(service["pull_policy"].as_str(), Some("never" | "build")) {
        return Some("its pull_policy says so");
    }
    if service["image"].as_str().is_some_and(|image| !image.is_empty()) {
        return None;
    }
    let reasons = [
        ("build", "it is built, not pulled"),
        ("extends", "its image is in the service it extends"),
        ("provider", "it is run by a provider"),
    ];
    let found = reasons.into_iter().find(|(key, _)| service.get(key).is_some());
    Some(found.map_or("it has neither image nor build", |(_, reason)| reason))
}

/// `NAME=value` lines, as compose reads them: comments, `export`, quotes.
fn lines(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim().trim_start_matches("export ").trim();
        variables.insert(name.to_owned(), unquoted(value.trim()));
    }
    variables
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some((inside, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inside.to_owned();
        }
    }
    value.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

#[test]
fn an_env_file_has_comments_quotes_and_exports() {
    let text = "# A=0\nA=1 # one\nexport B = \"2 # 3\"\n\nC='x=y' # z\nD=\nno line\nE=a#b\n";
    let got: Vec<_> = lines(text).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(got, ["A=1", "B=2 # 3", "C=x=y", "D=", "E=a#b"]);
}
