//! The registry's front: which registry a host names, who may enter, and which handler answers.
//!
//! The Host header alone decides between a private registry and public.ecr.aws, as on AWS.
use super::State;
use super::answer::About;
use super::fault::glob;
use super::http::{Answer, Incoming};
use super::knob::ANONYMOUS;
use super::route::{Registry, Route};
use super::token::{self, Claims, Refusal, Service};
use super::{blob, listing, manifest, public, s3, upload};

pub(super) fn about(incoming: &Incoming) -> About {
    let route = Route::parse(incoming.path());
    let digest = match &route {
        Route::Blob(_, reference) | Route::Manifest(_, reference) => {
            Some(reference.clone()).filter(|text| text.starts_with("sha256:"))
        }
        _ => None,
    };
    About {
        digest,
        action: route.action(&incoming.method).map(str::to_owned),
        region: Registry::parse(&incoming.host()).map(|registry| registry.region),
    }
}

/// A request that got past the door.
pub(super) struct Visit<'a> {
    pub(super) state: &'a State,
    pub(super) incoming: &'a Incoming,
    pub(super) registry: Registry,
    pub(super) key: String,
}

impl Visit<'_> {
    pub(super) fn repository_unknown(&self, name: &str) -> Answer {
        let account = &self.registry.account;
        let message = format!("The repository with name '{name}' does not exist in the registry with id '{account}'");
        Answer::error(404, "NAME_UNKNOWN", &message)
    }
}

pub(super) fn answer(state: &State, incoming: &Incoming) -> Answer {
    let host = incoming.host();
    let answer = if let Some(registry) = Registry::parse(&host) {
        visit(state, incoming, registry)
    } else {
        let message = format!("Could not resolve registry id from host {host}");
        Answer::error(400, "NAME_INVALID", &message)
    };
    if answer.status < 300 && matches!(Route::parse(incoming.path()), Route::Object) {
        return answer;
    }
    answer.with("Docker-Distribution-Api-Version", "registry/2.0").with("Sizes", "")
}

fn visit(state: &State, incoming: &Incoming, registry: Registry) -> Answer {
    let route = Route::parse(incoming.path());
    let key = registry.key();
    let visit = Visit { state, incoming, registry, key };
    match route {
        Route::Token if visit.registry.public => return public::token(&visit),
        Route::Object => return s3::answer(state, incoming, false),
        _ => {}
    }
    let claims = match admit(&visit) {
        Ok(claims) => claims,
        Err(refusal) => return refused(&visit, refusal),
    };
    let action = route.action(&incoming.method);
    if let (Some(name), Some(action)) = (route.repository(), action)
        && let Some(answer) = denied(&visit, &claims, name, action)
    {
        return answer;
    }
    let anonymous = claims.principal == public::ANYONE && route != Route::Ping;
    let bucket = if anonymous { Some(ANONYMOUS) } else { action };
    if let Some(answer) = bucket.and_then(|bucket| throttled(state, bucket)) {
        return answer;
    }
    dispatch(&visit, &route)
}

fn dispatch(visit: &Visit<'_>, route: &Route) -> Answer {
    match (visit.incoming.method.as_str(), route) {
        ("GET" | "HEAD", Route::Ping) => Answer::new(200).with("Content-Type", "text/plain; charset=utf-8"),
        ("GET" | "HEAD", Route::Manifest(name, reference)) => manifest::get(visit, name, reference),
        ("PUT", Route::Manifest(name, reference)) => manifest::put(visit, name, reference),
        ("HEAD", Route::Blob(name, digest)) => blob::head(visit, name, digest),
        ("GET", Route::Blob(name, digest)) => blob::get(visit, name, digest),
        ("POST", Route::Uploads(name)) => upload::open(visit, name),
        ("PATCH", Route::Upload(name, id)) => upload::append(visit, name, id),
        ("PUT", Route::Upload(name, id)) => upload::complete(visit, name, id),
        ("DELETE", Route::Upload(_, id)) => upload::cancel(visit, id),
        ("GET", Route::Tags(name)) => listing::tags(visit, name),
        ("GET", Route::Referrers(name, digest)) => listing::referrers(visit, name, digest),
        ("GET", Route::Catalog) => listing::catalog(visit),
        (_, Route::Unknown | Route::Token | Route::Object) => Answer::error(404, "UNSUPPORTED", "Not Found"),
        _ => Answer::error(405, "UNSUPPORTED", "The operation is unsupported."),
    }
}

fn admit(visit: &Visit<'_>) -> Result<Claims, Refusal> {
    let service = if visit.registry.public { Service::Bearer } else { Service::Ecr };
    let authorization = visit.incoming.header("authorization");
    token::check(visit.state, authorization, service, &visit.registry.region)
}

fn refused(visit: &Visit<'_>, refusal: Refusal) -> Answer {
    if visit.registry.public {
        return public::refused(refusal);
    }
    match refusal {
        Refusal::Missing => {
            let host = &visit.registry.host;
            let challenge = format!("Basic realm=\"https://{host}/\",service=\"ecr.amazonaws.com\"");
            Answer::new(401)
                .with("Content-Type", "text/plain; charset=utf-8")
                .with("Www-Authenticate", challenge)
                .body("Not Authorized\n")
        }
        Refusal::Expired => {
            let message = "Your authorization token has expired. Reauthenticate and try again.";
            Answer::error(403, "DENIED", message)
        }
        Refusal::Invalid => {
            let status = visit.state.knobs.lock(|knobs| knobs.invalid_token_status);
            Answer::error(status, "DENIED", "Your Authorization Token is invalid.")
        }
    }
}

fn denied(visit: &Visit<'_>, claims: &Claims, name: &str, action: &str) -> Option<Answer> {
    let registry = &visit.registry;
    let repository = format!("{}/{name}", registry.plain_host());
    let denied = visit.state.knobs.lock(|knobs| {
        let fits = |pattern: &String| *pattern == repository || pattern.contains('*') && glob(pattern, &repository);
        knobs.revoked.contains(&claims.principal) || knobs.denied.iter().any(fits)
    });
    let (user, account, region) = (&claims.principal, &registry.account, &registry.region);
    let message = format!(
        "User: {user} is not authorized to perform: ecr:{action} on resource: \
         arn:aws:ecr:{region}:{account}:repository/{name} because no identity-based policy allows \
         the ecr:{action} action"
    );
    denied.then(|| Answer::error(403, "DENIED", &message))
}

fn throttled(state: &State, bucket: &str) -> Option<Answer> {
    if !state.over_rate(bucket) {
        return None;
    }
    let answer = Answer::error(429, "TOOMANYREQUESTS", "Rate exceeded");
    Some(match state.knobs.lock(|knobs| knobs.retry_after) {
        Some(seconds) => answer.with("Retry-After", seconds.to_string()),
        None => answer,
    })
}
