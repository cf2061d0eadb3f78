//! A cached tag is as fresh as its cause allows. What is heard for each cause is in `causes.rs`; here is what comes before
//! and after.

use std::time::{Duration, Instant};

use crate::{
    fake_ecr::{Image, Knob, Listener, Rule},
    rig::{APP, REGISTRY, Rig, together},
};

fn path(reference: &str) -> String {
    format!("/v2/{APP}/manifests/{reference}")
}

#[tokio::test]
async fn b10_one_head_per_tag_and_window_however_many_ask_and_how() {
    let mut rig = Rig::with("[cache]\nrevalidate = \"1h\"").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&path("v1")).await.ok();
    // a daemon that just started believes nothing: a window begins with the first answer
    for window in ["1h", "0s"] {
        rig.more = format!("[cache]\nrevalidate = {window:?}");
        rig.kill_and_restart();
        let rig = &rig;
        rig.ecr.clear_requests();
        let fault = rig.ecr.fault(Rule::on(Listener::Registry).hold());
        let paths = vec![path("v1"); 20];
        let replies = together(paths.iter().enumerate().map(|(number, path)| async move {
            if number % 2 == 0 { rig.get(path).await } else { rig.head(path).await }
        }));
        let (replies, ()) = tokio::join!(replies, async {
            fault.reached().await;
            fault.remove();
            fault.release();
        });
        assert!(replies.iter().all(|reply| reply.status == 200 && reply.cache() == "hit"), "{replies:?}");
        assert_eq!(rig.get(&path("v1")).await.ok().cache(), "hit");
        let heads = if window == "1h" { 1 } else { rig.upstream().len() };
        assert_eq!(rig.upstream(), vec!["HEAD /v2/app/manifests/v1"; heads]);
    }
}

#[tokio::test]
async fn b10_a_tag_that_was_only_asked_for_by_head_is_believed_as_long() {
    let rig = Rig::with("[cache]\nrevalidate = \"1h\"").await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.head(&path("v1")).await.ok();
    rig.ecr.clear_requests();
    assert_eq!(rig.head(&path("v1")).await.ok().header("docker-content-digest"), pushed.digest);
    assert_eq!(rig.upstream(), Vec::<String>::new());
    assert_eq!(rig.get(&path("v1")).await.ok().body.unwrap(), pushed.manifest);
    assert_eq!(rig.upstream(), [format!("GET /v2/app/manifests/{}", pushed.digest)]);
}

#[tokio::test]
async fn b10_a_moved_tag_is_new_at_once() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64().seed(1));
    rig.get(&path("v1")).await.ok();
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().seed(2));
    rig.ecr.clear_requests();
    let reply = rig.get(&path("v1")).await.ok();
    assert_eq!((reply.cache(), reply.header("docker-content-digest")), ("miss", pushed.digest.as_str()));
    assert_eq!(
        rig.upstream(),
        ["HEAD /v2/app/manifests/v1".to_owned(), format!("GET /v2/app/manifests/{}", pushed.digest)]
    );
}

#[tokio::test]
async fn b10_age_counts_from_the_last_word_of_upstream_even_after_a_restart() {
    let mut rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&path("v1")).await.ok();
    rig.ecr.stop_listening();
    // an hour ago, as the file of contacts has it
    rig.daemon.kill();
    let file = rig.cache().join("contacts");
    let text = std::fs::read_to_string(&file).unwrap();
    let older = |line: &str| {
        let (seconds, key) = line.split_once(' ').unwrap();
        format!("{} {key}\n", seconds.parse::<u64>().unwrap() - 3600)
    };
    std::fs::write(&file, text.lines().map(older).collect::<String>()).unwrap();
    rig.restart();
    let reply = rig.get(&path("v1")).await.ok();
    let age: u64 = reply.header("age").parse().unwrap();
    assert_eq!((reply.cache(), (3600..3660).contains(&age)), ("stale", true), "{age}");
    rig.ecr.resume();
    assert_eq!(rig.get(&path("v1")).await.ok().cache(), "hit");
    rig.ecr.stop_listening();
    let age: u64 = rig.get(&path("v1")).await.ok().header("age").parse().unwrap();
    assert!(age < 30, "{age}");
}

#[tokio::test]
async fn b10_what_a_slow_upstream_says_in_the_end_counts_and_nobody_else_waits_for_it() {
    let mut rig = Rig::with("[cache]\nstale_after = \"2s\"\nrevalidate = \"1h\"").await;
    for tag in ["v1", "v2"] {
        rig.ecr.push_image(APP, tag, Image::linux_amd64().seed(1));
        rig.get(&path(tag)).await.ok();
    }
    // confirmed lately is not confirmed to a daemon that just started
    rig.kill_and_restart();
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().seed(2));
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).hold());
    let started = Instant::now();
    assert_eq!(rig.get(&path("v1")).await.ok().cache(), "stale");
    let first = started.elapsed();
    assert!(first >= Duration::from_secs(2) && first < Duration::from_secs(4), "{first:?}");
    // one has waited in vain: another tag does not
    assert_eq!(rig.get(&path("v2")).await.ok().cache(), "stale");
    assert!(started.elapsed() < first + Duration::from_secs(1), "{:?}", started.elapsed());
    rig.ecr.clear_requests();
    fault.remove();
    fault.release();
    // the question that went on is answered, and what it brought is used
    rig.daemon.wait_for_log("upstream is slow");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = rig.get(&path("v1")).await.ok();
        if reply.header("docker-content-digest") == pushed.digest {
            break;
        }
        assert!(Instant::now() < deadline, "{reply:?}");
    }
    let heads = rig.upstream().iter().filter(|request| *request == "HEAD /v2/app/manifests/v1").count();
    assert!(heads <= 1, "{:?}", rig.upstream());
}

#[tokio::test]
async fn b10_a_registry_that_is_known_to_be_down_costs_no_time() {
    // a machine so slow that the host's first rest is over before all was asked tries again
    for _ in 0..5 {
        if is_down_at_once().await {
            return;
        }
    }
    panic!("never at once");
}

/// Whether everybody was told at once that a registry is down that was silent for one; what is told is checked.
async fn is_down_at_once() -> bool {
    let rig = Rig::with_upstream("[cache]\nstale_after = \"25s\"", "idle_timeout = \"1s\"").await;
    for tag in ["v1", "v2"] {
        rig.ecr.push_image(APP, tag, Image::linux_amd64());
        rig.get(&path(tag)).await.ok();
    }
    let digest = rig.ecr.push_blob(APP, b"blob".to_vec());
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).hold());
    let started = Instant::now();
    assert_eq!(rig.get(&path("v1")).await.ok().cache(), "stale");
    // one waited for the whole second; nobody else does
    let (waited, down) = (started.elapsed(), Instant::now());
    assert_eq!(rig.get(&path("v2")).await.ok().cache(), "stale");
    let uncached = rig.get(&path("v3")).await;
    let blob = rig.get(&format!("/v2/{APP}/blobs/{digest}")).await;
    let is_at_once = down.elapsed() < Duration::from_millis(600);
    if is_at_once {
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
        assert_eq!((uncached.status.as_u16(), uncached.header("retry-after"), blob.status.as_u16()), (503, "1", 503));
        let (_, words) = uncached.error();
        assert!(words.contains(&format!("{REGISTRY}:443 did not answer, and is asked again in 1 s")), "{words}");
        assert!(words.contains("silent for 1s"), "{words}");
        assert_eq!(fault.hits(), 1);
    }
    // when it answers again, one question finds out
    fault.remove();
    fault.release();
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig.get(&path("v1")).await.ok().cache() != "hit" {
        assert!(Instant::now() < deadline, "it stays down");
    }
    is_at_once
}

#[tokio::test]
async fn b10_a_tag_that_is_gone_is_forgotten_unless_it_is_to_be_kept() {
    for keep in [false, true] {
        let rig = Rig::with(&format!("[cache]\nkeep_deleted = {keep}")).await;
        let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
        rig.get(&path("v1")).await.ok();
        rig.ecr.delete_tag(APP, "v1");
        for _ in 0..2 {
            let reply = rig.get(&path("v1")).await;
            if keep {
                assert_eq!((reply.status.as_u16(), reply.cache()), (200, "stale"));
                assert_eq!(reply.header("docker-content-digest"), pushed.digest);
            } else {
                assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (404, "MANIFEST_UNKNOWN"));
            }
        }
        // a right that is gone is another thing
        rig.ecr.set(Knob::DenyRepository(APP.into()));
        assert_eq!(rig.get(&path("v1")).await.status, 403);
        rig.ecr.stop_listening();
        assert_eq!(rig.get(&path("v1")).await.status, if keep { 200 } else { 502 });
    }
}

#[tokio::test]
async fn b10_a_digest_never_waits_for_upstream() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    rig.ecr.fault(Rule::on(Listener::Registry).hold());
    rig.ecr.clear_requests();
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(rig.get(&path(&pushed.digest)).await.ok().cache(), "hit");
    }
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(rig.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn b10_what_is_gone_is_gone_for_all_who_read_the_same() {
    let rig = Rig::with("[cache]\nrevalidate = \"0s\"").await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let (one, both) = (pushed.media_type.clone(), format!("{}, text/other", pushed.media_type));
    let get = |accept: String| {
        let rig = &rig;
        async move { rig.request("GET", &path("v1"), &[("accept", &accept)]).await.status.as_u16() }
    };
    assert_eq!((get(one.clone()).await, get(both.clone()).await), (200, 200));
    let gone = rig.ecr.fault(Rule::on(Listener::Registry).registry_error(404, "MANIFEST_UNKNOWN", "gone"));
    // who reads nothing of that kind was told nothing about it
    assert_eq!(get("text/other".to_owned()).await, 404);
    gone.remove();
    let out_of_order = rig.ecr.fault(Rule::on(Listener::Registry).status(503));
    assert_eq!((get(one.clone()).await, get(both.clone()).await), (200, 200));
    out_of_order.remove();
    rig.ecr.fault(Rule::on(Listener::Registry).registry_error(404, "MANIFEST_UNKNOWN", "gone"));
    assert_eq!(get(one.clone()).await, 404);
    rig.ecr.stop_listening();
    assert_eq!((get(one).await, get(both).await), (502, 502));
}
