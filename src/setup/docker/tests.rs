//! What happens to a docker configuration file, and what does not.

use serde_json::{Map, Value};

use super::*;

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn docker(text: Option<&str>) -> (tempfile::TempDir, Docker) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    if let Some(text) = text {
        fs::write(&path, text).unwrap();
    }
    (dir, Docker { path })
}

fn text(docker: &Docker) -> String {
    fs::read_to_string(&docker.path).unwrap()
}

#[test]
fn a_new_file_has_the_entries_and_nothing_else() {
    let (_dir, docker) = docker(None);
    let outcome = docker.wire(&[format!("https://{ECR}/")]).unwrap();
    assert_eq!(outcome, Outcome::Wired(vec![PUBLIC.into(), ECR.into()]));
    let want = format!(
        "{{\n\t\"credHelpers\": {{\n\t\t\"{PUBLIC}\": \"longshore\",\n\t\t\"{ECR}\": \"longshore\"\n\t}}\n}}\n"
    );
    assert_eq!(text(&docker), want);
    assert_eq!(docker.undo().unwrap(), Outcome::Restored);
    assert!(!docker.path.exists());
}

#[test]
fn what_is_there_keeps_its_order_and_comes_back_byte_for_byte() {
    let before = format!(
        "{{\n  \"z\": 1, \"auths\": {{\"{ECR}\": {{}}, \"https://index.docker.io/v1/\": {{\"auth\": \"eA==\"}}}},\n  \
         \"credsStore\": \"desktop\",\n  \"credHelpers\": {{\"gcr.io\": \"gcr\", \"{PUBLIC}\": \"ecr-login\"}}\n}}"
    );
    let (_dir, docker) = docker(Some(&before));
    assert_eq!(docker.wire(&[]).unwrap(), Outcome::Wired(vec![PUBLIC.into(), ECR.into()]));
    let after: Map<String, Value> = serde_json::from_str(&text(&docker)).unwrap();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["z", "auths", "credsStore", "credHelpers"]);
    assert_eq!(after["credHelpers"]["gcr.io"], "gcr");
    assert_eq!(after["auths"]["https://index.docker.io/v1/"]["auth"], "eA==");
    assert_eq!(docker.wire(&[]).unwrap(), Outcome::Unchanged);
    assert_eq!(docker.undo().unwrap(), Outcome::Restored);
    assert_eq!(text(&docker), before);
    assert!(!docker.backup().exists());
}

#[test]
fn not_a_byte_of_other_entries_is_touched() {
    let before =
        "{\n    \"zeta\": [1.50, 1e3, \"\\u00e9 <&>\"],\n    \"big\": 12345678901234567890123,\n    \"last\": {}\n}";
    let (_dir, docker) = docker(Some(before));
    docker.wire(&[]).unwrap();
    let want =
        before.replace("{}\n}", "{},\n    \"credHelpers\": {\n        \"public.ecr.aws\": \"longshore\"\n    }\n}");
    assert_eq!(text(&docker), want);
}

#[test]
fn another_helper_keeps_its_entry_until_its_registry_is_asked_for() {
    let before = format!("{{\"auths\": {{\"{ECR}\": {{}}}}, \"credHelpers\": {{\"{ECR}\": \"pass\"}}}}");
    let (_dir, docker) = docker(Some(&before));
    assert_eq!(docker.wire(&[]).unwrap(), Outcome::Wired(vec![PUBLIC.into()]));
    assert!(text(&docker).contains("\"pass\""));
    assert_eq!(docker.wire(&[ECR.into()]).unwrap(), Outcome::Wired(vec![ECR.into()]));
    assert!(!text(&docker).contains("\"pass\""));
    docker.undo().unwrap();
    assert!(text(&docker).contains("\"pass\"") && !text(&docker).contains("longshore"));
}

#[test]
fn no_helpers_may_be_spelled_null() {
    let (_dir, docker) = docker(Some("{\"credHelpers\": null}"));
    docker.wire(&[]).unwrap();
    let now: Value = serde_json::from_str(&text(&docker)).unwrap();
    assert_eq!(now, serde_json::json!({ "credHelpers": { PUBLIC: "longshore" } }));
    assert_eq!(docker.undo().unwrap(), Outcome::Restored);
}

#[test]
fn undo_after_several_steps_goes_back_to_the_very_first() {
    for first in [None, Some("{\n\t\"auths\": {}\n}\n")] {
        let (_dir, docker) = docker(first);
        docker.wire(&[]).unwrap();
        docker.wire(&[ECR.into()]).unwrap();
        assert_eq!(docker.undo().unwrap(), Outcome::Restored);
        assert_eq!(fs::read_to_string(&docker.path).ok().as_deref(), first);
    }
}

#[test]
fn an_old_backup_is_never_what_undo_goes_back_to() {
    let (_dir, docker) = docker(Some(&format!("{{\"credHelpers\": {{\"{PUBLIC}\": \"ecr-login\"}}}}")));
    docker.wire(&[]).unwrap();
    let by_hand = "{\"auths\": {\"new\": {}}}";
    fs::write(&docker.path, by_hand).unwrap();
    docker.wire(&[]).unwrap();
    assert_eq!(docker.undo().unwrap(), Outcome::Restored);
    assert_eq!(text(&docker), by_hand);
    fs::write(docker.backup(), "{}").unwrap();
    assert_eq!(docker.undo().unwrap(), Outcome::Unchanged);
    assert!(!docker.backup().exists());
}

#[test]
fn an_entry_made_by_hand_does_not_stop_undo() {
    let before = "{\"credHelpers\": {\"my.mirror:5577\": \"longshore\"}}";
    let (_dir, docker) = docker(Some(before));
    docker.wire(&[]).unwrap();
    assert_eq!(docker.undo().unwrap(), Outcome::Removed);
    assert!(!text(&docker).contains("longshore"), "{}", text(&docker));
}

#[test]
fn undo_keeps_what_was_changed_since() {
    let (_dir, docker) = docker(Some(&format!("{{\"credHelpers\": {{\"{PUBLIC}\": \"ecr-login\"}}}}")));
    docker.wire(&[ECR.into()]).unwrap();
    fs::write(&docker.path, text(&docker).replacen('{', "{\"new\": true,", 1)).unwrap();
    assert_eq!(docker.undo().unwrap(), Outcome::Removed);
    let now: Value = serde_json::from_str(&text(&docker)).unwrap();
    assert_eq!(now, serde_json::json!({ "new": true, "credHelpers": { PUBLIC: "ecr-login" } }));
    assert_eq!(docker.undo().unwrap(), Outcome::Unchanged);
}

#[test]
fn a_file_that_is_not_dockers_is_not_touched() {
    for before in ["{not json", "[]", "{\"credHelpers\": 1}"] {
        let (_dir, docker) = docker(Some(before));
        assert!(matches!(docker.wire(&[]), Err(Error::NotDockers { .. })), "{before}");
        assert_eq!(text(&docker), before);
        assert!(!docker.backup().exists());
    }
}

#[test]
fn a_foreign_registry_is_refused() {
    let (_dir, docker) = docker(None);
    assert!(matches!(docker.wire(&["index.docker.io".into()]), Err(Error::NotEcr(host)) if host == "index.docker.io"));
    assert!(!docker.path.exists());
}

#[cfg(unix)]
#[test]
fn a_mode_is_kept_and_a_new_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |docker: &Docker| fs::metadata(&docker.path).unwrap().permissions().mode() & 0o777;
    let (_dir, fresh) = docker(None);
    fresh.wire(&[]).unwrap();
    assert_eq!(mode(&fresh), 0o600);
    let (_dir, shared) = docker(Some("{}"));
    fs::set_permissions(&shared.path, fs::Permissions::from_mode(0o640)).unwrap();
    shared.wire(&[]).unwrap();
    assert_eq!(mode(&shared), 0o640);
}
