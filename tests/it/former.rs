//! Switching from Amazon's helper: what it left in `~/.ecr/cache.json` is used while it is fresh, and never written.

use std::{fs, os::unix::fs::PermissionsExt as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use longshore::oci::Digest;

use crate::rig::{REGISTRY, Rig, text};

/// Writes its cache as version 0.12 does, with a token that was requested and expires so many hours from now.
fn leave(rig: &Rig, requested: i64, expires: i64, mode: u32) -> String {
    let hex = Digest::of(b"AKIDEXAMPLE").hex().to_owned();
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    let key = format!("us-east-1-{}-123456789012", STANDARD.encode(bytes));
    let time = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    let token = STANDARD.encode("AWS:a-token-of-the-former-helper");
    let (requested, expires) = (time(requested), time(expires));
    let cache = format!(
        "{{\"Registries\":{{\"{key}\":{{\"AuthorizationToken\":\"{token}\",\"RequestedAt\":\"{requested}\",\
         \"ExpiresAt\":\"{expires}\",\"ProxyEndpoint\":\"https://{REGISTRY}\",\"Service\":\"ecr\"}}}},\"Version\":\"1.0\"}}"
    );
    let dir = rig.dir.path().join("home/.ecr");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("cache.json"), &cache).unwrap();
    fs::set_permissions(dir.join("cache.json"), fs::Permissions::from_mode(mode)).unwrap();
    cache
}

#[track_caller]
fn check(rig: &Rig, is_taken: bool) {
    let output = rig.helper("get", REGISTRY);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).contains("a-token-of-the-former-helper"), is_taken, "{output:?}");
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
    assert!(!text(&output.stdout).contains("a-token-of-the-former-helper"), "{output:?}");
}
