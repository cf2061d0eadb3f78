//! Upstreams that break, lie or stop, and daemons that are killed: no client gets a whole wrong blob, nothing wrong is kept.

use std::fs;

use crate::{
    fake_ecr::{Action, Image, Listener, Rule},
    rig::{APP, Rig},
};

const SIZE: usize = 1_000_000;

fn bytes() -> Vec<u8> {
    (0..=240).cycle().take(SIZE).collect()
}

/// Files below a folder of the cache.
fn files(rig: &Rig, folder: &str) -> usize {
    fn count(path: &std::path::Path) -> usize {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&rig.cache().join(folder))
}

/// While the fault lasts, no client gets the whole; nothing is kept; without it, the next pull is right.
async fn never_whole(size: usize, rule: impl Fn(Rule) -> Rule) {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes()[..size].to_vec());
    let path = format!("/v2/{APP}/blobs/{digest}");
    rig.ecr.fault(rule(Rule::on(Listener::S3)));
    for _ in 0..2 {
        let reply = rig.get(&path).await;
        assert!(reply.status.is_server_error() || reply.body.is_err(), "{} {:?}", reply.status, reply.headers);
    }
    assert_eq!(files(&rig, "content-v2"), 0);
    rig.ecr.clear_faults();
    let reply = rig.get(&path).await.ok();
    assert_eq!(reply.body.unwrap(), bytes()[..size]);
    assert_eq!(rig.get(&path).await.ok().cache(), "hit");
}

#[tokio::test]
async fn wrong_bytes_of_the_right_length_are_cut_before_their_end() {
    never_whole(SIZE, |rule| rule.flip_byte(500_000)).await;
    never_whole(SIZE, |rule| rule.flip_byte(SIZE - 1)).await;
    never_whole(SIZE, |rule| rule.then(Action::SwapBody)).await;
}

#[tokio::test]
async fn wrong_bytes_of_a_small_blob_are_never_begun_to_be_sent() {
    never_whole(500, |rule| rule.flip_byte(3)).await;
    never_whole(1, |rule| rule.flip_byte(0)).await;
}

#[tokio::test]
async fn a_wrong_length_of_a_part_is_made_up_for() {
    hidden(|rule| rule.once().then(Action::WrongLength(-100))).await;
    hidden(|rule| rule.then(Action::WrongLength(100))).await;
}

#[tokio::test]
async fn a_body_that_says_it_is_empty_is_not_a_whole_answer() {
    let size = i64::try_from(SIZE).unwrap();
    never_whole(SIZE, |rule| rule.then(Action::WrongLength(-size))).await;
    never_whole(SIZE, |rule| rule.then(Action::WrongLength(1000 - size))).await;
}

#[tokio::test]
async fn a_cached_blob_that_lost_its_end_is_fetched_again() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes());
    let path = format!("/v2/{APP}/blobs/{digest}");
    rig.get(&path).await.ok();
    rig.settle().await;
    let (file, _) = rig.content().remove(0);
    for size in [0, 1000] {
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(size).unwrap();
        assert_eq!(rig.head(&path).await.ok().header("content-length"), SIZE.to_string());
        let reply = rig.get(&path).await.ok();
        assert_eq!((reply.cache().to_owned(), reply.body.unwrap()), ("miss".to_owned(), bytes().into()));
        rig.settle().await;
    }
}

#[tokio::test]
async fn a_throttled_storage_of_layers_is_not_asked_again_at_once() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes());
    let rule = Rule::on(Listener::Registry).registry_error(429, "TOOMANYREQUESTS", "Rate exceeded");
    rig.ecr.fault(rule);
    let reply = rig.get(&format!("/v2/{APP}/blobs/{digest}")).await;
    assert_eq!((reply.status.as_u16(), rig.ecr.requests_to(Listener::Registry).len()), (429, 1));
}

#[tokio::test]
async fn a_compressed_body_is_not_the_blob() {
    never_whole(SIZE, |rule| rule.then(Action::GzipEncode)).await;
}

/// The fault is hidden: every client gets the whole, at once.
async fn hidden(rule: impl Fn(Rule) -> Rule) -> Rig {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes());
    rig.ecr.fault(rule(Rule::on(Listener::S3).digest(&digest)));
    let reply = rig.get(&format!("/v2/{APP}/blobs/{digest}")).await.ok();
    assert_eq!(reply.body.unwrap(), bytes());
    rig.settle().await;
    assert_eq!(files(&rig, "content-v2"), 1);
    rig
}

#[tokio::test]
async fn a_body_that_breaks_off_is_taken_up_where_it_stopped() {
    for rule in [|rule: Rule| rule.fin_after(300_000), |rule: Rule| rule.reset_after(300_000)] {
        let rig = hidden(rule).await;
        let ranges: Vec<_> =
            rig.ecr.requests_to(Listener::S3).iter().map(|r| r.header("range").map(str::to_owned)).collect();
        assert!(ranges.len() > 1 && ranges.iter().all(Option::is_some), "{ranges:?}");
        let sent: u64 = rig.ecr.stats().s3_bytes.values().sum();
        assert!(sent <= SIZE as u64 + 300_000, "{sent} bytes for {SIZE}");
    }
}

#[tokio::test]
async fn a_storage_that_ignores_the_range_is_read_past_what_is_there() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes());
    rig.ecr.fault(Rule::on(Listener::S3).once().fin_after(300_000));
    rig.ecr.fault(Rule::on(Listener::S3).then(Action::IgnoreRange));
    let reply = rig.get(&format!("/v2/{APP}/blobs/{digest}")).await.ok();
    assert_eq!(reply.body.unwrap(), bytes());
}

#[tokio::test]
async fn a_signed_url_that_is_over_is_asked_for_again() {
    hidden(|rule| rule.once().then(Action::ExpireUrls)).await;
}

#[tokio::test]
async fn a_body_without_a_length_is_a_body() {
    hidden(|rule| rule.then(Action::Chunked)).await;
}

#[tokio::test]
async fn a_part_that_says_it_is_another_one_is_refused() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes());
    rig.ecr.fault(Rule::on(Listener::S3).once().fin_after(300_000));
    rig.ecr.fault(Rule::on(Listener::S3).then(Action::WrongContentRange));
    let reply = rig.get(&format!("/v2/{APP}/blobs/{digest}")).await;
    assert!(reply.body.is_err());
    rig.settle().await;
    assert_eq!(files(&rig, "content-v2"), 0);
}

#[tokio::test]
async fn redirects_without_end_are_given_up() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes());
    rig.ecr.fault(Rule::on(Listener::S3).then(Action::RedirectLoop));
    let reply = rig.get(&format!("/v2/{APP}/blobs/{digest}")).await;
    assert_eq!(reply.status, 502);
    assert!(reply.error().1.contains("redirected more than 5 times"));
}

#[tokio::test]
async fn a_connection_that_ends_instead_of_answering_is_replaced_once() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = format!("/v2/{APP}/manifests/v1");
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).once().then(Action::CloseBeforeResponse));
    rig.get(&path).await.ok();
    assert_eq!(fault.hits(), 1);
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).then(Action::CloseBeforeResponse));
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/v2")).await.status, 502);
    assert_eq!(fault.hits(), 2);
}

#[tokio::test]
async fn a_captive_portal_is_not_taken_for_a_manifest() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let path = format!("/v2/{APP}/manifests/v1");
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).captive_portal());
    for _ in 0..2 {
        let reply = rig.get(&path).await;
        assert_eq!(reply.status, 502, "{reply:?}");
        assert!(reply.error().1.contains("text/html came, which no registry sends"), "{reply:?}");
    }
    assert_eq!(files(&rig, "content-v2"), 0);
    fault.remove();
    rig.get(&path).await.ok();
}

#[tokio::test]
async fn a_manifest_without_end_is_given_up() {
    let rig = Rig::start().await;
    rig.ecr.push_manifest(APP, Some("v1"), "application/vnd.oci.image.index.v1+json", vec![b' '; 17 * 1024 * 1024]);
    let reply = rig.get(&format!("/v2/{APP}/manifests/v1")).await;
    assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (413, "SIZE_INVALID"), "{reply:?}");
    assert!(reply.error().1.contains("is longer than the 4194304 bytes"), "{reply:?}");
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_refused() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.ecr.fault(Rule::on(Listener::Registry).method("GET").path("/manifests/").body("{}"));
    let reply = rig.get(&format!("/v2/{APP}/manifests/{}", pushed.digest)).await;
    assert_eq!(reply.status, 502);
    assert!(reply.error().1.contains("bytes of digest sha256:44136fa355b3678a"), "{reply:?}");
    assert_eq!(files(&rig, "content-v2"), 0);
}

#[tokio::test]
async fn a_store_that_takes_nothing_costs_only_the_cache() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(2, 200_000));
    // a file where the folders of content should be: refused to root, too
    let content = rig.cache().join("content-v2/sha256");
    fs::remove_dir(&content).unwrap();
    fs::write(&content, "").unwrap();
    let first = rig.pull(APP, "v1").await;
    assert_eq!(rig.pull(APP, "v1").await, first);
    assert!(rig.daemon.log().contains("a blob was served without being kept"));
    rig.settle().await;
}

#[tokio::test]
async fn a_damaged_manifest_in_the_cache_is_fetched_again() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    let hex = pushed.digest.strip_prefix("sha256:").unwrap();
    let path = rig.cache().join("content-v2/sha256").join(&hex[..2]).join(&hex[2..4]).join(&hex[4..]);
    fs::write(path, "{}").unwrap();
    let reply = rig.get(&format!("/v2/{APP}/manifests/{}", pushed.digest)).await.ok();
    assert_eq!((reply.cache(), reply.body.as_ref().unwrap()), ("miss", &pushed.manifest));
}
