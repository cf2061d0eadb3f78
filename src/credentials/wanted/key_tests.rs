//! What a token's key is made of: whatever decides whose token it is, and nothing that changes by itself.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

/// Counts whoever the identity is.
const ALWAYS: [&str; 10] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
];
/// Counts where the surroundings are the identity.
const SURROUNDINGS: [&str; 13] = [
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
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
];
const KEYS: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKID");
/// A profile with a role, and one whose role is assumed with what surrounds it.
const CONFIG: &str = "[profile keys]\naws_access_key_id = AKIDPROFILE\n\
                      [profile back]\nrole_arn = arn:role\ncredential_source = Ec2InstanceMetadata\n\
                      [profile further]\nrole_arn = arn:other\nsource_profile = back\n";

/// The description with these variables set, on a machine that was started as `boot`.
fn described(identity: &Identity, set: &[(&str, &str)], boot: &str) -> String {
    let variable = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value));
    describe(identity, &Place { variable: &variable, profiles: &Profiles::of(CONFIG), boot })
}

fn profile(name: &str) -> Identity {
    Identity { profile: Some(name.to_owned()), ..Identity::default() }
}

#[track_caller]
fn distinct(descriptions: impl IntoIterator<Item = String>) {
    let mut seen = BTreeSet::new();
    for description in descriptions {
        assert!(seen.insert(description.clone()), "twice: {description}");
    }
}

#[test]
fn every_variable_with_each_of_its_values_makes_another_key() {
    // what leads back to the surroundings counts them, too
    for identity in [Identity::default(), profile("back"), profile("further")] {
        let names = ALWAYS.iter().chain(&SURROUNDINGS);
        let set = names.flat_map(|name| ["x", "y"].map(|value| described(&identity, &[(name, value)], "")));
        distinct(set.chain([described(&identity, &[], "")]));
    }
}

#[test]
fn an_empty_variable_is_none() {
    for name in ALWAYS.iter().chain(&SURROUNDINGS) {
        assert_eq!(described(&Identity::default(), &[(name, "")], "b"), described(&Identity::default(), &[], "b"));
    }
}

#[test]
fn what_surrounds_a_profile_of_its_own_counts_only_where_it_chooses_the_endpoint() {
    let keys = profile("keys");
    distinct(ALWAYS.iter().map(|name| described(&keys, &[(name, "x")], "")).chain([described(&keys, &[], "")]));
    for name in SURROUNDINGS {
        assert_eq!(described(&keys, &[(name, "x")], ""), described(&keys, &[], ""), "{name}");
    }
}

#[test]
fn every_name_in_an_identity_makes_another_key() {
    let text = |text: &str| Some(text.to_owned());
    let mfa = |serial: &str, command: Option<&str>| Mfa { serial: serial.to_owned(), command: command.map(text_of) };
    let role = |role: Role| Identity { role: Some(role), ..Identity::default() };
    let of_role = |change: fn(&mut Role)| {
        let mut changed = Role { arn: "arn".to_owned(), ..Role::default() };
        change(&mut changed);
        role(changed)
    };
    let identities = [
        Identity::default(),
        profile("a"),
        profile("b"),
        Identity { endpoint_url: text("https://a"), ..Identity::default() },
        Identity { endpoint_url: text("https://b"), ..Identity::default() },
        Identity { mfa: Some(mfa("a", None)), ..Identity::default() },
        Identity { mfa: Some(mfa("b", None)), ..Identity::default() },
        Identity { mfa: Some(mfa("a", Some("command"))), ..Identity::default() },
        of_role(|_| {}),
        of_role(|role| role.arn.push('2')),
        of_role(|role| role.external_id = Some("a".to_owned())),
        of_role(|role| role.external_id = Some("b".to_owned())),
        of_role(|role| role.session_name = Some("a".to_owned())),
        of_role(|role| role.session_name = Some("b".to_owned())),
        of_role(|role| role.duration = Some(Duration::from_mins(15))),
        of_role(|role| role.duration = Some(Duration::from_mins(16))),
        of_role(|role| role.mfa = Some(Mfa { serial: "a".to_owned(), command: None })),
        of_role(|role| role.mfa = Some(Mfa { serial: "b".to_owned(), command: None })),
        of_role(|role| role.mfa = Some(Mfa { serial: "a".to_owned(), command: Some("command".to_owned()) })),
    ];
    distinct(identities.iter().map(|identity| described(identity, &[], "")));
}

fn text_of(text: &str) -> String {
    text.to_owned()
}

/// Whether it matters which start of which machine it is.
#[track_caller]
fn of_the_machine(identity: &Identity, set: &[(&str, &str)], want: bool) {
    let is = described(identity, set, "first start") != described(identity, set, "second start");
    assert_eq!(is, want, "{identity:?} with {set:?}");
}

#[test]
fn the_start_of_the_machine_counts_where_its_own_role_may_be_what_is_found() {
    of_the_machine(&Identity::default(), &[], true);
    of_the_machine(&Identity::default(), &[("AWS_ACCESS_KEY_ID", "")], true);
    of_the_machine(&Identity::default(), &[KEYS], false);
    of_the_machine(&profile("keys"), &[], false);
    for name in ["back", "further"] {
        of_the_machine(&profile(name), &[], true);
        // the profile leads past the keys of the environment
        of_the_machine(&profile(name), &[KEYS], true);
    }
}

/// Writes a web identity token for `claims`, and describes who finds it.
fn bearing(file: &Path, claims: &str, described: impl Fn() -> String) -> String {
    fs::write(file, format!("header.{}.signature", URL_SAFE_NO_PAD.encode(claims))).unwrap();
    described()
}

#[test]
fn a_web_identity_is_known_by_its_subject_whatever_its_file_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let path = file.to_str().unwrap();
    let config = format!("[profile web]\nrole_arn = arn:role\nweb_identity_token_file = {path}\n");
    let of_profile = |identity: &Identity| {
        describe(identity, &Place { variable: &|_| None, profiles: &Profiles::of(&config), boot: "" })
    };
    let ways: [&dyn Fn() -> String; 4] = [
        &|| described(&Identity::default(), &[("AWS_WEB_IDENTITY_TOKEN_FILE", path)], ""),
        &|| described(&Identity::default(), &[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path)], ""),
        &|| described(&profile("back"), &[("AWS_WEB_IDENTITY_TOKEN_FILE", path)], ""),
        &|| of_profile(&profile("web")),
    ];
    for way in ways {
        let one = bearing(&file, r#"{"iss":"cluster","sub":"team-a","exp":1}"#, way);
        assert_eq!(bearing(&file, r#"{"iss":"cluster","sub":"team-a","exp":2,"jti":"new"}"#, way), one);
        let other = bearing(&file, r#"{"iss":"cluster","sub":"team-b","exp":1}"#, way);
        let elsewhere = bearing(&file, r#"{"iss":"another","sub":"team-a","exp":1}"#, way);
        fs::write(&file, "no token at all").unwrap();
        distinct([one, other, elsewhere, way()]);
    }
}

#[test]
fn both_tokens_of_a_pod_are_in_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let (web, pod) = (dir.path().join("web"), dir.path().join("pod"));
    let set = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", web.to_str().unwrap()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", pod.to_str().unwrap()),
    ];
    let found = || described(&Identity::default(), &set, "");
    let one = bearing(&web, r#"{"iss":"c","sub":"a"}"#, || bearing(&pod, r#"{"iss":"c","sub":"a"}"#, found));
    distinct([one, bearing(&pod, r#"{"iss":"c","sub":"b"}"#, found)]);
}
