//! The doctor: looks at everything that stands between a client and a pull, and says what mends what is wrong.
//!
//! Changes nothing but the token store, where a token it minted is kept. No check can stop another, none takes longer than
//! eight seconds; no finding holds a secret.

mod containerd;
mod daemon;
mod docker;
mod endpoint;
mod finding;
mod login_file;
mod oddities;
mod own;
mod podman;
mod programs;
mod sources;
mod surroundings;
mod token;

use std::{
    future::{Future, poll_fn},
    io,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::{environment, oci::Registry};
use finding::check;
pub use finding::{Finding, State, Subject};
use login_file::Reading;
use surroundings::Surroundings;

/// Nothing takes longer, so a whole examination is below ten seconds.
const LONGEST: Duration = Duration::from_millis(7500);
/// Reading some small files; a home on a server that does not answer takes longer.
const READING: Duration = Duration::from_secs(1);
/// So many APIs and tokens are tried; who has more asks about one registry.
const MOST: usize = 8;

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// One registry; without it, those docker's configuration names.
    pub registry: Option<Registry>,
    /// Whether AWS is left alone.
    pub is_offline: bool,
}

impl Examination {
    /// Looks at everything; the findings come in the order of their subjects.
    pub async fn run(self) -> Vec<Finding> {
        let Self { registry, is_offline } = self;
        let around = &Arc::new(surroundings(registry).await);
        let (own, odd, docker, podman, containerd, sources, endpoint, token, daemon) = tokio::join!(
            reading(Subject::Configuration, around, own::look),
            reading(Subject::Environment, around, |_| oddities::look()),
            asking(Subject::Docker, around, |around| async move { docker::look(&around).await }),
            reading(Subject::Podman, around, podman::look),
            reading(Subject::Containerd, around, containerd::look),
            reading(Subject::Credentials, around, sources::look),
            asking(Subject::Endpoint, around, move |around| async move { endpoint::look(&around, is_offline).await }),
            asking(Subject::Token, around, move |around| async move { token::look(&around, is_offline).await }),
            asking(Subject::Daemon, around, |around| async move { daemon::look(&around).await }),
        );
        let mut findings = [own, odd, docker, podman, containerd, sources, endpoint, token, daemon].concat();
        findings.sort_by_key(|finding| finding.subject);
        findings
    }
}

/// Reads the configurations that all checks need; one that hangs is found to be so.
async fn surroundings(registry: Option<Registry>) -> Surroundings {
    let (loaded, docker) = tokio::join!(
        timeout(READING, spawn_blocking(environment::load)),
        timeout(READING, spawn_blocking(Surroundings::docker)),
    );
    let hangs = || io::Error::from(io::ErrorKind::TimedOut);
    let loaded = loaded.map_err(|_| hangs()).and_then(|loaded| loaded.map_err(io::Error::other));
    let loaded = loaded.unwrap_or_else(|source| {
        Err(environment::Error::Unreadable { path: PathBuf::from("the configuration file"), source })
    });
    let docker = docker.map_err(|_| hangs()).and_then(|docker| docker.map_err(io::Error::other));
    let docker = docker.unwrap_or_else(|error| {
        Some(Reading::Broken(PathBuf::from("the file config.json of docker"), error.to_string()))
    });
    Surroundings::new(loaded, docker, registry)
}

/// A check that touches nothing but files, which may hang.
async fn reading(
    subject: Subject,
    around: &Arc<Surroundings>,
    look: impl FnOnce(&Surroundings) -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    let around = Arc::clone(around);
    within(subject, spawn_blocking(move || look(&around))).await
}

/// A check that asks somebody. It is a task of its own, so that one that blocks or dies does so alone.
async fn asking<F>(
    subject: Subject,
    around: &Arc<Surroundings>,
    look: impl FnOnce(Arc<Surroundings>) -> F,
) -> Vec<Finding>
where
    F: Future<Output = Vec<Finding>> + Send + 'static,
{
    within(subject, tokio::spawn(look(Arc::clone(around)))).await
}

async fn within(subject: Subject, work: JoinHandle<Vec<Finding>>) -> Vec<Finding> {
    match timeout(LONGEST, work).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(_)) => vec![died(subject)],
        Err(_) => vec![silent(subject, LONGEST)],
    }
}

fn silent(subject: Subject, limit: Duration) -> Finding {
    let found = format!("no answer in {:.1} s", limit.as_secs_f32());
    check("no-answer", subject, "this check")
        .problem(found, "something it reads or asks hangs: a file system, a helper, the network")
}

fn died(subject: Subject) -> Finding {
    check("no-answer", subject, "this check")
        .problem("it broke off", "report this, please, with the output of longshore doctor --json")
}

/// Runs all at once and returns their outputs in order.
async fn beside<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.map(|work| (Box::pin(work), None)).collect();
    poll_fn(|context| {
        let mut all = Poll::Ready(());
        for (work, output) in work.iter_mut().filter(|(_, output)| output.is_none()) {
            match pin!(work).poll(context) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => all = Poll::Pending,
            }
        }
        all
    })
    .await;
    work.into_iter().filter_map(|(_, output)| output).collect()
}
