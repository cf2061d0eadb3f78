//! What is refused, what is not used and what is no entry: others' files and folders, links, pipes, times of the future.

use super::*;

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
