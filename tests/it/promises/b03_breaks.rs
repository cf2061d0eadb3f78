//! Upstream breaks are invisible.

use super::{S, blob, body_of, path};
use crate::{
    fake_ecr::{Action, Listener, Rule},
    rig::{APP, Rig},
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
