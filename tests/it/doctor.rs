//! `longshore doctor`: nothing to say about what is well, and for each classic fault its name and what mends it.
//!
//! What it says to do is done: commands are given to a shell, edits are made by hand; then all is well again.

mod credentials;
mod faults;
mod patient;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    time::{Duration, Instant},
};

use crate::{
    fake_ecr::{Listener, Rule},
    rig::{REGISTRY, text},
};
use patient::{Patient, at};

#[tokio::test]
async fn what_is_well_is_left_alone() {
    let patient = Patient::healthy().await;
    for arguments in [&["--json", REGISTRY][..], &["--json"], &["--json", "--offline", REGISTRY]] {
        patient.is_well_with(arguments);
    }
    let output = patient.run(&[REGISTRY]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("0 problems, "), "{said}");
    assert!(said.contains("\n  ok    configuration: "), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    // there were tokens to keep quiet about: one for the registry, one for ECR Public
    assert_eq!(patient.kept().len(), 4);
}

#[tokio::test]
async fn findings_are_an_array_of_objects_with_these_keys() {
    let patient = Patient::healthy().await;
    let findings = patient.findings(&["--json", REGISTRY]);
    let keys = |finding: &serde_json::Value| finding.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for finding in &findings {
        assert_eq!(keys(finding), ["id", "state", "subject", "title", "found", "remedy"]);
    }
    let mut ids: Vec<_> = findings.iter().map(|finding| finding["id"].as_str().unwrap()).collect();
    ids.dedup();
    let expected = "configuration cache-folder disk-space token-store home path aws-endpoint-url disabled-metadata \
         docker-config docker-credentials docker-helper podman-credentials containerd-hosts identity source-environment \
         source-web-identity source-profile source-container source-instance endpoint clock token daemon";
    assert_eq!(ids.join(" "), expected);
}

#[tokio::test]
async fn what_cannot_be_examined_is_a_mistake_in_the_command() {
    let patient = Patient::healthy().await;
    for arguments in [&["not a host"][..], &["--jsno"], &[REGISTRY, REGISTRY]] {
        assert_eq!(patient.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    // a foreign registry is examined, and needs no token
    for id in ["token", "docker-credentials"] {
        assert_eq!(patient.finding(&["--json", "ghcr.io"], id)["state"], "skipped", "{id}");
    }
    patient.is_well_with(&["--json", &format!("https://{REGISTRY}/app")]);
}

#[tokio::test]
async fn a_name_that_stands_for_a_registry_is_looked_at_like_it() {
    let patient = Patient::healthy().await;
    let text = fs::read_to_string(patient.config()).unwrap();
    let alias = format!("[[registry]]\nmatch = \"images.corp.example\"\nalias = \"{REGISTRY}\"\n");
    fs::write(patient.config(), text + &alias).unwrap();
    let arguments = ["--json", "images.corp.example"];
    let docker = patient.finding(&arguments, "docker-credentials");
    let place = patient.docker().display().to_string();
    assert_eq!(docker["state"], "problem");
    let remedy = format!("write \"images.corp.example\": \"longshore\" into credHelpers of {place}");
    assert_eq!(docker["remedy"], remedy.as_str());
    assert_eq!(patient.finding(&arguments, "token")["state"], "ok");
    let wired = fs::read_to_string(patient.docker()).unwrap().replace(REGISTRY, "images.corp.example");
    patient.write_docker(&wired);
    patient.is_well_with(&arguments);
}

#[tokio::test]
async fn the_daemons_address_and_a_name_with_a_port_are_looked_at_like_what_they_stand_for() {
    let patient = Patient::healthy().await;
    let text = fs::read_to_string(patient.config()).unwrap();
    let alias = format!("[[registry]]\nmatch = \"proxy.corp:5000\"\nalias = \"{REGISTRY}\"\n");
    fs::write(patient.config(), format!("default_registry = \"{REGISTRY}\"\n{text}{alias}")).unwrap();
    let daemon = patient.rig.daemon.address.to_string();
    for name in ["proxy.corp:5000", &daemon] {
        let token = patient.finding(&["--json", name], "token");
        assert_eq!(token["state"], "ok", "{name}: {token}");
    }
    // nobody logs in to the daemon
    assert_eq!(patient.finding(&["--json", &daemon], "docker-credentials")["state"], "skipped");
    for name in ["proxy.corp", "proxy.corp:5001"] {
        assert_eq!(patient.finding(&["--json", name], "token")["state"], "skipped", "{name}");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_found_in_the_answers_date() {
    let patient = Patient::healthy().await;
    for (minutes, state, remedy) in [
        (0, "ok", None),
        (2, "warning", Some("sudo timedatectl set-ntp true")),
        (-10, "problem", Some("sudo timedatectl set-ntp true")),
    ] {
        let date = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let fault = patient.rig.ecr.fault(Rule::on(Listener::Api).set_header("Date", &date));
        let clock = patient.finding(&["--json", REGISTRY], "clock");
        assert_eq!((clock["state"].as_str(), clock["remedy"].as_str()), (Some(state), remedy), "{clock}");
        fault.remove();
    }
}

#[tokio::test]
async fn an_api_that_is_not_there_is_a_problem_while_a_token_at_hand_is_none() {
    let patient = Patient::healthy().await;
    patient.is_well();
    patient.rig.ecr.stop_listening();
    let endpoint = patient.finding(&["--json", REGISTRY], "endpoint");
    assert_eq!(endpoint["state"], "problem");
    assert!(endpoint["remedy"].as_str().unwrap().contains("nothing listens there"), "{endpoint}");
    assert_eq!(patient.finding(&["--json", REGISTRY], "token")["state"], "ok");
    assert_eq!(patient.run(&[REGISTRY]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_hangs_it_is_over_within_ten_seconds() {
    let patient = Patient::healthy().await;
    patient.rig.ecr.fault(Rule::on(Listener::Api).hold());
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    patient.listen(&hangs.local_addr().unwrap().to_string());
    patient.stub("docker-credential-longshore", "sleep 60");
    let path = format!("{}:/bin", patient.bin().display());
    let patient = patient.with("PATH", &path);
    let started = Instant::now();
    let findings = patient.findings(&["--json", REGISTRY]);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    for id in ["endpoint", "token", "daemon", "docker-helper"] {
        assert_eq!(at(&findings, id)["state"], "problem", "{id}: {findings:#?}");
    }
    assert_eq!(at(&findings, "configuration")["state"], "ok");
}

#[tokio::test]
async fn a_file_that_hangs_keeps_only_its_own_checks() {
    let patient = Patient::healthy().await;
    let pipe = |path: &std::path::Path| {
        let status = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(status.success());
    };
    fs::remove_file(patient.docker()).unwrap();
    pipe(&patient.docker());
    let aws = patient.home().join(".aws");
    fs::create_dir(&aws).unwrap();
    pipe(&aws.join("config"));
    let started = Instant::now();
    let findings = patient.findings(&["--json", REGISTRY]);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(at(&findings, "docker-config")["found"].as_str().unwrap().contains("timed out"), "{findings:#?}");
    let silent = findings.iter().filter(|finding| finding["id"] == "no-answer");
    let silent: Vec<_> = silent.map(|finding| finding["subject"].as_str().unwrap()).collect();
    assert_eq!(silent, ["credentials", "endpoint", "token"]);
    for id in ["configuration", "token-store", "podman-credentials", "containerd-hosts", "daemon"] {
        assert_ne!(at(&findings, id)["state"], "problem", "{id}");
    }
}

#[tokio::test]
async fn an_identity_that_may_not_mint_is_told_what_it_lacks() {
    let patient = Patient::healthy().await;
    patient.rig.ecr.fault(Rule::on(Listener::Api).api_error("AccessDeniedException", "not authorized"));
    let token = patient.finding(&["--json", REGISTRY], "token");
    assert_eq!(token["state"], "problem");
    assert!(token["remedy"].as_str().unwrap().contains("ecr:GetAuthorizationToken on *"), "{token}");
}

#[tokio::test]
async fn a_daemon_that_does_not_run_is_started_as_it_was_installed() {
    let patient = Patient::healthy().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    patient.listen(&free);
    patient.has("daemon", "warning", "longshore serve");
    let units = patient.home().join(".config/systemd/user");
    fs::create_dir_all(&units).unwrap();
    fs::write(units.join("longshore.service"), "").unwrap();
    patient.has("daemon", "warning", "systemctl --user start longshore.service");
    let port = answering("x-longshore-cache: bypass\r\nserver: longshore/0.0.1\r\n");
    patient.listen(&format!("127.0.0.1:{port}"));
    patient.has("daemon", "warning", "systemctl --user restart longshore.service");
    let port = answering("");
    patient.listen(&format!("127.0.0.1:{port}"));
    let remedy = format!(
        "stop it (sudo ss -ltnp 'sport = :{port}' names it), or set listen in {} to another port",
        patient.config().display()
    );
    patient.has("daemon", "problem", &remedy);
}

/// A program that answers every request with these headers; its port.
fn answering(headers: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n").as_bytes());
        }
    });
    port
}
