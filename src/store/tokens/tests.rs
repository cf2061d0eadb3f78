//! What the token store promises, beside its code: protections and locks here, refusals and pruning below.
//!
//! Runs as root as well: what should be refused is refused to root, too.

use std::{
    fs::{self, FileTimes},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use tempfile::TempDir;

use super::*;
use crate::chain::chain;

mod pruning;
mod refusals;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(25);

struct Rig {
    cache: TempDir,
    store: TokenStore,
}

impl Rig {
    fn new() -> Self {
        Self::with(&TokenProtection::File)
    }

    fn with(protection: &TokenProtection) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let store = TokenStore::new(cache.path(), protection);
        Self { cache, store }
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.cache.path().join("tokens").join(format!("{}.{extension}", key(name)))
    }

    fn put(&self, name: &str, life: Duration) {
        self.store.put(&key(name), &entry(name, life)).unwrap();
    }

    fn get(&self, name: &str) -> Option<Entry> {
        self.store.get(&key(name)).unwrap()
    }

    #[track_caller]
    fn refused(&self, words: &str) {
        let error = self.store.get(&key("a")).unwrap_err();
        assert!(chain(&error).contains(words), "{}", chain(&error));
    }

    /// Makes the next `put` prune.
    fn prune(&self) {
        fs::remove_file(self.cache.path().join("tokens/.pruned")).unwrap();
        self.put("last", HOUR);
    }
}

/// A rig with a key file of these bytes, and that file in a folder of its own.
fn sealed(bytes: &[u8]) -> (Rig, PathBuf, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    fs::write(&path, bytes).unwrap();
    set_mode(&path, 0o600);
    (Rig::with(&TokenProtection::EncryptedFile(path.clone())), path, dir)
}

fn key(name: &str) -> TokenKey {
    TokenKey::new(name)
}

/// An entry in whole seconds, as they are kept.
fn entry(name: &str, life: Duration) -> Entry {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let minted_at = UNIX_EPOCH + Duration::from_secs(now);
    let secret = Secret::new(format!("secret of {name} {}", "x".repeat(2500)));
    Entry { secret, minted_at, refresh_at: minted_at + life / 2, expires_at: minted_at + life, about: name.to_owned() }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make_old(path: &Path, age: Duration) {
    let times = FileTimes::new().set_modified(SystemTime::now() - age);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

#[test]
fn what_is_kept_is_found_listed_without_its_secret_and_forgotten() {
    let (sealed, ..) = &sealed(&[7; 32]);
    for rig in [&Rig::new(), sealed] {
        let (one, other) = (entry("one", HOUR), entry("other", 2 * HOUR));
        rig.store.put(&key("one"), &one).unwrap();
        rig.store.put(&key("other"), &other).unwrap();
        assert_eq!((rig.get("one"), rig.get("other")), (Some(one.clone()), Some(other.clone())));
        let bare = |entry: &Entry| Entry { secret: Secret::new(String::new()), ..entry.clone() };
        let mut want = vec![(key("one"), bare(&one)), (key("other"), bare(&other))];
        want.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        assert_eq!(rig.store.list().unwrap(), want);
        for _ in 0..2 {
            rig.store.remove(&key("one")).unwrap();
        }
        assert_eq!((rig.get("one"), rig.store.list().unwrap().len()), (None, 1));
    }
}

#[test]
fn looking_touches_nothing() {
    let rig = Rig::new();
    assert_eq!((rig.get("a"), rig.store.list().unwrap().len(), rig.store.is_kept(&key("a"))), (None, 0, false));
    rig.store.remove(&key("a")).unwrap();
    assert_eq!(fs::read_dir(rig.cache.path()).unwrap().count(), 0);
    rig.put("a", HOUR);
    assert!(!rig.store.is_kept(&key("a")) && !rig.file("a", "keep").exists());
}

#[test]
fn memory_keeps_nothing_on_disk_and_locks_nobody_out() {
    let rig = Rig::with(&TokenProtection::Memory);
    let store = &rig.store;
    let _lock = store.lock(&key("a")).unwrap();
    let _second = store.lock(&key("a")).unwrap();
    store.put(&key("a"), &entry("a", HOUR)).unwrap();
    store.remove(&key("a")).unwrap();
    assert_eq!((store.get(&key("a")).unwrap(), store.list().unwrap().len()), (None, 0));
    assert!(store.keep(&key("a")).is_none() && !store.is_kept(&key("a")) && !store.keeps());
    assert_eq!(fs::read_dir(rig.cache.path()).unwrap().count(), 0);
}

#[test]
fn a_sealed_token_opens_with_its_key_and_under_its_name_only() {
    let (rig, path, _dir) = sealed(&[7; 32]);
    rig.put("a", HOUR);
    let text = fs::read_to_string(rig.file("a", "json")).unwrap();
    let nonce = |text: &str| text.split("nonce").nth(1).unwrap()[..20].to_owned();
    assert!(!text.contains("secret of") && text.contains("\"about\":\"a\""), "{text}");
    rig.put("a", HOUR);
    assert_ne!(nonce(&text), nonce(&fs::read_to_string(rig.file("a", "json")).unwrap()));
    fs::copy(rig.file("a", "json"), rig.file("b", "json")).unwrap();
    assert!(rig.get("b").is_none() && rig.get("a").is_some());
    fs::write(&path, [8; 32]).unwrap();
    assert_eq!(rig.get("a"), None);
    assert_eq!(rig.store.list().unwrap().len(), 2);
    fs::write(&path, [7; 32]).unwrap();
    assert!(rig.get("a").is_some());
    fs::write(rig.file("a", "json"), text.replace("\"text\":\"", "\"text\":\"AAAA")).unwrap();
    assert_eq!(rig.get("a"), None);
}

#[test]
fn an_entry_under_another_protection_or_of_another_format_is_none() {
    let (sealed, _path, _dir) = sealed(&[7; 32]);
    let plain = Rig::new();
    plain.put("a", HOUR);
    sealed.put("a", HOUR);
    let (in_clear, under_key) = (plain.file("a", "json"), sealed.file("a", "json"));
    let text = fs::read_to_string(&in_clear).unwrap();
    fs::copy(&under_key, &in_clear).unwrap();
    fs::write(&under_key, &text).unwrap();
    assert_eq!((plain.get("a"), sealed.get("a")), (None, None));
    let long = "x".repeat(70_000);
    for other in [
        "",
        "{",
        "null",
        r#"{"expires_at":99999999999,"token":"QVdTOmFiYw=="}"#,
        &text.replace("\"version\":2", "\"version\":3"),
        &text.replace("\"expires_at\":", "\"expires_at\":99999999"),
        &text.replace("secret", &long),
    ] {
        fs::write(&in_clear, other).unwrap();
        assert_eq!(plain.get("a"), None, "{}", other.get(..100).unwrap_or(other));
    }
    fs::write(&in_clear, text).unwrap();
    assert!(plain.get("a").is_some());
}

#[test]
fn an_entry_is_kept_by_one_and_all_see_it() {
    let rig = Rig::new();
    let keeper = rig.store.keep(&key("a")).unwrap();
    assert!(rig.store.is_kept(&key("a")) && !rig.store.is_kept(&key("b")));
    assert!(rig.store.keep(&key("a")).is_none() && rig.store.keep(&key("b")).is_some());
    drop(keeper);
    assert!(!rig.store.is_kept(&key("a")));
    // who only looks does not stand in the way
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = rig.store.is_kept(&key("a"));
                }
            });
        }
        let kept = (0..500).filter(|_| rig.store.keep(&key("a")).is_some()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(kept, 500);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn who_waited_for_a_lock_whose_file_is_gone_locks_the_new_one() {
    let rig = Rig::new();
    let path = rig.file("a", "lock");
    let opened = || {
        let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|target| target == path)).count()
    };
    let first = rig.store.lock(&key("a")).unwrap();
    let released = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| (rig.store.lock(&key("a")).unwrap(), released.load(Ordering::Relaxed)));
        let wait_until_it_opened = || {
            while opened() < 2 && !waiting.is_finished() {
                thread::yield_now();
            }
        };
        wait_until_it_opened();
        fs::remove_file(&path).unwrap();
        let second = rig.store.lock(&key("a")).unwrap();
        drop(first);
        wait_until_it_opened();
        released.store(true, Ordering::Relaxed);
        drop(second);
        let (third, was_released) = waiting.join().unwrap();
        assert!(was_released, "two had the lock");
        assert_eq!(third.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
    });
}
