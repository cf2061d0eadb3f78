//! [`Route`]: what one request path of the distribution API means.
//!
//! Parsed from the right end, because repository names contain slashes. Which registry a name belongs to is not
//! decided here.

use super::{Code, Digest, Invalid, Reference};

/// One parsed request path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: does this server speak the API?
    Base,
    /// Something of a repository.
    Repository {
        /// The name as in the path; it may begin with a registry.
        name: String,
        /// What of it.
        object: Object,
    },
}

/// What of a repository a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `manifests/<reference>`
    Manifest(Reference),
    /// `blobs/<digest>`
    Blob(Digest),
    /// `tags/list`
    Tags,
    /// `referrers/<digest>`
    Referrers(Digest),
    /// `blobs/uploads/…`
    Upload,
}

impl Route {
    /// Reads a request path; `Ok(None)` is a path outside the API.
    pub fn parse(path: &str) -> Result<Option<Self>, (Code, Invalid)> {
        let Some(path) = path.strip_prefix("/v2") else {
            return Ok(None);
        };
        if path.is_empty() || path == "/" {
            return Ok(Some(Self::Base));
        }
        let path = path.strip_prefix('/').unwrap_or_default();
        if let Some((name, session)) = path.rsplit_once("/blobs/uploads")
            && (session.is_empty() || session.starts_with('/'))
            && session.matches('/').count() <= 1
        {
            let name = name.to_owned();
            return Ok(Some(Self::Repository { name, object: Object::Upload }));
        }
        let mut from_the_right = path.rsplitn(3, '/');
        let (Some(last), Some(kind), Some(name)) =
            (from_the_right.next(), from_the_right.next(), from_the_right.next())
        else {
            return Ok(None);
        };
        let object = match (kind, last) {
            ("manifests", reference) => Object::Manifest(reference.parse().map_err(|error| {
                (if reference.contains(':') { Code::DigestInvalid } else { Code::TagInvalid }, error)
            })?),
            ("blobs", digest) => Object::Blob(digest.parse().map_err(invalid_digest)?),
            ("tags", "list") => Object::Tags,
            ("referrers", digest) => Object::Referrers(digest.parse().map_err(invalid_digest)?),
            _ => return Ok(None),
        };
        let name = name.to_owned();
        Ok(Some(Self::Repository { name, object }))
    }
}

fn invalid_digest(error: Invalid) -> (Code, Invalid) {
    (Code::DigestInvalid, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn object(path: &str) -> Option<(String, Object)> {
        match Route::parse(path).unwrap()? {
            Route::Repository { name, object } => Some((name, object)),
            Route::Base => None,
        }
    }

    #[test]
    fn the_base_is_found_with_and_without_its_slash() {
        assert_eq!(Route::parse("/v2"), Ok(Some(Route::Base)));
        assert_eq!(Route::parse("/v2/"), Ok(Some(Route::Base)));
    }

    #[test]
    fn names_may_contain_words_of_the_api() {
        let digest: Digest = DIGEST.parse().unwrap();
        let cases = [
            ("/v2/a/manifests/v1", "a", Object::Manifest("v1".parse().unwrap())),
            ("/v2/h:5000/a/blobs/b/manifests/v1", "h:5000/a/blobs/b", Object::Manifest("v1".parse().unwrap())),
            (&format!("/v2/manifests/blobs/{DIGEST}"), "manifests", Object::Blob(digest.clone())),
            (&format!("/v2/a/b/manifests/{DIGEST}"), "a/b", Object::Manifest(Reference::Digest(digest.clone()))),
            ("/v2/a/blobs/uploads/b/manifests/v1", "a/blobs/uploads/b", Object::Manifest("v1".parse().unwrap())),
            ("/v2/tags/list/tags/list", "tags/list", Object::Tags),
            (&format!("/v2/a/referrers/{DIGEST}"), "a", Object::Referrers(digest)),
            ("/v2/a/b/blobs/uploads/", "a/b", Object::Upload),
            ("/v2/a/b/blobs/uploads/0f-3", "a/b", Object::Upload),
        ];
        for (path, name, want) in cases {
            assert_eq!(object(path), Some((name.to_owned(), want)), "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_of_the_api() {
        for path in
            ["/", "/v1/", "/v2x/a/manifests/v1", "/v2/a", "/v2/manifests/v1", "/v2/a/tags/other", "/v2/_catalog"]
        {
            assert_eq!(Route::parse(path), Ok(None), "{path}");
        }
    }

    #[test]
    fn a_bad_digest_or_tag_is_named() {
        assert_eq!(Route::parse("/v2/a/blobs/sha256:12").unwrap_err().0, Code::DigestInvalid);
        assert_eq!(Route::parse("/v2/a/manifests/sha256:12").unwrap_err().0, Code::DigestInvalid);
        assert_eq!(Route::parse("/v2/a/manifests/a+b").unwrap_err().0, Code::TagInvalid);
    }
}
