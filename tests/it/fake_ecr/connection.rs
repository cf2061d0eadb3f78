//! One client connection: reads requests, has them answered, writes the answers as the faults demand.
//!
//! The bytes on the wire are made here and nowhere else; what to answer is decided elsewhere.
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::State;
use super::answer::{self, Caller};
use super::http::{Answer, Incoming, reason};

/// Longer heads than this are nobody's.
const LONGEST_HEAD: usize = 256 << 10;

/// A stream with the socket below it in reach.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A connection and what was read ahead on it.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    ahead: BytesMut,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, ahead: BytesMut::new() }
    }

    /// Serves until one side ends it.
    pub(super) async fn serve(mut self, state: &Arc<State>, caller: Caller) {
        loop {
            let incoming = match self.request().await {
                Ok(Some(incoming)) => incoming,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let _ = self.refuse().await;
                    return;
                }
                Ok(None) | Err(_) => return,
            };
            match answer::exchange(state, caller, incoming, &mut self).await {
                Ok(true) => {}
                Ok(false) => return self.close().await,
                Err(_) => return,
            }
        }
    }

    /// The next request with its body, `None` at the end.
    async fn request(&mut self) -> io::Result<Option<Incoming>> {
        let end = loop {
            // a TLS ClientHello begins with 0x16: no line end will ever come
            if self.ahead.first().is_some_and(|byte| !byte.is_ascii_graphic()) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if let Some(end) = self.ahead.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            if self.ahead.len() > LONGEST_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Ok(None);
            }
        };
        let head = self.ahead.split_to(end + 4);
        let mut incoming = Incoming::parse(&head[..end]).ok_or(io::ErrorKind::InvalidData)?;
        if incoming.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            self.stream.flush().await?;
        }
        incoming.body = self.body(&incoming).await?;
        Ok(Some(incoming))
    }

    async fn body(&mut self, incoming: &Incoming) -> io::Result<Bytes> {
        let chunked = incoming.header("transfer-encoding");
        if chunked.is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.chunks().await;
        }
        let Some(length) = incoming.header("content-length") else {
            return Ok(Bytes::new());
        };
        let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        self.take(length).await
    }

    async fn chunks(&mut self) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            body.extend_from_slice(&self.take(size).await?);
            self.line().await?;
        }
    }

    async fn take(&mut self, length: usize) -> io::Result<Bytes> {
        while self.ahead.len() < length {
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.ahead.split_to(length).freeze())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                self.ahead.advance(end + 2);
                return Ok(line);
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Waits for `event`, or fails when the client goes away first.
    pub(super) async fn wait<F: Future>(&mut self, event: F) -> io::Result<F::Output> {
        let mut event = std::pin::pin!(event);
        loop {
            let read = tokio::select! {
                done = &mut event => return Ok(done),
                read = self.stream.read_buf(&mut self.ahead) => read?,
            };
            if read == 0 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }

    /// Waits, or fails when the client goes away first.
    pub(super) async fn pause(&mut self, time: Duration) -> io::Result<()> {
        if time.is_zero() {
            // a timer takes a millisecond at least
            return Ok(());
        }
        self.wait(tokio::time::sleep(time)).await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Passes bytes both ways until both ends have closed.
    pub(super) async fn join(&mut self, other: &mut TcpStream) -> io::Result<()> {
        other.write_all(&self.ahead.split()).await?;
        tokio::io::copy_bidirectional(&mut self.stream, other).await?;
        Ok(())
    }

    async fn refuse(&mut self) -> io::Result<()> {
        let answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        self.write(answer.as_bytes()).await?;
        self.close_write().await
    }

    async fn close(mut self) {
        let _ = self.close_write().await;
    }

    /// FIN, after TLS's `close_notify`.
    pub(super) async fn close_write(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// RST, once the client's kernel has everything that was written.
    pub(super) async fn reset(&mut self) -> io::Result<()> {
        let socket = self.stream.socket();
        super::listener::drained(socket).await;
        socket.set_zero_linger()
    }
}

/// The head of an answer as bytes. `length` is `None` for chunked bodies.
pub(super) fn head(answer: &Answer, date: &str, length: Option<i128>, keep: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    let mut line = |name: &str, value: &str| {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    };
    for (name, value) in &answer.headers {
        line(name, value);
    }
    if answer.header("date").is_none() {
        line("Date", date);
    }
    match length {
        Some(_) if answer.status == 204 || answer.header("content-length").is_some() => {}
        Some(length) => line("Content-Length", &length.to_string()),
        None => line("Transfer-Encoding", "chunked"),
    }
    if !keep {
        line("Connection", "close");
    }
    head.push_str("\r\n");
    head.into_bytes()
}
