//! One table: what a client hears for each thing that can be the matter upstream, cached or not, by tag or digest, by GET or
//! HEAD, and how often upstream is asked for it.

use crate::{
    fake_ecr::{Action, Image, Listener, Rule},
    rig::{ACCEPT, APP, Reply, Rig, together},
};

/// What is the matter upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Nothing,
    Absence,
    Unauthorized,
    Denied,
    Throttled,
    OutOfOrder,
    Reset,
    BlackHole,
    CaptivePortal,
}
use Cause::{Absence, BlackHole, CaptivePortal, Denied, Nothing, OutOfOrder, Reset, Throttled, Unauthorized};

const CAUSES: [Cause; 9] =
    [Nothing, Absence, Unauthorized, Denied, Throttled, OutOfOrder, Reset, BlackHole, CaptivePortal];
/// So many daemons at a time.
const AT_A_TIME: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Cell {
    cause: Cause,
    is_cached: bool,
    by_tag: bool,
    is_head: bool,
}

/// What is heard: status, code of the error, how the cache says it answered, and the methods upstream saw.
type Heard = (u16, &'static str, &'static str, &'static [&'static str]);

fn rule(cause: Cause) -> Option<Rule> {
    let rule = Rule::on(Listener::Registry);
    let challenge =
        "Basic realm=\"https://123456789012.dkr.ecr.us-east-1.amazonaws.com/\",service=\"ecr.amazonaws.com\"";
    Some(match cause {
        Nothing => return None,
        Absence => rule.registry_error(404, "MANIFEST_UNKNOWN", "Requested image not found"),
        Unauthorized => rule.status(401).set_header("WWW-Authenticate", challenge).body("Not Authorized\n"),
        Denied => rule.registry_error(
            403,
            "DENIED",
            "User: arn:aws:iam::1:user/a is not authorized to perform: ecr:BatchGetImage",
        ),
        Throttled => rule.registry_error(429, "TOOMANYREQUESTS", "Rate exceeded").set_header("Retry-After", "7"),
        OutOfOrder => rule.status(503),
        Reset => rule.then(Action::CloseBeforeResponse),
        BlackHole => rule.hold(),
        CaptivePortal => rule.captive_portal(),
    })
}

/// What is to be heard in a cell.
fn want(cell: Cell) -> Heard {
    const NONE: &[&str] = &[];
    let is_fresh_get = !cell.is_cached && !cell.is_head;
    // how upstream is asked once: what is cached, or wanted without its bytes, by HEAD
    let once: &[&str] = if is_fresh_get { &["GET"] } else { &["HEAD"] };
    match (cell.cause, cell.is_cached) {
        (_, true) if !cell.by_tag => (200, "", "hit", NONE),
        (Nothing, true) => (200, "", "hit", once),
        (Nothing, false) => (200, "", "miss", once),
        (Absence, _) => (404, "MANIFEST_UNKNOWN", "bypass", once),
        // with a new token once more; that a HEAD was refused is seen, why only a GET tells
        (Unauthorized, _) if is_fresh_get => (401, "UNAUTHORIZED", "bypass", &["GET", "GET"]),
        (Unauthorized, _) => (401, "UNAUTHORIZED", "bypass", &["HEAD", "HEAD", "GET"]),
        (Denied, _) if is_fresh_get => (403, "DENIED", "bypass", once),
        (Denied, _) => (403, "DENIED", "bypass", &["HEAD", "GET"]),
        // a connection that broke may have been an old one: another is tried
        (Reset, true) => (200, "", "stale", &["HEAD", "HEAD"]),
        (_, true) => (200, "", "stale", once),
        (Throttled, false) => (429, "TOOMANYREQUESTS", "bypass", once),
        (OutOfOrder, false) => (503, "UNKNOWN", "bypass", once),
        (Reset, false) if cell.is_head => (502, "UNKNOWN", "bypass", &["HEAD", "HEAD"]),
        (Reset, false) => (502, "UNKNOWN", "bypass", &["GET", "GET"]),
        (BlackHole, false) => (504, "UNKNOWN", "bypass", once),
        (CaptivePortal, false) => (502, "UNKNOWN", "bypass", once),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_heard_depends_on_the_cause() {
    let both = [true, false];
    let cells = CAUSES.into_iter().flat_map(|cause| both.map(|is_cached| (cause, is_cached)));
    let cells = cells.flat_map(|(cause, is_cached)| both.map(|by_tag| (cause, is_cached, by_tag)));
    let cells =
        cells.flat_map(|(cause, is_cached, by_tag)| both.map(|is_head| Cell { cause, is_cached, by_tag, is_head }));
    let cells: Vec<Cell> = cells.collect();
    assert_eq!(cells.len(), 72);
    for some in cells.chunks(AT_A_TIME) {
        together(some.iter().map(|cell| check(*cell))).await;
    }
}

async fn check(cell: Cell) {
    let rig = Rig::with_upstream("[cache]\nstale_after = \"400ms\"", "idle_timeout = \"1s\"").await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = |reference: &str| format!("/v2/{APP}/manifests/{reference}");
    if cell.is_cached {
        rig.get(&path("v1")).await.ok();
    } else {
        // a token is there, whatever is asked for
        rig.ecr.push_image(APP, "other", Image::linux_amd64().seed(2));
        rig.get(&path("other")).await.ok();
    }
    let fault = rule(cell.cause).map(|rule| rig.ecr.fault(rule));
    rig.ecr.clear_requests();
    let (method, reference) =
        (if cell.is_head { "HEAD" } else { "GET" }, if cell.by_tag { "v1" } else { &pushed.digest });
    let reply = rig.request(method, &path(reference), &[("accept", ACCEPT)]).await;
    let asked: Vec<String> = rig.ecr.requests_to(Listener::Registry).into_iter().map(|r| r.method).collect();
    let (status, code, cache, requests) = want(cell);
    assert_eq!(
        (reply.status.as_u16(), reply.cache(), asked),
        (status, cache, requests.iter().map(|m| (*m).to_owned()).collect()),
        "{cell:?}: {reply:?}"
    );
    check_headers(cell, &reply, cache == "stale");
    if status == 200 {
        assert_eq!(reply.header("docker-content-digest"), pushed.digest, "{cell:?}");
        assert_eq!(reply.header("content-length"), pushed.manifest.len().to_string(), "{cell:?}");
        assert_eq!(reply.header("content-type"), pushed.media_type, "{cell:?}");
        let body = if cell.is_head { bytes::Bytes::new() } else { pushed.manifest.clone() };
        assert_eq!(reply.body.as_ref().unwrap(), &body, "{cell:?}");
    } else if !cell.is_head {
        check_words(cell, &reply, code);
    }
    if let Some(fault) = fault {
        fault.release();
    }
}

fn check_headers(cell: Cell, reply: &Reply, is_stale: bool) {
    let warning = if is_stale { "110 - \"Response is Stale\"" } else { "" };
    assert_eq!(reply.header("warning"), warning, "{cell:?}");
    let age = reply.header("age").parse::<u64>().ok();
    assert_eq!(age.is_some_and(|age| age < 30), is_stale, "{cell:?}: {age:?}");
    let retry_after = if cell.cause == Throttled && reply.status == 429 { "7" } else { "" };
    assert_eq!(reply.header("retry-after"), retry_after, "{cell:?}");
}

fn check_words(cell: Cell, reply: &Reply, code: &str) {
    let (got, words) = reply.error();
    let wanted = match cell.cause {
        Nothing => "",
        // to a HEAD nothing is said but the status
        Absence if cell.is_cached => "answered 404",
        Absence => "Requested image not found",
        Unauthorized => "Not Authorized",
        Denied => "User: arn:aws:iam::1:user/a is not authorized to perform: ecr:BatchGetImage",
        Throttled => "Rate exceeded",
        OutOfOrder => "answered 503",
        Reset => "cannot be reached",
        BlackHole => "silent for 1s",
        CaptivePortal => "text/html came, which no registry sends",
    };
    assert!(got == code && words.contains(wanted), "{cell:?}: {got} {words}");
    // what is wanted but not to be had is named
    let is_outage = matches!(cell.cause, Throttled | OutOfOrder | Reset | BlackHole | CaptivePortal);
    assert_eq!(words.contains("is not in the cache"), is_outage, "{cell:?}: {words}");
}
