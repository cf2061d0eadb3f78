//! From a [`Piece`] of a blob to bytes for the connection: a mark of what is in the page cache, or a copy.
//!
//! Never waits for a disk on the runtime's threads. What is not in the page cache is brought there where blocking is
//! allowed.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::sendfile::{self, Marks};
use crate::cache::{Piece, blocking};

/// Below this a copy is cheaper than a mapping and a system call of its own.
const LEAST_MARKED: u64 = 32 * 1024;
/// What is copied at once: the knee of the curve of CPU time per byte.
const COPIED: u64 = 256 * 1024;
/// The page cache is asked about one byte in so many.
const PROBED: u64 = 256 * 1024;
/// How far ahead of a cold piece the disk is asked to read.
#[cfg(target_os = "linux")]
const AHEAD: u64 = 8 * 1024 * 1024;
/// What passes through memory at once to bring a cold piece into the page cache.
const SIP: usize = 64 * 1024;

/// The first bytes of a piece, and what is left of it.
pub(super) async fn take(piece: Piece, marks: &Marks) -> io::Result<(Bytes, Option<Piece>)> {
    let (file, range) = match piece {
        Piece::Memory(bytes) => return Ok((bytes, None)),
        Piece::File { file, range } => (file, range),
    };
    if range.end - range.start >= LEAST_MARKED
        && let Some(bytes) = marks.mark(&file, &range)
    {
        if !is_at_hand(&file, &range) {
            warm(file, range).await?;
        }
        return Ok((bytes, None));
    }
    let middle = range.end.min(range.start + COPIED);
    let bytes = copy(Arc::clone(&file), range.start..middle).await?;
    let rest = (middle < range.end).then(|| Piece::File { file, range: middle..range.end });
    Ok((bytes, rest))
}

/// Whether a range seems to be in the page cache.
fn is_at_hand(file: &File, range: &Range<u64>) -> bool {
    let step = usize::try_from(PROBED).unwrap_or(usize::MAX);
    let mut probes = range.clone().step_by(step).chain([range.end - 1]);
    probes.all(|at| sendfile::read_at_hand(file, &mut [0], at) == Some(1))
}

/// Brings a range into the page cache.
async fn warm(file: Arc<File>, range: Range<u64>) -> io::Result<()> {
    blocking(move || {
        read_ahead(&file, range.start);
        let mut sip = vec![0; SIP];
        let mut at = range.start;
        while at < range.end {
            let wanted = usize::try_from(range.end - at).unwrap_or(SIP).min(SIP);
            file.read_exact_at(&mut sip[..wanted], at)?;
            at += wanted as u64;
        }
        Ok(())
    })
    .await
}

#[cfg(target_os = "linux")]
fn read_ahead(file: &File, at: u64) {
    // advice: what refuses it reads all the same, only later
    let _ = rustix::fs::fadvise(file, at, std::num::NonZeroU64::new(AHEAD), rustix::fs::Advice::WillNeed);
}

#[cfg(not(target_os = "linux"))]
fn read_ahead(_: &File, _: u64) {}

/// Reads a range into memory.
async fn copy(file: Arc<File>, range: Range<u64>) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(usize::try_from(range.end - range.start).map_err(io::Error::other)?);
    if sendfile::read_at_hand(&file, &mut bytes, range.start) == Some(bytes.len()) {
        return Ok(bytes.freeze());
    }
    blocking(move || {
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.freeze())
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn a_piece_of_any_size_comes_whole() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 249) as u8).collect();
        let (file, marks) = (file(&bytes), Marks::default());
        for range in [0..1, 5..40_000, 7..32_775, 4_096..1_052_672, 2_999_999..3_000_000, 0..3_000_000_usize] {
            let mut piece = Some(Piece::File { file: Arc::clone(&file), range: range.start as u64..range.end as u64 });
            let mut got = Vec::new();
            while let Some(left) = piece.take() {
                let (some, rest) = take(left, &marks).await.unwrap();
                got.extend_from_slice(&some);
                piece = rest;
            }
            assert!(got == bytes[range.clone()], "{range:?}");
        }
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_large_piece_is_marked_whole_and_a_small_one_is_copied() {
        let (file, marks) = (file(&vec![1; 2_000_000]), Marks::default());
        for (range, is_marked) in [(7..1_048_583, true), (100..40_000, true), (0..2_000, false)] {
            let piece = Piece::File { file: Arc::clone(&file), range: range.clone() };
            let (bytes, rest) = take(piece, &marks).await.unwrap();
            assert!(rest.is_none());
            assert_eq!(marks.find(&bytes).map(|(_, at)| at), is_marked.then_some(range.start));
        }
    }

    #[tokio::test]
    async fn a_file_that_was_cut_is_an_error_before_anything_is_sent() {
        let (file, marks) = (file(&vec![7; 500_000]), Marks::default());
        for range in [0..500_001, 400_000..600_000, 499_999..500_002, 900_000..900_100] {
            let error = take(Piece::File { file: Arc::clone(&file), range }, &marks).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
