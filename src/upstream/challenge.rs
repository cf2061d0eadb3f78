//! Reading `WWW-Authenticate` (RFC 9110 section 11, RFC 6750, the distribution token specification).
//!
//! Several challenges in one or more headers are understood; a Bearer one is preferred. Nothing is answered here.

use std::collections::HashMap;

use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Challenge {
    /// User and password with each request. The realm says nothing.
    Basic,
    /// A token of this service.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The challenge to answer, when there is one of a kind we know.
pub(super) fn parse(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut known: Vec<Challenge> =
        values.flat_map(split).filter_map(|(scheme, fields)| one(&scheme, fields)).collect();
    let bearer = known.iter().position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    match (bearer, known.is_empty()) {
        (Some(at), _) => Some(known.swap_remove(at)),
        (None, false) => Some(known.swap_remove(0)),
        (None, true) => None,
    }
}

fn one(scheme: &str, mut fields: HashMap<String, String>) -> Option<Challenge> {
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let realm = fields.remove("realm")?;
    Some(Challenge::Bearer { realm, service: fields.remove("service"), scope: fields.remove("scope") })
}

/// Splits a header value into schemes with their fields.
fn split(value: &str) -> Vec<(String, HashMap<String, String>)> {
    let mut challenges: Vec<(String, HashMap<String, String>)> = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after_spaces = after.trim_start();
        if let Some(text) = after_spaces.strip_prefix('=') {
            let (field, after) = field_value(text.trim_start());
            if let Some((_, fields)) = challenges.last_mut() {
                fields.insert(word.to_ascii_lowercase(), field);
            }
            rest = after;
        } else {
            if !word.is_empty() {
                challenges.push((word.to_owned(), HashMap::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',']);
    }
    challenges
}

/// A quoted string or a token, and what is behind it.
fn field_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut field = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (field, &quoted[at + 1..]),
            '\\' => field.extend(chars.next().map(|(_, escaped)| escaped)),
            c => field.push(c),
        }
    }
    (field, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&'static str], want: Option<&Challenge>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        assert_eq!(parse(&headers).as_ref(), want, "{values:?}");
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let (service, scope) = (service.map(str::to_owned), scope.map(str::to_owned));
        Challenge::Bearer { realm: realm.to_owned(), service, scope }
    }

    #[test]
    fn the_challenges_of_known_registries_are_understood() {
        check(
            &[r#"Basic realm="https://1.dkr.ecr.us-east-1.amazonaws.com/",service="ecr.amazonaws.com""#],
            Some(&Challenge::Basic),
        );
        check(
            &[r#"Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws""#],
            Some(&bearer("https://public.ecr.aws/token/", Some("public.ecr.aws"), Some("aws"))),
        );
        check(
            &[r#"bearer realm="https://a/t" , scope="repository:a/b:pull,push""#],
            Some(&bearer("https://a/t", None, Some("repository:a/b:pull,push"))),
        );
    }

    #[test]
    fn bearer_is_preferred_among_several() {
        check(&["Basic realm=x, Bearer realm=\"https://a/t\""], Some(&bearer("https://a/t", None, None)));
        check(
            &["Negotiate", "Basic realm=\"x\"", "Bearer realm=\"https://a/t\""],
            Some(&bearer("https://a/t", None, None)),
        );
    }

    #[test]
    fn garbage_is_no_challenge_and_no_panic() {
        for value in
            ["", "=", "\"", "Bearer", "Bearer realm", "Digest realm=\"x\"", "Bearer service=\"x\"", ",,,", "a=b=c"]
        {
            check(&[value], None);
        }
        check(&["Bearer realm=\"unclosed"], Some(&bearer("unclosed", None, None)));
        check(&[r#"Bearer realm="a\"b""#], Some(&bearer("a\"b", None, None)));
    }
}
