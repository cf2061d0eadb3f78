//! Large blobs over several connections.

use std::collections::HashSet;

use super::{bytes, path};
use crate::{
    fake_ecr::{Action, Knob, Listener, Rule},
    rig::{APP, Rig},
};

const MIB: usize = 1024 * 1024;
const LARGE: usize = 24 * MIB;

/// Above one megabyte a blob is large here, and a connection brings five a second.
async fn slow_origin() -> (Rig, String, Vec<u8>) {
    let rig = Rig::with_upstream("", "parallel_above = \"1MiB\"").await;
    rig.ecr.set(Knob::S3ConnectionRate(Some(5 * MIB as u64)));
    let bytes = bytes(7, LARGE);
    let digest = rig.ecr.push_blob(APP, bytes.clone());
    (rig, digest, bytes)
}

#[tokio::test]
async fn several_connections_bring_a_large_blob_once() {
    let (rig, digest, bytes) = slow_origin().await;
    let reply = rig.get(&path(APP, &digest)).await.ok();
    assert!(reply.body.unwrap() == bytes);
    let requests = rig.ecr.requests_to(Listener::S3);
    let ranges: HashSet<_> = requests.iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), requests.len(), "no range twice: {ranges:?}");
    assert!(ranges.len() > 4, "{ranges:?}");
    assert_eq!(rig.ecr.stats().s3_bytes[&digest], LARGE as u64);
    // the registry is asked once, the storage for each part
    let asked = rig.upstream().into_iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn what_breaks_off_costs_only_its_own_part() {
    for rule in [
        Rule::on(Listener::S3).nth_range(2, 9).reset_after(300_000),
        Rule::on(Listener::S3).nth_range(3, 4).then(Action::ExpireUrls),
        Rule::on(Listener::S3).nth_range(2, 5).status(503),
        Rule::on(Listener::S3).nth_range(2, 4).hold_after(100_000),
    ] {
        let (rig, digest, bytes) = slow_origin().await;
        let fault = rig.ecr.fault(rule);
        let reply = rig.get(&path(APP, &digest)).await.ok();
        assert!(reply.body.unwrap() == bytes);
        assert!(fault.hits() > 1);
        let sent = rig.ecr.stats().s3_bytes[&digest];
        assert!(sent <= LARGE as u64 * 11 / 10, "{sent} bytes for {LARGE}");
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_once() {
    let (rig, digest, bytes) = slow_origin().await;
    rig.ecr.set(Knob::S3ConnectionRate(Some(20 * MIB as u64)));
    rig.ecr.fault(Rule::on(Listener::S3).then(Action::IgnoreRange));
    assert!(rig.get(&path(APP, &digest)).await.ok().body.unwrap() == bytes);
    assert_eq!((rig.ecr.s3_gets(&digest), rig.ecr.stats().s3_bytes[&digest]), (1, LARGE as u64));
}

#[tokio::test]
async fn wrong_bytes_of_one_part_spoil_the_whole() {
    let (rig, digest, bytes) = slow_origin().await;
    let fault = rig.ecr.fault(Rule::on(Listener::S3).nth(3).flip_byte(1000));
    assert!(rig.get(&path(APP, &digest)).await.ok().body.is_err());
    assert_eq!(fault.hits(), 1);
    assert!(rig.get(&path(APP, &digest)).await.ok().body.unwrap() == bytes);
}

#[tokio::test]
async fn a_reader_far_behind_the_front_gets_a_connection_of_its_own() {
    let (rig, digest, bytes) = slow_origin().await;
    rig.ecr.set(Knob::S3ConnectionRate(Some(MIB as u64)));
    let tail = rig.request("GET", &path(APP, &digest), &[("range", "bytes=20000000-20099999")]).await;
    assert_eq!((tail.status.as_u16(), &tail.body.unwrap()[..]), (206, &bytes[20_000_000..20_100_000]));
    // the front is still far away
    let sent = rig.ecr.stats().s3_bytes[&digest];
    assert!(sent < LARGE as u64 * 3 / 4, "{sent} bytes came before the tail did");
}

#[tokio::test]
async fn a_limit_of_one_connection_is_kept() {
    let rig = Rig::with_upstream("", "parallel_above = \"1MiB\"\nconnections_per_host = 1").await;
    rig.ecr.set(Knob::S3ConnectionRate(Some(40 * MIB as u64)));
    let bytes = bytes(7, LARGE);
    let digest = rig.ecr.push_blob(APP, bytes.clone());
    assert!(rig.get(&path(APP, &digest)).await.ok().body.unwrap() == bytes);
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
}
