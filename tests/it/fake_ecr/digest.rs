//! Hashes in the spellings the fake needs: hex, `sha256:<hex>`, HMAC, and stable uuids.
//!
//! Nothing here is random: the same text gives the same answer in every run.
use std::fmt::Write as _;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, hmac};

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// `sha256:` and 64 hex digits.
pub(super) fn of(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

pub(super) fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

pub(super) fn hmac_hex(key: &[u8], text: &str) -> String {
    hex(&hmac(key, text.as_bytes()))
}

/// A uuid that depends on the text only.
pub(super) fn uuid_of(text: &str) -> String {
    let hex = sha256_hex(text.as_bytes());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// One step of `SplitMix64`: turns a counter into well mixed bits.
pub(super) fn mix(counter: u64) -> u64 {
    let mut bits = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Incompressible bytes, the same ones for the same seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    // the key stream of a cipher, since ring is fast in debug builds too
    let mut key = [0; 32];
    key[..8].copy_from_slice(&mix(seed).to_le_bytes());
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("the key has 32 bytes");
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let mut bytes = vec![0; length];
    let _tag = LessSafeKey::new(key)
        .seal_in_place_separate_tag(nonce, Aad::empty(), &mut bytes)
        .expect("layers are shorter than 256 GiB");
    bytes
}
