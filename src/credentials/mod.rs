//! Which credential for which registry: the configured password, else for ECR the token store, then ECR, else anonymous.
//!
//! Used by the helper and the daemon alike, so both share tokens. A token is minted by one task of one process at a time;
//! an expired one is never handed out, a valid one is even when a newer one cannot be had.

mod at_hand;
mod error;
mod former;
mod keep;
mod notes;
mod obtain;
mod person;
#[cfg(test)]
mod tests;
mod wanted;
mod whose;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::{
    config::Config,
    ecr::AuthorizationToken,
    environment,
    flight::{Flights, GivenUp},
    oci::Registry,
    secret::Secret,
    store::{TokenKey, TokenStore},
};
use obtain::Attempt;

pub use at_hand::{AtHand, Kept, at_hand, forget, forget_all, forget_all_failures, forget_failures, kept};
pub use error::Error;
pub use notes::{Failure, login_token, logins, remember_login};
pub use obtain::{DEADLINE, Demand};
pub use wanted::{Selection, Wanted, Way, rule, way};
pub use whose::{Whose, behind_daemon, is_ecr_by_name, whose};

/// ECR Public works without credentials; how long a machine that has none is not asked again.
const ANONYMOUS_FOR: Duration = Duration::from_mins(10);
/// How long one is not asked again whose credentials cannot be had now.
const ANONYMOUS_FOR_NOW: Duration = Duration::from_secs(30);
/// A registry that refuses even a new token is not to cost a new one with each request.
const RENEWALS_APART: Duration = Duration::from_secs(5);

/// What it means that [`run_to_end`] cannot begin.
pub const NO_RUNTIME: &str = "the system gives this process no threads or file descriptors";

/// The token store of this user, where and as the configuration and the environment say.
#[must_use]
pub fn token_store(config: &Config) -> TokenStore {
    TokenStore::new(&environment::token_dir(config), &environment::token_protection(config))
}

/// Runs `work` to its end. Only programs that mint call this: with it a runtime, TLS and the AWS SDK are linked.
pub fn run_to_end<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = runtime.block_on(work);
    // a thread that waits for another process's lock must not hold this one back
    runtime.shutdown_background();
    Ok(output)
}

/// What is presented to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// Base64 of `user:password`, as it stands behind `Authorization: Basic`.
    Basic(Secret),
}

type Minted = Result<AuthorizationToken, Arc<Error>>;

/// A token in memory.
#[derive(Debug)]
struct Held {
    wanted: Wanted,
    token: AuthorizationToken,
    /// When it was got in the place of one that a registry refused, if it was.
    replaced_at: Option<Instant>,
}

/// The credentials of this machine.
#[derive(Debug)]
pub struct Credentials {
    config: Arc<Config>,
    tokens: TokenStore,
    /// Whether there is a person to ask for one-time codes.
    is_interactive: bool,
    memory: Arc<Mutex<HashMap<TokenKey, Held>>>,
    anonymous_until: Mutex<HashMap<TokenKey, Instant>>,
    flights: Flights<TokenKey, Minted>,
}

impl Credentials {
    /// Credentials by the rules of `config`, with tokens kept in `tokens`. Nobody is asked for one-time codes.
    #[must_use]
    pub fn new(config: Arc<Config>, tokens: TokenStore) -> Self {
        Self {
            config,
            tokens,
            is_interactive: false,
            memory: Arc::default(),
            anonymous_until: Mutex::default(),
            flights: Flights::default(),
        }
    }

    /// The same with a person at the terminal, who is asked for one-time codes.
    #[must_use]
    pub fn interactive(self) -> Self {
        Self { is_interactive: true, ..self }
    }

    /// The credential for `registry`.
    pub async fn get(&self, registry: &Registry) -> Result<Credential, Arc<Error>> {
        self.find(registry, Demand::Usual).await
    }

    /// Another credential for `registry`, after it refused `stale`. The same again means there is no better one.
    pub async fn renew(&self, registry: &Registry, stale: &Credential) -> Result<Credential, Arc<Error>> {
        match stale {
            Credential::Basic(secret) => self.find(registry, Demand::Instead(secret.clone())).await,
            Credential::Anonymous => Ok(Credential::Anonymous),
        }
    }

    async fn find(&self, registry: &Registry, demand: Demand) -> Result<Credential, Arc<Error>> {
        let own = rule(&self.config, registry);
        if let Some((user, file)) = own.and_then(|rule| rule.username.as_ref().zip(rule.password_file.as_ref())) {
            return configured(user.clone(), file.clone()).await.map_err(Arc::new);
        }
        let Way::Token(wanted) = way(&self.config, registry, &Selection::default()) else {
            return Ok(Credential::Anonymous);
        };
        let is_public = wanted.scope.public;
        let key = key_of(&wanted).await?;
        if is_public && self.is_anonymous(&key) {
            return Ok(Credential::Anonymous);
        }
        match self.token_under(key.clone(), *wanted, Some(registry), demand).await {
            Ok(token) => Ok(Credential::Basic(token.basic)),
            Err(error) if is_public => Ok(self.go_anonymous(key, &error)),
            Err(error) => Err(error),
        }
    }

    /// A token that will do, minted if need be, for `registry` if one asked.
    pub async fn token(&self, wanted: Wanted, registry: Option<&Registry>, demand: Demand) -> Minted {
        let key = key_of(&wanted).await?;
        self.token_under(key, wanted, registry, demand).await
    }

    async fn token_under(&self, key: TokenKey, wanted: Wanted, registry: Option<&Registry>, demand: Demand) -> Minted {
        if let Some(token) = self.in_memory(&key, &demand) {
            return Ok(token);
        }
        let work = || {
            let attempt = Attempt {
                tokens: self.tokens.clone(),
                key: key.clone(),
                wanted: wanted.clone(),
                registry: registry.map(ToString::to_string),
                demand,
                is_interactive: self.is_interactive,
            };
            let (memory, key) = (Arc::clone(&self.memory), key.clone());
            async move {
                let is_replacement = matches!(attempt.demand, Demand::Instead(_));
                let minted = attempt.run().await.map_err(Arc::new)?;
                let held = Held { wanted, token: minted.clone(), replaced_at: is_replacement.then(Instant::now) };
                lock(&memory).insert(key, held);
                Ok(minted)
            }
        };
        match self.flights.join(key.clone(), work).await {
            Ok((minted, _)) => minted,
            Err(given_up) => Err(Arc::new(Error::GivenUp(given_up))),
        }
    }

    /// The token in memory if it will do; a refused one, too, if it was itself got in its predecessor's place just now.
    fn in_memory(&self, key: &TokenKey, demand: &Demand) -> Option<AuthorizationToken> {
        let memory = lock(&self.memory);
        let Held { token, replaced_at, .. } = memory.get(key)?;
        let is_new = replaced_at.is_some_and(|at| at.elapsed() < RENEWALS_APART);
        let will_do = demand.takes(token) || (is_new && matches!(demand, Demand::Instead(_)));
        Some(token.clone()).filter(|token| will_do && token.is_usable(SystemTime::now()))
    }

    fn is_anonymous(&self, key: &TokenKey) -> bool {
        lock(&self.anonymous_until).get(key).is_some_and(|until| Instant::now() < *until)
    }

    fn go_anonymous(&self, key: TokenKey, error: &Error) -> Credential {
        let time = if error.is_bare() {
            info!("no AWS credentials: ECR Public is used anonymously, which limits pulls to one a second");
            ANONYMOUS_FOR
        } else {
            warn!(%error, "ECR Public is used anonymously for now, which limits pulls to one a second");
            ANONYMOUS_FOR_NOW
        };
        lock(&self.anonymous_until).insert(key, Instant::now() + time);
        Credential::Anonymous
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The AWS configuration is read each time: an edited profile counts at once.
async fn key_of(wanted: &Wanted) -> Result<TokenKey, Arc<Error>> {
    let wanted = wanted.clone();
    spawn_blocking(move || wanted.key()).await.map_err(|_| Arc::new(Error::GivenUp(GivenUp)))
}

async fn configured(user: String, path: PathBuf) -> Result<Credential, Error> {
    let file = path.clone();
    let text = spawn_blocking(move || std::fs::read_to_string(file)).await.unwrap_or_else(|died| Err(died.into()));
    let text = Secret::new(text.map_err(|source| Error::Password { path, source })?);
    let password = text.expose().lines().next().unwrap_or_default();
    let pair = Secret::new(format!("{user}:{password}"));
    Ok(Credential::Basic(Secret::new(STANDARD.encode(pair.expose()))))
}
