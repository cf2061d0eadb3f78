//! Errors are honest, and not remembered. What is heard for each cause is in `causes.rs`.

use std::time::{Duration, Instant};

use crate::{
    fake_ecr::{Action, Image, Knob, Listener, Rule},
    rig::{APP, Rig, together},
};

fn path(reference: &str) -> String {
    format!("/v2/{APP}/manifests/{reference}")
}

#[tokio::test]
async fn b11_a_no_is_not_remembered() {
    let rig = Rig::start().await;
    rig.ecr.create_repository(APP);
    assert_eq!(rig.get(&path("v1")).await.status, 404);
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.ecr.set(Knob::DenyRepository(APP.into()));
    assert_eq!(rig.get(&path("v1")).await.status, 403);
    assert_eq!(rig.get(&path(&pushed.digest)).await.status, 403);
    rig.ecr.set(Knob::AllowRepository(APP.into()));
    assert_eq!(rig.get(&path("v1")).await.ok().header("docker-content-digest"), pushed.digest);
}

#[tokio::test]
async fn b11_many_who_ask_for_what_is_not_there_are_one_question() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&path("v1")).await.ok();
    rig.ecr.clear_requests();
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).hold());
    let paths = vec![path("v2"); 20];
    let replies = together(paths.iter().map(|path| rig.get(path)));
    let (replies, ()) = tokio::join!(replies, async {
        fault.reached().await;
        // all but the first may still be on their way
        rig.daemon.wait_for_log("listening");
        fault.release();
    });
    assert!(replies.iter().all(|reply| reply.status == 404), "{replies:?}");
    assert!(rig.upstream().len() < 20, "{:?}", rig.upstream());
}

#[tokio::test]
async fn b11_a_question_is_asked_again_while_its_budget_lasts() {
    let rig = Rig::with_upstream("", "retry_for = \"20s\"").await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let get = |reference: String| {
        let rig = &rig;
        async move { rig.get(&path(&reference)).await.ok().header("docker-content-digest").to_owned() }
    };
    rig.ecr.fault(Rule::on(Listener::Registry).nth_range(1, 3).status(500));
    assert_eq!(get("v1".to_owned()).await, pushed.digest);
    rig.ecr.clear_faults();
    rig.ecr.push_image(APP, "v2", Image::linux_amd64().seed(2));
    rig.ecr.fault(Rule::on(Listener::Registry).nth_range(1, 4).then(Action::CloseBeforeResponse));
    get("v2".to_owned()).await;
    rig.ecr.clear_faults();
    // what upstream asks to wait is waited
    for status in [429, 503] {
        let tag = format!("tag{status}");
        rig.ecr.push_image(APP, &tag, Image::linux_amd64().seed(status.into()));
        let rule = Rule::on(Listener::Registry).once().registry_error(status, "TOOMANYREQUESTS", "Rate exceeded");
        rig.ecr.fault(rule.set_header("Retry-After", "1"));
        let started = Instant::now();
        get(tag).await;
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        rig.ecr.clear_faults();
    }
    // or passed on, when it is longer than anybody wants to wait
    let rule = Rule::on(Listener::Registry).registry_error(429, "TOOMANYREQUESTS", "Rate exceeded");
    let fault = rig.ecr.fault(rule.set_header("Retry-After", "21"));
    let reply = rig.get(&path("v9")).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after"), fault.hits()), (429, "21", 1));
}

#[tokio::test]
async fn b11_a_cached_answer_is_not_kept_waiting_by_patience() {
    let rig = Rig::with_upstream("[cache]\nstale_after = \"20s\"", "retry_for = \"20s\"").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&path("v1")).await.ok();
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).status(500));
    let started = Instant::now();
    assert_eq!(rig.get(&path("v1")).await.ok().cache(), "stale");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(fault.hits(), 1);
}

#[tokio::test]
async fn b11_an_upstream_that_is_gone_is_given_up_soon_and_then_at_once() {
    let rig = Rig::with_upstream("", "retry_for = \"20s\"").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&path("v1")).await.ok();
    rig.ecr.stop_listening();
    let started = Instant::now();
    let reply = rig.get(&path("v2")).await;
    assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (502, "UNKNOWN"), "{reply:?}");
    // five attempts with growing pauses, then it counts as down
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    // a machine so slow that the second comes after the host's rest finds it down again
    for _ in 0..5 {
        let again = Instant::now();
        let reply = rig.get(&path("v2")).await;
        if reply.status == 503 && reply.error().1.contains(" did not answer ") {
            let (_, words) = reply.error();
            assert!(words.contains("times in a row, and is asked again in "), "{words}");
            assert!(words.contains("Connection refused"), "{words}");
            assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
            assert!(again.elapsed() < Duration::from_secs(1), "{:?}", again.elapsed());
            return;
        }
    }
    panic!("it was asked each time");
}

#[tokio::test]
async fn b11_a_storage_that_is_silent_is_down_for_all_blobs_and_nothing_else() {
    let rig = Rig::with_upstream("", "idle_timeout = \"1s\"").await;
    let digests: Vec<_> = (0..3_u8).map(|number| rig.ecr.push_blob(APP, vec![number; 1000])).collect();
    let fault = rig.ecr.fault(Rule::on(Listener::S3).hold());
    let ask = |digest: &str| {
        let path = format!("/v2/{APP}/blobs/{digest}");
        let rig = &rig;
        async move { rig.get(&path).await }
    };
    assert!(ask(&digests[0]).await.status.is_server_error());
    rig.daemon.wait_for_log("the host is left alone for a while");
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    assert_eq!(rig.get(&path("v1")).await.status, 200);
    // when its rest is over, one at a time waits for it: the others hear at once
    let replies = together(digests[1..].iter().map(|digest| ask(digest))).await;
    assert!(replies.iter().all(|reply| reply.status.is_server_error()), "{replies:?}");
    fault.remove();
    fault.release();
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(&digests[0]).await.status != 200 {
        assert!(Instant::now() < deadline, "it stays down");
    }
    rig.daemon.wait_for_log("the host answers again");
}

#[tokio::test]
async fn b11_a_page_in_the_place_of_a_manifest_is_told_as_that_whatever_its_type() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    for (media_type, body, words) in [
        ("text/html; charset=utf-8", "<html>log in</html>", "a guest network"),
        ("application/json", "{\"login\": \"https://portal\"}", "is not JSON, or no manifest"),
        ("application/vnd.oci.image.manifest.v1+json", "<html>log in</html>", "is not JSON, or no manifest"),
    ] {
        let rule = Rule::on(Listener::Registry).status(200).set_header("Content-Type", media_type).body(body);
        let fault = rig.ecr.fault(rule);
        let reply = rig.get(&path("v1")).await;
        assert!(reply.status == 502 && reply.error().1.contains(words), "{media_type}: {reply:?}");
        fault.remove();
    }
    assert!(rig.content().is_empty());
    // a redirect to a login page, too, is no answer of the registry
    rig.get(&path("v1")).await.ok();
    rig.ecr.fault(Rule::on(Listener::Registry).status(302).set_header("Location", "https://portal.example/"));
    assert_eq!(rig.get(&path("v1")).await.ok().cache(), "stale");
}

#[tokio::test]
async fn b11_a_short_burst_of_errors_is_nobodys_concern_however_many_ask() {
    let rig = Rig::with_upstream("", "retry_for = \"20s\"").await;
    let tags: Vec<_> = (0..6).map(|number| format!("v{number}")).collect();
    for (seed, tag) in (0..).zip(&tags) {
        rig.ecr.push_image(APP, tag, Image::linux_amd64().seed(seed));
    }
    // so many that the host is left alone for a while
    rig.ecr.fault(Rule::on(Listener::Registry).path("/manifests/").nth_range(1, 6).status(503));
    let paths: Vec<_> = tags.iter().map(|tag| path(tag)).collect();
    let replies = together(paths.iter().map(|path| rig.get(path))).await;
    let heard: Vec<_> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(heard, [200; 6], "{}", rig.daemon.log());
}
