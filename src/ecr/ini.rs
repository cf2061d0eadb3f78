//! The text of the AWS configuration files: sections, and the lines in them.
//!
//! Pure: knows neither where the files are nor what a key means. Sections count as the AWS CLI and the SDKs count them.

/// Which of the two files a text is: they spell their sections differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[profile name]`, `[default]`, `[sso-session name]`, `[services name]`.
    Config,
    /// `[name]`, which is always a profile.
    Credentials,
}

/// One text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The key it is written below of, as the services of `[services name]` are.
    pub(super) below: Option<&'a str>,
    /// In lower case, since no reader of these files tells cases apart.
    pub(super) key: String,
    pub(super) value: &'a str,
}

/// What a header in the configuration file names that is no section of ours.
const NOTHING: &str = "";
const PROFILE: &str = "profile";
const DEFAULT: &str = "default";

impl<'a> Text<'a> {
    /// The lines of one section.
    pub(super) fn lines(self, section: &'a str, name: &'a str) -> impl Iterator<Item = Line<'a>> {
        let wanted = self.spelled(section, name);
        let mut is_inside = false;
        // depth and name of the key that others may be below of
        let mut open: Option<(usize, &str)> = None;
        self.text.lines().filter(|line| !line.trim().starts_with(['#', ';'])).filter_map(move |whole| {
            let line = whole.trim();
            if let Some(found) = self.header(line) {
                (is_inside, open) = (found == wanted, None);
                return None;
            }
            let (key, value) = line.split_once('=').filter(|_| is_inside)?;
            let (key, value) = (key.trim(), without_comment(value));
            let depth = whole.len() - whole.trim_start().len();
            let below = open.filter(|(parent, _)| depth > *parent).map(|(_, key)| key);
            if below.is_none() {
                open = value.is_empty().then_some((depth, key));
            }
            Some(Line { below, key: key.to_ascii_lowercase(), value })
        })
    }

    /// Number of the line where a section begins, from 1.
    pub(super) fn place(self, section: &str, name: &str) -> Option<usize> {
        let wanted = self.spelled(section, name);
        let at = self.text.lines().position(|line| self.header(line.trim()) == Some(wanted))?;
        Some(at + 1)
    }

    /// The names of all profiles.
    pub(super) fn profiles(self) -> impl Iterator<Item = &'a str> {
        self.headers().filter(|(section, _)| matches!(*section, PROFILE | DEFAULT)).map(|(_, name)| name)
    }

    /// How a section is spelled here: `[default]` counts only where there is no `[profile default]`.
    fn spelled<'b>(self, section: &'b str, name: &'b str) -> (&'b str, &'b str) {
        let is_default = self.kind == Kind::Config && (section, name) == (PROFILE, DEFAULT);
        if is_default && !self.headers().any(|header| header == (PROFILE, DEFAULT)) {
            return (DEFAULT, DEFAULT);
        }
        (section, name)
    }

    fn headers(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.text.lines().filter_map(move |line| self.header(line.trim()))
    }

    /// What section a header begins, and its name.
    fn header(self, line: &str) -> Option<(&str, &str)> {
        let header = line.strip_prefix('[')?.split(']').next().unwrap_or_default().trim();
        Some(match (self.kind, header.split_once(char::is_whitespace)) {
            (Kind::Config, Some((section @ (PROFILE | "sso-session" | "services"), name))) => (section, unquoted(name)),
            (Kind::Config, None) if header == DEFAULT => (DEFAULT, DEFAULT),
            (Kind::Credentials, None) => (PROFILE, header),
            // a name with a space, as the AWS CLI takes it
            (Kind::Credentials, Some((first, _))) if first != PROFILE => (PROFILE, header),
            _ => (NOTHING, header),
        })
    }
}

fn unquoted(name: &str) -> &str {
    let name = name.trim();
    let inside = |quote: char| name.strip_prefix(quote).and_then(|name| name.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(name)
}

/// A comment may follow a value after white space.
fn without_comment(value: &str) -> &str {
    let value = value.split(" #").next().unwrap_or_default();
    value.split(" ;").next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, text: &str, section: &str, name: &str, want: &[(&str, &str)]) {
        let lines: Vec<_> = Text { kind, text }.lines(section, name).map(|line| (line.key, line.value)).collect();
        let lines: Vec<_> = lines.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert_eq!(lines, want, "[{section} {name}] in {text}");
    }

    #[test]
    fn a_profile_is_spelled_otherwise_in_either_file() {
        let found: &[_] = &[("a", "1")];
        check(Kind::Config, "[prod]\na=1", "profile", "prod", &[]);
        check(Kind::Config, "[profile prod]\na=1", "profile", "prod", found);
        check(Kind::Config, "[ profile   prod ]\na=1", "profile", "prod", found);
        check(Kind::Credentials, "[prod]\na=1", "profile", "prod", found);
        check(Kind::Credentials, "[profile prod]\na=1", "profile", "prod", &[]);
        check(Kind::Credentials, "[my prof]\na=1", "profile", "my prof", found);
        check(Kind::Credentials, "[sso-session corp]\na=1", "sso-session", "corp", &[]);
        check(Kind::Credentials, "[services local]\na=1", "services", "local", &[]);
    }

    #[test]
    fn the_default_profile_has_two_spellings_of_which_one_counts() {
        let both = "[default]\na=1\n[profile default]\na=2\n[default]\nb=3";
        check(Kind::Config, "[default]\na=1", "profile", "default", &[("a", "1")]);
        check(Kind::Config, both, "profile", "default", &[("a", "2")]);
        check(Kind::Credentials, "[default]\na=1", "profile", "default", &[("a", "1")]);
    }

    #[test]
    fn quotes_around_a_name_are_none_of_it() {
        for text in ["[profile \"my prof\"]\na=1", "[profile 'my prof']\na=1", "[profile my prof]\na=1"] {
            check(Kind::Config, text, "profile", "my prof", &[("a", "1")]);
        }
    }

    #[test]
    fn keys_are_taken_in_any_case() {
        check(
            Kind::Credentials,
            "[default]\nAWS_Access_Key_ID = A",
            "profile",
            "default",
            &[("aws_access_key_id", "A")],
        );
    }

    #[test]
    fn what_is_written_below_a_key_is_of_that_key() {
        let text = "[services local]\necr =\n  endpoint_url = http://a\nsts=\n  endpoint_url = http://b\nx = y\n";
        let text = Text { kind: Kind::Config, text };
        let lines: Vec<_> = text.lines("services", "local").map(|line| (line.below, line.key)).collect();
        let url = || "endpoint_url".to_owned();
        let want = [
            (None, "ecr".to_owned()),
            (Some("ecr"), url()),
            (None, "sts".to_owned()),
            (Some("sts"), url()),
            (None, "x".to_owned()),
        ];
        assert_eq!(lines, want);
        // who indents all of it writes nothing below anything
        let indented = Text { kind: Kind::Config, text: "[default]\n  a =\n  b = 1" };
        assert!(indented.lines("profile", "default").all(|line| line.below.is_none()));
    }
}
