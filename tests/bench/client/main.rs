//! The client of the benchmark: fetches blobs, asks for manifests, or reads slowly, and prints what it saw as one line of
//! JSON.
//!
//! It keeps nothing and looks into nothing, but for `--verify`: the client is never what is measured.

mod connection;

use std::{
    collections::VecDeque,
    io,
    sync::{Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use connection::{Connection, wrong};
use serde_json::{Value, json};

/// What docker accepts; without the first, docker-registry converts manifests.
const ACCEPT: &str =
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, */*";
/// How often in a second a slow reader reads.
const SIPS: u32 = 10;

/// The client of the benchmark.
#[derive(Parser)]
#[command(name = "bench-client")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetches every path over so many connections; each takes the next path when it is done with one.
    Fetch(Fetch),
    /// Asks for one path again and again over so many connections.
    Ask(Ask),
    /// Reads one path slowly over so many connections, and leaves after a time.
    Slow(Slow),
}

#[derive(Args)]
struct Fetch {
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Fetch all of them so often.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Fetch paths in so many ranges at once, each over a connection of its own.
    #[arg(long, default_value_t = 1)]
    split: u64,
    /// Smaller ones are fetched whole.
    #[arg(long, default_value_t = 0)]
    split_above: u64,
    /// Compare what comes with the digest at the end of its path.
    #[arg(long)]
    verify: bool,
    address: String,
    paths: Vec<String>,
}

#[derive(Args)]
struct Ask {
    #[arg(long, default_value_t = 16)]
    connections: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value = "GET")]
    method: String,
    address: String,
    path: String,
}

#[derive(Args)]
struct Slow {
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Bytes that each of them reads in a second.
    #[arg(long)]
    rate: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    address: String,
    path: String,
}

/// What one answer brought.
struct Got {
    bytes: u64,
    asked: Instant,
    first: Instant,
    last: Instant,
}

#[expect(clippy::print_stdout, reason = "the one line that tells what was seen")]
fn main() -> io::Result<()> {
    let seen = match Arguments::parse().task {
        Task::Fetch(fetch) => fetch.run()?,
        Task::Ask(ask) => ask.run()?,
        Task::Slow(slow) => slow.run()?,
    };
    println!("{seen}");
    Ok(())
}

/// Runs `each` so often at once, on a connection of its own that is open before the first begins.
fn together<T: Send>(
    count: usize,
    address: &str,
    each: impl Fn(&mut Connection) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let start = Barrier::new(count);
    let one = || {
        let connection = Connection::open(address);
        start.wait();
        each(&mut connection?)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| wrong("a thread of the client died"))?);
        joined.collect()
    })
}

fn request(method: &str, path: &str, range: Option<(u64, u64)>) -> String {
    let range = range.map(|(from, to)| format!("Range: bytes={from}-{to}\r\n")).unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: {ACCEPT}\r\n{range}\r\n")
}

impl Fetch {
    fn run(&self) -> io::Result<Value> {
        let paths = self.paths.iter().cycle().take(self.paths.len() * self.repeat);
        let queue = Mutex::new(paths.collect::<VecDeque<_>>());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let got = together(self.connections, &self.address, |connection| {
            let mut got = Vec::new();
            while let Some(path) = next() {
                got.extend(self.path(connection, path)?);
            }
            Ok(got)
        })?;
        let got: Vec<Got> = got.into_iter().flatten().collect();
        let start = got.iter().map(|one| one.asked).min().ok_or_else(|| wrong("there was nothing to fetch"))?;
        let since = |at: Instant| at.duration_since(start).as_secs_f64();
        Ok(json!({
            "seconds": got.iter().map(|one| since(one.last)).fold(0.0, f64::max),
            "bytes": got.iter().map(|one| one.bytes).sum::<u64>(),
            "first_byte": got.iter().map(|one| since(one.first)).collect::<Vec<_>>(),
            "waited": got.iter().map(|one| one.first.duration_since(one.asked).as_secs_f64()).collect::<Vec<_>>(),
        }))
    }

    fn path(&self, connection: &mut Connection, path: &str) -> io::Result<Vec<Got>> {
        if self.split > 1 {
            let asked = Instant::now();
            connection.ask(&request("HEAD", path, None))?;
            let size = connection.head()?;
            if size > self.split_above {
                return self.in_ranges(path, size, asked);
            }
        }
        let asked = Instant::now();
        connection.ask(&request("GET", path, None))?;
        let bytes = connection.head()?;
        let first = if self.verify {
            let digest = connection.digest(bytes)?;
            if !path.ends_with(&digest) {
                return Err(wrong(&format!("{digest} came for {path}")));
            }
            Instant::now()
        } else {
            connection.skip(bytes)?
        };
        Ok(vec![Got { bytes, asked, first, last: Instant::now() }])
    }

    fn in_ranges(&self, path: &str, size: u64, asked: Instant) -> io::Result<Vec<Got>> {
        let step = size.div_ceil(self.split);
        let starts = Mutex::new((0..size).step_by(usize::try_from(step).unwrap_or(usize::MAX)));
        let parts = usize::try_from(size.div_ceil(step)).unwrap_or(1);
        together(parts, &self.address, |connection| {
            let from = starts.lock().unwrap_or_else(PoisonError::into_inner).next();
            let from = from.ok_or_else(|| wrong("there are fewer ranges than connections"))?;
            let to = (from + step).min(size) - 1;
            connection.ask(&request("GET", path, Some((from, to))))?;
            let bytes = connection.head()?;
            if bytes != to + 1 - from {
                return Err(wrong("the server does not know ranges"));
            }
            let first = connection.skip(bytes)?;
            Ok(Got { bytes, asked, first, last: Instant::now() })
        })
    }
}

impl Ask {
    /// One thread: the next question goes out on a connection as soon as its answer was read, in turns.
    fn run(&self) -> io::Result<Value> {
        let request = request(&self.method, &self.path, None);
        let has_body = self.method != "HEAD";
        let mut all = (0..self.connections).map(|_| Connection::open(&self.address)).collect::<io::Result<Vec<_>>>()?;
        let (start, most) = (Instant::now(), Duration::from_secs_f64(self.seconds));
        for connection in &mut all {
            connection.ask(&request)?;
        }
        let mut answers = 0_u64;
        while start.elapsed() < most {
            for connection in &mut all {
                let length = connection.head()?;
                if has_body {
                    connection.skip(length)?;
                }
                connection.ask(&request)?;
                answers += 1;
            }
        }
        Ok(json!({"seconds": start.elapsed().as_secs_f64(), "answers": answers}))
    }
}

impl Slow {
    fn run(&self) -> io::Result<Value> {
        let request = request("GET", &self.path, None);
        let got = together(self.connections, &self.address, |connection| {
            let end = Instant::now() + Duration::from_secs_f64(self.seconds);
            connection.ask(&request)?;
            let (size, mut bytes) = (connection.head()?, 0);
            while Instant::now() < end && bytes < size {
                bytes += connection.sip(self.rate / SIPS as usize)?;
                thread::sleep(Duration::from_secs(1) / SIPS);
            }
            Ok(bytes)
        })?;
        Ok(json!({"bytes": got.iter().sum::<u64>(), "least": got.iter().min()}))
    }
}
