//! What the dependency tree may hold, as a test: licences, banned crates, one version of the
//! crates that must agree, no duplicate that nobody noticed.
//!
//! Reads `Cargo.lock` and `cargo metadata --offline`; it never uses the network and never knows
//! an advisory that is not written down here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Licences whose terms this program can meet by naming them. A new one is a decision.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    // copyleft by file: met as long as the file is used unchanged
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that must not come back, on any platform.
const BANNED: &[Ban] = &[
    Ban::below("hyper", [1, 0, 0], "the old HTTP stack, with advisories that have no fix"),
    Ban::below("h2", [0, 4, 0], "RUSTSEC-2026-0258 and others without a fix"),
    Ban::below("http", [1, 0, 0], "comes with the old HTTP stack"),
    Ban::below("rustls", [0, 23, 0], "a second TLS stack"),
    Ban::below("memmap2", [0, 9, 11], "RUSTSEC-2026-0186"),
    Ban::always("aws-lc-rs", "ring is the only crypto provider; this one costs 40 ms at start"),
    Ban::always("aws-lc-sys", "ring is the only crypto provider; this one costs 40 ms at start"),
    Ban::always("async-std", "tokio is the only runtime; this one has no maintainer"),
    Ban::always("openssl", "rustls is the only TLS stack"),
    Ban::always("openssl-sys", "rustls is the only TLS stack"),
    Ban::always("native-tls", "rustls is the only TLS stack"),
];

/// Crates of which two versions in one program do not fit together.
const SINGLE: &[&str] = &["bytes", "http", "hyper", "ring", "rustls", "tokio"];

/// As above, but they may be absent as well.
const SINGLE_IF_ANY: &[&str] = &["h2"];

/// Crates that are known to be there twice on Linux, because two of our dependencies have not
/// met yet. An entry that is no longer needed fails the test as well.
#[cfg(target_os = "linux")]
const DUPLICATES: &[&str] = &[
    "base64",
    "block-buffer",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "getrandom",
    "hmac",
    "sha2",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-width",
];

#[test]
fn every_licence_is_allowed() {
    let metadata = metadata();
    let packages = list(&metadata["packages"]);
    assert!(packages.len() > 100, "metadata is incomplete");
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
}

#[test]
fn no_banned_crate_is_in_the_lock_file() {
    let found = banned(&locked());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn crates_that_must_agree_are_there_once() {
    let found = not_single(&locked());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let found = foreign(&locked());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn every_duplicate_is_known_and_every_known_one_is_there() {
    let found = duplicates(&metadata());
    let known: BTreeSet<String> = DUPLICATES.iter().copied().map(str::to_owned).collect();
    let new: Vec<&String> = found.difference(&known).collect();
    assert!(new.is_empty(), "now there twice (cargo tree --duplicates): {new:?}");
    let stale: Vec<&String> = known.difference(&found).collect();
    assert!(stale.is_empty(), "no longer there twice, drop from DUPLICATES: {stale:?}");
}

/// A crate that is refused, and why.
struct Ban {
    name: &'static str,
    /// Versions below this one; all when absent.
    below: Option<Version>,
    reason: &'static str,
}

/// Major, minor, patch; ordered as numbers.
type Version = [u64; 3];

impl Ban {
    const fn below(name: &'static str, version: Version, reason: &'static str) -> Self {
        let below = Some(version);
        Self { name, below, reason }
    }

    const fn always(name: &'static str, reason: &'static str) -> Self {
        Self { name, below: None, reason }
    }

    fn hits(&self, package: &Locked) -> bool {
        let version = version(&package.version);
        self.name == package.name && self.below.is_none_or(|below| version < below)
    }
}

/// The numbers of a version; what follows a `-` or `+` is not compared.
fn version(text: &str) -> Version {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = numbers.split('.').map(|part| part.parse().expect("a version has numbers"));
    [(); 3].map(|()| parts.next().expect("a version has three numbers"))
}

/// One package of the lock file.
#[derive(Debug, PartialEq, Eq)]
struct Locked {
    name: String,
    version: String,
    /// Absent for the package itself.
    source: Option<String>,
}

fn locked() -> Vec<Locked> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let packages = parse_lock(&std::fs::read_to_string(path).expect("Cargo.lock is there"));
    assert!(packages.len() > 100, "Cargo.lock was not understood");
    packages
}

/// Reads what cargo itself writes, not any TOML.
fn parse_lock(text: &str) -> Vec<Locked> {
    text.split("[[package]]\n")
        .skip(1)
        .map(|package| {
            let field = |name: &str| {
                let start = format!("{name} = \"");
                let line = package.lines().find_map(|line| line.strip_prefix(&start));
                line.map(|value| value.trim_end_matches('"').to_owned())
            };
            Locked {
                name: field("name").expect("a package has a name"),
                version: field("version").expect("a package has a version"),
                source: field("source"),
            }
        })
        .collect()
}

fn banned(packages: &[Locked]) -> Vec<String> {
    let hits = |package| BANNED.iter().filter(move |ban| ban.hits(package));
    packages
        .iter()
        .flat_map(|package| hits(package).map(move |ban| (package, ban)))
        .map(|(package, ban)| format!("{} {}: {}", package.name, package.version, ban.reason))
        .collect()
}

fn not_single(packages: &[Locked]) -> Vec<String> {
    let versions = |name: &str| packages.iter().filter(|package| package.name == name).count();
    let single = SINGLE.iter().filter(|name| versions(name) != 1);
    let if_any = SINGLE_IF_ANY.iter().filter(|name| versions(name) > 1);
    single.chain(if_any).map(|name| format!("{name}: {} versions, want one", versions(name))).collect()
}

/// The packages from a git repository, a folder or a registry file without a source.
fn foreign(packages: &[Locked]) -> Vec<String> {
    let is_registry = |source: &String| source.starts_with("registry+");
    packages
        .iter()
        .filter(|package| package.name != env!("CARGO_PKG_NAME"))
        .filter(|package| !package.source.as_ref().is_some_and(is_registry))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.source))
        .collect()
}

/// The packages of this platform. The others may never have been downloaded.
fn metadata() -> Value {
    let arguments = "metadata --format-version 1 --locked --offline --filter-platform";
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    let about = cargo(&["-vV"]);
    let platform = about.lines().find_map(|line| line.strip_prefix("host: "));
    arguments.push(platform.expect("cargo -vV names the host"));
    serde_json::from_str(&cargo(&arguments)).expect("cargo metadata is JSON")
}

fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The crates that are linked or expanded into the programs in more than one version.
fn duplicates(metadata: &Value) -> BTreeSet<String> {
    let names = by_id(&metadata["packages"]);
    let nodes = by_id(&metadata["resolve"]["nodes"]);
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = metadata["resolve"]["root"].as_str().into_iter().collect();
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            next.extend(normal_dependencies(nodes[id]));
        }
    }
    let mut versions = BTreeMap::new();
    for name in seen.into_iter().filter_map(|id| names[id]["name"].as_str()) {
        *versions.entry(name).or_insert(0) += 1;
    }
    let twice = versions.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(name, _)| name.to_owned()).collect()
}

fn by_id(values: &Value) -> BTreeMap<&str, &Value> {
    let with_id = list(values).iter().map(|value| (value["id"].as_str(), value));
    with_id.filter_map(|(id, value)| Some((id?, value))).collect()
}

/// Those that are neither for tests nor for build scripts.
fn normal_dependencies(node: &Value) -> impl Iterator<Item = &str> {
    list(&node["deps"])
        .iter()
        .filter(|dependency| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()))
        .filter_map(|dependency| dependency["pkg"].as_str())
}

/// Whether a licence expression leaves a choice among [`LICENCES`]. Not understood is refused.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) == Some(true) && rest.is_empty()
}

/// `a OR b`; absent when the text is not an expression.
fn any_of(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = all_of(rest)?;
    while take(rest, "OR") {
        allowed |= all_of(rest)?;
    }
    Some(allowed)
}

/// `a AND b`, which binds tighter than `OR`.
fn all_of(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(rest)?;
    while take(rest, "AND") {
        allowed &= one(rest)?;
    }
    Some(allowed)
}

/// A licence, perhaps with an exception, or an expression in parentheses.
fn one(rest: &mut &[&str]) -> Option<bool> {
    if take(rest, "(") {
        let allowed = any_of(rest)?;
        return take(rest, ")").then_some(allowed);
    }
    let (name, after) = rest.split_first()?;
    *rest = after;
    if matches!(*name, ")" | "AND" | "OR" | "WITH") {
        return None;
    }
    if !take(rest, "WITH") {
        return Some(LICENCES.contains(name));
    }
    let (exception, after) = rest.split_first()?;
    *rest = after;
    Some(LICENCES.contains(&format!("{name} WITH {exception}").as_str()))
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let Some((first, after)) = rest.split_first() else {
        return false;
    };
    if *first == word {
        *rest = after;
    }
    *first == word
}

/// The checker itself: a rule that cannot be broken is no rule.
mod checker {
    use super::*;

    fn package(name: &str, version: &str) -> Locked {
        let (name, version) = (name.to_owned(), version.to_owned());
        Locked { name, version, source: Some("registry+index".to_owned()) }
    }

    #[track_caller]
    fn licence(expression: &str, want: bool) {
        assert_eq!(is_allowed(expression), want, "{expression:?}");
    }

    #[test]
    fn a_licence_expression_needs_one_allowed_way() {
        licence("MIT", true);
        licence("MIT OR GPL-3.0-only", true);
        licence("GPL-3.0-only/MIT", true);
        licence("Apache-2.0 / MIT", true);
        licence("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        licence("Apache-2.0 WITH LLVM-exception", true);
        licence("Unlicense OR MIT AND ISC", true);
    }

    #[test]
    fn other_licences_and_broken_expressions_are_refused() {
        licence("GPL-3.0-only", false);
        licence("MIT AND GPL-3.0-only", false);
        licence("(MIT OR ISC) AND GPL-3.0-only", false);
        licence("MIT WITH LLVM-exception", false);
        licence("GPL-2.0-only WITH Classpath-exception-2.0", false);
        for broken in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "()"] {
            licence(broken, false);
        }
    }

    #[test]
    fn a_banned_crate_is_found_by_name_and_version() {
        for (name, number) in [
            ("hyper", "0.14.32"),
            ("h2", "0.3.27"),
            ("memmap2", "0.9.10"),
            ("memmap2", "0.5.10"),
            ("aws-lc-rs", "1.15.0"),
            ("openssl", "0.10.70"),
        ] {
            assert_eq!(banned(&[package(name, number)]).len(), 1, "{name} {number}");
        }
        for (name, number) in [
            ("hyper", "1.0.0-rc.4"),
            ("h2", "0.4.0"),
            ("memmap2", "0.9.11"),
            ("memmap2", "0.10.0+build.1"),
            ("hyper-util", "0.1.0"),
        ] {
            assert_eq!(banned(&[package(name, number)]), [""; 0], "{name} {number}");
        }
    }

    #[test]
    fn a_second_version_and_an_absent_one_are_found() {
        let mut packages: Vec<Locked> = SINGLE.iter().map(|name| package(name, "1.0.0")).collect();
        assert_eq!(not_single(&packages), [""; 0]);
        packages.push(package("h2", "0.4.1"));
        assert_eq!(not_single(&packages), [""; 0]);
        packages.push(package("h2", "0.5.0"));
        packages.push(package("rustls", "0.24.0"));
        assert_eq!(not_single(&packages).len(), 2);
        assert_eq!(not_single(&[]).len(), SINGLE.len());
    }

    #[test]
    fn a_package_from_elsewhere_is_found() {
        let text = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
            source = \"git+ssh://host/a\"\ndependencies = [\n \"b\",\n]\n\n\
            [[package]]\nname = \"b\"\nversion = \"2.0.0\"\n\n\
            [[package]]\nname = \"c\"\nversion = \"3.0.0\"\nsource = \"registry+index\"\n";
        let packages = parse_lock(text);
        assert_eq!(packages.len(), 3);
        assert_eq!(packages[1].source, None);
        assert_eq!(foreign(&packages).len(), 2);
    }

    #[test]
    fn a_duplicate_counts_only_where_it_is_linked() {
        let dependency = |id: &str, kind: &Value| serde_json::json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let normal = |id| dependency(id, &Value::Null);
        let metadata = serde_json::json!({
            "packages": [
                { "id": "root", "name": "root" },
                { "id": "a1", "name": "a" }, { "id": "a2", "name": "a" },
                { "id": "b1", "name": "b" }, { "id": "b2", "name": "b" },
            ],
            "resolve": { "root": "root", "nodes": [
                { "id": "root", "deps": [normal("a1"), normal("b1"), dependency("b2", &"dev".into())] },
                { "id": "a1", "deps": [] },
                { "id": "b1", "deps": [normal("a2")] },
                { "id": "a2", "deps": [normal("a1")] },
                { "id": "b2", "deps": [] },
            ] },
        });
        assert_eq!(duplicates(&metadata), BTreeSet::from(["a".to_owned()]));
    }
}
