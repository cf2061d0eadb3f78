//! [`AuthorizationToken`]: what `GetAuthorizationToken` hands out.
//!
//! It does not know for whom it was minted; when it may be handed out is asked with the time as an argument.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::secret::Secret;

/// A token is not handed out in its last minute: it must outlive the request it is for.
const LAST_MINUTE: Duration = Duration::from_mins(1);

/// A token, good for every registry of its scope until it expires (12 hours after minting).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationToken {
    /// The token as it came: base64 of `AWS:<password>`, usable as it is behind `Authorization: Basic`.
    pub basic: Secret,
    /// When it was minted.
    pub minted_at: SystemTime,
    /// When a newer one is wanted; this one may be handed out all the same.
    pub refresh_at: SystemTime,
    /// When ECR stops taking it.
    pub expires_at: SystemTime,
}

impl AuthorizationToken {
    /// The token that somebody logs in with, if its own words tell when it ends: ECR's passwords are base64 of a JSON
    /// object with `expiration`, in seconds since 1970.
    #[must_use]
    pub fn of_login(password: &Secret) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Said {
            expiration: u64,
        }
        let bytes = zeroize::Zeroizing::new(STANDARD.decode(password.expose()).ok()?);
        let said: Said = serde_json::from_slice(&bytes).ok()?;
        let expires_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(said.expiration))?;
        let pair = Secret::new(format!("AWS:{}", password.expose()));
        let basic = Secret::new(STANDARD.encode(pair.expose()));
        // it is not ours to renew
        Some(Self { basic, minted_at: SystemTime::now(), refresh_at: expires_at, expires_at })
    }

    /// Whether the token may be handed out at `now`.
    #[must_use]
    pub fn is_usable(&self, now: SystemTime) -> bool {
        now + LAST_MINUTE < self.expires_at
    }

    /// Whether no newer token is wanted at `now`.
    #[must_use]
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now < self.refresh_at && self.is_usable(now)
    }

    /// User and password inside the token; `None` when it is not base64 of `user:password`.
    #[must_use]
    pub fn user_and_password(&self) -> Option<(String, Secret)> {
        let bytes = STANDARD.decode(self.basic.expose()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), Secret::new(password.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, expires_at: SystemTime) -> AuthorizationToken {
        AuthorizationToken {
            basic: Secret::new(STANDARD.encode(text)),
            minted_at: expires_at,
            refresh_at: expires_at,
            expires_at,
        }
    }

    #[test]
    fn a_token_is_not_handed_out_in_its_last_minute() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        assert!(token("a:b", now + Duration::from_secs(61)).is_usable(now));
        assert!(!token("a:b", now + Duration::from_mins(1)).is_usable(now));
        assert!(!token("a:b", now - Duration::from_mins(1)).is_usable(now));
    }

    #[test]
    fn the_password_may_contain_colons_and_garbage_is_no_token() {
        let now = SystemTime::UNIX_EPOCH;
        let (user, password) = token("AWS:a:b", now).user_and_password().unwrap();
        assert_eq!((user.as_str(), password.expose()), ("AWS", "a:b"));
        assert!(token("no colon", now).user_and_password().is_none());
        let garbage = AuthorizationToken { basic: Secret::new("*".into()), ..token("", now) };
        assert!(garbage.user_and_password().is_none());
    }
}
