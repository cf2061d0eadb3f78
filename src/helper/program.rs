//! Other programs: where they are, and how this process becomes one of them.
//!
//! Never searches a folder of `PATH` that is not given from the root: where a client was started must not matter.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::answer::Answer;

/// What a pipe takes without a reader, on every system and for every user.
const PIPE_HOLDS: usize = 4096;
/// The program that has all that this one leaves out.
const LONGSHORE: &str = "longshore";

/// `longshore`: beside the real file of this program, links resolved, else on `PATH`.
pub(super) fn longshore() -> Option<PathBuf> {
    let beside = own_file().map(|own| own.with_file_name(LONGSHORE));
    beside.filter(|path| is_program(path)).or_else(|| on_path(OsStr::new(LONGSHORE)))
}

/// The first program of that name on `PATH` that is not this one.
pub(super) fn on_path(name: &OsStr) -> Option<PathBuf> {
    let own = own_file().and_then(|own| identity(&own));
    let path = env::var_os("PATH")?;
    let found = env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    found.into_iter().find(|path| is_program(path) && (own.is_none() || identity(path) != own))
}

fn own_file() -> Option<PathBuf> {
    fs::canonicalize(env::current_exe().ok()?).ok()
}

/// The real file behind a path, whatever it is called.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

/// Becomes `command`, which reads `request`: process, streams and exit code are its own then. Comes back only if that
/// fails, or if the request is so long that somebody has to stay and write it.
pub(super) fn become_program(command: &mut Command, request: &[u8]) -> io::Result<Answer> {
    if request.len() > PIPE_HOLDS {
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // a program that does not read has closed its end, and answers all the same
            let _ = input.write_all(request);
        }
        let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
        return Ok(Answer::given(code.unwrap_or(1)));
    }
    Err(command.stdin(holding(request)?).exec())
}

/// A stream that holds `request`, which must be short.
pub(super) fn holding(request: &[u8]) -> io::Result<Stdio> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(request)?;
    Ok(reader.into())
}
