//! Starting and stopping: the fake's own thread and runtime, its sockets, the end of both.
//!
//! A test's runtime may be busy or single-threaded; nothing of the fake runs on it.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

use super::listener::Port;
use super::request::Listener;
use super::state::State;
use super::tls::{self, Authority};

/// Where to listen and what else is fixed at the start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The registry over TLS.
    pub registry_tls: SocketAddr,
    /// The registry over plain HTTP.
    pub registry_plain: SocketAddr,
    /// The storage over TLS.
    pub s3_tls: SocketAddr,
    /// The storage over plain HTTP.
    pub s3_plain: SocketAddr,
    /// The AWS API over plain HTTP.
    pub api: SocketAddr,
    /// The AWS API over TLS, for any name.
    pub api_tls: SocketAddr,
    /// The HTTP proxy whose tunnels all end at the AWS API over TLS.
    pub proxy: SocketAddr,
    /// Instance metadata and container credentials.
    pub metadata: SocketAddr,
    /// The control interface.
    pub control: SocketAddr,
    /// Where to write the CA certificate.
    pub ca_file: Option<PathBuf>,
    /// More names for the certificate.
    pub names: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            registry_tls: any,
            registry_plain: any,
            s3_tls: any,
            s3_plain: any,
            api: any,
            api_tls: any,
            proxy: any,
            metadata: any,
            control: any,
            ca_file: None,
            names: Vec::new(),
        }
    }
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) registry_tls: SocketAddr,
    pub(super) registry_plain: SocketAddr,
    pub(super) s3_tls: SocketAddr,
    pub(super) s3_plain: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) api_tls: SocketAddr,
    pub(super) proxy: SocketAddr,
    pub(super) metadata: SocketAddr,
    pub(super) control: SocketAddr,
}

/// The running fake; dropping it stops it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) state: Arc<State>,
    pub(super) addresses: Addresses,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Blocks for the moment it takes; the work is done on the fake's own runtime.
    pub(super) fn partition(&self, on: bool) {
        let (done, holds) = std::sync::mpsc::channel();
        let state = Arc::clone(&self.state);
        self.runtime.spawn(async move {
            state.partition(on).await;
            let _ = done.send(());
        });
        let _ = holds.recv();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(super) async fn start(options: Options) -> Running {
    let authority = tls::authority(&options.names);
    if let Some(path) = &options.ca_file {
        std::fs::write(path, &authority.ca_pem).expect("the file for the CA certificate can be written");
    }
    let state = Arc::new(State::new(authority.ca_pem.clone()));
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, started) = oneshot::channel();
    let shared = Arc::clone(&state);
    let thread = std::thread::Builder::new()
        .name("fake-ecr".to_owned())
        .spawn(move || {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("fake-ecr")
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async {
                let addresses = open(&shared, &options, &authority).await;
                let _ = ready.send((addresses, Handle::current()));
                let _ = stopped.await;
            });
            // returns when every task, hence every socket, is gone
            runtime.shutdown_timeout(Duration::from_secs(5));
        })
        .expect("a thread can be started");
    let (addresses, runtime) = started.await.expect("every address can be listened on");
    Running { state, addresses, runtime, stop: Some(stop), thread: Some(thread) }
}

async fn open(state: &Arc<State>, options: &Options, authority: &Authority) -> Addresses {
    let port =
        |listener, tls: Option<&Arc<ServerConfig>>| Port { state: Arc::clone(state), listener, tls: tls.cloned() };
    let tls = &authority.fixed;
    let api_tls = listen(port(Listener::Api, Some(&authority.any_name)), options.api_tls).await;
    state.tunnels_end.set(api_tls).expect("a fake is opened once");
    Addresses {
        registry_tls: listen(port(Listener::Registry, Some(tls)), options.registry_tls).await,
        registry_plain: listen(port(Listener::Registry, None), options.registry_plain).await,
        s3_tls: listen(port(Listener::S3, Some(tls)), options.s3_tls).await,
        s3_plain: listen(port(Listener::S3, None), options.s3_plain).await,
        api: listen(port(Listener::Api, None), options.api).await,
        api_tls,
        proxy: listen(port(Listener::Proxy, None), options.proxy).await,
        metadata: listen(port(Listener::Metadata, None), options.metadata).await,
        control: listen(port(Listener::Control, None), options.control).await,
    }
}

async fn listen(port: Port, address: SocketAddr) -> SocketAddr {
    let socket = TcpListener::bind(address).await;
    let socket = socket.unwrap_or_else(|error| panic!("{address} cannot be listened on: {error}"));
    let address = socket.local_addr().expect("a bound socket has an address");
    let (command, commands) = mpsc::unbounded_channel();
    if port.listener == Listener::Control {
        // keeps its channel open without ever being told anything
        tokio::spawn(async move {
            let _command = command;
            port.serve(socket, commands).await;
        });
        return address;
    }
    let mut ports = port.state.ports.lock().unwrap_or_else(PoisonError::into_inner);
    ports.push(command);
    drop(ports);
    tokio::spawn(port.serve(socket, commands));
    address
}
