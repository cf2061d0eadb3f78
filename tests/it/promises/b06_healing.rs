//! B6: a cache heals itself. What was truncated, deleted or flipped is fetched again; no client is told a wrong length.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use longshore::{oci::Digest, store::BlobStore};

use crate::rig::{APP, Rig};

const SIZE: usize = 1_000_000;

fn bytes() -> Vec<u8> {
    (0..=240).cycle().take(SIZE).collect()
}

/// A rig whose cache has one blob; its path in the API, and its file.
async fn with_a_blob(more: &str) -> (Rig, String, PathBuf) {
    let rig = Rig::with(more).await;
    let digest = rig.ecr.push_blob(APP, bytes());
    let path = format!("/v2/{APP}/blobs/{digest}");
    rig.get(&path).await.ok();
    rig.settle().await;
    let (file, _) = rig.content().remove(0);
    (rig, path, file)
}

/// Flips one bit and leaves the time of change, as a disk does.
fn flip(path: &Path) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let changed_at = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 500_000).unwrap();
    file.set_modified(changed_at).unwrap();
}

#[tokio::test]
async fn b06_what_was_changed_in_the_folder_is_fetched_again_and_no_client_notices() {
    let (rig, path, file) = with_a_blob("").await;
    let damages: [&dyn Fn(); 6] = [
        &|| fs::remove_file(&file).unwrap(),
        &|| fs::write(&file, &bytes()[..SIZE / 3]).unwrap(),
        &|| fs::write(&file, "").unwrap(),
        &|| fs::write(&file, [bytes(), bytes()].concat()).unwrap(),
        &|| fs::write(&file, bytes().iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap(),
        &|| fs::remove_dir_all(file.parent().unwrap()).unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        for method in ["HEAD", "GET"] {
            rig.settle().await;
            assert_eq!(rig.get(&path).await.ok().cache(), "hit");
            // also what is on its way to its place
            rig.settle().await;
            damage();
            assert_eq!(
                rig.request(method, &path, &[]).await.ok().header("content-length"),
                SIZE.to_string(),
                "{number} {method}"
            );
            let reply = rig.get(&path).await.ok();
            assert_eq!(reply.body.unwrap(), bytes(), "{number} {method}");
        }
    }
    // each once for what was lost, and once at the beginning
    assert!(rig.upstream().iter().filter(|request| request.starts_with("GET")).count() >= 2 * damages.len());
}

#[tokio::test]
async fn b06_a_bit_that_a_disk_flipped_costs_at_most_one_read() {
    let (mut rig, path, file) = with_a_blob("").await;
    rig.daemon.signal("TERM");
    assert_eq!(rig.daemon.wait().await, Some(0));
    flip(&file);
    // long after it was verified and read, long before the scrub comes by
    let hours_ago = SystemTime::now() - Duration::from_hours(3);
    let times = fs::FileTimes::new().set_modified(hours_ago).set_accessed(hours_ago);
    fs::File::open(&file).unwrap().set_times(times).unwrap();
    rig.restart();
    let first = rig.get(&path).await.ok();
    assert_ne!(Digest::of(&first.body.unwrap()), Digest::of(&bytes()), "nobody can know yet");
    // docker asks again when its own check failed
    let second = rig.get(&path).await.ok();
    assert_eq!((second.cache().to_owned(), second.body.unwrap()), ("miss".to_owned(), bytes().into()));
    rig.daemon.wait_for_log("event=\"damaged\"");
    let quarantined = rig.cache().join("quarantine").join(Digest::of(&bytes()).hex());
    assert!(quarantined.exists());
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
}

#[tokio::test]
async fn b06_the_scrub_finds_a_flip_without_any_read() {
    let (rig, path, file) = with_a_blob("[cache]\nscrub_every = \"1s\"\nscrub_rate = \"10MB\"").await;
    flip(&file);
    rig.daemon.wait_for_log("event=\"damaged\"");
    let reply = rig.get(&path).await.ok();
    assert_eq!((reply.cache().to_owned(), reply.body.unwrap()), ("miss".to_owned(), bytes().into()));
}

#[tokio::test]
async fn b06_content_that_cannot_be_opened_for_a_while_is_not_damaged() {
    let (rig, path, _) = with_a_blob("[cache]\nscrub_every = \"1s\"").await;
    for seed in 0..4 {
        let digest = rig.ecr.push_blob(APP, vec![seed; SIZE]);
        rig.get(&format!("/v2/{APP}/blobs/{digest}")).await.ok();
    }
    rig.settle().await;
    let id = rig.daemon.id().to_string();
    let limit = |most: &str| {
        let set = std::process::Command::new("prlimit").args(["--pid", &id, &format!("--nofile={most}:")]).status();
        assert!(set.unwrap().success());
    };
    limit("4");
    rig.daemon.wait_for_log("cannot be opened to be verified");
    limit("1024");
    let quarantined = fs::read_dir(rig.cache().join("quarantine")).unwrap().count();
    assert_eq!((rig.content().len(), quarantined), (5, 0), "{}", rig.daemon.log());
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
}

#[tokio::test]
async fn b06_what_a_crash_may_have_broken_is_verified_first() {
    let (mut rig, path, file) = with_a_blob("").await;
    rig.daemon.kill();
    flip(&file);
    rig.restart();
    rig.daemon.wait_for_log("event=\"damaged\"");
    assert_eq!(rig.get(&path).await.ok().body.unwrap(), bytes());
}

#[tokio::test]
async fn b06_what_a_crash_may_have_broken_is_not_served_before_it_was_verified() {
    // so slow that it is never the scrub that finds it
    let (mut rig, path, file) = with_a_blob("[cache]\nscrub_rate = \"1kB\"").await;
    rig.daemon.kill();
    flip(&file);
    rig.restart();
    let reply = rig.get(&path).await.ok();
    assert_eq!((reply.cache().to_owned(), reply.body.unwrap()), ("miss".to_owned(), bytes().into()));
    rig.daemon.wait_for_log("event=\"damaged\"");
}

#[tokio::test]
async fn b06_a_lost_index_costs_only_the_cache() {
    let (mut rig, path, _) = with_a_blob("").await;
    for damage in ["gone", "rubbish", "a file"] {
        // one that is killed before goes on with what it has of it
        rig.settle().await;
        rig.daemon.kill();
        let index = rig.cache().join("index-v5");
        match damage {
            "rubbish" => rubbish(&index),
            _ => fs::remove_dir_all(&index).unwrap(),
        }
        if damage == "a file" {
            fs::write(&index, "").unwrap();
        }
        rig.restart();
        let reply = rig.get(&path).await.ok();
        assert_eq!((reply.cache().to_owned(), reply.body.unwrap()), ("miss".to_owned(), bytes().into()), "{damage}");
        let _ = fs::remove_file(&index);
    }
    rig.get(&path).await.ok();
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
    rig.daemon.kill();
    assert!(BlobStore::open(&rig.cache(), None).unwrap().verify(&|_, _| {}).unwrap().damaged.is_empty());
}

/// Overwrites every file below a folder.
fn rubbish(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => rubbish(&path),
            path => fs::write(path, b"\nrubbish\t{\n\xff").unwrap(),
        }
    }
}
