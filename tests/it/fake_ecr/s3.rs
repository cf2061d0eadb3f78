//! The blob storage: presigned S3 URLs and, for public.ecr.aws, `CloudFront` ones.
//!
//! It knows nothing of registries and tokens; an `Authorization` header is an error here, as on S3.
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::State;
use super::clock::{amazon_date, iso_date, parse_amazon_date};
use super::digest::{hmac_hex, sha256_hex, uuid_of};
use super::http::{Answer, Incoming, Span, span, xml};
use super::route::{Registry, suffix_of};

/// The host that public blobs are redirected to.
pub const CLOUDFRONT: &str = "d5l0dvt14r5h8.cloudfront.net";

/// Where the registry itself serves objects, for relative redirects.
pub(super) const LOCAL: &str = "/starport";

/// Any text: the fake is the only one who signs and who checks.
const SECRET: &[u8] = b"the secret of the fake's presigned URLs";

pub(super) fn host_of(registry: &Registry) -> String {
    let region = &registry.region;
    if registry.public {
        return CLOUDFRONT.to_owned();
    }
    format!("prod-{region}-starport-layer-bucket.s3.{region}.{}", suffix_of(region))
}

/// The region in a storage host of S3.
pub(super) fn region_of(host: &str) -> Option<String> {
    let (_, rest) = host.split_once(".s3.")?;
    rest.split('.').next().map(str::to_owned)
}

/// Path and query of a URL for a blob, signed for `host`.
pub(super) fn presign(state: &State, registry: &Registry, name: &str, digest: &str, host: &str) -> String {
    let key = registry.key();
    let home = uuid_of(&format!("registry {key}"));
    let object = uuid_of(&format!("layer {key} {name} {digest}"));
    let serial = state.url_serial.fetch_add(1, Ordering::SeqCst) + 1;
    let now = state.clock.now();
    let life = state.knobs.lock(|knobs| knobs.url_life).as_secs();
    let (path, unsigned) = if registry.public {
        let expires = now.as_secs() + life;
        let path = format!("/{home}/{object}");
        (path, format!("Expires={expires}&Key-Pair-Id=APKA{serial:016}"))
    } else {
        let (short, date) = (&home[..4], amazon_date(now));
        let (day, region) = (&date[..8], &registry.region);
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={date}&X-Amz-SignedHeaders=host\
             &X-Amz-Expires={life}\
             &X-Amz-Credential=AKIA{serial:016}%2F{day}%2F{region}%2Fs3%2Faws4_request"
        );
        (format!("/{short}-{}-{home}/{object}", registry.account), query)
    };
    let signature = sign(host, &path, &unsigned);
    let mut store = state.store();
    store.objects.insert(path.clone(), digest.to_owned());
    let parameter = if registry.public { "Signature" } else { "X-Amz-Signature" };
    format!("{path}?{unsigned}&{parameter}={signature}")
}

/// Every URL given out so far is expired from now on.
pub(super) fn expire_all(state: &State) {
    let latest = state.url_serial.load(Ordering::SeqCst);
    state.urls_expired_through.store(latest, Ordering::SeqCst);
}

fn sign(host: &str, path: &str, query: &str) -> String {
    hmac_hex(SECRET, &format!("GET\n{host}\n{path}\n{query}"))
}

/// Serves an object. `strict` is false for the registry's own copy under [`LOCAL`].
pub(super) fn answer(state: &State, incoming: &Incoming, strict: bool) -> Answer {
    let path = incoming.path();
    let path = if strict { path } else { path.strip_prefix(LOCAL).unwrap_or(path) };
    let answer = match permit(state, incoming, path, strict) {
        Ok(()) => object(state, incoming, path),
        Err(answer) => answer,
    };
    let id = sha256_hex(&state.serial().to_le_bytes());
    answer.with("x-amz-id-2", &id[..40]).with("x-amz-request-id", id[40..56].to_uppercase()).with("Server", "AmazonS3")
}

fn permit(state: &State, incoming: &Incoming, path: &str, strict: bool) -> Result<(), Answer> {
    let cloudfront = incoming.query("Key-Pair-Id");
    if strict && cloudfront.is_none() && incoming.header("authorization").is_some() {
        let message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
                       Signature query string parameter or the Authorization header should be specified";
        return Err(error(400, "InvalidArgument", message, ""));
    }
    let signed = incoming.raw_query().rsplit_once("Signature=");
    let Some((unsigned, signature)) = signed else {
        return Err(error(403, "AccessDenied", "Access Denied", ""));
    };
    let unsigned = unsigned.trim_end_matches("X-Amz-").trim_end_matches('&');
    let right = sign(&incoming.host(), path, unsigned) == signature && incoming.method == "GET";
    if !right {
        let message = "The request signature we calculated does not match the signature you provided. \
                       Check your key and signing method.";
        return Err(error(403, "SignatureDoesNotMatch", message, ""));
    }
    let now = state.clock.now();
    let (expires, life) = expiry(incoming).unwrap_or_default();
    let serial = cloudfront
        .or_else(|| incoming.query("X-Amz-Credential"))
        .and_then(|text| text.get(4..20)?.parse::<u64>().ok())
        .unwrap_or(0);
    let revoked = serial <= state.urls_expired_through.load(Ordering::SeqCst);
    if expires > now && !revoked {
        return Ok(());
    }
    if incoming.query("Key-Pair-Id").is_some() {
        return Err(error(403, "AccessDenied", "Access denied", ""));
    }
    let extra = format!(
        "<X-Amz-Expires>{life}</X-Amz-Expires><Expires>{}</Expires><ServerTime>{}</ServerTime>",
        iso_date(expires),
        iso_date(now)
    );
    Err(error(403, "AccessDenied", "Request has expired", &extra))
}

/// When the URL ends, and its life in seconds.
fn expiry(incoming: &Incoming) -> Option<(Duration, u64)> {
    if let Some(expires) = incoming.query("Expires") {
        return Some((Duration::from_secs(expires.parse().ok()?), 0));
    }
    let life = incoming.query("X-Amz-Expires")?.parse().ok()?;
    let date = parse_amazon_date(&incoming.query("X-Amz-Date")?)?;
    Some((date + Duration::from_secs(life), life))
}

fn object(state: &State, incoming: &Incoming, path: &str) -> Answer {
    let store = state.store();
    let digest = store.objects.get(path);
    let found = digest.and_then(|digest| Some((digest, store.blob(digest)?)));
    let Some((digest, blob)) = found else {
        return error(404, "NoSuchKey", "The specified key does not exist.", "");
    };
    let modified = "Mon, 01 Jan 2024 00:00:00 GMT";
    let tag = format!("\"{}\"", &sha256_hex(digest.as_bytes())[..32]);
    let range = incoming.header("range").filter(|_| {
        let condition = incoming.header("if-range");
        condition.is_none_or(|wanted| wanted == tag || wanted == modified)
    });
    let length = blob.len();
    let answer = match span(range, length) {
        Span::Whole => Answer::new(200).body(blob),
        Span::Part(from, to) => Answer::new(206)
            .with("Content-Range", format!("bytes {from}-{}/{length}", to - 1))
            .body(blob.slice(from..to)),
        Span::Beyond => {
            let extra = format!(
                "<RangeRequested>{}</RangeRequested><ActualObjectSize>{length}</ActualObjectSize>",
                xml(range.unwrap_or(""))
            );
            let message = "The requested range is not satisfiable";
            return error(416, "InvalidRange", message, &extra).with("Content-Range", format!("bytes */{length}"));
        }
    };
    answer
        .with("Last-Modified", modified)
        .with("ETag", tag)
        .with("Accept-Ranges", "bytes")
        .with("Content-Type", "application/octet-stream")
}

fn error(status: u16, code: &str, message: &str, extra: &str) -> Answer {
    Answer::new(status).with("Content-Type", "application/xml").body(error_body(code, message, extra))
}

/// The XML of an S3 error; `extra` is XML that goes between message and request id.
pub(super) fn error_body(code: &str, message: &str, extra: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>{extra}\
         <RequestId>4442587FB7D0A2F9</RequestId>\
         <HostId>vlR7PnpV2Ce81l0PRw6jlUpck7Jo5ZsQjryTjKlc5aLWGVHPZLj5NeC6qMa0emYB</HostId></Error>",
        xml(code),
        xml(message)
    )
}
