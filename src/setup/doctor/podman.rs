//! podman, buildah and skopeo: whom they ask for each registry, and mirrors that lead to the daemon.
//!
//! They take the first of: `credential-helpers` of `registries.conf`, then their own files of logins in order, then
//! docker's. In each of those `credHelpers` of exactly this host comes before `auths`; `credsStore` is not read by them.

use std::{fs, path::PathBuf};

use toml::{Table, Value};

use super::{
    finding::{Finding, Subject, check},
    login_file::{LoginFile, Reading},
    programs::{Lookup, look_up},
    surroundings::Surroundings,
};
use crate::{
    environment,
    oci::{Registry, server_host},
    setup::docker::HELPER,
};

const PROGRAMS: [&str; 3] = ["podman", "buildah", "skopeo"];
/// Stands for the files of logins in a list of helpers.
const FILES: &str = "containers-auth.json";

pub(super) fn look(around: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut tables = Vec::new();
    for path in registries_files() {
        match fs::read_to_string(&path).map(|text| text.parse::<Table>()) {
            Ok(Ok(table)) => tables.push((path, table)),
            Ok(Err(_)) => {
                let check = check("podman-registries", Subject::Podman, path.display().to_string());
                findings
                    .push(check.problem("not TOML: podman refuses to start", format!("correct {}", path.display())));
            }
            Err(_) => {}
        }
    }
    for (path, table) in &tables {
        for registry in array(table, "registry") {
            findings.extend(mirrors(around, path, registry));
        }
    }
    let there: Vec<_> = PROGRAMS.into_iter().filter(|name| matches!(look_up(name), Lookup::Found(_))).collect();
    let files: Vec<_> = login_files().iter().map(|path| Reading::of(path)).collect();
    findings.extend(files.iter().filter_map(broken));
    let own: Vec<_> = files.iter().filter_map(Reading::file).collect();
    if there.is_empty() && own.is_empty() {
        let check = check("podman-credentials", Subject::Podman, "podman, buildah, skopeo");
        findings.push(check.skipped("none of them is on PATH, and there are no files of theirs"));
        return findings;
    }
    let helpers: Vec<_> = tables.iter().flat_map(|(path, table)| helpers(path, table)).collect();
    for asked in around.registries.iter().filter(|asked| asked.needs_login) {
        findings.push(origin(around, &helpers, &own, &asked.registry));
    }
    findings
}

fn broken(reading: &Reading) -> Option<Finding> {
    let Reading::Broken(path, problem) = reading else { return None };
    let check = check("podman-logins", Subject::Podman, path.display().to_string());
    Some(check.problem(problem, format!("correct {}, or delete it", path.display())))
}

/// Where a registry's credentials come from.
fn origin(around: &Surroundings, helpers: &[(PathBuf, String)], own: &[&LoginFile], registry: &Registry) -> Finding {
    let host = registry.as_str();
    let check = check("podman-credentials", Subject::Podman, format!("podman's credentials for {host}"));
    let setup = around.setup(registry);
    let is_ours = |name: &str| name.strip_prefix(HELPER).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    if let Some((path, name)) = helpers.iter().find(|(_, name)| is_ours(name)) {
        return check.ok(format!("{}: credential-helpers: docker-credential-{name}", path.display()));
    }
    let files = own.iter().copied().chain(around.docker_file());
    for file in files {
        if let Some((_, name)) = file.helpers().find(|(key, _)| *key == host) {
            let found = format!("{}: docker-credential-{name}", file.at(&["credHelpers", host]));
            return if is_ours(name) {
                check.ok(found)
            } else {
                check.warning(format!("{found}, not Longshore's"), setup)
            };
        }
        if let Some(key) = file.login(host) {
            let found = format!("{}: a login, which ends 12 hours after it was made", file.at(&["auths", key]));
            let logout = format!("podman logout --authfile {} {host} && {setup}", file.path.display());
            return check.warning(found, logout);
        }
    }
    let store = around.docker_file().and_then(LoginFile::store);
    let ignored = store.map(|name| format!("; docker's credsStore ({name}) is not read by podman")).unwrap_or_default();
    check.warning(format!("nothing names the helper{ignored}"), setup)
}

/// The files of logins that podman reads before docker's.
fn login_files() -> Vec<PathBuf> {
    let set = |name: &str| environment::variable(name).map(PathBuf::from);
    if let Some(path) = set("REGISTRY_AUTH_FILE") {
        return vec![path];
    }
    let runtime = set("XDG_RUNTIME_DIR")
        .unwrap_or_else(|| PathBuf::from(format!("/run/containers/{}", rustix::process::getuid().as_raw())));
    let of_user = dirs::config_dir().map(|dir| dir.join("containers/auth.json"));
    [runtime.join("containers/auth.json")].into_iter().chain(of_user).collect()
}

/// The files in force: the user's or the system's, and what lies in the folders beside both.
fn registries_files() -> Vec<PathBuf> {
    if let Some(path) = environment::variable("CONTAINERS_REGISTRIES_CONF") {
        return vec![path.into()];
    }
    let system = PathBuf::from("/etc/containers/registries.conf");
    let user = dirs::config_dir().map(|dir| dir.join("containers/registries.conf"));
    let main = user.clone().filter(|path| path.exists()).unwrap_or_else(|| system.clone());
    let folders = [Some(system), user].into_iter().flatten().map(|path| path.with_extension("conf.d"));
    let beside = folders.flat_map(|folder| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "conf")).collect();
        files.sort();
        files
    });
    [main].into_iter().chain(beside).collect()
}

fn helpers(path: &std::path::Path, table: &Table) -> Vec<(PathBuf, String)> {
    let names = table.get("credential-helpers").and_then(Value::as_array).into_iter().flatten();
    let names = names.filter_map(Value::as_str).filter(|name| *name != FILES);
    names.map(|name| (path.to_owned(), name.to_owned())).collect()
}

fn array<'t>(table: &'t Table, name: &str) -> impl Iterator<Item = &'t Table> {
    table.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

/// What is wrong with the mirrors of a registry that lead to the daemon.
fn mirrors(around: &Surroundings, path: &std::path::Path, registry: &Table) -> Vec<Finding> {
    let text = |table: &Table, key: &str| table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_insecure = |table: &Table| table.get("insecure").and_then(Value::as_bool).unwrap_or_default();
    let place = path.display();
    let name =
        Some(text(registry, "prefix")).filter(|name| !name.is_empty()).unwrap_or_else(|| text(registry, "location"));
    let mut findings = Vec::new();
    for mirror in array(registry, "mirror") {
        let location = text(mirror, "location");
        let authority = location.split('/').next().unwrap_or_default();
        if !is_daemon(around, authority) {
            continue;
        }
        let check = check("podman-mirror", Subject::Podman, format!("mirror of {name}"));
        findings.push(if !is_insecure(mirror) {
            let remedy = format!("add insecure = true below location = \"{location}\" in {place}");
            check.problem(format!("{place}: the daemon's port is plain HTTP, and the mirror is asked with TLS"), remedy)
        } else if location == authority {
            let remedy = format!("write location = \"{location}/{}\" in {place}", server_host(&name));
            check.problem(
                format!("{place}: the mirror's location has no registry, so the daemon cannot know it"),
                remedy,
            )
        } else {
            check.ok(format!("{place}: {location}"))
        });
    }
    if !findings.is_empty() && is_insecure(registry) {
        let check = check("podman-insecure", Subject::Podman, format!("registry {name}"));
        let remedy = format!("take insecure = true out of the [[registry]] table in {place}; the mirror keeps its own");
        findings.push(check.warning(format!("{place}: pushes to the registry itself go without TLS"), remedy));
    }
    findings
}

/// Whether an authority is where the daemon listens.
pub(super) fn is_daemon(around: &Surroundings, authority: &str) -> bool {
    let listen = around.config.listen;
    let Some((host, port)) = authority.rsplit_once(':') else { return false };
    let ip = listen.ip().to_string();
    let is_here = ["localhost", "127.0.0.1", "[::1]", &ip].contains(&host);
    is_here && listen.port() != 0 && port.parse() == Ok(listen.port())
}
