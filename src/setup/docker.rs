//! `~/.docker/config.json`: the `credHelpers` entries that make docker ask this program for ECR credentials.
//!
//! No byte of the other entries is touched; the file before the first change is kept beside it. Written whole or not at
//! all. An entry of another helper is taken over only when its registry is asked for by name.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use jsonc_parser::{
    ParseOptions,
    cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode},
};

use crate::{ecr::EcrRegistry, environment, oci::server_host};

/// What docker puts behind `docker-credential-` to find the program.
pub(super) const HELPER: &str = "longshore";
/// Amazon's own helper, whose entries are taken over.
pub(super) const INCUMBENT: &str = "ecr-login";
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
        let from_variable = environment::variable("DOCKER_CONFIG").map(PathBuf::from);
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
            // a file that has our entries already is not the one to come back to
            let is_ours = !hosts_of(self.helpers(&self.parse(before)?)?.as_ref(), HELPER).is_empty();
            if !is_ours {
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
        let config = self.parse(&now)?;
        let ours = hosts_of(self.helpers(&config)?.as_ref(), HELPER);
        let backup = self.backup();
        if ours.is_empty() {
            self.drop_backup(&backup)?;
            return Ok(Outcome::Unchanged);
        }
        let before = read(&backup).map_err(|source| Error::Io { path: backup.clone(), source })?;
        if self.wired(before.as_deref(), &ours).is_ok_and(|(wired, _)| wired == now) {
            match &before {
                Some(before) => self.write(before)?,
                None => fs::remove_file(&self.path).map_err(|source| self.io(source))?,
            }
            self.drop_backup(&backup)?;
            return Ok(Outcome::Restored);
        }
        self.remove(&config, before.as_deref(), &ours)?;
        self.write(&config.to_string())?;
        self.drop_backup(&backup)?;
        Ok(Outcome::Removed)
    }

    /// Takes our entries out of `config`, or puts back what stood there before.
    fn remove(&self, config: &CstRootNode, before: Option<&str>, ours: &[String]) -> Result<(), Error> {
        let before = self.parse(before.unwrap_or("{}"))?;
        let before = self.helpers(&before)?;
        let Some(helpers) = self.helpers(config)? else {
            return Ok(());
        };
        for entry in helpers.properties() {
            let Some(host) = entry.decoded_name().filter(|host| ours.contains(host)) else { continue };
            match before.as_ref().and_then(|before| before.get(&host)).and_then(|entry| helper(&entry)) {
                Some(old) => entry.set_value(CstInputValue::String(old)),
                None => entry.remove(),
            }
        }
        if before.is_none() && helpers.properties().is_empty() {
            self.object(config)?.get(HELPERS).into_iter().for_each(CstObjectProp::remove);
        }
        Ok(())
    }

    /// The file with our entries in, and which of them are new.
    fn wired(&self, before: Option<&str>, registries: &[String]) -> Result<(String, Vec<String>), Error> {
        // how docker itself writes a file that is new
        let config = self.parse(before.unwrap_or("{\n\t\"credHelpers\": {}\n}\n"))?;
        let mut asked = Vec::new();
        for registry in registries {
            let host = server_host(registry);
            if EcrRegistry::parse(&host).is_none() {
                return Err(Error::NotEcr(registry.clone()));
            }
            asked.push(host);
        }
        let object = self.object(&config)?;
        let found = [PUBLIC.to_owned()].into_iter().chain(named(&object));
        let helpers = match self.helpers(&config)? {
            Some(helpers) => helpers,
            None => object.object_value_or_set(HELPERS),
        };
        let mut wired = Vec::new();
        for host in found.chain(asked.iter().cloned()) {
            let ours = || CstInputValue::String(HELPER.to_owned());
            match helpers.get(&host) {
                None => drop(helpers.append(&host, ours())),
                Some(entry) => match helper(&entry).as_deref() {
                    Some(HELPER) => continue,
                    Some(other) if other != INCUMBENT && !asked.contains(&host) => continue,
                    _ => entry.set_value(ours()),
                },
            }
            wired.push(host);
        }
        helpers.ensure_multiline();
        Ok((config.to_string(), wired))
    }

    fn parse(&self, text: &str) -> Result<CstRootNode, Error> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        // docker's own reader is strict: what it would refuse is not its configuration, whatever the editor understands
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
            .map_err(|error| self.not_dockers(error.to_string()))?;
        CstRootNode::parse(text, &ParseOptions::default()).map_err(|error| self.not_dockers(error.to_string()))
    }

    fn object(&self, config: &CstRootNode) -> Result<CstObject, Error> {
        config.object_value().ok_or_else(|| self.not_dockers("it is not an object".to_owned()))
    }

    /// The `credHelpers` of the file, if it has any.
    fn helpers(&self, config: &CstRootNode) -> Result<Option<CstObject>, Error> {
        let Some(entry) = self.object(config)?.get(HELPERS) else {
            return Ok(None);
        };
        let is_null = entry.value().is_some_and(|value| value.as_null_keyword().is_some());
        match entry.object_value() {
            Some(helpers) => Ok(Some(helpers)),
            None if is_null => Ok(None),
            None => Err(self.not_dockers(format!("{HELPERS} is not an object"))),
        }
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
fn named(config: &CstObject) -> Vec<String> {
    let logins = config.object_value("auths").map(|logins| logins.properties()).unwrap_or_default();
    let logins = logins.iter().filter_map(CstObjectProp::decoded_name);
    let hosts = logins.chain(hosts_of(config.object_value(HELPERS).as_ref(), INCUMBENT)).map(|host| server_host(&host));
    hosts.filter(|host| EcrRegistry::parse(host).is_some()).collect()
}

/// The hosts whose entry is this helper.
fn hosts_of(helpers: Option<&CstObject>, name: &str) -> Vec<String> {
    let entries = helpers.map(CstObject::properties).unwrap_or_default();
    let of_helper = entries.iter().filter(|entry| helper(entry).as_deref() == Some(name));
    of_helper.filter_map(CstObjectProp::decoded_name).collect()
}

/// The helper an entry names.
fn helper(entry: &CstObjectProp) -> Option<String> {
    entry.value()?.as_string_lit()?.decoded_value().ok()
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
        keep_owner(file.path(), &metadata)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// root who changes a person's file does not take it away from them.
fn keep_owner(path: &Path, before: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let now = fs::metadata(path)?;
    if (now.uid(), now.gid()) == (before.uid(), before.gid()) {
        return Ok(());
    }
    chown(path, Some(before.uid()), Some(before.gid()))
}

#[cfg(test)]
mod tests;
