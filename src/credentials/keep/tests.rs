//! Which tokens a daemon renews, when, and how often it tries.

use std::collections::BTreeSet;

use super::*;
use crate::credentials::tests::{attempt, nobodys, put, store, token};

fn daemon(dir: &tempfile::TempDir) -> Credentials {
    Credentials::new(Arc::default(), store(dir))
}

/// The keys that are due now.
async fn due(daemon: &Credentials) -> Vec<TokenKey> {
    daemon.due(&mut HashMap::new()).await.into_iter().map(|(key, ..)| key).collect()
}

fn remember(daemon: &Credentials, key: &TokenKey, token: crate::ecr::AuthorizationToken) {
    lock(&daemon.memory).insert(key.clone(), Held { wanted: nobodys(), token, replaced_at: None });
}

#[tokio::test]
async fn a_token_past_half_of_its_life_is_due_wherever_it_lies_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, key) = (daemon(&dir), nobodys().key());
    assert!(due(&daemon).await.is_empty());
    put(&daemon.tokens, &key, &token("old", -600, 3600));
    assert_eq!(due(&daemon).await, std::slice::from_ref(&key));
    remember(&daemon, &key, token("old", -600, 3600));
    assert_eq!(due(&daemon).await, std::slice::from_ref(&key));
    daemon.tokens.remove(&key).unwrap();
    assert_eq!(due(&daemon).await, std::slice::from_ref(&key));
    remember(&daemon, &key, token("young", 600, 3600));
    assert!(due(&daemon).await.is_empty());
}

#[tokio::test]
async fn what_the_configuration_describes_differently_now_is_not_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, before) = (daemon(&dir), TokenKey::new("as the profile was"));
    put(&daemon.tokens, &before, &token("old", -600, 3600));
    remember(&daemon, &before, token("old", -600, 3600));
    let mut keepers = HashMap::new();
    assert!(daemon.due(&mut keepers).await.is_empty());
    // nor kept from the helper, who may know whose it is
    assert!(keepers.is_empty() && lock(&daemon.memory).is_empty());
}

#[tokio::test]
async fn a_token_that_is_over_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, key) = (daemon(&dir), nobodys().key());
    remember(&daemon, &key, token("over", -600, 1));
    assert!(due(&daemon).await.is_empty());
    assert!(lock(&daemon.memory).is_empty());
}

#[tokio::test]
async fn what_another_process_renewed_is_not_minted_again() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, key) = (daemon(&dir), nobodys().key());
    remember(&daemon, &key, token("old", -600, 3600));
    put(&daemon.tokens, &key, &token("new", 3600, 7200));
    assert!(due(&daemon).await.is_empty());
    // nor when it happens after the look: with nobody's credentials minting would fail
    let renewed = attempt(&daemon.tokens, key, Demand::Usual).renew().await.unwrap();
    assert_eq!(renewed.basic, token("new", 0, 0).basic);
}

#[tokio::test]
async fn what_another_daemon_keeps_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, key) = (daemon(&dir), nobodys().key());
    put(&daemon.tokens, &key, &token("old", -600, 3600));
    let _other = daemon.tokens.keep(&key).unwrap();
    assert!(due(&daemon).await.is_empty());
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_once_and_then_rests_for_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, key) = (daemon(&dir), nobodys().key());
    put(&daemon.tokens, &key, &token("old", -600, 3600));
    let mut care = Care::default();
    daemon.round(&mut care).await;
    let first = care.failed[&key];
    daemon.round(&mut care).await;
    assert_eq!(care.failed[&key], first);
    let still = first.checked_sub(PAUSE / 2).unwrap();
    care.failed.insert(key.clone(), still);
    daemon.round(&mut care).await;
    assert_eq!(care.failed[&key], still);
    let over = first.checked_sub(PAUSE).unwrap();
    care.failed.insert(key.clone(), over);
    daemon.round(&mut care).await;
    assert!(care.failed[&key] > first);
    assert!(PAUSE >= Duration::from_mins(2));
}

/// A key that begins with these digits.
fn beginning(with: &str) -> TokenKey {
    (0..100_000)
        .map(|number: u32| TokenKey::new(&format!("{number}")))
        .find(|key| key.as_str().starts_with(with))
        .unwrap()
}

#[test]
fn tokens_of_one_moment_are_renewed_apart_and_all_in_their_second_half() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 50);
    let after = |with: &str, room: Duration| renewal_of(&beginning(with), now, now + room).duration_since(now).unwrap();
    let (half_a_day, brief) = (Duration::from_hours(6), Duration::from_mins(4));
    assert_eq!(after("00", half_a_day), Duration::ZERO);
    assert_eq!(after("80", half_a_day), Duration::from_mins(5) / 2);
    let latest = after("ff", half_a_day);
    assert!(latest > Duration::from_secs(295) && latest < Duration::from_mins(5), "{latest:?}");
    // of a brief token no more than a quarter of what is left
    assert_eq!(after("80", brief), Duration::from_secs(30));
    assert!(after("ff", brief) < Duration::from_mins(1));
    let all: BTreeSet<_> = ["00", "01", "10", "7f", "80", "fe", "ff"].map(|with| after(with, half_a_day)).into();
    assert_eq!(all.len(), 7);
    // what is over already is due
    assert_eq!(renewal_of(&beginning("ff"), now, now - half_a_day), now);
}
