//! Whose token it is, found without AWS: the environment and the profile sections that name the identity.
//!
//! Says too much rather than too little: what differs only costs another mint, what is left out could hand the token of
//! one role to another. Secrets and session tokens are left out; a rotating access key id in a file is not.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::PathBuf};

use super::Selection;

/// The variables that choose an identity or the endpoint its token is for.
const VARIABLES: [&str; 17] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
];

/// Describes the identity that the AWS credential chain would find now, with the rights of `selection`.
pub(super) fn describe(selection: &Selection) -> String {
    let mut description = String::new();
    // a profile that was selected beats both
    let beaten = |name: &str| selection.profile.is_some() && matches!(name, "AWS_PROFILE" | "AWS_ACCESS_KEY_ID");
    for name in VARIABLES.into_iter().filter(|name| !beaten(name)) {
        if let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) {
            writeln!(description, "{name}={}", value.display()).expect("writing to a String cannot fail");
        }
    }
    if let Some(profile) = &selection.profile {
        writeln!(description, "AWS_PROFILE={profile}").expect("writing to a String cannot fail");
    }
    let profile = selection.profile.clone().or_else(|| env::var("AWS_PROFILE").ok());
    let profile = profile.unwrap_or_else(|| "default".to_owned());
    let config = read("AWS_CONFIG_FILE", "config");
    let credentials = read("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    description.push_str(&sections(&profile, &config, &credentials));
    description
}

fn read(variable: &str, name: &str) -> String {
    let path = env::var_os(variable).map(PathBuf::from);
    let path = path.or_else(|| dirs::home_dir().map(|home| home.join(".aws").join(name)));
    path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
}

/// The lines of `profile` and of every section it leads to, secrets left out.
fn sections(profile: &str, config: &str, credentials: &str) -> String {
    let mut description = String::new();
    let mut open = vec![("profile", profile.to_owned())];
    let mut seen = BTreeSet::new();
    while let Some((kind, name)) = open.pop() {
        if !seen.insert((kind, name.clone())) {
            continue;
        }
        for (key, value) in lines(config, kind, &name).chain(lines(credentials, kind, &name)) {
            match key {
                "aws_secret_access_key" | "aws_session_token" => continue,
                "source_profile" => open.push(("profile", value.to_owned())),
                "sso_session" => open.push(("sso-session", value.to_owned())),
                _ => {}
            }
            writeln!(description, "[{kind} {name}] {key}={value}").expect("writing to a String cannot fail");
        }
    }
    description
}

/// The `key = value` lines of one section, which may be spelled `[profile name]` or `[name]`.
fn lines<'a>(text: &'a str, kind: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut inside = false;
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])).filter_map(move |line| {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            let words = header.split_once(char::is_whitespace).map(|(kind, name)| (kind, name.trim()));
            let (found_kind, found) = words.unwrap_or(("profile", header));
            inside = found_kind == kind && found == name;
            return None;
        }
        let (key, value) = line.split_once('=').filter(|_| inside)?;
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
role_arn = arn:aws:iam::1:role/Build
source_profile = base
[profile base]
sso_session = corp
sso_account_id = 1
[sso-session corp]
sso_start_url = https://corp.example
[profile other]
role_arn = arn:aws:iam::2:role/Other
";

    #[test]
    fn a_chain_of_profiles_is_described_to_its_end() {
        let got = sections("build", CONFIG, "");
        assert!(
            got.contains("role/Build") && got.contains("sso_account_id=1") && got.contains("corp.example"),
            "{got}"
        );
        assert!(!got.contains("Other") && !got.contains("commented"), "{got}");
    }

    #[test]
    fn an_edited_role_is_another_identity() {
        let edited = CONFIG.replace("role/Build", "role/Admin");
        assert_ne!(sections("build", CONFIG, ""), sections("build", &edited, ""));
        assert_eq!(sections("build", CONFIG, ""), sections("build", &CONFIG.replace("role/Other", "role/X"), ""));
    }

    #[test]
    fn secrets_are_left_out_and_key_ids_are_not() {
        let credentials =
            "[default]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key = s3cr3t\naws_session_token=t0ken";
        let got = sections("default", "", credentials);
        assert!(got.contains("AKIDEXAMPLE") && !got.contains("s3cr3t") && !got.contains("t0ken"), "{got}");
    }

    #[test]
    fn profiles_that_lead_to_each_other_end() {
        let config = "[profile a]\nsource_profile = b\n[profile b]\nsource_profile = a\n";
        assert_eq!(sections("a", config, "").lines().count(), 2);
    }
}
