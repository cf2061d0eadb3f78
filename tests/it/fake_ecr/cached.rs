//! What the AWS CLI leaves behind in a home after a sign-in, for the SDK to find.
//!
//! Nothing here knows a running fake.
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

use super::digest::hex;

/// Writes the token of an `sso-session`, or of a start URL, as `aws sso login` does; returns the file.
#[track_caller]
pub fn cache_sso_token(home: &Path, session: &str, token: &Value) -> PathBuf {
    write(&home.join(".aws/sso/cache"), &SHA1_FOR_LEGACY_USE_ONLY, session, token)
}

/// Writes a login session that expires at a time such as `2024-01-01T00:00:00Z`, as `aws login` does; returns the file.
#[track_caller]
pub fn cache_login(home: &Path, arn: &str, expires_at: &str) -> PathBuf {
    let token = json!({
        "accessToken": {
            "accessKeyId": "ASIACACHEDLOGIN",
            "secretAccessKey": "secret",
            "sessionToken": "token",
            "accountId": arn.split(':').nth(4).unwrap_or_default(),
            "expiresAt": expires_at,
        },
        "tokenType": "aws_sigv4",
        "refreshToken": "cached-refresh-token",
        "clientId": "arn:aws:signin:::devtools/same-device",
        "dpopKey": sec1_key(),
    });
    write(&home.join(".aws/login/cache"), &SHA256, arn, &token)
}

#[track_caller]
fn write(folder: &Path, algorithm: &'static Algorithm, name: &str, content: &Value) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let file = folder.join(format!("{}.json", hex(digest(algorithm, name.as_bytes()).as_ref())));
    fs::write(&file, content.to_string()).unwrap();
    file
}

/// A P-256 key as the AWS CLI writes it; PKCS#8 ends with it.
fn sec1_key() -> String {
    let pkcs8 = KeyPair::generate().unwrap().serialize_der();
    let start = pkcs8.windows(7).rposition(|bytes| bytes == [0x30, 0x6b, 2, 1, 1, 4, 0x20]).unwrap();
    let base64 = STANDARD.encode(&pkcs8[start..]);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", lines.join("\n"))
}
