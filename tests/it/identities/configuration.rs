//! The AWS configuration as it stands in real files, and which of several sources is asked.
//!
//! What the AWS CLI and the Go SDK read as one identity must not be another one here.

use std::fs;

use super::{IN_IRELAND, TWO, minted_by, roles, sources};
use crate::{
    fake_ecr::Listener,
    rig::{REGISTRY, text},
    shell::Shell,
};

const ONE: &str = "aws_access_key_id = AKIDONE\naws_secret_access_key = secret\n";
const PULL: &str = "role_arn = arn:aws:iam::123456789012:role/pull\n";

/// Issue: the role was assumed, which no other reader of the file would do.
#[tokio::test]
async fn a_section_that_is_no_profile_in_its_file_names_no_identity() {
    let mut shell = Shell::start().await;
    shell.set("AWS_PROFILE", "prod").profiles(&format!("[prod]\n{PULL}source_profile = prod\n"));
    shell.write("home/.aws/credentials", &format!("[prod]\n{ONE}[profile prod]\n{PULL}"));
    shell.secret(REGISTRY);
    assert_eq!((minted_by(&shell), shell.calls().len()), (vec!["AKIDONE".to_owned()], 1));
    shell.profiles(&format!("[profile prod]\n{PULL}source_profile = prod\n")).secret(REGISTRY);
    assert_eq!(roles(&shell)[1], "pull");
}

#[tokio::test]
async fn names_may_be_quoted_and_keys_be_in_capitals() {
    let mut shell = Shell::start().await;
    shell.set("AWS_PROFILE", "my prof").profiles(&format!("[profile \"my prof\"]\n{PULL}source_profile = base\n"));
    let keys = "[base]\nAWS_ACCESS_KEY_ID = AKIDUPPER\nAws_Secret_Access_Key = secret\n";
    shell.write("home/.aws/credentials", keys);
    shell.secret(REGISTRY);
    assert_eq!(shell.ecr.calls()[0].access_key.as_deref(), Some("AKIDUPPER"));
    assert_eq!(roles(&shell), ["pull"]);
}

/// Issue: the incumbent takes the keys and does not run the command.
#[tokio::test]
async fn keys_go_before_a_command_whichever_file_they_are_in() {
    let mut shell = Shell::start().await;
    sources::process(&mut shell);
    shell.write("home/.aws/credentials", &format!("[default]\n{ONE}"));
    shell.secret(REGISTRY);
    assert_eq!((minted_by(&shell), shell.runs()), (vec!["AKIDONE".to_owned()], 0));
    // one half of a key is none
    shell.write("home/.aws/credentials", "[default]\naws_access_key_id = AKIDONE\n");
    shell.secret(REGISTRY);
    assert_eq!(shell.runs(), 1);
}

#[tokio::test]
async fn a_role_that_names_its_own_profile_is_assumed_with_the_keys_there() {
    let shell = Shell::start().await;
    shell.profiles(&format!("[default]\n{PULL}source_profile = default\n{ONE}")).secret(REGISTRY);
    assert_eq!(shell.ecr.calls()[0].access_key.as_deref(), Some("AKIDONE"));
    assert_eq!(roles(&shell), ["pull"]);
}

#[tokio::test]
async fn the_old_names_of_the_variables_are_taken_after_the_new_ones() {
    let mut shell = Shell::start().await;
    shell.set("AWS_ACCESS_KEY", "AKIDOLD").set("AWS_SECRET_KEY", "secret").profiles(&format!("[default]\n{ONE}"));
    shell.secret(REGISTRY);
    shell.set("AWS_ACCESS_KEY", "AKIDOLDER").secret(REGISTRY);
    shell.keys("AKIDEXAMPLE").secret(REGISTRY);
    shell.unset("AWS_ACCESS_KEY").unset("AWS_SECRET_KEY").keys("").secret(REGISTRY);
    // the old name alone is another program's
    shell.unset("AWS_SECRET_ACCESS_KEY").set("AWS_ACCESS_KEY", "AKIDALONE").secret(IN_IRELAND);
    assert_eq!(minted_by(&shell), ["AKIDOLD", "AKIDOLDER", "AKIDEXAMPLE", "AKIDONE", "AKIDONE"]);
}

#[tokio::test]
async fn neither_a_byte_order_mark_nor_another_encoding_hides_a_profile() {
    let mut shell = Shell::start().await;
    sources::sso(&mut shell);
    let text = fs::read(shell.path("home/.aws/config")).unwrap();
    let marked = [&b"\xef\xbb\xbf"[..], &text, b"# caf\xe9\n[profile later]\nregion = x\n"].concat();
    fs::write(shell.path("home/.aws/config"), marked).unwrap();
    shell.secret(REGISTRY);
    assert_eq!(shell.calls(), ["GetRoleCredentials", "GetAuthorizationToken"]);
    assert_eq!(shell.set("AWS_PROFILE", "later").get(REGISTRY).status.code(), Some(1));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_not_an_empty_one() {
    let mut shell = Shell::start().await;
    sources::ecs(&mut shell);
    fs::create_dir(shell.path("home/.aws/credentials")).unwrap();
    let output = shell.get(REGISTRY);
    assert!(text(&output.stdout).contains(".aws/credentials cannot be read: Is a directory"), "{output:?}");
    let doctor =
        crate::rig::run(shell.command_of(env!("CARGO_BIN_EXE_longshore")).args(["doctor", "--offline", REGISTRY]), "");
    assert!(text(&doctor.stdout).contains(".aws/credentials cannot be read"), "{doctor:?}");
    // keys in the environment need no file
    shell.keys("AKIDEXAMPLE").secret(REGISTRY);
}

#[tokio::test]
async fn the_default_profile_goes_before_the_container() {
    let mut shell = Shell::start().await;
    sources::ecs(&mut shell);
    shell.profiles(&format!("[default]\n{ONE}")).secret(REGISTRY);
    assert_eq!(minted_by(&shell), ["AKIDONE"]);
    assert!(shell.ecr.requests_to(Listener::Metadata).is_empty());
    // one without credentials does not
    shell.profiles("[default]\nregion = x\n").secret(REGISTRY);
    assert!(!shell.ecr.requests_to(Listener::Metadata).is_empty());
}

#[tokio::test]
async fn keys_go_before_a_web_identity_and_that_before_the_default_profile() {
    let mut shell = Shell::start().await;
    sources::web_identity(&mut shell);
    shell.profiles(&format!("[default]\n{ONE}")).secret(REGISTRY);
    assert_eq!((roles(&shell), shell.calls().len()), (vec!["web".to_owned()], 2));
    shell.keys("AKIDEXAMPLE").secret(REGISTRY);
    assert_eq!((minted_by(&shell)[1].as_str(), shell.calls().len()), ("AKIDEXAMPLE", 3));
}

#[tokio::test]
async fn nobody_is_asked_when_a_code_is_missing_and_there_is_none_to_give_it() {
    let mut shell = Shell::start().await;
    sources::code_from_a_person(&mut shell);
    let guarded = fs::read_to_string(shell.path("config.toml")).unwrap();
    // the source is a role itself, so asking it would show
    shell.rules(&format!("{guarded}profile = \"top\"\n"));
    let serial = "arn:aws:iam::123456789012:mfa/me";
    let profiles = format!(
        "[profile top]\n{PULL}source_profile = one\n[profile guarded]\n{PULL}source_profile = top\nmfa_serial = {serial}\n{TWO}"
    );
    shell.profiles(&profiles);
    let missing = |shell: &Shell| {
        let output = shell.get(REGISTRY);
        assert!(text(&output.stdout).contains(&format!("a one-time code of {serial} is needed")), "{output:?}");
        assert!(shell.ecr.requests().is_empty(), "{:?}", shell.calls());
    };
    missing(&shell);
    shell.rules("[[registry]]\nmatch = \"123456789012\"\nprofile = \"guarded\"\n");
    missing(&shell);
}

#[tokio::test]
async fn a_session_is_good_for_its_own_role_and_device_only() {
    let mut shell = Shell::start().await;
    sources::code_for_a_role(&mut shell);
    shell.secret(REGISTRY);
    let first = fs::read_to_string(shell.path("config.toml")).unwrap();
    shell.secret(IN_IRELAND);
    assert_eq!(shell.runs(), 1);
    for other in [first.replace("role/guarded", "role/other"), first.replace("mfa/me", "mfa/mine")] {
        let runs = shell.runs();
        shell.rules(&other).get(REGISTRY);
        assert_eq!(shell.runs(), runs + 1, "{other}");
    }
}
