//! What a fault rule can do to a request, an answer or a connection.
//!
//! Only the list; `plan.rs`, `writing.rs` and `listener.rs` do it.
use serde::{Deserialize, Deserializer};

/// What a rule does. Offsets count bytes of the answer's body, so on a 206 they start at its range.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Answer this status instead of routing the request; empty body unless [`Action::Body`] is there.
    Status(u16),
    /// Another body. Without [`Action::Status`] the request is routed and its body replaced.
    Body(#[serde(deserialize_with = "text")] Vec<u8>),
    /// Set a header of the answer.
    SetHeader(String, String),
    /// Drop a header of the answer.
    DropHeader(String),
    /// Wait this many milliseconds before the head.
    DelayMs(u64),
    /// Wait this many milliseconds between the head and the first byte of the body.
    FirstByteMs(u64),
    /// Pace the body of each answer.
    BytesPerSecond(u64),
    /// After so many bytes wait so many milliseconds.
    StallAfter(u64, u64),
    /// Hold the head until [`FaultHandle::release`](super::FaultHandle::release).
    Hold,
    /// Hold the body after so many bytes until [`FaultHandle::release`](super::FaultHandle::release).
    HoldAfter(u64),
    /// After so many bytes end the connection with RST.
    ResetAfter(u64),
    /// After so many bytes end the connection with FIN (and TLS `close_notify`).
    FinAfter(u64),
    /// Read the request, then close without answer. The request has no effect.
    CloseBeforeResponse,
    /// Accept and reset at the client's first byte, its `ClientHello`. Matches connections: only the listener counts.
    TlsAbort,
    /// Accept and never answer, not even TLS. Matches connections: only the listener counts.
    HalfOpen,
    /// Reset new connections while so many are open. Matches connections: only the listener counts.
    ConnectionLimit(u64),
    /// Invert the bits of the byte at this offset.
    FlipByte(usize),
    /// Other bytes of the right length.
    SwapBody,
    /// Add this to `Content-Length`; the whole body is sent and the connection closed.
    WrongLength(i64),
    /// No `Content-Length`, chunked instead.
    Chunked,
    /// Compress the body and say so.
    GzipEncode,
    /// Answer as if there was no `Range`.
    IgnoreRange,
    /// Shift the offsets in `Content-Range` by one.
    WrongContentRange,
    /// Redirect to the very same address.
    RedirectLoop,
    /// Expire every token given out so far, before the request is judged.
    ExpireTokens,
    /// Expire every presigned URL given out so far, before the request is judged.
    ExpireUrls,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    String::deserialize(deserializer).map(String::into_bytes)
}
