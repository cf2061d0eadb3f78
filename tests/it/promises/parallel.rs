//! Large blobs over several connections.

use std::{collections::HashSet, time::Duration};

use http_body_util::BodyExt as _;

use super::{bytes, path};
use crate::{
    fake_ecr::{Action, Image, Knob, Listener, Rule},
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

#[tokio::test]
async fn what_is_fetched_ahead_keeps_no_connection_from_what_is_asked_for() {
    let rig = Rig::with_upstream("", "prefetch = 2\nconnections_per_host = 2").await;
    rig.ecr.set(Knob::S3ConnectionRate(Some(MIB as u64)));
    rig.ecr.push_image(APP, "1", Image::linux_amd64().layer_sizes([4 * MIB, 4 * MIB]));
    let other = rig.ecr.push_blob(APP, bytes(9, MIB));
    let hold = rig.ecr.fault(Rule::on(Listener::S3).hold_after(100_000));
    rig.get(&format!("/v2/{APP}/manifests/1")).await.ok();
    hold.reached_times(2).await;
    rig.ecr.clear_faults();
    hold.release();
    assert!(rig.get(&path(APP, &other)).await.ok().body.unwrap() == bytes(9, MIB));
    // what rested goes on where it was
    rig.settle().await;
    assert_eq!(rig.ecr.stats().s3_bytes.values().sum::<u64>() / MIB as u64, 9);
}

#[tokio::test]
async fn what_breaks_off_last_is_fetched_by_whoever_gets_a_connection() {
    let rig = Rig::with_upstream("", "parallel_above = \"1MiB\"\nconnections_per_host = 2").await;
    rig.ecr.set(Knob::S3ConnectionRate(Some(MIB as u64)));
    let digest = rig.ecr.push_blob(APP, bytes(7, 2 * MIB));
    let others = [rig.ecr.push_blob(APP, bytes(8, MIB)), rig.ecr.push_blob(APP, bytes(9, MIB))];
    // the second half comes over a connection of its own, which breaks when the first one has gone to others
    let rule = Rule::on(Listener::S3).digest(&digest).nth(2);
    let hold = rig.ecr.fault(rule.hold_after(100_000).then(Action::ResetAfter(200_000)));
    let mut whole = rig.open("GET", &path(APP, &digest), &[]).await.into_body();
    let of_digest = path(APP, &digest);
    let tail = rig.request("GET", &of_digest, &[("range", "bytes=1048576-1048675")]);
    let (tail, ()) = tokio::join!(tail, hold.reached());
    assert!(tail.ok().body.unwrap()[..] == bytes(7, 2 * MIB)[MIB..MIB + 100]);
    let mut body = Vec::new();
    while body.len() < MIB {
        body.extend(whole.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    let served = rig.ecr.fault(Rule::on(Listener::S3).delay(Duration::ZERO));
    let paths = others.each_ref().map(|other| path(APP, other));
    let waiting = async { tokio::join!(rig.get(&paths[0]), rig.get(&paths[1])) };
    let release = async {
        // the first connection has brought its half, and another blob has its place
        served.reached().await;
        hold.release();
        whole.collect().await.unwrap().to_bytes()
    };
    let ((one, other), rest) = tokio::join!(waiting, release);
    body.extend(rest);
    assert!(one.ok().body.unwrap() == bytes(8, MIB) && other.ok().body.unwrap() == bytes(9, MIB));
    assert!(body == bytes(7, 2 * MIB));
    rig.settle().await;
    assert_eq!(rig.get(&of_digest).await.ok().cache(), "hit");
    let sent = rig.ecr.stats().s3_bytes[&digest];
    assert!(sent <= 2 * MIB as u64 * 11 / 10, "{sent} bytes for {}", 2 * MIB);
}

#[tokio::test]
async fn one_connection_that_stands_still_does_not_hold_the_others_back() {
    let (rig, digest, bytes) = slow_origin().await;
    let held = rig.ecr.fault(Rule::on(Listener::S3).nth(2).hold_after(1000));
    let response = rig.open("GET", &path(APP, &digest), &[]).await;
    held.reached().await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while rig.ecr.requests_to(Listener::S3).len() < 6 {
        assert!(tokio::time::Instant::now() < deadline, "there is one connection only");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    held.release();
    assert!(response.into_body().collect().await.unwrap().to_bytes() == bytes);
}
