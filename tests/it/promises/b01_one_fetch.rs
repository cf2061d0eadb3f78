//! One fetch, many readers.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;

use super::{S, blob, body_of, path, patient};
use crate::{
    fake_ecr::{Knob, Listener, Rule},
    rig::{APP, REGISTRY, Rig, together},
};

const SLOWEST_FIRST_BYTE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn b01_one_fetch_many_readers() {
    let rig = patient().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    let other = format!("{REGISTRY}/team/other");
    rig.ecr.push_blob(&other, blob(1));
    // half of it comes, then nothing until the test says so: whoever gets a byte gets it from a fetch under way
    let half = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(S as u64 / 2));
    let paths: Vec<_> = (0..8).map(|n| path(if n % 2 == 0 { APP } else { &other }, &digest)).collect();
    let begun = Instant::now();
    let firsts = together(paths.iter().map(|path| async {
        let mut body = rig.open("GET", path, &[]).await.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (begun.elapsed(), first, body)
    }));
    let firsts = firsts.await;
    half.reached().await;
    let earliest = firsts.iter().map(|(after, ..)| *after).min().unwrap();
    for (after, ..) in &firsts {
        assert!(*after <= earliest + SLOWEST_FIRST_BYTE, "{after:?} against {earliest:?}");
    }
    // one that comes when half is there gets that half at once, from the start
    let mut late = rig.open("GET", &path(APP, &digest), &[]).await.into_body();
    let mut early = Vec::new();
    while early.len() < S / 2 - 64 * 1024 {
        early.extend_from_slice(&late.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
    half.release();
    early.extend_from_slice(&late.collect().await.unwrap().to_bytes());
    assert!(early == blob(1), "the late one");
    for (_, first, rest) in firsts {
        assert!([first, rest.collect().await.unwrap().to_bytes()].concat() == blob(1));
    }
    let stats = rig.ecr.stats();
    assert_eq!((rig.ecr.s3_gets(&digest), stats.s3_bytes[&digest]), (1, S as u64));
}

#[tokio::test]
async fn b01_sixteen_cold_clients_cost_one_body() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, blob(2));
    let bodies = together((0..16).map(|_| body_of(&rig, &digest))).await;
    assert!(bodies.iter().all(|body| *body == blob(2)));
    assert_eq!((rig.ecr.s3_gets(&digest), rig.ecr.stats().s3_bytes[&digest]), (1, S as u64));
}

#[tokio::test]
async fn b01_what_one_repository_refuses_another_may_allow() {
    let rig = patient().await;
    let digest = rig.ecr.push_blob(APP, blob(1));
    let (refused, allowed) = (format!("{REGISTRY}/team/secret"), path(APP, &digest));
    rig.ecr.push_blob(&refused, blob(1));
    rig.ecr.set(Knob::DenyRepository(refused.clone()));
    let hold = rig.ecr.fault(Rule::on(Listener::Registry).path("/team/secret/").hold());
    let first = path(&refused, &digest);
    let (denied, given) = tokio::join!(rig.get(&first), async {
        hold.reached().await;
        let (given, ()) = tokio::join!(rig.get(&allowed), async { hold.release() });
        given
    });
    assert_eq!((denied.status.as_u16(), given.status.as_u16()), (403, 200));
    assert!(given.body.unwrap() == blob(1));
}
