//! Tokens that Amazon's own helper left in `~/.ecr/cache.json`: whoever switches to Longshore need not mint anew.
//!
//! Reads, never writes. Its keys name an access key, so only identities that are an access key can be found: those of the
//! environment and of profiles with keys. Nothing in it is taken that is past half of its life.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::Wanted;
use crate::{
    ecr::{AuthorizationToken, EcrRegistry, Profiles, key_in_environment},
    environment,
    secret::Secret,
};

/// Versions before 0.12 appended the MD5 of nothing to the key's id instead of hashing it.
const MD5_OF_NOTHING: [u8; 16] =
    [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Cache {
    #[serde(default)]
    registries: HashMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    authorization_token: String,
    requested_at: Timestamp,
    expires_at: Timestamp,
}

/// The token that Amazon's helper would hand out for `registry`, while it is fresh.
pub(super) fn token(wanted: &Wanted, registry: &str) -> Option<AuthorizationToken> {
    let id = access_key(wanted)?;
    let path = file()?;
    if !is_private(&path) {
        return None;
    }
    let mut cache: Cache = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let account = EcrRegistry::parse(registry)?.account;
    let entry = keys(&id, wanted, account.as_deref()).find_map(|key| cache.registries.remove(&key))?;
    let (minted_at, expires_at) = (SystemTime::from(entry.requested_at), SystemTime::from(entry.expires_at));
    let refresh_at = minted_at + expires_at.duration_since(minted_at).ok()? / 2;
    let basic = Secret::new(entry.authorization_token);
    let token = AuthorizationToken { basic, minted_at, refresh_at, expires_at };
    let is_good = token.is_fresh(SystemTime::now()) && token.user_and_password().is_some();
    Some(token).filter(|_| is_good)
}

fn keys(id: &str, wanted: &Wanted, account: Option<&str>) -> impl Iterator<Item = String> {
    let hashed = STANDARD.encode(digest(&SHA256, id.as_bytes()));
    let appended = STANDARD.encode([id.as_bytes(), &MD5_OF_NOTHING].concat());
    let (region, account) = (wanted.scope.region.clone(), account.map(str::to_owned));
    [hashed, appended].into_iter().map(move |key| match &account {
        Some(account) => format!("{region}-{key}-{account}"),
        None => format!("ecr-public-{key}"),
    })
}

/// The access key that the identity is, if it is one. FIPS and dual-stack names share tokens there, which are not ours to
/// take: they may come from another API.
fn access_key(wanted: &Wanted) -> Option<String> {
    let identity = &wanted.identity;
    if identity.role.is_some() || identity.mfa.is_some() || wanted.scope.fips || wanted.scope.dual_stack {
        return None;
    }
    let is_web = || environment::variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
    let of_profile = |name: &str| Profiles::read().access_key(name);
    match &identity.profile {
        Some(profile) => of_profile(profile),
        None if key_in_environment().is_some() => key_in_environment(),
        None if is_web() => None,
        None => of_profile(&Profiles::selected().0),
    }
}

/// Whether Amazon's helper has been used here.
pub(super) fn is_there() -> bool {
    file().is_some_and(|file| file.exists())
}

fn file() -> Option<PathBuf> {
    let dir = environment::named_token_dir();
    Some(dir.or_else(|| dirs::home_dir().map(|home| home.join(".ecr")))?.join("cache.json"))
}

/// Whether nobody else can read or could have written the file.
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    fs::metadata(path).is_ok_and(|metadata| {
        let others = metadata.mode() & 0o077;
        metadata.uid() == own && others == 0
    })
}
