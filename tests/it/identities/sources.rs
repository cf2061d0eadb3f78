//! Every source of credentials, as a user sets it up, and what its first `get` costs.
//!
//! Each gives other keys each time it is asked, as the real ones do.

use serde_json::json;

use crate::{
    fake_ecr::{Knob, cache_login, cache_sso_token},
    shell::Shell,
};

/// A source and what its first `get` costs: calls of AWS, and runs of scripts.
pub struct Source {
    pub name: &'static str,
    pub setup: fn(&mut Shell),
    pub calls: &'static [&'static str],
    pub runs: usize,
}

const TOKEN: &str = "GetAuthorizationToken";
const ROLE: &str = "AssumeRole";
const WEB: &str = "AssumeRoleWithWebIdentity";

const fn source(name: &'static str, setup: fn(&mut Shell), calls: &'static [&'static str], runs: usize) -> Source {
    Source { name, setup, calls, runs }
}

pub const ALL: &[Source] = &[
    source("keys", keys, &[TOKEN], 0),
    source("role of a rule", role_of_a_rule, &[ROLE, TOKEN], 0),
    source("role of a profile", role_of_a_profile, &[ROLE, TOKEN], 0),
    source("chain of roles", chain_of_roles, &[ROLE, ROLE, ROLE, TOKEN], 0),
    source("role with the keys of the environment", role_of_the_environment, &[ROLE, TOKEN], 0),
    source("SSO session", sso, &["GetRoleCredentials", TOKEN], 0),
    source("SSO of a profile", sso_of_a_profile, &["GetRoleCredentials", TOKEN], 0),
    source("SSO session to refresh", sso_to_refresh, &["CreateToken", "GetRoleCredentials", TOKEN], 0),
    source("role by SSO", role_by_sso, &["GetRoleCredentials", ROLE, TOKEN], 0),
    source("aws login", login, &["CreateOAuth2Token", TOKEN], 0),
    source("code for a role", code_for_a_role, &[ROLE, TOKEN], 1),
    source("code for oneself", code_for_oneself, &["GetSessionToken", TOKEN], 1),
    source("code for a profile", code_for_a_profile, &[ROLE, TOKEN], 1),
    source("process", process, &[TOKEN], 1),
    source("role by a process", role_by_a_process, &[ROLE, TOKEN], 1),
    source("web identity", web_identity, &[WEB, TOKEN], 0),
    source("web identity of a profile", web_identity_of_a_profile, &[WEB, TOKEN], 0),
    source("ECS", ecs, &[TOKEN], 0),
    source("EKS Pod Identity", eks, &[TOKEN], 0),
    source("instance", instance, &[TOKEN], 0),
    source("role by the instance", role_by_the_instance, &[ROLE, TOKEN], 0),
];

const SERIAL: &str = "arn:aws:iam::123456789012:mfa/me";
const BASE: &str = "[profile base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = secret\n";
const SSO: &str = "sso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n\
                   [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.example\n";

fn role(name: &str, role: &str, source: &str) -> String {
    format!("[{name}]\nrole_arn = arn:aws:iam::123456789012:role/{role}\n{source}\n")
}

fn signed_in(shell: &Shell, name: &str) {
    let token = json!({"accessToken": "signed-in", "expiresAt": "2099-01-01T00:00:00Z"});
    cache_sso_token(&shell.dir.path().join("home"), name, &token);
    shell.ecr.set(Knob::SsoToken("signed-in".to_owned()));
}

fn rule(shell: &Shell, more: &str) {
    shell.rules(&format!("[[registry]]\nmatch = \"123456789012\"\n{more}"));
}

fn printing_keys(shell: &Shell) -> String {
    // another key with each run
    let keys = r#"{"Version": 1, "AccessKeyId": "AKID'$$'", "SecretAccessKey": "secret", "SessionToken": "token"}"#;
    shell.script("process", &format!("echo '{keys}'"))
}

fn keys(shell: &mut Shell) {
    shell.keys("AKIDEXAMPLE");
}

pub fn role_of_a_rule(shell: &mut Shell) {
    keys(shell);
    rule(shell, "role_arn = \"arn:aws:iam::{account}:role/pull\"\n");
}

fn role_of_a_profile(shell: &mut Shell) {
    shell.profiles(&format!("{}{BASE}", role("default", "pull", "source_profile = base")));
}

fn chain_of_roles(shell: &mut Shell) {
    let (top, mid) =
        (role("profile top", "top", "source_profile = mid"), role("profile mid", "mid", "source_profile = base"));
    shell.profiles(&format!("{top}{mid}{BASE}"));
    rule(shell, "profile = \"top\"\nrole_arn = \"arn:aws:iam::{account}:role/pull\"\n");
}

fn role_of_the_environment(shell: &mut Shell) {
    keys(shell);
    shell.profiles(&role("profile ci", "ci", "credential_source = Environment"));
    rule(shell, "profile = \"ci\"\n");
}

pub fn sso(shell: &mut Shell) {
    shell.profiles(&format!("[default]\n{SSO}"));
    signed_in(shell, "corp");
}

fn sso_of_a_profile(shell: &mut Shell) {
    shell.profiles(
        "[profile dev]\nsso_start_url = https://corp.example\nsso_region = us-east-1\nsso_account_id = 123456789012\n\
         sso_role_name = dev\n",
    );
    shell.set("AWS_PROFILE", "dev");
    signed_in(shell, "https://corp.example");
}

fn sso_to_refresh(shell: &mut Shell) {
    shell.profiles(&format!("[default]\n{SSO}"));
    let token = json!({
        "accessToken": "stale", "expiresAt": "2024-01-01T00:00:00Z", "refreshToken": "refresh", "clientId": "client",
        "clientSecret": "secret", "registrationExpiresAt": "2099-01-01T00:00:00Z", "region": "us-east-1",
        "startUrl": "https://corp.example",
    });
    cache_sso_token(&shell.dir.path().join("home"), "corp", &token);
}

fn role_by_sso(shell: &mut Shell) {
    shell.profiles(&format!("{}[profile base]\n{SSO}", role("default", "pull", "source_profile = base")));
    signed_in(shell, "corp");
}

fn login(shell: &mut Shell) {
    let user = "arn:aws:iam::123456789012:user/me";
    cache_login(&shell.dir.path().join("home"), user, "2024-01-01T00:00:00Z");
    shell.profiles(&format!("[default]\nlogin_session = {user}\nregion = us-east-1\n"));
}

pub fn code_from_a_person(shell: &mut Shell) {
    keys(shell);
    let arn = "arn:aws:iam::123456789012:role/guarded";
    shell.demand_code(arn, SERIAL, "123456");
    rule(shell, &format!("role_arn = \"{arn}\"\nmfa_serial = \"{SERIAL}\"\n"));
}

pub fn code_for_a_role(shell: &mut Shell) {
    code_from_a_person(shell);
    let command = shell.script("code", "echo 123456");
    let arn = "arn:aws:iam::123456789012:role/guarded";
    rule(shell, &format!("role_arn = \"{arn}\"\nmfa_serial = \"{SERIAL}\"\nmfa_command = \"{command}\"\n"));
}

pub fn code_for_oneself(shell: &mut Shell) {
    code_from_a_person(shell);
    let command = shell.script("code", "echo 123456");
    rule(shell, &format!("mfa_serial = \"{SERIAL}\"\nmfa_command = \"{command}\"\n"));
}

pub fn code_for_a_profile(shell: &mut Shell) {
    shell.demand_code("arn:aws:iam::123456789012:role/guarded", SERIAL, "123456");
    let command = shell.script("code", "echo 123456");
    let source = format!("source_profile = base\nmfa_serial = {SERIAL}\nmfa_process = {command}");
    shell.profiles(&format!("{}{BASE}", role("default", "guarded", &source)));
}

pub fn process(shell: &mut Shell) {
    let command = printing_keys(shell);
    shell.profiles(&format!("[default]\ncredential_process = {command}\n"));
}

fn role_by_a_process(shell: &mut Shell) {
    let command = printing_keys(shell);
    let base = format!("[profile base]\ncredential_process = {command}\n");
    shell.profiles(&format!("{}{base}", role("default", "pull", "source_profile = base")));
}

pub fn web_identity(shell: &mut Shell) {
    shell.write("token", "a.web.identity");
    let file = shell.path("token");
    shell.set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/web").set("AWS_WEB_IDENTITY_TOKEN_FILE", &file);
}

fn web_identity_of_a_profile(shell: &mut Shell) {
    shell.write("token", "a.web.identity");
    let file = format!("web_identity_token_file = {}", shell.path("token"));
    shell.profiles(&role("default", "web", &file));
}

pub fn ecs(shell: &mut Shell) {
    let url = format!("{}/ecs/credentials", shell.ecr.metadata_url());
    shell.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
}

fn eks(shell: &mut Shell) {
    let url = format!("{}/v1/credentials", shell.ecr.metadata_url());
    shell.write("pod", "pod-token");
    let file = shell.path("pod");
    shell.ecr.set(Knob::ContainerAuthorization(Some("pod-token".to_owned())));
    shell.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url).set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file);
}

fn instance(shell: &mut Shell) {
    shell.metadata();
}

fn role_by_the_instance(shell: &mut Shell) {
    shell.metadata().profiles(&role("default", "pull", "credential_source = Ec2InstanceMetadata"));
}
