//! What a manifest names is fetched ahead, and never in anybody's way.

use std::collections::BTreeSet;

use http_body_util::BodyExt as _;

use super::{blob, bytes, path};
use crate::{
    fake_ecr::{Image, Listener, Pushed, Rule},
    rig::{APP, Rig},
};

async fn rig(prefetch: usize) -> Rig {
    Rig::with_upstream("", &format!("prefetch = {prefetch}\nidle_timeout = \"30s\"")).await
}

fn manifest(digest: &str) -> String {
    format!("/v2/{APP}/manifests/{digest}")
}

fn digests(pushed: &Pushed) -> BTreeSet<String> {
    pushed.blobs().iter().map(|blob| blob.digest.clone()).collect()
}

/// The blobs that the storage was asked for.
fn fetched(rig: &Rig) -> BTreeSet<String> {
    rig.ecr.stats().s3_gets.keys().cloned().collect()
}

#[tokio::test]
async fn config_and_layers_of_a_manifest_that_is_read_come_by_themselves() {
    let rig = rig(2).await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(4, 300_000));
    rig.get(&manifest(&pushed.digest)).await.ok();
    for blob in digests(&pushed) {
        rig.daemon.wait_for_log(&format!("a blob is kept digest={blob}"));
    }
    rig.ecr.clear_requests();
    for blob in digests(&pushed) {
        assert_eq!(rig.get(&path(APP, &blob)).await.ok().cache(), "hit");
    }
    assert_eq!(rig.upstream(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_comes_for_a_question_about_a_manifest_nor_for_an_index_nor_when_it_is_off() {
    for (prefetch, method, by_index) in [(2, "HEAD", false), (2, "GET", true), (0, "GET", false)] {
        let rig = rig(prefetch).await;
        let image = if by_index { Image::index(["linux/amd64", "linux/arm64"]) } else { Image::linux_amd64() };
        let pushed = rig.ecr.push_image(APP, "v1", image.layers(2, 1000));
        rig.request(method, &manifest(&pushed.digest), &[("accept", crate::rig::ACCEPT)]).await.ok();
        // whatever would have begun by itself has begun before this one is done
        let other = rig.ecr.push_blob(APP, bytes(9, 500_000));
        rig.get(&path(APP, &other)).await.ok();
        assert_eq!(fetched(&rig), [other].into(), "{prefetch} {method}");
    }
}

#[tokio::test]
async fn another_platform_is_never_fetched() {
    let rig = rig(4).await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::index(["linux/amd64", "linux/arm64"]).layers(2, 50_000));
    let wanted = &pushed.children[0];
    rig.get(&manifest(&pushed.digest)).await.ok();
    rig.get(&manifest(&wanted.digest)).await.ok();
    let blobs = wanted.layers.iter().chain([&wanted.config]);
    let mine: BTreeSet<_> = blobs.map(|blob| blob.digest.clone()).collect();
    for blob in &mine {
        rig.get(&path(APP, blob)).await.ok();
    }
    rig.settle().await;
    assert_eq!(fetched(&rig), mine);
}

#[tokio::test]
async fn few_at_a_time_and_none_while_something_that_was_asked_for_comes() {
    let rig = rig(2).await;
    let asked = rig.ecr.push_blob(APP, blob(1));
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(6, 3_000_000));
    let hold = rig.ecr.fault(Rule::on(Listener::S3).digest(&asked).hold_after(1_000_000));
    let mut body = rig.open("GET", &path(APP, &asked), &[]).await.into_body();
    hold.reached().await;
    rig.get(&manifest(&pushed.digest)).await.ok();
    body.frame().await.unwrap().unwrap();
    // two may have begun, and stand back before their first byte is taken; the others have not begun
    let second = rig.ecr.push_blob(APP, bytes(9, 500_000));
    rig.get(&path(APP, &second)).await.ok();
    let ahead = fetched(&rig).len() - 2;
    assert!(ahead <= 2, "{ahead} are fetched ahead at a time");
    assert!(!digests(&pushed).iter().any(|blob| rig.daemon.log().contains(&format!("kept digest={blob}"))));
    // one that is asked for now does not stand back any more
    let layer = digests(&pushed).into_iter().next().unwrap();
    rig.get(&path(APP, &layer)).await.ok();
    hold.release();
    assert!(body.collect().await.is_ok());
    rig.settle().await;
    for blob in digests(&pushed) {
        rig.daemon.wait_for_log(&format!("a blob is kept digest={blob}"));
    }
}
