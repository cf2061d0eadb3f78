//! The kubelet's credential provider as the kubelet calls it: a request on standard input, a response held strictly
//! against the golden files beside this one.
//!
//! What differs from run to run is put into a golden response before the two are compared byte by byte: the kubelet's
//! decoder takes no field too many and no type but the right one.

use std::{fs, path::Path, process::Output, time::Duration};

use serde_json::{Value, json};

use crate::{
    fake_ecr::{Knob, Listener, Rule},
    rig::{HELPER, REGISTRY, Rig, program, run, text},
};

const ROLE: &str = "arn:aws:iam::123456789012:role/team-a";
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.the-pods-own.token";
const NO_KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];

/// Calls the provider as a kubelet does that knows no keys but what the test says.
fn call(rig: &Rig, request: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
    command.env("AWS_ENDPOINT_URL_STS", rig.ecr.api_url()).envs(environment.iter().copied());
    // as the kubelet's configuration may have it, from the time of Amazon's own provider
    run(command.args(["kubelet-credential-provider", "get-credentials", "-v=2"]), request)
}

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/kubelet");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Sends a golden request; the whole answer must be the golden response. Returns password and duration.
#[track_caller]
fn check(rig: &Rig, name: &str, environment: &[(&str, &str)]) -> (String, Duration) {
    let output = call(rig, &golden(&format!("{name}.request.json")), environment);
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let duration = answer["cacheDuration"].as_str().unwrap();
    let login = answer["auth"].as_object().unwrap().values().next();
    let password = login.map_or("", |login| login["password"].as_str().unwrap());
    let want: Value = serde_json::from_str(&golden(&format!("{name}.response.json"))).unwrap();
    let want = want.to_string().replace("<duration>", duration).replace("<password>", password);
    assert_eq!(text(&output.stdout), format!("{want}\n"));
    (password.to_owned(), go_duration(duration))
}

/// Reads what Go's `ParseDuration` would.
fn go_duration(text: &str) -> Duration {
    let mut seconds = 0;
    let mut rest = text;
    for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            seconds += number.parse::<u64>().unwrap() * factor;
            rest = after;
        }
    }
    assert!(rest.is_empty() && text.ends_with('s'), "{text:?}");
    Duration::from_secs(seconds)
}

fn request(image: &str) -> String {
    json!({ "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": image })
        .to_string()
}

/// What a failure says: nothing to the kubelet, one line to its log.
#[track_caller]
fn failed(output: &Output) -> String {
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{output:?}");
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("longshore: ") && !said.contains("the-pods-own"), "{said}");
    said
}

#[tokio::test]
async fn a_node_answers_with_its_own_token_and_the_second_answer_asks_nobody() {
    let rig = Rig::start().await;
    let (password, duration) = check(&rig, "node", &[]);
    assert!(password.len() > 1000);
    let (least, most) = (Duration::from_mins(359), Duration::from_hours(6));
    assert!(duration >= least && duration <= most, "{duration:?}");
    assert_eq!(rig.ecr.calls().len(), 1);
    rig.ecr.stop_listening();
    for again in ["node", "beta", "port"] {
        assert_eq!(check(&rig, again, &[]).0, password);
    }
    // docker on this node has the same token
    let docker = rig.helper_with("get", REGISTRY, &[("AWS_ENDPOINT_URL_STS", &rig.ecr.api_url())]);
    let answer: Value = serde_json::from_slice(&docker.stdout).unwrap();
    assert_eq!(answer["Secret"], password);
}

#[tokio::test]
async fn a_service_account_pulls_with_its_own_role_and_leaves_nothing_on_the_node() {
    let rig = Rig::start().await;
    let (nodes, _) = check(&rig, "node", &[]);
    rig.ecr.clear_requests();
    let kept = || fs::read_dir(rig.cache().join("tokens")).unwrap().count();
    let before = kept();
    let (password, duration) = check(&rig, "service-account", &[]);
    assert_ne!(password, nodes);
    // no longer than the role's session
    assert!(duration > Duration::from_mins(58) && duration <= Duration::from_hours(1), "{duration:?}");
    let calls = rig.ecr.calls();
    assert_eq!(
        calls.iter().map(|call| &*call.action).collect::<Vec<_>>(),
        ["AssumeRoleWithWebIdentity", "GetAuthorizationToken"]
    );
    let mut parameters = calls[0].parameters.clone();
    parameters.retain(|name, _| !matches!(name.as_str(), "Action" | "Version"));
    let want = [("RoleArn", ROLE), ("RoleSessionName", "longshore-kubelet"), ("WebIdentityToken", TOKEN)];
    assert_eq!(parameters.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>(), want);
    assert_eq!(calls[0].access_key, None);
    assert_eq!(calls[1].principal.as_deref(), Some("arn:aws:sts::123456789012:assumed-role/team-a/longshore-kubelet"));
    assert_eq!(kept(), before);
    // the next pod's is minted anew, the node's is still the node's
    assert_ne!(check(&rig, "service-account", &[]).0, password);
    assert_eq!(check(&rig, "node", &[]).0, nodes);
}

#[tokio::test]
async fn the_role_is_the_annotations_then_the_environments_then_the_rules() {
    let rule = "[[registry]]\nmatch = \"123456789012\"\nrole_arn = \"arn:aws:iam::{account}:role/rule\"\nsession_name = \"ours\"\n";
    let rig = Rig::with(rule).await;
    let variable = ("AWS_ECR_ROLE_ARN", "arn:aws:iam::123456789012:role/variable");
    let annotated = golden("service-account.request.json");
    let bare = annotated.replace("eks.amazonaws.com/ecr-role-arn", "example.com/other");
    let rows = [
        (&annotated, variable, ROLE, "longshore-kubelet"),
        (&bare, variable, variable.1, "longshore-kubelet"),
        (&bare, ("AWS_ECR_ROLE_ARN", ""), "arn:aws:iam::123456789012:role/rule", "ours"),
    ];
    for (request, variable, role, session) in rows {
        rig.ecr.clear_requests();
        let output = call(&rig, request, &[variable]);
        assert!(output.status.success(), "{output:?}");
        let calls = rig.ecr.calls();
        assert_eq!((calls[0].parameter("RoleArn"), calls[0].parameter("RoleSessionName")), (role, session));
    }
}

#[tokio::test]
async fn a_service_account_without_a_role_does_not_pull_with_the_nodes_rights() {
    let rig = Rig::start().await;
    check(&rig, "node", &[]);
    rig.ecr.clear_requests();
    let bare = golden("service-account.request.json").replace("eks.amazonaws.com/ecr-role-arn", "example.com/other");
    let said = failed(&call(&rig, &bare, &[]));
    assert!(
        said.contains("ECR in us-east-1: the pod's service account names no role to pull with; annotate"),
        "{said}"
    );
    // ECR Public does without
    let output = call(&rig, &bare.replace(REGISTRY, "public.ecr.aws"), &[]);
    assert_eq!(
        text(&output.stdout).trim(),
        serde_json::from_str::<Value>(&golden("public.response.json")).unwrap().to_string()
    );
    assert!(rig.ecr.calls().is_empty());
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_service_account_is_named() {
    let rig = Rig::start().await;
    rig.ecr.set(Knob::Refuse("AssumeRoleWithWebIdentity".to_owned(), "AccessDenied".to_owned()));
    let said = failed(&call(&rig, &golden("service-account.request.json"), &[]));
    let want = format!("ECR in us-east-1, role {ROLE}: AssumeRoleWithWebIdentity: AccessDenied: ");
    assert!(said.contains(&want) && said.contains("trust policy"), "{said}");
}

#[tokio::test]
async fn a_foreign_image_is_pulled_without_credentials() {
    let rig = Rig::start().await;
    check(&rig, "foreign", &[]);
    for image in ["nginx", "nginx:latest", "docker.io/library/nginx", "ghcr.io/a/b:c", "[::1]:5000/a", "host@sha256:00"]
    {
        let output = call(&rig, &request(image), &[]);
        assert!(output.status.success() && text(&output.stdout).contains("\"auth\":{}"), "{image}: {output:?}");
    }
    assert!(rig.ecr.requests().is_empty());
}

#[tokio::test]
async fn a_node_without_credentials_pulls_from_ecr_public_only() {
    let rig = Rig::start().await;
    check(&rig, "public", &NO_KEYS);
    let said = failed(&call(&rig, &golden("node.request.json"), &NO_KEYS));
    assert!(said.contains("no AWS credentials were found; configure AWS credentials"), "{said}");
    let (_, duration) = check_public_with_keys(&rig);
    assert!(duration > Duration::from_hours(5), "{duration:?}");
}

fn check_public_with_keys(rig: &Rig) -> (String, Duration) {
    let output = call(rig, &golden("public.request.json"), &[]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let login = &answer["auth"]["public.ecr.aws"];
    (login["password"].as_str().unwrap().to_owned(), go_duration(answer["cacheDuration"].as_str().unwrap()))
}

#[tokio::test]
async fn an_alias_is_answered_under_its_own_name() {
    let rig = Rig::with(&format!("[[registry]]\nmatch = \"images.corp.example:8443\"\nalias = \"{REGISTRY}\"\n")).await;
    let output = call(&rig, &request("images.corp.example:8443/app:v1"), &[]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hosts: Vec<_> = answer["auth"].as_object().unwrap().keys().collect();
    assert_eq!(hosts, ["images.corp.example:8443"]);
    let output = call(&rig, &request("images.corp.example/app:v1"), &[]);
    assert!(text(&output.stdout).contains("\"auth\":{}"), "{output:?}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_words() {
    let rig = Rig::start().await;
    let good = golden("service-account.request.json");
    let garbage = "\u{7f}x".repeat(500_000);
    let rows: [(&str, &str); 10] = [
        ("", "there is no request on standard input"),
        ("\n", "there is no request on standard input"),
        (&good[..good.len() - 4], "the request is not JSON: line 8, column"),
        (&format!("{good}{good}"), "the request is not JSON: line 10, column 1"),
        ("[]", "the request is not CredentialProviderRequest: line 1"),
        (
            &good.replace(&format!("\"{TOKEN}\""), "[\"the-pods-own\"]"),
            "the request is not CredentialProviderRequest: line 5",
        ),
        (
            &good.replace("CredentialProviderRequest", "Pod"),
            "the request's kind is \"Pod\", not CredentialProviderRequest",
        ),
        (
            &good.replace("k8s.io/v1", "k8s.io/v2"),
            "the request's apiVersion \"credentialprovider.kubelet.k8s.io/v2\" is not known here; write apiVersion: credentialprovider.kubelet.k8s.io/v1 for",
        ),
        (&garbage, "the request is not JSON: line 1, column 1"),
        (&format!("{good}{}", " ".repeat(1 << 20)), "the request is longer than 1 MiB"),
    ];
    for (input, want) in rows {
        let said = failed(&call(&rig, input, &[]));
        assert!(said.contains(want) && said.len() < 400, "{want}: {said}");
    }
    assert!(failed(&call(&rig, &request(" "), &[])).contains("names no image"));
    assert!(rig.ecr.requests().is_empty());
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_named() {
    let rig = Rig::start().await;
    fs::write(rig.dir.path().join("config.toml"), "[cache]\nsiez = 1\n").unwrap();
    let said = failed(&call(&rig, &golden("node.request.json"), &[]));
    assert!(said.contains("line 2: cache.siez: unknown field `siez`") && said.contains("config check"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_never_answers_is_given_up_within_the_deadline() {
    let rig = Rig::start().await;
    rig.ecr.fault(Rule::on(Listener::Api).hold());
    for name in ["node", "service-account"] {
        let started = std::time::Instant::now();
        let said = failed(&call(&rig, &golden(&format!("{name}.request.json")), &[]));
        assert!(said.contains("gave no answer in 7 s"), "{said}");
        assert!(started.elapsed() < Duration::from_secs(8), "{name}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn the_small_program_answers_the_kubelet_under_its_name_and_by_the_request() {
    let rig = Rig::start().await;
    let request = request(&format!("{REGISTRY}/app:1"));
    let by_name = rig.call(&rig.link("ecr-credential-provider"), &["get-credentials"], &request, &[]);
    let by_request = rig.call(Path::new(HELPER), &[], &request, &[]);
    for output in [by_name, by_request] {
        assert!(output.status.success(), "{output:?}");
        let response: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(response["kind"], "CredentialProviderResponse");
        assert_eq!(response["auth"][REGISTRY]["username"], "AWS");
    }
    assert_eq!(rig.mints(), 1);
}
