//! What the token store promises, beside its code: protections, refusals, locks, pruning.
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
fn a_key_file_that_is_none_is_said_before_anything_is_minted() {
    let (rig, path, _dir) = sealed(&[7; 31]);
    rig.refused("holds 31 bytes and a key has 32 or more");
    assert!(matches!(rig.store.put(&key("a"), &entry("a", HOUR)), Err(TokenStoreError::KeyFile { .. })));
    fs::write(&path, [7; 32]).unwrap();
    set_mode(&path, 0o640);
    rig.refused("key can be read by other users; a key is for its owner alone");
    fs::remove_file(&path).unwrap();
    rig.refused("No such file");
    assert!(!rig.file("a", "json").exists());
}

#[test]
fn what_others_can_reach_is_refused() {
    let rig = Rig::new();
    rig.put("a", HOUR);
    let (file, dir) = (rig.file("a", "json"), rig.cache.path().join("tokens"));
    set_mode(&file, 0o640);
    rig.refused("can be read by other users; delete it, and keep the folder to yourself with: chmod 700");
    assert!(rig.store.list().is_err());
    set_mode(&file, 0o600);
    set_mode(&dir, 0o770);
    rig.refused("tokens can be written to by other users and is not used; delete it");
    assert!(rig.store.put(&key("b"), &entry("b", HOUR)).is_err() && !rig.file("b", "json").exists());
    assert!(rig.store.lock(&key("b")).is_err() && rig.store.list().is_err());
    // names are nobody's business, but not a reason to refuse
    set_mode(&dir, 0o755);
    assert!(rig.get("a").is_some());
    rig.put("b", HOUR);
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    let rig = Rig::new();
    rig.put("a", HOUR);
    let (file, dir) = (rig.file("a", "json"), rig.cache.path().join("tokens"));
    // only root can give a file away
    if let Err(error) = chown(&file, Some(54_321), None) {
        assert!(std::env::var_os("LONGSHORE_TESTS_ALL").is_none(), "{error}");
        return;
    }
    rig.refused("json belongs to another user");
    chown(&file, Some(0), None).unwrap();
    chown(&dir, Some(54_321), None).unwrap();
    rig.refused("tokens belongs to another user and is not used; delete it, or name a folder of your own with");
    assert!(rig.store.trouble().is_some() && rig.store.put(&key("b"), &entry("b", HOUR)).is_err());
    chown(&dir, Some(0), None).unwrap();
    assert!(rig.store.trouble().is_none());
    assert!(rig.get("a").is_some());
    let (sealed, path, _dir) = sealed(&[7; 32]);
    chown(&path, Some(54_321), None).unwrap();
    sealed.refused("key belongs to another user");
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

#[test]
fn what_is_over_goes_and_what_is_in_use_stays() {
    let rig = Rig::new();
    for name in ["good", "over"] {
        rig.put(name, HOUR);
    }
    rig.store.put(&key("over"), &Entry { expires_at: UNIX_EPOCH + HOUR, ..entry("over", HOUR) }).unwrap();
    let dir = rig.cache.path().join("tokens");
    let write = |name: &str, age: Duration| {
        let path = dir.join(name);
        fs::write(&path, "").unwrap();
        make_old(&path, age);
        path
    };
    let gone = [
        write(".new-killed", 2 * HOUR),
        write(&format!("{}.json", key("garbage")), DAY),
        write(&format!("{}.lock", key("old")), DAY),
        write(&format!("{}.keep", key("old")), DAY),
        rig.file("over", "json"),
    ];
    let (held, keeper) = (rig.store.lock(&key("held")).unwrap(), rig.store.keep(&key("held")).unwrap());
    make_old(&rig.file("held", "lock"), DAY);
    make_old(&rig.file("held", "keep"), DAY);
    let stays = [
        rig.file("good", "json"),
        rig.file("held", "lock"),
        rig.file("held", "keep"),
        write(".new-under-way", Duration::ZERO),
        write(&format!("{}.json", key("of a newer version")), HOUR),
        write(&format!("{}.lock", key("new")), HOUR),
        write("notes.txt", DAY),
    ];
    rig.put("next", HOUR);
    assert!(gone.iter().all(|path| path.exists()), "pruned a moment ago");
    rig.prune();
    let wrong: Vec<_> = gone.iter().filter(|path| path.exists()).collect();
    assert!(wrong.is_empty(), "not pruned: {wrong:?}");
    let wrong: Vec<_> = stays.iter().filter(|path| !path.exists()).collect();
    assert!(wrong.is_empty(), "pruned: {wrong:?}");
    drop((held, keeper));
}

#[test]
fn what_holds_no_secret_goes_before_a_token() {
    let (sealed, ..) = &sealed(&[7; 32]);
    for rig in [&Rig::new(), sealed] {
        rig.put("token", HOUR);
        let note = |name: &str| Entry { secret: Secret::new(String::new()), ..entry(name, 100 * HOUR) };
        rig.store.put(&key("note"), &note("note")).unwrap();
        let text = fs::read(rig.file("note", "json")).unwrap();
        for number in 0..prune::MOST + 100 {
            let path = rig.file(&number.to_string(), "json");
            fs::write(&path, &text).unwrap();
            set_mode(&path, 0o600);
        }
        fs::remove_file(rig.cache.path().join("tokens/.pruned")).unwrap();
        rig.store.put(&key("new note"), &note("new note")).unwrap();
        assert_eq!(rig.store.list().unwrap().len(), prune::MOST);
        assert!(rig.get("token").is_some() && rig.file("new note", "json").exists());
    }
}

#[test]
fn an_entry_of_the_future_is_none() {
    let rig = Rig::new();
    for (ahead, is_one) in [(Duration::from_mins(4), true), (Duration::from_mins(6), false), (9 * HOUR, false)] {
        let now = entry("a", 12 * HOUR);
        let future = Entry { minted_at: now.minted_at + ahead, expires_at: now.expires_at + ahead, ..now };
        rig.store.put(&key("a"), &future).unwrap();
        assert_eq!((rig.get("a").is_some(), rig.store.list().unwrap().len()), (is_one, usize::from(is_one)));
    }
}

#[test]
fn a_folder_behind_a_link_is_not_used() {
    let rig = Rig::new();
    rig.put("a", HOUR);
    let (dir, elsewhere) = (rig.cache.path().join("tokens"), rig.cache.path().join("elsewhere"));
    fs::rename(&dir, &elsewhere).unwrap();
    set_mode(&elsewhere, 0o755);
    symlink(&elsewhere, &dir).unwrap();
    rig.refused("tokens is a link and is not used; delete it");
    assert!(rig.store.put(&key("b"), &entry("b", HOUR)).is_err() && rig.store.lock(&key("b")).is_err());
    assert!(rig.store.list().is_err() && rig.store.keep(&key("b")).is_none() && rig.store.trouble().is_some());
    assert_eq!(fs::metadata(&elsewhere).unwrap().mode() & 0o777, 0o755);
    assert!(!elsewhere.join(format!("{}.json", key("b"))).exists());
}

#[test]
fn what_is_no_file_is_no_entry_and_nobody_waits_for_it() {
    let rig = Rig::new();
    rig.put("a", HOUR);
    let (file, kept) = (rig.file("a", "json"), rig.cache.path().join("kept"));
    fs::rename(&file, &kept).unwrap();
    symlink(&kept, &file).unwrap();
    assert_eq!((rig.get("a"), rig.store.list().unwrap().len()), (None, 0));
    for path in [&file, &rig.file("a", "lock"), &rig.file("a", "keep"), &rig.cache.path().join("tokens/.pruned")] {
        let _ = fs::remove_file(path);
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
    }
    assert_eq!((rig.get("a"), rig.store.list().unwrap().len()), (None, 0));
    assert!(rig.store.lock(&key("a")).is_err() && rig.store.keep(&key("a")).is_none());
    assert!(!rig.store.is_kept(&key("a")));
    rig.put("a", HOUR);
    assert!(rig.get("a").is_some());
    let (sealed, path, _dir) = sealed(&[7; 32]);
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
    sealed.refused("holds 0 bytes and a key has 32 or more");
}

#[test]
fn ten_thousand_entries_cost_a_get_nothing_and_are_pruned_to_the_bound() {
    let rig = Rig::new();
    rig.put("a", 2 * HOUR);
    let dir = rig.cache.path().join("tokens");
    let alone = cost_of_get(&rig);
    let text = fs::read_to_string(rig.file("a", "json")).unwrap();
    let expires_at = entry("a", HOUR).expires_at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (start, end) = text.split_once("\"expires_at\":").unwrap();
    let end = end.trim_start_matches(|digit: char| digit.is_ascii_digit());
    for number in 0..10_000 {
        let path = rig.file(&number.to_string(), "json");
        fs::write(&path, format!("{start}\"expires_at\":{}{end}", expires_at + number)).unwrap();
        set_mode(&path, 0o600);
    }
    let accessed = || fs::metadata(&dir).unwrap().accessed().unwrap();
    let before = accessed();
    assert_eq!(cost_of_get(&rig), alone);
    assert_eq!(accessed(), before, "the folder was read");
    assert_eq!(rig.store.list().unwrap().len(), 10_001);
    rig.prune();
    let left = rig.store.list().unwrap();
    assert_eq!(left.len(), prune::MOST);
    assert!(rig.get("last").is_some(), "nearest to its end, and put just now");
    let left = left.iter().filter(|(kept, _)| *kept != key("last"));
    let first = left.map(|(_, entry)| entry.expires_at).min().unwrap();
    assert!(first >= UNIX_EPOCH + Duration::from_secs(expires_at + 10_000 - prune::MOST as u64), "{first:?}");
}

/// How many calls read something, as the system counts them for this thread; zero where it does not.
fn cost_of_get(rig: &Rig) -> u64 {
    let counted = || {
        let text = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok()).unwrap_or(0)
    };
    let before: u64 = counted();
    assert!(rig.get("a").is_some());
    counted() - before
}
