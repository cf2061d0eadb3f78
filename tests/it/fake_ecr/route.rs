//! Names: which registry a host is, and what a path asks for.
//!
//! Nothing here knows whether any of it exists.
use super::s3;

/// A registry, as named by a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registry {
    pub(super) host: String,
    /// Empty for public.ecr.aws.
    pub(super) account: String,
    pub(super) region: String,
    pub(super) public: bool,
}

/// The DNS suffix of a region's partition.
pub(super) fn suffix_of(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else if region.starts_with("eusc-") {
        "amazonaws.eu"
    } else if region.starts_with("us-iso-") {
        "c2s.ic.gov"
    } else if region.starts_with("us-isob-") {
        "sc2s.sgov.gov"
    } else if region.starts_with("eu-isoe-") {
        "cloud.adc-e.uk"
    } else if region.starts_with("us-isof-") {
        "csp.hci.ic.gov"
    } else {
        "amazonaws.com"
    }
}

impl Registry {
    pub(super) fn parse(host: &str) -> Option<Self> {
        if matches!(host, "public.ecr.aws" | "ecr-public.aws.com") {
            return Some(Self {
                host: host.to_owned(),
                account: String::new(),
                region: "us-east-1".to_owned(),
                public: true,
            });
        }
        let (account, rest) = host.split_at_checked(12)?;
        let rest = rest.strip_prefix(".dkr.ecr").or_else(|| rest.strip_prefix(".dkr-ecr"))?;
        let rest = rest.strip_prefix("-fips").unwrap_or(rest);
        let (region, suffix) = rest.strip_prefix('.')?.split_once('.')?;
        let digits = account.bytes().all(|byte| byte.is_ascii_digit());
        let suffixes = ["on.aws", "on.amazonwebservices.com.cn", suffix_of(region)];
        (digits && !region.is_empty() && suffixes.contains(&suffix)).then(|| Self {
            host: host.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
            public: false,
        })
    }

    /// One text for every spelling of the host.
    pub(super) fn key(&self) -> String {
        if self.public { "public".to_owned() } else { format!("{}/{}", self.account, self.region) }
    }

    /// The plain spelling, in which tests write repositories.
    pub(super) fn plain_host(&self) -> String {
        if self.public {
            return "public.ecr.aws".to_owned();
        }
        let (account, region) = (&self.account, &self.region);
        format!("{account}.dkr.ecr.{region}.{}", suffix_of(region))
    }
}

/// What a path asks for. Names are cut from the right end, since they may hold any word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Ping,
    Token,
    Catalog,
    Object,
    Manifest(String, String),
    Blob(String, String),
    Uploads(String),
    Upload(String, String),
    Tags(String),
    Referrers(String, String),
    Unknown,
}

impl Route {
    pub(super) fn parse(path: &str) -> Self {
        if path.starts_with(s3::LOCAL) {
            return Self::Object;
        }
        let path = match path {
            "/v2" | "/v2/" => return Self::Ping,
            "/token" | "/token/" => return Self::Token,
            "/v2/_catalog" => return Self::Catalog,
            other => other.strip_prefix("/v2/").unwrap_or(""),
        };
        if let Some(name) = path.strip_suffix("/tags/list") {
            return Self::Tags(name.to_owned());
        }
        if let Some(name) = path.strip_suffix("/blobs/uploads/") {
            return Self::Uploads(name.to_owned());
        }
        if let Some(name) = path.strip_suffix("/blobs/uploads") {
            return Self::Uploads(name.to_owned());
        }
        let cut = |word: &str| {
            let (name, rest) = path.rsplit_once(word)?;
            let whole = !name.is_empty() && !rest.is_empty();
            whole.then(|| (name.to_owned(), rest.to_owned()))
        };
        if let Some((name, rest)) = cut("/blobs/uploads/") {
            return Self::Upload(name, rest);
        }
        if let Some((name, rest)) = cut("/blobs/") {
            return Self::Blob(name, rest);
        }
        if let Some((name, rest)) = cut("/manifests/") {
            return Self::Manifest(name, rest);
        }
        cut("/referrers/").map_or(Self::Unknown, |(name, rest)| Self::Referrers(name, rest))
    }

    pub(super) fn repository(&self) -> Option<&str> {
        match self {
            Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
            _ => None,
        }
    }

    /// The ECR action that IAM judges and quotas count.
    pub(super) fn action(&self, method: &str) -> Option<&'static str> {
        Some(match (self, method) {
            (Self::Manifest(..), "GET" | "HEAD") => "BatchGetImage",
            (Self::Manifest(..), "PUT") => "PutImage",
            (Self::Manifest(..), "DELETE") => "BatchDeleteImage",
            (Self::Blob(..), "GET") => "GetDownloadUrlForLayer",
            (Self::Blob(..), _) => "BatchCheckLayerAvailability",
            (Self::Uploads(_), _) => "InitiateLayerUpload",
            (Self::Upload(..), "PATCH") => "UploadLayerPart",
            (Self::Upload(..), "PUT") => "CompleteLayerUpload",
            (Self::Tags(_), _) => "ListImages",
            (Self::Referrers(..), _) => "ListImageReferrers",
            (Self::Catalog, _) => "DescribeRepositories",
            _ => return None,
        })
    }
}
