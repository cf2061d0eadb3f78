//! AWS credentials and the way to AWS: which source is used, which one is in another's way, what a proxy does.

use std::fs;

use crate::{
    fake_ecr::{Knob, Listener},
    rig::REGISTRY,
};

use super::patient::{PASSWORD, Patient};

const OFFLINE: &[&str] = &["--json", "--offline", REGISTRY];

#[tokio::test]
async fn sources_of_credentials_that_stand_in_each_others_way() {
    const KEYS: &str = "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN";
    let profile = format!("[build]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {PASSWORD}\n");
    let credentials = profile.replace("build", "default") + &profile;
    let healthy = async || {
        let patient = Patient::healthy().await;
        let aws = patient.home().join(".aws");
        fs::create_dir(&aws).unwrap();
        fs::write(aws.join("credentials"), &credentials).unwrap();
        patient
    };
    let patient = healthy().await.with("AWS_PROFILE", "build");
    patient.has_and_is_mended("source-profile", "warning", &format!("unset {KEYS}"));
    let patient = healthy().await.with("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").with("AWS_SESSION_TOKEN", PASSWORD);
    patient.has_and_is_mended("source-environment", "problem", "unset AWS_SESSION_TOKEN");
    let patient = healthy().await.without("AWS_SECRET_ACCESS_KEY");
    patient.has_and_is_mended("source-environment", "problem", "unset AWS_ACCESS_KEY_ID");
    let patient = healthy().await.with("AWS_ACCESS_KEY_ID", "").with("AWS_PROFILE", "nobody");
    patient.has("source-profile", "problem", "aws configure --profile nobody");
    let found = patient.finding(&["--json", REGISTRY], "source-profile")["found"].as_str().unwrap().to_owned();
    assert!(found.contains("there: build, default"), "{found}");

    // nothing anywhere
    let patient = Patient::healthy().await.with("AWS_ACCESS_KEY_ID", "");
    patient.has("source", "problem", "aws configure, aws sso login, or AWS_PROFILE");
}

#[tokio::test]
async fn a_sign_in_that_is_over() {
    let patient = Patient::healthy().await.with("AWS_ACCESS_KEY_ID", "").with("AWS_PROFILE", "corp");
    let aws = patient.home().join(".aws");
    let cache = aws.join("sso/cache");
    fs::create_dir_all(&cache).unwrap();
    let config = "[profile corp]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Pull\n\
                  [sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = us-east-1\n";
    fs::write(aws.join("config"), config).unwrap();
    let remedy = "aws sso login --sso-session corp";
    patient.has("source-profile", "problem", remedy);
    let file = cache.join(sha1_of_corp());
    let sign_in = |hours: i64| {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let end = end.strftime("%Y-%m-%dT%H:%M:%SZ");
        fs::write(&file, format!("{{\"accessToken\": \"{PASSWORD}\", \"expiresAt\": \"{end}\"}}")).unwrap();
    };
    sign_in(-3);
    patient.has("source-profile", "problem", remedy);
    let found = patient.finding(&["--json", REGISTRY], "source-profile")["found"].as_str().unwrap().to_owned();
    assert!(found.ends_with("the sign-in ended 3 h ago"), "{found}");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace('}', ", \"refreshToken\": \"hunter2-of-somebody\"}")).unwrap();
    let renewable = patient.finding(OFFLINE, "source-profile");
    assert_eq!(renewable["state"], "ok");
    assert!(
        renewable["found"].as_str().unwrap().ends_with("ended 3 h ago and renews itself when it is used"),
        "{renewable}"
    );
    sign_in(5);
    patient.is_well_with(&["--json", "--offline", REGISTRY]);
}

/// The name of the sign-in's file, as the AWS CLI has it.
fn sha1_of_corp() -> String {
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, b"corp");
    let hex: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}.json", hex.concat())
}

#[tokio::test]
async fn a_source_is_described_to_its_end() {
    let patient = Patient::healthy().await.with("AWS_ACCESS_KEY_ID", "").with("AWS_PROFILE", "build");
    let aws = patient.home().join(".aws");
    fs::create_dir(&aws).unwrap();
    let role = "[profile build]\nrole_arn = arn:aws:iam::1:role/Build\nsource_profile = base\nmfa_serial = device\n";
    let place = |line| format!("{}:{line}", aws.join("config").display());
    for (base, state, end) in [
        ("", "problem", "profile \"base\" is not in the AWS configuration (there: build)".to_owned()),
        (
            "[profile base]\ncredential_process = /opt/keys --password hunter2-of-somebody",
            "ok",
            format!("profile \"base\" ({}): credential_process /opt/keys", place(5)),
        ),
        (
            "[profile base]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = hunter2-of-somebody",
            "ok",
            format!("profile \"base\" ({}): access key AKIA…MPLE", place(5)),
        ),
    ] {
        fs::write(aws.join("config"), format!("{role}{base}\n")).unwrap();
        let source = patient.finding(OFFLINE, "source-profile");
        assert_eq!(source["state"], state, "{source}");
        let found = source["found"].as_str().unwrap();
        let begin = format!("AWS_PROFILE=build: profile \"build\" ({}): role arn:aws:iam::1:role/Build", place(1));
        assert!(found.contains(&begin) && found.ends_with(&end), "{found}");
    }
}

#[tokio::test]
async fn a_web_identity_goes_before_the_profile_that_was_chosen() {
    let patient = Patient::healthy().await.with("AWS_ACCESS_KEY_ID", "").with("AWS_PROFILE", "nobody");
    let token = patient.home().join("token").display().to_string();
    let patient = patient.with("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    let remedy = |id| patient.finding(OFFLINE, id)["remedy"].as_str().unwrap_or_default().to_owned();
    assert_eq!(remedy("source-web-identity"), "set AWS_ROLE_ARN to the role the token is for");
    let patient = patient.with("AWS_ROLE_ARN", "arn:aws:iam::1:role/Pull");
    let remedy = |id| patient.finding(OFFLINE, id)["remedy"].as_str().unwrap_or_default().to_owned();
    assert_eq!(remedy("source-web-identity"), format!("make {token} readable for this user"));
    fs::write(&token, PASSWORD).unwrap();
    assert_eq!(patient.finding(OFFLINE, "source-web-identity")["state"], "ok");
    assert_eq!(remedy("source-profile"), "unset AWS_WEB_IDENTITY_TOKEN_FILE");
}

#[tokio::test]
async fn the_rule_that_names_an_identity_is_shown_with_its_line() {
    let patient = Patient::healthy().await;
    let text = fs::read_to_string(patient.config()).unwrap();
    let line = text.lines().count() + 2;
    fs::write(patient.config(), format!("{text}[[registry]]\nmatch = \"123456789012\"\nprofile = \"build\"\n"))
        .unwrap();
    let found = |patient: &Patient, id| patient.finding(OFFLINE, id)["found"].as_str().unwrap().to_owned();
    assert_eq!(found(&patient, "identity"), format!("profile build, by {}:{line}", patient.config().display()));
    patient.has("source-profile", "problem", "aws configure --profile build");
    let patient = patient.with("AWS_PROFILE_123456789012", "other");
    assert_eq!(found(&patient, "identity"), "profile other, by AWS_PROFILE_123456789012");
}

#[tokio::test]
async fn the_api_is_tried_without_a_signature() {
    let patient = Patient::healthy().await;
    patient.is_well();
    patient.rig.ecr.clear_requests();
    patient.is_well();
    let asked = patient.rig.ecr.requests_to(Listener::Api);
    assert_eq!(asked.len(), 1, "the token is at hand: {asked:?}");
    assert_eq!((asked[0].header("authorization"), asked[0].header("x-amz-date")), (None, None));
}

#[tokio::test]
async fn the_way_over_a_proxy_is_named_without_its_password() {
    let patient = Patient::healthy().await.without("AWS_ENDPOINT_URL_ECR");
    patient.rig.ecr.set(Knob::ProxyCredentials(Some(format!("user:{PASSWORD}"))));
    let bare = patient.rig.ecr.proxy_url();
    let proxy = bare.replace("http://", &format!("http://user:{PASSWORD}@"));
    let ca = patient.rig.dir.path().join("ca.pem").display().to_string();
    let refused = patient.with("HTTPS_PROXY", &bare).with("AWS_CA_BUNDLE", &ca);
    let endpoint = refused.finding(&["--json", REGISTRY], "endpoint");
    assert_eq!(endpoint["remedy"], "write them into HTTPS_PROXY, as http://user:password@host:port", "{endpoint}");
    let patient = refused.with("HTTPS_PROXY", &proxy);
    patient.is_well();
    let found = patient.finding(&["--json", REGISTRY], "endpoint")["found"].as_str().unwrap().to_owned();
    assert!(found.starts_with("https://api.ecr.us-east-1.amazonaws.com answered in "), "{found}");
    assert!(found.ends_with(&format!("(HTTPS_PROXY={})", bare.trim_end_matches('/'))), "{found}");
    let patient = patient.without("AWS_CA_BUNDLE");
    let endpoint = patient.finding(&["--json", REGISTRY], "endpoint");
    assert!(endpoint["remedy"].as_str().unwrap().contains("AWS_CA_BUNDLE"), "{endpoint}");
}
