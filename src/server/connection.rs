//! One connection: a TLS ClientHello is turned away at once, anything else is HTTP/1.1.
//!
//! dockerd, the docker CLI, podman, skopeo, buildah and kaniko all dial TLS first: silence stalls each pull for ten
//! seconds, a close without an answer breaks dockerd 29. A plain 400 makes every one of them try HTTP.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioTimer, server::graceful::Watcher};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Server, handle, sendfile::Marks, wire::Wire};

/// The first byte of a TLS record that carries a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// A client that connects and says nothing is let go.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// How long a turned-away client may take to hang up.
const LINGER: Duration = Duration::from_secs(2);

pub(super) async fn run(
    server: Arc<Server>,
    mut tcp: TcpStream,
    peer: SocketAddr,
    watcher: Watcher,
    stop: CancellationToken,
) {
    let mut first = [0];
    let peeked = tokio::select! {
        () = stop.cancelled() => return,
        peeked = timeout(FIRST_BYTE, tcp.peek(&mut first)) => peeked,
    };
    match peeked {
        Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => {
            // whoever it was has its answer or is gone
            let _ = turn_away(&mut tcp).await;
            return;
        }
        Ok(Ok(1)) => {}
        _ => return,
    }
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%peer, %error, "TCP_NODELAY");
    }
    let marks = Marks::default();
    let wire = Wire::new(tcp, marks.clone());
    let service = service_fn(move |request| {
        let (server, marks) = (Arc::clone(&server), marks.clone());
        async move { Ok::<_, Infallible>(handle::handle(&server, peer, &marks, request).await) }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(wire, service);
    if let Err(error) = watcher.watch(connection).await {
        debug!(%peer, %error, "a connection ended early");
    }
}

/// Answers, then waits for the client to hang up: closing with its hello unread would reset the answer away.
async fn turn_away(tcp: &mut TcpStream) -> io::Result<()> {
    tcp.write_all(NOT_TLS).await?;
    tcp.shutdown().await?;
    let mut rest = [0; 4096];
    let hung_up = async { while matches!(tcp.read(&mut rest).await, Ok(count) if count > 0) {} };
    let _ = timeout(LINGER, hung_up).await;
    Ok(())
}
