//! `~/.docker/config.json`: the `credHelpers` entries that make docker ask this program for ECR credentials.
//!
//! Other entries keep their order and bytes' meaning; the file before the first change is kept beside it. Written whole
//! or not at all.

use std::{
    env, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize as _;
use serde_json::{Map, Value, ser::PrettyFormatter};

use crate::{ecr::EcrRegistry, oci::server_host};

/// What docker puts behind `docker-credential-` to find the program.
const HELPER: &str = "longshore";
/// Amazon's own helper, whose entries are taken over.
const INCUMBENT: &str = "ecr-login";
const PUBLIC: &str = "public.ecr.aws";
const HELPERS: &str = "credHelpers";

/// The docker CLI's configuration file.
#[derive(Clone, Debug)]
pub struct Docker {
    path: PathBuf,
}

/// What was done to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it was as wanted.
    Unchanged,
    /// These registries now ask the helper.
    Wired(Vec<String>),
    /// The file is as it was before the first change.
    Restored,
    /// Our entries are out; what was changed since stays.
    Removed,
}

/// Why the file was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No home folder and no `DOCKER_CONFIG`.
    #[error("there is no home folder; say where docker's configuration is with DOCKER_CONFIG")]
    NoHome,
    /// A registry that is not one of ECR.
    #[error("{0:?} is not the host of an ECR registry; write for example 123456789012.dkr.ecr.eu-west-1.amazonaws.com")]
    NotEcr(String),
    /// Not the JSON that docker writes.
    #[error("{} is not docker's configuration and was not touched: {problem}", path.display())]
    NotDockers {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system refused something.
    #[error("{}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Docker {
    /// The file that the docker CLI of this user reads.
    pub fn find() -> Result<Self, Error> {
        let from_variable = env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dir = from_variable.or_else(|| dirs::home_dir().map(|home| home.join(".docker"))).ok_or(Error::NoHome)?;
        let path = dir.join("config.json");
        // a link stays a link: what it points to is changed
        Ok(Self { path: fs::canonicalize(&path).unwrap_or(path) })
    }

    /// Which file this is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes docker ask the helper for ECR Public, `registries`, and every ECR registry the file already names.
    pub fn wire(&self, registries: &[String]) -> Result<Outcome, Error> {
        let before = self.read()?;
        let (after, wired) = self.wired(before.as_deref(), registries)?;
        if wired.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        if let Some(before) = &before {
            let backup = self.backup();
            if !backup.exists() {
                write(&backup, before).map_err(|source| Error::Io { path: backup, source })?;
            }
        }
        self.write(&after)?;
        Ok(Outcome::Wired(wired))
    }

    /// Takes out what [`wire`](Self::wire) put in: byte for byte if nothing else was changed since.
    pub fn undo(&self) -> Result<Outcome, Error> {
        let Some(now) = self.read()? else {
            return Ok(Outcome::Unchanged);
        };
        let mut config = self.parse(&now)?;
        let ours = ours(&config);
        if ours.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let backup = self.backup();
        let before = read(&backup).map_err(|source| Error::Io { path: backup.clone(), source })?;
        if self.wired(before.as_deref(), &ours)?.0 == now {
            match &before {
                Some(before) => self.write(before)?,
                None => fs::remove_file(&self.path).map_err(|source| self.io(source))?,
            }
            self.drop_backup(&backup)?;
            return Ok(Outcome::Restored);
        }
        let old = before.as_deref().map(|before| self.parse(before)).transpose()?.unwrap_or_default();
        let helpers = config.get_mut(HELPERS).and_then(Value::as_object_mut);
        if let Some(helpers) = helpers {
            for host in &ours {
                match old.get(HELPERS).and_then(|helpers| helpers.get(host)) {
                    Some(value) => helpers.insert(host.clone(), value.clone()),
                    None => helpers.shift_remove(host),
                };
            }
            if helpers.is_empty() {
                config.shift_remove(HELPERS);
            }
        }
        self.write(&render(&config, indent(&now)))?;
        self.drop_backup(&backup)?;
        Ok(Outcome::Removed)
    }

    /// The file with our entries in, and which of them are new.
    fn wired(&self, before: Option<&str>, registries: &[String]) -> Result<(String, Vec<String>), Error> {
        let mut config = self.parse(before.unwrap_or("{}"))?;
        let mut hosts = vec![PUBLIC.to_owned()];
        for registry in registries {
            let host = server_host(registry);
            if EcrRegistry::parse(&host).is_none() {
                return Err(Error::NotEcr(registry.clone()));
            }
            hosts.push(host);
        }
        hosts.extend(named(&config));
        let helpers = config.entry(HELPERS).or_insert_with(|| Value::Object(Map::new()));
        let Some(helpers) = helpers.as_object_mut() else {
            return Err(self.not_dockers(format!("{HELPERS} is not an object")));
        };
        let mut wired = Vec::new();
        for host in hosts {
            if helpers.get(&host).and_then(Value::as_str) != Some(HELPER) {
                helpers.insert(host.clone(), Value::from(HELPER));
                wired.push(host);
            }
        }
        Ok((render(&config, indent(before.unwrap_or_default())), wired))
    }

    fn parse(&self, text: &str) -> Result<Map<String, Value>, Error> {
        serde_json::from_str(if text.trim().is_empty() { "{}" } else { text })
            .map_err(|error| self.not_dockers(error.to_string()))
    }

    fn not_dockers(&self, problem: String) -> Error {
        Error::NotDockers { path: self.path.clone(), problem }
    }

    fn backup(&self) -> PathBuf {
        self.path.with_extension("json.before-longshore")
    }

    fn drop_backup(&self, backup: &Path) -> Result<(), Error> {
        match fs::remove_file(backup) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.io(source)),
            _ => Ok(()),
        }
    }

    fn read(&self) -> Result<Option<String>, Error> {
        read(&self.path).map_err(|source| self.io(source))
    }

    fn write(&self, text: &str) -> Result<(), Error> {
        write(&self.path, text).map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

/// The ECR registries that the file names in logins, or in entries of Amazon's helper.
fn named(config: &Map<String, Value>) -> Vec<String> {
    let object = |key: &str| config.get(key).and_then(Value::as_object);
    let logins = object("auths").into_iter().flatten().map(|(host, _)| host);
    let incumbent = object(HELPERS).into_iter().flatten().filter(|(_, helper)| helper.as_str() == Some(INCUMBENT));
    let hosts = logins.chain(incumbent.map(|(host, _)| host)).map(|host| server_host(host));
    hosts.filter(|host| EcrRegistry::parse(host).is_some()).collect()
}

fn ours(config: &Map<String, Value>) -> Vec<String> {
    let helpers = config.get(HELPERS).and_then(Value::as_object).into_iter().flatten();
    helpers.filter(|(_, helper)| helper.as_str() == Some(HELPER)).map(|(host, _)| host.clone()).collect()
}

/// How the file is indented: docker writes tabs, people often spaces.
fn indent(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with([' ', '\t']));
    line.map_or("\t", |line| &line[..line.len() - line.trim_start().len()])
}

fn render(config: &Map<String, Value>, indent: &str) -> String {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    config.serialize(&mut serializer).expect("a map of JSON values is JSON");
    text.push(b'\n');
    String::from_utf8(text).expect("JSON is UTF-8")
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file as a whole; it keeps its mode, a new one is for its owner alone: logins may be in it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new().prefix(".config.json-").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    if let Ok(metadata) = fs::metadata(path) {
        file.as_file().set_permissions(metadata.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
