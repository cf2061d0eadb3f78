//! [`Finding`]: what one check found, and the command or edit that mends it.
//!
//! Its words are one line each, without control characters: much of them is out of files that others wrote.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, or will for a while; probably not what was meant.
    Warning,
    /// It does not work.
    Problem,
    /// Not looked at, or not there and not needed.
    Skipped,
}

/// What a finding is about, in the order in which subjects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// Longshore's own configuration and folders.
    Configuration,
    /// Variables of the environment.
    Environment,
    /// The docker CLI.
    Docker,
    /// podman, buildah and skopeo.
    Podman,
    /// containerd and dockerd.
    Containerd,
    /// Where AWS credentials come from.
    Credentials,
    /// The ECR API.
    Endpoint,
    /// Authorization tokens.
    Token,
    /// The daemon.
    Daemon,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name, which stays the same from version to version.
    pub id: &'static str,
    /// How bad it is.
    pub state: State,
    /// What it is about.
    pub subject: Subject,
    /// What was looked at.
    pub title: String,
    /// What was found there.
    pub found: String,
    /// The command or edit that mends it, where there is something to mend.
    pub remedy: Option<String>,
}

/// A check before it is known what it finds.
pub(super) struct Check {
    id: &'static str,
    subject: Subject,
    title: String,
}

pub(super) fn check(id: &'static str, subject: Subject, title: impl AsRef<str>) -> Check {
    Check { id, subject, title: one_line(title.as_ref()) }
}

impl Check {
    pub(super) fn ok(self, found: impl AsRef<str>) -> Finding {
        self.finding(State::Ok, found.as_ref(), None)
    }

    pub(super) fn skipped(self, found: impl AsRef<str>) -> Finding {
        self.finding(State::Skipped, found.as_ref(), None)
    }

    pub(super) fn warning(self, found: impl AsRef<str>, remedy: impl AsRef<str>) -> Finding {
        self.finding(State::Warning, found.as_ref(), Some(remedy.as_ref()))
    }

    pub(super) fn problem(self, found: impl AsRef<str>, remedy: impl AsRef<str>) -> Finding {
        self.finding(State::Problem, found.as_ref(), Some(remedy.as_ref()))
    }

    fn finding(self, state: State, found: &str, remedy: Option<&str>) -> Finding {
        let Self { id, subject, title } = self;
        Finding { id, state, subject, title, found: one_line(found), remedy: remedy.map(one_line) }
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|character| !character.is_control()).collect()
}

#[test]
fn words_from_files_do_not_steer_the_terminal() {
    let finding = check("x", Subject::Docker, "a\nb").warning("\u{1b}[2Jc\td", "e");
    assert_eq!((finding.title.as_str(), finding.found.as_str()), ("a b", "[2Jc d"));
}
