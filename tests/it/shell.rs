//! A user's shell: a home, an environment and the credential helper, with a fake AWS and no daemon.
//!
//! Nothing of the machine the tests run on is in it: no keys, no proxy, no metadata service and no terminal.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    fake_ecr::{FakeEcr, Knob},
    rig::{run, text},
};

/// The helper and what surrounds it.
pub struct Shell {
    pub ecr: FakeEcr,
    pub dir: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

impl Shell {
    /// No credentials anywhere; every API of AWS is the fake's.
    pub async fn start() -> Self {
        let (ecr, dir) = (FakeEcr::start().await, tempfile::tempdir().unwrap());
        fs::create_dir_all(dir.path().join("home/.aws")).unwrap();
        fs::write(dir.path().join("ca.pem"), ecr.ca_pem()).unwrap();
        let mut shell = Self { ecr, dir, environment: BTreeMap::new() };
        shell.write("config.toml", "");
        let (home, rules) = (shell.path("home"), shell.path("config.toml"));
        shell.set("HOME", &home).set("LONGSHORE_CONFIG", &rules).set("AWS_EC2_METADATA_DISABLED", "true");
        let url = shell.ecr.api_url();
        shell.set("AWS_ENDPOINT_URL", &url);
        shell
    }

    /// With an access key in the environment.
    pub async fn with_keys() -> Self {
        let mut shell = Self::start().await;
        shell.keys("AKIDEXAMPLE");
        shell
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.environment.remove(name);
        self
    }

    pub fn keys(&mut self, id: &str) -> &mut Self {
        self.set("AWS_ACCESS_KEY_ID", id).set("AWS_SECRET_ACCESS_KEY", "an-example-secret-key")
    }

    /// The APIs are where AWS has them, behind the fake's proxy.
    pub fn behind_the_proxy(&mut self) -> &mut Self {
        let (proxy, ca) = (self.ecr.proxy_url(), self.path("ca.pem"));
        self.unset("AWS_ENDPOINT_URL").set("HTTPS_PROXY", &proxy).set("AWS_CA_BUNDLE", &ca)
    }

    /// The metadata service of EC2 is the fake's.
    pub fn metadata(&mut self) -> &mut Self {
        let url = self.ecr.metadata_url();
        self.set("AWS_EC2_METADATA_DISABLED", "false").set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)
    }

    /// A path in the shell's folder.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// The rules of longshore's own configuration.
    pub fn rules(&self, content: &str) -> &Self {
        self.write("config.toml", content);
        self
    }

    /// The AWS configuration.
    pub fn profiles(&self, content: &str) -> &Self {
        self.write("home/.aws/config", content);
        self
    }

    /// The helper, without a terminal.
    pub fn command(&self) -> Command {
        // a session of its own has none
        let mut command = self.command_of("setsid");
        command.arg(env!("CARGO_BIN_EXE_docker-credential-longshore"));
        command
    }

    /// A program in this shell.
    pub fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.environment);
        command
    }

    pub fn get(&self, host: &str) -> Output {
        run(self.command().arg("get"), host)
    }

    /// The password for a host, which there must be.
    #[track_caller]
    pub fn secret(&self, host: &str) -> String {
        secret_in(&self.get(host))
    }

    pub fn calls(&self) -> Vec<String> {
        self.ecr.calls().into_iter().map(|call| call.action).collect()
    }

    /// How often the API was asked for a token.
    pub fn mints(&self) -> usize {
        self.ecr.count_calls("GetAuthorizationToken")
    }

    /// The entries of the token store that hold tokens: path and content.
    pub fn entries(&self) -> Vec<(PathBuf, Value)> {
        let Ok(folder) = fs::read_dir(self.dir.path().join("home/.cache/longshore/tokens")) else { return Vec::new() };
        let paths = folder.map(|entry| entry.unwrap().path());
        let files = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let entries = files.map(|path| {
            let value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path, value)
        });
        entries.filter(|(_, entry)| entry["about"].as_str().unwrap().contains(r#""kind":"token""#)).collect()
    }

    /// Sets a time of the only token, in seconds from now.
    #[track_caller]
    pub fn set_time(&self, name: &str, from_now: i64) {
        let mut entries = self.entries();
        assert_eq!(entries.len(), 1);
        let (path, mut entry) = entries.remove(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        entry[name] = Value::from(now.checked_add_signed(from_now).unwrap());
        fs::write(path, entry.to_string()).unwrap();
    }

    /// Demands a code for a role or for a session of one's own.
    pub fn demand_code(&self, role: &str, serial: &str, code: &str) {
        self.ecr.set(Knob::RequireMfa(role.to_owned(), serial.to_owned(), code.to_owned()));
    }

    /// A script that notes in `runs` that it ran.
    pub fn script(&self, name: &str, more: &str) -> String {
        let (script, runs) = (self.path(name), self.path("runs"));
        fs::write(&script, format!("echo {name} >> '{runs}'\n{more}\n")).unwrap();
        format!("/bin/sh '{script}'")
    }

    /// How often scripts ran.
    pub fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }
}

/// The password in an answer, which must be one.
#[track_caller]
pub fn secret_in(output: &Output) -> String {
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["Username"], "AWS");
    answer["Secret"].as_str().unwrap().to_owned()
}
