//! `longshore serve`: puts the daemon together, runs it, and stops it in order.

use std::{io, process, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, spawn_blocking},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{BoxError, log};
use crate::{
    cache::Cache,
    config::{self, Config},
    credentials::{Credentials, rule, token_store},
    environment::{self, Loaded},
    server::{Control, Server},
    store::{BlobStore, Limits, OpenError, Quota, Quotas},
    upstream::Upstream,
};

/// What still runs when everything is stopped gets this long.
const LAST_WORDS: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);
/// The shell's way to say that a signal ended a program.
const ENDED_BY_SIGNAL: i32 = 128;

pub(super) fn run() -> Result<(), BoxError> {
    let loaded = environment::load()?;
    let _flushed = log::start(loaded.config.log_format)?;
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(serve(loaded));
    // a thread that waits for another process's lock must not hold this one back
    runtime.shutdown_timeout(LAST_WORDS);
    outcome
}

async fn serve(loaded: Loaded) -> Result<(), BoxError> {
    let stop = CancellationToken::new();
    let signals = stop_on_signals(stop.clone())?;
    let dir = environment::cache_dir(&loaded.config);
    let config = Arc::new(loaded.config);
    let Parts { store, credentials, cache } = assemble(&config).await?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        format!("listen on {}: {error}; end what listens there, or give this one another listen", config.listen)
    })?;
    let address = Some(listener.local_addr()?);
    let control = control(Control { store: store.clone(), config: Arc::clone(&config), address }, stop.clone()).await?;
    let file = loaded.file.map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    info!(
        cache = %dir.display(), bytes = store.used(), bound = store.bound(), configuration = file,
        "listening on http://{}", listener.local_addr()?
    );
    cache.take_up();
    let sweeper = sweep(store.clone(), stop.clone());
    let scrubber = scrub(store.clone(), &config.cache, stop.clone());
    let keeper = tokio::spawn({
        let (credentials, stop, offline) = (Arc::clone(&credentials), stop.clone(), config.cache.offline);
        async move {
            if !offline {
                credentials.keep_fresh(stop).await;
            }
        }
    });
    let server = Server { cache: Arc::clone(&cache), config };
    server.serve(listener, stop.clone()).await?;
    cache.stop().await;
    sweeper.await?;
    scrubber.await?;
    keeper.await?;
    control.await?;
    spawn_blocking(move || store.stop()).await?;
    signals.abort();
    info!("stopped");
    Ok(())
}

/// What serves pulls, put together but for the listener.
pub(super) struct Parts {
    pub(super) store: BlobStore,
    pub(super) credentials: Arc<Credentials>,
    pub(super) cache: Arc<Cache>,
}

/// Takes the cache folder and puts together what serves from it.
pub(super) async fn assemble(config: &Arc<Config>) -> Result<Parts, BoxError> {
    let opened = Arc::clone(config);
    let store = spawn_blocking(move || open_store(&opened)).await??;
    let credentials = Arc::new(Credentials::new(Arc::clone(config), token_store(config)));
    let upstream = Upstream::new(Arc::clone(config), Arc::clone(&credentials))?;
    let cache = Cache::new(store.clone(), upstream, config);
    Ok(Parts { store, credentials, cache })
}

/// Takes the cache folder.
pub(super) fn open_store(config: &Arc<Config>) -> Result<BlobStore, OpenError> {
    BlobStore::open(&environment::cache_dir(config), limits(config))
}

/// Answers the commands of who owns the cache folder. Pulls do not need it: without a socket they are served all the same.
async fn control(control: Control, stop: CancellationToken) -> Result<JoinHandle<()>, BoxError> {
    let store = control.store.clone();
    // before anybody is told that the daemon is there
    let socket = spawn_blocking(move || store.control_socket()).await?;
    let refused = |error: io::Error| warn!(%error, "no command but a pull is answered: there is no control socket");
    Ok(tokio::spawn(async move {
        let served = match socket {
            Ok(socket) => control.serve(socket, stop).await,
            Err(error) => Err(error),
        };
        served.unwrap_or_else(refused);
    }))
}

/// The first signal asks for an orderly end, the second ends the process.
fn stop_on_signals(stop: CancellationToken) -> Result<JoinHandle<()>, BoxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::spawn(async move {
        loop {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if stop.is_cancelled() {
                warn!("a second signal: ending at once");
                log::flush();
                process::exit(ENDED_BY_SIGNAL + kind.as_raw_value());
            }
            stop.cancel();
        }
    }))
}

/// What the configuration lets the cache take of the disk.
fn limits(config: &Arc<Config>) -> Limits {
    let rules = Arc::clone(config);
    let quotas = Quotas::new(move |registry| {
        let rule = rule(&rules, registry)?;
        Some(Quota { name: rule.pattern.as_str().to_owned(), max_size: rule.max_size? })
    });
    let config::Cache { max_size, min_free, max_age, .. } = config.cache;
    Limits { max_size, min_free, max_age, quotas }
}

/// Keeps the cache within its limits: as soon as it is above them, and each minute, since disks fill without it.
pub(super) fn sweep(store: BlobStore, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut minutes = interval(MINUTE);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = store.full() => {}
                _ = minutes.tick() => {}
            }
            let swept = store.clone();
            match spawn_blocking(move || swept.sweep()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => warn!(%error, "the cache could not be swept"),
                Err(error) => warn!(%error, "the sweep died"),
            }
        }
    })
}

/// Reads all content again, little by little, and at once what somebody doubts.
fn scrub(store: BlobStore, config: &config::Cache, stop: CancellationToken) -> JoinHandle<()> {
    let (every, rate) = (config.scrub_every, config.scrub_rate.get());
    tokio::spawn(async move {
        loop {
            let scrubbed = store.clone();
            let has_more = spawn_blocking(move || scrubbed.scrub(every, rate)).await.unwrap_or_else(|error| {
                warn!(%error, "the scrub died");
                false
            });
            // as much as may be read in a second each second, then a look now and then
            let pause = match every {
                _ if has_more => SECOND,
                Duration::ZERO => MINUTE,
                every => every.clamp(SECOND, MINUTE),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = store.doubted() => {}
                () = sleep(pause) => {}
            }
        }
    })
}
