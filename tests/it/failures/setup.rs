//! How each thing goes wrong: what is done to a shell so that the next `get` fails in one way only.
//!
//! Named as the users would name it. Keys, codes and tokens contain `secret`, which is never to be seen.

use serde_json::json;

use crate::{
    fake_ecr::{Knob, Listener, Rule, cache_login, cache_sso_token},
    shell::Shell,
};

const SSO: &str = "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n\
                   [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.example\n";
const LEGACY: &str = "[profile dev]\nsso_start_url = https://corp.example\nsso_region = us-east-1\n\
                      sso_account_id = 123456789012\nsso_role_name = dev\n";
const ROLE: &str = "arn:aws:iam::123456789012:role/pull";
const DEVICE: &str = "arn:aws:iam::123456789012:mfa/me";

pub fn keys(shell: &mut Shell) -> &mut Shell {
    shell.keys("AKIDEXAMPLE")
}

pub fn api(shell: &mut Shell, rule: impl FnOnce(Rule) -> Rule) {
    keys(shell).ecr.fault(rule(Rule::on(Listener::Api)));
}

fn signed_in(shell: &Shell, name: &str, hours: i64) {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(hours * 60 - 1);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let token = json!({"accessToken": "secret-sign-in", "expiresAt": end, "startUrl": "https://corp.example"});
    cache_sso_token(&shell.dir.path().join("home"), name, &token);
}

fn sso(shell: &mut Shell, hours: i64) {
    shell.profiles(SSO);
    signed_in(shell, "corp", hours);
    shell.ecr.set(Knob::SsoToken("secret-sign-in".to_owned()));
}

fn role(shell: &mut Shell, more: &str) {
    keys(shell).rules(&format!("[[registry]]\nmatch = \"123456789012\"\nrole_arn = \"{ROLE}\"\n{more}"));
}

fn device(shell: &mut Shell, command: &str) {
    role(shell, &format!("mfa_serial = \"{DEVICE}\"\n{command}"));
    shell.demand_code(ROLE, DEVICE, "123456");
}

fn process(shell: &mut Shell, script: &str) {
    let command = shell.script("credentials.sh", script);
    shell.profiles(&format!("[profile vault]\ncredential_process = {command}\n")).command();
    shell.set("AWS_PROFILE", "vault");
}

fn refused(shell: &mut Shell, action: &str, code: &str) {
    shell.ecr.set(Knob::Refuse(action.to_owned(), code.to_owned()));
}

pub fn nothing_configured(_: &mut Shell) {}

pub fn sso_session_expired(shell: &mut Shell) {
    sso(shell, -2);
}

pub fn sso_never_signed_in(shell: &mut Shell) {
    shell.profiles(SSO);
}

pub fn sso_of_a_profile_expired(shell: &mut Shell) {
    shell.profiles(LEGACY);
    signed_in(shell, "https://corp.example", -72);
    shell.set("AWS_PROFILE", "dev");
}

pub fn sso_role_not_allowed(shell: &mut Shell) {
    sso(shell, 2);
    refused(shell, "GetRoleCredentials", "ForbiddenException");
}

pub fn sso_session_ended_by_the_company(shell: &mut Shell) {
    sso(shell, 2);
    refused(shell, "GetRoleCredentials", "UnauthorizedException");
}

pub fn sso_session_not_configured(shell: &mut Shell) {
    shell.profiles("[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = dev\n");
}

pub fn sso_without_account(shell: &mut Shell) {
    shell.profiles(&SSO.replace("sso_account_id", "# sso_account_id").replace("sso_role_name", "# sso_role_name"));
}

pub fn sso_without_role(shell: &mut Shell) {
    shell.profiles(&SSO.replace("sso_role_name", "# sso_role_name"));
}

pub fn login_expired(shell: &mut Shell) {
    let user = "arn:aws:iam::123456789012:user/me";
    cache_login(&shell.dir.path().join("home"), user, "2024-01-01T00:00:00Z");
    shell.profiles(&format!("[profile me]\nlogin_session = {user}\n"));
    shell.set("AWS_PROFILE", "me");
    refused(shell, "CreateOAuth2Token", "TOKEN_EXPIRED");
}

pub fn login_never_done(shell: &mut Shell) {
    shell.profiles("[default]\nlogin_session = arn:aws:iam::123456789012:user/me\n");
}

pub fn profile_missing(shell: &mut Shell) {
    shell.profiles("[profile dev]\nregion = us-east-1\n[profile test]\nregion = us-east-1\n");
    shell.set("AWS_PROFILE", "prod");
}

pub fn profile_of_a_rule_missing(shell: &mut Shell) {
    keys(shell).rules("[[registry]]\nmatch = \"123456789012\"\nprofile = \"prod\"\n");
}

pub fn profile_empty(shell: &mut Shell) {
    shell.profiles("[profile dev]\nregion = us-east-1\n");
    shell.set("AWS_PROFILE", "dev");
}

pub fn profiles_in_a_circle(shell: &mut Shell) {
    let profile = |name: &str, source: &str| format!("[{name}]\nrole_arn = {ROLE}\nsource_profile = {source}\n");
    shell.profiles(&format!("{}{}", profile("default", "b"), profile("profile b", "default")));
}

pub fn role_without_source(shell: &mut Shell) {
    shell.profiles(&format!("[profile puller]\nrole_arn = {ROLE}\n"));
    shell.set("AWS_PROFILE", "puller");
}

pub fn half_a_key_in_a_profile(shell: &mut Shell) {
    shell.profiles("[default]\naws_access_key_id = AKIDEXAMPLE\n");
}

pub fn half_a_key_in_the_environment(shell: &mut Shell) {
    shell.set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
}

pub fn not_allowed(shell: &mut Shell) {
    api(shell, |rule| rule.aws_failure("AccessDeniedException"));
}

pub fn key_unknown(shell: &mut Shell) {
    api(shell, |rule| rule.aws_failure("UnrecognizedClientException"));
}

pub fn secret_wrong(shell: &mut Shell) {
    keys(shell).ecr.set(Knob::VerifySignature("AKIDEXAMPLE".to_owned(), "another-secret".to_owned()));
}

pub fn clock_wrong(shell: &mut Shell) {
    api(shell, Rule::clock_skew);
}

pub fn session_over(shell: &mut Shell) {
    keys(shell).set("AWS_SESSION_TOKEN", "secret-token");
    api(shell, |rule| rule.aws_failure("ExpiredTokenException"));
}

pub fn throttled(shell: &mut Shell) {
    api(shell, |rule| rule.aws_failure("ThrottlingException"));
}

pub fn region_not_enabled(shell: &mut Shell) {
    api(shell, |rule| rule.api_error("OptInRequired", "You are not subscribed to this service"));
}

pub fn role_denied(shell: &mut Shell) {
    role(shell, "");
    shell.ecr.set(Knob::ExternalId(ROLE.to_owned(), "shared".to_owned()));
}

pub fn role_demands_a_device_that_is_not_configured(shell: &mut Shell) {
    role(shell, "");
    shell.demand_code(ROLE, DEVICE, "123456");
}

pub fn role_session_too_long(shell: &mut Shell) {
    role(shell, "duration = \"12h\"\n");
    shell.ecr.set(Knob::LongestSession(ROLE.to_owned(), 3600));
}

pub fn code_needed_and_no_terminal(shell: &mut Shell) {
    device(shell, "");
}

pub fn code_wrong(shell: &mut Shell) {
    device(shell, "mfa_command = \"echo 000000\"\n");
}

pub fn code_command_fails(shell: &mut Shell) {
    device(shell, "mfa_command = \"echo no device >&2; exit 4\"\n");
}

pub fn code_command_prints_words(shell: &mut Shell) {
    device(shell, "mfa_command = \"echo the secret code is 123456\"\n");
}

pub fn device_unknown(shell: &mut Shell) {
    role(shell, "mfa_serial = \"arn:aws:iam::123456789012:mfa/lost\"\nmfa_command = \"echo 123456\"\n");
}

pub fn process_fails(shell: &mut Shell) {
    process(shell, "echo a-secret\necho 'vault: sealed' >&2\nexit 3");
}

pub fn process_is_not_there(shell: &mut Shell) {
    shell.profiles("[profile vault]\ncredential_process = no-such-program --secret\n");
    shell.set("AWS_PROFILE", "vault");
}

pub fn process_draws_on_the_screen(shell: &mut Shell) {
    process(shell, "printf 'no \\033[2J%300s' x >&2; exit 5");
}

pub fn process_fails_without_a_word(shell: &mut Shell) {
    process(shell, "exit 6");
}

pub fn process_hangs(shell: &mut Shell) {
    process(shell, "sleep 300");
}

pub fn process_prints_garbage(shell: &mut Shell) {
    process(shell, "echo 'Password for a-secret:'");
}

pub fn process_prints_what_is_over(shell: &mut Shell) {
    let printed = json!({"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": "a-secret", "SessionToken": "secret",
                         "Expiration": "2024-01-01T00:00:00Z"});
    process(shell, &format!("echo '{printed}'"));
}

fn web_identity(shell: &mut Shell) {
    shell.set("AWS_ROLE_ARN", ROLE).set("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token");
}

pub fn web_identity_without_file(shell: &mut Shell) {
    web_identity(shell);
}

pub fn web_identity_without_role(shell: &mut Shell) {
    web_identity(shell);
    shell.unset("AWS_ROLE_ARN");
}

pub fn web_identity_not_taken(shell: &mut Shell) {
    web_identity(shell);
    shell.write("token", "a.secret.token");
    let file = shell.path("token");
    shell.set("AWS_WEB_IDENTITY_TOKEN_FILE", &file);
    refused(shell, "AssumeRoleWithWebIdentity", "InvalidIdentityToken");
}

pub fn container_without_agent(shell: &mut Shell) {
    shell.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/v1/credentials");
}

pub fn container_not_let_in(shell: &mut Shell) {
    let url = format!("{}/v1/credentials", shell.ecr.metadata_url());
    shell.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    shell.ecr.set(Knob::ContainerAuthorization(Some("secret".to_owned())));
}

pub fn container_without_token_file(shell: &mut Shell) {
    container_without_agent(shell);
    shell.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere/token");
}

pub fn instance_out_of_order(shell: &mut Shell) {
    shell.metadata().ecr.fault(Rule::on(Listener::Metadata).status(500));
}
