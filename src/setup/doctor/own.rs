//! Longshore's own: the configuration, the cache folder, the disk, the kept tokens.

use std::path::Path;

use bytesize::ByteSize;

use super::{
    finding::{Finding, Subject, check},
    surroundings::Surroundings,
};
use crate::{
    chain::chain,
    config::TokenProtection,
    environment,
    store::{self, TokenKey, TokenStoreError},
};

/// A layer of a common size would not fit any more.
const LITTLE: u64 = 1_000_000_000;
/// Not even a token is certain to fit.
const NOTHING: u64 = 10_000_000;

pub(super) fn look(around: &Surroundings) -> Vec<Finding> {
    vec![configuration(around), folder(around), disk(around), tokens(around)]
}

fn configuration(around: &Surroundings) -> Finding {
    let check = check("configuration", Subject::Configuration, "configuration");
    match &around.loaded {
        Ok(loaded) => match &loaded.file {
            Some(file) => check.ok(format!("{}: valid", file.display())),
            None => check.ok("no file: the defaults are in force"),
        },
        Err(error @ environment::Error::Unreadable { path, .. }) => {
            let remedy = format!("make {} a file this user can read, or: unset LONGSHORE_CONFIG", path.display());
            check.problem(chain(error), remedy)
        }
        Err(error @ environment::Error::Invalid { .. }) => {
            check.problem(error.to_string(), "correct that line, then: longshore config check")
        }
    }
}

fn folder(around: &Surroundings) -> Finding {
    let dir = around.cache_dir.display();
    let check = check("cache-folder", Subject::Configuration, "cache folder");
    let condition = store::condition(&around.cache_dir);
    let owner = format!("sudo chown -R \"$(id -un)\" {dir}");
    match condition.writable {
        Err(error) if condition.exists => check.problem(format!("{dir} cannot be written to: {error}"), owner),
        Err(error) => check.problem(
            format!("{dir} cannot be made: {error}"),
            "set cache.dir in the configuration to a folder that can be written to",
        ),
        Ok(()) if condition.is_open_to_others => {
            let found = format!("{dir} can be looked into by other users, and private images lie in it");
            check.warning(found, format!("chmod 700 {dir}"))
        }
        Ok(()) if condition.exists => check.ok(format!("{dir} can be written to")),
        Ok(()) => check.ok(format!("{dir} is not there yet and can be made")),
    }
}

fn disk(around: &Surroundings) -> Finding {
    let check = check("disk-space", Subject::Configuration, "disk space");
    let dir = around.cache_dir.display();
    let remedy = "make room on that disk, or set cache.dir in the configuration to a folder on another one";
    match store::condition(&around.cache_dir).free {
        Err(error) => check.warning(format!("{dir}: {error}"), remedy),
        Ok(free) => {
            let found = format!("{} free for {dir}", ByteSize(free).display().si());
            match free {
                0..NOTHING => check.problem(found, remedy),
                NOTHING..LITTLE => check.warning(found, remedy),
                _ => check.ok(found),
            }
        }
    }
}

fn tokens(around: &Surroundings) -> Finding {
    let check = check("token-store", Subject::Configuration, "token store");
    let tokens = around.tokens();
    // what is not there is not found, but on the way the key is looked at
    let nobody = TokenKey::new("nobody");
    let listed = tokens.get(&nobody).and_then(|_| tokens.list());
    let dir = tokens.dir().to_owned();
    let kept = match environment::token_protection(&around.config) {
        TokenProtection::Memory => return check.ok("tokens are in the daemon's memory only"),
        TokenProtection::File => "in files for this user alone",
        TokenProtection::EncryptedFile(_) => "in encrypted files",
        TokenProtection::Keyring => "in files, their key in the system's keyring",
    };
    match listed {
        Ok(entries) => check.ok(format!("{}: {} entries, {kept}", dir.display(), entries.len())),
        Err(error) => check.problem(chain(&error), remedy(&error, &dir)),
    }
}

fn remedy(error: &TokenStoreError, dir: &Path) -> String {
    match error {
        TokenStoreError::Folder { path, .. } => format!("rm -r {}", path.display()),
        TokenStoreError::Exposed { path, .. } => format!("rm {} && chmod 700 {}", path.display(), dir.display()),
        TokenStoreError::KeyFile { path, .. } => {
            let path = path.display();
            format!("(umask 077; head -c 32 /dev/urandom > {path})")
        }
        TokenStoreError::Keyring(_) => "set token_store = \"file\" in the configuration".to_owned(),
        TokenStoreError::Io { path, .. } => format!("sudo chown -R \"$(id -un)\" {}", path.display()),
    }
}
