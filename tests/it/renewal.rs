//! Tokens in the last half of their life: who renews them, and what is handed out when nobody can.
//!
//! Times are set in the token's file, as if they had come.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    budget::{AT_ONCE, WHOLE, timed},
    fake_ecr::{Listener, Rule},
    rig::{Daemon, REGISTRY, text},
    shell::{Shell, secret_in},
};

const HOUR: i64 = 3600;

/// A helper that was stopped while it holds the lock of a token; dropping it ends it.
struct Stopped(std::process::Child);

impl Stopped {
    async fn in_the_middle_of(shell: &Shell) -> Self {
        let hold = shell.ecr.fault(Rule::on(Listener::Api).hold().once());
        shell.write("host", REGISTRY);
        let host = fs::File::open(shell.path("host")).unwrap();
        let mut command = shell.command();
        let child = command.arg("get").stdin(host).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        hold.reached().await;
        let stopped = Command::new("kill").args(["-s", "STOP", &child.id().to_string()]).status().unwrap();
        assert!(stopped.success());
        Self(child)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_is_stopped_does_not_hold_others_beyond_the_deadline() {
    let shell = Shell::with_keys().await;
    let stopped = Stopped::in_the_middle_of(&shell).await;
    let (output, took) = timed(&shell, REGISTRY);
    assert!(took < WHOLE, "{took:?}");
    assert!(text(&output.stdout).contains("another process that mints this token"), "{output:?}");
    drop(stopped);
    fs::remove_dir_all(shell.path("home/.cache")).unwrap();
    shell.secret(REGISTRY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_is_handed_out_while_a_stopped_helper_renews_it() {
    let shell = Shell::with_keys().await;
    let old = shell.secret(REGISTRY);
    shell.set_time("refresh_at", -HOUR);
    let _stopped = Stopped::in_the_middle_of(&shell).await;
    for limit in [Duration::from_secs(6), AT_ONCE] {
        let (output, took) = timed(&shell, REGISTRY);
        assert_eq!(secret_in(&output), old);
        assert!(took < limit, "{took:?}");
    }
}

#[tokio::test]
async fn a_good_token_is_handed_out_when_it_cannot_be_renewed_and_is_let_be_for_minutes() {
    let shell = Shell::with_keys().await;
    let old = shell.secret(REGISTRY);
    shell.set_time("refresh_at", -HOUR);
    shell.ecr.fault(Rule::on(Listener::Api).aws_failure("ServerException"));
    shell.ecr.clear_requests();
    assert_eq!(shell.secret(REGISTRY), old);
    assert!(shell.mints() > 0);
    shell.ecr.clear_requests();
    assert_eq!(shell.secret(REGISTRY), old);
    assert_eq!(shell.mints(), 0);
}

#[tokio::test]
async fn a_good_token_does_not_wait_long_for_an_api_that_never_answers() {
    let shell = Shell::with_keys().await;
    let old = shell.secret(REGISTRY);
    shell.set_time("refresh_at", -HOUR);
    shell.ecr.fault(Rule::on(Listener::Api).hold());
    let (output, took) = timed(&shell, REGISTRY);
    assert_eq!(secret_in(&output), old);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn a_token_past_half_of_its_life_is_renewed_when_it_can_be() {
    let shell = Shell::with_keys().await;
    let old = shell.secret(REGISTRY);
    shell.set_time("refresh_at", -1);
    let new = shell.secret(REGISTRY);
    assert_ne!(new, old);
    assert_eq!((shell.secret(REGISTRY), shell.mints()), (new, 2));
}

/// Issue: the incumbent hands out yesterday's token and says that all is well.
#[tokio::test]
async fn a_token_that_is_over_is_never_handed_out() {
    // in its last minute it might be over when it arrives
    for end in [-24 * HOUR, -1, 30] {
        let shell = Shell::with_keys().await;
        shell.secret(REGISTRY);
        shell.set_time("refresh_at", -48 * HOUR);
        shell.set_time("expires_at", end);
        let fault = shell.ecr.fault(Rule::on(Listener::Api).aws_failure("ServerException"));
        let output = shell.get(REGISTRY);
        assert_eq!(output.status.code(), Some(1), "{end}");
        assert!(text(&output.stdout).contains("ServerException"), "{output:?}");
        fault.remove();
        shell.secret(REGISTRY);
    }
}

fn daemon(shell: &mut Shell) -> Daemon {
    shell.rules("listen = \"127.0.0.1:0\"\n");
    Daemon::spawn(shell.command_of(env!("CARGO_BIN_EXE_longshore")), "info")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_renews_what_the_helper_left_and_the_helper_waits_for_nobody() {
    let mut shell = Shell::with_keys().await;
    let old = shell.secret(REGISTRY);
    shell.set_time("refresh_at", -HOUR);
    let daemon = daemon(&mut shell);
    daemon.wait_for_log("authorization token renewed");
    let new = shell.secret(REGISTRY);
    assert_ne!(new, old);
    // its time has come again: the daemon sees to it, the helper does not
    shell.set_time("refresh_at", -HOUR);
    shell.ecr.clear_requests();
    assert_eq!(shell.secret(REGISTRY), new);
    assert!(shell.ecr.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_leaves_tokens_alone_whose_identity_only_a_shell_knows() {
    let mut shell = Shell::with_keys().await;
    shell.secret(REGISTRY);
    shell.set_time("refresh_at", -HOUR);
    let mine = shell.entries().remove(0).0;
    shell.keys("AKIDOFASHELL").secret(REGISTRY);
    let (path, mut entry) = shell.entries().into_iter().find(|(path, _)| *path != mine).unwrap();
    entry["refresh_at"] = Value::from(1_000_000_000);
    fs::write(path, entry.to_string()).unwrap();
    shell.keys("AKIDEXAMPLE").ecr.clear_requests();
    let daemon = daemon(&mut shell);
    daemon.wait_for_log("authorization token renewed");
    // whoever knows the identity renews in the foreground
    shell.keys("AKIDOFASHELL").secret(REGISTRY);
    let keys: Vec<_> = shell.ecr.calls().into_iter().filter_map(|call| call.access_key).collect();
    assert_eq!(keys, ["AKIDEXAMPLE", "AKIDOFASHELL"]);
}

#[tokio::test]
async fn a_token_whose_profile_was_edited_while_it_was_minted_is_handed_out_and_not_kept() {
    let shell = Shell::start().await;
    let keys = r#"{"Version": 1, "AccessKeyId": "AKID'$$'", "SecretAccessKey": "secret", "SessionToken": "token"}"#;
    let config = shell.path("home/.aws/config");
    let edit = format!("grep -q edited '{config}' || echo 'role_session_name = edited' >> '{config}'");
    let command = shell.script("process", &format!("{edit}\necho '{keys}'"));
    shell.profiles(&format!("[default]\ncredential_process = {command}\n"));
    let first = shell.secret(REGISTRY);
    assert!(shell.entries().is_empty());
    // whose it is can be said again
    let second = shell.secret(REGISTRY);
    assert_ne!(second, first);
    assert_eq!((shell.secret(REGISTRY), shell.runs(), shell.entries().len()), (second, 2, 1));
}

#[tokio::test]
async fn a_new_token_ends_the_rest_of_the_one_before_it() {
    let shell = Shell::with_keys().await;
    shell.secret(REGISTRY);
    shell.set_time("refresh_at", -HOUR);
    let fault = shell.ecr.fault(Rule::on(Listener::Api).aws_failure("ServerException"));
    shell.secret(REGISTRY);
    fault.remove();
    // the old one is over before its rest is
    shell.set_time("expires_at", -1);
    let new = shell.secret(REGISTRY);
    shell.set_time("refresh_at", -HOUR);
    assert_ne!(shell.secret(REGISTRY), new);
}
