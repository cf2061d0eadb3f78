//! The docker CLI's configuration as docker sees it: whom it asks for each registry, and what in the file never counts.
//!
//! docker takes the first of: `DOCKER_AUTH_CONFIG` (from version 29), `credHelpers` of exactly this host, `credsStore`,
//! `auths`. A helper that knows nothing ends the search; `auths` is not tried after it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    beside,
    finding::{Finding, Subject, check},
    login_file::{LoginFile, Origin, Reading},
    programs::{Kind, Lookup, kind, look_up, onto_path},
    surroundings::{Asked, Surroundings, variable},
};
use crate::{
    ecr::EcrRegistry,
    oci::server_host,
    setup::docker::{HELPER, INCUMBENT},
};

const ENVIRONMENT: &str = "DOCKER_AUTH_CONFIG";
/// The helpers that people have, in the order in which one is proposed.
const STORES: [&str; 5] = ["secretservice", "pass", "osxkeychain", "desktop", "wincred"];
/// Docker Hub's key, the one that is a URL.
const HUB: &str = "https://index.docker.io/v1/";

pub(super) async fn look(around: &Surroundings) -> Vec<Finding> {
    let mut findings = vec![file(around)];
    let hosts: Vec<&str> = around.registries.iter().map(|asked| asked.registry.as_str()).collect();
    findings.extend(in_environment(&hosts));
    let names = around.docker_file().map(|file| helpers(file, &hosts)).unwrap_or_default();
    let run = beside(names.iter().map(|name| helper(name))).await;
    // ours may stand in for Amazon's under its name
    let has_replaced = names.iter().zip(&run).any(|(name, (_, is_ours))| name == INCUMBENT && *is_ours);
    for asked in &around.registries {
        findings.push(origin(around, asked, has_replaced));
    }
    if let Some(file) = around.docker_file() {
        findings.extend(stale_logins(file, &hosts));
        findings.extend(keys(file));
        findings.extend(fallback(around, file));
    }
    findings.extend(run.into_iter().map(|(finding, _)| finding));
    findings
}

fn file(around: &Surroundings) -> Finding {
    let check = check("docker-config", Subject::Docker, "docker's configuration");
    match &around.docker {
        None => check.problem("there is no home folder to look in", "export DOCKER_CONFIG=/path/of/a/folder"),
        Some(Reading::File(file)) if around.registries.is_empty() => {
            let found = format!("{} names no registry of ECR", file.path.display());
            check.skipped(format!("{found}: longshore doctor HOST looks at one"))
        }
        Some(Reading::File(file)) => check.ok(file.path.display().to_string()),
        Some(Reading::Broken(path, problem)) => {
            check.problem(format!("{}: {problem}", path.display()), format!("correct {}", path.display()))
        }
        Some(Reading::Absent(path)) if around.is_asked => check.ok(format!("{} is not there", path.display())),
        Some(Reading::Absent(path)) => {
            let found = format!("{} is not there, and no registry was named", path.display());
            check.skipped(format!("{found}: longshore doctor HOST looks at one"))
        }
    }
}

fn in_environment(hosts: &[&str]) -> Option<Finding> {
    let text = variable(ENVIRONMENT)?;
    let check = check("docker-auth-config", Subject::Docker, ENVIRONMENT);
    let remedy = format!("unset {ENVIRONMENT}");
    let Ok(object) = serde_json::from_str::<Value>(&text) else {
        return Some(check.warning("set, and not JSON", remedy));
    };
    let named: Vec<_> = object["auths"].as_object().into_iter().flatten().map(|(key, _)| server_host(key)).collect();
    let ours: Vec<_> = hosts.iter().filter(|host| named.iter().any(|name| name == *host)).copied().collect();
    Some(if ours.is_empty() {
        check.ok("names none of these registries")
    } else {
        let found = format!("beats every helper, from docker 29 on, for {}", ours.join(", "));
        check.warning(found, remedy)
    })
}

/// Whom docker asks for a registry.
fn origin(around: &Surroundings, asked: &Asked, has_replaced: bool) -> Finding {
    let (file, host) = (around.docker_file(), asked.registry.as_str());
    let check = check("docker-credentials", Subject::Docker, format!("docker's credentials for {host}"));
    if !asked.needs_login {
        return check.skipped("not Longshore's to give: this is not a registry of ECR");
    }
    let remedy = around.setup(&asked.registry);
    let Some(file) = file else {
        return check.problem("docker has none: nothing names the helper", remedy);
    };
    match file.origin(host) {
        Origin::Helper(name) => {
            let found = format!("{}: docker-credential-{name}", file.at(&["credHelpers", host]));
            match name.as_str() {
                name if is_ours(name) => check.ok(found),
                INCUMBENT if has_replaced => check.ok(format!("{found}, which is Longshore")),
                INCUMBENT => check.warning(format!("{found}, Amazon's own helper"), remedy),
                _ => check.warning(format!("{found}, which is not Longshore's"), remedy),
            }
        }
        Origin::Store(name) => {
            let found = format!("{}: docker-credential-{name}", file.at(&["credsStore"]));
            if is_ours(&name) {
                check.ok(found)
            } else {
                let found = format!("{found} has it only for 12 hours after a docker login");
                check.warning(found, remedy)
            }
        }
        Origin::Login(key) => {
            let found = format!("{}: a login, which ends 12 hours after it was made", file.at(&["auths", &key]));
            check.warning(found, remedy)
        }
        Origin::Nothing => check.problem(format!("{} names no helper for it", file.path.display()), remedy),
    }
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(HELPER).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Logins that are kept and never used, because a helper is asked.
fn stale_logins(file: &LoginFile, hosts: &[&str]) -> Vec<Finding> {
    let findings = hosts.iter().filter_map(|host| {
        let key = file.login(host)?;
        let (Origin::Helper(name) | Origin::Store(name)) = file.origin(host) else { return None };
        let check = check("docker-stale-login", Subject::Docker, format!("login for {host}"));
        let found = format!("{}: never used, since docker-credential-{name} is asked", file.at(&["auths", key]));
        Some(check.warning(found, format!("docker logout {key}")))
    });
    findings.collect()
}

/// Keys of `credHelpers` that are no name docker ever asks for.
fn keys(file: &LoginFile) -> Vec<Finding> {
    let findings = file.helpers().filter(|(key, _)| *key != HUB).filter_map(|(key, _)| {
        let host = server_host(key);
        let place = file.at(&["credHelpers", key]);
        let check = check("docker-key", Subject::Docker, format!("credHelpers key {key}"));
        if key.contains('*') {
            let remedy = "delete that line, and for each registry: longshore setup docker --registry HOST";
            return Some(check.warning(format!("{place}: docker knows no wildcards, it never matches"), remedy));
        }
        let is_odd = key.contains("://") || key.contains('/') || key != key.to_ascii_lowercase() || key.trim() != key;
        let remedy = format!("write \"{host}\" for it in {place}");
        is_odd.then(|| check.warning(format!("{place}: docker asks for {host}, it never matches"), remedy))
    });
    findings.collect()
}

/// As `credsStore` Longshore is asked for every registry.
fn fallback(around: &Surroundings, file: &LoginFile) -> Option<Finding> {
    let check = check("docker-fallback", Subject::Docker, "the helper for other registries");
    if let Some(name) = &around.config.fallback_helper {
        let program = format!("docker-credential-{name}");
        let Lookup::Found(path) = look_up(&program) else {
            let remedy = format!("install it, or correct fallback.helper in {}", around.config_file().display());
            return Some(check.problem(format!("fallback.helper: {program} is not on PATH"), remedy));
        };
        return Some(check.ok(path.display().to_string()));
    }
    file.store().filter(|name| is_ours(name))?;
    let has_helper = |key: &str| file.helpers().any(|(host, _)| host == key);
    let others: Vec<_> = file
        .logins()
        .map(|(key, _)| key)
        .filter(|key| EcrRegistry::parse(&server_host(key)).is_none() && !has_helper(key))
        .collect();
    let place = file.at(&["credsStore"]);
    if others.is_empty() {
        return Some(check.ok(format!("{place}: Longshore, and no other registry is logged in to")));
    }
    let found = format!("{place}: Longshore is asked, and there is no [fallback], for {}", others.join(", "));
    let there =
        STORES.into_iter().find(|name| matches!(look_up(&format!("docker-credential-{name}")), Lookup::Found(_)));
    let line =
        |name: &str| format!("write at the top of {}: fallback.helper = \"{name}\"", around.config_file().display());
    let remedy = match there {
        Some(name) => line(name),
        // without a helper of theirs there is nobody who could keep those logins
        None => format!("install docker-credential-{0}, or another helper, and {1}", STORES[0], line(STORES[0])),
    };
    Some(check.problem(found, remedy))
}

/// The helpers that docker runs for these registries.
fn helpers(file: &LoginFile, hosts: &[&str]) -> BTreeSet<String> {
    let names = hosts.iter().filter_map(|host| match file.origin(host) {
        Origin::Helper(name) | Origin::Store(name) => Some(name),
        Origin::Login(_) | Origin::Nothing => None,
    });
    names.collect()
}

/// Whether docker can run a helper, and whether it is this project's.
async fn helper(name: &str) -> (Finding, bool) {
    let program = format!("docker-credential-{name}");
    let check = check("docker-helper", Subject::Docker, &program);
    let install = if is_ours(name) { onto_path() } else { format!("install {program}, or name another helper") };
    let path = match look_up(&program) {
        Lookup::Found(path) => path,
        Lookup::NotExecutable(path) => {
            let remedy = format!("chmod +x {}", path.display());
            return (check.problem(format!("{} may not be executed", path.display()), remedy), false);
        }
        Lookup::Absent => return (check.problem("not on PATH, so docker cannot run it", install), false),
    };
    let place = path.display();
    match kind(&path).await {
        Kind::Broken(problem) => (check.problem(format!("{place} does not run: {problem}"), install), false),
        Kind::Another if is_ours(name) => (check.problem(format!("{place} is another program"), install), false),
        Kind::Another => (check.ok(format!("{place}, not Longshore's")), false),
        Kind::Ours(version) if version == env!("CARGO_PKG_VERSION") => {
            (check.ok(format!("{place}, Longshore {version}")), true)
        }
        Kind::Ours(version) => {
            let found = format!("{place} is version {version}, this is {}", env!("CARGO_PKG_VERSION"));
            (check.warning(found, "./install.sh"), true)
        }
    }
}
