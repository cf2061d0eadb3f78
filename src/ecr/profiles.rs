//! The AWS configuration files, as text: which profiles there are and what they say.
//!
//! Read without the AWS SDK, since a warm `get` needs to know whose token it looks for and must not pay for an SDK.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    failure::MintError,
    ini::{Kind, Text},
    order::{self, Way},
    variable::variable,
};

/// The two files of the AWS configuration.
#[derive(Clone, Default)]
pub struct Profiles {
    config: String,
    credentials: String,
    /// A file that is there and cannot be read, and why.
    unreadable: Option<(PathBuf, String)>,
}

const FILES: [(&str, &str); 2] = [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")];

/// The keys of one profile; those of the credentials file go before those of the configuration file.
pub(super) type Profile = BTreeMap<String, String>;

impl Profiles {
    /// Reads both files; one that is not there is empty, and so for the time being is one that cannot be read.
    #[must_use]
    pub fn read() -> Self {
        let mut unreadable = None;
        let [config, credentials] = FILES.map(|(variable, name)| {
            read(variable, name).unwrap_or_else(|problem| {
                unreadable.get_or_insert(problem);
                String::new()
            })
        });
        Self { config, credentials, unreadable }
    }

    /// That nothing was lost in reading: asked by who needs what the files say.
    pub(super) fn check(&self) -> Result<(), MintError> {
        let Some((path, why)) = &self.unreadable else { return Ok(()) };
        let (path, named) = (path.display(), FILES.map(|(variable, _)| variable).join(" or "));
        let remedy = format!("make {path} readable for this user, or name another file with {named}");
        Err(MintError::credentials(format!("the AWS configuration {path} cannot be read: {why}"), remedy))
    }

    /// Both files as they were read.
    pub(super) fn texts(&self) -> [Text<'_>; 2] {
        let text = |kind, text| Text { kind, text };
        [text(Kind::Config, self.config.as_str()), text(Kind::Credentials, self.credentials.as_str())]
    }

    /// A configuration file that says `config`, and no other.
    #[cfg(test)]
    pub(crate) fn of(config: &str) -> Self {
        Self { config: config.to_owned(), ..Self::default() }
    }

    /// The profile that the environment selects, and whether it says so itself.
    #[must_use]
    pub fn selected() -> (String, bool) {
        let named = variable("AWS_PROFILE").or_else(|| variable("AWS_DEFAULT_PROFILE"));
        let is_named = named.is_some();
        (named.unwrap_or_else(|| "default".to_owned()), is_named)
    }

    /// What a profile says; `None` when neither file has it.
    pub(super) fn profile(&self, name: &str) -> Option<Profile> {
        self.place("profile", name)?;
        let lines = self.texts().into_iter().flat_map(|text| text.lines("profile", name));
        let own = lines.filter(|line| line.below.is_none());
        Some(own.map(|line| (line.key, line.value.to_owned())).collect())
    }

    /// The id of the access key that a profile is, unless it leads elsewhere.
    #[must_use]
    pub fn access_key(&self, name: &str) -> Option<String> {
        let mut profile = self.profile(name)?;
        if order::way(&profile) != Some(Way::Key) {
            return None;
        }
        profile.remove("aws_access_key_id")
    }

    /// What an `[sso-session]` says.
    pub(super) fn sso_session(&self, name: &str) -> Profile {
        let [config, _] = self.texts();
        config.lines("sso-session", name).map(|line| (line.key, line.value.to_owned())).collect()
    }

    /// What a `[services]` section says: service, key and value.
    pub(super) fn services(&self, name: &str) -> Vec<(String, String, String)> {
        let [config, _] = self.texts();
        let lines = config.lines("services", name);
        lines.filter_map(|line| Some((line.below?.to_ascii_lowercase(), line.key, line.value.to_owned()))).collect()
    }

    /// File and line where a section begins.
    pub(super) fn place(&self, section: &str, name: &str) -> Option<String> {
        FILES.into_iter().zip(self.texts()).find_map(|((variable, file), text)| {
            let line = text.place(section, name)?;
            // the text of a file without a name is a test's
            let path = path(variable, file).unwrap_or_default();
            Some(format!("{}:{line}", path.display()))
        })
    }

    /// The names of all profiles.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.texts().into_iter().flat_map(Text::profiles).map(ToOwned::to_owned).collect()
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
            for line in self.texts().into_iter().flat_map(|text| text.lines(kind, &name)) {
                let (key, mut value) = (line.key, line.value);
                match key.as_str() {
                    // only whether there is one, which decides what else of the profile counts
                    "aws_secret_access_key" | "aws_session_token" => value = if value.is_empty() { "" } else { "…" },
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

/// The text of a file: what is not UTF-8 in it is in comments, or would be wrong whatever is done.
fn read(variable: &str, name: &str) -> Result<String, (PathBuf, String)> {
    let Some(path) = path(variable, name) else { return Ok(String::new()) };
    match fs::read(&path) {
        Ok(bytes) => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(bytes);
            let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Ok(String::from_utf8(bytes).unwrap_or_else(|error| lossy(error.into_bytes())))
        }
        Err(error) if is_absent(&path, &error) => Ok(String::new()),
        Err(error) => Err((path, error.to_string())),
    }
}

/// A file in a folder that is not ours to enter counts as absent: the user's home may be closed to a service.
fn is_absent(path: &Path, error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || fs::metadata(path).is_err()
}

fn path(variable: &str, name: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = path.map(|path| match path.strip_prefix("~") {
        Ok(rest) => dirs::home_dir().map_or_else(|| path.clone(), |home| home.join(rest)),
        Err(_) => path,
    });
    path.or_else(|| dirs::home_dir().map(|home| home.join(".aws").join(name)))
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
        Profiles { config: config.to_owned(), credentials: credentials.to_owned(), unreadable: None }
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
        // without its secret the key counts no more
        assert_ne!(profiles("", &credentials.replace("s3cr3t", "")).describe("default"), got);
        assert_eq!(profiles("", &credentials.replace("s3cr3t", "other")).describe("default"), got);
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
