//! Programs on `PATH`, found as Go programs such as the docker CLI find them.
//!
//! Runs nothing but `version` of a credential helper, and that not for long.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

/// `version` needs no network; a helper that takes longer hangs.
const VERSION: Duration = Duration::from_secs(3);
/// What our helper says of itself, under whatever name it was started.
const OURS: [&str; 2] = ["docker-credential-longshore ", "(longshore)"];

/// What looking for a program led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    Found(PathBuf),
    /// There is such a file, which nobody may execute.
    NotExecutable(PathBuf),
    Absent,
}

/// Whose helper a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This project's, of this version.
    Ours(String),
    Another,
    /// It does not run, or does not end.
    Broken(String),
}

/// Looks for a program by its name.
pub(super) fn look_up(name: &str) -> Lookup {
    look_up_in(&env::var_os("PATH").unwrap_or_default(), name)
}

fn look_up_in(path: &std::ffi::OsStr, name: &str) -> Lookup {
    let mut unusable = None;
    // Go refuses what it finds by a folder that is not absolute
    for dir in env::split_paths(path).filter(|dir| dir.is_absolute()) {
        let file = dir.join(name);
        match fs::metadata(&file) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.permissions().mode() & 0o111 != 0 => return Lookup::Found(file),
            Ok(_) => unusable = unusable.or(Some(file)),
            Err(_) => {}
        }
    }
    unusable.map_or(Lookup::Absent, Lookup::NotExecutable)
}

/// The folder of the helper that was installed with this program.
pub(super) fn own_folder() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let dir = own.parent()?;
    dir.join("docker-credential-longshore").is_file().then(|| dir.to_owned())
}

/// What makes the helper that was installed with this program be found.
pub(super) fn onto_path() -> String {
    own_folder().map_or_else(|| "./install.sh".to_owned(), |dir| format!("export PATH=\"{}:$PATH\"", dir.display()))
}

/// Asks a helper who it is.
pub(super) async fn kind(path: &Path) -> Kind {
    let mut command = Command::new(path);
    command.arg("version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match timeout(VERSION, command.output()).await {
        Err(_) => return Kind::Broken(format!("gave no answer in {} s", VERSION.as_secs())),
        Ok(Err(error)) => return Kind::Broken(error.to_string()),
        Ok(Ok(output)) => output,
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().last().filter(|_| OURS.iter().any(|ours| said.contains(ours)));
    version.map_or(Kind::Another, |version| Kind::Ours(version.to_owned()))
}

#[test]
fn programs_are_found_as_go_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    for folder in [&first, &second] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("p"), "").unwrap();
    }
    let path = env::join_paths([Path::new("."), &first, &second]).unwrap();
    assert_eq!(look_up_in(&path, "p"), Lookup::NotExecutable(first.join("p")));
    fs::set_permissions(second.join("p"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(look_up_in(&path, "p"), Lookup::Found(second.join("p")));
    assert_eq!(look_up_in(&path, "q"), Lookup::Absent);
}
