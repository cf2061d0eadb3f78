//! Crash-safe partials.

use std::fs;

use longshore::{
    oci::{Manifest, MediaType},
    store::BlobStore,
};

use super::{S, blob, body_of, path};
use crate::{
    fake_ecr::{Listener, Rule},
    rig::{APP, Rig},
};

const MIB: u64 = 1024 * 1024;

/// A daemon that is killed when half of a blob is there; the fault is over then.
async fn killed_at_half(rig: &mut Rig, digest: &str) {
    let hold = rig.ecr.fault(Rule::on(Listener::S3).digest(digest).hold_after(S as u64 / 2));
    let mut body = rig.open("GET", &path(APP, digest), &[]).await.into_body();
    hold.reached().await;
    let mut read = 0;
    while read < S / 2 - 256 * 1024 {
        use http_body_util::BodyExt as _;
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    rig.daemon.kill();
    rig.ecr.clear_faults();
    hold.release();
}

#[tokio::test]
async fn b04_crash_safe_partials() {
    let mut rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    killed_at_half(&mut rig, &digest).await;
    // litter of a process that died, which must neither block nor hang anything
    let staging = rig.cache().join("staging");
    fs::write(staging.join("0123"), "litter").unwrap();
    fs::write(staging.join(format!("{}.journal", "a".repeat(64))), "boot x\n").unwrap();
    fs::write(staging.join(format!("{}-7", "b".repeat(64))), "litter").unwrap();
    fs::create_dir(staging.join("folder")).unwrap();
    rig.ecr.clear_requests();
    rig.restart();
    assert!(body_of(&rig, &digest).await == blob(1));
    let sent = rig.ecr.stats().s3_bytes[&digest];
    assert!(sent <= S as u64 / 2 + MIB, "{sent} bytes for the second half of {S}");
    rig.settle().await;
    assert_eq!(rig.content().len(), 1);
}

#[tokio::test]
async fn b04_a_download_that_brought_nothing_leaves_nothing() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    rig.ecr.fault(Rule::on(Listener::S3).status(503));
    assert_eq!(rig.get(&path(APP, &digest)).await.status.as_u16(), 502);
    rig.settle().await;
}

#[tokio::test]
async fn b04_a_restarted_daemon_finishes_what_it_had_begun_and_leaves_no_orphan() {
    let mut rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    killed_at_half(&mut rig, &digest).await;
    rig.restart();
    rig.settle().await;
    rig.ecr.clear_requests();
    assert_eq!(rig.get(&path(APP, &digest)).await.ok().cache(), "hit");
    assert_eq!(rig.upstream().len(), 0);
}

#[tokio::test]
async fn b04_bytes_from_before_a_power_cut_are_not_believed() {
    let mut rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    killed_at_half(&mut rig, &digest).await;
    let journal = fs::read_dir(rig.cache().join("staging")).unwrap().flatten().map(|entry| entry.path());
    let journal = journal.into_iter().find(|path| path.extension().is_some()).unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&journal, format!("boot another\n{rest}")).unwrap();
    rig.ecr.clear_requests();
    rig.restart();
    assert!(body_of(&rig, &digest).await == blob(1));
    assert_eq!(rig.ecr.stats().s3_bytes[&digest], S as u64);
}

#[tokio::test]
async fn b04_a_partial_of_other_bytes_is_found_out_and_costs_one_pull() {
    let mut rig = Rig::with("[cache]\nfinish_fill = \"never\"").await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    killed_at_half(&mut rig, &digest).await;
    let staging = rig.cache().join("staging").join(digest.strip_prefix("sha256:").unwrap());
    let mut bytes = fs::read(&staging).unwrap();
    bytes[1000] ^= 1;
    fs::write(&staging, bytes).unwrap();
    rig.restart();
    assert!(rig.get(&path(APP, &digest)).await.ok().body.is_err(), "wrong bytes must not be whole");
    assert!(body_of(&rig, &digest).await == blob(1));
}

#[tokio::test]
async fn b04_an_orderly_stop_keeps_what_came() {
    let mut rig = Rig::with("grace = \"50ms\"").await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    let hold = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(S as u64 / 2));
    let body = rig.open("GET", &path(APP, &digest), &[]).await.into_body();
    hold.reached().await;
    rig.daemon.signal("TERM");
    assert_eq!(rig.daemon.wait().await, Some(0));
    drop(body);
    rig.ecr.clear_faults();
    hold.release();
    rig.ecr.clear_requests();
    rig.restart();
    assert!(body_of(&rig, &digest).await == blob(1));
    let sent = rig.ecr.stats().s3_bytes[&digest];
    assert!(sent <= S as u64 / 2 + 8 * MIB, "{sent} bytes for the second half of {S}");
}

#[tokio::test]
async fn b04_what_rests_of_a_blob_that_came_another_way_goes() {
    let mut rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    killed_at_half(&mut rig, &digest).await;
    let store = BlobStore::open(&rig.cache(), None).unwrap();
    let whole = Manifest::new(MediaType::new("application/octet-stream"), blob(1).into());
    store.put_manifest(&APP.parse().unwrap(), &whole).unwrap();
    assert_eq!(store.partials().unwrap().len(), 1);
    drop(store);
    rig.restart();
    rig.settle().await;
    let staging: Vec<_> = fs::read_dir(rig.cache().join("staging")).unwrap().flatten().collect();
    assert!(staging.is_empty(), "{staging:?}");
    assert_eq!(rig.get(&path(APP, &digest)).await.ok().cache(), "hit");
}
