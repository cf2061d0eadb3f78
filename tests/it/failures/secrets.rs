//! Endpoints that are no URLs, where the AWS SDK would show its whole request: no secret is in any word.
//!
//! Issue: such a request holds web identity tokens, sign-ins, refresh tokens and one-time codes.

use std::{fs, process::Output};

use serde_json::json;

use crate::{
    fake_ecr::cache_sso_token,
    rig::{REGISTRY, run, text},
    shell::Shell,
};

/// Part of every secret that is planted.
const SECRET: &str = "s3cr3t";
const BAD: [&str; 6] = ["", "localhost:4566", "http://a b", "http://a/b c", "http://", "http://me:s3cr3t@a b"];
const SERVICES: [&str; 4] = ["ecr", "sts", "sso", "sso_oidc"];
const WEB: &str = "role_arn = arn:aws:iam::123456789012:role/pod\nweb_identity_token_file = ";
const SSO: &str = "sso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n";
const CORP: &str = "[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.example\n";

async fn shell() -> Shell {
    let mut shell = Shell::start().await;
    shell.write("token", "a.s3cr3t.web-identity");
    let token = json!({
        "accessToken": "s3cr3t-sign-in", "expiresAt": "2024-01-01T00:00:00Z", "refreshToken": "s3cr3t-refresh",
        "clientId": "client", "clientSecret": "s3cr3t-client", "registrationExpiresAt": "2099-01-01T00:00:00Z",
        "region": "us-east-1", "startUrl": "https://corp.example",
    });
    cache_sso_token(&shell.dir.path().join("home"), "corp", &token);
    shell.unset("AWS_ENDPOINT_URL").set("LONGSHORE_LOG", "trace").set("RES_OPTIONS", "timeout:1 attempts:1");
    shell
}

#[track_caller]
fn check(output: &Output, place: &str) {
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{place}: {said}");
    assert!(!said.contains(SECRET) && !said.contains("Request {") && !said.contains("panicked"), "{place}: {said}");
    assert!(
        said.contains("which is not a URL") || said.contains(" is empty") || said.contains(" is set to nothing"),
        "{said}"
    );
    assert!(said.contains(place), "{place}: {said}");
}

/// Asks in every way in which a secret is sent.
fn ask(shell: &mut Shell, config: &str, place: &str) {
    let file = shell.path("token");
    for way in [format!("{WEB}{file}\n"), SSO.to_owned()] {
        shell.profiles(&format!("[default]\n{way}{config}{CORP}"));
        check(&shell.get(REGISTRY), place);
    }
    let mut login = shell.command_of(env!("CARGO_BIN_EXE_longshore"));
    check(&run(login.args(["login", "--no-browser"]), ""), place);
    let mut doctor = shell.command_of(env!("CARGO_BIN_EXE_longshore"));
    let doctor = run(doctor.args(["doctor", REGISTRY]), "");
    let said = format!("{}{}", text(&doctor.stdout), text(&doctor.stderr));
    assert!(!said.contains(SECRET) && said.contains(place), "{place}: {said}");
}

#[tokio::test]
async fn endpoints_of_the_environment_that_are_no_urls_cost_no_secret() {
    let mut shell = shell().await;
    for service in SERVICES {
        let variable = format!("AWS_ENDPOINT_URL_{}", service.to_ascii_uppercase());
        for url in [BAD[0], BAD[2], BAD[5]] {
            shell.set(&variable, url);
            ask(&mut shell, "", &variable);
        }
        shell.unset(&variable);
    }
}

#[tokio::test]
async fn endpoints_of_the_aws_configuration_that_are_no_urls_cost_no_secret() {
    let mut shell = shell().await;
    for url in BAD {
        ask(&mut shell, &format!("endpoint_url = {url}\n"), "endpoint_url of profile \"default\"");
    }
    for service in SERVICES {
        let config = format!("services = local\n[services local]\n{service} =\n  endpoint_url = http://a b\n");
        ask(&mut shell, &config, &format!("endpoint_url of {service} in [services local]"));
    }
}

/// Issue: the SDK warned with the whole error, which may hold the request.
#[tokio::test]
async fn what_the_sdk_warns_of_is_not_logged() {
    let mut shell = shell().await;
    let corp = CORP.replace("us-east-1", "eu west");
    shell.profiles(&format!("[default]\n{SSO}{corp}"));
    let token = json!({"accessToken": "s3cr3t-sign-in", "expiresAt": "2099-01-01T00:00:00Z"});
    cache_sso_token(&shell.dir.path().join("home"), "corp", &token);
    shell.set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let output = shell.get(REGISTRY);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!said.contains(SECRET) && !said.contains(" aws_") && output.status.code() == Some(1), "{said}");
    // or the test would prove nothing
    let connected = shell.keys("AKIDEXAMPLE").get(REGISTRY);
    assert!(text(&connected.stderr).contains("TRACE"), "{connected:?}");
}

#[tokio::test]
async fn a_pods_token_is_not_told_when_the_endpoint_is_no_url() {
    let mut shell = shell().await;
    shell.set("AWS_ENDPOINT_URL_STS", "http://a b");
    let request = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest",
        "image": format!("{REGISTRY}/app:1"), "serviceAccountToken": "a.s3cr3t.pod",
        "serviceAccountAnnotations": { "eks.amazonaws.com/ecr-role-arn": "arn:aws:iam::123456789012:role/pod" },
    });
    let mut provider = shell.command_of(env!("CARGO_BIN_EXE_longshore"));
    check(&run(provider.arg("kubelet-credential-provider"), &request.to_string()), "AWS_ENDPOINT_URL_STS");
}

#[tokio::test]
async fn a_one_time_code_is_not_told_when_the_endpoint_is_no_url() {
    let mut shell = shell().await;
    let command = shell.script("code", "echo 424242");
    shell.keys("AKIDEXAMPLE").set("AWS_ENDPOINT_URL_STS", "http://a b").rules(&format!(
        "[[registry]]\nmatch = \"123456789012\"\nmfa_serial = \"arn:aws:iam::123456789012:mfa/me\"\nmfa_command = {command:?}\n"
    ));
    let output = shell.get(REGISTRY);
    check(&output, "AWS_ENDPOINT_URL_STS");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!said.contains("424242") && !said.contains("an-example-secret-key"), "{said}");
    // nor is the code asked for where it could not be used
    assert!(fs::metadata(shell.path("runs")).is_err());
}
