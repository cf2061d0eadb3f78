//! Tokens live as long as they are good: one mint for any number of requests, and no client hears of it.
//!
//! More of it is in `tokens.rs` and `renewal.rs`.

use std::time::Duration;

use crate::{
    fake_ecr::{Image, Knob, Listener, Rule},
    rig::{APP, Rig, together},
};

const AT_ONCE: usize = 100;
const EXPIRED: &str = "Your authorization token has expired. Reauthenticate and try again.";

/// A hundred requests at once; how many tokens were minted for them.
async fn mints_of_a_hundred(rig: &Rig) -> u64 {
    let digests: Vec<_> =
        (0..AT_ONCE).map(|n| rig.ecr.push_blob(APP, format!("blob {n} {}", rig.mints()).into())).collect();
    let before = rig.mints();
    let paths: Vec<_> = digests.iter().map(|digest| format!("/v2/{APP}/blobs/{digest}")).collect();
    let replies = together(paths.iter().map(|path| rig.get(path))).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body.is_ok()), "{replies:?}");
    rig.mints() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_a_hundred_requests_with_a_token_that_is_over_cost_one_mint_and_no_client_hears_of_it() {
    let rig = Rig::start().await;
    assert_eq!(mints_of_a_hundred(&rig).await, 1);
    // over by the clock: 403 and the words of ECR
    rig.ecr.advance(Duration::from_hours(13));
    assert_eq!(mints_of_a_hundred(&rig).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_every_way_to_say_that_a_token_is_over_is_understood() {
    for (status, code, words) in [
        (401, "UNAUTHORIZED", "authentication required"),
        (403, "DENIED", EXPIRED),
        (400, "DENIED", "Your Authorization Token is invalid."),
        (403, "DENIED", "The security token included in the request is invalid."),
    ] {
        let rig = Rig::start().await;
        rig.ecr.push_image(APP, "v1", Image::linux_amd64());
        rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
        let fault = rig.ecr.fault(Rule::on(Listener::Registry).once().registry_error(status, code, words));
        rig.ecr.push_image(APP, "v2", Image::linux_amd64().seed(2));
        let reply = rig.get(&format!("/v2/{APP}/manifests/v2")).await;
        assert_eq!((reply.status.as_u16(), fault.hits(), rig.mints()), (200, 1, 2), "{status} {words}: {reply:?}");
    }
}

#[tokio::test]
async fn b09_in_steady_state_every_request_carries_the_token_at_once() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    for _ in 0..5 {
        rig.pull(APP, "v1").await;
    }
    let requests = rig.ecr.requests_to(Listener::Registry);
    assert!(requests.iter().all(|request| request.header("authorization").is_some()), "{requests:?}");
    assert_eq!(rig.mints(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_while_no_other_token_is_to_be_had_the_good_one_serves() {
    let rig = Rig::start().await;
    assert_eq!(mints_of_a_hundred(&rig).await, 1);
    rig.ecr.fault(Rule::on(Listener::Api).aws_failure("ThrottlingException"));
    rig.ecr.set(Knob::TokenLifetime(Duration::from_hours(12)));
    assert_eq!(mints_of_a_hundred(&rig).await, 0);
}
