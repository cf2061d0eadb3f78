//! Which part of a blob a request gets: the whole, one range, or several as `multipart/byteranges` (RFC 9110 section 14).
//!
//! A blob whose size upstream does not tell is given whole: nobody would know where a range of it ends, and waiting for
//! the end of the download would be longer than receiving it. Looks at headers only, never at content.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    ops::Range,
};

use hyper::{
    HeaderMap,
    header::{IF_NONE_MATCH, IF_RANGE, RANGE},
};

use super::body::Part;
use crate::oci::{ByteRanges, Digest, Unsatisfiable};

/// What is sent of a blob.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) kind: Kind,
    pub(super) parts: VecDeque<Part>,
    /// The bytes that will come, when it is known.
    pub(super) length: Option<u64>,
}

/// How it is described.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 200
    Whole,
    /// 206 with this `Content-Range`
    One(String),
    /// 206 with this `Content-Type`
    Several(String),
}

/// What the headers of a request ask for, of a blob of this digest and size.
pub(super) fn select(headers: &HeaderMap, digest: &Digest, size: Option<u64>) -> Result<Selection, Unsatisfiable> {
    let whole = |size: Option<u64>| {
        let parts = VecDeque::from([Part::Range(0..size.unwrap_or(u64::MAX))]);
        Selection { kind: Kind::Whole, parts, length: size }
    };
    let (Some(asked), Some(size)) = (asked(headers, digest), size) else {
        return Ok(whole(size));
    };
    Ok(match asked.resolve(size)?.as_slice() {
        [range] => Selection {
            kind: Kind::One(content_range(range, size)),
            parts: VecDeque::from([Part::Range(range.clone())]),
            length: Some(range.end - range.start),
        },
        several => multipart(several, size),
    })
}

/// Whether the client has this content already (RFC 9110 section 13.1.2). The tag is the digest, for all representations.
pub(super) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || is_tag(tag.strip_prefix("W/").unwrap_or(tag), digest))
}

/// The ranges asked for. One of another content is no range of this one (RFC 9110 section 13.1.5): a date or a weak tag
/// does not say that it is this content.
fn asked(headers: &HeaderMap, digest: &Digest) -> Option<ByteRanges> {
    let is_meant = headers.get(IF_RANGE).is_none_or(|tag| tag.to_str().is_ok_and(|tag| is_tag(tag.trim(), digest)));
    let mut lines = headers.get_all(RANGE).iter();
    let line = lines.next().filter(|_| is_meant)?;
    // two such headers are none (section 5.3): what they mean together is anybody's guess
    if lines.next().is_some() {
        return None;
    }
    ByteRanges::parse(line.to_str().ok()?)
}

/// Whether `tag` is the strong entity tag of this content.
fn is_tag(tag: &str, digest: &Digest) -> bool {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(digest.as_str())
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

fn multipart(ranges: &[Range<u64>], size: u64) -> Selection {
    let boundary = boundary();
    let mut parts = VecDeque::with_capacity(2 * ranges.len() + 1);
    let mut length = 0;
    let mut between = "";
    for range in ranges {
        let head = format!(
            "{between}--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
            content_range(range, size)
        );
        between = "\r\n";
        length += head.len() as u64 + range.end - range.start;
        parts.extend([Part::Text(head.into()), Part::Range(range.clone())]);
    }
    let end = format!("\r\n--{boundary}--\r\n");
    length += end.len() as u64;
    parts.push_back(Part::Text(end.into()));
    let kind = Kind::Several(format!("multipart/byteranges; boundary={boundary}"));
    Selection { kind, parts, length: Some(length) }
}

/// A text that no content holds, because nobody could know it.
fn boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1000;

    fn digest() -> Digest {
        Digest::of(b"content")
    }

    fn kind(headers: &[(&str, &str)], size: Option<u64>) -> Kind {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        select(&headers, &digest(), size).unwrap().kind
    }

    #[test]
    fn if_range_is_honoured_for_the_strong_tag_alone() {
        let (one, tag) = (Kind::One("bytes 5-9/1000".to_owned()), format!("\"{}\"", digest()));
        let range = ("range", "bytes=5-9");
        assert_eq!(kind(&[range], Some(SIZE)), one);
        assert_eq!(kind(&[range, ("if-range", &tag)], Some(SIZE)), one);
        for other in [format!("W/{tag}"), digest().to_string(), "\"x\"".into(), "Sat, 21 Nov 2026 10:00:00 GMT".into()]
        {
            assert_eq!(kind(&[range, ("if-range", &other)], Some(SIZE)), Kind::Whole, "{other}");
        }
    }

    #[test]
    fn two_headers_or_an_unknown_size_get_the_whole() {
        assert_eq!(kind(&[("range", "bytes=5-9"), ("range", "bytes=5-9")], Some(SIZE)), Kind::Whole);
        assert_eq!(kind(&[("range", "bytes=5-9")], None), Kind::Whole);
    }

    #[test]
    fn the_length_of_several_ranges_is_that_of_their_parts() {
        let headers = [(RANGE, "bytes=0-9,100-199,-1".parse().unwrap())].into_iter().collect();
        let selection = select(&headers, &digest(), Some(SIZE)).unwrap();
        let lengths = selection.parts.iter().map(|part| match part {
            Part::Range(range) => range.end - range.start,
            Part::Text(text) => text.len() as u64,
        });
        assert_eq!(selection.length, Some(lengths.sum()));
        assert_eq!(selection.parts.len(), 7);
    }

    #[test]
    fn a_known_content_is_known_by_any_of_the_tags() {
        let tag = format!("\"{}\"", digest());
        let is_known =
            |value: &str| is_known(&[(IF_NONE_MATCH, value.parse().unwrap())].into_iter().collect(), &digest());
        for yes in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}"), "*".to_owned()] {
            assert!(is_known(&yes), "{yes}");
        }
        for no in ["\"a\"".to_owned(), digest().to_string(), String::new(), format!("\"W/{}\"", digest())] {
            assert!(!is_known(&no), "{no}");
        }
    }
}
