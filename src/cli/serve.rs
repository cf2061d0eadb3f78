//! `longshore serve`: puts the daemon together, runs it, and stops it in order.

use std::{process, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, spawn_blocking},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{BoxError, log};
use crate::{
    cache::Cache,
    credentials::{Credentials, token_store},
    environment::{self, Loaded},
    server::Server,
    store::BlobStore,
    upstream::Upstream,
};

/// What still runs when everything is stopped gets this long.
const LAST_WORDS: Duration = Duration::from_secs(1);
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
    let (opened, bound) = (dir.clone(), config.cache.max_size);
    let store = spawn_blocking(move || BlobStore::open(&opened, bound)).await??;
    let tokens = token_store(&config);
    let credentials = Arc::new(Credentials::new(Arc::clone(&config), tokens));
    let upstream = Upstream::new(Arc::clone(&config), Arc::clone(&credentials))?;
    let cache = Cache::new(store.clone(), upstream, &config.cache);
    let listener =
        TcpListener::bind(config.listen).await.map_err(|error| format!("listen on {}: {error}", config.listen))?;
    let file = loaded.file.map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    info!(
        cache = %dir.display(), bytes = store.used(), bound = store.bound(), configuration = file,
        "listening on http://{}", listener.local_addr()?
    );
    let sweeper = sweep(store, stop.clone());
    let keeper = tokio::spawn({
        let (credentials, stop) = (Arc::clone(&credentials), stop.clone());
        async move { credentials.keep_fresh(stop).await }
    });
    let server = Server { cache: Arc::clone(&cache), config };
    server.serve(listener, stop.clone()).await?;
    cache.stop().await;
    sweeper.await?;
    keeper.await?;
    signals.abort();
    info!("stopped");
    Ok(())
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

/// Keeps the cache within its bound.
fn sweep(store: BlobStore, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = store.full() => {}
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
