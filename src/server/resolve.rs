//! Which repository a request means: the registry in front of its name, `?ns=`, or the default.
//!
//! Reaches only registries that are ECR by their name, or that the configuration lists: a name a client makes up never
//! becomes a host that is asked.

use hyper::StatusCode;
use url::form_urlencoded;

use super::answer::Problem;
use crate::{
    config::Config,
    credentials,
    ecr::EcrRegistry,
    oci::{Code, Registry, Repository},
};

/// The dot-free spelling of an ECR registry, for clients that take a dotted first component for a host:
/// `ecr/<account>/<region>/<repository>`.
const SPELLED: &str = "ecr/";

/// Finds the repository that `name`, as in the path, and the query mean together.
pub(super) fn repository(config: &Config, name: &str, query: Option<&str>) -> Result<Repository, Problem> {
    let asked = namespace(query)?;
    let (registry, name) = match in_front(config, name) {
        Some((front, rest)) => {
            if let Some(other) = asked.filter(|asked| *asked != front) {
                let message = format!("the name begins with {front}, the query says ns={other}: which one is meant?");
                return Err(Problem::new(StatusCode::BAD_REQUEST, Code::NameInvalid, message));
            }
            (front, rest)
        }
        None => (behind(config, name, asked)?, name),
    };
    let name = name.parse().map_err(|error| Problem::bad(Code::NameInvalid, &error))?;
    Ok(Repository { registry, name })
}

/// The registry in front of a name, when one that may be reached stands there.
fn in_front<'a>(config: &Config, name: &'a str) -> Option<(Registry, &'a str)> {
    let (front, rest) = name.split_once('/')?;
    let registry = front.parse().ok().filter(|registry| looks_like_host(front) && is_reachable(config, registry));
    if let Some(registry) = registry {
        return Some((registry, rest));
    }
    let (account, rest) = name.strip_prefix(SPELLED)?.split_once('/')?;
    let (region, rest) = rest.split_once('/')?;
    let host = EcrRegistry::host(account, region)?;
    Some((host.parse().ok()?, rest))
}

/// The registry of a name that carries none.
fn behind(config: &Config, name: &str, asked: Option<Registry>) -> Result<Registry, Problem> {
    if let Some(asked) = asked {
        return if is_reachable(config, &asked) { Ok(asked) } else { Err(unreachable(asked.as_str())) };
    }
    if let Some(default) = &config.default_registry {
        return Ok(default.clone());
    }
    match name.split_once('/') {
        Some((front, _)) if looks_like_host(front) => Err(unreachable(front)),
        _ => {
            let message = format!(
                "no registry is given for {name}; put one in front (localhost:5577/<registry>/{name}), \
                 or set default_registry in the configuration"
            );
            Err(Problem::new(StatusCode::NOT_FOUND, Code::NameUnknown, message))
        }
    }
}

fn unreachable(registry: &str) -> Problem {
    let message = format!(
        "{registry} is neither an Amazon ECR registry nor in the configuration; to allow it, add to the configuration: \
         [[registry]] match = {registry:?}"
    );
    Problem::new(StatusCode::FORBIDDEN, Code::Denied, message)
}

fn looks_like_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost"
}

fn is_reachable(config: &Config, registry: &Registry) -> bool {
    EcrRegistry::parse(registry.as_str()).is_some() || credentials::rule(config, registry).is_some()
}

/// The registry that containerd and BuildKit name in the query.
fn namespace(query: Option<&str>) -> Result<Option<Registry>, Problem> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, value)) = pairs.find(|(key, _)| key == "ns") else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|error| Problem::bad(Code::NameInvalid, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    const CONFIG: &str = "[[registry]]\nmatch = \"registry.test\"\n[[registry]]\nmatch = \"localhost:5000\"";

    #[track_caller]
    fn check(config: &str, name: &str, query: Option<&str>, want: &str) {
        let config = Config::parse(config).unwrap();
        let got = match repository(&config, name, query) {
            Ok(repository) => repository.to_string(),
            Err(problem) => format!("{} {}", problem.0.status.as_u16(), problem.0.code.as_str()),
        };
        assert_eq!(got, want, "{name} {query:?}");
    }

    #[test]
    fn every_way_in_leads_to_the_same_repository() {
        let (want, ns) = (format!("{ECR}/a/b"), format!("ns={ECR}"));
        check("", &format!("{ECR}/a/b"), None, &want);
        check("", &format!("{ECR}/a/b"), Some(&ns), &want);
        check("", "a/b", Some(&ns), &want);
        check("", "a/b", Some(&format!("x=y&ns={ECR}")), &want);
        check("", "ecr/123456789012/eu-west-1/a/b", None, &want);
        check("", "ecr/123456789012/eu-west-1/a/b", Some(&ns), &want);
        check(&format!("default_registry = \"{ECR}\""), "a/b", None, &want);
        check("", &format!("{}/a/b", ECR.to_uppercase()), None, &want);
    }

    #[test]
    fn configured_and_public_registries_are_reached() {
        check(CONFIG, "registry.test/a", None, "registry.test/a");
        check(CONFIG, "localhost:5000/a", None, "localhost:5000/a");
        check(CONFIG, "a", Some("ns=registry.test"), "registry.test/a");
        check("", "public.ecr.aws/docker/library/alpine", None, "public.ecr.aws/docker/library/alpine");
    }

    #[test]
    fn other_registries_are_never_reached() {
        check("", "169.254.169.254/latest/meta-data", None, "403 DENIED");
        check("", "registry.test/a", None, "403 DENIED");
        check(CONFIG, "localhost:5001/a", None, "403 DENIED");
        check("", "a/b", Some("ns=evil.example"), "403 DENIED");
        check("", "a/b", Some("ns=127.0.0.1:80"), "403 DENIED");
        check("", &format!("{ECR}:444/a/b"), None, "403 DENIED");
        check("", &format!("{ECR}.evil.example/a/b"), None, "403 DENIED");
        check("", "a/b", Some("ns=a b"), "400 NAME_INVALID");
        check("", "a/b", Some("ns="), "400 NAME_INVALID");
    }

    #[test]
    fn a_name_without_a_registry_says_what_to_do() {
        check("", "a/b", None, "404 NAME_UNKNOWN");
        check("", "app", None, "404 NAME_UNKNOWN");
        check("", "ecr/1234/eu-west-1/a", None, "404 NAME_UNKNOWN");
    }

    #[test]
    fn a_repository_whose_first_part_has_a_dot_is_found_behind_its_registry() {
        check("", "my.app/web", Some(&format!("ns={ECR}")), &format!("{ECR}/my.app/web"));
        check(&format!("default_registry = \"{ECR}\""), "my.app/web", None, &format!("{ECR}/my.app/web"));
    }

    #[test]
    fn two_registries_at_once_are_refused() {
        check("", &format!("{ECR}/a"), Some("ns=public.ecr.aws"), "400 NAME_INVALID");
        check("", &format!("{ECR}/A"), None, "400 NAME_INVALID");
    }
}
