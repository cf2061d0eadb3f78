//! Readers come and go.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{S, blob, body_of, path, patient};
use crate::{
    fake_ecr::{Listener, Rule},
    rig::{APP, Rig},
};

#[tokio::test]
async fn b02_readers_come_and_go() {
    let rig = patient().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    let hold = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(S as u64 / 4));
    let mut first = rig.open("GET", &path(APP, &digest), &[]).await.into_body();
    // this one reads nothing until the end
    let stalled = rig.open("GET", &path(APP, &digest), &[]).await;
    let third = rig.open("GET", &path(APP, &digest), &[]).await;
    assert!(first.frame().await.unwrap().is_ok());
    drop(first);
    hold.release();
    assert!(third.into_body().collect().await.unwrap().to_bytes() == blob(1));
    rig.settle().await;
    assert!(stalled.into_body().collect().await.unwrap().to_bytes() == blob(1));
    rig.ecr.clear_requests();
    assert!(body_of(&rig, &digest).await == blob(1));
    assert_eq!(rig.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn b02_the_only_reader_leaves_and_the_fill_is_finished() {
    let rig = patient().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    let hold = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(S as u64 / 4));
    leave_early(&rig, &digest).await;
    hold.release();
    rig.settle().await;
    rig.ecr.clear_requests();
    let reply = rig.get(&path(APP, &digest)).await.ok();
    assert_eq!((reply.cache(), rig.upstream().len()), ("hit", 0));
    assert!(reply.body.unwrap() == blob(1));
}

/// Reads so many bytes, or a few more.
async fn read(body: &mut Incoming, count: usize) {
    let mut read = 0;
    while read < count {
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
}

/// Reads a little and hangs up.
async fn leave_early(rig: &Rig, digest: &str) {
    let mut body = rig.open("GET", &path(APP, digest), &[]).await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
}

// waiting for the log must not keep the client from hanging up
#[tokio::test(flavor = "multi_thread")]
async fn b02_finish_fill_never_rests_when_the_last_reader_leaves() {
    let rig = Rig::with_upstream("[cache]\nfinish_fill = \"never\"", "idle_timeout = \"30s\"").await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(S as u64 / 2));
    let mut reading = rig.open("GET", &path(APP, &digest), &[]).await.into_body();
    read(&mut reading, S / 2 - 256 * 1024).await;
    leave_early(&rig, &digest).await;
    // somebody is left: nothing rests
    assert!(!rig.daemon.log().contains("a download rests"));
    drop(reading);
    rig.daemon.wait_for_log("a download rests");
    rig.ecr.clear_faults();
    assert!(body_of(&rig, &digest).await == blob(1));
    let sent = rig.ecr.stats().s3_bytes[&digest];
    assert!(sent <= S as u64 + 1024 * 1024, "{sent} bytes for {S}");
}

// waiting for the log must not keep the client from hanging up
#[tokio::test(flavor = "multi_thread")]
async fn b02_finish_fill_from_a_share_on() {
    for (held_at, rests) in [(S / 4, true), (S * 3 / 4, false)] {
        let rig = Rig::with_upstream("[cache]\nfinish_fill = \"50%\"", "idle_timeout = \"30s\"").await;
        let digest = rig.ecr.push_blob(APP, blob(1));
        let hold = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(held_at as u64));
        let mut body = rig.open("GET", &path(APP, &digest), &[]).await.into_body();
        read(&mut body, held_at - 256 * 1024).await;
        drop(body);
        if rests {
            rig.daemon.wait_for_log("a download rests");
        } else {
            hold.release();
            rig.settle().await;
            assert!(!rig.daemon.log().contains("a download rests"));
            rig.ecr.clear_requests();
            assert_eq!(rig.get(&path(APP, &digest)).await.ok().cache(), "hit");
        }
    }
}
