//! HTTP/1.1 messages as the fake reads and answers them: heads with the client's own spelling and order.
//!
//! Nothing here touches a socket; see `connection.rs` for that.
use bytes::Bytes;
use serde_json::{Value, json};
use url::form_urlencoded;

/// A request, its body read.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) keep_alive: bool,
    pub(super) body: Bytes,
}

impl Incoming {
    /// Parses the head, without the empty line that ends it.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let proper = words.next().is_none() && version.starts_with("HTTP/1.");
        if !proper || method.is_empty() || target.is_empty() {
            return None;
        }
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut incoming = Self { method: method.to_owned(), target: target.to_owned(), headers, ..Self::default() };
        let connection = incoming.header("connection").unwrap_or("").to_owned();
        incoming.keep_alive = if version == "HTTP/1.0" {
            connection.eq_ignore_ascii_case("keep-alive")
        } else {
            !connection.eq_ignore_ascii_case("close")
        };
        Some(incoming)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter_map(move |(other, value)| {
            let same = other.eq_ignore_ascii_case(name);
            same.then_some(value.as_str())
        })
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    pub(super) fn raw_query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub(super) fn query(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.raw_query().as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The host that was asked for, lower case and without port.
    pub(super) fn host(&self) -> String {
        let host = self.header("host").unwrap_or("");
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        name.to_ascii_lowercase()
    }
}

/// An answer. `Date`, `Content-Length` and `Connection` are added when it is written.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// Drop the connection without a single byte.
    pub(super) silent: bool,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), silent: false }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status).with("Content-Type", "application/json; charset=utf-8").body(format!("{value}\n"))
    }

    /// The error body of the registry API, with the newline that ECR ends it with.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        // written out since the order of the keys must not depend on a feature of serde_json
        let (code, message) = (json!(code), json!(message));
        Self::new(status)
            .with("Content-Type", "application/json; charset=utf-8")
            .body(format!("{{\"errors\":[{{\"code\":{code},\"message\":{message}}}]}}\n"))
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What an absent, unusable or satisfiable `Range` asks of a body of `length` bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Span {
    Whole,
    Part(usize, usize),
    Beyond,
}

/// Reads a single range; several ranges or nonsense mean the whole, as on S3. The end is exclusive.
pub(super) fn span(range: Option<&str>, length: usize) -> Span {
    let Some((first, last)) = range
        .and_then(|range| range.strip_prefix("bytes="))
        .filter(|range| !range.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Span::Whole;
    };
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), _) if first >= length => Span::Beyond,
        (Ok(first), Err(_)) if last.is_empty() => Span::Part(first, length),
        (Ok(first), Ok(last)) if first <= last => Span::Part(first, length.min(last.saturating_add(1))),
        (Err(_), Ok(0)) if first.is_empty() => Span::Beyond,
        (Err(_), Ok(count)) if first.is_empty() => Span::Part(length.saturating_sub(count), length),
        _ => Span::Whole,
    }
}

pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        416 => "Requested Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// `text` with the five XML characters escaped.
pub(super) fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&apos;")
}
