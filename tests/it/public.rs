//! ECR Public: tokens of its own, a HEAD that never works, and pulls without any account.

use std::time::Duration;

use crate::{
    fake_ecr::{Image, Knob, Listener, Rule},
    rig::{Daemon, Rig, program, together},
};

const APP: &str = "public.ecr.aws/alias/app";

#[tokio::test]
async fn an_image_of_ecr_public_is_pulled_and_cached() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::index(["linux/amd64", "linux/arm64"]).layers(2, 100_000));
    let first = rig.pull(APP, "v1").await;
    rig.ecr.clear_requests();
    assert_eq!(rig.pull(APP, "v1").await, first);
    assert_eq!(rig.upstream(), ["HEAD /v2/alias/app/manifests/v1"]);
}

#[tokio::test]
async fn the_password_goes_to_the_token_service_and_the_token_to_the_registry() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    rig.get(&format!("/v2/{APP}/blobs/{}", pushed.config().digest)).await.ok();
    let schemes: Vec<_> = rig
        .ecr
        .requests_to(Listener::Registry)
        .iter()
        .map(|r| {
            (r.path().to_owned(), r.header("authorization").map(|value| value.split(' ').next().unwrap().to_owned()))
        })
        .map(|(path, scheme)| format!("{} {}", scheme.unwrap_or_default(), path.split('/').nth(1).unwrap()))
        .collect();
    assert_eq!(schemes, [" v2", "Basic token", "Bearer v2", "Bearer v2"]);
}

#[tokio::test]
async fn a_bearer_token_that_is_over_is_fetched_again_once() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    rig.ecr.advance(Duration::from_hours(13));
    rig.ecr.clear_requests();
    // the token of the API is over as well: one mint, one token, one replay
    rig.get(&format!("/v2/{APP}/blobs/{}", pushed.config().digest)).await.ok();
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn head_of_a_blob_works_although_ecr_public_refuses_it() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![5; 123_456]);
    let reply = rig.head(&format!("/v2/{APP}/blobs/{digest}")).await.ok();
    assert_eq!(reply.header("content-length"), "123456");
    assert_eq!(rig.ecr.count(Listener::Registry, "HEAD"), 0);
}

#[tokio::test]
async fn many_first_requests_at_once_share_one_token_and_all_succeed() {
    let rig = Rig::start().await;
    let digests: Vec<_> = (0..20_u8).map(|number| rig.ecr.push_blob(APP, vec![number; 1000])).collect();
    let paths: Vec<_> = digests.iter().map(|digest| format!("/v2/{APP}/blobs/{digest}")).collect();
    let replies = together(paths.iter().map(|path| rig.get(path))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    let tokens = rig.ecr.requests_to(Listener::Registry).iter().filter(|r| r.path().starts_with("/token")).count();
    assert_eq!((tokens, rig.mints()), (1, 1));
}

#[tokio::test]
async fn without_credentials_pulls_are_anonymous() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    // a daemon of its own, without AWS credentials and on a cache of its own
    let other = rig.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
    command.env("HOME", &other).env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", "");
    let anonymous = Daemon::spawn(command, "debug");
    let reply = anonymous.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    assert_eq!(reply.cache(), "miss");
    let basic =
        rig.ecr.requests().iter().filter(|r| r.header("authorization").is_some_and(|v| v.starts_with("Basic"))).count();
    assert_eq!((basic, rig.mints()), (0, 0));
    // a private registry cannot be used so, and says why
    let reply = anonymous.get(&format!("/v2/{}/manifests/v1", crate::rig::APP)).await;
    let (code, message) = reply.error();
    assert_eq!((reply.status.as_u16(), code.as_str()), (401, "UNAUTHORIZED"));
    assert!(message.contains("no AWS credentials were found") && message.contains("aws configure"), "{message}");
}

#[tokio::test]
async fn credentials_that_give_no_token_are_not_tried_with_each_pull() {
    let rig = Rig::start().await;
    rig.ecr.set(Knob::Refuse("GetAuthorizationToken".to_owned(), "AccessDeniedException".to_owned()));
    for name in ["a", "b", "c", "d"] {
        let repository = format!("public.ecr.aws/alias/{name}");
        rig.ecr.push_image(&repository, "v1", Image::linux_amd64());
        rig.pull(&repository, "v1").await;
    }
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn a_token_service_that_is_gone_says_nothing_of_the_image() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = format!("/v2/{APP}/manifests/v1");
    rig.get(&path).await.ok();
    rig.ecr.expire_tokens();
    let gone = rig.ecr.fault(Rule::on(Listener::Registry).path("/token").status(404));
    let reply = rig.get(&path).await.ok();
    assert_eq!((reply.cache(), gone.hits() > 0), ("stale", true));
    let other = rig.get(&format!("/v2/{APP}/manifests/v2")).await;
    assert_eq!(other.status, 502, "{other:?}");
    assert!(other.error().1.contains("its token service public.ecr.aws answered 404 Not Found"), "{other:?}");
    gone.remove();
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
}
