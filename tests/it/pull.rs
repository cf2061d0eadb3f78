//! Pulls: what a client gets, and what upstream is asked for it.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use longshore::oci::Digest;

use crate::{
    fake_ecr::{Image, Knob, Listener, Rule},
    rig::{ACCEPT, APP, Daemon, Rig, program, together},
};

#[tokio::test]
async fn a_pull_brings_what_was_pushed_byte_for_byte() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::index(["linux/amd64", "linux/arm64"]).layers(3, 300_000));
    let pull = rig.pull(APP, "v1").await;
    assert_eq!((pull.digest.as_str(), &pull.manifest), (pushed.digest.as_str(), &pushed.manifest));
    let child = &pushed.children[0];
    let mut want: Vec<_> = child.layers.iter().map(|blob| blob.digest.clone()).collect();
    want.push(child.config.digest.clone());
    want.sort_unstable();
    assert_eq!(pull.blobs.keys().cloned().collect::<Vec<_>>(), want);
    // indexes are lazy: of the other platform nothing was fetched
    let other = &pushed.children[1];
    assert!(rig.upstream().iter().all(|request| !request.contains(&other.digest)));
}

#[tokio::test]
async fn a_second_pull_costs_one_head_and_no_byte_of_a_blob() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::index(["linux/amd64", "linux/arm64"]).layers(3, 100_000));
    let first = rig.pull(APP, "v1").await;
    rig.ecr.clear_requests();
    assert_eq!(rig.pull(APP, "v1").await, first);
    assert_eq!(rig.upstream(), ["HEAD /v2/app/manifests/v1"]);
    assert_eq!(rig.mints(), 0);
}

#[tokio::test]
async fn a_client_that_gets_tags_without_head_costs_one_head_too() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = format!("/v2/{APP}/manifests/v1");
    assert_eq!(rig.get(&path).await.ok().cache(), "miss");
    assert_eq!(rig.upstream(), ["GET /v2/app/manifests/v1"]);
    rig.ecr.clear_requests();
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
    assert_eq!(rig.upstream(), ["HEAD /v2/app/manifests/v1"]);
}

#[tokio::test]
async fn a_tag_is_believed_for_as_long_as_the_configuration_says() {
    let rig = Rig::with("[cache]\nrevalidate = \"1h\"").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = format!("/v2/{APP}/manifests/v1");
    rig.get(&path).await.ok();
    rig.ecr.clear_requests();
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
    assert_eq!(rig.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn a_tag_is_asked_for_again_when_that_time_is_over() {
    let rig = Rig::with("[cache]\nrevalidate = \"1s\"").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = format!("/v2/{APP}/manifests/v1");
    rig.get(&path).await.ok();
    rig.ecr.clear_requests();
    rig.get(&path).await.ok();
    assert_eq!(rig.upstream(), Vec::<String>::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig.upstream().is_empty() && Instant::now() < deadline {
        rig.get(&path).await.ok();
    }
    assert_eq!(rig.upstream(), ["HEAD /v2/app/manifests/v1"]);
}

#[tokio::test]
async fn a_moved_tag_is_followed() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64().seed(1));
    let before = rig.pull(APP, "v1").await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().seed(2));
    let after = rig.pull(APP, "v1").await;
    assert_eq!(after.digest, pushed.digest);
    assert_ne!(before, after);
}

#[tokio::test]
async fn twenty_first_pulls_at_once_fetch_each_blob_once() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(3, 2_000_000));
    let pulls = (0..20).map(|_| rig.pull(APP, "v1"));
    let pulls = together(pulls).await;
    assert!(pulls.windows(2).all(|pair| pair[0] == pair[1]));
    for blob in pushed.blobs() {
        assert_eq!(rig.ecr.s3_gets(&blob.digest), 1, "{}", blob.digest);
    }
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn every_client_gets_its_first_byte_while_the_download_still_runs() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![7; 3_000_000]);
    let fault = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(1_000_000));
    let path = format!("/v2/{APP}/blobs/{digest}");
    let opened = together((0..20).map(|_| rig.open("GET", &path, &[]))).await;
    let mut bodies = Vec::new();
    for response in opened {
        assert_eq!(response.headers()["content-length"], "3000000");
        let mut body = response.into_body();
        let first = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("no first byte");
        bodies.push((first.unwrap().unwrap().into_data().unwrap(), body));
    }
    // the storage is still holding two thirds back
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
    fault.release();
    for (first, rest) in bodies {
        let rest = rest.collect().await.unwrap().to_bytes();
        assert_eq!(Digest::of(&[first, rest].concat()).as_str(), digest);
    }
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
}

#[tokio::test]
async fn a_client_that_joins_late_gets_the_bytes_from_the_start() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, (0..2_000_000_u32).map(|i| (i % 251) as u8).collect());
    let fault = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(1_000_000));
    let path = format!("/v2/{APP}/blobs/{digest}");
    let first = rig.open("GET", &path, &[]).await;
    fault.reached().await;
    let second = rig.open("GET", &path, &[]).await;
    assert_eq!(first.headers()["x-longshore-cache"], "miss");
    assert_eq!(second.headers()["x-longshore-cache"], "join");
    fault.release();
    for response in [first, second] {
        assert_eq!(Digest::of(&response.into_body().collect().await.unwrap().to_bytes()).as_str(), digest);
    }
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
}

#[tokio::test]
async fn the_download_goes_on_when_the_client_leaves() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![3; 2_000_000]);
    let fault = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(500_000));
    let path = format!("/v2/{APP}/blobs/{digest}");
    let response = rig.open("GET", &path, &[]).await;
    fault.reached().await;
    drop(response);
    fault.release();
    // joins the download that goes on, or finds it finished
    assert_eq!(rig.get(&path).await.ok().body.unwrap().len(), 2_000_000);
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
}

#[tokio::test]
async fn ranges_are_served_cold_and_warm() {
    let rig = Rig::start().await;
    let bytes: Vec<u8> = (0..500_000_u32).map(|i| (i % 253) as u8).collect();
    let digest = rig.ecr.push_blob(APP, bytes.clone());
    let path = format!("/v2/{APP}/blobs/{digest}");
    for _ in 0..2 {
        for (range, from, to) in [
            ("bytes=0-", 0, 500_000),
            ("bytes=100-199", 100, 200),
            ("bytes=-10", 499_990, 500_000),
            ("bytes=400000-", 400_000, 500_000),
        ] {
            let reply = rig.request("GET", &path, &[("range", range)]).await;
            assert_eq!(reply.status, 206, "{range}");
            assert_eq!(reply.header("content-range"), format!("bytes {from}-{}/500000", to - 1));
            assert_eq!(reply.body.unwrap(), bytes[from..to], "{range}");
        }
        let beyond = rig.request("GET", &path, &[("range", "bytes=500000-")]).await;
        assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */500000"));
    }
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
}

#[tokio::test]
async fn head_of_a_blob_fetches_none_of_it() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![1; 400_000]);
    let path = format!("/v2/{APP}/blobs/{digest}");
    let reply = rig.head(&path).await.ok();
    assert_eq!((reply.header("content-length"), reply.header("docker-content-digest")), ("400000", digest.as_str()));
    assert_eq!(rig.ecr.stats().s3_bytes.values().sum::<u64>(), 0);
    rig.ecr.set(Knob::HeadBlob(crate::fake_ecr::HeadBlob::Status(401)));
    assert_eq!(rig.head(&path).await.ok().header("content-length"), "400000");
    assert!(rig.ecr.stats().s3_bytes.values().sum::<u64>() <= 1);
}

#[tokio::test]
async fn the_digest_header_is_there_although_ecr_leaves_it_out() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    for method in ["GET", "HEAD"] {
        let reply = rig.request(method, &format!("/v2/{APP}/manifests/v1"), &[("accept", ACCEPT)]).await.ok();
        assert_eq!(reply.header("docker-content-digest"), pushed.digest);
        assert_eq!(reply.header("content-type"), pushed.media_type);
        assert_eq!(reply.header("content-length"), pushed.manifest.len().to_string());
    }
}

#[tokio::test]
async fn clients_that_accept_other_types_get_what_upstream_gives_them() {
    let rig = Rig::start().await;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let oci = "application/vnd.oci.image.manifest.v1+json";
    rig.ecr.push_image(APP, "v1", Image::linux_amd64().docker());
    let path = format!("/v2/{APP}/manifests/v1");
    for _ in 0..2 {
        for accept in [docker, oci] {
            let reply = rig.request("GET", &path, &[("accept", accept)]).await.ok();
            assert_eq!(reply.header("content-type"), accept);
        }
    }
}

#[tokio::test]
async fn six_accept_lines_in_any_order_are_one_question() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let lines: Vec<_> = ACCEPT.split(", ").map(|line| ("accept", line)).collect();
    let path = format!("/v2/{APP}/manifests/v1");
    rig.request("GET", &path, &lines).await.ok();
    let reversed: Vec<_> = lines.into_iter().rev().collect();
    assert_eq!(rig.request("GET", &path, &reversed).await.ok().cache(), "hit");
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
}

#[tokio::test]
async fn a_cached_image_pulls_by_tag_and_digest_while_upstream_is_gone() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::index(["linux/amd64", "linux/arm64"]).layers(2, 100_000));
    let before = rig.pull(APP, "v1").await;
    rig.ecr.stop_listening();
    assert_eq!(rig.pull(APP, "v1").await, before);
    assert_eq!(rig.pull(APP, &before.digest).await, before);
    let reply = rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    assert_eq!((reply.cache(), reply.header("warning")), ("stale", "110 - \"Response is Stale\""));
    // what was never here is an outage, not an absence
    let reply = rig.get(&format!("/v2/{APP}/manifests/v2")).await;
    assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (502, "UNKNOWN"));
    rig.ecr.resume();
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok().cache(), "hit");
}

#[tokio::test]
async fn a_cached_tag_pulls_while_not_even_credentials_can_be_had() {
    let mut rig = Rig::with("[cache]\nstale_after = \"25s\"").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let before = rig.pull(APP, "v1").await;
    rig.daemon.kill();
    // a role to assume, and nobody to ask for it: that is the network, not the identity
    let aws = rig.dir.path().join("home/.aws");
    std::fs::create_dir(&aws).unwrap();
    let profile = "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n\
        [profile base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = secret\n";
    std::fs::write(aws.join("config"), profile).unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_PROFILE", "role").env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1");
    let offline = Daemon::spawn(command, "debug");
    rig.ecr.stop_listening();
    let reply = offline.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    assert_eq!((reply.cache(), reply.header("docker-content-digest")), ("stale", before.digest.as_str()));
}

#[tokio::test]
async fn a_silent_upstream_is_given_two_seconds_for_a_cached_tag() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).hold());
    assert_eq!(rig.head(&format!("/v2/{APP}/manifests/v1")).await.ok().cache(), "stale");
    fault.release();
}

#[tokio::test]
async fn a_no_of_upstream_is_never_answered_from_the_cache() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    let path = format!("/v2/{APP}/manifests/v1");
    rig.ecr.delete_tag(APP, "v1");
    let reply = rig.get(&path).await;
    assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (404, "MANIFEST_UNKNOWN"));
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.ecr.set(Knob::DenyRepository(APP.into()));
    let reply = rig.get(&path).await;
    let (code, message) = reply.error();
    assert_eq!((reply.status.as_u16(), code.as_str()), (403, "DENIED"));
    assert!(message.contains("is not authorized to perform: ecr:BatchGetImage"), "{message}");
    // by digest nobody is asked
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/{}", pushed.digest)).await.ok().cache(), "hit");
}

#[tokio::test]
async fn a_deleted_tag_does_not_come_back_when_upstream_goes() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    rig.ecr.delete_tag(APP, "v1");
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/v1")).await.status, 404);
    rig.ecr.stop_listening();
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/v1")).await.status, 502);
}

#[tokio::test]
async fn asking_for_tags_that_never_were_leaves_nothing_behind() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    for _ in 0..3 {
        assert_eq!(rig.get(&format!("/v2/{APP}/manifests/v2")).await.status, 404);
    }
    assert!(!rig.cache().join("index-v5").exists());
}

#[tokio::test]
async fn what_one_kind_of_client_cannot_have_another_keeps() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let before = rig.pull(APP, "v1").await;
    let other = [("accept", "application/vnd.docker.distribution.manifest.v1+prettyjws")];
    assert_eq!(rig.request("GET", &format!("/v2/{APP}/manifests/v1"), &other).await.status, 404);
    rig.ecr.stop_listening();
    assert_eq!(rig.pull(APP, "v1").await, before);
}

#[tokio::test]
async fn a_tag_that_moved_to_what_was_never_fetched_falls_back_to_what_was() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().seed(1));
    rig.pull(APP, "v1").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64().seed(2));
    rig.head(&format!("/v2/{APP}/manifests/v1")).await.ok();
    rig.ecr.stop_listening();
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok().header("docker-content-digest"), pushed.digest);
}

#[tokio::test]
async fn what_does_not_exist_is_told_apart() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let absent = Digest::of(b"absent");
    let cases = [
        (format!("/v2/{APP}/manifests/v2"), "MANIFEST_UNKNOWN"),
        (format!("/v2/{APP}/manifests/{absent}"), "MANIFEST_UNKNOWN"),
        (format!("/v2/{APP}/blobs/{absent}"), "BLOB_UNKNOWN"),
        (format!("/v2/{APP}x/manifests/v1"), "NAME_UNKNOWN"),
    ];
    for (path, code) in cases {
        let reply = rig.get(&path).await;
        assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (404, code), "{path}");
    }
}

#[tokio::test]
async fn throttling_and_trouble_of_upstream_reach_the_client_as_what_they_are() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = format!("/v2/{APP}/manifests/v1");
    let rule = Rule::on(Listener::Registry).registry_error(429, "TOOMANYREQUESTS", "Rate exceeded");
    let fault = rig.ecr.fault(rule.set_header("Retry-After", "7"));
    let reply = rig.get(&path).await;
    assert_eq!(
        (reply.status.as_u16(), reply.error().0.as_str(), reply.header("retry-after")),
        (429, "TOOMANYREQUESTS", "7")
    );
    fault.remove();
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).status(503));
    assert_eq!(rig.get(&path).await.status, 503);
    fault.remove();
    assert_eq!(rig.get(&path).await.status, 200);
}
