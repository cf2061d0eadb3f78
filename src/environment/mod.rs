//! What the process is given from outside: the configuration file and the folders.
//!
//! Reads; never writes, never creates. The rules of what a configuration means are in `config`.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    config::{self, Config, Origins, TokenProtection},
    ecr::EcrRegistry,
};

const VARIABLE: &str = "LONGSHORE_CONFIG";
const SYSTEM_FILE: &str = "/etc/longshore/config.toml";
const SYSTEM_CACHE: &str = "/var/cache/longshore";
/// The variables of Amazon's own helper, which keep their meaning here.
const NO_TOKEN_STORE: &str = "AWS_ECR_DISABLE_CACHE";
const TOKEN_DIR: &str = "AWS_ECR_CACHE_DIR";
const STORING: &str = "AWS_ECR_IGNORE_CREDS_STORAGE";

/// A configuration and where it came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it was read from; `None` when none exists and the defaults are in force.
    pub file: Option<PathBuf>,
    /// The text of the file.
    pub text: String,
}

/// What becomes of credentials that a client brings, or wants forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// They are dealt with as the edge says.
    AsUsual,
    /// They are ignored, and that is a success.
    Ignored,
    /// They are refused.
    Refused,
}

/// Why the configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there and cannot be read, or is named by the variable and is not there.
    #[error("cannot read {}{}", path.display(), advice(source))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file says something that is not a configuration.
    #[error("{}: {source}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where in it, and what to write instead.
        source: config::Invalid,
    },
}

impl Error {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        "correct the configuration; check it with: longshore config check"
    }
}

/// Loads the first configuration of: `$LONGSHORE_CONFIG`, the user's, the system's, the defaults.
pub fn load() -> Result<Loaded, Error> {
    if let Some(path) = variable(VARIABLE) {
        let path = PathBuf::from(path);
        return read(&path).and_then(|text| parse(path, text));
    }
    let user = dirs::config_dir().map(|dir| dir.join("longshore/config.toml"));
    // the home of a service may be one it has no business in
    let user = user.map(|path| (path, [io::ErrorKind::PermissionDenied].as_slice()));
    for (path, closed) in user.into_iter().chain([(PathBuf::from(SYSTEM_FILE), [].as_slice())]) {
        match read(&path) {
            Ok(text) => return parse(path, text),
            Err(_) if is_absent(&path, closed) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Loaded::default())
}

/// The cache folder: the configured one, the one systemd made for the unit, the user's, the system's.
#[must_use]
pub fn cache_dir(config: &Config) -> PathBuf {
    // of our own unit only: the helper may run inside the unit of a build agent
    let from_unit = || env::var_os("CACHE_DIRECTORY").map(PathBuf::from).filter(|dir| dir.ends_with("longshore"));
    let of_user = || dirs::cache_dir().map(|dir| dir.join("longshore"));
    let configured = config.cache.dir.clone();
    configured.or_else(from_unit).or_else(of_user).unwrap_or_else(|| PathBuf::from(SYSTEM_CACHE))
}

/// The folder that holds the folder of tokens: the one that is named for them, else the cache folder.
#[must_use]
pub fn token_dir(config: &Config) -> PathBuf {
    named_token_dir().unwrap_or_else(|| cache_dir(config))
}

/// The folder that `AWS_ECR_CACHE_DIR` names, `~/` being the home folder.
#[must_use]
pub fn named_token_dir() -> Option<PathBuf> {
    let dir = PathBuf::from(variable(TOKEN_DIR)?);
    Some(match (dir.strip_prefix("~"), dirs::home_dir()) {
        (Ok(below), Some(home)) => home.join(below),
        _ => dir,
    })
}

/// How tokens are kept: as configured, or not at all when the environment says so.
#[must_use]
pub fn token_protection(config: &Config) -> TokenProtection {
    if variable(NO_TOKEN_STORE).is_some() { TokenProtection::Memory } else { config.token_store.clone() }
}

/// What becomes of credentials that a client brings.
#[must_use]
pub fn storing() -> Storing {
    match env::var(STORING).as_deref() {
        Ok("true") => Storing::Ignored,
        Ok("false") => Storing::Refused,
        _ => Storing::AsUsual,
    }
}

/// A variable that is set to something.
#[must_use]
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

fn parse(path: PathBuf, text: String) -> Result<Loaded, Error> {
    match Config::parse(&text).and_then(|config| check_aliases(config, &text)) {
        Ok(config) => Ok(Loaded { config, file: Some(path), text }),
        Err(source) => Err(Error::Invalid { path, source }),
    }
}

/// What another name stands for is a registry of ECR: no token is minted for any other, and nobody would say so.
fn check_aliases(config: Config, text: &str) -> Result<Config, config::Invalid> {
    let aliases = config.registries.iter().enumerate().filter_map(|(index, rule)| Some((index, rule.alias.as_ref()?)));
    let wrong = aliases.into_iter().find(|(_, alias)| EcrRegistry::parse(alias.host()).is_none());
    let Some((index, alias)) = wrong else { return Ok(config) };
    Err(config::Invalid {
        line: Origins::of(text).line(&format!("registry[{index}].alias")),
        key: Some("registry.alias".to_owned()),
        problem: format!(
            "{alias} is not the name of an ECR registry; write the one that the name stands for, such as \
             \"123456789012.dkr.ecr.us-east-1.amazonaws.com\", or take the line out"
        ),
    })
}

/// Whether there is nothing at `path`, or nobody could say so for one of the reasons in `closed`. What is there and cannot be
/// read is not absent: with the rules in it left out, the rights of somebody else would be used.
fn is_absent(path: &Path, closed: &[io::ErrorKind]) -> bool {
    let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    fs::symlink_metadata(path).is_err_and(|error| absent.contains(&error.kind()) || closed.contains(&error.kind()))
}

fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound {
        ""
    } else {
        " (make it a file that this user can read, or take it away)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_of_what_is_not_ecr_is_named_with_its_line() {
        let text = |alias: &str| {
            format!("[[registry]]\nmatch = \"a.b\"\n[[registry]]\nmatch = \"r.corp\"\nalias = \"{alias}\"\n")
        };
        let load = |alias: &str| parse("/c".into(), text(alias));
        for good in ["123456789012.dkr.ecr.us-east-1.amazonaws.com", "public.ecr.aws"] {
            assert!(load(good).is_ok(), "{good}");
        }
        for bad in ["ghcr.io", "12345678901.dkr.ecr.us-east-1.amazonaws.com", "r.corp:5000"] {
            let error = load(bad).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("/c: line 5: registry.alias: {bad} is not the name of an ECR")),
                "{error}"
            );
        }
    }
}
