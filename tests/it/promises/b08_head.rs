//! HEAD costs nothing and is never needed.

use crate::{
    fake_ecr::{HeadBlob, Image, Knob, Listener, Rule},
    rig::{ACCEPT, APP, Rig},
};

/// The most upstream bytes a HEAD may cost.
const MOST: u64 = 4096;
const SIZE: usize = 4 << 20;

fn bytes_sent(rig: &Rig) -> u64 {
    rig.ecr.stats().s3_bytes.values().sum()
}

#[tokio::test]
async fn b08_head_of_a_missing_blob_costs_no_body_whatever_upstream_says_to_head() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![1; SIZE]);
    let path = format!("/v2/{APP}/blobs/{digest}");
    for head in
        [HeadBlob::Answered, HeadBlob::Status(401), HeadBlob::Status(403), HeadBlob::Status(404), HeadBlob::Status(405)]
    {
        rig.ecr.set(Knob::HeadBlob(head));
        let reply = rig.head(&path).await.ok();
        assert_eq!(reply.header("content-length"), SIZE.to_string(), "{head:?}");
        assert_eq!(reply.header("docker-content-digest"), digest, "{head:?}");
    }
    assert!(bytes_sent(&rig) <= MOST, "{}", bytes_sent(&rig));
    // that a HEAD was refused is no reason for a new token
    assert_eq!(rig.mints(), 1);
    assert!(rig.content().is_empty());
}

#[tokio::test]
async fn b08_head_of_a_blob_that_a_manifest_names_asks_nobody() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(3, 100_000));
    rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    rig.ecr.clear_requests();
    for blob in pushed.blobs() {
        let reply = rig.head(&format!("/v2/{APP}/blobs/{}", blob.digest)).await.ok();
        assert_eq!(reply.header("content-length"), blob.size.to_string());
        assert_eq!(reply.header("docker-content-digest"), blob.digest);
    }
    assert_eq!(rig.upstream(), Vec::<String>::new());
    // another repository says nothing of this one
    let path = format!("/v2/{APP}x/blobs/{}", pushed.config().digest);
    assert_eq!(rig.head(&path).await.status, 404);
    assert!(!rig.upstream().is_empty());
}

#[tokio::test]
async fn b08_get_of_a_blob_needs_no_head() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(3, 100_000));
    rig.ecr.set(Knob::HeadBlob(HeadBlob::Status(401)));
    let fault = rig.ecr.fault(Rule::on(Listener::Registry).method("HEAD").path("/blobs/").status(401));
    rig.pull(APP, "v1").await;
    assert_eq!(fault.hits(), 0);
    for blob in pushed.blobs() {
        assert_eq!(rig.ecr.s3_gets(&blob.digest), 1);
    }
}

#[tokio::test]
async fn b08_head_of_a_missing_manifest_reads_no_manifest() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::index(["linux/amd64", "linux/arm64"]));
    for reference in ["v1", &pushed.digest, &pushed.children[0].digest] {
        rig.ecr.clear_requests();
        let reply = rig.head(&format!("/v2/{APP}/manifests/{reference}")).await.ok();
        assert_eq!(reply.header("docker-content-digest"), if reference == "v1" { &pushed.digest } else { reference });
        assert_eq!(rig.upstream(), [format!("HEAD /v2/app/manifests/{reference}")]);
    }
}

#[tokio::test]
async fn b08_head_of_a_manifest_works_where_upstream_knows_no_head() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.ecr.fault(Rule::on(Listener::Registry).method("HEAD").status(405));
    for reference in ["v1", &pushed.digest] {
        let reply = rig.request("HEAD", &format!("/v2/{APP}/manifests/{reference}"), &[("accept", ACCEPT)]).await.ok();
        assert_eq!(reply.header("docker-content-digest"), pushed.digest);
        assert_eq!(reply.header("content-length"), pushed.manifest.len().to_string());
    }
}
