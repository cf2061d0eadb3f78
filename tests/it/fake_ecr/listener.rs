//! Sockets: accepting, TLS, refusing while partitioned, and resets that lose no byte.
//!
//! While a listener is stopped its port stays bound, so that nobody else gets it.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::State;
use super::answer::Caller;
use super::connection::Connection;
use super::fault::{Action, Fault};
use super::request::Listener;

/// A wish for a listener, acknowledged when it holds.
pub(super) enum Command {
    Stop(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
}

/// One listening socket.
pub(super) struct Port {
    pub(super) state: Arc<State>,
    pub(super) listener: Listener,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Port {
    /// Serves until the sender of commands is gone.
    pub(super) async fn serve(self, mut socket: TcpListener, mut commands: mpsc::UnboundedReceiver<Command>) {
        let Ok(address) = socket.local_addr() else {
            return;
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Resume(done)) => _ = done.send(()),
                    Some(Command::Stop(done)) => {
                        drop(socket);
                        let reserved = reserve(address);
                        connections.shutdown().await;
                        let _ = done.send(());
                        let Some(resumed) = resumed(&mut commands).await else { return };
                        socket = listen(reserved, address).await;
                        let _ = resumed.send(());
                    }
                },
                accepted = socket.accept() => if let Ok((stream, _)) = accepted {
                    self.accepted(stream, &mut connections);
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }

    fn accepted(&self, stream: TcpStream, connections: &mut JoinSet<()>) {
        let (state, listener) = (Arc::clone(&self.state), self.listener);
        let number = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let caller = Caller { listener, tls: self.tls.is_some(), connection: number };
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        let open = Open::new(state, listener);
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let state = &open.state;
            let count = state.log.open(listener);
            let fault = match listener {
                Listener::Control => None,
                _ => state.faults.of_connection(listener, count),
            };
            if let Some(fault) = fault {
                return refuse(stream, &fault).await;
            }
            let connection = match acceptor {
                None => Connection::new(Box::new(stream)),
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Connection::new(Box::new(stream)),
                    Err(_) => return,
                },
            };
            connection.serve(state, caller).await;
        });
    }
}

/// What the rules of connections do: no answer at all, or a reset.
async fn refuse(stream: TcpStream, fault: &Fault) {
    if fault.actions().contains(&Action::HalfOpen) {
        // reads and drops what comes, so that the client's leaving is seen
        let mut sink = tokio::io::sink();
        let (mut incoming, _kept) = stream.into_split();
        tokio::select! {
            () = fault.released() => {}
            _ = tokio::io::copy(&mut incoming, &mut sink) => {}
        }
        return;
    }
    if fault.actions().contains(&Action::TlsAbort) {
        let _ = stream.peek(&mut [0]).await;
    }
    let _ = stream.set_zero_linger();
}

/// Counts a connection as long as it lives.
struct Open {
    state: Arc<State>,
    listener: Listener,
}

impl Open {
    fn new(state: Arc<State>, listener: Listener) -> Self {
        state.log.opened(listener);
        Self { state, listener }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.state.log.closed(self.listener);
    }
}

async fn resumed(commands: &mut mpsc::UnboundedReceiver<Command>) -> Option<oneshot::Sender<()>> {
    loop {
        match commands.recv().await? {
            Command::Resume(done) => return Some(done),
            Command::Stop(done) => _ = done.send(()),
        }
    }
}

/// A socket that has the port but does not listen: connecting to it is refused.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn listen(reserved: io::Result<TcpSocket>, address: SocketAddr) -> TcpListener {
    let mut listening = reserved.and_then(|socket| socket.listen(1024));
    loop {
        match listening {
            Ok(socket) => return socket,
            // someone took the port in the instant between closing and reserving it
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
        listening = reserve(address).and_then(|socket| socket.listen(1024));
    }
}

/// Returns when the peer's kernel has all that was written, so that a reset takes nothing back.
pub(super) async fn drained(stream: &TcpStream) {
    for _ in 0..5000 {
        if unsent(stream) == Some(0) {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Bytes in the socket's send queue, by the table of the Linux kernel; `None` when it is not there.
fn unsent(stream: &TcpStream) -> Option<u64> {
    let (local, peer) = (stream.local_addr().ok()?.port(), stream.peer_addr().ok()?.port());
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else {
        // no Linux: nothing to ask, so do not wait
        return Some(0);
    };
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ends = (port(fields.get(1)?)?, port(fields.get(2)?)?);
        let queue = fields.get(4)?.split(':').next()?;
        (ends == (local, peer)).then(|| u64::from_str_radix(queue, 16).ok())?
    })
}
