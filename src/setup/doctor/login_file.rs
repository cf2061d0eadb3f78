//! [`LoginFile`]: a file of logins, as the docker CLI and podman keep them.
//!
//! Knows which entry counts for a host, and on which line it stands. Passwords are looked at only to see that there is one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use serde_json::{Map, Value};

use crate::oci::server_host;

/// A file that could be read.
#[derive(Debug)]
pub(super) struct LoginFile {
    pub(super) path: PathBuf,
    text: String,
    object: Map<String, Value>,
}

/// What is at a path.
#[derive(Debug)]
pub(super) enum Reading {
    Absent(PathBuf),
    /// Which file, where in it, and what is wrong.
    Broken(PathBuf, String),
    File(LoginFile),
}

/// Where the credentials for a host come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `credHelpers` names this helper.
    Helper(String),
    /// `credsStore` names this helper.
    Store(String),
    /// A login under this key.
    Login(String),
    Nothing,
}

impl Reading {
    pub(super) fn of(path: &Path) -> Self {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Self::Absent(path.to_owned());
            }
            Err(error) => return Self::Broken(path.to_owned(), error.to_string()),
        };
        match serde_json::from_str(if text.trim().is_empty() { "{}" } else { &text }) {
            Ok(object) => Self::File(LoginFile { path: path.to_owned(), text, object }),
            // the parser's own words may repeat a value
            Err(error) => {
                let place = format!("line {}, column {}: not a JSON object", error.line(), error.column());
                Self::Broken(path.to_owned(), place)
            }
        }
    }

    pub(super) fn place(&self) -> String {
        let (Self::Absent(path) | Self::Broken(path, _) | Self::File(LoginFile { path, .. })) = self;
        path.display().to_string()
    }

    pub(super) fn file(&self) -> Option<&LoginFile> {
        if let Self::File(file) = self { Some(file) } else { None }
    }
}

impl LoginFile {
    /// The entries of `credHelpers`: host and helper.
    pub(super) fn helpers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table("credHelpers").filter_map(|(host, helper)| Some((host, helper.as_str()?)))
    }

    /// The helper of `credsStore`.
    pub(super) fn store(&self) -> Option<&str> {
        self.object.get("credsStore")?.as_str().filter(|helper| !helper.is_empty())
    }

    /// The keys of `auths`, and whether there is a password with them.
    pub(super) fn logins(&self) -> impl Iterator<Item = (&str, bool)> {
        let is_text = |login: &Value, key: &str| login[key].as_str().is_some_and(|text| !text.is_empty());
        self.table("auths").map(move |(host, login)| {
            (host, ["auth", "identitytoken", "password"].into_iter().any(|key| is_text(login, key)))
        })
    }

    /// A login for `host`, under whatever spelling.
    pub(super) fn login(&self, host: &str) -> Option<&str> {
        self.logins().find(|(key, has_password)| *has_password && server_host(key) == host).map(|(key, _)| key)
    }

    /// Where docker takes the credentials for `host` from.
    pub(super) fn origin(&self, host: &str) -> Origin {
        let helper = self.helpers().find(|(key, _)| *key == host).map(|(_, helper)| helper.to_owned());
        let store = || self.store().map(|helper| Origin::Store(helper.to_owned()));
        let login = || self.login(host).map(|key| Origin::Login(key.to_owned()));
        helper.map(Origin::Helper).or_else(store).or_else(login).unwrap_or(Origin::Nothing)
    }

    /// File and line of an entry, such as `["credHelpers", host]`.
    pub(super) fn at(&self, keys: &[&str]) -> String {
        let path = self.path.display();
        self.line(keys).map_or_else(|| path.to_string(), |line| format!("{path}:{line}"))
    }

    fn line(&self, keys: &[&str]) -> Option<usize> {
        let parsed = parse_to_ast(&self.text, &CollectOptions::default(), &ParseOptions::default()).ok()?;
        let mut value = parsed.value?;
        let mut start = None;
        for key in keys {
            let ast::Value::Object(object) = value else { return None };
            let entry = object.properties.into_iter().find(|entry| entry.name.as_str() == *key)?;
            start = Some(entry.range.start);
            value = entry.value;
        }
        Some(self.text.get(..start?)?.matches('\n').count() + 1)
    }

    fn table(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        let entries = self.object.get(name).and_then(Value::as_object);
        entries.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }
}

#[test]
fn the_entry_that_counts_is_found_with_its_line() {
    let text = "{\n \"auths\": {\"https://one.example/v1/\": {\"auth\": \"x\"}, \"two.example\": {}},\n \
                \"credHelpers\": {\n  \"three.example\": \"h\"}\n}";
    let object = serde_json::from_str(text).unwrap();
    let mut file = LoginFile { path: "f".into(), text: text.to_owned(), object };
    assert_eq!(file.origin("one.example"), Origin::Login("https://one.example/v1/".to_owned()));
    assert_eq!(file.origin("two.example"), Origin::Nothing);
    assert_eq!(file.origin("three.example"), Origin::Helper("h".to_owned()));
    assert_eq!(file.at(&["credHelpers", "three.example"]), "f:4");
    assert_eq!(file.at(&["credHelpers", "four.example"]), "f");
    file.object.insert("credsStore".to_owned(), "s".into());
    assert_eq!(file.origin("one.example"), Origin::Store("s".to_owned()));
    assert_eq!(file.origin("three.example"), Origin::Helper("h".to_owned()));
}
