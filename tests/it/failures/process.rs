//! The user's own commands: what becomes of them when whoever runs them ends, and when they leave something behind.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    budget::timed,
    rig::{HELPER, REGISTRY, text},
    shell::{Shell, secret_in},
};

/// Less than a command is given, far more than ending one takes.
const SOON: Duration = Duration::from_secs(4);
const PRINTED: &str = r#"echo '{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"an-example-secret-key"}'"#;

fn fifo(shell: &Shell) -> String {
    let fifo = shell.path("alive");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fifo
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_whoever_runs_it_by_whichever_signal() {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("KILL", 9)] {
        let shell = Shell::start().await;
        let fifo = fifo(&shell);
        let command = shell.script("process", &format!("exec 9>'{fifo}'\nsleep 300 &\nsleep 300"));
        shell.profiles(&format!("[default]\ncredential_process = {command}\n"));
        let mut get = shell.command_of(HELPER);
        let get = get.arg("get").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = get.spawn().unwrap();
        child.stdin.take().unwrap().write_all(REGISTRY.as_bytes()).unwrap();
        // opens once the command has opened its end
        let mut alive = fs::File::open(fifo).unwrap();
        let started = Instant::now();
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().signal(), Some(number), "{signal}");
        // ends with the last process that holds it
        assert_eq!(alive.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert!(started.elapsed() < SOON, "{signal}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn credentials_are_taken_at_once_whatever_the_command_left_running() {
    let shell = Shell::start().await;
    let fifo = fifo(&shell);
    let command =
        shell.script("process", &format!("{PRINTED}\n(exec 9<>'{fifo}'; read line <&9; echo heard >'{fifo}.said') &"));
    shell.profiles(&format!("[default]\ncredential_process = {command}\n"));
    let (output, took) = timed(&shell, REGISTRY);
    secret_in(&output);
    assert!(took < SOON, "{took:?}");
    // and it goes on
    fs::OpenOptions::new().write(true).open(&fifo).unwrap().write_all(b"go on\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fs::exists(format!("{fifo}.said")).unwrap() {
        assert!(Instant::now() < deadline, "what the command left running is gone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn all_of_a_long_printout_is_read() {
    let shell = Shell::start().await;
    let command = shell.script("process", &format!("printf '%60000s' ''\n{PRINTED}"));
    shell.profiles(&format!("[default]\ncredential_process = {command}\n")).secret(REGISTRY);
    let command = shell.script("process", &format!("printf '%70000s' ''\n{PRINTED}"));
    shell.profiles(&format!("[default]\nregion = x\ncredential_process = {command}\n"));
    assert!(text(&shell.get(REGISTRY).stdout).contains("credential_process of profile default"));
}
