//! When upstream is not asked at all: offline mode, tags that never move. And when it is, though nobody waits: images in use.

use std::time::{Duration, Instant};

use crate::{
    fake_ecr::{Image, Listener, Rule},
    rig::{APP, Rig},
};

fn path(reference: &str) -> String {
    format!("/v2/{APP}/manifests/{reference}")
}

#[tokio::test]
async fn b10_offline_mode_serves_what_is_cached_and_asks_nobody_anything() {
    let mut rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let before = rig.pull(APP, "v1").await;
    rig.ecr.push_image(APP, "v2", Image::linux_amd64().seed(2));
    rig.more = "[cache]\noffline = true".to_owned();
    rig.kill_and_restart();
    rig.ecr.clear_requests();
    let reply = rig.get(&path("v1")).await.ok();
    assert_eq!((reply.cache(), reply.header("warning")), ("stale", "110 - \"Response is Stale\""));
    assert!(reply.header("age").parse::<u64>().is_ok());
    assert_eq!(rig.pull(APP, "v1").await, before);
    assert_eq!(rig.get(&path(&pushed.digest)).await.ok().cache(), "hit");
    let absent = longshore::oci::Digest::of(b"absent");
    for path in [path("v2"), path(absent.as_str()), format!("/v2/{APP}/blobs/{absent}"), format!("/v2/{APP}/tags/list")]
    {
        let started = Instant::now();
        let reply = rig.get(&path).await;
        assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (504, "UNKNOWN"), "{path}");
        assert!(reply.error().1.contains("offline mode is on ([cache] offline = true)"), "{reply:?}");
        assert_eq!(rig.head(&path).await.status, 504, "{path}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    // not for a token either
    assert_eq!(rig.ecr.requests().len(), 0);
}

#[tokio::test]
async fn b10_an_immutable_tag_is_never_asked_for_again() {
    let more = "[[registry]]\nmatch = \"*.dkr.ecr.*.amazonaws.com\"\nimmutable = [\"app:v*\"]";
    let mut rig = Rig::with(more).await;
    for tag in ["v1", "latest"] {
        rig.ecr.push_image(APP, tag, Image::linux_amd64());
        rig.pull(APP, tag).await;
    }
    rig.kill_and_restart();
    rig.ecr.clear_requests();
    for _ in 0..2 {
        assert_eq!(rig.get(&path("v1")).await.ok().cache(), "hit");
        assert_eq!(rig.head(&path("v1")).await.ok().cache(), "hit");
    }
    assert_eq!(rig.upstream(), Vec::<String>::new());
    assert_eq!(rig.get(&path("latest")).await.ok().cache(), "hit");
    assert_eq!(rig.upstream(), ["HEAD /v2/app/manifests/latest"]);
    // one that is not known is asked for like any other
    assert_eq!(rig.get(&path("v2")).await.status, 404);
}

/// Upstream's GETs of a manifest by digest.
fn gets(rig: &Rig, digest: &str) -> usize {
    let wanted = format!("GET /v2/app/manifests/{digest}");
    rig.upstream().iter().filter(|request| **request == wanted).count()
}

/// Serves the manifest until upstream was asked for it so often.
async fn serve_until_asked(rig: &Rig, digest: &str, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while gets(rig, digest) < count {
        assert_eq!(rig.get(&path(digest)).await.ok().cache(), "hit");
        assert!(Instant::now() < deadline, "upstream was not asked");
    }
}

#[tokio::test]
async fn b10_an_image_in_use_is_asked_for_upstream_once_in_a_while() {
    let mut rig = Rig::with_upstream("", "touch_after = \"3s\"").await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let fetched = Instant::now();
    rig.get(&path(&pushed.digest)).await.ok();
    rig.ecr.clear_requests();
    rig.kill_and_restart();
    serve_until_asked(&rig, &pushed.digest, 1).await;
    // seconds are whole ones
    assert!(fetched.elapsed() >= Duration::from_secs(2), "{:?}", fetched.elapsed());
    let touched = Instant::now();
    for _ in 0..50 {
        rig.get(&path(&pushed.digest)).await.ok();
    }
    if touched.elapsed() < Duration::from_secs(2) {
        assert_eq!(gets(&rig, &pushed.digest), 1);
    }
    // one that fails is no client's concern
    rig.ecr.fault(Rule::on(Listener::Registry).registry_error(429, "TOOMANYREQUESTS", "Rate exceeded"));
    serve_until_asked(&rig, &pushed.digest, 2).await;
    rig.daemon.wait_for_log("upstream could not be told that an image is in use");
    assert_eq!(rig.get(&path(&pushed.digest)).await.ok().cache(), "hit");
}

#[tokio::test]
async fn b10_nothing_is_asked_for_when_that_is_off() {
    let mut rig = Rig::with_upstream("", "touch_after = \"0s\"").await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&path(&pushed.digest)).await.ok();
    rig.daemon.kill();
    std::fs::remove_file(rig.cache().join("contacts")).unwrap();
    rig.restart();
    rig.ecr.clear_requests();
    for _ in 0..10 {
        rig.get(&path(&pushed.digest)).await.ok();
    }
    rig.daemon.signal("TERM");
    rig.daemon.wait().await;
    assert_eq!(rig.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn b10_a_question_that_failed_is_not_the_one_of_the_day() {
    let mut rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&path(&pushed.digest)).await.ok();
    rig.daemon.kill();
    // a day ago, as the file of contacts has it
    let file = rig.cache().join("contacts");
    let older = |line: &str| {
        let (seconds, key) = line.split_once(' ').unwrap();
        format!("{} {key}\n", seconds.parse::<u64>().unwrap() - 86_400)
    };
    let text: String = std::fs::read_to_string(&file).unwrap().lines().map(older).collect();
    std::fs::write(&file, &text).unwrap();
    rig.restart();
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).registry_error(429, "TOOMANYREQUESTS", "Rate exceeded"));
    rig.ecr.clear_requests();
    serve_until_asked(&rig, &pushed.digest, 1).await;
    rig.daemon.wait_for_log("upstream could not be told that an image is in use");
    for _ in 0..20 {
        rig.get(&path(&pushed.digest)).await.ok();
    }
    assert_eq!(gets(&rig, &pushed.digest), 1, "once an hour is enough");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    fault.remove();
    rig.kill_and_restart();
    serve_until_asked(&rig, &pushed.digest, 2).await;
}
