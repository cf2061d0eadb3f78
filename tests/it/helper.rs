//! The credential helper as docker calls it: the program, its two streams and its exit code.

use std::{fs, time::Duration};

use crate::{
    fake_ecr::{Listener, Rule},
    rig::{REGISTRY, Rig, program, run, text},
};

const NOT_FOUND: &str = "credentials not found in native keychain\n";

#[tokio::test]
async fn get_answers_with_what_docker_expects() {
    let rig = Rig::start().await;
    for server in [REGISTRY.to_owned(), format!("https://{REGISTRY}\n"), format!("{}:443/v2/", REGISTRY.to_uppercase())]
    {
        let output = rig.helper("get", &server);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{output:?}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["ServerURL", "Username", "Secret"]);
        assert_eq!((answer["ServerURL"].as_str(), answer["Username"].as_str()), (Some(server.trim()), Some("AWS")));
        assert!(answer["Secret"].as_str().unwrap().len() > 1000);
        assert_eq!(text(&output.stdout).matches('\n').count(), 1);
    }
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn a_warm_get_asks_nobody() {
    let rig = Rig::start().await;
    rig.helper("get", REGISTRY);
    rig.ecr.stop_listening();
    let output = rig.helper("get", REGISTRY);
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_warm_get_sets_up_no_runtime() {
    let rig = Rig::start().await;
    // three streams and one file at a time: too few for the event queue of a runtime, let alone a socket
    let few = |rig: &Rig| {
        let helper = env!("CARGO_BIN_EXE_docker-credential-longshore");
        let mut command = program("/bin/sh", &rig.ecr, rig.dir.path());
        run(command.args(["-c", "ulimit -n 4 && exec \"$0\" get", helper]), REGISTRY)
    };
    let cold = few(&rig);
    assert_eq!(cold.status.code(), Some(1), "a cold get cannot do with so few: the limit proves something");
    rig.helper("get", REGISTRY);
    let warm = few(&rig);
    assert!(warm.status.success(), "{warm:?}");
}

#[tokio::test]
async fn a_foreign_host_is_not_found_silently_and_leaves_no_trace() {
    let rig = Rig::start().await;
    for host in [
        "index.docker.io",
        "https://index.docker.io/v1/",
        "localhost:5577",
        "ghcr.io",
        &format!("{REGISTRY}.evil.example"),
    ] {
        let output = rig.helper("get", host);
        let got = (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(got, (Some(1), NOT_FOUND.to_owned(), String::new()), "{host}");
    }
    assert!(rig.ecr.requests().is_empty());
    assert!(!rig.cache().join("tokens").exists());
}

#[tokio::test]
async fn input_that_is_no_host_is_not_found_whatever_the_configuration_says() {
    let rig = Rig::start().await;
    fs::write(rig.dir.path().join("config.toml"), "not toml").unwrap();
    for input in ["index.docker.io", "\u{0}\u{1b}[2J", &"x".repeat(1_000_000)] {
        let output = rig.helper("get", input);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), NOT_FOUND));
    }
    let secret = "s".repeat(200_000);
    let request = format!("{{\"ServerURL\":\"{REGISTRY}\",\"Username\":\"AWS\",\"Secret\":\"{secret}\"}}");
    assert_eq!(rig.helper("store", &request).status.code(), Some(0));
}

#[tokio::test]
async fn a_failure_is_one_line_of_cause_and_the_remedy() {
    let rig = Rig::start().await;
    let words = "User: arn:aws:iam::1:user/u is not authorized to perform: ecr:GetAuthorizationToken on resource: *";
    let rule = Rule::on(Listener::Api).api_error("AccessDeniedException", words);
    rig.ecr.fault(rule);
    let output = rig.helper("get", REGISTRY);
    assert_eq!(output.status.code(), Some(1));
    let cause = format!("ECR in us-east-1: GetAuthorizationToken: AccessDeniedException: {words}");
    assert_eq!(text(&output.stdout), format!("{cause}\n"));
    let said = text(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!(lines[0], format!("longshore: {cause}"));
    assert!(lines[1].contains("ecr:GetAuthorizationToken"), "{said}");
}

#[tokio::test]
async fn no_credentials_at_all_is_said_in_those_words() {
    let rig = Rig::start().await;
    let nothing = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let output = rig.helper_with("get", REGISTRY, &nothing);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "ECR in us-east-1: no AWS credentials were found\n");
    assert!(text(&output.stderr).contains("aws configure"), "{output:?}");
    // anonymous pulls work at ECR Public, so docker must go on
    let output = rig.helper_with("get", "public.ecr.aws", &nothing);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), NOT_FOUND));
    assert!(text(&output.stderr).contains("used anonymously"), "{output:?}");
}

#[tokio::test]
async fn ecr_public_has_its_own_token() {
    let rig = Rig::start().await;
    let output = rig.helper("get", "public.ecr.aws");
    assert!(output.status.success(), "{output:?}");
    let calls = rig.ecr.requests_to(Listener::Api);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].header("x-amz-target"), Some("SpencerFrontendService.GetAuthorizationToken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_never_answers_is_given_up_within_the_deadline() {
    let rig = Rig::start().await;
    rig.ecr.fault(Rule::on(Listener::Api).hold());
    let started = std::time::Instant::now();
    let output = rig.helper("get", REGISTRY);
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(1));
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(text(&output.stdout).contains("gave no answer in 7 s"), "{output:?}");
}

#[tokio::test]
async fn login_and_logout_do_not_fail_and_logout_drops_the_token() {
    let rig = Rig::start().await;
    let request = format!("{{\"ServerURL\":\"{REGISTRY}\",\"Username\":\"AWS\",\"Secret\":\"x\"}}");
    assert_eq!(rig.helper("store", &request).status.code(), Some(0));
    rig.helper("get", REGISTRY);
    for _ in 0..2 {
        assert_eq!(rig.helper("erase", REGISTRY).status.code(), Some(0));
    }
    rig.helper("get", REGISTRY);
    assert_eq!(rig.mints(), 2);
    assert_eq!(rig.helper("erase", "index.docker.io").status.code(), Some(0));
}

#[tokio::test]
async fn a_home_that_cannot_be_written_costs_only_the_cache() {
    let rig = Rig::start().await;
    // a file where the folder should be: refused to root, too
    fs::write(rig.dir.path().join("not-a-folder"), "").unwrap();
    let home = rig.dir.path().join("not-a-folder");
    for _ in 0..2 {
        let output = rig.helper_with("get", REGISTRY, &[("HOME", home.to_str().unwrap())]);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(rig.mints(), 2);
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_named() {
    let rig = Rig::start().await;
    let path = rig.dir.path().join("config.toml");
    fs::write(&path, "[cache]\nsiez = 1\n").unwrap();
    let output = rig.helper("get", REGISTRY);
    assert_eq!(output.status.code(), Some(1));
    let want = format!("{}: line 2: cache.siez: unknown field `siez`", path.display());
    assert!(text(&output.stdout).starts_with(&want), "{output:?}");
}
