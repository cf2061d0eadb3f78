//! [`Wire`]: the bytes of one connection, where marks leave as ranges of their files and all else as it is.
//!
//! Knows nothing of HTTP. It never waits for a disk: what is marked was seen in the page cache.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWrite as _, Interest},
    net::TcpStream,
};

use super::sendfile::{self, Marks};

/// What is handed to the system at once.
const AT_ONCE: usize = 1024 * 1024;

/// A connection in plain TCP.
pub(super) struct Wire {
    tcp: TokioIo<TcpStream>,
    marks: Marks,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream, marks: Marks) -> Self {
        Self { tcp: TokioIo::new(tcp), marks }
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        file: &std::fs::File,
        at: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        let tcp = self.tcp.inner();
        loop {
            ready!(tcp.poll_write_ready(context))?;
            match tcp.try_io(Interest::WRITABLE, || sendfile::send(tcp, file, at, count)) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// A file system from which nothing can be sent this way.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, into)
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn is_write_vectored(&self) -> bool {
        // or hyper would copy what is marked into a buffer of its own
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().position(|slice| !slice.is_empty()).unwrap_or(0);
        let slices = &slices[first..];
        if let Some((file, at)) = slices.first().and_then(|slice| self.marks.find(slice)) {
            match ready!(self.poll_send(context, &file, at, slices[0].len().min(AT_ONCE))) {
                Err(error) if is_refusal(&error) => {
                    return Pin::new(self.tcp.inner_mut()).poll_write(context, &slices[0]);
                }
                sent => return Poll::Ready(sent),
            }
        }
        let plain = slices.iter().position(|slice| self.marks.find(slice).is_some()).unwrap_or(slices.len());
        Pin::new(self.tcp.inner_mut()).poll_write_vectored(context, &slices[..plain])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
