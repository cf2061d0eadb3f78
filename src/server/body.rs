//! [`Body`]: what is sent behind a head: bytes in memory, a finished file, or a blob that is still being fetched.
//!
//! At most one piece is taken ahead, as a mark and not as memory, so a slow client costs none. The request's log line is
//! written when the body is over, however it ends.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::{piece, record::Record, sendfile::Marks};
use crate::{
    cache::{self, FillReader, Piece},
    store::BlobReader,
};

/// What is taken from a finished file at once.
const PIECE: u64 = 4 * 1024 * 1024;

type Taken = (Box<Stream>, Option<Result<Bytes, cache::Error>>);
type BoxedTake = Pin<Box<dyn Future<Output = Taken> + Send>>;

/// Where the bytes of a blob come from.
pub(super) enum Source {
    Stored(BlobReader),
    Filling(FillReader),
}

/// A part of a body.
#[derive(Debug)]
pub(super) enum Part {
    /// Of the blob.
    Range(Range<u64>),
    /// Between ranges of the blob.
    Text(Bytes),
}

/// What of a blob is sent, in order.
struct Stream {
    source: Source,
    parts: VecDeque<Part>,
    /// the range under way, of a finished file
    range: Range<u64>,
    /// whether a range of a download is under way
    is_following: bool,
    /// what is left of a piece that was not taken at once
    rest: Option<Piece>,
    marks: Marks,
}

enum State {
    Full(Bytes),
    Idle(Box<Stream>),
    Taking(BoxedTake),
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

    /// The parts, one after the other; `size` is the number of bytes that will come, when it is known.
    pub(super) fn stream(source: Source, parts: VecDeque<Part>, size: Option<u64>, marks: Marks) -> Self {
        let stream = Stream { source, parts, range: 0..0, is_following: false, rest: None, marks };
        Self { state: State::Idle(Box::new(stream)), remaining: size, record: None }
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

impl Stream {
    async fn take(mut self: Box<Self>) -> Taken {
        let next = self.next().await;
        (self, next)
    }

    async fn next(&mut self) -> Option<Result<Bytes, cache::Error>> {
        loop {
            if let Some(piece) = self.piece().await {
                return Some(self.bytes(piece).await);
            }
            match self.parts.pop_front()? {
                Part::Text(bytes) => return Some(Ok(bytes)),
                Part::Range(range) => self.begin(range),
            }
        }
    }

    fn begin(&mut self, range: Range<u64>) {
        match &mut self.source {
            Source::Stored(_) => self.range = range,
            Source::Filling(reader) => {
                reader.narrow(range.start, range.end);
                self.is_following = true;
            }
        }
    }

    /// The next piece of the range under way.
    async fn piece(&mut self) -> Option<Result<Piece, cache::Error>> {
        if let Some(rest) = self.rest.take() {
            return Some(Ok(rest));
        }
        match &mut self.source {
            Source::Filling(reader) if self.is_following => {
                let next = reader.next().await;
                self.is_following = next.is_some();
                next
            }
            Source::Filling(_) => None,
            Source::Stored(_) if self.range.is_empty() => None,
            Source::Stored(reader) => {
                let end = self.range.end.min(self.range.start + PIECE);
                let range = self.range.start..end;
                self.range.start = end;
                Some(Ok(Piece::File { file: Arc::clone(&reader.file), range }))
            }
        }
    }

    async fn bytes(&mut self, piece: Result<Piece, cache::Error>) -> Result<Bytes, cache::Error> {
        let taken = piece::take(piece?, &self.marks).await;
        let (bytes, rest) = taken.map_err(|error: io::Error| cache::Error::Store(Arc::new(error)))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The bytes that came from upstream for this body so far.
    fn upstream_bytes(&self) -> u64 {
        match &self.source {
            Source::Stored(_) => 0,
            Source::Filling(reader) => reader.upstream_bytes(),
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
                State::Idle(stream) => body.state = State::Taking(Box::pin(stream.take())),
                State::Taking(mut take) => {
                    let polled = take.as_mut().poll(context);
                    if polled.is_pending() {
                        body.state = State::Taking(take);
                    }
                    let (stream, next) = ready!(polled);
                    if let Some(record) = &mut body.record {
                        record.upstream_bytes = record.upstream_bytes.max(stream.upstream_bytes());
                    }
                    return match next {
                        None => Poll::Ready(None),
                        Some(Ok(bytes)) => {
                            body.took(&bytes);
                            body.state = State::Idle(stream);
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
            State::Idle(_) | State::Taking(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map(SizeHint::with_exact).unwrap_or_default()
    }
}
