//! The daemon's HTTP side: connections, routes, answers.
//!
//! Knows no AWS and no files; what it serves comes from `cache`, what its owner asks of the cache folder from `store`. Plain HTTP/1.1: TLS is for what is not loopback.

mod access;
mod answer;
mod blob;
mod body;
mod connection;
pub mod control;
mod handle;
mod manifest;
mod piece;
mod ranges;
mod record;
mod relay;
mod resolve;
mod sendfile;
mod wire;

pub use control::Control;

use std::{io, sync::Arc, time::Duration};

use hyper_util::server::graceful::GracefulShutdown;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{cache::Cache, config::Config};

/// Out of file descriptors, most likely: a moment later some are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every request is served from.
#[derive(Clone, Debug)]
pub struct Server {
    /// The cache.
    pub cache: Arc<Cache>,
    /// The rules.
    pub config: Arc<Config>,
}

impl Server {
    /// Serves until `stop` is cancelled, then lets requests under way finish within the configured grace.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
        let server = Arc::new(self);
        loop {
            let (tcp, peer) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let connection = connection::run(Arc::clone(&server), tcp, peer, graceful.watcher(), stop.clone());
            tasks.spawn(connection);
        }
        drop(listener);
        tasks.close();
        let grace = server.config.grace;
        info!(connections = tasks.len(), ?grace, "stopping: running transfers may finish");
        let finished = async { tokio::join!(graceful.shutdown(), tasks.wait()) };
        if timeout(grace, finished).await.is_err() {
            warn!(?grace, "transfers that did not finish in time were cut");
        }
        Ok(())
    }
}
