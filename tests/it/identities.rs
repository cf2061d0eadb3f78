//! Whose token it is: every source of credentials is asked once, and no token is handed to another identity.
//!
//! Issue: the incumbent asks STS, SSO or the process again for each `get`, since its cache goes by the access key.

mod configuration;
pub(crate) mod sources;

use std::collections::BTreeSet;

use crate::{
    fake_ecr::Listener,
    rig::{REGISTRY, text},
    shell::{Shell, secret_in},
};

const NOT_FOUND: &str = "credentials not found in native keychain\n";
const IN_IRELAND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const OTHER: &str = "210987654321.dkr.ecr.us-east-1.amazonaws.com";
/// Two profiles with a key each.
const TWO: &str = "[profile one]\naws_access_key_id = AKIDONE\naws_secret_access_key = secret\n\
                   [profile two]\naws_access_key_id = AKIDTWO\naws_secret_access_key = secret\n";
const BY_ACCOUNT: &str = "[[registry]]\nmatch = \"123456789012\"\nprofile = \"one\"\n\
                          [[registry]]\nmatch = \"210987654321\"\nprofile = \"two\"\n";

/// Runs `get` for all hosts at once.
fn at_once(shell: &Shell, hosts: &[String]) -> Vec<String> {
    std::thread::scope(|scope| {
        let started: Vec<_> = hosts.iter().map(|host| scope.spawn(move || shell.get(host))).collect();
        started.into_iter().map(|thread| secret_in(&thread.join().unwrap())).collect()
    })
}

/// The access key of each call for a token, in order.
fn minted_by(shell: &Shell) -> Vec<String> {
    let calls = shell.ecr.calls().into_iter().filter(|call| call.action == "GetAuthorizationToken");
    calls.map(|call| call.access_key.unwrap()).collect()
}

/// The role of each call for a token, in order.
fn roles(shell: &Shell) -> Vec<String> {
    let calls = shell.ecr.calls().into_iter().filter(|call| call.action == "GetAuthorizationToken");
    calls.map(|call| call.principal.unwrap().split('/').nth(1).unwrap_or_default().to_owned()).collect()
}

/// Issue: the incumbent makes two calls for the second `get` of a role or an SSO session, and runs the process again.
#[tokio::test]
async fn a_second_get_asks_nobody_and_runs_nothing_whatever_the_source() {
    for source in sources::ALL {
        let mut shell = Shell::start().await;
        (source.setup)(&mut shell);
        let first = shell.secret(REGISTRY);
        assert_eq!(shell.calls(), source.calls, "{}", source.name);
        let runs = shell.runs();
        assert_eq!(runs, source.runs, "{}", source.name);
        shell.ecr.clear_requests();
        assert_eq!(shell.secret(REGISTRY), first, "{}", source.name);
        assert!(shell.ecr.requests().is_empty(), "{}: {:?}", source.name, shell.ecr.requests());
        assert_eq!(shell.runs(), runs, "{}", source.name);
    }
}

/// Issue: the incumbent makes fifty calls.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_cold_gets_at_once_assume_the_role_once() {
    let mut shell = Shell::start().await;
    sources::role_of_a_rule(&mut shell);
    let secrets = at_once(&shell, &vec![REGISTRY.to_owned(); 50]);
    assert_eq!(shell.calls(), ["AssumeRole", "GetAuthorizationToken"]);
    assert_eq!(secrets.iter().collect::<BTreeSet<_>>().len(), 1);
}

/// Issue: the incumbent makes fifty calls and keeps four to nine of the fifty entries.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_accounts_of_one_identity_and_region_cost_one_call() {
    let shell = Shell::with_keys().await;
    let hosts: Vec<_> =
        (0..50).map(|number| format!("1234567890{number:02}.dkr.ecr.us-east-1.amazonaws.com")).collect();
    at_once(&shell, &hosts);
    assert_eq!(shell.mints(), 1);
    shell.ecr.clear_requests();
    at_once(&shell, &hosts[..5]);
    assert_eq!(shell.mints(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_regions_at_once_are_all_kept() {
    let shell = Shell::with_keys().await;
    let hosts: Vec<_> = (0..50).map(|number| format!("123456789012.dkr.ecr.eu-west-{number}.amazonaws.com")).collect();
    let secrets = at_once(&shell, &hosts);
    assert_eq!((shell.mints(), shell.entries().len()), (50, 50));
    assert_eq!(secrets.iter().collect::<BTreeSet<_>>().len(), 50);
    shell.ecr.stop_listening();
    assert_eq!(at_once(&shell, &hosts), secrets);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_profiles_cost_two_calls_and_their_tokens_are_never_mixed() {
    let shell = Shell::start().await;
    shell.profiles(TWO).rules(BY_ACCOUNT);
    let hosts: Vec<_> = (0..50).map(|number| [REGISTRY, OTHER][number % 2].to_owned()).collect();
    let secrets = at_once(&shell, &hosts);
    let mut keys = minted_by(&shell);
    keys.sort();
    assert_eq!(keys, ["AKIDONE", "AKIDTWO"]);
    assert_ne!(secrets[0], secrets[1]);
    assert!(secrets.chunks(2).all(|pair| pair == &secrets[..2]));
}

#[tokio::test]
async fn the_profile_of_a_rule_beats_keys_in_the_environment() {
    let mut shell = Shell::with_keys().await;
    shell.set("AWS_SESSION_TOKEN", "token").set("AWS_PROFILE", "two").profiles(TWO).rules(BY_ACCOUNT);
    shell.secret(REGISTRY);
    assert_eq!(minted_by(&shell), ["AKIDONE"]);
    assert_eq!(shell.ecr.requests_to(Listener::Api)[0].header("x-amz-security-token"), None);
    // without a rule the keys go first, as the AWS CLI has it
    shell.rules("").secret(REGISTRY);
    assert_eq!(minted_by(&shell), ["AKIDONE", "AKIDEXAMPLE"]);
    // and the variable's old name counts too
    shell.keys("").unset("AWS_PROFILE").set("AWS_DEFAULT_PROFILE", "two").secret(REGISTRY);
    assert_eq!(minted_by(&shell)[2], "AKIDTWO");
}

#[tokio::test]
async fn the_environment_names_a_profile_or_a_role_for_an_account() {
    let mut shell = Shell::with_keys().await;
    shell.set("AWS_PROFILE_210987654321", "two").profiles(TWO);
    shell.secret(REGISTRY);
    shell.secret(OTHER);
    assert_eq!(minted_by(&shell), ["AKIDEXAMPLE", "AKIDTWO"]);
    shell.set("AWS_PROFILE_210987654321", "").set("AWS_ROLE_ARN_210987654321", "arn:aws:iam::210987654321:role/Ci");
    shell.secret(OTHER);
    assert_eq!(roles(&shell).last().unwrap(), "Ci");
    // both: the role is assumed with the profile's rights
    shell.set("AWS_PROFILE_210987654321", "one");
    shell.secret(OTHER);
    let call = shell.ecr.calls().into_iter().rfind(|call| call.action == "AssumeRole").unwrap();
    assert_eq!(call.access_key.as_deref(), Some("AKIDONE"));
}

#[tokio::test]
async fn a_web_identity_goes_before_the_profile_and_after_keys() {
    let mut shell = Shell::start().await;
    sources::web_identity(&mut shell);
    shell.set("AWS_PROFILE", "one").profiles(TWO);
    shell.secret(REGISTRY);
    assert_eq!(roles(&shell), ["web"]);
    shell.keys("AKIDEXAMPLE").secret(REGISTRY);
    assert_eq!(minted_by(&shell)[1], "AKIDEXAMPLE");
}

#[tokio::test]
async fn an_edited_profile_is_another_identity_at_once() {
    let shell = Shell::start().await;
    let profile = |role: &str, base: &str| {
        format!("[default]\nrole_arn = arn:aws:iam::123456789012:role/{role}\nsource_profile = {base}\n{TWO}")
    };
    let one = shell.profiles(&profile("reader", "one")).secret(REGISTRY);
    let two = shell.profiles(&profile("writer", "one")).secret(REGISTRY);
    let three = shell.profiles(&profile("writer", "two")).secret(REGISTRY);
    assert_eq!(roles(&shell), ["reader", "writer", "writer"]);
    assert_eq!(BTreeSet::from([&one, &two, &three]).len(), 3);
    // and back again
    assert_eq!(shell.profiles(&profile("reader", "one")).secret(REGISTRY), one);
    assert_eq!(shell.mints(), 3);
}

/// Issue: the incumbent's cache never hits when keys rotate.
#[tokio::test]
async fn keys_that_change_with_each_run_find_the_token_of_their_identity() {
    let mut shell = Shell::start().await;
    sources::process(&mut shell);
    let first = shell.secret(REGISTRY);
    shell.secret(IN_IRELAND);
    assert_eq!(shell.runs(), 2);
    assert_ne!(minted_by(&shell)[0], minted_by(&shell)[1]);
    assert_eq!(shell.secret(REGISTRY), first);
    assert_eq!((shell.runs(), shell.mints()), (2, 2));
}

#[tokio::test]
async fn a_one_time_code_is_asked_for_once_for_all_regions() {
    for setup in [sources::code_for_a_role, sources::code_for_oneself, sources::code_for_a_profile] {
        let mut shell = Shell::start().await;
        setup(&mut shell);
        shell.secret(REGISTRY);
        shell.secret(IN_IRELAND);
        assert_eq!(shell.runs(), 1);
        assert_eq!(shell.calls()[1..], ["GetAuthorizationToken", "GetAuthorizationToken"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_code_is_asked_for_once_when_all_regions_ask_at_once() {
    let mut shell = Shell::start().await;
    sources::code_for_a_role(&mut shell);
    let hosts: Vec<_> = (1..7).map(|number| format!("123456789012.dkr.ecr.eu-west-{number}.amazonaws.com")).collect();
    at_once(&shell, &hosts);
    assert_eq!((shell.runs(), shell.ecr.count_calls("AssumeRole"), shell.mints()), (1, 1, 6));
}

#[tokio::test]
async fn a_wrong_code_is_not_remembered() {
    let mut shell = Shell::start().await;
    sources::code_for_a_role(&mut shell);
    shell.script("code", "echo 999999");
    assert_eq!(shell.get(REGISTRY).status.code(), Some(1));
    shell.script("code", "echo 123456");
    shell.secret(REGISTRY);
    assert_eq!(shell.runs(), 2);
}

#[tokio::test]
async fn a_person_at_the_terminal_is_asked_for_the_code() {
    let mut shell = Shell::start().await;
    sources::code_from_a_person(&mut shell);
    shell.write("host", REGISTRY);
    let (host, out) = (shell.path("host"), shell.path("out"));
    let line = format!("{} get < '{host}' > '{out}'", env!("CARGO_BIN_EXE_docker-credential-longshore"));
    let said = crate::rig::run(shell.command_of("script").args(["-qec", &line, "/dev/null"]), "123456\n");
    assert!(text(&said.stdout).contains("one-time code of arn:aws:iam::123456789012:mfa/me: "), "{said:?}");
    let answer = std::fs::read_to_string(out).unwrap();
    assert!(answer.contains("\"Username\":\"AWS\""), "{answer}");
    // without a terminal the session is good still
    shell.secret(IN_IRELAND);
    assert_eq!(shell.calls(), ["AssumeRole", "GetAuthorizationToken", "GetAuthorizationToken"]);
}

#[tokio::test]
async fn what_a_rule_says_about_its_role_reaches_sts() {
    let shell = Shell::with_keys().await;
    shell.rules(
        "[[registry]]\nmatch = \"*.dkr.ecr.*.amazonaws.com\"\nrole_arn = \"arn:aws:iam::{account}:role/{region}\"\n\
         external_id = \"shared\"\nsession_name = \"build-42\"\nduration = \"2h\"\n",
    );
    shell.secret(REGISTRY);
    shell.secret(OTHER);
    let calls = shell.ecr.calls();
    assert_eq!(calls[0].parameter("RoleArn"), "arn:aws:iam::123456789012:role/us-east-1");
    assert_eq!(calls[2].parameter("RoleArn"), "arn:aws:iam::210987654321:role/us-east-1");
    let said = ["ExternalId", "RoleSessionName", "DurationSeconds"].map(|name| calls[0].parameter(name));
    assert_eq!(said, ["shared", "build-42", "7200"]);
}

#[tokio::test]
async fn what_a_profile_says_about_its_role_reaches_sts() {
    let mut shell = Shell::with_keys().await;
    shell.set("AWS_ACCESS_KEY_ID", "").profiles(&format!(
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/pull\nsource_profile = one\nexternal_id = shared\n\
         role_session_name = build-42\nduration_seconds = 900\n{TWO}"
    ));
    shell.secret(REGISTRY);
    let calls = shell.ecr.calls();
    let said = ["ExternalId", "RoleSessionName", "DurationSeconds"].map(|name| calls[0].parameter(name));
    assert_eq!(said, ["shared", "build-42", "900"]);
}

#[tokio::test]
async fn an_anonymous_registry_is_not_found_without_a_word() {
    let shell = Shell::with_keys().await;
    shell.rules("[[registry]]\nmatch = \"public.ecr.aws\"\nanonymous = true\n");
    let output = shell.get("public.ecr.aws");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), NOT_FOUND));
    assert_eq!(text(&output.stderr), "");
    assert!(shell.ecr.requests().is_empty());
}

/// Issue: the incumbent's older caches hold the id of the access key.
#[tokio::test]
async fn nothing_on_disk_tells_the_access_key() {
    let mut shell = Shell::start().await;
    sources::code_for_oneself(&mut shell);
    shell.secret(REGISTRY);
    for file in std::fs::read_dir(shell.path("home/.cache/longshore/tokens")).unwrap() {
        let path = file.unwrap().path();
        let held = format!("{}{}", path.display(), std::fs::read_to_string(&path).unwrap());
        assert!(!held.contains("AKIDEXAMPLE") && !held.contains("an-example-secret-key"), "{held}");
    }
}

#[tokio::test]
async fn a_session_that_was_ended_early_costs_one_more_code() {
    let mut shell = Shell::start().await;
    sources::code_for_a_role(&mut shell);
    shell.secret(REGISTRY);
    shell.ecr.expire_sessions();
    shell.secret(IN_IRELAND);
    assert_eq!(shell.runs(), 2);
}
