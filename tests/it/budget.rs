//! How long a `get` takes when something hangs, as a whole process, and what it hands out then.
//!
//! Limits are those of the issue. Whatever else the machine does can only make a process slower, so a short limit holds
//! when the quickest of a few tries keeps it.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    time::{Duration, Instant},
};

use crate::{
    fake_ecr::{Action, Listener, Rule},
    rig::{REGISTRY, text},
    shell::Shell,
};

const IN_IRELAND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// A whole `get`, whatever hangs.
pub(crate) const WHOLE: Duration = Duration::from_secs(8);
/// The first `get` without credentials, where nobody answers for the machine.
const PROBE: Duration = Duration::from_millis(1200);
/// What needs no waiting at all, on a machine that has other things to do.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(700);

pub(crate) fn timed(shell: &Shell, host: &str) -> (Output, Duration) {
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
    let ended = Instant::now();
    assert_eq!(all_gone.join().unwrap().unwrap(), 0);
    assert!(ended.elapsed() < WHOLE, "it went on for {:?}", ended.elapsed());
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
async fn a_metadata_service_that_comes_up_late_is_not_asked_and_that_is_said() {
    let mut shell = Shell::start().await;
    shell.metadata().set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    let output = shell.get(REGISTRY);
    assert!(!text(&output.stderr).contains("not asked again: longshore login REGISTRY asks it"), "{output:?}");
    // the way to AWS is another one now, so the failure is not the one that is remembered
    shell.set("NO_PROXY", "elsewhere");
    let output = shell.get(REGISTRY);
    assert!(text(&output.stderr).contains("not asked again: longshore login REGISTRY asks it"), "{output:?}");
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
