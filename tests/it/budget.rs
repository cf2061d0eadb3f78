//! How long a `get` takes when something hangs, as a whole process, and what it hands out then.
//!
//! Limits are those of the issue. Whatever else the machine does can only make a process slower, so a short limit holds
//! when the quickest of a few tries keeps it.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    fake_ecr::{Action, Listener, Rule},
    rig::{Daemon, REGISTRY, text},
    shell::{Shell, secret_in},
};

const IN_IRELAND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// A whole `get`, whatever hangs.
const WHOLE: Duration = Duration::from_secs(8);
/// The first `get` without credentials, where nobody answers for the machine.
const PROBE: Duration = Duration::from_millis(1200);
/// What needs no waiting at all, on a machine that has other things to do.
const AT_ONCE: Duration = Duration::from_millis(700);
const HOUR: i64 = 3600;

fn timed(shell: &Shell, host: &str) -> (Output, Duration) {
    let started = Instant::now();
    (shell.get(host), started.elapsed())
}

/// The quickest of three, each in a shell of its own.
async fn quickest(setup: impl Fn(&mut Shell)) -> (Shell, Output, Duration) {
    let mut tries = Vec::new();
    for _ in 0..3 {
        let mut shell = Shell::start().await;
        setup(&mut shell);
        let (output, took) = timed(&shell, REGISTRY);
        tries.push((shell, output, took));
    }
    tries.into_iter().min_by_key(|(.., took)| *took).unwrap()
}

fn to_metadata(shell: &Shell) -> u64 {
    shell.ecr.stats().connections.get(&Listener::Metadata).copied().unwrap_or(0)
}

#[track_caller]
fn bare(output: &Output) {
    assert_eq!(text(&output.stdout), "ECR in us-east-1: no AWS credentials were found\n", "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[track_caller]
fn bare_again(output: &Output) {
    bare(output);
    assert!(text(&output.stderr).contains("not tried again for"), "{output:?}");
}

/// Issue: the incumbent waits 181 seconds for an API that accepts and never answers.
#[tokio::test]
async fn a_proxy_that_never_answers_is_given_up_in_time_and_not_asked_again_at_once() {
    let black_hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut shell = Shell::with_keys().await;
    shell.behind_the_proxy().set("HTTPS_PROXY", &format!("http://{}", black_hole.local_addr().unwrap()));
    let (output, took) = timed(&shell, REGISTRY);
    assert!(took < WHOLE, "{took:?}");
    assert!(text(&output.stdout).contains(" no answer"), "{output:?}");
    assert!(text(&output.stderr).contains("HTTPS_PROXY"), "{output:?}");
    let (output, took) = timed(&shell, REGISTRY);
    assert!(took < AT_ONCE && !output.status.success(), "{took:?}");
    assert!(text(&output.stderr).contains("not tried again for"), "{output:?}");
    // who corrects the variable is heard at once
    shell.behind_the_proxy().secret(REGISTRY);
}

#[tokio::test]
async fn whoever_gets_credentials_after_there_were_none_is_heard_at_once() {
    let mut shell = Shell::start().await;
    bare(&shell.get(REGISTRY));
    shell.profiles("[default]\naws_access_key_id = AKIDNEW\naws_secret_access_key = secret\n").secret(REGISTRY);
    shell.profiles("");
    bare_again(&shell.get(REGISTRY));
    shell.keys("AKIDEXAMPLE").secret(REGISTRY);
}

#[tokio::test]
async fn a_process_that_hangs_is_ended_in_time_with_all_it_started() {
    let shell = Shell::start().await;
    let fifo = shell.path("alive");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let command = shell.script("process", &format!("exec 9>'{fifo}'\nsleep 300 &\nsleep 300"));
    shell.profiles(&format!("[default]\ncredential_process = {command}\n"));
    let all_gone = std::thread::spawn(move || fs::File::open(fifo).unwrap().read_to_end(&mut Vec::new()));
    let (output, took) = timed(&shell, REGISTRY);
    assert!(took < WHOLE, "{took:?}");
    assert!(text(&output.stdout).contains("did not end within"), "{output:?}");
    // the pipe ends with the last process that holds it
    assert_eq!(all_gone.join().unwrap().unwrap(), 0);
    assert_eq!(shell.runs(), 1);
}

/// Issue: the incumbent takes 16 to 18 seconds, each time.
#[tokio::test]
async fn a_metadata_service_that_never_answers_is_waited_for_once_and_briefly() {
    let setup = |shell: &mut Shell| {
        shell.metadata().ecr.fault(Rule::on(Listener::Metadata).then(Action::HalfOpen));
    };
    let (shell, output, took) = quickest(setup).await;
    bare(&output);
    assert!(took <= PROBE, "{took:?}");
    assert!(to_metadata(&shell) > 0);
    shell.ecr.clear_requests();
    let (output, took) = timed(&shell, REGISTRY);
    bare(&output);
    assert!(took < AT_ONCE && to_metadata(&shell) == 0, "{took:?}");
    // nor for another token, which no failure is remembered for
    let (output, took) = timed(&shell, IN_IRELAND);
    assert!(took < AT_ONCE && to_metadata(&shell) == 0 && !output.status.success(), "{took:?}");
}

#[tokio::test]
async fn a_metadata_address_that_swallows_connections_is_waited_for_once_and_briefly() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // once its queue is full, the kernel drops what comes
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
    let _full: Vec<_> = std::iter::from_fn(|| connect().ok()).take(1000).collect();
    let setup = |shell: &mut Shell| {
        shell.metadata().set("AWS_EC2_METADATA_SERVICE_ENDPOINT", &format!("http://{address}"));
    };
    let (shell, output, took) = quickest(setup).await;
    bare(&output);
    assert!(took <= PROBE, "{took:?}");
    let (_, took) = timed(&shell, IN_IRELAND);
    assert!(took < AT_ONCE, "{took:?}");
}

/// Issue: the incumbent takes 14 seconds.
#[tokio::test]
async fn a_metadata_port_that_is_closed_costs_nothing() {
    let setup = |shell: &mut Shell| {
        shell.metadata().set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    };
    let (_, output, took) = quickest(setup).await;
    bare(&output);
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn a_metadata_service_that_is_switched_off_is_not_asked() {
    let (shell, output, took) = quickest(|shell| {
        shell.metadata().set("AWS_EC2_METADATA_DISABLED", "TRUE");
    })
    .await;
    bare(&output);
    assert!(took < AT_ONCE && to_metadata(&shell) == 0, "{took:?}");
}

/// Issue: the incumbent takes 3 to 4 seconds.
#[tokio::test]
async fn an_api_out_of_order_is_tried_three_times_within_two_seconds() {
    let (shell, output, took) = quickest(|shell| {
        shell.keys("AKIDEXAMPLE").ecr.fault(Rule::on(Listener::Api).aws_failure("ServerException"));
    })
    .await;
    assert!(text(&output.stdout).contains("ServerException") && shell.mints() == 3, "{output:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    shell.ecr.clear_faults();
    shell.secret(REGISTRY);
}

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
    for limit in [Duration::from_secs(4), AT_ONCE] {
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
    assert!(took < Duration::from_secs(4), "{took:?}");
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
