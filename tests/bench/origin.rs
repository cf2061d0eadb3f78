//! A far registry: a folder of files served over plain HTTP, at a rate for each connection and for all together, with a
//! round trip before each answer.
//!
//! Knows no credentials and takes no push. One line an answer goes to standard output, with the bytes it had.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Parser;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until},
};

/// Bytes of one write: three milliseconds at 25 MB/s.
const STEP: usize = 64 << 10;
/// Longer heads than this nobody sends.
const LONGEST_HEAD: usize = 16 << 10;
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry that is far away.
#[derive(Parser)]
#[command(name = "bench-origin")]
struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// The folder that has v2/.
    #[arg(long)]
    root: PathBuf,
    /// Bytes per second of one connection; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    connection_rate: u64,
    /// Bytes per second of all connections together; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    total_rate: u64,
    /// What a question and its answer take on their way; a new connection takes one more.
    #[arg(long, default_value_t = 0)]
    round_trip_ms: u64,
}

/// A timer that rings late is made up for; a line that was idle for longer has nothing saved up.
const LATE: Duration = Duration::from_millis(25);

/// Hands out moments at which bytes may go.
struct Pace {
    rate: u64,
    next: Mutex<Instant>,
}

struct Origin {
    root: PathBuf,
    connection_rate: u64,
    line: Pace,
    round_trip: Duration,
}

/// A file and the part of it that was asked for.
struct Part {
    file: File,
    size: u64,
    from: u64,
    to: u64,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(arguments.listen).await?;
    let origin = Arc::new(Origin {
        root: arguments.root,
        connection_rate: arguments.connection_rate,
        line: Pace::new(arguments.total_rate),
        round_trip: Duration::from_millis(arguments.round_trip_ms),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let origin = Arc::clone(&origin);
        // a client that goes away is no failure of the origin's
        tokio::spawn(async move { origin.serve(stream).await });
    }
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, next: Mutex::new(Instant::now()) }
    }

    /// A new answer begins: nothing is saved up from the time before.
    fn begin(&self) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Instant::now());
    }

    /// Waits until so many bytes may go.
    async fn wait(&self, bytes: usize) {
        if self.rate == 0 {
            return;
        }
        let time = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.rate);
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if now > *next + LATE {
                *next = now;
            }
            *next += time;
            *next
        };
        sleep_until(at).await;
    }
}

impl Origin {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        sleep(self.round_trip).await;
        let pace = Pace::new(self.connection_rate);
        let mut ahead = Vec::new();
        while let Some(head) = head(&mut stream, &mut ahead).await? {
            sleep(self.round_trip).await;
            self.answer(&mut stream, &pace, &head).await?;
        }
        Ok(())
    }

    async fn answer(&self, stream: &mut TcpStream, pace: &Pace, head: &str) -> io::Result<()> {
        let mut words = head.split_ascii_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let part = if path == "/v2/" { None } else { Some(self.open(path, head)) };
        let (status, part) = match part {
            None => (200, None),
            Some(Err(_)) => (404, None),
            Some(Ok(part)) if part.to - part.from < part.size => (206, Some(part)),
            Some(Ok(part)) => (200, Some(part)),
        };
        let text = answer_head(status, path, part.as_ref());
        stream.write_all(text.as_bytes()).await?;
        let part = part.filter(|_| method != "HEAD");
        let mut sent = 0;
        let written = match &part {
            Some(part) => self.body(stream, pace, part, &mut sent).await,
            None => Ok(()),
        };
        log(method, path, status, sent);
        written
    }

    fn open(&self, path: &str, head: &str) -> io::Result<Part> {
        if path.contains("..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let path = path.split('?').next().unwrap_or_default();
        let file = File::open(self.root.join(path.trim_start_matches('/')))?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let size = about.len();
        let (from, to) = range(head, size).unwrap_or((0, size));
        Ok(Part { file, size, from, to })
    }

    async fn body(&self, stream: &mut TcpStream, pace: &Pace, part: &Part, sent: &mut u64) -> io::Result<()> {
        let mut buffer = vec![0; STEP];
        let mut at = part.from;
        pace.begin();
        while at < part.to {
            let want = usize::try_from(part.to - at).unwrap_or(STEP).min(STEP);
            part.file.read_exact_at(&mut buffer[..want], at)?;
            pace.wait(want).await;
            self.line.wait(want).await;
            stream.write_all(&buffer[..want]).await?;
            at += want as u64;
            *sent += want as u64;
        }
        Ok(())
    }
}

/// The next request's head, in lower case but for its first line; `None` at the end.
async fn head(stream: &mut TcpStream, ahead: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(at) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = ahead.drain(..at + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if ahead.len() > LONGEST_HEAD || stream.read_buf(ahead).await? == 0 {
            return Ok(None);
        }
    }
}

/// First byte and end of `Range: bytes=5-9` or `bytes=5-`; other ranges are ignored, as a server may.
fn range(head: &str, size: u64) -> Option<(u64, u64)> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("range:"))?;
    let (from, to) = line.split_once('=')?.1.trim().split_once('-')?;
    let from = from.parse().ok()?;
    let to = if to.is_empty() { size } else { to.parse::<u64>().ok()?.checked_add(1)?.min(size) };
    (from < to).then_some((from, to))
}

fn answer_head(status: u16, path: &str, part: Option<&Part>) -> String {
    let (kind, digest) = match path.rsplit_once("/manifests/") {
        Some((_, digest)) if digest.starts_with("sha256:") => {
            (MANIFEST, format!("Docker-Content-Digest: {digest}\r\n"))
        }
        Some(_) => (MANIFEST, String::new()),
        None => ("application/octet-stream", String::new()),
    };
    let length = part.map_or(0, |part| part.to - part.from);
    let range = part.filter(|_| status == 206);
    let range = range.map(|part| format!("Content-Range: bytes {}-{}/{}\r\n", part.from, part.to - 1, part.size));
    let reason = if status == 404 { "Not Found" } else { "OK" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Accept-Ranges: bytes\r\n{digest}{}\r\n",
        range.unwrap_or_default()
    )
}

#[expect(clippy::print_stdout, reason = "the log of requests, which the benchmark counts")]
fn log(method: &str, path: &str, status: u16, bytes: u64) {
    println!("\"{method} {path} HTTP/1.1\" {status} {bytes}");
}
