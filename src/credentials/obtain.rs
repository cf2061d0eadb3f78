//! One attempt to get a token: alone among all processes, within a time limit, remembered whichever way it ends.
//!
//! A person is asked for a one-time code at most once an attempt, and only where there is one.

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{
    Error, Failure, Wanted,
    at_hand::{self, AtHand},
    former,
    notes::{self, About},
    person::{self, PERSON},
};
use crate::{
    chain::chain,
    ecr::{AuthorizationToken, Known, Learned, MintError, MintErrorKind, mint},
    flight::GivenUp,
    secret::Secret,
    store::{TokenKey, TokenStore, TokenStoreError},
};

/// A token is there or the attempt is over within this time: a second is left of the helper's 8 to say why.
pub const DEADLINE: Duration = Duration::from_secs(7);
/// The same when a token is at hand that is still good: nobody should wait long for a newer one.
const RENEWAL: Duration = Duration::from_secs(4);

/// What a person must know whose metadata service came up late, or is a program on this machine.
const NOT_ASKED_AGAIN: &str =
    "; the metadata service of EC2 did not answer before and is not asked again: longshore login REGISTRY asks it";

/// One attempt.
pub(super) struct Attempt {
    pub(super) tokens: TokenStore,
    pub(super) key: TokenKey,
    pub(super) wanted: Wanted,
    /// Which registry asked.
    pub(super) registry: Option<String>,
    pub(super) demand: Demand,
    /// Whether there is a person to ask.
    pub(super) is_interactive: bool,
}

/// Which token will do.
#[derive(Clone, Debug)]
pub enum Demand {
    /// Any that is good.
    Usual,
    /// Another one than this, which a registry refused.
    Instead(Secret),
    /// One that is minted now.
    Anew,
}

impl Demand {
    /// Whether a token will do that is good in itself.
    pub(super) fn takes(&self, token: &AuthorizationToken) -> bool {
        match self {
            Self::Usual => true,
            Self::Instead(refused) => *refused != token.basic,
            Self::Anew => false,
        }
    }
}

pub(super) type Minted = Result<AuthorizationToken, MintError>;

/// What is on disk once the lock is held.
struct Found {
    lock: Result<File, TokenStoreError>,
    usable: Option<AuthorizationToken>,
    at_hand: AtHand,
    known: Known,
    /// One that Amazon's helper left behind.
    former: Option<AuthorizationToken>,
}

impl Attempt {
    /// A token: the one that another process got meanwhile, a new one, or at worst the old one while it is good.
    pub(super) async fn run(self) -> Result<AuthorizationToken, Error> {
        let deadline = Instant::now() + DEADLINE;
        // who has a token that is still good waits no longer for another process than for AWS
        let good = self.usable().await?;
        let patience = if good.is_some() { Instant::now() + RENEWAL } else { deadline };
        let Found { lock, usable, at_hand, known, former } = match (self.look_until(patience).await, good) {
            (Err(Error::Mint { source, .. }), Some(good)) => return self.postpone(&source, good).await,
            (found, _) => found?,
        };
        match at_hand {
            AtHand::Token(token) if self.demand.takes(&token) => return Ok(token),
            // whoever was refused a token has just talked to the registry: the network is there
            AtHand::Failure(failure) if matches!(self.demand, Demand::Usual) => return Err(failure),
            _ => {}
        }
        if let Some(token) = former.filter(|_| matches!(self.demand, Demand::Usual) && usable.is_none()) {
            self.keep(lock, &token).await?;
            return Ok(token);
        }
        let until = if usable.is_some() { Instant::now() + RENEWAL } else { deadline };
        // nobody is disturbed for a token that can wait
        let may_ask = self.is_interactive && usable.is_none();
        let no_metadata = known.no_metadata;
        match (self.mint(known, until.min(deadline), may_ask).await, usable) {
            (Ok(token), _) => {
                info!(wanted = %self.wanted, identity = %self.wanted.identity, "authorization token minted");
                self.keep(lock, &token).await?;
                Ok(token)
            }
            (Err(error), Some(usable)) => self.postpone(&error, usable).await,
            (Err(mut error), None) => {
                if no_metadata && error.kind == MintErrorKind::NoCredentials {
                    error.remedy.push_str(NOT_ASKED_AGAIN);
                }
                self.remember(&error).await?;
                Err(self.failed(error))
            }
        }
    }

    /// A newer token than the one on disk, unless another process has put one there.
    pub(super) async fn renew(self) -> Result<AuthorizationToken, Error> {
        let deadline = Instant::now() + DEADLINE;
        let Found { lock, usable, known, .. } = self.look_until(deadline).await?;
        let is_new = |token: &AuthorizationToken| token.is_fresh(SystemTime::now());
        if let Some(token) = usable.filter(is_new) {
            return Ok(token);
        }
        let token = self.mint(known, deadline, false).await.map_err(|error| self.failed(error))?;
        self.keep(lock, &token).await?;
        Ok(token)
    }

    /// The token at hand, and no attempt at a newer one for a while.
    async fn postpone(&self, error: &MintError, good: AuthorizationToken) -> Result<AuthorizationToken, Error> {
        warn!(%error, "the token cannot be renewed; the one at hand is still good");
        self.blocking(|attempt| notes::postpone(&attempt.tokens, &attempt.key)).await?;
        Ok(good)
    }

    async fn usable(&self) -> Result<Option<AuthorizationToken>, Error> {
        let demand = self.demand.clone();
        let usable = self.blocking(move |attempt| at_hand::usable(&attempt.tokens, &attempt.key, &demand));
        usable.await?.map_err(Error::Store)
    }

    /// Waits for other processes until `deadline`; longer while a person is being asked, if there is one here as well.
    async fn look_until(&self, deadline: Instant) -> Result<Found, Error> {
        let started = Instant::now();
        if let Ok(found) = timeout_at(deadline, self.look()).await {
            return found;
        }
        let is_asking = self.is_asking().await;
        let may_wait = is_asking && self.is_interactive && person::is_here();
        if may_wait && let Ok(found) = timeout(PERSON, self.look()).await {
            return found;
        }
        let time = started.elapsed().as_secs_f32().round();
        let (cause, remedy) = if is_asking {
            let cause = "a person is being asked for a one-time code by another process".to_owned();
            (cause, "enter the code there, then try again")
        } else {
            let cause = format!("another process that mints this token did not end within {time} s");
            (cause, "look for a process that is stopped or hangs: pgrep -af docker-credential; and end it")
        };
        Err(self.failed(MintError { remedy: remedy.to_owned(), ..MintError::silent(cause) }))
    }

    /// Waits for the entry's lock, which other processes mint under: the second one finds the first one's token.
    async fn look(&self) -> Result<Found, Error> {
        let demand = self.demand.clone();
        self.blocking(move |attempt| {
            let (tokens, key) = (&attempt.tokens, &attempt.key);
            let lock = tokens.lock(key);
            let usable = at_hand::usable(tokens, key, &demand)?;
            let at_hand = at_hand::look(tokens, key, &attempt.wanted)?;
            let session = notes::session(tokens, &attempt.wanted);
            let known = Known { code: None, session, no_metadata: notes::no_metadata(tokens) };
            let former = attempt.registry.as_deref().and_then(|registry| former::token(&attempt.wanted, registry));
            // who wants nothing kept wants nothing of what was kept
            let former = former.filter(|_| tokens.keeps() && !notes::is_former_forgotten(tokens, key));
            Ok(Found { lock, usable, at_hand, known, former })
        })
        .await?
        .map_err(Error::Store)
    }

    async fn mint(&self, known: Known, deadline: Instant, may_ask: bool) -> Result<AuthorizationToken, MintError> {
        let (mut session, no_metadata) = (known.session.clone(), known.no_metadata);
        let mut outcome = self.mint_in_time(known, deadline).await;
        if session.is_some() && outcome.as_ref().is_err_and(|error| error.kind == MintErrorKind::CredentialsFailed) {
            // it was ended before its time, and would only fail again
            session = None;
            let _ = self.blocking(|attempt| notes::forget_session(&attempt.tokens, &attempt.wanted)).await;
            outcome = self.mint_in_time(Known { no_metadata, ..Known::default() }, deadline).await;
        }
        match outcome {
            Err(MintError { kind: MintErrorKind::MfaNeeded, mfa: Some(ref mfa), .. }) => {
                let mfa = mfa.clone();
                let known = Known { code: None, session, no_metadata };
                self.mint_with_code(&mfa, known, deadline, may_ask).await.unwrap_or(outcome)
            }
            outcome => outcome,
        }
    }

    pub(super) async fn mint_in_time(&self, known: Known, deadline: Instant) -> Result<AuthorizationToken, MintError> {
        let started = Instant::now();
        let work = mint(&self.wanted.scope, &self.wanted.identity, known);
        let Ok((outcome, learned)) = timeout_at(deadline, work).await else {
            let time = started.elapsed().as_secs_f32().round();
            let cause = format!("the AWS credential chain and the ECR API gave no answer in {time} s");
            return Err(MintError::silent(cause));
        };
        let Learned { session, no_metadata } = learned;
        let learning = self.blocking(move |attempt| {
            if let Some(session) = session {
                notes::remember_session(&attempt.tokens, &attempt.wanted, session);
            }
            if no_metadata && !notes::no_metadata(&attempt.tokens) {
                notes::remember_no_metadata(&attempt.tokens);
            }
        });
        // what could not be remembered is learned again
        let _ = learning.await;
        outcome
    }

    pub(super) async fn keep(
        &self,
        lock: Result<File, TokenStoreError>,
        token: &AuthorizationToken,
    ) -> Result<(), Error> {
        let about = About::Token { wanted: Box::new(self.wanted.clone()), registry: self.registry.clone() };
        let entry = about.entry(token);
        let kept = self.blocking(move |attempt| {
            // edited meanwhile: whose token this is nobody can say any more
            if attempt.wanted.key() != attempt.key {
                return Ok(());
            }
            // a store that cannot be locked (read-only home) cannot be written either: the token lives in memory
            let lock = lock?;
            attempt.tokens.put(&attempt.key, &entry)?;
            notes::forget(&attempt.tokens, &attempt.key);
            drop(lock);
            Ok::<_, TokenStoreError>(())
        });
        if let Err(error) = kept.await? {
            warn!(error = chain(&error), "the authorization token is not kept on disk");
        }
        Ok(())
    }

    /// Only what would fail the same way again: with the same configuration, or for want of an answer.
    async fn remember(&self, error: &MintError) -> Result<(), Error> {
        if !matches!(error.kind, MintErrorKind::NoCredentials | MintErrorKind::Silent) {
            return Ok(());
        }
        let failure = Failure {
            cause: error.cause.clone(),
            remedy: error.remedy.clone(),
            is_bare: error.kind == MintErrorKind::NoCredentials,
        };
        self.blocking(move |attempt| notes::remember_failure(&attempt.tokens, &attempt.key, failure)).await
    }

    fn failed(&self, source: MintError) -> Error {
        Error::Mint { wanted: Box::new(self.wanted.clone()), source }
    }

    /// Runs what touches the disk where it may block.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let disk = Disk {
            tokens: self.tokens.clone(),
            key: self.key.clone(),
            wanted: self.wanted.clone(),
            registry: self.registry.clone(),
        };
        spawn_blocking(move || work(&disk)).await.map_err(|_| Error::GivenUp(GivenUp))
    }
}

/// What work on the disk needs of an attempt.
pub(super) struct Disk {
    pub(super) tokens: TokenStore,
    pub(super) key: TokenKey,
    pub(super) wanted: Wanted,
    registry: Option<String>,
}
