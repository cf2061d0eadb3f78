//! `longshore token`, `tokens` and `logout`: what they print, byte for byte, and what is on disk afterwards.

use std::{fs, process::Output};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    fake_ecr::{Knob, cache_sso_token},
    rig::{REGISTRY, Rig, program, run, text},
};

const OTHER: &str = "210987654321.dkr.ecr-fips.us-west-2.amazonaws.com";
const RULE: &str = "[[registry]]\nmatch = \"210987654321\"\nprofile = \"other\"\n";

/// Standard output of a command that went well without a word on standard error.
#[track_caller]
fn printed(output: &Output) -> String {
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{output:?}");
    text(&output.stdout)
}

/// The lines on standard error of a command that failed, and printed nothing.
#[track_caller]
fn refused(output: &Output) -> Vec<String> {
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{output:?}");
    text(&output.stderr).lines().map(str::to_owned).collect()
}

/// The password, as docker is told.
fn password(rig: &Rig, registry: &str) -> String {
    let answer: Value = serde_json::from_slice(&rig.helper("get", registry).stdout).unwrap();
    answer["Secret"].as_str().unwrap().to_owned()
}

/// A rig in which a second registry is logged in to as another profile.
async fn two_identities() -> Rig {
    let rig = Rig::with(RULE).await;
    let aws = rig.dir.path().join("home/.aws");
    fs::create_dir_all(&aws).unwrap();
    fs::write(aws.join("credentials"), "[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = s3cr3t\n")
        .unwrap();
    rig
}

#[tokio::test]
async fn every_format_is_exact_and_shares_the_helpers_token() {
    let rig = Rig::start().await;
    let password = password(&rig, REGISTRY);
    let basic = STANDARD.encode(format!("AWS:{password}"));
    let token = |more: &[&str]| printed(&rig.longshore(&[&["token", REGISTRY], more].concat()));
    assert_eq!(token(&[]), format!("{password}\n"));
    assert_eq!(token(&["--format", "password"]), format!("{password}\n"));
    assert_eq!(token(&["--format", "header"]), format!("Authorization: Basic {basic}\n"));
    let auths = format!("{{\"auths\":{{\"{REGISTRY}\":{{\"auth\":\"{basic}\"}}}}}}\n");
    assert_eq!(token(&["--format", "docker-config"]), auths);
    let document = token(&["--format", "json"]);
    let found: Value = serde_json::from_str(&document).unwrap();
    let kept: Value = serde_json::from_str(&printed(&rig.longshore(&["tokens", "--json"]))).unwrap();
    let wanted = json!({
        "registry": REGISTRY,
        "username": "AWS",
        "password": password,
        "expires_at": kept[0]["expires_at"],
        "refresh_at": kept[0]["refresh_at"],
        "identity": "the AWS credential chain",
        "region": "us-east-1",
    });
    assert_eq!(document, format!("{wanted}\n"));
    for name in ["expires_at", "refresh_at"] {
        let time = found[name].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn a_token_that_is_not_at_hand_is_minted_and_kept() {
    let rig = Rig::start().await;
    let printed = printed(&rig.longshore(&["token", &format!("https://{REGISTRY}/v2/")]));
    assert_eq!(printed, format!("{}\n", password(&rig, REGISTRY)));
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn a_failure_is_a_cause_and_a_remedy_and_nothing_on_standard_output() {
    let rig = Rig::with("[[registry]]\nmatch = \"public.ecr.aws\"\nanonymous = true\n").await;
    rig.ecr.set(Knob::Refuse("GetAuthorizationToken".to_owned(), "AccessDeniedException".to_owned()));
    for (registry, cause, remedy) in [
        ("ghcr.io", "ghcr.io is not an Amazon ECR registry", "docker login ghcr.io"),
        ("public.ecr.aws", "used without credentials", "anonymous = true"),
        ("no host", "is not a registry", "give the host"),
        (REGISTRY, "GetAuthorizationToken: AccessDeniedException", "ecr:GetAuthorizationToken"),
    ] {
        for format in ["password", "docker-config", "json", "header"] {
            let said = refused(&rig.longshore(&["token", registry, "--format", format]));
            assert_eq!(said.len(), 2, "{said:?}");
            assert!(said.iter().all(|line| line.starts_with("longshore: ")), "{said:?}");
            assert!(said[0].contains(cause) && said[1].contains(remedy), "{said:?}");
        }
    }
}

#[tokio::test]
async fn tokens_are_listed_with_whose_they_are_and_without_a_secret() {
    let mut rig = two_identities().await;
    assert_eq!(printed(&rig.longshore(&["tokens"])), "no token is cached\n");
    assert_eq!(printed(&rig.longshore(&["tokens", "--json"])), "[]\n");
    let passwords = [password(&rig, OTHER), password(&rig, REGISTRY)];
    let table = printed(&rig.longshore(&["tokens"]));
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("REGISTRY "), "{table}");
    assert!(
        lines[1].starts_with(REGISTRY) && lines[1].contains("  ECR in us-east-1        the AWS credential chain  ")
    );
    assert!(lines[2].starts_with(OTHER) && lines[2].contains("  ECR in us-west-2, FIPS  profile other             "));
    for line in &lines[1..] {
        assert!(line.contains("Z (in 5 h)") && line.contains("Z (in 11 h)"), "{line}");
        assert!(line.ends_with("  when asked for"), "{line}");
    }
    let starts = |title: &str| lines[0].find(title).unwrap();
    let cell = |line: &str, title: &str| line[starts(title)..].split("  ").next().unwrap().to_owned();
    assert!(cell(lines[1], "EXPIRES").ends_with("Z (in 11 h)"), "{table}");
    let document = printed(&rig.longshore(&["tokens", "--json"]));
    let rows: Vec<Value> = serde_json::from_str(&document).unwrap();
    assert_eq!((&rows[0]["registry"], &rows[1]["registry"]), (&json!(REGISTRY), &json!(OTHER)));
    assert_eq!((&rows[1]["identity"], &rows[1]["fips"]), (&json!("profile other"), &json!(true)));
    for password in passwords {
        for secret in [STANDARD.encode(format!("AWS:{password}")), password, "s3cr3t".to_owned()] {
            assert!(!table.contains(&secret) && !document.contains(&secret));
        }
    }
    assert_eq!(rig.mints(), 2);
    // a daemon that starts takes over what it could mint itself
    rig.kill_and_restart();
    let by_daemon = || {
        let rows: Vec<Value> = serde_json::from_slice(&rig.longshore(&["tokens", "--json"]).stdout).unwrap();
        rows.iter().filter(|row| row["renewed_by_daemon"] == true).count()
    };
    let mut tries = (0..1000).map(|_| by_daemon());
    assert!(tries.any(|count| count == 2), "{}", rig.daemon.log());
    let said = printed(&rig.longshore(&["logout", OTHER]));
    assert!(said.contains("the daemon that runs keeps its own copy"), "{said}");
}

#[tokio::test]
async fn a_logout_forgets_and_the_next_get_mints_again() {
    let rig = two_identities().await;
    let sso = cache_sso_token(&rig.dir.path().join("home"), "corp", &json!({"accessToken": "stays"}));
    let get = || [REGISTRY, OTHER].map(|registry| password(&rig, registry));
    get();
    let said = printed(&rig.longshore(&["logout", OTHER]));
    assert!(said.starts_with("forgotten: the token for ECR in us-west-2, FIPS as profile other"), "{said}");
    assert!(said.contains("aws sso logout"), "{said}");
    let rows: Vec<Value> = serde_json::from_slice(&rig.longshore(&["tokens", "--json"]).stdout).unwrap();
    assert_eq!(rows.len(), 1);
    get();
    assert_eq!(rig.mints(), 3);
    printed(&rig.longshore(&["logout"]));
    assert_eq!(printed(&rig.longshore(&["tokens"])), "no token is cached\n");
    get();
    assert_eq!(rig.mints(), 5);
    assert!(sso.exists());
    // twice is fine, and so is a store that was never made
    fs::remove_dir_all(rig.cache().join("tokens")).unwrap();
    printed(&rig.longshore(&["logout"]));
    printed(&rig.longshore(&["logout", REGISTRY]));
}

#[tokio::test]
async fn a_profile_that_is_named_beats_the_rules() {
    let rig = two_identities().await;
    let json = printed(&rig.longshore(&["token", REGISTRY, "--profile", "other", "--format", "json"]));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["identity"], "profile other");
    assert_eq!(rig.ecr.calls()[0].access_key.as_deref(), Some("AKIDOTHER"));
}

#[tokio::test]
async fn a_store_in_memory_keeps_nothing_and_says_so() {
    let rig = Rig::with("token_store = \"memory\"").await;
    printed(&rig.longshore(&["token", REGISTRY]));
    let said = printed(&rig.longshore(&["login", REGISTRY]));
    assert!(said.contains("it is not kept"), "{said}");
    assert!(printed(&rig.longshore(&["tokens"])).contains("token_store = \"memory\""));
    printed(&rig.longshore(&["logout"]));
    assert_eq!(rig.mints(), 2);
}

#[tokio::test]
async fn a_broken_configuration_is_a_cause_and_a_remedy() {
    let rig = Rig::start().await;
    let file = rig.dir.path().join("broken.toml");
    fs::write(&file, "no_such_key = 1\n").unwrap();
    for command in ["token", "login", "logout"] {
        let mut longshore = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
        let said = refused(&run(longshore.env("LONGSHORE_CONFIG", &file).args([command, REGISTRY]), ""));
        assert!(said[0].contains("no_such_key") && said.last().unwrap().contains("longshore config check"), "{said:?}");
    }
}
