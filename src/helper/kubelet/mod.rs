//! The kubelet's credential provider protocol: one request on standard input, one response on standard output.
//!
//! The same rules and the same token store as docker's helper; asks nobody for one-time codes. What is minted for a pod's
//! service account is never kept: it belongs to that account, not to the node, and the kubelet keeps it itself.

mod message;

use std::{
    env,
    io::{self, Read, Write},
    sync::Arc,
    time::SystemTime,
};

use tokio::time::timeout;

use crate::{
    chain::chain,
    config::Config,
    credentials::{self, AtHand, Credentials, Demand, Selection, Wanted, Whose, whose},
    ecr::{AuthorizationToken, MintError, ROLE_ANNOTATION, mint_with_web_identity},
    environment,
    oci::Registry,
    secret::Secret,
};
use message::Request;

/// The role for service accounts that name none, as Amazon's own provider knows it.
const ROLE_VARIABLE: &str = "AWS_ECR_ROLE_ARN";
/// What CloudTrail shows of a service account's session when no rule names it.
const SESSION_NAME: &str = "longshore-kubelet";

/// Why the kubelet gets no response, and what a person can do about it.
#[derive(Debug)]
struct Failure {
    cause: String,
    remedy: String,
}

impl Failure {
    fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }

    fn of(error: &(dyn std::error::Error + 'static), remedy: &str) -> Self {
        Self::new(chain(error), remedy)
    }
}

/// With what an image is pulled.
enum Login {
    Token(AuthorizationToken),
    /// Without credentials, and why if that is worth a word.
    Anonymous(Option<String>),
}

/// Answers one request; the response goes to `out`, words for the person to `err`. Returns the exit code.
///
/// The kubelet puts `err` into its own log, so a failure is one line.
pub fn run(input: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    match answer(input) {
        Ok((response, hint)) => {
            if let Some(hint) = hint {
                writeln!(err, "longshore: {hint}")?;
            }
            writeln!(out, "{response}")?;
            Ok(0)
        }
        Err(Failure { cause, remedy }) => {
            writeln!(err, "longshore: {cause}; {remedy}")?;
            Ok(1)
        }
    }
}

fn answer(input: &mut dyn Read) -> Result<(String, Option<String>), Failure> {
    let request = Request::read(input)?;
    match login(&request)? {
        Login::Anonymous(hint) => Ok((request.anonymous(), hint)),
        Login::Token(token) => {
            let response = request.found(&token, SystemTime::now());
            let response = response.ok_or_else(|| {
                Failure::new("the authorization token is not base64 of user:password", "check AWS_ENDPOINT_URL_ECR")
            })?;
            Ok((response, None))
        }
    }
}

fn login(request: &Request) -> Result<Login, Failure> {
    let config = environment::load().map_err(|error| Failure::of(&error, error.remedy()))?.config;
    // nothing is handed to a registry that is not ECR's, and the pull may well do without
    let Whose::Ecr(registry, wanted) = whose(&config, request.registry(), &Selection::default()) else {
        return Ok(Login::Anonymous(None));
    };
    let found = match &request.service_account_token {
        Some(token) => by_service_account(request, &wanted, token),
        None => by_node(config, &registry, &wanted).map(Some),
    };
    match found {
        Ok(Some(token)) => Ok(Login::Token(token)),
        Ok(None) => Ok(Login::Anonymous(None)),
        // anonymous pulls work at ECR Public, so no credentials is no failure there
        Err(Failure { cause, .. }) if wanted.scope.public => {
            Ok(Login::Anonymous(Some(format!("{cause}; {registry} is used anonymously"))))
        }
        Err(failure) => Err(failure),
    }
}

/// A token with the rights of the node: the one in the store, or a new one.
fn by_node(config: Config, registry: &Registry, wanted: &Wanted) -> Result<AuthorizationToken, Failure> {
    let tokens = credentials::token_store(&config);
    let failed = |error: &credentials::Error| Failure::of(error, error.remedy());
    match credentials::at_hand(&tokens, wanted) {
        Ok(AtHand::Token(token)) => return Ok(token),
        Ok(AtHand::Failure(error)) => return Err(failed(&error)),
        Ok(AtHand::Nothing) => {}
        Err(error) => return Err(Failure::of(&error, "the token store must belong to the kubelet's user alone")),
    }
    let credentials = Credentials::new(Arc::new(config), tokens);
    let minted = block_on(credentials.token(wanted.clone(), Some(registry), Demand::Usual))?;
    minted.map_err(|error| failed(&error))
}

/// A token with the rights of the role that the pod's service account may assume; `None` where no role and no login is
/// needed.
fn by_service_account(
    request: &Request,
    wanted: &Wanted,
    token: &Secret,
) -> Result<Option<AuthorizationToken>, Failure> {
    let configured = wanted.identity.role.as_ref();
    let is_said = |arn: &String| !arn.trim().is_empty();
    let annotated = request.annotations.get(ROLE_ANNOTATION).cloned().filter(is_said);
    let named = annotated.or_else(|| env::var(ROLE_VARIABLE).ok().filter(is_said));
    let (role, session_name) = match (&named, configured) {
        (Some(arn), _) => (arn.trim(), None),
        (None, Some(role)) => (&*role.arn, role.session_name.as_deref()),
        (None, None) if wanted.scope.public => return Ok(None),
        // with the rights of the node the pod would pull what its service account may not
        (None, None) => {
            let cause = format!("{wanted}: the pod's service account names no role to pull with");
            let remedy = format!(
                "annotate it with {ROLE_ANNOTATION}, or set {ROLE_VARIABLE} in the provider's env, or role_arn in a \
                 [[registry]] table of Longshore's configuration"
            );
            return Err(Failure::new(cause, remedy));
        }
    };
    let session_name = session_name.unwrap_or(SESSION_NAME);
    let endpoint_url = wanted.identity.endpoint_url.as_deref();
    let work = mint_with_web_identity(&wanted.scope, endpoint_url, role, session_name, token);
    let minted = block_on(async { timeout(credentials::DEADLINE, work).await })?.unwrap_or_else(|_| {
        Err(MintError::silent(format!("STS and the ECR API gave no answer in {} s", credentials::DEADLINE.as_secs())))
    });
    minted.map(Some).map_err(|error| Failure::new(format!("{wanted}, role {role}: {error}"), error.remedy))
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let done = credentials::run_to_end(work);
    done.map_err(|error| Failure::of(&error, credentials::NO_RUNTIME))
}
