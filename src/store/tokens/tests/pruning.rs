//! What goes when the folder of tokens is pruned, what stays, and that a `get` pays nothing for what lies there.

use super::*;

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
