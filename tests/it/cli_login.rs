//! `longshore login`: the sign-in to IAM Identity Center with a device code, one-time codes, and what is left behind.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    fake_ecr::{DeviceSignIn, Knob, cache_sso_token},
    rig::{REGISTRY, Rig, program, run, text},
};

const START: &str = "https://corp.awsapps.com/start";
const ROLE: &str = "arn:aws:iam::123456789012:role/puller";
const SERIAL: &str = "arn:aws:iam::123456789012:mfa/me";
/// Nothing takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// A rig whose AWS configuration is `config`, after a session and an older profile that sign in at the same page.
async fn rig(config: &str) -> Rig {
    let rig = Rig::start().await;
    let aws = rig.dir.path().join("home/.aws");
    fs::create_dir_all(&aws).unwrap();
    let sessions = format!(
        "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = {START}\n\
         [profile session]\nsso_session = corp\nsso_account_id = 210987654321\nsso_role_name = Developer\n\
         [profile old]\nsso_start_url = {START}\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = Old\n\
         [profile role]\nrole_arn = {ROLE}\nsource_profile = session\n"
    );
    fs::write(aws.join("config"), format!("{sessions}{config}")).unwrap();
    rig
}

/// A program without the keys of the rig's environment, all of its AWS at the fake.
fn bare(rig: &Rig, path: &str) -> Command {
    let mut command = program(path, &rig.ecr, rig.dir.path());
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_ENDPOINT_URL", rig.ecr.api_url());
    command
}

fn longshore(rig: &Rig, arguments: &[&str]) -> Command {
    let mut command = bare(rig, env!("CARGO_BIN_EXE_longshore"));
    command.args(arguments);
    command
}

fn get(rig: &Rig, profile: &str) -> Output {
    let mut command = bare(rig, env!("CARGO_BIN_EXE_docker-credential-longshore"));
    run(command.env("AWS_PROFILE", profile).arg("get"), REGISTRY)
}

/// The standard output of a command that went well.
#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Standard error of a command that failed, and printed nothing.
#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{output:?}");
    text(&output.stderr)
}

/// A login that waits for a person.
struct Login(Child, BufReader<std::process::ChildStderr>, String);

impl Login {
    /// Starts it and reads what the person is asked.
    fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("confirm this code") && stderr.read_line(&mut said).unwrap() > 0 {}
        Self(child, stderr, said)
    }

    /// Waits for its end.
    fn end(mut self) -> Output {
        let mut rest = String::new();
        self.1.read_to_string(&mut rest).unwrap();
        let output = self.0.wait_with_output().unwrap();
        Output { stderr: rest.into_bytes(), ..output }
    }
}

/// Waits until the fake was asked `count` times.
async fn asked(rig: &Rig, action: &str, count: usize) {
    let deadline = Instant::now() + HANGS;
    while rig.ecr.count_calls(action) < count {
        assert!(Instant::now() < deadline, "{action}: {:?}", rig.ecr.calls());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The file of the AWS CLI's sign-in, of which there is one.
fn sign_in(rig: &Rig) -> (PathBuf, Value) {
    let files: Vec<_> = fs::read_dir(rig.dir.path().join("home/.aws/sso/cache")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    (files[0].path(), serde_json::from_slice(&fs::read(files[0].path()).unwrap()).unwrap())
}

#[tokio::test]
async fn a_person_signs_in_and_what_is_left_is_what_the_aws_cli_leaves() {
    let rig = rig("").await;
    let login = Login::start(longshore(&rig, &["login", REGISTRY, "--profile", "role"]));
    let said = login.2.clone();
    assert!(said.contains("SSO session \"corp\""), "{said}");
    let link = "https://device.sso.us-east-1.amazonaws.com/?user_code=FAKE-";
    assert!(said.contains(link) && said.contains("confirm this code there: FAKE-"), "{said}");
    asked(&rig, "CreateToken", 2).await;
    assert_eq!(rig.mints(), 0);
    rig.ecr.set(Knob::DeviceSignIn(DeviceSignIn::Approved));
    let output = login.end();
    let printed = printed(&output);
    let wanted = format!("{REGISTRY}: a token for ECR in us-east-1 as profile role, good until ");
    assert!(printed.starts_with(&wanted) && printed.ends_with("(in 11 h)\n"), "{printed}");
    let calls = rig.ecr.calls();
    let call = |action: &str| calls.iter().find(|call| call.action == action).unwrap();
    assert_eq!(call("RegisterClient").parameter("clientName"), "longshore");
    assert_eq!(call("RegisterClient").parameter("clientType"), "public");
    assert_eq!(call("RegisterClient").parameter("scopes"), "[\"sso:account:access\"]");
    assert_eq!(call("StartDeviceAuthorization").parameter("startUrl"), START);
    assert_eq!(call("AssumeRole").parameter("RoleArn"), ROLE);
    let (path, kept) = sign_in(&rig);
    // the name that `aws sso login` gives the file of a session called "corp"
    let (home, elsewhere) = (rig.dir.path().join("home"), rig.dir.path().join("elsewhere"));
    let wanted = cache_sso_token(&elsewhere, "corp", &kept);
    assert_eq!(path.strip_prefix(home), wanted.strip_prefix(elsewhere));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let keys: Vec<_> = kept.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = [
        "startUrl",
        "region",
        "accessToken",
        "expiresAt",
        "clientId",
        "clientSecret",
        "registrationExpiresAt",
        "refreshToken",
    ];
    assert_eq!(keys, wanted);
    assert_eq!((kept["startUrl"].as_str(), kept["region"].as_str()), (Some(START), Some("eu-west-1")));
    let is_time = |name: &str| kept[name].as_str().unwrap().len() == 20 && kept[name].as_str().unwrap().ends_with('Z');
    assert!(is_time("expiresAt") && is_time("registrationExpiresAt"), "{kept}");
    for name in ["accessToken", "clientSecret", "refreshToken"] {
        let secret = kept[name].as_str().unwrap();
        assert!(![&said, &printed, &text(&output.stderr)].iter().any(|shown| shown.contains(secret)), "{name}");
    }
    // and the SDK takes it for another profile of the session
    let output = get(&rig, "session");
    assert!(output.status.success(), "{output:?}");
    let bearer = rig.ecr.calls().iter().rev().find(|call| call.action == "GetRoleCredentials").cloned().unwrap();
    assert_eq!(bearer.parameter("x-amz-sso_bearer_token"), kept["accessToken"]);
    assert_eq!((rig.mints(), rig.ecr.count_calls("RegisterClient")), (2, 1));
}

#[tokio::test]
async fn a_profile_of_the_older_form_signs_in_as_the_aws_cli_does() {
    let rig = rig("").await;
    rig.ecr.set(Knob::DeviceSignIn(DeviceSignIn::Approved));
    let output = run(longshore(&rig, &["login", "--profile", "old"]).env("AWS_PROFILE", "session"), "");
    let said = printed(&output);
    assert!(said.starts_with("the SSO sign-in of profile \"old\" is signed in until "), "{said}");
    assert_eq!(rig.ecr.calls()[0].parameter("scopes"), "");
    assert_eq!((rig.ecr.count_calls("CreateToken"), rig.mints()), (1, 0));
    assert!(get(&rig, "old").status.success());
    // and nobody is asked twice
    printed(&run(longshore(&rig, &["login", REGISTRY, "--profile", "old"]).stdin(Stdio::null()), ""));
    assert_eq!(rig.ecr.count_calls("RegisterClient"), 1);
}

#[tokio::test]
async fn a_sign_in_that_is_denied_or_left_says_so_and_leaves_nothing() {
    let rig = rig("").await;
    for (stand, cause, remedy) in [
        (DeviceSignIn::Denied, "denied in the browser", "allow it there"),
        (DeviceSignIn::Expired, "nobody confirmed the code", "open the page soon"),
    ] {
        rig.ecr.set(Knob::DeviceSignIn(stand));
        let said = refused(&run(&mut longshore(&rig, &["login", REGISTRY, "--profile", "session"]), ""));
        assert!(said.contains(cause) && said.contains(remedy), "{said}");
        assert!(!rig.dir.path().join("home/.aws/sso").exists());
    }
    rig.ecr.set(Knob::Refuse("StartDeviceAuthorization".to_owned(), "InvalidRequestException".to_owned()));
    let said = refused(&run(&mut longshore(&rig, &["login", "--profile", "session"]), ""));
    assert!(said.contains("StartDeviceAuthorization: InvalidRequestException") && said.contains(START), "{said}");
    assert_eq!(rig.mints(), 0);
}

#[tokio::test]
async fn a_service_that_asks_for_patience_gets_it() {
    let rig = rig("").await;
    rig.ecr.set(Knob::DeviceSignIn(DeviceSignIn::SlowDown));
    let login = Login::start(longshore(&rig, &["login", "--profile", "session"]));
    asked(&rig, "CreateToken", 1).await;
    let since = Instant::now();
    rig.ecr.set(Knob::DeviceSignIn(DeviceSignIn::Approved));
    printed(&login.end());
    assert!(since.elapsed() > Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(rig.ecr.count_calls("CreateToken"), 2);
}

#[tokio::test]
async fn a_sign_in_that_can_be_renewed_needs_no_person() {
    let rig = rig("").await;
    let token = json!({
        "accessToken": "stale", "expiresAt": "2024-01-01T00:00:00Z", "refreshToken": "refresh", "clientId": "client",
        "clientSecret": "secret", "registrationExpiresAt": "2099-01-01T00:00:00Z", "region": "eu-west-1", "startUrl": START,
    });
    cache_sso_token(&rig.dir.path().join("home"), "corp", &token);
    let output = run(&mut longshore(&rig, &["login", "--profile", "session"]), "");
    assert!(printed(&output).contains("is signed in until"), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(rig.ecr.calls()[0].parameter("refreshToken"), "refresh");
    let (_, kept) = sign_in(&rig);
    assert_ne!(kept["accessToken"], "stale");
    assert_eq!((rig.ecr.count_calls("CreateToken"), rig.ecr.count_calls("RegisterClient")), (1, 0));
}

#[tokio::test]
async fn a_sign_in_that_looks_good_and_is_not_taken_any_more_is_made_anew() {
    let rig = rig("").await;
    let token = json!({
        "accessToken": "revoked", "expiresAt": "2099-01-01T00:00:00Z", "region": "eu-west-1", "startUrl": START,
    });
    cache_sso_token(&rig.dir.path().join("home"), "corp", &token);
    rig.ecr.set(Knob::DeviceSignIn(DeviceSignIn::Approved));
    let output = run(&mut longshore(&rig, &["login", REGISTRY, "--profile", "session"]), "");
    assert!(printed(&output).contains("good until"), "{output:?}");
    assert_eq!((rig.ecr.count_calls("RegisterClient"), rig.mints()), (1, 1));
}

#[tokio::test]
async fn the_page_is_opened_in_the_browser_if_there_is_one() {
    let rig = rig("").await;
    let (folder, opened) = (rig.dir.path().join("bin"), rig.dir.path().join("opened"));
    fs::create_dir(&folder).unwrap();
    for name in ["xdg-open", "open"] {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\necho \"$1\" > '{}'\n", opened.display())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let start = |more: &[&str]| {
        let mut command = longshore(&rig, &[&["login", "--profile", "session"], more].concat());
        command.env("PATH", &folder).env("DISPLAY", ":0");
        Login::start(command)
    };
    let hidden = start(&["--no-browser"]);
    asked(&rig, "CreateToken", 1).await;
    assert!(!opened.exists());
    let shown = start(&[]);
    let deadline = Instant::now() + HANGS;
    while fs::read_to_string(&opened).unwrap_or_default().is_empty() {
        assert!(Instant::now() < deadline, "no browser was opened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let page = fs::read_to_string(&opened).unwrap();
    assert!(page.starts_with("https://") && shown.2.contains(page.trim()), "{page}");
    rig.ecr.set(Knob::DeviceSignIn(DeviceSignIn::Approved));
    printed(&hidden.end());
    printed(&shown.end());
}

#[tokio::test]
async fn other_sources_are_named_and_not_renewed() {
    let rig = rig("[profile console]\nlogin_session = arn:aws:iam::123456789012:user/me\n").await;
    let said = refused(&run(&mut longshore(&rig, &["login", "--profile", "console"]), ""));
    assert!(said.contains("run: aws login --profile console"), "{said}");
    let said = refused(&rig.longshore(&["login"]));
    assert!(
        said.contains("the AWS credential chain has no sign-in") && said.contains("longshore login REGISTRY"),
        "{said}"
    );
    assert!(rig.ecr.calls().is_empty());
    let said = refused(&run(&mut longshore(&rig, &["login", "ghcr.io"]), ""));
    assert!(said.contains("not an Amazon ECR registry"), "{said}");
}

#[tokio::test]
async fn a_failure_of_a_moment_ago_is_forgotten() {
    let rig = rig("").await;
    let get = || {
        let mut command = bare(&rig, env!("CARGO_BIN_EXE_docker-credential-longshore"));
        text(&run(command.arg("get"), REGISTRY).stderr)
    };
    let is_remembered = |said: &str| said.contains("not tried again");
    assert!(!is_remembered(&get()));
    assert!(is_remembered(&get()));
    refused(&run(&mut longshore(&rig, &["login"]), ""));
    assert!(!is_remembered(&get()));
    assert!(is_remembered(&get()));
    let said = refused(&run(&mut longshore(&rig, &["login", REGISTRY]), ""));
    assert!(said.contains("no AWS credentials were found") && !is_remembered(&said), "{said}");
}

#[tokio::test]
async fn a_login_mints_anew_and_a_token_at_hand_outlives_one_that_fails() {
    let rig = Rig::start().await;
    let before = rig.helper("get", REGISTRY).stdout;
    printed(&rig.longshore(&["login", REGISTRY]));
    let after = rig.helper("get", REGISTRY).stdout;
    assert_ne!(before, after);
    assert_eq!(rig.mints(), 2);
    rig.ecr.set(Knob::Refuse("GetAuthorizationToken".to_owned(), "AccessDeniedException".to_owned()));
    let said = refused(&rig.longshore(&["login", REGISTRY]));
    assert!(said.contains("AccessDeniedException"), "{said}");
    assert_eq!(rig.helper("get", REGISTRY).stdout, after);
}

/// util-linux's `script` gives the program a terminal of its own.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_role_that_wants_a_code_asks_on_the_terminal_once() {
    let keys = "[profile keys]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n";
    let mfa = format!("[profile mfa]\nrole_arn = {ROLE}\nsource_profile = keys\nmfa_serial = {SERIAL}\n");
    let rig = rig(&format!("{keys}{mfa}")).await;
    rig.ecr.set(Knob::RequireMfa(ROLE.to_owned(), SERIAL.to_owned(), "123456".to_owned()));
    let words = format!("'{}' login {REGISTRY} --profile mfa", env!("CARGO_BIN_EXE_longshore"));
    let mut terminal = bare(&rig, "/usr/bin/script");
    let output = run(terminal.env("SHELL", "/bin/sh").args(["-qec", &words, "/dev/null"]), "123456\n");
    let said = printed(&output);
    assert!(said.contains(&format!("one-time code of {SERIAL}: ")) && said.contains("good until"), "{said}");
    assert_eq!(rig.ecr.calls()[0].parameter("TokenCode"), "123456");
    // the session is kept: another region asks for no code
    let other = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    printed(&run(&mut longshore(&rig, &["token", other, "--profile", "mfa"]), ""));
    assert_eq!((rig.ecr.count_calls("AssumeRole"), rig.mints()), (1, 2));
    // until it is forgotten
    printed(&run(&mut longshore(&rig, &["logout", REGISTRY, "--profile", "mfa"]), ""));
    let said = refused(&run(&mut longshore(&rig, &["token", REGISTRY, "--profile", "mfa"]), ""));
    assert!(said.contains("one-time code of"), "{said}");
}
