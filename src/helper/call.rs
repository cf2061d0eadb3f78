//! [`Call`]: by which name and with which arguments the program was called.
//!
//! A name only chooses; it never grants: what a link is called is up to whoever can make one.

use std::{ffi::OsString, path::Path};

use crate::credentials::Selection;

const NAME: &str = "docker-credential-longshore";
/// Behind it stands the AWS profile that is used for everything.
const WITH_PROFILE: &str = "docker-credential-longshore-";
/// What the kubelet's configuration calls the plug-in for ECR.
const KUBELET_NAME: &str = "ecr-credential-provider";

/// One call of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    name: String,
    pub(super) selection: Selection,
    pub(super) asked: Asked,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A verb of Docker's protocol.
    Verb(String),
    /// The kubelet's protocol, with the arguments of its configuration.
    Kubelet(Vec<OsString>),
    /// Nothing: the kubelet calls so, and so does a person.
    Nothing,
    /// More than one verb.
    TooMuch,
}

impl Call {
    /// The call as the system hands it over: the name first.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut arguments = arguments.into_iter();
        let path = arguments.next().unwrap_or_default();
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let arguments: Vec<OsString> = arguments.collect();
        let asked = match arguments.as_slice() {
            _ if name == KUBELET_NAME => Asked::Kubelet(arguments),
            [] => Asked::Nothing,
            [verb] => Asked::Verb(verb.to_string_lossy().into_owned()),
            _ => Asked::TooMuch,
        };
        let profile = name.strip_prefix(WITH_PROFILE).filter(|profile| !profile.is_empty()).map(str::to_owned);
        Self { name, selection: Selection { profile }, asked }
    }

    /// The call of one verb of Docker's protocol, with the rights of `selection`.
    #[must_use]
    pub fn verb(verb: String, selection: Selection) -> Self {
        Self { name: NAME.to_owned(), selection, asked: Asked::Verb(verb) }
    }

    /// The name that answers go by.
    pub(super) fn name(&self) -> &str {
        if self.name.starts_with("docker-credential-") { &self.name } else { NAME }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Call {
        Call::of(words.iter().map(OsString::from))
    }

    #[track_caller]
    fn check(path: &str, name: &str, profile: Option<&str>) {
        let call = call(&[path, "get"]);
        assert_eq!((call.name(), call.selection.profile.as_deref()), (name, profile), "{path}");
        assert_eq!(call.asked, Asked::Verb("get".to_owned()));
    }

    #[test]
    fn the_name_chooses_the_profile() {
        check("docker-credential-longshore", NAME, None);
        check("/usr/bin/docker-credential-longshore", NAME, None);
        check("/opt/docker-credential-longshore-prod", "docker-credential-longshore-prod", Some("prod"));
        check("docker-credential-longshore-a-b.c", "docker-credential-longshore-a-b.c", Some("a-b.c"));
        check("docker-credential-longshore-", "docker-credential-longshore-", None);
        check("docker-credential-ecr-login", "docker-credential-ecr-login", None);
        check("renamed", NAME, None);
        check("", NAME, None);
    }

    #[test]
    fn the_kubelet_is_known_by_the_name_it_calls() {
        assert_eq!(call(&["/x/ecr-credential-provider"]).asked, Asked::Kubelet(Vec::new()));
        assert_eq!(call(&["ecr-credential-provider", "--v=2"]).asked, Asked::Kubelet(vec!["--v=2".into()]));
        assert_eq!(call(&["docker-credential-longshore"]).asked, Asked::Nothing);
        assert_eq!(call(&["docker-credential-longshore", "get", "x"]).asked, Asked::TooMuch);
    }
}
