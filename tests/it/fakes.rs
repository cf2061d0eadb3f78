//! The fake's own settings that scripts rely on: they do what the scripts read into them.
//!
//! Nothing here is about Longshore, but for the pull that makes the fake do something.

use std::time::{Duration, Instant};

use crate::{
    fake_ecr::{FakeEcr, Knob, parse_image},
    rig::{APP, Rig},
};

#[tokio::test]
async fn an_image_has_layers_of_the_sizes_in_its_text() {
    let ecr = FakeEcr::start().await;
    let sizes = |text: &str| {
        let (repository, tag, image) = parse_image(&format!("{APP}:1,{text}")).unwrap();
        let layers = ecr.push_image(&repository, &tag, image).layers();
        layers.iter().map(|layer| layer.size / 100_000).collect::<Vec<_>>()
    };
    assert_eq!(sizes("layers=3,layer-size=200000"), [2, 2, 2]);
    assert_eq!(sizes("layer-size=100000+500000"), [1, 5]);
    assert!(parse_image(&format!("{APP}:1,layer-size=1+x")).is_err());
}

#[tokio::test]
async fn a_slow_connection_takes_the_time_its_rate_says() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![7; 300_000]);
    rig.ecr.set(Knob::S3ConnectionRate(Some(1_000_000)));
    let began = Instant::now();
    rig.get(&format!("/v2/{APP}/blobs/{digest}")).await.ok();
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
}
