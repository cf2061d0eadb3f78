//! One connection of the benchmark's client: a request out, a head in, and a body that the kernel throws away.
//!
//! It never follows a redirect and never takes an answer other than 200 or 206.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use ring::digest::{Context, SHA256};
use rustix::net::{RecvFlags, recv};

/// Longer heads than this nobody sends.
const LONGEST_HEAD: usize = 16 << 10;
/// Bytes the kernel is told to throw away in one call.
const GULP: usize = 1 << 20;
/// A server that is silent for so long hangs.
const HANGS: Duration = Duration::from_mins(2);

/// A connection, and the bytes behind a head that came with it.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    have: usize,
    scrap: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANGS))?;
        Ok(Self { stream, buffer: vec![0; LONGEST_HEAD], have: 0, scrap: Vec::new() })
    }

    pub(super) fn ask(&mut self, request: &str) -> io::Result<()> {
        self.stream.write_all(request.as_bytes())
    }

    /// Reads a head: the length of the body that follows. What came of that one stays in the buffer.
    pub(super) fn head(&mut self) -> io::Result<u64> {
        let end = loop {
            if let Some(at) = self.buffer[..self.have].windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let count = self.stream.read(&mut self.buffer[self.have..])?;
            if count == 0 {
                return Err(wrong("the connection ended before an answer, or its head is too long"));
            }
            self.have += count;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !matches!(status, "200" | "206") {
            return Err(wrong(&format!("the server answered {status}")));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        self.buffer.copy_within(end..self.have, 0);
        self.have -= end;
        length.ok_or_else(|| wrong("the server does not say how long its answer is"))
    }

    /// Throws the body away; the moment of its first byte.
    pub(super) fn skip(&mut self, length: u64) -> io::Result<Instant> {
        let mut left = length - self.take(length, |_| ());
        let mut first = (left < length || length == 0).then(Instant::now);
        self.scrap.resize(if left > 0 { GULP } else { 0 }, 0);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(GULP).min(GULP);
            let (_, count) = recv(&self.stream, &mut self.scrap[..most], RecvFlags::TRUNC)?;
            first.get_or_insert_with(Instant::now);
            left -= some(count)?;
        }
        Ok(first.unwrap_or_else(Instant::now))
    }

    /// Reads the body; its digest as `sha256:<hex>`.
    pub(super) fn digest(&mut self, length: u64) -> io::Result<String> {
        let mut context = Context::new(&SHA256);
        let mut left = length - self.take(length, |bytes| context.update(bytes));
        self.scrap.resize(GULP, 0);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(GULP).min(GULP);
            let count = self.stream.read(&mut self.scrap[..most])?;
            context.update(&self.scrap[..count]);
            left -= some(count)?;
        }
        let digest = context.finish();
        Ok(digest.as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// Throws away at most so many bytes, whatever has come.
    pub(super) fn sip(&mut self, most: usize) -> io::Result<u64> {
        self.scrap.resize(most, 0);
        let (_, count) = recv(&self.stream, &mut self.scrap[..most], RecvFlags::TRUNC)?;
        some(count)
    }

    /// Takes from the buffer what belongs to a body of this length.
    fn take(&mut self, length: u64, with: impl FnOnce(&[u8])) -> u64 {
        let taken = usize::try_from(length).unwrap_or(self.have).min(self.have);
        with(&self.buffer[..taken]);
        self.buffer.copy_within(taken..self.have, 0);
        self.have -= taken;
        taken as u64
    }
}

fn some(count: usize) -> io::Result<u64> {
    if count == 0 { Err(wrong("the body ended early")) } else { Ok(count as u64) }
}

pub(super) fn wrong(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}
