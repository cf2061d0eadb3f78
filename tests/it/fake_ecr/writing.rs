//! Writing an answer: pace, gates, cuts, and the log's account of every byte.
//!
//! It never changes what the answer says; see `plan.rs` for that.
use std::io;
use std::time::Duration;

use super::State;
use super::connection::{Connection, head};
use super::http::{Answer, Incoming};
use super::log::Entry;
use super::plan::{Plan, Stop};

/// Most bytes in one write: small enough for smooth pacing and prompt gates.
const STEP: usize = 64 << 10;

/// An answer on its way out.
pub(super) struct Writing<'a, 'e> {
    pub(super) state: &'a State,
    pub(super) connection: &'a mut Connection,
    pub(super) entry: &'a mut Entry<'e>,
    pub(super) plan: &'a Plan,
    pub(super) link: bool,
}

impl Writing<'_, '_> {
    /// Writes head and body; whether the connection can go on.
    pub(super) async fn write(&mut self, incoming: &Incoming, answer: &Answer) -> io::Result<bool> {
        let plan = self.plan;
        let bodiless = incoming.is_head() || matches!(answer.status, 204 | 304);
        let length = i128::try_from(answer.body.len()).unwrap_or(0) + i128::from(plan.longer);
        let length = (!plan.chunked).then_some(length.max(0));
        let keep = incoming.keep_alive && plan.longer == 0;
        let body = if bodiless { &[] } else { &answer.body[..] };
        if body.is_empty() && plan.stops.is_empty() {
            self.entry.ending();
        }
        let date = self.state.clock.http_date();
        let head = head(answer, &date, length, keep);
        self.connection.write(&head).await?;
        self.connection.pause(plan.first_byte).await?;
        self.body(body).await?;
        if plan.chunked && !bodiless {
            self.connection.write(b"0\r\n\r\n").await?;
        }
        Ok(keep)
    }

    async fn body(&mut self, body: &[u8]) -> io::Result<()> {
        let mut stops = self.plan.stops.iter().peekable();
        let mut sent = 0;
        loop {
            while let Some((_, stop)) = stops.next_if(|(at, _)| (*at).min(body.len()) <= sent) {
                self.stop(*stop).await?;
            }
            if sent == body.len() {
                return Ok(());
            }
            let until = stops.peek().map_or(body.len(), |(at, _)| *at);
            let end = body.len().min(until).min(sent + self.step());
            self.pace(end - sent).await?;
            self.piece(&body[sent..end], end == body.len()).await?;
            sent = end;
        }
    }

    async fn piece(&mut self, piece: &[u8], last: bool) -> io::Result<()> {
        self.entry.sending(piece.len());
        if last && self.plan.stops.is_empty() {
            self.entry.ending();
        }
        if !self.plan.chunked {
            return self.connection.write(piece).await;
        }
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        self.connection.write(&chunk).await
    }

    async fn stop(&mut self, stop: Stop) -> io::Result<()> {
        match stop {
            Stop::Hold => {
                self.plan.reach();
                self.connection.wait(self.plan.released()).await
            }
            Stop::Stall(time) => {
                self.plan.reach();
                let released = tokio::time::timeout(time, self.plan.released());
                self.connection.wait(released).await.map(drop)
            }
            Stop::Reset => {
                self.connection.reset().await?;
                self.plan.reach();
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Stop::Fin => {
                self.connection.close_write().await?;
                self.plan.reach();
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    /// Bytes of one write: a twentieth of a second at most when paced.
    fn step(&self) -> usize {
        let slowest = self.own_rate().into_iter().chain(self.link_rate()).min();
        let step = slowest.map_or(STEP, |rate| usize::try_from(rate / 20).unwrap_or(STEP));
        step.clamp(1, STEP)
    }

    /// What this connection may send in a second, whatever the others do.
    fn own_rate(&self) -> Option<u64> {
        let knob = self.link.then(|| self.state.knobs.lock(|k| k.s3_connection_rate)).flatten();
        self.plan.rate.into_iter().chain(knob).min()
    }

    /// What all storage connections together may send in a second.
    fn link_rate(&self) -> Option<u64> {
        self.link.then(|| self.state.knobs.lock(|k| k.s3_rate)).flatten()
    }

    async fn pace(&mut self, bytes: usize) -> io::Result<()> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let time = |rate: u64| {
            let nanoseconds = u64::from(count) * 1_000_000_000 / rate.max(1);
            Duration::from_nanos(nanoseconds)
        };
        if let Some(rate) = self.own_rate() {
            self.connection.pause(time(rate)).await?;
        }
        if let Some(rate) = self.link_rate() {
            let turn = self.state.link.reserve(time(rate));
            self.connection.wait(tokio::time::sleep_until(turn)).await?;
        }
        Ok(())
    }
}
