//! A client that writes requests as they are and reads answers byte by byte: for what a well-behaved client never does.
//!
//! Knows only answers with a length.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::rig::Rig;

/// Nothing takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// A connection to the daemon.
pub struct Raw {
    tcp: TcpStream,
    /// What was read beyond the last answer.
    ahead: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    text: String,
}

impl Head {
    pub fn header(&self, name: &str) -> &str {
        let lines = self.text.split("\r\n").filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        found.next().unwrap_or_default()
    }

    pub fn length(&self) -> usize {
        self.header("content-length").parse().unwrap_or(0)
    }
}

impl Raw {
    pub async fn connect(rig: &Rig) -> Self {
        Self { tcp: TcpStream::connect(rig.daemon.address).await.unwrap(), ahead: Vec::new() }
    }

    /// A connection whose receive buffer holds little: the daemon soon has to wait for it.
    pub async fn narrow(rig: &Rig) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        Self { tcp: socket.connect(rig.daemon.address).await.unwrap(), ahead: Vec::new() }
    }

    pub async fn write(&mut self, text: &str) {
        self.tcp.write_all(text.as_bytes()).await.unwrap();
    }

    /// Writes a request with more header lines.
    pub async fn ask(&mut self, method: &str, path: &str, more: &str) {
        self.write(&request(method, path, more)).await;
    }

    pub async fn head(&mut self) -> Head {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                let text = String::from_utf8(head).unwrap();
                return Head { status: text[9..12].parse().unwrap(), text };
            }
            assert!(self.more().await.unwrap() > 0, "the connection ended before an answer");
        }
    }

    /// The next `count` bytes; fewer only when the connection ends before.
    pub async fn body(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            // a reset ends it as a close does
            if self.more().await.unwrap_or(0) == 0 {
                break;
            }
        }
        let count = count.min(self.ahead.len());
        self.ahead.drain(..count).collect()
    }

    /// A whole answer to a request that is not HEAD.
    pub async fn answer(&mut self) -> (Head, Vec<u8>) {
        let head = self.head().await;
        let body = self.body(head.length()).await;
        (head, body)
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.ahead.reserve(256 * 1024);
        timeout(HANGS, self.tcp.read_buf(&mut self.ahead)).await.expect("the daemon hangs")
    }
}

/// A request as it goes over the wire.
pub fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}
