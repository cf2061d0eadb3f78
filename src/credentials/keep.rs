//! The daemon's care for tokens: each is renewed in the last half of its life, before anybody has to wait for it.
//!
//! Takes care of the tokens this daemon handed out, and of those the helper left on disk that it could mint itself: a token
//! of an identity that only the user's shell knows is left alone.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Credentials, Held, Wanted,
    at_hand::{Kept, kept},
    lock,
    obtain::{Attempt, Demand},
};
use crate::{
    chain::chain,
    store::{Keeper, TokenKey},
};

/// How often the tokens are looked at; their half life is hours.
const ROUND: Duration = Duration::from_secs(30);

/// How long a renewal that failed is left alone: it may run a command of the user, or spend a one-time code.
const PAUSE: Duration = Duration::from_mins(5);

/// What is remembered from round to round.
#[derive(Default)]
struct Care {
    /// The tokens that are this daemon's to renew.
    keepers: HashMap<TokenKey, Keeper>,
    /// The renewals that failed, and when.
    failed: HashMap<TokenKey, Instant>,
}

impl Credentials {
    /// Renews tokens in time until `stop`.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let mut care = Care::default();
        let mut rounds = interval_at(Instant::now(), ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round(&mut care) => {}
            }
        }
    }

    async fn round(&self, care: &mut Care) {
        let due = self.due(&mut care.keepers).await;
        care.failed.retain(|_, at| at.elapsed() < PAUSE);
        for (key, wanted, registry) in due {
            if care.failed.contains_key(&key) {
                continue;
            }
            let attempt = Attempt {
                tokens: self.tokens.clone(),
                key: key.clone(),
                wanted: wanted.clone(),
                registry,
                demand: Demand::Usual,
                is_interactive: false,
            };
            match attempt.renew().await {
                Ok(token) => {
                    info!(%wanted, "authorization token renewed");
                    lock(&self.memory).insert(key, Held { wanted, token, replaced_at: None });
                }
                Err(error) => {
                    warn!(error = chain(&error), "a token cannot be renewed yet; tried again in some minutes");
                    care.failed.insert(key, Instant::now());
                }
            }
        }
    }

    /// The tokens whose time has come, of those that are this daemon's to renew.
    async fn due(&self, keepers: &mut HashMap<TokenKey, Keeper>) -> Vec<(TokenKey, Wanted, Option<String>)> {
        let now = SystemTime::now();
        let (tokens, memory, mut held) = (self.tokens.clone(), Arc::clone(&self.memory), std::mem::take(keepers));
        let looked = spawn_blocking(move || {
            // what the configuration describes differently now is nobody's any more
            lock(&memory).retain(|key, held| held.token.is_usable(now) && held.wanted.key() == *key);
            let entries = kept(&tokens).unwrap_or_else(|error| {
                debug!(error = chain(&error), "the token store cannot be listed");
                Vec::new()
            });
            // what has this name under the daemon's own environment and configuration, the daemon can mint
            let own: Vec<_> = entries.into_iter().filter(|kept| kept.wanted.key() == kept.key).collect();
            held.retain(|key, _| own.iter().any(|kept| kept.key == *key));
            for Kept { key, .. } in &own {
                if !held.contains_key(key)
                    && let Some(keeper) = tokens.keep(key)
                {
                    held.insert(key.clone(), keeper);
                }
            }
            (held, own)
        });
        // a task that died has dropped its keepers: the helper renews by itself meanwhile
        let (held, own) = looked.await.unwrap_or_default();
        *keepers = held;
        let mut due: HashMap<TokenKey, (Wanted, Option<String>)> = lock(&self.memory)
            .iter()
            .filter(|(key, held)| renewal_of(key, held.token.refresh_at, held.token.expires_at) <= now)
            .map(|(key, held)| (key.clone(), (held.wanted.clone(), None)))
            .collect();
        for Kept { key, wanted, registry, entry } in own {
            let is_newer = lock(&self.memory).get(&key).is_none_or(|held| held.token.expires_at < entry.expires_at);
            let is_due = renewal_of(&key, entry.refresh_at, entry.expires_at) <= now;
            if is_newer && is_due && keepers.contains_key(&key) {
                due.insert(key, (wanted, registry));
            } else if is_newer && !is_due {
                // another process renewed it
                due.remove(&key);
            }
        }
        due.into_iter().map(|(key, (wanted, registry))| (key, wanted, registry)).collect()
    }
}

/// When a token is to be renewed by somebody who has the time: a little after its half life, not all at once.
fn renewal_of(token_key: &TokenKey, refresh_at: SystemTime, expires_at: SystemTime) -> SystemTime {
    /// Many machines that were started together renew apart.
    const SPREAD: Duration = Duration::from_mins(5);
    let room = expires_at.duration_since(refresh_at).unwrap_or_default() / 4;
    let share = u32::from(u8::from_str_radix(token_key.as_str().get(..2).unwrap_or("0"), 16).unwrap_or(0));
    refresh_at + SPREAD.min(room) * share / 256
}

#[cfg(test)]
mod tests;
