//! [`Body`]: what is sent behind a head: bytes in memory, a finished file, or a blob that is still being fetched.
//!
//! At most one chunk is read ahead, so a slow client costs no memory. The request's log line is written when the body is
//! over, however it ends.

use std::{
    fs::File,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::record::Record;
use crate::{
    cache::{self, FillReader},
    store::BlobReader,
};

type BoxedRead = Pin<Box<dyn Future<Output = (Source, Option<Result<Bytes, cache::Error>>)> + Send>>;

/// Where bytes come from.
pub(super) enum Source {
    Stored { reader: BlobReader, range: Range<u64> },
    Filling(FillReader),
}

enum State {
    Full(Bytes),
    Idle(Source),
    Reading(BoxedRead),
    Over,
}

/// A response body.
pub(super) struct Body {
    state: State,
    remaining: Option<u64>,
    record: Option<Record>,
}

impl Body {
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let remaining = Some(bytes.len() as u64);
        Self { state: State::Full(bytes), remaining, record: None }
    }

    /// `size` is the number of bytes that will come, when it is known.
    pub(super) fn stream(source: Source, size: Option<u64>) -> Self {
        Self { state: State::Idle(source), remaining: size, record: None }
    }

    /// The log line of the request this body answers.
    pub(super) fn with_record(mut self, record: Record) -> Self {
        self.record = Some(record);
        self
    }

    fn took(&mut self, bytes: &Bytes) {
        let count = bytes.len() as u64;
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(count));
        if let Some(record) = &mut self.record {
            record.sent += count;
        }
    }
}

impl Source {
    async fn next(mut self) -> (Self, Option<Result<Bytes, cache::Error>>) {
        let next = match &mut self {
            Self::Filling(reader) => reader.next().await,
            Self::Stored { range, .. } if range.is_empty() => None,
            Self::Stored { reader, range } => {
                let file: Arc<File> = Arc::clone(&reader.file);
                Some(cache::read_chunk(file, range).await)
            }
        };
        (self, next)
    }

    /// The bytes that came from upstream for this body so far.
    fn upstream_bytes(&self) -> u64 {
        match self {
            Self::Stored { .. } => 0,
            Self::Filling(reader) => reader.upstream_bytes(),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = cache::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, cache::Error>>> {
        let body = self.get_mut();
        loop {
            match std::mem::replace(&mut body.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Full(bytes) if bytes.is_empty() => return Poll::Ready(None),
                State::Full(bytes) => {
                    body.took(&bytes);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                State::Idle(source) => body.state = State::Reading(Box::pin(source.next())),
                State::Reading(mut read) => {
                    let polled = read.as_mut().poll(context);
                    if polled.is_pending() {
                        body.state = State::Reading(read);
                    }
                    let (source, next) = ready!(polled);
                    if let Some(record) = &mut body.record {
                        record.upstream_bytes = record.upstream_bytes.max(source.upstream_bytes());
                    }
                    return match next {
                        None => Poll::Ready(None),
                        Some(Ok(bytes)) => {
                            body.took(&bytes);
                            body.state = State::Idle(source);
                            Poll::Ready(Some(Ok(Frame::data(bytes))))
                        }
                        Some(Err(error)) => {
                            body.record.iter_mut().for_each(|record| record.broken = Some(error.message()));
                            Poll::Ready(Some(Err(error)))
                        }
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Over => true,
            State::Full(bytes) => bytes.is_empty(),
            State::Idle(_) | State::Reading(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map(SizeHint::with_exact).unwrap_or_default()
    }
}
