//! The AWS configuration files, as text: which profiles there are and what they say.
//!
//! Read without the AWS SDK, since a warm `get` needs to know whose token it looks for and must not pay for an SDK.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::PathBuf,
};

/// The two files of the AWS configuration.
#[derive(Clone, Default)]
pub struct Profiles {
    config: String,
    credentials: String,
}

/// The keys of one profile; those of the credentials file go before those of the configuration file.
pub(super) type Profile = BTreeMap<String, String>;

impl Profiles {
    /// Reads both files; one that is not there is empty.
    #[must_use]
    pub fn read() -> Self {
        Self {
            config: read("AWS_CONFIG_FILE", "config"),
            credentials: read("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        }
    }

    /// A configuration file that says `config`, and no other.
    #[cfg(test)]
    pub(crate) fn of(config: &str) -> Self {
        Self { config: config.to_owned(), credentials: String::new() }
    }

    /// The profile that the environment selects, and whether it says so itself.
    #[must_use]
    pub fn selected() -> (String, bool) {
        let get = |name: &str| env::var(name).ok().filter(|name| !name.is_empty());
        let named = get("AWS_PROFILE").or_else(|| get("AWS_DEFAULT_PROFILE"));
        let is_named = named.is_some();
        (named.unwrap_or_else(|| "default".to_owned()), is_named)
    }

    /// What a profile says; `None` when neither file has it.
    pub(super) fn profile(&self, name: &str) -> Option<Profile> {
        let in_config: Vec<_> = lines(&self.config, "profile", name).collect();
        let in_credentials: Vec<_> = lines(&self.credentials, "profile", name).collect();
        let exists = |text| headers(text).any(|header| header == ("profile", name));
        if !exists(&self.config) && !exists(&self.credentials) {
            return None;
        }
        let pairs = in_config.into_iter().chain(in_credentials);
        Some(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// The id of the access key that a profile is, unless it leads elsewhere.
    #[must_use]
    pub fn access_key(&self, name: &str) -> Option<String> {
        let mut profile = self.profile(name)?;
        let elsewhere = ["role_arn", "sso_account_id", "login_session", "credential_process"];
        if elsewhere.iter().any(|key| profile.contains_key(*key)) {
            return None;
        }
        profile.remove("aws_access_key_id")
    }

    /// What an `[sso-session]` says.
    pub(super) fn sso_session(&self, name: &str) -> Profile {
        lines(&self.config, "sso-session", name).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// File and line where a profile begins.
    pub(super) fn place(&self, name: &str) -> Option<String> {
        let files = [
            ("AWS_CONFIG_FILE", "config", &self.config),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", &self.credentials),
        ];
        files.into_iter().find_map(|(variable, file, text)| {
            let line = text.lines().position(|line| header(line.trim()) == Some(("profile", name)))?;
            Some(format!("{}:{}", path(variable, file)?.display(), line + 1))
        })
    }

    /// The names of all profiles.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let all = headers(&self.config).chain(headers(&self.credentials));
        all.filter(|(kind, _)| *kind == "profile").map(|(_, name)| name.to_owned()).collect()
    }

    /// The lines of `profile` and of every section it leads to, secrets left out.
    ///
    /// Says too much rather than too little: what differs only costs another mint, what is left out could hand the token
    /// of one role to another.
    #[must_use]
    pub fn describe(&self, profile: &str) -> String {
        let mut description = String::new();
        let mut open = vec![("profile", profile.to_owned())];
        let mut seen = BTreeSet::new();
        while let Some((kind, name)) = open.pop() {
            if !seen.insert((kind, name.clone())) {
                continue;
            }
            for (key, value) in lines(&self.config, kind, &name).chain(lines(&self.credentials, kind, &name)) {
                match key {
                    "aws_secret_access_key" | "aws_session_token" => continue,
                    "source_profile" => open.push(("profile", value.to_owned())),
                    "sso_session" => open.push(("sso-session", value.to_owned())),
                    "services" => open.push(("services", value.to_owned())),
                    _ => {}
                }
                writeln!(description, "[{kind} {name}] {key}={value}").expect("writing to a String cannot fail");
            }
        }
        description
    }
}

fn read(variable: &str, name: &str) -> String {
    path(variable, name).and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
}

fn path(variable: &str, name: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = path.map(|path| match path.strip_prefix("~") {
        Ok(rest) => dirs::home_dir().map_or_else(|| path.clone(), |home| home.join(rest)),
        Err(_) => path,
    });
    path.or_else(|| dirs::home_dir().map(|home| home.join(".aws").join(name)))
}

/// Kind and name of each section, which may be spelled `[profile name]` or `[name]`.
fn headers(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| header(line.trim()))
}

fn header(line: &str) -> Option<(&str, &str)> {
    let header = line.strip_prefix('[')?.split(']').next().unwrap_or_default().trim();
    let words = header.split_once(char::is_whitespace).map(|(kind, name)| (kind, name.trim()));
    Some(words.unwrap_or(("profile", header)))
}

/// The `key = value` lines of one section.
fn lines<'a>(text: &'a str, kind: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut inside = false;
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])).filter_map(move |line| {
        if let Some(found) = header(line) {
            inside = found == (kind, name);
            return None;
        }
        let (key, value) = line.split_once('=').filter(|_| inside)?;
        // a comment may follow a value after white space
        let value = value.split(" #").next().unwrap_or_default();
        let value = value.split(" ;").next().unwrap_or_default();
        Some((key.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
[default]
region = eu-west-1
[profile build]
# role_arn = commented
role_arn = arn:aws:iam::1:role/Build  # the builders
source_profile = base
services = local
[profile base]
sso_session = corp
sso_account_id = 1
[sso-session corp]
sso_start_url = https://corp.example
[services local]
ecr =
  endpoint_url = http://localhost:1
[profile other]
role_arn = arn:aws:iam::2:role/Other
";

    fn profiles(config: &str, credentials: &str) -> Profiles {
        Profiles { config: config.to_owned(), credentials: credentials.to_owned() }
    }

    #[test]
    fn a_chain_of_profiles_is_described_to_its_end() {
        let got = profiles(CONFIG, "").describe("build");
        for part in ["role/Build", "sso_account_id=1", "corp.example", "endpoint_url=http://localhost:1"] {
            assert!(got.contains(part), "{part}: {got}");
        }
        assert!(!got.contains("Other") && !got.contains("commented"), "{got}");
    }

    #[test]
    fn an_edited_role_is_another_identity() {
        let describe = |config: &str| profiles(config, "").describe("build");
        assert_ne!(describe(CONFIG), describe(&CONFIG.replace("role/Build", "role/Admin")));
        assert_eq!(describe(CONFIG), describe(&CONFIG.replace("role/Other", "role/X")));
    }

    #[test]
    fn secrets_are_left_out_and_key_ids_are_not() {
        let credentials =
            "[default]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key = s3cr3t\naws_session_token=t0ken";
        let got = profiles("", credentials).describe("default");
        assert!(got.contains("AKIDEXAMPLE") && !got.contains("s3cr3t") && !got.contains("t0ken"), "{got}");
    }

    #[test]
    fn profiles_that_lead_to_each_other_end() {
        let config = "[profile a]\nsource_profile = b\n[profile b]\nsource_profile = a\n";
        assert_eq!(profiles(config, "").describe("a").lines().count(), 2);
    }

    #[test]
    fn a_profile_is_what_both_files_say_and_the_credentials_file_goes_first() {
        let profiles = profiles(CONFIG, "[build]\nrole_arn = arn:aws:iam::1:role/Later\n[empty]\n");
        let build = profiles.profile("build").unwrap();
        assert_eq!(build["role_arn"], "arn:aws:iam::1:role/Later");
        assert_eq!(build["source_profile"], "base");
        assert_eq!(profiles.profile("empty"), Some(Profile::new()));
        assert_eq!(profiles.profile("corp"), None);
        assert_eq!(profiles.profile("missing"), None);
        assert_eq!(profiles.sso_session("corp")["sso_start_url"], "https://corp.example");
        assert_eq!(profiles.names().into_iter().collect::<Vec<_>>(), ["base", "build", "default", "empty", "other"]);
    }
}
