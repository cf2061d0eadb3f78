//! `hosts.toml` files that lead containerd and dockerd to the daemon.
//!
//! A brief look: whether they can be read, and do not send pushes where only pulls are served.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    finding::{Finding, Subject, check},
    podman::is_daemon,
    surroundings::Surroundings,
};

const FOLDERS: [&str; 2] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];

pub(super) fn look(around: &Surroundings) -> Vec<Finding> {
    look_in(around, &FOLDERS.map(Path::new))
}

fn look_in(around: &Surroundings, folders: &[&Path]) -> Vec<Finding> {
    let mut files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path().join("hosts.toml"))
        .filter(|path| path.exists())
        .collect();
    files.sort();
    let findings: Vec<_> = files.iter().filter_map(|path| hosts(around, path)).collect();
    if findings.is_empty() {
        let check = check("containerd-hosts", Subject::Containerd, "hosts.toml");
        return vec![check.skipped("none leads to the daemon")];
    }
    findings
}

fn hosts(around: &Surroundings, path: &Path) -> Option<Finding> {
    let place = path.display();
    let check = check("containerd-hosts", Subject::Containerd, place.to_string());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Some(check.warning(error.to_string(), format!("sudo chmod a+r {place}"))),
    };
    let Ok(table) = text.parse::<toml::Table>() else {
        return Some(check.problem("not TOML", format!("correct {place}")));
    };
    let hosts = table.get("host")?.as_table()?;
    let is_to_daemon = |url: &str| {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
        is_daemon(around, authority)
    };
    let (url, host) = hosts.iter().find(|(url, _)| is_to_daemon(url))?;
    let capabilities = host.get("capabilities").and_then(toml::Value::as_array);
    let pushes = capabilities.is_none_or(|all| all.iter().any(|one| one.as_str() == Some("push")));
    Some(if url.starts_with("https://") {
        check.problem(
            format!("{url}: the daemon's port is plain HTTP"),
            format!("write http:// for https:// in {place}"),
        )
    } else if pushes {
        let remedy = format!("write capabilities = [\"pull\", \"resolve\"] below [host.\"{url}\"] in {place}");
        check.warning(format!("{url}: pushes are sent there, too, and refused"), remedy)
    } else {
        check.ok(url)
    })
}

#[test]
fn a_way_to_the_daemon_is_looked_at_and_others_are_not() {
    use super::finding::State;
    let dir = tempfile::tempdir().unwrap();
    let around = Surroundings::new(Ok(crate::environment::Loaded::default()), None, None);
    let found = |text: &str| {
        fs::create_dir_all(dir.path().join("host")).unwrap();
        fs::write(dir.path().join("host/hosts.toml"), text).unwrap();
        look_in(&around, &[dir.path()])[0].state
    };
    let url = format!("http://127.0.0.1:{}", around.config.listen.port());
    let pulls = "capabilities = [\"pull\", \"resolve\"]";
    assert_eq!(found(&format!("[host.\"{url}\"]\n{pulls}\n")), State::Ok);
    assert_eq!(found(&format!("[host.\"{url}\"]\n")), State::Warning);
    assert_eq!(found(&format!("[host.\"{}\"]\n{pulls}\n", url.replace("http:", "https:"))), State::Problem);
    assert_eq!(found("[host.\"http://127.0.0.1:1\"]\n"), State::Skipped);
    assert_eq!(found("["), State::Problem);
}
