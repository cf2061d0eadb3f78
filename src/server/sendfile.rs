//! Marks: bytes whose address stands for a range of a file, so that the connection sends the range by `sendfile`.
//!
//! The only file of the crate with `unsafe` in it: one mapping. Nobody reads through a mapping here; whoever does not
//! know that a slice is a mark and writes it like any other sends the same bytes.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// The marks of one connection that are still to be sent. Clones are the same marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Arc<Mutex<Vec<Weak<Mark>>>>);

/// A range of a file, and the addresses that stand for it while this lives.
#[derive(Debug)]
struct Mark {
    mapping: Mmap,
    file: Arc<File>,
    start: u64,
}

/// What [`Bytes`] hold on to: as long as a slice of them lives, its address belongs to this mark and no other.
struct Held(Arc<Mark>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0.mapping
    }
}

impl Marks {
    /// Bytes that stand for a range of `file`, which must be there and stay as it is; `None` where the system cannot.
    pub(super) fn mark(&self, file: &Arc<File>, range: &Range<u64>) -> Option<Bytes> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let mapping = map(file, range).ok()?;
        let mark = Arc::new(Mark { mapping, file: Arc::clone(file), start: range.start });
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.retain(|mark| mark.strong_count() > 0);
        marks.push(Arc::downgrade(&mark));
        Some(Bytes::from_owner(Held(mark)))
    }

    /// The file and the place in it that a slice stands for, if it is a mark.
    pub(super) fn find(&self, slice: &[u8]) -> Option<(Arc<File>, u64)> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.iter().filter_map(Weak::upgrade).find_map(|mark| {
            let offset = slice.as_ptr().addr().checked_sub(mark.mapping.as_ptr().addr())?;
            let is_inside = offset < mark.mapping.len() && slice.len() <= mark.mapping.len() - offset;
            is_inside.then(|| (Arc::clone(&mark.file), mark.start + offset as u64))
        })
    }
}

/// Maps a range of a file without touching a page of it.
#[expect(unsafe_code, reason = "a mapping is the only address that can stand for a file")]
fn map(file: &File, range: &Range<u64>) -> io::Result<Mmap> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    // SAFETY: a mapped slice must not change, and reading it where the file has no bytes raises SIGBUS. The range was
    // published: content is never written again, and a staging file only where nothing is published yet. Should another
    // program change or cut the file all the same, nothing here notices: the slice is only ever handed to the kernel, by
    // address to `sendfile` and by content to `write`, and the kernel answers what is not there with an error.
    unsafe { MmapOptions::new().offset(range.start).len(length).map(file) }
}

/// Sends up to `count` bytes of `file` from `at` on; returns how many went.
#[cfg(target_os = "linux")]
pub(super) fn send(socket: impl AsFd, file: &File, at: u64, count: usize) -> io::Result<usize> {
    let mut at = at;
    match rustix::fs::sendfile(socket, file, Some(&mut at), count)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a cached file is shorter than it was")),
        sent => Ok(sent),
    }
}

/// Nothing is ever marked here, hence nothing sent.
#[cfg(not(target_os = "linux"))]
pub(super) fn send(_: impl AsFd, _: &File, _: u64, _: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads from a file what its page cache has, without waiting; `None` where the system cannot tell.
#[cfg(target_os = "linux")]
pub(super) fn read_at_hand(file: &File, bytes: &mut [u8], at: u64) -> Option<usize> {
    let mut slices = [io::IoSliceMut::new(bytes)];
    rustix::io::preadv2(file, &mut slices, at, rustix::io::ReadWriteFlags::NOWAIT).ok()
}

/// The page cache cannot be asked here.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_at_hand(_: &File, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    #[test]
    fn a_slice_of_a_mark_is_found_with_its_place_and_nothing_else_is() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
        let (marks, file) = (Marks::default(), file(&bytes));
        let marked = marks.mark(&file, &(5_000..15_000)).unwrap();
        assert_eq!(marked, bytes[5_000..15_000]);
        assert_eq!(marks.find(&marked).unwrap().1, 5_000);
        assert_eq!(marks.find(&marked[7..9]).unwrap().1, 5_007);
        assert!(marks.find(&bytes).is_none());
        assert!(Marks::default().find(&marked).is_none());
    }

    /// Marks `mapped` and stands for `sent`: what arrives tells which of the two was used.
    fn forged(marks: &Marks, mapped: &Arc<File>, sent: &Arc<File>, range: Range<u64>) -> Bytes {
        let mapping = map(mapped, &range).unwrap();
        let mark = Arc::new(Mark { mapping, file: Arc::clone(sent), start: range.start });
        marks.0.lock().unwrap().push(Arc::downgrade(&mark));
        Bytes::from_owner(Held(mark))
    }

    async fn served(wire_knows: bool) -> Vec<u8> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mapped, sent) = (file(&vec![b'm'; 2_000_000]), file(&vec![b's'; 2_000_000]));
        let marks = Marks::default();
        let ranges = [0..1_000_000, 1_000_000..1_100_000, 1_100_000..2_000_000];
        let frames = ranges.map(|range| forged(&marks, &mapped, &sent, range));
        let [first, second, third] = frames;
        let text = Bytes::from_static(b"text");
        let frames = std::sync::Mutex::new(vec![third, text, second, first]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let wire = super::super::wire::Wire::new(tcp, if wire_knows { marks.clone() } else { Marks::default() });
        // no length, hence frames in chunks with text between them
        let service = hyper::service::service_fn(move |_| {
            let frames = std::mem::take(&mut *frames.lock().unwrap());
            async move { Ok::<_, std::convert::Infallible>(hyper::Response::new(Frames(frames))) }
        });
        let server = hyper::server::conn::http1::Builder::new().serve_connection(wire, service);
        let mut got = Vec::new();
        let receive = async {
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            client.read_to_end(&mut got).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(server, receive);
        outcome.unwrap();
        got
    }

    struct Frames(Vec<Bytes>);

    impl hyper::body::Body for Frames {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(self.0.pop().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
        }
    }

    fn count(bytes: &[u8], letter: u8) -> usize {
        bytes.split(|byte| *byte == letter).count() - 1
    }

    #[tokio::test]
    async fn what_is_marked_leaves_from_its_file_and_what_is_not_recognised_is_right_as_well() {
        let got = served(true).await;
        assert!(got.windows(8).any(|window| window == b"4\r\ntext\r"));
        assert!(count(&got, b's') >= 2_000_000 && count(&got, b'm') < 100);
        let got = served(false).await;
        assert!(got.windows(8).any(|window| window == b"4\r\ntext\r"));
        assert!(count(&got, b'm') >= 2_000_000 && count(&got, b's') < 100);
    }

    #[test]
    fn a_mark_ends_with_its_last_slice() {
        let (marks, file) = (Marks::default(), file(&[1; 10_000]));
        let first = marks.mark(&file, &(0..10_000)).unwrap();
        let slice = first.slice(9_000..);
        drop(first);
        assert_eq!(marks.find(&slice).unwrap().1, 9_000);
        drop(slice);
        let _second = marks.mark(&file, &(0..100)).unwrap();
        assert_eq!(marks.0.lock().unwrap().len(), 1);
    }
}
