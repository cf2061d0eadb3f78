//! The daemon: whether it listens where the configuration says, and is this program.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{HeaderMap, Request, client::conn::http1, header::SERVER};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{
    finding::{Finding, Subject, check},
    surroundings::Surroundings,
};
use crate::{chain::chain, config::reachable};

/// It is on this machine, and `/v2/` asks nobody.
const LIMIT: Duration = Duration::from_secs(3);
/// On every answer of the daemon.
const SIGN: &str = "x-longshore-cache";
const AGENT: &str = concat!("longshore/", env!("CARGO_PKG_VERSION"));
/// Where systemd looks for units of users, and for those of the system.
const FOLDERS: [&str; 4] = ["/etc/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd"];

pub(super) async fn look(around: &Surroundings) -> Vec<Finding> {
    let address = around.config.listen;
    let check = check("daemon", Subject::Daemon, format!("daemon on {address}"));
    if address.port() == 0 {
        return vec![check.skipped("any free port, by the configuration: it is not known which")];
    }
    let outcome = timeout(LIMIT, ask(reachable(address))).await;
    let elsewhere = format!(
        "stop it (sudo ss -ltnp 'sport = :{}' names it), or set listen in {} to another port",
        address.port(),
        around.config_file().display()
    );
    vec![match outcome {
        Err(_) => check
            .problem(format!("something accepts connections and gives no answer in {} s", LIMIT.as_secs()), elsewhere),
        Ok(Err(Failure::Connect(error))) => {
            check.warning(format!("not running: {error}; docker gets credentials without it"), start("start"))
        }
        Ok(Err(Failure::Http(error))) => {
            check.problem(format!("another program listens there: {}", chain(&error)), elsewhere)
        }
        Ok(Ok(headers)) if !headers.contains_key(SIGN) => check.problem("another program listens there", elsewhere),
        Ok(Ok(headers)) => match headers.get(SERVER).and_then(|server| server.to_str().ok()) {
            Some(AGENT) => check.ok(format!("runs, {AGENT}")),
            other => {
                let found = format!("runs as {}, this is {AGENT}", other.unwrap_or("an older version"));
                check.warning(found, start("restart"))
            }
        },
    }]
}

enum Failure {
    Connect(io::Error),
    Http(hyper::Error),
}

async fn ask(address: SocketAddr) -> Result<HeaderMap, Failure> {
    let stream = TcpStream::connect(address).await.map_err(Failure::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
    let request = Request::get("/v2/").header("host", address.to_string()).body(Empty::<Bytes>::new());
    let request = request.expect("a path and an address make a request");
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(Failure::Http);
    driver.abort();
    Ok(answer?.headers().clone())
}

/// How the daemon is started here.
fn start(verb: &str) -> String {
    let exists = |path: &PathBuf| path.is_file();
    let plist = dirs::home_dir().map(|home| home.join("Library/LaunchAgents/longshore.plist"));
    if let Some(plist) = plist.filter(exists) {
        return format!(
            "launchctl bootout \"gui/$(id -u)/longshore\"; launchctl bootstrap \"gui/$(id -u)\" {}",
            plist.display()
        );
    }
    let below = |kind: &str| FOLDERS.map(|folder| Path::new(folder).join(kind).join("longshore.service"));
    let of_user = dirs::config_dir().map(|dir| dir.join("systemd/user/longshore.service"));
    if of_user.into_iter().chain(below("user")).any(|unit| unit.is_file()) {
        return format!("systemctl --user {verb} longshore.service");
    }
    if below("system").iter().any(exists) {
        return format!("sudo systemctl {verb} longshore.service");
    }
    if verb == "restart" { "stop it, then: longshore serve".to_owned() } else { "longshore serve".to_owned() }
}
