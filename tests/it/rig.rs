//! The rig: a fake ECR, the real daemon as a process of its own, and a client that pulls like docker.
//!
//! Everything lives in one temporary folder and ends when the rig is dropped. Nothing here sleeps: it waits for log lines,
//! answers and exits.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use longshore::oci::Digest;
use serde_json::Value;

use crate::fake_ecr::{FakeEcr, Listener};

/// The registry most tests use.
pub const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
/// A repository there.
pub const APP: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app";
/// The credential helper.
pub const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-longshore");
/// Nothing in a test takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// What docker accepts.
pub const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";

/// A fake ECR and a daemon in front of it.
pub struct Rig {
    pub ecr: FakeEcr,
    pub dir: tempfile::TempDir,
    pub daemon: Daemon,
    /// The configuration beside the rig's own, for the next start.
    pub more: String,
    /// Lines of its `[upstream]` table, likewise; they replace the rig's own of the same keys.
    pub upstream: String,
}

/// The daemon's process and what it logged.
pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Log>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grew: Condvar,
}

/// An answer, read to its end; `body` is an error when the connection broke off first.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Result<Bytes, String>,
}

/// What a pull brought.
#[derive(Debug, PartialEq, Eq)]
pub struct Pull {
    pub digest: String,
    pub manifest: Bytes,
    /// digest and size of config and layers
    pub blobs: BTreeMap<String, usize>,
}

impl Rig {
    /// Starts with the default configuration.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// Starts with more configuration, as TOML tables.
    pub async fn with(more: &str) -> Self {
        Self::with_upstream(more, "").await
    }

    /// Starts with more configuration, and with lines of its `[upstream]` table.
    pub async fn with_upstream(more: &str, upstream: &str) -> Self {
        let ecr = FakeEcr::start().await;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::write(dir.path().join("ca.pem"), ecr.ca_pem()).unwrap();
        write_config(&ecr, dir.path(), more, upstream);
        let daemon = Daemon::start(&ecr, dir.path(), "debug");
        Self { ecr, dir, daemon, more: more.to_owned(), upstream: upstream.to_owned() }
    }

    /// Ends the daemon by force, as a power cut would, and starts it again on the same folder.
    pub fn kill_and_restart(&mut self) {
        self.daemon.kill();
        self.restart();
    }

    /// Starts the daemon again on the same folder.
    pub fn restart(&mut self) {
        write_config(&self.ecr, self.dir.path(), &self.more, &self.upstream);
        self.daemon = Daemon::start(&self.ecr, self.dir.path(), "debug");
    }

    /// Starts the daemon again, logging all there is.
    pub fn restart_at_trace(&mut self) {
        self.daemon.kill();
        self.daemon = Daemon::start(&self.ecr, self.dir.path(), "trace");
    }

    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("home/.cache/longshore")
    }

    /// Finished content: path and size of each file.
    pub fn content(&self) -> Vec<(PathBuf, u64)> {
        let mut open = vec![self.cache().join("content-v2")];
        let mut files = Vec::new();
        while let Some(path) = open.pop() {
            for entry in fs::read_dir(path).unwrap().flatten() {
                match entry.metadata().unwrap() {
                    metadata if metadata.is_dir() => open.push(entry.path()),
                    metadata => files.push((entry.path(), metadata.len())),
                }
            }
        }
        files
    }

    /// Waits until no download is under way, nor being put in its place.
    pub async fn settle(&self) {
        let deadline = tokio::time::Instant::now() + HANGS;
        while fs::read_dir(self.cache().join("staging")).is_ok_and(|mut entries| entries.next().is_some()) {
            assert!(tokio::time::Instant::now() < deadline, "something stays in staging: {}", self.daemon.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A request to the daemon; the answer's body is not read yet.
    pub async fn open(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        self.daemon.open(method, path, headers).await
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.daemon.request(method, path, headers).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.daemon.get(path).await
    }

    pub async fn head(&self, path: &str) -> Reply {
        self.request("HEAD", path, &[("accept", ACCEPT)]).await
    }

    /// Pulls as docker does: HEAD by tag, then everything by digest. Each part is checked against its digest.
    pub async fn pull(&self, repository: &str, reference: &str) -> Pull {
        let base = format!("/v2/{repository}");
        let digest = if reference.contains(':') {
            reference.to_owned()
        } else {
            self.head(&format!("{base}/manifests/{reference}")).await.ok().header("docker-content-digest").to_owned()
        };
        let manifest = self.fetch(&format!("{base}/manifests/{digest}"), &digest).await;
        let parsed: Value = serde_json::from_slice(&manifest).unwrap();
        let child = parsed["manifests"].as_array().map(|children| children[0]["digest"].as_str().unwrap().to_owned());
        let image = match child {
            Some(child) => {
                serde_json::from_slice(&self.fetch(&format!("{base}/manifests/{child}"), &child).await).unwrap()
            }
            None => parsed,
        };
        let mut blobs = BTreeMap::new();
        let layers = image["layers"].as_array().unwrap();
        for digest in layers.iter().chain([&image["config"]]).map(|blob| blob["digest"].as_str().unwrap()) {
            let bytes = self.fetch(&format!("{base}/blobs/{digest}"), digest).await;
            blobs.insert(digest.to_owned(), bytes.len());
        }
        Pull { digest, manifest, blobs }
    }

    async fn fetch(&self, path: &str, digest: &str) -> Bytes {
        let bytes = self.get(path).await.ok().body.unwrap();
        assert_eq!(Digest::of(&bytes).as_str(), digest, "{path}");
        bytes
    }

    /// Upstream requests as `METHOD path`, those for tokens left out.
    pub fn upstream(&self) -> Vec<String> {
        let requests = self.ecr.requests();
        let registry = requests.iter().filter(|request| matches!(request.listener, Listener::Registry | Listener::S3));
        registry.map(|request| format!("{} {}", request.method, request.path())).collect()
    }

    /// How often a token was minted.
    pub fn mints(&self) -> u64 {
        self.ecr.stats().api_calls.get("GetAuthorizationToken").copied().unwrap_or(0)
    }

    /// Runs the credential helper against this rig's fake.
    pub fn helper(&self, verb: &str, input: &str) -> Output {
        self.helper_with(verb, input, &[])
    }

    pub fn helper_with(&self, verb: &str, input: &str, environment: &[(&str, &str)]) -> Output {
        self.call(Path::new(HELPER), &[verb], input, environment)
    }

    /// Runs the program at `path` against this rig's fake.
    pub fn call(&self, path: &Path, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
        let mut command = program(path.to_str().unwrap(), &self.ecr, self.dir.path());
        run(command.envs(environment.iter().copied()).args(arguments), input)
    }

    /// A folder of the rig, made if need be.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The helper under another name, as a link in the folder `links`.
    pub fn link(&self, name: &str) -> PathBuf {
        let link = self.folder("links").join(name);
        std::os::unix::fs::symlink(HELPER, &link).unwrap();
        link
    }

    /// The helper alone in the folder `alone`: nothing lies beside it.
    pub fn copy(&self) -> PathBuf {
        let copy = self.folder("alone").join("docker-credential-longshore");
        make("exec /bin/cp \"$1\" \"$0\"", &copy, HELPER, "");
        copy
    }

    /// A program made of shell lines, in the folder `folder`.
    pub fn script(&self, folder: &str, name: &str, lines: &str) -> PathBuf {
        let script = self.folder(folder).join(name);
        make("/bin/cat >\"$0\" && exec /bin/chmod 755 \"$0\"", &script, "", &format!("#!/bin/sh\n{lines}\n"));
        script
    }

    /// Replaces the configuration; the daemon has read its own already.
    pub fn configure(&self, text: &str) {
        fs::write(self.dir.path().join("config.toml"), text).unwrap();
    }

    /// Runs `longshore` with arguments against this rig's fake.
    pub fn longshore(&self, arguments: &[&str]) -> Output {
        let mut command = program(env!("CARGO_BIN_EXE_longshore"), &self.ecr, self.dir.path());
        run(command.args(arguments), "")
    }
}

impl Reply {
    /// The reply, which must be a success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{self:?}");
        self
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// How the cache says it answered.
    pub fn cache(&self) -> &str {
        self.header("x-longshore-cache")
    }

    /// Code and message of an error answer.
    #[track_caller]
    pub fn error(&self) -> (String, String) {
        let body: Value = serde_json::from_slice(self.body.as_ref().unwrap()).unwrap();
        let first = &body["errors"][0];
        (first["code"].as_str().unwrap().to_owned(), first["message"].as_str().unwrap().to_owned())
    }
}

impl Daemon {
    fn start(ecr: &FakeEcr, dir: &Path, level: &str) -> Self {
        Self::spawn(program(env!("CARGO_BIN_EXE_longshore"), ecr, dir), level)
    }

    /// Starts what `command` prepares, which may have another environment than the rig's.
    pub fn spawn(mut command: Command, level: &str) -> Self {
        let mut child = command
            .arg("serve")
            .env("RUST_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.text.lock().unwrap_or_else(PoisonError::into_inner).extend([&line, "\n"]);
                kept.grew.notify_all();
            }
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        // made first, so that a daemon that does not come up is ended with its rig
        let mut daemon = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log, client };
        let address = daemon.wait_for_log("listening on http://");
        daemon.address = address.split([' ', '"']).next().unwrap().parse().unwrap();
        daemon
    }

    pub async fn open(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        tokio::time::timeout(HANGS, self.client.request(request)).await.expect("the daemon hangs").unwrap()
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let (parts, body) = self.open(method, path, headers).await.into_parts();
        let body = tokio::time::timeout(HANGS, body.collect()).await.expect("the body hangs");
        let body = body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string());
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[("accept", ACCEPT)]).await
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a text is logged, and returns what follows it on its line.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Ends the process by force.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end, and returns its exit code.
    pub async fn wait(&mut self) -> Option<i32> {
        let deadline = tokio::time::Instant::now() + HANGS;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(tokio::time::Instant::now() < deadline, "the daemon does not end: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the daemon logged:\n{}", self.log());
        }
    }
}

impl Log {
    fn wait_for(&self, wanted: &str) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, timed) = self.grew.wait_timeout_while(text, HANGS, |text| !text.contains(wanted)).unwrap();
        assert!(!timed.timed_out(), "{wanted:?} was not logged: {}", *text);
        let (_, after) = text.split_once(wanted).unwrap();
        after.lines().next().unwrap_or_default().to_owned()
    }
}

fn write_config(ecr: &FakeEcr, dir: &Path, more: &str, upstream: &str) {
    // a question is asked once, unless the test is about asking again
    let own = ["idle_timeout = \"5s\"", "prefetch = 0", "retry_for = \"0s\""];
    let own = own.into_iter().filter(|line| !upstream.contains(line.split(' ').next().unwrap()));
    let lines: String = own.chain([upstream]).flat_map(|line| [line, "\n"]).collect();
    let (registry, s3) = (ecr.registry_address(), ecr.s3_address());
    let ca = dir.join("ca.pem").display().to_string();
    let text = format!(
        "listen = \"127.0.0.1:0\"\n{more}\n[upstream]\nca_file = {ca:?}\n{lines}[upstream.connect_to]\n\
         \"*.dkr.ecr.*.amazonaws.com\" = \"{registry}\"\n\"public.ecr.aws\" = \"{registry}\"\n\
         \"*.s3.*.amazonaws.com\" = \"{s3}\"\n\"*.cloudfront.net\" = \"{s3}\"\n"
    );
    fs::write(dir.join("config.toml"), text).unwrap();
}

/// A program in a clean environment: this fake's AWS, this folder's home.
pub fn program(path: &str, ecr: &FakeEcr, dir: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("HOME", dir.join("home"))
        .env("LONGSHORE_CONFIG", dir.join("config.toml"))
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "an-example-secret-key")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL_ECR", ecr.api_url())
        .env("AWS_ENDPOINT_URL_ECR_PUBLIC", ecr.api_url());
    command
}

/// Makes a program by shell lines in a process of their own: one that this process had open for writing could not be
/// run while another thread starts a program.
fn make(lines: &str, path: &Path, source: &str, input: &str) {
    let output = run(Command::new("/bin/sh").arg("-c").arg(lines).arg(path).arg(source), input);
    assert!(output.status.success(), "{output:?}");
}

/// Leaves a test out because the machine does not permit what it needs; where everything must be tested, that is a failure.
#[track_caller]
pub fn leave_out(why: &str) {
    assert!(std::env::var_os("LONGSHORE_TESTS_ALL").is_none(), "left out: {why}");
}

/// Exit code, stdout and stderr.
pub fn answer(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs a command to its end with `input` on its standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // a program that does not read has closed its end
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The text a program wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs all at once and returns their outputs in order.
pub async fn together<T>(work: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.into_iter().map(|work| (Box::pin(work), None)).collect();
    std::future::poll_fn(|context| {
        let mut all = std::task::Poll::Ready(());
        for (work, output) in work.iter_mut().filter(|(_, output)| output.is_none()) {
            match work.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *output = Some(value),
                std::task::Poll::Pending => all = std::task::Poll::Pending,
            }
        }
        all
    })
    .await;
    work.into_iter().filter_map(|(_, output)| output).collect()
}
