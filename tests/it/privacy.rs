//! What leaves this machine, and what is written down: no client's header goes to the storage, no token into a log.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    fake_ecr::{Image, Listener},
    rig::{ACCEPT, APP, REGISTRY, Rig},
};

const NOSY: [(&str, &str); 6] = [
    ("accept", ACCEPT),
    ("authorization", "Basic Y2xpZW50OnMzY3IzdA=="),
    ("cookie", "session=s3cr3t"),
    ("referer", "http://localhost/v2/private-name"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("user-agent", "docker/28.2.2 (linux)"),
];

#[tokio::test]
async fn neither_registry_nor_storage_see_what_is_not_meant_for_them() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(2, 10_000));
    rig.request("GET", &format!("/v2/{APP}/manifests/v1"), &NOSY).await.ok();
    for blob in pushed.blobs() {
        rig.request("GET", &format!("/v2/{APP}/blobs/{}", blob.digest), &NOSY).await.ok();
    }
    let storage = rig.ecr.requests_to(Listener::S3);
    assert_eq!(storage.len(), 3);
    for request in &storage {
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        assert_eq!(names, ["user-agent", "host"], "{request:?}");
        assert!(request.header("user-agent").unwrap().starts_with("longshore/"));
        assert!(!request.header("user-agent").unwrap().contains("docker"));
    }
    let registry = rig.ecr.requests_to(Listener::Registry);
    for request in &registry {
        for name in ["cookie", "referer", "traceparent"] {
            assert_eq!(request.header(name), None);
        }
        // the true client stays visible in CloudTrail
        assert!(request.header("user-agent").unwrap().contains("upstream-client(docker/28.2.2 (linux))"));
        assert_ne!(request.header("authorization"), Some(NOSY[1].1));
        assert_eq!(request.host, REGISTRY);
    }
    let stats = rig.ecr.stats();
    assert_eq!((stats.authorization_seen, stats.referer_seen, stats.cookie_seen, stats.head_seen), (0, 0, 0, 0));
}

#[tokio::test]
async fn no_line_of_the_log_holds_a_secret_even_at_trace() {
    let mut rig = Rig::start().await;
    rig.restart_at_trace();
    let public = "public.ecr.aws/alias/app";
    for repository in [APP, public] {
        let pushed = rig.ecr.push_image(repository, "v1", Image::linux_amd64());
        rig.request("GET", &format!("/v2/{repository}/manifests/v1"), &NOSY).await.ok();
        rig.request("GET", &format!("/v2/{repository}/blobs/{}", pushed.config().digest), &NOSY).await.ok();
    }
    rig.ecr.expire_tokens();
    rig.request("GET", &format!("/v2/{APP}/manifests/v1"), &NOSY).await.ok();
    // so that nothing is still to be written
    rig.daemon.signal("TERM");
    rig.daemon.wait().await;
    rig.daemon.wait_for_log("longshore::cli::serve: stopped");
    let log = rig.daemon.log();
    assert!(log.contains("TRACE"), "nothing was logged at trace: the test proves nothing");
    let mut secrets = vec!["s3cr3t".to_owned(), "Y2xpZW50OnMzY3IzdA".to_owned(), "an-example-secret-key".to_owned()];
    for request in rig.ecr.requests() {
        if let Some((_, token)) = request.header("authorization").and_then(|value| value.split_once(' ')) {
            let token = token.split("Signature=").last().unwrap();
            secrets.push(token.to_owned());
            // the password inside
            let inside = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            secrets.extend(inside.and_then(|pair| Some(pair.split_once(':')?.1.to_owned())));
        }
        let signature = request.target.split_once("Signature=").map(|(_, after)| after.split('&').next().unwrap());
        secrets.extend(signature.map(str::to_owned));
    }
    assert!(secrets.len() > 15, "{}", secrets.len());
    for secret in secrets {
        let found = log.lines().find(|line| line.contains(&secret));
        assert!(found.is_none(), "a secret of {} bytes was logged", secret.len());
    }
}
