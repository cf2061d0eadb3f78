//! [`Surroundings`]: what every check starts from: the configurations, and the registries it is about.
//!
//! Read once, before the checks run beside each other. A mistake in a file is kept, not raised: it is a finding.

use std::path::PathBuf;

use super::login_file::{LoginFile, Origin, Reading};
use crate::{
    config::{Config, RegistryRule},
    credentials::{Selection, Wanted, Way, Whose, rule, token_store, way, whose},
    ecr::EcrRegistry,
    environment::{self, Loaded},
    oci::{Registry, server_host},
    setup::docker::{Docker, HELPER},
    store::TokenStore,
};

pub(super) struct Surroundings {
    /// What was loaded; after a mistake in it the checks go on with the defaults.
    pub(super) loaded: Result<Loaded, environment::Error>,
    pub(super) config: Config,
    pub(super) cache_dir: PathBuf,
    /// Docker's configuration; `None` without a home.
    pub(super) docker: Option<Reading>,
    /// The registry that was asked about, or those docker's configuration names.
    pub(super) registries: Vec<Asked>,
    /// Whether a registry was asked about.
    pub(super) is_asked: bool,
}

/// A registry, and how it is logged in to.
pub(super) struct Asked {
    pub(super) registry: Registry,
    pub(super) way: Way,
    /// Whether clients log in to it; the daemon's own address stands for a registry, and asks for nothing.
    pub(super) needs_login: bool,
}

impl Surroundings {
    pub(super) fn new(
        loaded: Result<Loaded, environment::Error>,
        docker: Option<Reading>,
        registry: Option<Registry>,
    ) -> Self {
        let config = loaded.as_ref().map(|loaded| loaded.config.clone()).unwrap_or_default();
        let file = docker.as_ref().and_then(Reading::file);
        let is_asked = registry.is_some();
        let hosts = registry.map_or_else(|| file.map(named).unwrap_or_default(), |registry| vec![registry]);
        let registries = hosts.into_iter().map(|registry| {
            let selection = selection(file, registry.as_str());
            let needs_login = way(&config, &registry, &selection) != Way::Foreign;
            let way = match whose(&config, registry.as_str(), &selection) {
                Whose::Ecr(_, wanted) => Way::Token(wanted),
                Whose::Nobody => Way::Anonymous,
                Whose::Foreign => Way::Foreign,
            };
            Asked { registry, way, needs_login }
        });
        let registries = registries.collect();
        Self { cache_dir: environment::cache_dir(&config), loaded, config, docker, registries, is_asked }
    }

    /// Docker's configuration, as it is on disk.
    pub(super) fn docker() -> Option<Reading> {
        Docker::find().ok().map(|docker| Reading::of(docker.path()))
    }

    pub(super) fn docker_file(&self) -> Option<&LoginFile> {
        self.docker.as_ref().and_then(Reading::file)
    }

    pub(super) fn tokens(&self) -> TokenStore {
        token_store(&self.config)
    }

    /// The tokens that are needed, each once, with a registry that needs it.
    pub(super) fn wanted(&self) -> Vec<(&Registry, &Wanted)> {
        let mut all: Vec<(&Registry, &Wanted)> = Vec::new();
        for Asked { registry, way, .. } in &self.registries {
            if let Way::Token(wanted) = way
                && all.iter().all(|(_, known)| *known != &**wanted)
            {
                all.push((registry, wanted));
            }
        }
        all
    }

    pub(super) fn rule(&self, registry: &Registry) -> Option<&RegistryRule> {
        rule(&self.config, registry)
    }

    /// What makes docker, and podman with it, ask for `registry`.
    pub(super) fn setup(&self, registry: &Registry) -> String {
        if EcrRegistry::parse(registry.as_str()).is_some() {
            return format!("longshore setup docker --registry {registry}");
        }
        // a name that stands for a registry of ECR
        let file = self.docker.as_ref().map_or_else(|| "docker's config.json".to_owned(), Reading::place);
        format!("write \"{registry}\": \"{HELPER}\" into credHelpers of {file}")
    }

    /// The configuration file, or the one that would be read if it were there.
    pub(super) fn config_file(&self) -> PathBuf {
        let loaded = self.loaded.as_ref().ok().and_then(|loaded| loaded.file.clone());
        let of_user = || dirs::config_dir().map(|dir| dir.join("longshore/config.toml"));
        loaded.or_else(of_user).unwrap_or_else(|| PathBuf::from("/etc/longshore/config.toml"))
    }
}

/// The ECR registries that docker's configuration names.
fn named(file: &LoginFile) -> Vec<Registry> {
    let keys = file.helpers().map(|(key, _)| key).chain(file.logins().map(|(key, _)| key));
    let mut hosts: Vec<Registry> = Vec::new();
    for host in keys.map(server_host).filter(|host| EcrRegistry::parse(host).is_some()) {
        if let Ok(registry) = host.parse()
            && !hosts.contains(&registry)
        {
            hosts.push(registry);
        }
    }
    hosts
}

/// The profile in the name of the helper that docker asks.
fn selection(file: Option<&LoginFile>, host: &str) -> Selection {
    let Some(Origin::Helper(helper) | Origin::Store(helper)) = file.map(|file| file.origin(host)) else {
        return Selection::default();
    };
    let profile = helper.strip_prefix(HELPER).and_then(|rest| rest.strip_prefix('-'));
    Selection { profile: profile.map(str::to_owned) }
}

/// A variable of the environment that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    environment::variable(name).map(|value| value.display().to_string())
}

/// A URL without user and password.
pub(super) fn without_password(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let path = path.split(['?', '#']).next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned(),
    }
}

#[test]
fn passwords_are_left_out_of_urls() {
    assert_eq!(without_password("http://user:p@ss@proxy:3128/x?token=1"), "http://proxy:3128/x");
    assert_eq!(without_password("user:pass@proxy:3128"), "proxy:3128");
    assert_eq!(without_password("https://api.example"), "https://api.example");
}
