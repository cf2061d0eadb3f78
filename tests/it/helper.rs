//! The credential helper as docker calls it: the program, its two streams and its exit code.

use std::{fs, time::Duration};

use crate::{
    fake_ecr::{Listener, Rule},
    rig::{HELPER, REGISTRY, Rig, answer, program, run, text},
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
        let mut command = program("/bin/sh", &rig.ecr, rig.dir.path());
        run(command.args(["-c", "ulimit -n 4 && exec \"$0\" get", HELPER]), REGISTRY)
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
        let got = answer(&rig.helper("get", host));
        assert_eq!(got, (Some(1), NOT_FOUND.to_owned(), String::new()), "{host}");
        assert_eq!(answer(&rig.helper("erase", host)), (Some(0), String::new(), String::new()), "{host}");
    }
    assert_eq!(answer(&rig.helper("list", "unused")), (Some(0), "{}\n".to_owned(), String::new()));
    assert!(rig.ecr.requests().is_empty());
    assert!(!rig.cache().join("tokens").exists());
}

#[tokio::test]
async fn input_that_is_no_host_is_not_found_whatever_the_configuration_says() {
    let rig = Rig::start().await;
    rig.configure("grace = \"1s\"\nnot toml");
    let mistake = format!("longshore: {}/config.toml: line 2: ", rig.dir.path().display());
    for input in ["index.docker.io", "\u{0}\u{1b}[2J"] {
        let (code, out, said) = answer(&rig.helper("get", input));
        assert_eq!((code, out.as_str()), (Some(1), NOT_FOUND));
        assert!(said.starts_with(&mistake) && said.lines().count() == 1, "{said}");
        let (code, out, said) = answer(&rig.helper("erase", input));
        assert_eq!((code, out.as_str()), (Some(0), ""));
        assert!(said.starts_with(&mistake) && said.lines().count() == 1, "{said}");
    }
    let garbage = answer(&rig.helper("get", &"x".repeat(1_000_000)));
    assert_eq!(garbage, (Some(1), NOT_FOUND.to_owned(), String::new()));
    let foreign = rig.helper("store", r#"{"ServerURL":"ghcr.io","Username":"me","Secret":"x"}"#);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(text(&foreign.stdout).contains("config.toml: line 2: "), "{foreign:?}");
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
    let hint = "longshore: ECR Public: no AWS credentials were found; public.ecr.aws is used anonymously\n";
    assert_eq!(text(&output.stderr), hint);
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

#[tokio::test]
async fn an_alias_answers_as_the_registry_it_stands_for() {
    let rig = Rig::start().await;
    rig.configure(&format!("[[registry]]\nmatch = \"registry.corp.example\"\nalias = \"{REGISTRY}\"\n"));
    let secret = |server: &str| {
        let output = rig.helper("get", server);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["ServerURL"].as_str(), Some(server));
        answer["Secret"].as_str().unwrap().to_owned()
    };
    let own = secret(REGISTRY);
    assert_eq!(secret("registry.corp.example"), own);
    assert_eq!(secret("https://Registry.Corp.Example:443/v2/"), own);
    assert_eq!(secret("vpce-0a1b2c3d4e5f67890-abcdefgh.dkr.ecr.us-east-1.vpce.amazonaws.com"), own);
    assert_eq!(rig.mints(), 1);
    let request = r#"{"ServerURL":"registry.corp.example","Username":"AWS","Secret":"x"}"#;
    let done = (Some(0), String::new(), String::new());
    assert_eq!(answer(&rig.helper("store", request)), done);
    assert_eq!(answer(&rig.helper("erase", "registry.corp.example")), done);
    secret(REGISTRY);
    assert_eq!(rig.mints(), 2);
}

#[tokio::test]
async fn the_daemon_itself_answers_as_its_default_registry() {
    let rig = Rig::start().await;
    rig.configure(&format!("default_registry = \"{REGISTRY}\"\n"));
    for server in ["localhost:5577", "http://127.0.0.1:5577/v2/"] {
        let output = rig.helper("get", server);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((answer["ServerURL"].as_str(), answer["Username"].as_str()), (Some(server), Some("AWS")));
    }
    for config in ["", "default_registry = \"ghcr.io\"\n", "[fallback]\nhelper = \"absent\"\n"] {
        rig.configure(config);
        let got = answer(&rig.helper("get", "localhost:5577"));
        assert_eq!(got, (Some(1), NOT_FOUND.to_owned(), String::new()), "{config}");
    }
    let (code, out, _) = answer(&rig.helper("store", r#"{"ServerURL":"localhost:5577","Username":"u","Secret":"s"}"#));
    assert_eq!(code, Some(1));
    assert!(out.starts_with("nothing was saved for localhost: ") && out.contains("without credentials"), "{out}");
}

#[tokio::test]
async fn a_registry_that_is_used_anonymously_is_not_found() {
    let rig = Rig::start().await;
    rig.configure(&format!("[[registry]]\nmatch = \"{REGISTRY}\"\nanonymous = true\n"));
    assert_eq!(answer(&rig.helper("get", REGISTRY)), (Some(1), NOT_FOUND.to_owned(), String::new()));
    assert_eq!(rig.mints(), 0);
}

#[tokio::test]
async fn the_helper_logs_for_who_asks_and_holds_back_secrets() {
    let rig = Rig::start().await;
    let output = rig.helper("get", REGISTRY);
    assert_eq!(text(&output.stderr), "");
    rig.helper("erase", REGISTRY);
    let output = rig.helper_with("get", REGISTRY, &[("LONGSHORE_LOG", "trace")]);
    let (log, answer) = (text(&output.stderr), text(&output.stdout));
    assert!(log.contains("authorization token minted"), "{log}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    for secret in [answer["Secret"].as_str().unwrap(), "an-example-secret-key"] {
        assert!(!log.contains(secret), "{log}");
    }
}
