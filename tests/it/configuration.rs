//! The configuration file as the system gives it: what is there and cannot be read is never taken for absent.
//!
//! Root is refused nothing, so what is run here is without root's rights over files.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

use crate::rig::{HELPER, REGISTRY, answer, leave_out, run, text};

/// A home with a configuration, and its folder.
fn home() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join(".config/longshore");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).unwrap();
    fs::write(dir.join("config.toml"), "[[registry]]\nmatch = \"123456789012\"\nanonymous = true\n").unwrap();
    (home, dir)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The helper's answer to a `get`, where a file's mode counts for root as well; `None` where that cannot be had.
fn get(home: &Path, probe: &Path) -> Option<Output> {
    let mut command = if fs::read_dir(probe).is_ok() || fs::read(probe).is_ok() {
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search", HELPER]);
        if !Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success()) {
            leave_out("root, and no setpriv");
            return None;
        }
        command
    } else {
        Command::new(HELPER)
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home).env("AWS_EC2_METADATA_DISABLED", "true");
    Some(run(command.arg("get"), REGISTRY))
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_absent() {
    let (home, dir) = home();
    let file = dir.join("config.toml");
    assert_eq!(
        text(&get(home.path(), Path::new("/nowhere")).unwrap().stdout),
        "credentials not found in native keychain\n"
    );
    set_mode(&file, 0);
    let Some(output) = get(home.path(), &file) else { return };
    let (code, out, err) = answer(&output);
    let want =
        format!("cannot read {} (make it a file that this user can read, or take it away): Permission", file.display());
    assert!(code == Some(1) && out.starts_with(&want) && err.contains(&want), "{output:?}");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    assert!(text(&get(home.path(), Path::new("/nowhere")).unwrap().stdout).starts_with("cannot read "));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(text(&get(home.path(), Path::new("/nowhere")).unwrap().stdout).starts_with("cannot read "));
}

#[test]
fn a_home_that_may_not_be_entered_holds_no_configuration() {
    let (home, dir) = home();
    fs::write(dir.join("config.toml"), "not a configuration").unwrap();
    set_mode(&dir, 0);
    let output = get(home.path(), &dir);
    set_mode(&dir, 0o700);
    // as if there were none: a token is wanted, and nothing in the chain has credentials
    assert!(output.as_ref().is_none_or(|output| text(&output.stdout).contains("ECR in us-east-1: ")), "{output:?}");
}
