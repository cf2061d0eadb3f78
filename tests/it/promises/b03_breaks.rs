//! Upstream breaks are invisible.

use std::time::Duration;

use http_body_util::BodyExt as _;

use super::{S, blob, body_of, bytes, path};
use crate::{
    fake_ecr::{Action, Knob, Listener, Rule},
    rig::{APP, Rig, together},
};

const MIB: u64 = 1024 * 1024;

/// One uninterrupted 200 with the right bytes, whatever the rules do; how many bytes the storage sent.
async fn invisible(rules: impl IntoIterator<Item = Rule>) -> (Rig, u64) {
    let rig = Rig::with_upstream("", "idle_timeout = \"500ms\"").await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    for rule in rules {
        rig.ecr.fault(rule);
    }
    let reply = rig.get(&path(APP, &digest)).await.ok();
    assert_eq!((reply.status.as_u16(), reply.cache()), (200, "miss"));
    assert!(reply.body.unwrap() == blob(1));
    let sent = rig.ecr.stats().s3_bytes[&digest];
    rig.settle().await;
    rig.ecr.clear_requests();
    assert_eq!(rig.get(&path(APP, &digest)).await.ok().cache(), "hit");
    (rig, sent)
}

#[tokio::test]
async fn b03_a_storage_that_resets_every_megabyte() {
    let (_, sent) = invisible([Rule::on(Listener::S3).reset_after(MIB)]).await;
    assert!(sent <= S as u64 * 11 / 10, "{sent} bytes for {S}");
}

#[tokio::test]
async fn b03_a_storage_that_closes_in_the_middle() {
    let (_, sent) = invisible([Rule::on(Listener::S3).once().fin_after(S as u64 / 2 + 7)]).await;
    assert_eq!(sent, S as u64);
}

#[tokio::test]
async fn b03_a_storage_that_falls_silent() {
    let (_, sent) = invisible([Rule::on(Listener::S3).once().hold_after(S as u64 / 2)]).await;
    assert_eq!(sent, S as u64);
}

#[tokio::test]
async fn b03_a_signed_url_that_is_over_is_asked_for_anew() {
    let broken = Rule::on(Listener::S3).once().fin_after(S as u64 / 2);
    let expired = Rule::on(Listener::S3).nth(1).then(Action::ExpireUrls);
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    rig.ecr.fault(broken);
    rig.ecr.fault(expired);
    assert!(body_of(&rig, &digest).await == blob(1));
    let mut seen = rig.ecr.requests();
    seen.retain(|request| request.path().contains("/blobs/") || request.listener == Listener::S3);
    let statuses: Vec<_> = seen.iter().map(|request| request.status).collect();
    // redirected, broken off, refused, redirected anew, the rest
    assert_eq!(statuses, [307, 206, 403, 307, 206].map(Some), "{seen:?}");
    assert_eq!(rig.ecr.stats().s3_bytes[&digest], S as u64);
}

#[tokio::test]
async fn b03_another_version_of_the_bytes_is_refused() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    rig.ecr.fault(Rule::on(Listener::S3).once().fin_after(S as u64 / 2));
    let other = rig.ecr.fault(Rule::on(Listener::S3).set_header("ETag", "\"another\""));
    let reply = rig.get(&path(APP, &digest)).await.ok();
    assert!(reply.body.is_err(), "a body must not go on as another one");
    assert!(other.hits() > 1, "it is tried again before it is given up");
    rig.ecr.clear_faults();
    assert!(body_of(&rig, &digest).await == blob(1));
}

#[tokio::test]
async fn b03_an_upstream_that_never_comes_back_cuts_the_client() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    rig.ecr.fault(Rule::on(Listener::S3).once().reset_after(MIB));
    rig.ecr.fault(Rule::on(Listener::S3).status(503));
    let reply = rig.get(&path(APP, &digest)).await.ok();
    assert!(reply.body.is_err(), "never a clean end");
    // what came is not lost
    rig.ecr.clear_faults();
    rig.ecr.clear_requests();
    assert!(body_of(&rig, &digest).await == blob(1));
    let sent = rig.ecr.stats().s3_bytes[&digest];
    assert!(sent < S as u64, "{sent} bytes for the rest of {S}");
}

#[tokio::test]
async fn b03_another_size_of_the_whole_is_refused() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    rig.ecr.fault(Rule::on(Listener::S3).once().drop_header("ETag").fin_after(S as u64 / 2));
    let other = format!("bytes {}-{}/{}", S / 2, S - 1, S + 1);
    rig.ecr.fault(Rule::on(Listener::S3).drop_header("ETag").set_header("Content-Range", &other));
    assert!(rig.get(&path(APP, &digest)).await.ok().body.is_err(), "a body must not go on as another one");
    rig.daemon.wait_for_log(&format!("a blob of {S} bytes went on as one of {} bytes", S + 1));
    rig.ecr.clear_faults();
    assert!(body_of(&rig, &digest).await == blob(1));
}

#[tokio::test]
async fn b03_several_downloads_wait_for_a_storage_that_is_left_alone() {
    let rig = Rig::start().await;
    let blobs: Vec<_> = (0..4).map(|seed| bytes(seed + 50, 8 * 1024 * 1024)).collect();
    let paths: Vec<_> = blobs.iter().map(|blob| path(APP, &rig.ecr.push_blob(APP, blob.clone()))).collect();
    // all break off at once, so many fail that the host rests, and the one that looks whether it is back takes its time
    rig.ecr.fault(Rule::on(Listener::S3).nth_range(1, 4).reset_after(MIB));
    rig.ecr.fault(Rule::on(Listener::S3).nth_range(1, 6).status(503));
    rig.ecr.fault(Rule::on(Listener::S3).once().delay(Duration::from_secs(1)));
    let replies = together(paths.iter().map(|path| rig.get(path))).await;
    for (reply, blob) in replies.into_iter().zip(&blobs) {
        assert!(reply.ok().body.is_ok_and(|body| body == blob), "{}", rig.daemon.log());
    }
}

#[tokio::test]
async fn b03_a_storage_that_is_gone_is_not_the_only_one() {
    let rig = Rig::with_upstream("", "idle_timeout = \"1s\"").await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    let silent = rig.ecr.fault(Rule::on(Listener::S3).once().hold_after(S as u64 / 2));
    let body = rig.open("GET", &path(APP, &digest), &[]).await.into_body();
    silent.reached().await;
    rig.ecr.fault(Rule::on(Listener::S3).then(Action::CloseBeforeResponse));
    rig.ecr.set(Knob::InlineBlobs(true));
    let body = body.collect().await;
    assert!(body.is_ok_and(|body| body.to_bytes() == blob(1)), "{}", rig.daemon.log());
    silent.release();
}
