//! The patient: a set-up in which all is well, the faults that are put into it, and what the doctor says then.
//!
//! Every word the doctor says is searched for secrets.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::rig::{REGISTRY, Rig, program, run, text};

/// What stands for secrets in these tests.
pub const PASSWORD: &str = "hunter2-of-somebody";
const SECRETS: [&str; 2] = ["an-example-secret-key", PASSWORD];
/// The disk of whoever runs this may be full.
const NOT_OURS: &str = "disk-space";

pub struct Patient {
    pub rig: Rig,
    /// `None` is a variable that is taken away.
    environment: BTreeMap<String, Option<String>>,
}

impl Patient {
    /// A rig whose docker asks the helper, with the daemon running where the configuration says.
    pub async fn healthy() -> Self {
        let rig = Rig::start().await;
        let address = rig.daemon.address.to_string();
        let patient = Self { rig, environment: BTreeMap::new() };
        fs::create_dir(patient.bin()).unwrap();
        patient.listen(&address);
        let output = patient.command(env!("CARGO_BIN_EXE_longshore"), &["setup", "docker", "--registry", REGISTRY]);
        assert!(output.status.success(), "{output:?}");
        patient
    }

    /// Writes the configuration.
    pub fn listen(&self, address: &str) {
        let text = fs::read_to_string(self.rig.dir.path().join("config.toml")).unwrap();
        fs::write(self.config(), text.replace("127.0.0.1:0", address)).unwrap();
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), Some(value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.insert(name.to_owned(), None);
        self
    }

    pub fn config(&self) -> PathBuf {
        self.rig.dir.path().join("doctor.toml")
    }

    pub fn home(&self) -> PathBuf {
        self.rig.dir.path().join("home")
    }

    /// A folder for programs, which is not on `PATH` by itself.
    pub fn bin(&self) -> PathBuf {
        self.rig.dir.path().join("bin")
    }

    pub fn docker(&self) -> PathBuf {
        self.home().join(".docker/config.json")
    }

    pub fn write_docker(&self, text: &str) {
        fs::write(self.docker(), text).unwrap();
    }

    /// A program that is a shell script.
    pub fn stub(&self, name: &str, script: &str) -> PathBuf {
        let path = self.bin().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The folder of the programs under test.
    pub fn programs() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_longshore")).parent().unwrap()
    }

    fn prepare(&self, path: &str) -> Command {
        let mut command = program(path, &self.rig.ecr, self.rig.dir.path());
        command.env("LONGSHORE_CONFIG", self.config()).env("PATH", Self::programs());
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn command(&self, path: &str, arguments: &[&str]) -> Output {
        run(self.prepare(path).args(arguments), "")
    }

    /// Runs the doctor.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let all: Vec<_> = ["doctor"].iter().chain(arguments).copied().collect();
        let output = self.command(env!("CARGO_BIN_EXE_longshore"), &all);
        self.tells_no_secret(&output);
        output
    }

    fn tells_no_secret(&self, output: &Output) {
        let said = text(&output.stdout) + &text(&output.stderr);
        for secret in SECRETS.map(str::to_owned).into_iter().chain(self.kept()) {
            assert!(!said.contains(&secret), "{secret}: {said}");
        }
    }

    /// The beginnings of the tokens that are kept, and of the passwords in them.
    pub fn kept(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        for entry in fs::read_dir(self.rig.cache().join("tokens")).into_iter().flatten().flatten() {
            let kept: Option<Value> = fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice(&text).ok());
            let texts = kept.iter().filter_map(Value::as_object).flat_map(serde_json::Map::values);
            for token in texts.filter_map(Value::as_str).filter(|text| text.len() > 500) {
                let pair = String::from_utf8(STANDARD.decode(token).unwrap()).unwrap();
                secrets.push(token[..40].to_owned());
                secrets.push(pair.trim_start_matches("AWS:")[..40].to_owned());
            }
        }
        secrets
    }

    /// The findings; the exit code says whether one is a problem.
    pub fn findings(&self, arguments: &[&str]) -> Vec<Value> {
        findings_of(&self.run(arguments))
    }

    pub fn finding(&self, arguments: &[&str], id: &str) -> Value {
        at(&self.findings(arguments), id).clone()
    }

    #[track_caller]
    pub fn is_well(&self) {
        self.is_well_with(&["--json", REGISTRY]);
    }

    #[track_caller]
    pub fn is_well_with(&self, arguments: &[&str]) {
        well(&self.findings(arguments));
    }

    /// The finding `id` is of this state and this is to be done about it.
    #[track_caller]
    pub fn has(&self, id: &str, state: &str, remedy: &str) {
        let findings = self.findings(&["--json", REGISTRY]);
        has(&findings, id, state, remedy);
    }

    /// Nothing of this name is of this state.
    #[track_caller]
    pub fn has_no(&self, id: &str, state: &str) {
        let findings = self.findings(&["--json", REGISTRY]);
        assert!(!findings.iter().any(|finding| finding["id"] == id && finding["state"] == state), "{findings:#?}");
    }

    /// [`Self::has`], and once it is done in a shell all is well.
    #[track_caller]
    pub fn has_and_is_mended(&self, id: &str, state: &str, remedy: &str) {
        self.has(id, state, remedy);
        if remedy.starts_with("unset ") || remedy.starts_with("export ") {
            let script = format!("{remedy}; exec {} doctor --json {REGISTRY}", env!("CARGO_BIN_EXE_longshore"));
            return well(&findings_of(&self.command("/bin/sh", &["-c", &script])));
        }
        let mut shell = self.prepare("/bin/sh");
        shell.env("PATH", format!("{}:/usr/bin:/bin", Self::programs().display()));
        let output = run(shell.args(["-c", remedy]), "");
        assert!(output.status.success(), "{remedy}: {output:?}");
        self.is_well();
    }
}

#[track_caller]
fn findings_of(output: &Output) -> Vec<Value> {
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let code = i32::from(findings.iter().any(|finding| finding["state"] == "problem"));
    assert_eq!(output.status.code(), Some(code), "{findings:#?}");
    findings
}

#[track_caller]
fn well(findings: &[Value]) {
    let ill = findings.iter().filter(|finding| !matches!(finding["state"].as_str(), Some("ok" | "skipped")));
    let ill: Vec<_> = ill.filter(|finding| finding["id"] != NOT_OURS).collect();
    assert!(ill.is_empty(), "{ill:#?}");
}

#[track_caller]
fn has(findings: &[Value], id: &str, state: &str, remedy: &str) {
    let is_it = |finding: &&Value| finding["id"] == id && finding["state"] == state;
    let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("no {id} that is {state}: {findings:#?}"));
    assert_eq!(finding["remedy"], remedy, "{finding:#?}");
}

/// The first finding of this name.
#[track_caller]
pub fn at<'f>(findings: &'f [Value], id: &str) -> &'f Value {
    findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no {id}: {findings:#?}"))
}
