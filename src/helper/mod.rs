//! The Docker credential helper protocol: one verb, one answer, an exit code. The kubelet's is beside it.
//!
//! Never asks the daemon, and never a person on the streams of the protocol. The warm `get` (a token on disk) runs before any runtime, TLS or AWS code; how
//! a token is come by when there is none is up to the program: the small one hands over to `longshore`, which mints.
//! What is not ECR goes to the fallback helper, if the configuration names one.

mod answer;
mod call;
mod fallback;
mod handover;
pub mod kubelet;
mod program;
mod tokens;

use std::io::{self, IsTerminal as _, Read, Write};

pub use answer::Answer;
pub use call::Call;
pub use handover::hand_over;
pub use tokens::{Sought, mint};

use crate::{
    chain::chain,
    config::Config,
    credentials::{AtHand, Selection, Whose, is_ecr_by_name, whose},
    environment::{self, Storing},
    oci::server_host,
    secret::Secret,
};
use call::Asked;

/// A request is a host name or a small JSON object; what is longer is not one.
const LONGEST_INPUT: u64 = 4 * 1024 * 1024;
/// What is longer is not the name of a server.
const LONGEST_SERVER: usize = 4096;
/// As Amazon's own helper says it.
const NOT_IMPLEMENTED: &str = "not implemented";

/// Runs one call; the answer goes to `out`, words for the person to `err`. `cold` answers a `get` when no token is at
/// hand. Returns the exit code.
pub fn run(
    call: &Call,
    input: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
    cold: impl FnOnce(&str, &Sought) -> Answer,
) -> io::Result<u8> {
    let answer = match &call.asked {
        Asked::Verb(verb) => answer(call, verb, input, cold)?,
        Asked::Kubelet(arguments) => handover::to_kubelet_plugin(arguments, None),
        // a person typed the bare name: there is nothing to wait for
        Asked::Nothing if io::stdin().is_terminal() => Answer::refused(&usage(call)),
        Asked::Nothing => match read(input)? {
            request if request.trim_ascii_start().starts_with(b"{") => handover::to_kubelet_plugin(&[], Some(&request)),
            _ => Answer::refused(&usage(call)),
        },
        Asked::TooMuch => Answer::refused(&usage(call)),
    };
    answer.write(out, err)
}

fn answer(
    call: &Call,
    verb: &str,
    input: &mut dyn Read,
    cold: impl FnOnce(&str, &Sought) -> Answer,
) -> io::Result<Answer> {
    Ok(match verb {
        "get" => get(call, &read(input)?, cold),
        "store" => store(&read(input)?),
        "erase" => erase(call, &read(input)?),
        "list" => list(call, &read(input)?),
        "version" | "--version" | "-v" => {
            Answer::done(format!("{} (longshore) {}", call.name(), env!("CARGO_PKG_VERSION")))
        }
        "--help" | "-h" | "help" => Answer::done(usage(call)),
        other => Answer::refused(&format!("{}: unknown action: {other}", call.name())),
    })
}

fn usage(call: &Call) -> String {
    format!("Usage: {} <store|get|erase|list|version>", call.name())
}

fn read(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(LONGEST_INPUT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn get(call: &Call, request: &[u8], cold: impl FnOnce(&str, &Sought) -> Answer) -> Answer {
    // what is not text names no registry of ours, and is answered as such
    let server = String::from_utf8_lossy(request);
    if server.trim().is_empty() {
        return Answer::no_server();
    }
    if request.len() > LONGEST_SERVER {
        return Answer::not_found();
    }
    let config = match configuration() {
        Ok(config) => config,
        Err(error) if is_ecr_by_name(&server) => return Answer::error(&error, error.remedy()),
        Err(error) => return Answer::not_found().saying(&chain(&error)),
    };
    let (registry, wanted) = match (whose(&config, &server, &call.selection), &config.fallback_helper) {
        (Whose::Ecr(registry, wanted), _) => (registry, *wanted),
        (Whose::Foreign, Some(name)) => {
            return fallback::ask(name, "get", request).unwrap_or_else(|cause| Answer::not_found().saying(&cause));
        }
        (Whose::Foreign | Whose::Nobody, _) => return Answer::not_found(),
    };
    let sought = Sought::new(config, call.selection.clone(), registry, wanted);
    match sought.at_hand() {
        Ok(AtHand::Token(token)) => tokens::found(&server, &token),
        Ok(AtHand::Failure(error)) => sought.no_token(&server, &error),
        Ok(AtHand::Nothing) => cold(&server, &sought),
        Err(error) => Answer::error(&error, "the token store must belong to you alone"),
    }
}

fn configuration() -> Result<Config, environment::Error> {
    environment::load().map(|loaded| loaded.config)
}

/// `docker login`. What it brings for ECR is kept for want of better, since `get` mints; what is for others is not ours to
/// keep.
fn store(request: &[u8]) -> Answer {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        #[serde(default, rename = "ServerURL")]
        server_url: String,
        #[serde(default)]
        username: String,
        #[serde(default)]
        secret: zeroize::Zeroizing<String>,
    }
    let Request { server_url: server, username, mut secret } = match serde_json::from_slice::<Request>(request) {
        Ok(request) if request.server_url.trim().is_empty() => return Answer::no_server(),
        Ok(request) if request.username.trim().is_empty() => return Answer::no_user(),
        Ok(request) => request,
        Err(error) => {
            let cause = format!("the request is not JSON with ServerURL, Username and Secret: {error}");
            return Answer::refused(&cause);
        }
    };
    let host: String = server_host(&server).escape_debug().take(LONGEST_SERVER).collect();
    let config = match configuration() {
        Ok(config) => config,
        Err(_) if is_ecr_by_name(&server) => return stored(|| Answer::done(String::new())),
        Err(error) => return Answer::error(&error, error.remedy()),
    };
    match (whose(&config, &server, &Selection::default()), &config.fallback_helper) {
        (Whose::Ecr(registry, _), _) => stored(|| {
            let password = Secret::new(std::mem::take(&mut *secret));
            tokens::remember_login(&config, &registry, &username, &password);
            Answer::done(String::new())
        }),
        (Whose::Foreign, Some(name)) => fallback::ask(name, "store", request).unwrap_or_else(|cause| {
            let remedy = "install it, or name another one in the configuration: [fallback] helper = \"NAME\"";
            Answer::refused(&format!("nothing was saved for {host}: {cause}; {remedy}"))
        }),
        (Whose::Foreign, None) => stored(|| {
            Answer::refused(&format!(
                "nothing was saved for {host}: Longshore keeps credentials for Amazon ECR only; name the helper that \
                 keeps the others in its configuration, for example: [fallback] helper = \"secretservice\""
            ))
        }),
        (Whose::Nobody, _) => stored(|| {
            Answer::refused(&format!(
                "nothing was saved for {host}: Longshore's configuration says that it is used without credentials"
            ))
        }),
    }
}

/// The answer to who wants something stored or erased here, unless the environment says otherwise.
fn stored(as_usual: impl FnOnce() -> Answer) -> Answer {
    match environment::storing() {
        Storing::AsUsual => as_usual(),
        Storing::Ignored => Answer::done(String::new()),
        Storing::Refused => Answer::refused(NOT_IMPLEMENTED),
    }
}

/// `docker logout`: the cached token of the registry's scope is dropped; that it was not there is fine too.
fn erase(call: &Call, request: &[u8]) -> Answer {
    let server = String::from_utf8_lossy(request);
    if server.trim().is_empty() {
        return Answer::no_server();
    }
    let nothing = || Answer::done(String::new());
    let config = match configuration() {
        Ok(config) => config,
        Err(error) if is_ecr_by_name(&server) => return stored(|| Answer::error(&error, error.remedy())),
        Err(error) => return stored(|| nothing().saying(&chain(&error))),
    };
    match (whose(&config, &server, &call.selection), &config.fallback_helper) {
        (Whose::Ecr(registry, wanted), _) => {
            stored(|| match Sought::new(config, call.selection.clone(), registry, *wanted).forget() {
                Ok(()) => nothing(),
                Err(error) => Answer::error(&error, "the token could not be dropped; delete the file yourself"),
            })
        }
        // where there is no helper, there is nothing that could be left
        (Whose::Foreign, Some(name)) => fallback::ask(name, "erase", request).unwrap_or_else(|_| nothing()),
        (Whose::Foreign | Whose::Nobody, _) => stored(nothing),
    }
}

/// What the fallback lists, and what is at hand here.
fn list(call: &Call, request: &[u8]) -> Answer {
    let mut all = serde_json::Map::new();
    let mut problems = Vec::new();
    match configuration() {
        Ok(config) => {
            match config.fallback_helper.as_ref().map(|name| fallback::list(name, request)) {
                Some(Ok(others)) => all.extend(others),
                Some(Err(cause)) => problems.push(cause),
                None => {}
            }
            match tokens::listed(&config, &call.selection) {
                Ok(own) => all.extend(own),
                Err(error) => problems.push(chain(&error)),
            }
        }
        Err(error) => problems.push(chain(&error)),
    }
    let answer = Answer::done(serde_json::Value::Object(all).to_string());
    problems.iter().fold(answer, |answer, problem| answer.saying(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &[&str], input: &str) -> (String, String, u8) {
        let call = Call::of(["/bin/docker-credential-longshore"].iter().chain(arguments).map(|word| (*word).into()));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&call, &mut input.as_bytes(), &mut out, &mut err, |_, _| unreachable!("nothing is minted here"));
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code.unwrap())
    }

    #[test]
    fn the_fixed_answers_of_the_protocol_are_exact() {
        let quiet = |text: &str| (format!("{text}\n"), String::new(), 1);
        let usage = "Usage: docker-credential-longshore <store|get|erase|list|version>";
        assert_eq!(call(&["get"], "\n"), quiet("no credentials server URL"));
        assert_eq!(call(&["erase"], ""), quiet("no credentials server URL"));
        let no_server = r#"{"ServerURL":"","Username":"u","Secret":"s"}"#;
        assert_eq!(call(&["store"], no_server), quiet("no credentials server URL"));
        let no_user = r#"{"ServerURL":"h","Username":"","Secret":"s"}"#;
        assert_eq!(call(&["store"], no_user), quiet("no credentials username"));
        assert_eq!(call(&["fetch"], ""), quiet("docker-credential-longshore: unknown action: fetch"));
        assert_eq!(call(&["get", "host"], ""), quiet(usage));
        assert_eq!(call(&["--help"], ""), (format!("{usage}\n"), String::new(), 0));
        let version = format!("docker-credential-longshore (longshore) {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(call(&["version"], ""), (version, String::new(), 0));
    }

    #[test]
    fn the_secret_of_a_bad_store_request_is_not_repeated() {
        let (out, err, code) = call(&["store"], r#"{"ServerURL":"h","Username":1,"Secret":"hunter2"}"#);
        assert_eq!(code, 1);
        assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{out}{err}");
    }
}
