//! What is remembered and what is forgotten, with nobody to ask: the identity of these tests has no credentials.

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::{
    config::TokenProtection,
    ecr::{EcrRegistry, Identity, Session},
    store::Entry,
};
use notes::About;

const HOUR: Duration = Duration::from_hours(1);

/// A token of a profile that is nowhere: minting it fails at once, and touches no network.
pub(super) fn nobodys() -> Wanted {
    let scope = EcrRegistry::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap().scope;
    let profile = Some("nobody-in-the-tests-of-longshore".to_owned());
    let endpoint_url = Some("http://127.0.0.1:1".to_owned());
    Wanted { scope, identity: Identity { profile, endpoint_url, ..Identity::default() } }
}

pub(super) fn store(dir: &tempfile::TempDir) -> TokenStore {
    TokenStore::new(dir.path(), &TokenProtection::File)
}

/// A token that is renewed and ends so many seconds from now.
pub(super) fn token(password: &str, refresh: i64, end: i64) -> AuthorizationToken {
    let now = SystemTime::now();
    let time = |from_now: i64| {
        let distance = Duration::from_secs(from_now.unsigned_abs());
        if from_now < 0 { now - distance } else { now + distance }
    };
    let basic = Secret::new(STANDARD.encode(format!("AWS:{password}")));
    AuthorizationToken { basic, minted_at: now - HOUR, refresh_at: time(refresh), expires_at: time(end) }
}

pub(super) fn put(tokens: &TokenStore, key: &TokenKey, token: &AuthorizationToken) {
    let about = About::Token { wanted: Box::new(nobodys()), registry: None }.text();
    let AuthorizationToken { basic: secret, minted_at, refresh_at, expires_at } = token.clone();
    tokens.put(key, &Entry { secret, minted_at, refresh_at, expires_at, about }).unwrap();
}

pub(super) fn attempt(tokens: &TokenStore, key: TokenKey, demand: Demand) -> Attempt {
    Attempt { tokens: tokens.clone(), key, wanted: nobodys(), registry: None, demand, is_interactive: false }
}

fn failure() -> Failure {
    Failure { cause: "no".to_owned(), remedy: "none".to_owned(), is_bare: true }
}

#[tokio::test]
async fn a_failure_is_remembered_for_who_just_asks_and_not_for_who_was_refused_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, key) = (store(&dir), nobodys().key());
    let is_remembered = async |demand: Demand| {
        notes::remember_failure(&tokens, &key, failure());
        let outcome = attempt(&tokens, key.clone(), demand).run().await;
        matches!(outcome.unwrap_err(), Error::Remembered { .. })
    };
    assert!(is_remembered(Demand::Usual).await);
    assert!(!is_remembered(Demand::Instead(token("refused", 1, 2).basic)).await);
    assert!(!is_remembered(Demand::Anew).await);
}

#[tokio::test]
async fn a_token_that_is_kept_ends_the_failures_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, key) = (store(&dir), nobodys().key());
    notes::remember_failure(&tokens, &key, failure());
    notes::postpone(&tokens, &key);
    let new = token("new", 3600, 7200);
    attempt(&tokens, key.clone(), Demand::Usual).keep(tokens.lock(&key), &new).await.unwrap();
    assert_eq!(tokens.get(&key).unwrap().unwrap().secret, new.basic);
    assert!(notes::failure(&tokens, &key).is_none() && !notes::is_postponed(&tokens, &key));
}

#[tokio::test]
async fn a_token_is_not_kept_under_a_key_that_is_its_own_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, before) = (store(&dir), TokenKey::new("as the profile was when minting began"));
    let attempt = attempt(&tokens, before.clone(), Demand::Usual);
    attempt.keep(tokens.lock(&before), &token("new", 3600, 7200)).await.unwrap();
    assert!(kept(&tokens).unwrap().is_empty());
}

#[test]
fn whoever_logs_out_is_rid_of_all_that_was_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, wanted) = (store(&dir), nobodys());
    let (key, registry) = (wanted.key(), "123456789012.dkr.ecr.us-east-1.amazonaws.com".parse().unwrap());
    put(&tokens, &key, &token("old", 3600, 7200));
    notes::remember_failure(&tokens, &key, failure());
    notes::postpone(&tokens, &key);
    remember_login(&tokens, "123456789012.dkr.ecr.us-east-1.amazonaws.com", None);
    let expires_at = SystemTime::now() + HOUR;
    let session = Session { what: "code".to_owned(), secret: Secret::new("keys".to_owned()), expires_at };
    notes::remember_session(&tokens, &wanted, session);
    assert_eq!(logins(&tokens).unwrap().len(), 1);
    forget(&tokens, &registry, &wanted).unwrap();
    assert!(matches!(at_hand(&tokens, &wanted), Ok(AtHand::Nothing)));
    assert!(!notes::is_postponed(&tokens, &key) && notes::session(&tokens, &wanted).is_none());
    assert!(logins(&tokens).unwrap().is_empty() && tokens.get(&key).unwrap().is_none());
}

#[test]
fn a_token_without_user_and_password_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, wanted) = (store(&dir), nobodys());
    let key = wanted.key();
    for (basic, is_good) in
        [(STANDARD.encode("AWS:x"), true), (STANDARD.encode("no colon"), false), ("%".into(), false)]
    {
        put(&tokens, &key, &AuthorizationToken { basic: Secret::new(basic), ..token("", 3600, 7200) });
        assert_eq!(matches!(at_hand(&tokens, &wanted), Ok(AtHand::Token(_))), is_good);
        assert_eq!(at_hand::usable(&tokens, &key, &Demand::Usual).unwrap().is_some(), is_good);
    }
}

#[test]
fn ecr_public_is_anonymous_for_long_without_credentials_and_briefly_when_they_fail() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::new(Arc::default(), store(&dir));
    let key = nobodys().key();
    for (is_bare, least, most) in [(true, 9 * 60, 60 * 60), (false, 10, 60)] {
        let error = Error::remembered(&nobodys(), Failure { is_bare, ..failure() }, HOUR);
        let before = Instant::now();
        assert_eq!(credentials.go_anonymous(key.clone(), &error), Credential::Anonymous);
        assert!(credentials.is_anonymous(&key));
        let time = lock(&credentials.anonymous_until)[&key] - before;
        assert!((least..=most).contains(&time.as_secs()), "{time:?}");
    }
    lock(&credentials.anonymous_until).insert(key.clone(), Instant::now());
    assert!(!credentials.is_anonymous(&key));
}
