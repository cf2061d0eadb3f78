//! Manifests are byte-exact, whatever they are, and of an index only what was asked for is fetched.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use longshore::oci::Digest;

use crate::{
    fake_ecr::{Action, Image, Listener, Rule},
    rig::{ACCEPT, APP, REGISTRY, Rig},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

fn path(reference: &str) -> String {
    format!("/v2/{APP}/manifests/{reference}")
}

/// Manifests of all kinds, in spellings that no program would write again.
fn kinds() -> Vec<(&'static str, String)> {
    let child = |platform: &str, more: &str| {
        let digest = Digest::of(platform.as_bytes());
        format!("{{\"mediaType\":{OCI:?},\"digest\":\"{digest}\",\"size\":7,{more}\"platform\":{platform}}}")
    };
    let unknown = "{\"architecture\":\"unknown\",\"os\":\"unknown\"}";
    let attested = "\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"},";
    let children = [child("{\"architecture\":\"amd64\",\"os\":\"linux\"}", ""), child(unknown, attested)].join(" ,\n");
    let config = "\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2}";
    vec![
        (INDEX, format!("{{ \"schemaVersion\":2,\r\n\"mediaType\":{INDEX:?},\"manifests\":[{children}]}}\n")),
        (LIST, format!("{{\"manifests\":[{children}],\"mediaType\":{LIST:?},\"schemaVersion\":2, \"x\":\"\\u00e9\"}}")),
        (DOCKER, format!("{{\"schemaVersion\":2,\"mediaType\":{DOCKER:?},{config},\"layers\":[]}}  ")),
        // an artifact that refers to another: a signature, a bill of materials
        (
            OCI,
            format!(
                "{{\"schemaVersion\":2,{config},\"artifactType\":\"a/b\",\"subject\":{},\"layers\":[]}}",
                child(unknown, "")
            ),
        ),
        (ARTIFACT, format!("{{\"mediaType\":{ARTIFACT:?},\"artifactType\":\"a/b\",\"blobs\":[]}}")),
        (SCHEMA_1, "{\"schemaVersion\":1,\"name\":\"app\",\"tag\":\"v1\",\"fsLayers\":[]}\n\n".to_owned()),
    ]
}

#[tokio::test]
async fn b14_every_kind_of_manifest_keeps_its_bytes_its_digest_and_its_type() {
    let mut rig = Rig::start().await;
    let kinds = kinds();
    for (number, (media_type, text)) in kinds.iter().enumerate() {
        rig.ecr.push_manifest(APP, Some(&format!("v{number}")), media_type, text.clone().into_bytes());
    }
    for round in 0..2 {
        for (number, (media_type, text)) in kinds.iter().enumerate() {
            let digest = Digest::of(text.as_bytes());
            for reference in [format!("v{number}"), digest.to_string()] {
                for method in ["GET", "HEAD"] {
                    let reply = rig.request(method, &path(&reference), &[("accept", media_type)]).await.ok();
                    assert_eq!(reply.header("content-type"), *media_type, "{round}");
                    assert_eq!(reply.header("docker-content-digest"), digest.as_str());
                    assert_eq!(reply.header("content-length"), text.len().to_string());
                    assert_eq!(reply.body.unwrap(), if method == "GET" { text.as_str() } else { "" });
                }
            }
        }
        // and once more from the disk alone
        rig.ecr.stop_listening();
        rig.kill_and_restart();
    }
}

#[tokio::test]
async fn b14_a_signed_manifest_is_called_by_what_it_signs() {
    let mut rig = Rig::start().await;
    let payload = "{\n   \"schemaVersion\": 1,\n   \"name\": \"app\",\n   \"fsLayers\": []\n}";
    let header =
        format!("{{\"formatLength\":{},\"formatTail\":\"Cn0\",\"time\":\"2014-01-01T00:00:00Z\"}}", payload.len() - 2);
    let header = URL_SAFE_NO_PAD.encode(header);
    let signed = format!(
        "{},\n   \"signatures\": [{{\"header\":{{\"alg\":\"ES256\"}},\"signature\":\"x\",\"protected\":{header:?}}}]\n}}",
        &payload[..payload.len() - 2]
    );
    let (name, bytes) = (Digest::of(payload.as_bytes()), Digest::of(signed.as_bytes()));
    rig.ecr.push_manifest(APP, Some("v1"), SIGNED, signed.clone().into_bytes());
    // the fake names bytes by their digest; registries name them by what they sign
    let registry = || Rule::on(Listener::Registry).set_header("Docker-Content-Digest", name.as_str());
    rig.ecr.fault(registry().path("/manifests/v1"));
    let answer = registry().status(200).set_header("Content-Type", SIGNED).body(signed.clone());
    rig.ecr.fault(answer.path(&format!("/manifests/{name}")));
    for round in 0..2 {
        for reference in ["v1", name.as_str()] {
            let reply = rig.request("GET", &path(reference), &[("accept", SIGNED)]).await.ok();
            assert_eq!(reply.header("docker-content-digest"), name.as_str(), "{round} {reference}");
            assert_eq!((reply.header("content-type"), reply.body.as_ref().unwrap()), (SIGNED, &signed.clone().into()));
        }
        rig.ecr.stop_listening();
        rig.kill_and_restart();
    }
    // one whose payload is another is refused, by tag and by digest
    rig.ecr.resume();
    rig.ecr.clear_faults();
    let other = Digest::of(b"other");
    rig.ecr.fault(Rule::on(Listener::Registry).set_header("Docker-Content-Digest", other.as_str()));
    rig.ecr.push_manifest(APP, Some("v2"), SIGNED, signed.clone().into_bytes());
    let reply = rig.request("GET", &path("v2"), &[("accept", SIGNED)]).await;
    assert!(
        reply.status == 502 && reply.error().1.contains(&format!("bytes of digest {bytes} came for {other}")),
        "{reply:?}"
    );
}

#[tokio::test]
async fn b14_a_manifest_of_four_mebibytes_is_kept_and_a_larger_one_refused() {
    let mut rig = Rig::start().await;
    let of_size = |size: usize| {
        let mut text = "{\"schemaVersion\":2,\"manifests\":[]".to_owned();
        text.extend(std::iter::repeat_n(' ', size - text.len() - 1));
        (text + "}").into_bytes()
    };
    let largest = of_size(4 << 20);
    let digest = rig.ecr.push_manifest(APP, Some("v1"), INDEX, largest.clone());
    assert_eq!(rig.get(&path("v1")).await.ok().body.unwrap(), largest);
    let too_large = rig.ecr.push_manifest(APP, Some("v2"), INDEX, of_size((4 << 20) + 1));
    for (method, reference) in [("GET", "v2"), ("HEAD", "v2"), ("GET", &too_large), ("HEAD", &too_large)] {
        let reply = rig.request(method, &path(reference), &[("accept", ACCEPT)]).await;
        assert_eq!(reply.status, 413, "{method} {reference}");
        assert!(method == "HEAD" || reply.error().0 == "SIZE_INVALID", "{reply:?}");
    }
    // without a length, it is found out while it comes
    rig.ecr.fault(Rule::on(Listener::Registry).method("GET").then(Action::Chunked));
    assert_eq!(rig.get(&path(&too_large)).await.status, 413);
    rig.ecr.stop_listening();
    rig.kill_and_restart();
    assert_eq!(rig.get(&path(&digest)).await.ok().body.unwrap(), largest);
}

#[tokio::test]
async fn b14_what_a_tag_is_depends_on_what_the_client_accepts() {
    let rig = Rig::with("[cache]\nrevalidate = \"1h\"").await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64().docker());
    let mut digests = Vec::new();
    for round in 0..2 {
        for accept in [DOCKER, OCI] {
            let reply = rig.request("GET", &path("v1"), &[("accept", accept)]).await.ok();
            assert_eq!(
                (reply.header("content-type"), reply.cache()),
                (accept, if round == 0 { "miss" } else { "hit" })
            );
            digests.push(reply.header("docker-content-digest").to_owned());
        }
    }
    assert_eq!(digests[..2], digests[2..]);
    assert_ne!(digests[0], digests[1]);
}

#[tokio::test]
async fn b14_with_upstream_dead_the_platform_pulls_and_another_fails_by_name() {
    for image in [Image::index(["linux/amd64", "linux/arm64"]), Image::index(["linux/amd64", "linux/arm64"]).oci()] {
        let mut rig = Rig::with_upstream("", "retry_for = \"10s\"").await;
        let pushed = rig.ecr.push_image(APP, "v1", image.layers(2, 50_000));
        let before = rig.pull(APP, "v1").await;
        rig.ecr.stop_listening();
        rig.kill_and_restart();
        assert_eq!(rig.pull(APP, "v1").await, before);
        assert_eq!(rig.pull(APP, &pushed.digest).await, before);
        assert_eq!(rig.pull(APP, &pushed.children[0].digest).await.blobs, before.blobs);
        let started = std::time::Instant::now();
        let missing = &pushed.children[1].digest;
        let reply = rig.get(&path(missing)).await;
        assert!(reply.status.is_server_error(), "{reply:?}");
        assert!(reply.error().1.contains(&format!("{APP}@{missing} is not in the cache")), "{reply:?}");
        assert!(started.elapsed() < std::time::Duration::from_secs(8), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn b14_registries_are_kept_apart_and_equal_blobs_are_kept_once() {
    let rig = Rig::start().await;
    let other = APP.replace("us-east-1", "eu-west-1");
    let shared = |seed| Image::linux_amd64().shared_layer(7, 200_000).layers(1, 1000).seed(seed);
    rig.ecr.push_image(APP, "v1", shared(1));
    rig.ecr.push_image(&other, "v1", shared(2));
    let (one, two) = (rig.pull(APP, "v1").await, rig.pull(&other, "v1").await);
    assert_ne!(one.digest, two.digest);
    let both = one.blobs.keys().filter(|digest| two.blobs.contains_key(*digest)).count();
    assert_eq!(both, 1);
    rig.settle().await;
    // two manifests, and each blob once
    assert_eq!(rig.content().len(), 2 + one.blobs.len() + two.blobs.len() - both);
    rig.ecr.stop_listening();
    assert_eq!((rig.pull(APP, "v1").await, rig.pull(&other, "v1").await), (one, two));
    // what another registry has is not had of this one
    let reply = rig.get(&format!("/v2/{REGISTRY}/elsewhere/manifests/v1")).await;
    assert!(reply.status.is_server_error());
}
