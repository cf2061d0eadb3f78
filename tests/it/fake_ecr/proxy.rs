//! The HTTP proxy: it opens tunnels, all of them to the AWS API over TLS, and forwards nothing else.
//!
//! What a tunnel was asked for is in the log, what goes through it is in the log of the API.
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;

use super::State;
use super::connection::Connection;
use super::http::{Answer, Incoming};

/// Whether the request opens a tunnel.
pub(super) fn opens(state: &State, incoming: &Incoming) -> bool {
    incoming.method == "CONNECT" && admits(state, incoming)
}

fn admits(state: &State, incoming: &Incoming) -> bool {
    let wanted = state.knobs.lock(|knobs| knobs.aws.proxy_credentials.clone());
    wanted.is_none_or(|wanted| {
        let wanted = format!("Basic {}", STANDARD.encode(wanted));
        incoming.header("proxy-authorization") == Some(wanted.as_str())
    })
}

/// The answer to a request that opens no tunnel.
pub(super) fn refusal(state: &State, incoming: &Incoming) -> Answer {
    let (status, text) = if admits(state, incoming) {
        (502, "this proxy only opens tunnels")
    } else {
        (407, "Proxy Authentication Required")
    };
    let answer = Answer::new(status).with("Content-Type", "text/html");
    let answer = answer.body(format!("<html><body>{text}</body></html>"));
    if status == 407 { answer.with("Proxy-Authenticate", "Basic realm=\"proxy\"") } else { answer }
}

/// Answers `CONNECT` and passes bytes both ways until the tunnel is over.
pub(super) async fn tunnel(state: &State, connection: &mut Connection) -> io::Result<bool> {
    let address = state.tunnels_end.get().ok_or(io::ErrorKind::NotConnected)?;
    let mut end = TcpStream::connect(address).await?;
    connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    connection.join(&mut end).await?;
    Ok(false)
}
