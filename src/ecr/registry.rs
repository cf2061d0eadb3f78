//! [`EcrRegistry`]: what the host name of an ECR registry says about it.
//!
//! Pure text: a host that parses need not exist. Regions are not listed here, they are read out of the name, because
//! every list of regions has been wrong within a year (`il-central-1`, `mx-central-1`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The hosts of ECR Public: the second one is dual-stack.
const PUBLIC_HOSTS: [(&str, bool); 2] = [("public.ecr.aws", false), ("ecr-public.aws.com", true)];
/// ECR Public has one API endpoint, in this region.
const PUBLIC_API_REGION: &str = "us-east-1";
const ACCOUNT_DIGITS: usize = 12;
/// How the names of PrivateLink endpoints begin.
const ENDPOINT_PREFIX: &str = "vpce-";

/// A part of AWS with its own domain names and its own identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// `aws`, and `aws-us-gov`, which shares its domain names
    Aws,
    /// `aws-cn`
    China,
    /// `aws-eusc`, the European Sovereign Cloud
    EuropeanSovereign,
    /// `aws-iso`
    Iso,
    /// `aws-iso-b`
    IsoB,
    /// `aws-iso-e`
    IsoE,
    /// `aws-iso-f`
    IsoF,
}

/// Domain suffixes of registry hosts: partition, and whether the name is dual-stack.
const SUFFIXES: [(&str, Partition, bool); 10] = [
    ("amazonaws.com", Partition::Aws, false),
    ("on.aws", Partition::Aws, true),
    ("amazonaws.com.cn", Partition::China, false),
    ("on.amazonwebservices.com.cn", Partition::China, true),
    ("amazonaws.eu", Partition::EuropeanSovereign, false),
    ("on.amazonwebservices.eu", Partition::EuropeanSovereign, true),
    ("c2s.ic.gov", Partition::Iso, false),
    ("sc2s.sgov.gov", Partition::IsoB, false),
    ("cloud.adc-e.uk", Partition::IsoE, false),
    ("csp.hci.ic.gov", Partition::IsoF, false),
];

/// An ECR registry, private or public, as its host name tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EcrRegistry {
    /// The account a private registry belongs to; ECR Public has none, a PrivateLink name does not say it.
    pub account: Option<String>,
    /// What an authorization token for it is good for.
    pub scope: TokenScope,
}

/// What one authorization token is good for: every registry of one region and endpoint class that the identity may
/// use, whatever the account. So tokens are kept by identity and scope, never by account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenScope {
    /// Which part of AWS.
    pub partition: Partition,
    /// Which region's API is asked.
    pub region: String,
    /// Whether the API must be asked over FIPS endpoints.
    pub fips: bool,
    /// Whether the API must be asked over dual-stack (IPv6) endpoints.
    pub dual_stack: bool,
    /// Whether this is ECR Public, which has another API and another token.
    pub public: bool,
}

impl fmt::Display for TokenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.public {
            return f.write_str("ECR Public");
        }
        write!(f, "ECR in {}", self.region)?;
        if self.fips {
            f.write_str(", FIPS")?;
        }
        if self.dual_stack {
            f.write_str(", dual-stack")?;
        }
        Ok(())
    }
}

impl EcrRegistry {
    /// Reads a host name (lower case, no port); `None` when it is not an ECR registry.
    #[must_use]
    pub fn parse(host: &str) -> Option<Self> {
        if let Some((_, dual_stack)) = PUBLIC_HOSTS.into_iter().find(|(public, _)| *public == host) {
            let region = PUBLIC_API_REGION.to_owned();
            let scope = TokenScope { partition: Partition::Aws, region, fips: false, dual_stack, public: true };
            return Some(Self { account: None, scope });
        }
        if host.starts_with(ENDPOINT_PREFIX) {
            return private_link(host).map(|scope| Self { account: None, scope });
        }
        let (account, rest) = host.split_at_checked(ACCOUNT_DIGITS)?;
        if !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let rest = rest.strip_prefix(".dkr.ecr").or_else(|| rest.strip_prefix(".dkr-ecr"))?;
        let (fips, region, suffix) = behind_service(rest)?;
        let (_, partition, dual_stack) = SUFFIXES.into_iter().find(|(known, ..)| *known == suffix)?;
        let scope = TokenScope { partition, region: region.to_owned(), fips, dual_stack, public: false };
        Some(Self { account: Some(account.to_owned()), scope })
    }

    /// Patterns for the hosts of all registries of ECR, in which `*` stands for one label.
    #[must_use]
    pub fn patterns() -> Vec<String> {
        let of_suffix = |(suffix, _, dual_stack): (&str, Partition, bool)| {
            let service = if dual_stack { "dkr-ecr" } else { "dkr.ecr" };
            [format!("*.{service}.*.{suffix}"), format!("*.{service}-fips.*.{suffix}")]
        };
        let public = PUBLIC_HOSTS.into_iter().map(|(host, _)| host.to_owned());
        SUFFIXES.into_iter().flat_map(of_suffix).chain(public).collect()
    }

    /// The host of the registry `account` in `region`, in the partition the region's name belongs to: the dot-free
    /// spelling `ecr/<account>/<region>/<repository>` is resolved with it.
    #[must_use]
    pub fn host(account: &str, region: &str) -> Option<String> {
        const BY_REGION: [(&str, &str); 6] = [
            ("cn-", "amazonaws.com.cn"),
            ("eusc-", "amazonaws.eu"),
            ("us-isob-", "sc2s.sgov.gov"),
            ("us-isof-", "csp.hci.ic.gov"),
            ("us-iso-", "c2s.ic.gov"),
            ("eu-isoe-", "cloud.adc-e.uk"),
        ];
        let suffix = BY_REGION.into_iter().find(|(prefix, _)| region.starts_with(prefix));
        let suffix = suffix.map_or("amazonaws.com", |(_, suffix)| suffix);
        let host = format!("{account}.dkr.ecr.{region}.{suffix}");
        Self::parse(&host).map(|_| host)
    }
}

/// What a PrivateLink name says: `vpce-<id>.dkr.ecr[-fips].<region>.vpce.amazonaws.com`. AWS keeps `vpce.` below its
/// own domain, so nobody else can have such a name.
fn private_link(host: &str) -> Option<TokenScope> {
    let (endpoint, rest) = host.strip_prefix(ENDPOINT_PREFIX)?.split_once('.')?;
    let is_id = !endpoint.is_empty() && endpoint.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let (fips, region, suffix) = behind_service(rest.strip_prefix("dkr.ecr")?)?;
    let (_, partition, dual_stack) =
        SUFFIXES.into_iter().find(|(known, ..)| suffix.strip_prefix("vpce.") == Some(known))?;
    let region = region.to_owned();
    (is_id && !dual_stack).then_some(TokenScope { partition, region, fips, dual_stack, public: false })
}

/// Whether FIPS is asked for, the region and the domain, from what follows the name of the service.
fn behind_service(rest: &str) -> Option<(bool, &str, &str)> {
    let (fips, rest) = rest.strip_prefix("-fips").map_or((false, rest), |rest| (true, rest));
    let (region, suffix) = rest.strip_prefix('.')?.split_once('.')?;
    is_region(region).then_some((fips, region, suffix))
}

/// `[a-z0-9][a-z0-9_-]*`, as the pattern of Amazon's own helper has it.
fn is_region(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Account, region, partition, FIPS, dual-stack, public.
    type Facts<'a> = (Option<&'a str>, &'a str, Partition, bool, bool, bool);

    #[track_caller]
    fn check(host: &str, want: Option<Facts<'_>>) {
        let got = EcrRegistry::parse(host);
        let got = got.as_ref().map(|registry| {
            let scope = &registry.scope;
            (registry.account.as_deref(), &*scope.region, scope.partition, scope.fips, scope.dual_stack, scope.public)
        });
        assert_eq!(got, want, "{host}");
    }

    #[test]
    fn hosts_of_every_partition_are_known() {
        const A: Option<&str> = Some("123456789012");
        use Partition::*;
        check("123456789012.dkr.ecr.us-east-1.amazonaws.com", Some((A, "us-east-1", Aws, false, false, false)));
        check("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", Some((A, "us-east-1", Aws, true, false, false)));
        check("123456789012.dkr-ecr.us-west-2.on.aws", Some((A, "us-west-2", Aws, false, true, false)));
        check("123456789012.dkr-ecr-fips.us-west-2.on.aws", Some((A, "us-west-2", Aws, true, true, false)));
        check("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", Some((A, "us-gov-west-1", Aws, false, false, false)));
        check("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some((A, "cn-north-1", China, false, false, false)));
        check(
            "123456789012.dkr.ecr.cn-north-1.on.amazonwebservices.com.cn",
            Some((A, "cn-north-1", China, false, true, false)),
        );
        check(
            "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
            Some((A, "eusc-de-east-1", EuropeanSovereign, false, false, false)),
        );
        check(
            "123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu",
            Some((A, "eusc-de-east-1", EuropeanSovereign, false, true, false)),
        );
        check("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", Some((A, "us-iso-east-1", Iso, false, false, false)));
        check(
            "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
            Some((A, "us-isob-east-1", IsoB, false, false, false)),
        );
        check(
            "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
            Some((A, "eu-isoe-west-1", IsoE, false, false, false)),
        );
        check(
            "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
            Some((A, "us-isof-south-1", IsoF, false, false, false)),
        );
        check("public.ecr.aws", Some((None, "us-east-1", Aws, false, false, true)));
        check("ecr-public.aws.com", Some((None, "us-east-1", Aws, false, true, true)));
    }

    #[test]
    fn names_of_private_link_endpoints_are_known() {
        use Partition::*;
        let id = "vpce-0a1b2c3d4e5f67890-abcdefgh";
        let name = |rest: &str| format!("{id}{rest}");
        let ireland = Some((None, "eu-west-1", Aws, false, false, false));
        check(&name(".dkr.ecr.eu-west-1.vpce.amazonaws.com"), ireland);
        check(&name("-eu-west-1a.dkr.ecr.eu-west-1.vpce.amazonaws.com"), ireland);
        check(&name(".dkr.ecr-fips.us-east-1.vpce.amazonaws.com"), Some((None, "us-east-1", Aws, true, false, false)));
        check(
            &name(".dkr.ecr.cn-north-1.vpce.amazonaws.com.cn"),
            Some((None, "cn-north-1", China, false, false, false)),
        );
        for foreign in [
            ".dkr.ecr.eu-west-1.amazonaws.com",
            ".dkr.ecr.eu-west-1.vpce.on.aws",
            ".dkr.ecr.eu-west-1.vpce.amazonaws.com.evil.example",
            ".api.ecr.eu-west-1.vpce.amazonaws.com",
            ".s3.eu-west-1.vpce.amazonaws.com",
            "_x.dkr.ecr.eu-west-1.vpce.amazonaws.com",
        ] {
            check(&name(foreign), None);
        }
        check("vpce-.dkr.ecr.eu-west-1.vpce.amazonaws.com", None);
        check("evil.vpce-1.dkr.ecr.eu-west-1.vpce.amazonaws.com", None);
    }

    #[test]
    fn names_that_only_look_like_ecr_are_foreign() {
        for host in [
            "",
            "localhost",
            "index.docker.io",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            "12345678901.dkr.ecr.us-east-1.amazonaws.com",
            "1234567890123.dkr.ecr.us-east-1.amazonaws.com",
            "12345678901a.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.localhost.localstack.cloud",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.us.east.amazonaws.com",
            "123456789012.dkr_ecr.us-east-1.amazonaws.com",
            "123456789012xdkr.ecr.us-east-1.amazonaws.com",
            "evil.public.ecr.aws",
            "public.ecr.aws.evil.example",
            "éééééé.dkr.ecr.us-east-1.amazonaws.com",
        ] {
            check(host, None);
        }
    }

    #[test]
    fn every_pattern_is_one_of_registries() {
        for pattern in EcrRegistry::patterns() {
            let host = pattern.replacen('*', "123456789012", 1).replacen('*', "eu-west-1", 1);
            let registry = EcrRegistry::parse(&host).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(registry.scope.fips, pattern.contains("-fips"), "{pattern}");
        }
    }

    #[test]
    fn the_dot_free_spelling_finds_the_partition_of_the_region() {
        let host = |region| EcrRegistry::host("123456789012", region);
        assert_eq!(host("eu-west-1").unwrap(), "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
        assert_eq!(host("cn-north-1").unwrap(), "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn");
        assert_eq!(host("us-isob-east-1").unwrap(), "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov");
        assert_eq!(host("eu/west"), None);
        assert_eq!(EcrRegistry::host("1234", "eu-west-1"), None);
    }
}
