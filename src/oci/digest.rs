//! Content digests, `sha256:<hex>`, as the OCI image specification defines them.
//!
//! Holding a [`Digest`] means its text is well formed, never that bytes were checked: that is [`Verifier`].

use std::{fmt, str::FromStr};

use ring::digest::{Context, SHA256};

use super::Invalid;

const PREFIX: &str = "sha256:";
const HEX_DIGITS: usize = 64;

/// `sha256:` and 64 lowercase hex digits. Other algorithms are refused: no registry known to us uses one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Box<str>);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut verifier = Verifier::new();
        verifier.update(bytes);
        verifier.finish()
    }

    /// The 64 hex digits behind the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The whole text, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hex = text.strip_prefix(PREFIX).unwrap_or_default();
        if hex.len() == HEX_DIGITS && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self(text.into()));
        }
        Err(Invalid::new("digest", text, "sha256: and 64 lowercase hex digits"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over bytes as they come, in order.
#[derive(Clone)]
pub struct Verifier(Context);

impl Verifier {
    /// A verifier that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        use fmt::Write as _;
        let mut text = String::with_capacity(PREFIX.len() + HEX_DIGITS);
        text.push_str(PREFIX);
        for byte in self.0.finish().as_ref() {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        Digest(text.into())
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn check(text: &str, ok: bool) {
        assert_eq!(text.parse::<Digest>().is_ok(), ok, "{text:?}");
    }

    #[test]
    fn a_digest_is_sha256_and_64_lowercase_hex_digits() {
        check(EMPTY, true);
        check(&EMPTY.to_uppercase(), false);
        check(&EMPTY[..70], false);
        check(&format!("{EMPTY}0"), false);
        check("sha512:e3b0", false);
        check("", false);
        check(&EMPTY.replace("e3", "é"), false);
    }

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
    }

    #[test]
    fn a_verifier_fed_in_pieces_agrees_with_one_fed_at_once() {
        let mut verifier = Verifier::new();
        for piece in b"the same bytes".chunks(3) {
            verifier.update(piece);
        }
        assert_eq!(verifier.finish(), Digest::of(b"the same bytes"));
    }
}
