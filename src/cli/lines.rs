//! [`Lines`]: log lines of the daemon, gathered for a few milliseconds and written by a thread of their own.
//!
//! A line per request would cost a system call per request, and hold up the others that have one to write. None is
//! dropped: when the reader does not keep up, whoever logs waits, as without this. [`Lines::flush`] before the end.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others.
const GATHERED: Duration = Duration::from_millis(2);
/// Enough for one write.
const ENOUGH: usize = 64 * 1024;
/// Whoever has more to say waits for the reader.
const MOST: usize = 1024 * 1024;
/// A reader that takes nothing does not hold up the end for longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where log lines go. Clones are the same place.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    grew: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// the thread sleeps until there is a line
    is_idle: bool,
    /// the thread has lines in its hands
    is_writing: bool,
    /// somebody waits for the last line to be written
    is_urgent: bool,
}

impl Lines {
    /// Starts the thread that writes to `sink`.
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let written = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || written.write_for_ever(sink))?;
        Ok(Self(shared))
    }

    /// Waits until everything is written, within reason.
    pub(super) fn flush(&self) {
        let mut pending = self.0.lock();
        pending.is_urgent = true;
        self.0.grew.notify_one();
        let is_unwritten = |pending: &mut Pending| pending.is_writing || !pending.bytes.is_empty();
        let waited = self.0.written.wait_timeout_while(pending, LAST_WORDS, is_unwritten);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_urgent = false;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut sink: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut pending = self.lock();
            while pending.bytes.is_empty() {
                pending.is_idle = true;
                pending = self.grew.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            pending.is_idle = false;
            let is_little = |pending: &mut Pending| pending.bytes.len() < ENOUGH && !pending.is_urgent;
            let gathered = self.grew.wait_timeout_while(pending, GATHERED, is_little);
            let mut pending = gathered.unwrap_or_else(PoisonError::into_inner).0;
            mem::swap(&mut pending.bytes, &mut lines);
            pending.is_writing = true;
            drop(pending);
            // nobody is left to be told that nobody reads
            let _ = sink.write_all(&lines).and_then(|()| sink.flush());
            lines.clear();
            self.lock().is_writing = false;
            self.written.notify_all();
        }
    }
}

impl Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shared = &self.0;
        let is_full = |pending: &mut Pending| pending.bytes.len() >= MOST;
        let mut pending = shared.written.wait_while(shared.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        let before = pending.bytes.len();
        pending.bytes.extend_from_slice(bytes);
        // waking costs a system call: only who sleeps is woken, or who gathers when it is enough
        let is_enough = before < ENOUGH && pending.bytes.len() >= ENOUGH;
        if mem::take(&mut pending.is_idle) || is_enough {
            shared.grew.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // a reader that takes a little at a time
            let count = bytes.len().min(7000);
            self.0.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_of_every_thread_is_written_whole_and_in_order() {
        let sink = Sink::default();
        let lines = Lines::start(sink.clone()).unwrap();
        thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let lines = &lines;
                scope.spawn(move || {
                    (0..20_000)
                        .for_each(|number| (&mut &*lines).write_all(format!("{name} {number}\n").as_bytes()).unwrap());
                });
            }
        });
        lines.flush();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 60_000);
        for name in ["a", "b", "c"] {
            let numbers = text.lines().filter_map(|line| line.strip_prefix(name));
            assert!(numbers.enumerate().all(|(want, got)| got.trim() == want.to_string()), "{name}");
        }
    }

    #[test]
    fn a_line_comes_without_being_waited_for() {
        struct Told(mpsc::Sender<Vec<u8>>);
        impl Write for Told {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.send(bytes.to_vec()).unwrap();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, told) = mpsc::channel();
        let lines = Lines::start(Told(sender)).unwrap();
        for text in ["one\n", "two\n"] {
            (&mut &lines).write_all(text.as_bytes()).unwrap();
            assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), text.as_bytes());
        }
    }
}
