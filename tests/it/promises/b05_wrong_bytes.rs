//! No unverified byte is the last byte.

use http_body_util::BodyExt as _;

use super::{S, blob, body_of, path};
use crate::{
    fake_ecr::{Action, Image, Listener, Rule},
    rig::{APP, Rig, together},
};

#[tokio::test]
async fn b05_no_unverified_byte_is_the_last_byte() {
    for rule in [
        |rule: Rule| rule.flip_byte(S / 2),
        |rule: Rule| rule.flip_byte(S - 1),
        |rule: Rule| rule.then(Action::SwapBody),
    ] {
        let rig = Rig::start().await;
        let digest = rig.ecr.push_blob(APP, blob(1));
        rig.ecr.fault(rule(Rule::on(Listener::S3).once()));
        let path = path(APP, &digest);
        let bodies = together((0..3).map(|_| rig.open("GET", &path, &[]))).await;
        for response in bodies {
            assert_eq!(response.headers()["content-length"], S.to_string());
            let (mut body, mut got, mut is_cut) = (response.into_body(), 0, false);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => got += frame.into_data().unwrap().len(),
                    Err(_) => is_cut = true,
                }
                if is_cut {
                    break;
                }
            }
            assert!(is_cut && got < S, "{got} of {S}");
        }
        let said = rig.daemon.wait_for_log("upstream sent wrong bytes");
        assert!(said.contains("event=\"digest_mismatch\"") || rig.daemon.log().contains("digest_mismatch"), "{said}");
        assert!(said.contains("s3.us-east-1.amazonaws.com") && said.contains("dkr.ecr.us-east-1"), "{said}");
        rig.settle().await;
        assert_eq!(rig.content().len(), 0);
        assert!(body_of(&rig, &digest).await == blob(1));
    }
}

#[tokio::test]
async fn b05_manifests_are_verified_before_their_first_byte() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.ecr.fault(Rule::on(Listener::Registry).method("GET").path("/manifests/").once().flip_byte(20));
    let reply = rig.get(&format!("/v2/{APP}/manifests/{}", pushed.digest)).await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert_eq!(rig.content().len(), 0);
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/{}", pushed.digest)).await.ok().body.unwrap(), pushed.manifest);
}
