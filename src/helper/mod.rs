//! The Docker credential helper protocol: one verb, one answer, an exit code. The kubelet's is beside it.
//!
//! Never asks the daemon, never prompts. The warm `get` (a token on disk) runs before any runtime, TLS or AWS code.

pub mod kubelet;

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use crate::{
    chain::chain,
    config::Config,
    credentials::{self, AtHand, Credentials, Selection, Wanted, Way},
    ecr::{AuthorizationToken, EcrRegistry},
    environment,
    oci::server_host,
    store::TokenStore,
};

/// Compared literally by every client: the registry is not ours, try without credentials.
const NOT_FOUND: &str = "credentials not found in native keychain";
const NO_SERVER: &str = "no credentials server URL";
const NO_USER: &str = "no credentials username";
/// A request is a host name or a small JSON object; what is longer is not one.
const LONGEST_INPUT: u64 = 4 * 1024 * 1024;
const NAME: &str = "docker-credential-longshore";
const USAGE: &str = "Usage: docker-credential-longshore <store|get|erase|list|version>";

/// What a verb answers: the text for stdout, and lines for the person, who sees stderr.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done(String),
    Failed { cause: String, remedy: Option<String> },
}

/// Runs one verb; the answer goes to `out`, words for the person to `err`. Returns the exit code.
pub fn run(arguments: &[String], input: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let answer = match arguments {
        [verb] => answer(verb, input)?,
        _ => Answer::Failed { cause: USAGE.to_owned(), remedy: None },
    };
    match answer {
        Answer::Done(text) => {
            if !text.is_empty() {
                writeln!(out, "{text}")?;
            }
            Ok(0)
        }
        Answer::Failed { cause, remedy } => {
            writeln!(out, "{cause}")?;
            if let Some(remedy) = remedy {
                writeln!(err, "longshore: {cause}\nlongshore: {remedy}")?;
            }
            Ok(1)
        }
    }
}

fn answer(verb: &str, input: &mut dyn Read) -> io::Result<Answer> {
    Ok(match verb {
        "get" => get(&read(input)?),
        "store" => store(&read(input)?),
        "erase" => erase(&read(input)?),
        // tokens belong to identities and regions, not to registries: there is nothing to list until registries are configured
        "list" => Answer::Done("{}".to_owned()),
        "version" | "--version" | "-v" => Answer::Done(format!("{NAME} (longshore) {}", env!("CARGO_PKG_VERSION"))),
        "--help" | "-h" | "help" => Answer::Done(USAGE.to_owned()),
        other => Answer::Failed { cause: format!("{NAME}: unknown action: {other}"), remedy: None },
    })
}

fn read(input: &mut dyn Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(LONGEST_INPUT).read_to_end(&mut bytes)?;
    // what is not text names no registry of ours, and is answered as such
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn get(server: &str) -> Answer {
    let (config, tokens, wanted) = match wanted(server, quiet(NOT_FOUND)) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    match credentials::at_hand(&tokens, &wanted) {
        Ok(AtHand::Token(token)) => found(server, &token),
        Ok(AtHand::Failure(error)) => no_token(server, &wanted, &error),
        Ok(AtHand::Nothing) => mint(server, config, tokens, &wanted),
        Err(error) => failed(&error, "the token store must belong to you alone"),
    }
}

/// The token that an ECR registry needs, or the answer when it needs none; `foreign` answers for any other host.
fn wanted(server: &str, foreign: Answer) -> Result<(Config, TokenStore, Wanted), Answer> {
    if server.trim().is_empty() {
        return Err(quiet(NO_SERVER));
    }
    let Ok(registry) = server_host(server).parse() else { return Err(foreign) };
    let loaded = match environment::load() {
        Ok(loaded) => loaded,
        // what the configuration would have said about another host nobody knows
        Err(_) if EcrRegistry::parse(&server_host(server)).is_none() => return Err(foreign),
        Err(error) => return Err(failed(&error, "correct the configuration; check it with: longshore config check")),
    };
    match credentials::way(&loaded.config, &registry, &Selection::default()) {
        Way::Token(wanted) => {
            let tokens = TokenStore::new(&environment::cache_dir(&loaded.config), &loaded.config.token_store);
            Ok((loaded.config, tokens, *wanted))
        }
        Way::Foreign | Way::Anonymous => Err(foreign),
    }
}

/// The cold way: only here are a runtime, TLS and the AWS SDK set up.
fn mint(server: &str, config: Config, tokens: TokenStore, wanted: &Wanted) -> Answer {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, "the system gives this process no threads or file descriptors"),
    };
    let credentials = Credentials::new(Arc::new(config), tokens).interactive();
    let registry = server_host(server).parse().ok();
    let minted = runtime.block_on(credentials.token(wanted.clone(), registry.as_ref()));
    // a thread that waits for another process's lock must not hold this one back
    runtime.shutdown_background();
    match minted {
        Ok(token) => found(server, &token),
        Err(error) => no_token(server, wanted, &error),
    }
}

fn no_token(server: &str, wanted: &Wanted, error: &credentials::Error) -> Answer {
    // anonymous pulls work at ECR Public, so no credentials is no failure there
    if wanted.scope.public {
        let hint = format!("{error}; {} is used anonymously", server_host(server));
        return Answer::Failed { cause: NOT_FOUND.to_owned(), remedy: Some(hint) };
    }
    failed(error, error.remedy())
}

fn found(server: &str, token: &AuthorizationToken) -> Answer {
    let Some((user, password)) = token.user_and_password() else {
        return quiet("the authorization token is not base64 of user:password");
    };
    let answer = serde_json::json!({ "ServerURL": server.trim(), "Username": user, "Secret": password.expose() });
    Answer::Done(answer.to_string())
}

/// `docker login` must not fail; what it brings is not kept, since `get` mints better.
fn store(request: &str) -> Answer {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        #[serde(default, rename = "ServerURL")]
        server_url: String,
        #[serde(default)]
        username: String,
    }
    match serde_json::from_str::<Request>(request) {
        Ok(request) if request.server_url.trim().is_empty() => quiet(NO_SERVER),
        Ok(request) if request.username.trim().is_empty() => quiet(NO_USER),
        Ok(_) => Answer::Done(String::new()),
        Err(error) => quiet(&format!("the request is not JSON with ServerURL, Username and Secret: {error}")),
    }
}

/// `docker logout`: the cached token of the registry's scope is dropped; that it was not there is fine too.
fn erase(server: &str) -> Answer {
    let (_, tokens, wanted) = match wanted(server, Answer::Done(String::new())) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    match credentials::forget(&tokens, &wanted) {
        Ok(()) => Answer::Done(String::new()),
        Err(error) => failed(&error, "the token could not be dropped; delete the file yourself"),
    }
}

fn quiet(cause: &str) -> Answer {
    Answer::Failed { cause: cause.to_owned(), remedy: None }
}

/// A failure with all its causes on one line.
fn failed(error: &(dyn std::error::Error + 'static), remedy: &str) -> Answer {
    let cause = chain(error);
    Answer::Failed { cause, remedy: Some(remedy.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &[&str], input: &str) -> (String, String, u8) {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&arguments, &mut input.as_bytes(), &mut out, &mut err).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
    }

    #[test]
    fn the_fixed_answers_of_the_protocol_are_exact() {
        let quiet = |text: &str| (format!("{text}\n"), String::new(), 1);
        assert_eq!(call(&["get"], "\n"), quiet(NO_SERVER));
        assert_eq!(call(&["erase"], ""), quiet(NO_SERVER));
        assert_eq!(call(&["store"], r#"{"ServerURL":"","Username":"u","Secret":"s"}"#), quiet(NO_SERVER));
        assert_eq!(call(&["store"], r#"{"ServerURL":"h","Username":"","Secret":"s"}"#), quiet(NO_USER));
        assert_eq!(
            call(&["store"], r#"{"ServerURL":"h","Username":"u","Secret":""}"#),
            (String::new(), String::new(), 0)
        );
        assert_eq!(call(&["list"], "unused"), ("{}\n".into(), String::new(), 0));
        assert_eq!(call(&["fetch"], ""), quiet("docker-credential-longshore: unknown action: fetch"));
        assert_eq!(call(&[], ""), quiet(USAGE));
        assert_eq!(call(&["get", "host"], ""), quiet(USAGE));
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
