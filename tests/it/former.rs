//! Switching from Amazon's helper: what it left in `~/.ecr/cache.json` is used while it is fresh, and never written.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use longshore::oci::Digest;

use crate::{
    identities::sources,
    rig::{REGISTRY, Rig, text},
    shell::{Shell, secret_in},
};

const FORMER: &str = "a-token-of-the-former-helper";
/// The identity as a profile, whose key the former token was minted with.
const KEYS: &str = "aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n";

/// The id of the access key as version 0.12 has it.
fn hashed() -> String {
    let hex = Digest::of(b"AKIDEXAMPLE").hex().to_owned();
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    STANDARD.encode(bytes)
}

/// Writes its cache as version 0.12 does, with a token that was requested and expires so many hours from now.
fn leave(rig: &Rig, requested: i64, expires: i64, mode: u32) -> String {
    let key = format!("us-east-1-{}-123456789012", hashed());
    leave_under(&key, rig.dir.path(), (requested, expires), mode)
}

/// The same that would do at any time, for a shell.
fn leave_good(shell: &Shell) {
    leave_under(&format!("us-east-1-{}-123456789012", hashed()), shell.dir.path(), (-1, 11), 0o600);
}

fn leave_under(key: &str, place: &Path, (requested, expires): (i64, i64), mode: u32) -> String {
    let time = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    let token = STANDARD.encode(format!("AWS:{FORMER}"));
    let (requested, expires) = (time(requested), time(expires));
    let cache = format!(
        "{{\"Registries\":{{\"{key}\":{{\"AuthorizationToken\":\"{token}\",\"RequestedAt\":\"{requested}\",\
         \"ExpiresAt\":\"{expires}\",\"ProxyEndpoint\":\"https://{REGISTRY}\",\"Service\":\"ecr\"}}}},\"Version\":\"1.0\"}}"
    );
    let dir = place.join("home/.ecr");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("cache.json"), &cache).unwrap();
    fs::set_permissions(dir.join("cache.json"), fs::Permissions::from_mode(mode)).unwrap();
    cache
}

#[track_caller]
fn check(rig: &Rig, is_taken: bool) {
    let output = rig.helper("get", REGISTRY);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).contains(FORMER), is_taken, "{output:?}");
    assert_eq!(rig.mints(), u64::from(!is_taken));
}

#[tokio::test]
async fn a_fresh_token_of_the_former_helper_is_handed_out_without_a_call() {
    let rig = Rig::start().await;
    let cache = leave(&rig, -1, 11, 0o600);
    check(&rig, true);
    check(&rig, true);
    assert_eq!(fs::read_to_string(rig.dir.path().join("home/.ecr/cache.json")).unwrap(), cache);
    // after a logout it is not come back to
    rig.helper("erase", REGISTRY);
    check(&rig, false);
}

#[tokio::test]
async fn a_token_past_half_of_its_life_is_left_alone() {
    let rig = Rig::start().await;
    leave(&rig, -7, 5, 0o600);
    check(&rig, false);
}

#[tokio::test]
async fn a_file_that_others_can_read_is_left_alone() {
    let rig = Rig::start().await;
    leave(&rig, -1, 11, 0o644);
    check(&rig, false);
}

#[tokio::test]
async fn the_token_of_another_access_key_is_left_alone() {
    let rig = Rig::start().await;
    leave(&rig, -1, 11, 0o600);
    let output = rig.helper_with("get", REGISTRY, &[("AWS_ACCESS_KEY_ID", "AKIDOTHER")]);
    assert!(output.status.success(), "{output:?}");
    assert!(!text(&output.stdout).contains(FORMER), "{output:?}");
}

#[tokio::test]
async fn the_token_is_known_for_a_profile_with_that_key_and_under_the_names_of_older_versions() {
    let shell = Shell::start().await;
    shell
        .profiles(&format!("[profile one]\n{KEYS}"))
        .rules("[[registry]]\nmatch = \"123456789012\"\nprofile = \"one\"\n");
    leave_good(&shell);
    assert_eq!(shell.secret(REGISTRY), FORMER);
    // before 0.12 the digest of nothing was appended to the id
    let nothing = [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0, 0xb2, 4, 0xe9, 0x80, 9, 0x98, 0xec, 0xf8, 0x42, 0x7e];
    let appended = STANDARD.encode([b"AKIDEXAMPLE", &nothing[..]].concat());
    let names = [
        (format!("us-east-1-{appended}-123456789012"), REGISTRY),
        (format!("ecr-public-{appended}"), "public.ecr.aws"),
        (format!("ecr-public-{}", hashed()), "public.ecr.aws"),
    ];
    for (name, host) in names {
        let shell = Shell::with_keys().await;
        leave_under(&name, shell.dir.path(), (-1, 11), 0o600);
        assert_eq!(shell.secret(host), FORMER, "{name}");
        assert_eq!(shell.mints(), 0);
    }
}

/// The former token must not be handed out, whatever it costs.
#[track_caller]
fn is_left_alone(shell: &Shell, host: &str, why: &str) {
    leave_good(shell);
    assert_ne!(shell.secret(host), FORMER, "{why}");
    assert_eq!(shell.mints(), 1, "{why}");
}

#[tokio::test]
async fn the_token_of_a_bare_key_is_not_that_of_a_role_or_a_session_opened_with_it() {
    let mut shell = Shell::start().await;
    sources::role_of_a_rule(&mut shell);
    is_left_alone(&shell, REGISTRY, "role_arn");
    let mut shell = Shell::start().await;
    sources::code_for_oneself(&mut shell);
    is_left_alone(&shell, REGISTRY, "mfa_serial");
    let role = "[default]\nrole_arn = arn:aws:iam::123456789012:role/pull\nsource_profile = base\n";
    for profiles in [format!("{role}{KEYS}[profile base]\n{KEYS}"), format!("{role}[profile base]\n{KEYS}")] {
        let shell = Shell::start().await;
        is_left_alone(shell.profiles(&profiles), REGISTRY, &profiles);
    }
}

#[tokio::test]
async fn a_web_identity_in_the_environment_goes_before_the_key_of_the_profile() {
    let mut shell = Shell::start().await;
    sources::web_identity(&mut shell);
    is_left_alone(shell.profiles(&format!("[default]\n{KEYS}")), REGISTRY, "web identity");
}

#[tokio::test]
async fn tokens_of_other_endpoints_are_left_alone() {
    for host in ["123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "123456789012.dkr-ecr.us-east-1.on.aws"] {
        is_left_alone(&Shell::with_keys().await, host, host);
    }
    is_left_alone(&Shell::with_keys().await, "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "region");
    is_left_alone(&Shell::with_keys().await, "210987654321.dkr.ecr.us-east-1.amazonaws.com", "account");
}

#[tokio::test]
async fn a_token_of_our_own_that_is_still_good_is_not_replaced_by_a_former_one() {
    let shell = Shell::with_keys().await;
    let old = shell.secret(REGISTRY);
    leave_good(&shell);
    shell.set_time("refresh_at", -3600);
    let new = shell.secret(REGISTRY);
    assert!(new != FORMER && new != old);
    assert_eq!(shell.mints(), 2);
}

#[tokio::test]
async fn who_wants_nothing_kept_gets_nothing_of_what_was_kept() {
    for variable in ["true", ""] {
        let mut shell = Shell::with_keys().await;
        if variable.is_empty() {
            shell.rules("token_store = \"memory\"\n");
        } else {
            shell.set("AWS_ECR_DISABLE_CACHE", variable);
        }
        leave_good(&shell);
        assert_ne!(secret_in(&shell.get(REGISTRY)), FORMER, "{variable}");
    }
}

#[tokio::test]
async fn a_login_mints_although_a_former_token_is_there() {
    let rig = Rig::start().await;
    leave(&rig, -1, 11, 0o600);
    let output = rig.longshore(&["login", REGISTRY]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(rig.mints(), 1);
    assert!(!text(&rig.helper("get", REGISTRY).stdout).contains(FORMER));
}

#[tokio::test]
async fn a_logout_from_everywhere_forgets_the_former_token_as_well() {
    let rig = Rig::start().await;
    leave(&rig, -1, 11, 0o600);
    let output = rig.longshore(&["logout"]);
    assert!(output.status.success(), "{output:?}");
    check(&rig, false);
}
