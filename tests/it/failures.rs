//! What a person is told when there is no token: one line of cause, one of remedy, and never a secret.
//!
//! Issue: the incumbent answers each of these with `credentials not found in native keychain` and nothing else.

mod process;
mod secrets;
mod setup;
mod way;

use std::process::Output;

use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    rig::{REGISTRY, text},
    shell::Shell,
};

struct Failure {
    setup: fn(&mut Shell),
    name: &'static str,
    cause: &'static str,
    remedy: &'static str,
}

macro_rules! failures {
    ($($place:ident $name:ident: $cause:literal, $remedy:literal;)*) => {
        &[$(Failure { setup: $place::$name, name: stringify!($name), cause: $cause, remedy: $remedy }),*]
    };
}

/// The set-up, the cause on stdout (`*` is any text), the remedy on stderr.
const FAILURES: &[Failure] = failures! {
    setup nothing_configured: "no AWS credentials were found",
        "*`aws configure`, `aws sso login`, AWS_PROFILE or AWS_ACCESS_KEY_ID";
    setup sso_session_expired: "SSO session \"corp\" expired 2 h ago",
        "run: aws sso login --sso-session corp";
    setup sso_never_signed_in: "SSO session \"corp\" has no sign-in on this machine",
        "run: aws sso login --sso-session corp";
    setup sso_of_a_profile_expired: "the SSO sign-in of profile \"dev\" expired 3 days ago",
        "run: aws sso login --profile dev";
    setup sso_role_not_allowed: "SSO session \"corp\" may not use role \"dev\" of account 123456789012",
        "*sso_role_name of profile \"default\"*https://corp.example lists yours";
    setup sso_session_ended_by_the_company: "SSO session \"corp\" is not taken any more: it was signed out elsewhere",
        "run: aws sso login --sso-session corp";
    setup sso_session_not_configured: "profile \"default\" names SSO session \"corp\", which is not in the AWS configuration",
        "*aws configure sso-session";
    setup sso_without_account: "profile \"default\" names SSO and lacks sso_account_id",
        "complete it with: aws configure sso --profile default";
    setup sso_without_role: "profile \"default\" names SSO and lacks sso_role_name",
        "complete it with: aws configure sso --profile default";
    setup login_expired: "the console sign-in of profile \"me\" expired",
        "run: aws login --profile me";
    setup login_never_done: "profile \"default\" has no console sign-in on this machine",
        "run: aws login";
    setup profile_missing: "profile \"prod\" is not in the AWS configuration",
        "there are: dev, test;*aws configure --profile prod";
    setup profile_of_a_rule_missing: "profile \"prod\" is not in the AWS configuration",
        "there are no profiles;*aws configure --profile prod";
    setup profile_empty: "profile \"dev\" says nothing about credentials",
        "*aws configure --profile dev";
    setup profiles_in_a_circle: "profile \"*\" leads back to itself",
        "correct source_profile: *";
    setup role_without_source: "profile \"puller\" names a role and no credentials to assume it with",
        "*source_profile*credential_source*";
    setup half_a_key_in_a_profile: "profile \"default\" has one half of an access key",
        "*aws configure --profile default";
    setup half_a_key_in_the_environment: "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not",
        "set both *, or unset both";
    setup not_allowed: "GetAuthorizationToken: AccessDeniedException: User: *",
        "*ecr:GetAuthorizationToken*aws sts get-caller-identity";
    setup key_unknown: "GetAuthorizationToken: UnrecognizedClientException: *",
        "*deleted or mistyped*aws sts get-caller-identity";
    setup secret_wrong: "GetAuthorizationToken: InvalidSignatureException: The request signature we calculated *",
        "*`aws configure`";
    setup clock_wrong: "GetAuthorizationToken: InvalidSignatureException: Signature expired: *",
        "this machine's clock is wrong; set it: *";
    setup session_over: "GetAuthorizationToken: ExpiredTokenException: *",
        "*`aws sso login`, or new AWS_SESSION_TOKEN*";
    setup throttled: "GetAuthorizationToken: ThrottlingException: Rate exceeded",
        "*try again in a few seconds";
    setup region_not_enabled: "GetAuthorizationToken: OptInRequired: *",
        "enable the region for the account, *";
    setup role_denied: "AssumeRole: AccessDenied: User: *",
        "*trust*external_id*sts:AssumeRole*aws sts get-caller-identity";
    setup role_demands_a_device_that_is_not_configured: "AssumeRole: AccessDenied: User: *",
        "*mfa_serial*";
    setup role_session_too_long: "AssumeRole: ValidationError: *MaxSessionDuration*",
        "shorten duration (duration_seconds*";
    setup code_needed_and_no_terminal: "a one-time code of arn:aws:iam::123456789012:mfa/me is needed",
        "*longshore login*mfa_command";
    setup code_wrong: "AssumeRole: AccessDenied: MultiFactorAuthentication failed with invalid MFA *",
        "*wait for the next one*";
    setup code_command_fails: "mfa_command failed (exit status: 4), it said: no device",
        "run the command by hand *";
    setup code_command_prints_words: "mfa_command printed something that is not a code",
        "*six digits*";
    setup device_unknown: "AssumeRole: AccessDenied: *unable to validate MFA code*",
        "mfa_serial must be*aws iam list-mfa-devices";
    setup process_fails: "credential_process of profile vault failed (exit status: 3), it said: vault: sealed",
        "run the command by hand *";
    setup process_is_not_there: "credential_process of profile vault failed (exit status: 127), it said: *not found",
        "run the command by hand *";
    setup process_draws_on_the_screen: "credential_process of profile vault failed (exit status: 5), it said: *\\u{1b}[2J*…",
        "run the command by hand *";
    setup process_fails_without_a_word: "credential_process of profile vault failed (exit status: 6) and said nothing",
        "run the command by hand *";
    setup process_hangs: "credential_process of profile vault did not end within 5 s",
        "run the command by hand *";
    setup process_prints_garbage: "credential_process of profile vault printed something that is not credentials (line 1, column 1)",
        "it must print {*";
    setup process_prints_what_is_over: "credential_process of profile vault printed credentials that have expired already",
        "sign in again with the program it runs;*";
    setup web_identity_without_file: "web identity token file /nowhere/token: No such file or directory*",
        "AWS_WEB_IDENTITY_TOKEN_FILE must name a readable file *";
    setup web_identity_without_role: "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not",
        "set AWS_ROLE_ARN *";
    setup web_identity_not_taken: "AssumeRoleWithWebIdentity: InvalidIdentityToken: *",
        "*trust policy*";
    setup container_without_agent: "the credentials of this container: *Connection refused*",
        "*AWS_CONTAINER_CREDENTIALS_FULL_URI*";
    setup container_not_let_in: "the credentials of this container: *401*",
        "*AWS_CONTAINER_CREDENTIALS_FULL_URI*";
    setup container_without_token_file: "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE /nowhere/token: No such file or directory*",
        "correct or unset it; *";
    setup instance_out_of_order: "the role of this instance: *",
        "*AWS_EC2_METADATA_DISABLED=true";
    way proxy_wants_a_password: "GetAuthorizationToken: the proxy asks for a user and password",
        "*HTTPS_PROXY, as http://user:password@host:port";
    way proxy_refuses: "GetAuthorizationToken: the proxy refuses to connect to AWS",
        "*NO_PROXY*HTTPS_PROXY*";
    way proxy_not_there: "GetAuthorizationToken: the proxy cannot be reached: *Connection refused*",
        "correct HTTPS_PROXY, or unset it*";
    way authority_unknown: "GetAuthorizationToken: *UnknownIssuer",
        "*AWS_CA_BUNDLE*";
    way bundle_not_there: "AWS_CA_BUNDLE /nowhere/ca.pem: No such file or directory*",
        "correct AWS_CA_BUNDLE*";
    way bundle_not_pem: "AWS_CA_BUNDLE *: holds no certificate",
        "correct AWS_CA_BUNDLE*PEM form";
    way no_network: "GetAuthorizationToken: dns error: *",
        "*no network*the region in the registry's name";
    way nobody_listens: "GetAuthorizationToken: *Connection refused*",
        "*AWS_ENDPOINT_URL*";
    way endpoint_empty: "AWS_ENDPOINT_URL is set to nothing",
        "*unset AWS_ENDPOINT_URL";
    way endpoint_not_a_url: "AWS_ENDPOINT_URL is localhost:4566, which is not a URL",
        "write AWS_ENDPOINT_URL=https://localhost:4566, or http://";
    way endpoint_without_scheme_in_a_profile: "endpoint_url of profile \"default\" is localhost:4566, which is not a URL",
        "correct it in */.aws/config:1: it begins with https:// or http:// *";
    way endpoint_empty_in_a_profile: "endpoint_url of profile \"default\" is empty",
        "correct it in */.aws/config:1: *";
    way endpoint_of_a_service_not_a_url: "endpoint_url of sts in [services local] is http://a b, which is not a URL",
        "correct it in */.aws/config:3: *";
    way endpoint_with_a_space: "AWS_ENDPOINT_URL_STS is http://a b, which is not a URL",
        "correct AWS_ENDPOINT_URL_STS: https:// or http:// and a host";
    way configuration_not_readable: "the AWS configuration */.aws/config cannot be read: Is a directory*",
        "make */.aws/config readable for this user, *AWS_CONFIG_FILE*";
    way endpoint_of_ones_own_and_fips: "GetAuthorizationToken: FIPS or dual-stack is asked for, and an endpoint of one's own as well",
        "*unset AWS_USE_FIPS_ENDPOINT*";
    way captive_portal: "GetAuthorizationToken: HTTP 200 with something that is not AWS's answer",
        "*a sign-in page of the network*open a page in a browser*";
    way aws_out_of_order: "GetAuthorizationToken: ServerException: *",
        "*try again*health.aws.amazon.com";
    way gateway_out_of_order: "GetAuthorizationToken: HTTP 503 and no reason",
        "*try again*health.aws.amazon.com";
    way answer_empty: "the answer holds no token",
        "*AWS_ENDPOINT_URL_ECR*";
    way token_over_on_arrival: "the authorization token has expired already; is this machine's clock right?",
        "*AWS_ENDPOINT_URL_ECR*";
    way connection_cut: "GetAuthorizationToken: the answer broke off (HTTP 200)",
        "try again; *HTTPS_PROXY";
};

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_says_what_is_wrong_and_what_to_do() {
    let mut cases = JoinSet::new();
    for failure in FAILURES {
        cases.spawn(async move {
            let mut shell = Shell::start().await;
            (failure.setup)(&mut shell);
            let output = spawn_blocking(move || shell.get(REGISTRY)).await.unwrap();
            check(failure, &output)
        });
    }
    let mut wrong: Vec<String> = cases.join_all().await.into_iter().flatten().collect();
    wrong.sort();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with an answer, if anything is.
fn check(failure: &Failure, output: &Output) -> Option<String> {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let cause = out.strip_suffix('\n').unwrap_or_default();
    let remedy = err.strip_prefix(&format!("longshore: {cause}\nlongshore: ")).unwrap_or_default();
    let remedy = remedy.strip_suffix('\n').unwrap_or_default();
    let is_right = output.status.code() == Some(1)
        && fits(&format!("ECR in us-east-1: {}", failure.cause), cause)
        && fits(failure.remedy, remedy)
        && ![cause, remedy].iter().any(|line| line.contains(['\n', '\u{1b}']))
        && !["secret-", "a-secret", "secret."].iter().any(|secret| err.contains(secret));
    (!is_right).then(|| format!("{}: {:?}\n{out}{err}", failure.name, output.status.code()))
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((first, rest)) => text.strip_prefix(first).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| fits(rest, &text[at..]))
        }),
    }
}
