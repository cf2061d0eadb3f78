//! Which credential for which registry: the token store, then ECR, then the configuration, else anonymous.
//!
//! Used by the helper and the daemon alike, so both share tokens. A token is minted by one task of one process at a time.

mod identity;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::{
    chain::chain,
    config::{Config, RegistryRule},
    ecr::{AuthorizationToken, EcrRegistry, MintError, MintErrorKind, TokenScope, mint},
    flight::{Flights, GivenUp},
    oci::Registry,
    secret::Secret,
    store::{TokenKey, TokenStore, TokenStoreError},
};

/// A token is there or the attempt is over within this time: a second is left of the helper's 8 to say why.
const DEADLINE: Duration = Duration::from_secs(7);
/// ECR Public works without credentials; how long a machine that has none is not asked again.
const ANONYMOUS_FOR: Duration = Duration::from_mins(10);
/// How long one is not asked again whose credentials cannot be had now.
const ANONYMOUS_FOR_NOW: Duration = Duration::from_secs(30);

/// What is presented to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// Base64 of `user:password`, as it stands behind `Authorization: Basic`.
    Basic(Secret),
}

/// Whose rights were asked for by the name the program was called by. They beat the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The AWS profile that is used for everything.
    pub profile: Option<String>,
}

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ECR or the AWS credential chain gave none.
    #[error("{scope}: {source}")]
    Mint {
        /// What the token would have been for.
        scope: TokenScope,
        /// Why there is none.
        source: MintError,
    },
    /// The token store is not to be trusted.
    #[error(transparent)]
    Store(TokenStoreError),
    /// The configured password cannot be read.
    #[error("password file {}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The task that minted went away.
    #[error("minting: {0}")]
    GivenUp(GivenUp),
}

impl Error {
    /// Whether this says that something is out of order, rather than that the identity lacks a right.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        let Self::Mint { source, .. } = self else { return false };
        matches!(source.kind, MintErrorKind::Unreachable | MintErrorKind::Throttled)
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        match self {
            Self::Mint { source, .. } => source.remedy(),
            Self::Store(_) => "mend the token store as said",
            Self::Password { .. } => {
                "make the file readable for this user, or correct password_file in the configuration"
            }
            Self::GivenUp(_) => "try again",
        }
    }
}

type Minted = Result<AuthorizationToken, Arc<Error>>;

/// The credentials of this machine.
#[derive(Debug)]
pub struct Credentials {
    config: Arc<Config>,
    tokens: TokenStore,
    selection: Selection,
    memory: Arc<Mutex<HashMap<TokenScope, AuthorizationToken>>>,
    anonymous_until: Mutex<HashMap<TokenScope, Instant>>,
    flights: Flights<TokenScope, Minted>,
}

impl Credentials {
    /// Credentials by the rules of `config`, with tokens kept in `tokens`.
    #[must_use]
    pub fn new(config: Arc<Config>, tokens: TokenStore) -> Self {
        let (memory, anonymous_until, flights) = Default::default();
        let selection = Selection::default();
        Self { config, tokens, selection, memory, anonymous_until, flights }
    }

    /// The same with the rights of `selection`.
    #[must_use]
    pub fn with(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// The token that is on disk for `scope`, if it may still be handed out: no network, no AWS.
    pub fn cached(&self, scope: &TokenScope) -> Result<Option<AuthorizationToken>, TokenStoreError> {
        on_disk(&self.tokens, &key(scope, &self.selection), None)
    }

    /// Forgets the token on disk for `scope`.
    pub fn forget(&self, scope: &TokenScope) -> Result<(), TokenStoreError> {
        self.tokens.remove(&key(scope, &self.selection))
    }

    /// The credential for `registry`.
    pub async fn get(&self, registry: &Registry) -> Result<Credential, Arc<Error>> {
        self.find(registry, None).await
    }

    /// Another credential for `registry`, after it refused `stale`. The same again means there is no better one.
    pub async fn renew(&self, registry: &Registry, stale: &Credential) -> Result<Credential, Arc<Error>> {
        match stale {
            Credential::Basic(secret) => self.find(registry, Some(secret.clone())).await,
            Credential::Anonymous => Ok(Credential::Anonymous),
        }
    }

    async fn find(&self, registry: &Registry, stale: Option<Secret>) -> Result<Credential, Arc<Error>> {
        let rule = rule(&self.config, registry);
        if let Some((user, file)) = rule.and_then(|rule| rule.username.as_ref().zip(rule.password_file.as_ref())) {
            return configured(user.clone(), file.clone()).await.map_err(Arc::new);
        }
        let Some(ecr) = EcrRegistry::parse(registry.host()) else {
            return Ok(Credential::Anonymous);
        };
        if ecr.scope.public && self.is_anonymous(&ecr.scope) {
            return Ok(Credential::Anonymous);
        }
        match self.token(&ecr.scope, stale).await {
            Ok(token) => Ok(Credential::Basic(token.basic)),
            Err(error) if ecr.scope.public => Ok(self.go_anonymous(&ecr.scope, &error)),
            Err(error) => Err(error),
        }
    }

    /// A token for `scope` that is not `stale`, minted if need be.
    pub async fn token(&self, scope: &TokenScope, stale: Option<Secret>) -> Minted {
        let in_memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(scope).cloned();
        if let Some(token) = in_memory.filter(|token| is_good(token, stale.as_ref())) {
            return Ok(token);
        }
        let work = || {
            let (tokens, scope, memory) = (self.tokens.clone(), scope.clone(), Arc::clone(&self.memory));
            let selection = self.selection.clone();
            async move {
                let minted = mint_in_time(&tokens, &scope, &selection, stale).await?;
                memory.lock().unwrap_or_else(PoisonError::into_inner).insert(scope, minted.clone());
                Ok(minted)
            }
        };
        match self.flights.join(scope.clone(), work).await {
            Ok((minted, _)) => minted,
            Err(given_up) => Err(Arc::new(Error::GivenUp(given_up))),
        }
    }

    fn is_anonymous(&self, scope: &TokenScope) -> bool {
        let until = self.anonymous_until.lock().unwrap_or_else(PoisonError::into_inner).get(scope).copied();
        until.is_some_and(|until| Instant::now() < until)
    }

    fn go_anonymous(&self, scope: &TokenScope, error: &Error) -> Credential {
        let is_bare = matches!(error, Error::Mint { source, .. } if source.kind == MintErrorKind::NoCredentials);
        let time = if is_bare {
            info!("no AWS credentials: ECR Public is used anonymously, which limits pulls to one a second");
            ANONYMOUS_FOR
        } else {
            warn!(%error, "ECR Public is used anonymously for now, which limits pulls to one a second");
            ANONYMOUS_FOR_NOW
        };
        let mut until = self.anonymous_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.insert(scope.clone(), Instant::now() + time);
        Credential::Anonymous
    }
}

fn key(scope: &TokenScope, selection: &Selection) -> TokenKey {
    TokenKey::new(&format!("1\n{scope:?}\n{}", identity::describe(selection)))
}

fn is_good(token: &AuthorizationToken, stale: Option<&Secret>) -> bool {
    stale != Some(&token.basic) && token.is_usable(SystemTime::now())
}

fn on_disk(
    tokens: &TokenStore,
    key: &TokenKey,
    stale: Option<&Secret>,
) -> Result<Option<AuthorizationToken>, TokenStoreError> {
    let found = match tokens.get(key) {
        Ok(found) => found,
        Err(error @ TokenStoreError::Exposed { .. }) => return Err(error),
        Err(error @ TokenStoreError::Io { .. }) => {
            // a store that cannot be read is one more reason to mint, not a reason to fail
            warn!(error = chain(&error), "the token store cannot be read");
            None
        }
    };
    let token = found.map(|(basic, expires_at)| AuthorizationToken { basic, expires_at });
    Ok(token.filter(|token| is_good(token, stale) && token.user_and_password().is_some()))
}

async fn configured(user: String, path: PathBuf) -> Result<Credential, Error> {
    let file = path.clone();
    let text = spawn_blocking(move || std::fs::read_to_string(file)).await.unwrap_or_else(|died| Err(died.into()));
    let text = Secret::new(text.map_err(|source| Error::Password { path, source })?);
    let password = text.expose().lines().next().unwrap_or_default();
    let pair = Secret::new(format!("{user}:{password}"));
    Ok(Credential::Basic(Secret::new(STANDARD.encode(pair.expose()))))
}

async fn mint_in_time(tokens: &TokenStore, scope: &TokenScope, selection: &Selection, stale: Option<Secret>) -> Minted {
    let outcome = tokio::time::timeout(DEADLINE, mint_once(tokens, scope, selection, stale)).await;
    outcome
        .unwrap_or_else(|_| {
            let cause = format!("the AWS credential chain and the ECR API gave no answer in {DEADLINE:?}");
            Err(Error::Mint { scope: scope.clone(), source: MintError { kind: MintErrorKind::Unreachable, cause } })
        })
        .map_err(Arc::new)
}

/// Mints under the entry's lock, which other processes wait for: the second one finds the first one's token.
async fn mint_once(
    tokens: &TokenStore,
    scope: &TokenScope,
    selection: &Selection,
    stale: Option<Secret>,
) -> Result<AuthorizationToken, Error> {
    let key = key(scope, selection);
    let (store, locked_key) = (tokens.clone(), key.clone());
    let waited = spawn_blocking(move || {
        let lock = store.lock(&locked_key);
        (lock, on_disk(&store, &locked_key, stale.as_ref()))
    });
    let (lock, found) = waited.await.map_err(|_| Error::GivenUp(GivenUp))?;
    if let Some(token) = found.map_err(Error::Store)? {
        return Ok(token);
    }
    let token = mint(scope).await.map_err(|source| Error::Mint { scope: scope.clone(), source })?;
    info!(%scope, "authorization token minted");
    let (store, kept) = (tokens.clone(), token.clone());
    let put = spawn_blocking(move || {
        // a store that cannot be locked (read-only home) cannot be written either: the token lives in memory
        let lock = lock?;
        store.put(&key, &kept.basic, kept.expires_at)?;
        drop(lock);
        Ok::<_, TokenStoreError>(())
    });
    match put.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(error = chain(&error), "the authorization token is not kept on disk");
        }
        Err(_) => return Err(Error::GivenUp(GivenUp)),
    }
    Ok(token)
}

/// The rule of the configuration for `registry`, which may be meant by its name or by its AWS account.
#[must_use]
pub fn rule<'c>(config: &'c Config, registry: &Registry) -> Option<&'c RegistryRule> {
    let account = EcrRegistry::parse(registry.host()).and_then(|ecr| ecr.account);
    config.rule(registry, account.as_deref())
}

/// Which ECR registry a host is, unless the configuration gives it a user and password of its own.
#[must_use]
pub fn ecr_registry(config: &Config, host: &str) -> Option<EcrRegistry> {
    let registry: Registry = host.parse().ok()?;
    let has_password = rule(config, &registry).is_some_and(|rule| rule.username.is_some());
    if has_password { None } else { EcrRegistry::parse(host) }
}
