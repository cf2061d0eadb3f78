//! [`Door`]: the daemon that serves pulls of the cache folder, or one in this process when there is none.
//!
//! Either way a pull takes the same path: over HTTP, through the server, into the cache.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    task::{JoinHandle, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use super::registry::{HELLO, Registry};
use crate::{
    cache::Cache,
    cli::{
        BoxError,
        place::Problem,
        serve::{Parts, assemble, sweep},
    },
    config::{Config, reachable},
    environment,
    server::{
        Server,
        control::{self, Answer, Work},
    },
    store::{BlobStore, OpenError, control_connect},
};

/// Where pulls are served.
pub(super) struct Door {
    pub(super) registry: Registry,
    own: Option<Own>,
}

/// A server in this process.
struct Own {
    stop: CancellationToken,
    store: BlobStore,
    cache: Arc<Cache>,
    server: JoinHandle<std::io::Result<()>>,
    sweeper: JoinHandle<()>,
}

impl Door {
    /// Finds the daemon that holds the cache folder, then the one that listens as configured; else serves here.
    pub(super) async fn open(config: &Arc<Config>) -> Result<Self, BoxError> {
        let asked = Arc::clone(config);
        let holder = spawn_blocking(move || holder(&asked)).await?;
        let configured = reachable(config.listen);
        for address in holder.into_iter().chain([configured].into_iter().filter(|address| address.port() != 0)) {
            let registry = Registry::new(address);
            if registry.is_longshore().await {
                return Ok(Self { registry, own: None });
            }
        }
        Self::here(config, configured).await
    }

    async fn here(config: &Arc<Config>, configured: SocketAddr) -> Result<Self, BoxError> {
        let Parts { store, cache, .. } = assemble(config).await.map_err(|error| match error.downcast_ref::<OpenError>() {
            Some(OpenError::InUse { dir, holder }) => {
                let silent = if configured.port() == 0 { String::new() } else { format!(" on {configured}") };
                let cause =
                    format!("the cache {} is in use by {holder}, and no daemon answers{silent}", dir.display());
                let remedy = "is it the daemon's? then look whether listen in the configuration is what it was started with; \
                              else try again when that process is done";
                Problem::new(cause, remedy).into()
            }
            _ => error,
        })?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let registry = Registry::new(listener.local_addr()?);
        let stop = CancellationToken::new();
        let sweeper = sweep(store.clone(), stop.clone());
        let server = Server { cache: Arc::clone(&cache), config: Arc::clone(config) };
        let server = tokio::spawn(server.serve(listener, stop.clone()));
        Ok(Self { registry, own: Some(Own { stop, store, cache, server, sweeper }) })
    }

    /// Ends what was started here, so that the folder is free again.
    pub(super) async fn close(self) -> Result<(), BoxError> {
        let Self { registry, own } = self;
        // its connections would hold the server back
        drop(registry);
        if let Some(Own { stop, store, cache, server, sweeper }) = own {
            stop.cancel();
            server.await??;
            cache.stop().await;
            sweeper.await?;
            spawn_blocking(move || store.stop()).await?;
        }
        Ok(())
    }
}

/// Where the daemon that holds the cache folder serves pulls. One that cannot be asked may still answer pulls.
fn holder(config: &Config) -> Option<SocketAddr> {
    let stream = control_connect(&environment::cache_dir(config)).ok()??;
    // one that is stopped would be waited for as long
    stream.set_read_timeout(Some(HELLO)).ok()?;
    match control::ask(&stream, &Work::Address, &|_, _| {}) {
        Ok(Answer::Address(address)) => address.map(reachable),
        _ => None,
    }
}
