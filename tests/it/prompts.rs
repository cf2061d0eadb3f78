//! One-time codes that a person types: who is asked, how often, and who is not.
//!
//! util-linux's `script` gives the helper a terminal of its own.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{Read as _, Write as _},
    process::{Child, Output, Stdio},
};

use crate::{
    budget::{WHOLE, timed},
    identities::sources,
    rig::{HELPER, REGISTRY, run, text},
    shell::Shell,
};

const IN_IRELAND: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const PROMPT: &str = "one-time code of ";

/// Helpers at terminals of their own; what they answer lies in files.
struct Terminals<'s>(&'s Shell);

impl Terminals<'_> {
    /// A helper at a terminal that nobody types at yet.
    fn open(&self, name: &str, host: &str) -> Child {
        let mut command = self.0.command_of("script");
        command.args(["-qec", &self.line(name, host, ""), "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn line(&self, name: &str, host: &str, end: &str) -> String {
        let (asks, out) = (self.0.path(&format!("{name}.host")), self.0.path(name));
        fs::write(&asks, host).unwrap();
        format!("{HELPER} get < '{asks}' > '{out}' 2> '{out}.err' {end}")
    }

    fn answer(&self, name: &str) -> String {
        fs::read_to_string(self.0.path(name)).unwrap()
    }

    #[track_caller]
    fn is_token(&self, name: &str) {
        let answer = self.answer(name);
        assert!(answer.contains("\"Username\":\"AWS\""), "{name}: {answer}");
    }
}

/// What a terminal shows until the code is asked for.
fn until_asked(terminal: &mut Child) -> String {
    let (mut shown, mut byte) = (Vec::new(), [0]);
    let out = terminal.stdout.as_mut().unwrap();
    while !text(&shown).contains(PROMPT) {
        out.read_exact(&mut byte).unwrap_or_else(|_| panic!("nobody was asked: {}", text(&shown)));
        shown.push(byte[0]);
    }
    text(&shown)
}

/// Waits for the end of a terminal, and counts its prompts.
fn prompts_until_the_end(terminal: Child) -> usize {
    let Output { stdout, .. } = terminal.wait_with_output().unwrap();
    text(&stdout).matches(PROMPT).count()
}

async fn guarded() -> Shell {
    let mut shell = Shell::start().await;
    sources::code_from_a_person(&mut shell);
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn one_code_is_enough_for_all_that_wait_at_terminals() {
    let shell = guarded().await;
    let terminals = Terminals(&shell);
    let mut first = terminals.open("first", REGISTRY);
    until_asked(&mut first);
    let others = [terminals.open("same", REGISTRY), terminals.open("other", IN_IRELAND)];
    first.stdin.take().unwrap().write_all(b"123456\n").unwrap();
    assert_eq!(prompts_until_the_end(first), 0);
    assert_eq!(others.map(prompts_until_the_end), [0, 0]);
    for name in ["first", "same", "other"] {
        terminals.is_token(name);
    }
    assert_eq!((shell.ecr.count_calls("AssumeRole"), shell.mints()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_while_the_token_at_hand_is_good() {
    let shell = guarded().await;
    let terminals = Terminals(&shell);
    let mut first = terminals.open("first", REGISTRY);
    until_asked(&mut first);
    first.stdin.take().unwrap().write_all(b"123456\n").unwrap();
    prompts_until_the_end(first);
    shell.set_time("refresh_at", -3600);
    // what the code was spent on is of no use any more
    shell.ecr.expire_sessions();
    let again = terminals.line("again", REGISTRY, "");
    let shown = run(shell.command_of("script").args(["-qec", &again, "/dev/null"]), "123456\n");
    assert!(!text(&shown.stdout).contains(PROMPT), "{shown:?}");
    assert_eq!(terminals.answer("again"), terminals.answer("first"));
    // once it is over, somebody is
    shell.set_time("expires_at", -1);
    let mut last = terminals.open("last", REGISTRY);
    until_asked(&mut last);
    last.stdin.take().unwrap().write_all(b"123456\n").unwrap();
    prompts_until_the_end(last);
    terminals.is_token("last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_the_background_is_told_what_is_missing_instead_of_being_stopped() {
    let shell = guarded().await;
    let terminals = Terminals(&shell);
    let line = format!("set -m; {} wait", terminals.line("out", REGISTRY, "&"));
    // a job that is stopped would never end by itself
    let limit = ["20", "script", "-qec", &line, "/dev/null"];
    let shown = run(shell.command_of("timeout").args(limit), "");
    assert_ne!(shown.status.code(), Some(124), "the job was stopped");
    assert!(!text(&shown.stdout).contains(PROMPT), "{shown:?}");
    let (said, log) = (terminals.answer("out"), terminals.answer("out.err"));
    assert!(said.contains("one-time code"), "{said:?} {log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_types_nothing_is_not_asked_twice() {
    let shell = guarded().await;
    let terminals = Terminals(&shell);
    let mut first = terminals.open("first", REGISTRY);
    until_asked(&mut first);
    first.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(prompts_until_the_end(first), 0);
    assert!(terminals.answer("first").contains("one-time code"), "{}", terminals.answer("first"));
    assert_eq!(shell.mints(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_terminal_waits_for_nobody_beyond_the_deadline() {
    let shell = guarded().await;
    let mut first = Terminals(&shell).open("first", REGISTRY);
    until_asked(&mut first);
    let (same, other) = std::thread::scope(|scope| {
        let same = scope.spawn(|| timed(&shell, REGISTRY));
        let other = timed(&shell, IN_IRELAND);
        (same.join().unwrap(), other)
    });
    for (output, took) in [same, other] {
        assert!(took < WHOLE, "{took:?}");
        assert!(text(&output.stdout).contains("one-time code"), "{output:?}");
    }
    first.stdin.take().unwrap().write_all(b"123456\n").unwrap();
    prompts_until_the_end(first);
    Terminals(&shell).is_token("first");
}
