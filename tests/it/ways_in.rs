//! The ways in: every spelling of a name leads to the same content, and to no registry that is not meant to be reached.

use crate::{
    fake_ecr::{Image, Listener},
    rig::{APP, REGISTRY, Rig},
};

#[tokio::test]
async fn every_spelling_reaches_the_same_image_and_the_cache_knows_it_is_one() {
    let rig = Rig::with(&format!("default_registry = \"{REGISTRY}\"")).await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    rig.ecr.clear_requests();
    let paths = [
        format!("/v2/{APP}/manifests/v1"),
        format!("/v2/{APP}/manifests/v1?ns={REGISTRY}"),
        format!("/v2/app/manifests/v1?ns={REGISTRY}"),
        "/v2/ecr/123456789012/us-east-1/app/manifests/v1".to_owned(),
        "/v2/app/manifests/v1".to_owned(),
    ];
    for path in paths {
        let reply = rig.get(&path).await.ok();
        assert_eq!((reply.header("docker-content-digest"), reply.cache()), (pushed.digest.as_str(), "hit"), "{path}");
    }
    assert_eq!(rig.upstream(), ["HEAD /v2/app/manifests/v1"; 5]);
}

#[tokio::test]
async fn a_registry_that_is_not_meant_to_be_reached_is_denied_without_a_request() {
    let rig = Rig::start().await;
    for path in [
        "/v2/quay.io/app/manifests/v1".to_owned(),
        "/v2/app/manifests/v1?ns=quay.io".to_owned(),
        format!("/v2/app/manifests/v1?ns=127.0.0.1:{}", rig.ecr.registry_plain_address().port()),
        "/v2/169.254.169.254/latest/manifests/v1".to_owned(),
        format!("/v2/{REGISTRY}.evil.example/app/manifests/v1"),
    ] {
        let reply = rig.get(&path).await;
        let (code, message) = reply.error();
        assert_eq!((reply.status.as_u16(), code.as_str()), (403, "DENIED"), "{path}");
        assert!(message.contains("[[registry]] match = "), "{message}");
    }
    assert!(rig.ecr.requests().is_empty());
}

#[tokio::test]
async fn a_name_without_a_registry_says_how_to_give_one() {
    let rig = Rig::start().await;
    let reply = rig.get("/v2/app/manifests/v1").await;
    let (code, message) = reply.error();
    assert_eq!((reply.status.as_u16(), code.as_str()), (404, "NAME_UNKNOWN"));
    assert!(message.contains("default_registry"), "{message}");
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/v2/").await.ok().header("docker-distribution-api-version"), "registry/2.0");
    for (method, path, status, code) in [
        ("GET", "/v1/search".to_owned(), 404, "UNSUPPORTED"),
        ("PUT", format!("/v2/{APP}/manifests/v1"), 405, "UNSUPPORTED"),
        ("POST", format!("/v2/{APP}/blobs/uploads/"), 405, "UNSUPPORTED"),
        ("GET", format!("/v2/{APP}/blobs/sha256:12"), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/{APP}/manifests/a+b"), 400, "TAG_INVALID"),
        ("GET", format!("/v2/{REGISTRY}/UPPER/manifests/v1"), 400, "NAME_INVALID"),
    ] {
        let reply = rig.request(method, &path, &[]).await;
        assert_eq!((reply.status.as_u16(), reply.error().0.as_str()), (status, code), "{method} {path}");
    }
    assert!(rig.ecr.requests().is_empty());
}

#[tokio::test]
async fn tags_and_referrers_are_asked_upstream_and_answered_under_the_clients_name() {
    let rig = Rig::start().await;
    for number in 0..150 {
        rig.ecr.push_image(APP, &format!("v{number}"), Image::linux_amd64().seed(number));
    }
    let (mut tags, mut next) = (Vec::new(), Some(format!("/v2/{APP}/tags/list?n=100")));
    while let Some(path) = next {
        let reply = rig.get(&path).await.ok();
        assert_eq!(reply.cache(), "bypass");
        let page: serde_json::Value = serde_json::from_slice(reply.body.as_ref().unwrap()).unwrap();
        tags.extend(page["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()));
        next = reply.header("link").split(['<', '>']).nth(1).map(str::to_owned);
        assert!(next.iter().all(|next| next.starts_with(&format!("/v2/{APP}/tags/list?"))), "{next:?}");
    }
    assert_eq!(tags.len(), 150);
    rig.ecr.clear_requests();
    rig.get(&format!("/v2/app/tags/list?ns={REGISTRY}&n=5")).await.ok();
    assert_eq!(rig.ecr.requests()[0].target, "/v2/app/tags/list?n=5");
    let digest = longshore::oci::Digest::of(b"subject");
    let reply = rig.get(&format!("/v2/{APP}/referrers/{digest}?artifactType=a%2Fb")).await.ok();
    assert_eq!(reply.header("content-type"), "application/vnd.oci.image.index.v1+json");
    assert_eq!(rig.ecr.requests()[1].target, format!("/v2/app/referrers/{digest}?artifactType=a%2Fb"));
    assert_eq!(rig.get(&format!("/v2/{APP}x/tags/list")).await.error().0, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_configured_registry_is_reached_where_the_configuration_says() {
    let mut rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    // the plain twin answers to the name of the registry only: what it is asked is seen in its log
    let address = rig.ecr.registry_plain_address();
    rig.more = format!("[[registry]]\nmatch = \"registry.test\"\nendpoint = \"http://{address}\"");
    rig.kill_and_restart();
    let reply = rig.get("/v2/registry.test/app/manifests/v1").await;
    assert_eq!(reply.status, 502, "the fake does not know the host 127.0.0.1");
    let asked = rig.ecr.requests_to(Listener::Registry);
    assert!(
        asked.iter().all(|request| !request.tls && request.header("host") == Some(&address.to_string())),
        "{asked:?}"
    );
    assert_eq!(asked[0].path(), "/v2/app/manifests/v1");
    assert_eq!(asked[0].header("authorization"), None);
}
