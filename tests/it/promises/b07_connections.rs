//! B7 on the wire: ranges, pipelines and broken files on one connection, slow clients and such that leave.

use std::{fs, time::Duration};

use super::raw::{Raw, request};
use crate::{
    fake_ecr::Image,
    rig::{ACCEPT, APP, Rig, together},
};

const MIB: usize = 1024 * 1024;

fn bytes(size: usize) -> Vec<u8> {
    (0..u32::try_from(size).unwrap()).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn warm(rig: &Rig, bytes: &[u8]) -> String {
    let digest = rig.ecr.push_blob(APP, bytes.to_vec());
    let path = format!("/v2/{APP}/blobs/{digest}");
    assert!(rig.get(&path).await.ok().body.unwrap() == bytes);
    path
}

#[tokio::test]
async fn b07_answers_of_every_kind_follow_each_other_on_one_connection() {
    let rig = Rig::start().await;
    let bytes = bytes(3 * MIB + 77);
    let path = warm(&rig, &bytes).await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let manifest = format!("/v2/{APP}/manifests/{}", pushed.digest);
    let mut raw = Raw::connect(&rig).await;
    // all at once: the daemon answers them in order
    let questions = [
        request("GET", &path, "Range: bytes=5-1999999\r\n"),
        request("HEAD", &path, "Range: bytes=5-9\r\n"),
        request("GET", &path, "Range: bytes=0-9,1000000-2999999\r\n"),
        request("GET", &path, "Range: bytes=99999999-\r\n"),
        request("GET", &path, ""),
        request("GET", &manifest, &format!("Accept: {ACCEPT}\r\n")),
        request("GET", &path, "Range: bytes=-70000\r\n"),
        request("GET", "/v2/", ""),
        request("GET", &path, "Range: bytes=-3\r\n"),
    ];
    raw.write(&questions.concat()).await;
    let (head, body) = raw.answer().await;
    assert_eq!(head.status, 206);
    assert!(body == bytes[5..2_000_000]);
    let head = raw.head().await;
    assert_eq!((head.status, head.length()), (200, bytes.len()));
    let (head, body) = raw.answer().await;
    assert_eq!(head.status, 206);
    assert!(body.windows(10).any(|window| *window == bytes[..10]));
    let end = body.len() - "\r\n--".len() - 32 - "--\r\n".len();
    assert!(body[end - 2_000_000..end] == bytes[1_000_000..3_000_000]);
    assert_eq!(raw.answer().await.0.status, 416);
    let (head, body) = raw.answer().await;
    assert_eq!(head.status, 200);
    assert!(body == bytes);
    let (head, body) = raw.answer().await;
    assert_eq!((head.status, body.as_slice()), (200, &pushed.manifest[..]));
    assert!(raw.answer().await.1 == bytes[bytes.len() - 70_000..]);
    assert_eq!(raw.answer().await.1, b"{}");
    assert_eq!(raw.answer().await.1, bytes[bytes.len() - 3..]);
    // and one by one, as most clients do
    for _ in 0..3 {
        raw.ask("GET", &path, "Range: bytes=1000-2001000\r\n").await;
        assert!(raw.answer().await.1 == bytes[1000..=2_001_000]);
    }
}

#[tokio::test]
async fn b07_a_file_cut_under_a_running_answer_breaks_it_and_heals() {
    let rig = Rig::start().await;
    let bytes = bytes(48 * MIB);
    let path = warm(&rig, &bytes).await;
    let (file, _) = rig.content().into_iter().find(|(_, size)| *size == bytes.len() as u64).unwrap();
    let mut raw = Raw::narrow(&rig).await;
    raw.ask("GET", &path, "").await;
    let head = raw.head().await;
    assert_eq!((head.status, head.length()), (200, bytes.len()));
    let first = raw.body(MIB).await;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(20 * MIB as u64).unwrap();
    let rest = raw.body(bytes.len() - MIB).await;
    let got = [first, rest].concat();
    // what came is right, and it is not all
    assert!(got.len() < bytes.len(), "{}", got.len());
    assert!(got == bytes[..got.len()]);
    // the daemon is alive, and the next one gets it right
    assert!(rig.get(&path).await.ok().body.unwrap() == bytes);
}

#[tokio::test]
async fn b07_a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let rig = Rig::start().await;
    let bytes = bytes(32 * MIB);
    let path = warm(&rig, &bytes).await;
    let open = || fs::read_dir(format!("/proc/{}/fd", rig.daemon.id())).unwrap().count();
    let before = open();
    for _ in 0..20 {
        let mut raw = Raw::narrow(&rig).await;
        raw.ask("GET", &path, "Range: bytes=100-\r\n").await;
        assert_eq!(raw.head().await.status, 206);
        assert!(raw.body(MIB).await == bytes[100..100 + MIB]);
    }
    assert!(rig.get(&path).await.ok().body.unwrap() == bytes);
    let mut tries = 0..200;
    while open() > before + 2 {
        assert!(tries.next().is_some(), "{} files are open, there were {before}", open());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn b07_slow_readers_of_a_cold_blob_cost_no_memory_and_get_every_byte() {
    let rig = Rig::start().await;
    let bytes = bytes(16 * MIB);
    let digest = rig.ecr.push_blob(APP, bytes.clone());
    let path = format!("/v2/{APP}/blobs/{digest}");
    let mut slow = together((0..32).map(|_| Raw::narrow(&rig))).await;
    for raw in &mut slow {
        raw.ask("GET", &path, "").await;
    }
    for raw in &mut slow {
        assert_eq!(raw.head().await.length(), bytes.len());
        assert!(raw.body(100_000).await == bytes[..100_000]);
    }
    // one that is quick is not held up by them
    assert!(rig.get(&path).await.ok().body.unwrap() == bytes);
    let anonymous = anonymous_kilobytes(rig.daemon.id());
    assert!(anonymous < 32 * 1024, "{anonymous} kB are in use for 32 readers that wait");
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
    for raw in &mut slow {
        assert!(raw.body(bytes.len() - 100_000).await == bytes[100_000..]);
    }
}

/// Memory of the process that no file stands behind.
fn anonymous_kilobytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
