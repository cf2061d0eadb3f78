//! B7: every form of range, of a blob that is not here yet and of one that is, byte for byte.

use http_body_util::BodyExt as _;

use crate::{
    fake_ecr::{Knob, Listener, Rule},
    rig::{APP, Reply, Rig, together},
};

const SIZE: usize = 3_000_000;
const MIB: usize = 1024 * 1024;

fn bytes(size: usize, seed: u32) -> Vec<u8> {
    (0..u32::try_from(size).unwrap())
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed << 20) >> 24) as u8)
        .collect()
}

fn upstream_bytes(rig: &Rig) -> u64 {
    rig.ecr.stats().s3_bytes.values().sum()
}

/// The body of an answer in several parts, as it must be.
fn multipart(reply: &Reply, bytes: &[u8], parts: &[(usize, usize)]) -> Vec<u8> {
    let boundary = reply.header("content-type").strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
    let mut body = Vec::new();
    for (place, (from, to)) in parts.iter().enumerate() {
        let lead = if place == 0 { "" } else { "\r\n" };
        let range = format!("bytes {from}-{}/{}", to - 1, bytes.len());
        let head =
            format!("{lead}--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {range}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&bytes[*from..*to]);
    }
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    body
}

#[tokio::test]
async fn b07_one_range_of_any_form_is_exact_cold_and_warm() {
    let rig = Rig::start().await;
    let forms = [
        ("bytes=0-", 0, SIZE),
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=1048575-2097152", MIB - 1, 2 * MIB + 1),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-200000", SIZE - 200_000, SIZE),
        ("bytes=-9999999", 0, SIZE),
        ("bytes=2000000-", 2_000_000, SIZE),
        ("bytes=2999999-9999999", SIZE - 1, SIZE),
        ("bytes=5-9,7-20", 5, 21),
        ("bytes=9999999-,0-4", 0, 5),
    ];
    for (seed, (range, from, to)) in forms.into_iter().enumerate() {
        let bytes = bytes(SIZE, u32::try_from(seed).unwrap());
        let digest = rig.ecr.push_blob(APP, bytes.clone());
        for cache in ["miss", "warm"] {
            let reply = rig.request("GET", &format!("/v2/{APP}/blobs/{digest}"), &[("range", range)]).await;
            assert_eq!(reply.status, 206, "{range} {cache}");
            assert!(reply.cache() == cache || cache == "warm", "{range} {}", reply.cache());
            assert_eq!(reply.header("content-range"), format!("bytes {from}-{}/{SIZE}", to - 1), "{range}");
            assert_eq!(reply.header("content-length"), (to - from).to_string(), "{range}");
            assert_eq!(reply.header("etag"), format!("\"{digest}\""));
            assert!(reply.body.unwrap() == bytes[from..to], "{range} {cache}");
        }
        assert_eq!(rig.ecr.s3_gets(&digest), 1, "{range}");
    }
}

#[tokio::test]
async fn b07_several_ranges_are_one_multipart_answer_cold_and_warm() {
    let rig = Rig::start().await;
    let forms: [(&str, &[(usize, usize)]); 3] = [
        ("bytes=0-99,500000-1999999", &[(0, 100), (500_000, 2_000_000)]),
        ("bytes=-10, 0-9", &[(SIZE - 10, SIZE), (0, 10)]),
        ("bytes=2500000-,5-5,1-1,100-2000,50-150,7000000-", &[(2_500_000, SIZE), (5, 6), (1, 2), (50, 2001)]),
    ];
    for (seed, (range, parts)) in forms.into_iter().enumerate() {
        let bytes = bytes(SIZE, 100 + u32::try_from(seed).unwrap());
        let digest = rig.ecr.push_blob(APP, bytes.clone());
        for _ in 0..2 {
            let reply = rig.request("GET", &format!("/v2/{APP}/blobs/{digest}"), &[("range", range)]).await;
            assert_eq!((reply.status.as_u16(), reply.header("content-range")), (206, ""), "{range}");
            let want = multipart(&reply, &bytes, parts);
            assert_eq!(reply.header("content-length"), want.len().to_string());
            assert!(reply.body.unwrap() == want, "{range}");
        }
        assert_eq!(rig.ecr.s3_gets(&digest), 1, "{range}");
    }
}

#[tokio::test]
async fn b07_beyond_the_end_is_416_with_the_size_cold_and_warm() {
    let rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, bytes(SIZE, 1));
    let path = format!("/v2/{APP}/blobs/{digest}");
    for range in ["bytes=3000000-", "bytes=3000000-3000001", "bytes=-0", "bytes=3000000-,4000000-4000001"] {
        let reply = rig.request("GET", &path, &[("range", range)]).await;
        let told = (reply.status.as_u16(), reply.header("content-range"));
        assert_eq!(told, (416, "bytes */3000000"), "{range}");
    }
    assert_eq!(rig.get(&path).await.ok().body.unwrap().len(), SIZE);
    let warm = rig.request("GET", &path, &[("range", "bytes=3000000-")]).await;
    assert_eq!((warm.status.as_u16(), warm.header("content-range")), (416, "bytes */3000000"));
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
}

#[tokio::test]
async fn b07_conditions_on_the_digest_are_honoured_and_others_get_the_whole() {
    let rig = Rig::start().await;
    let bytes = bytes(200_000, 1);
    let digest = rig.ecr.push_blob(APP, bytes.clone());
    let (path, tag) = (format!("/v2/{APP}/blobs/{digest}"), format!("\"{digest}\""));
    // a client that has it all costs no byte of upstream, not even the first time
    let known = rig.request("GET", &path, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status.as_u16(), known.header("etag")), (304, tag.as_str()));
    assert_eq!(known.body.unwrap().len(), 0);
    assert_eq!(upstream_bytes(&rig), 0);
    let (weak, other) = (format!("W/{tag}"), "\"sha256:0\"");
    for if_range in [tag.as_str(), &weak, other, "Sat, 21 Nov 2026 10:00:00 GMT"] {
        let reply = rig.request("GET", &path, &[("range", "bytes=10-19"), ("if-range", if_range)]).await;
        let want = if if_range == tag { (206, &bytes[10..20]) } else { (200, &bytes[..]) };
        assert_eq!(reply.status.as_u16(), want.0, "{if_range}");
        assert!(reply.body.unwrap() == want.1, "{if_range}");
    }
    for (value, status) in [(tag.as_str(), 304), (&weak, 304), (other, 200)] {
        for method in ["GET", "HEAD"] {
            let reply = rig.request(method, &path, &[("if-none-match", value), ("range", "bytes=0-")]).await;
            let want = if status == 200 && method == "GET" { 206 } else { status };
            assert_eq!(reply.status, want, "{method} {value}");
        }
    }
    let head = rig.request("HEAD", &path, &[("range", "bytes=5-9")]).await;
    let told = (head.status.as_u16(), head.header("accept-ranges"), head.header("content-length"));
    assert_eq!(told, (200, "bytes", "200000"));
}

#[tokio::test]
async fn b07_a_manifest_the_client_has_is_not_sent_again() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", crate::fake_ecr::Image::linux_amd64());
    let tag = format!("\"{}\"", pushed.digest);
    for reference in ["v1", &pushed.digest, "v1"] {
        for method in ["GET", "HEAD"] {
            let path = format!("/v2/{APP}/manifests/{reference}");
            let accept = ("accept", crate::rig::ACCEPT);
            let reply = rig.request(method, &path, &[accept, ("if-none-match", &tag)]).await;
            assert_eq!((reply.status.as_u16(), reply.header("etag")), (304, tag.as_str()));
            assert_eq!(reply.header("docker-content-digest"), pushed.digest);
            let reply = rig.request(method, &path, &[accept, ("if-none-match", "\"x\"")]).await;
            assert_eq!(reply.status, 200);
        }
    }
}

/// containerd 2 asks for a layer as `bytes=N-` many times at once and hangs up when it has its share of each.
#[tokio::test]
async fn b07_a_storm_of_open_ended_ranges_costs_one_download_and_leaves_the_cache_complete() {
    let rig = Rig::start().await;
    let size = 24 * MIB;
    let bytes = bytes(size, 1);
    let digest = rig.ecr.push_blob(APP, bytes.clone());
    rig.ecr.set(Knob::S3Rate(Some(40 * 1024 * 1024)));
    let path = format!("/v2/{APP}/blobs/{digest}");
    let share = size / 8;
    together((0..8).map(|chunk| {
        let (rig, path, bytes) = (&rig, &path, &bytes);
        async move {
            let start = chunk * share;
            let response = rig.open("GET", path, &[("range", &format!("bytes={start}-"))]).await;
            assert_eq!(response.status(), 206);
            assert_eq!(response.headers()["content-range"], format!("bytes {start}-{}/{size}", size - 1));
            let (mut body, mut got) = (response.into_body(), Vec::new());
            while got.len() < share {
                got.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
            }
            assert!(got[..share] == bytes[start..start + share], "chunk {chunk}");
        }
    }))
    .await;
    assert!(rig.get(&path).await.ok().body.unwrap() == bytes);
    let total = upstream_bytes(&rig);
    assert!(total * 10 <= size as u64 * 11, "{total} bytes came from upstream for {size}");
    // complete: nobody is asked any more
    rig.ecr.stop_listening();
    let warm = rig.get(&path).await.ok();
    assert_eq!(warm.cache(), "hit");
    assert!(warm.body.unwrap() == bytes);
}

#[tokio::test]
async fn b07_ranges_of_a_download_under_way_come_before_its_end() {
    let rig = Rig::start().await;
    let bytes = bytes(SIZE, 9);
    let digest = rig.ecr.push_blob(APP, bytes.clone());
    let fault = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(2_000_000));
    let path = format!("/v2/{APP}/blobs/{digest}");
    let whole = rig.open("GET", &path, &[]).await;
    fault.reached().await;
    let reply = rig.request("GET", &path, &[("range", "bytes=100-1100099,5-9")]).await;
    let want = multipart(&reply, &bytes, &[(100, 1_100_100), (5, 10)]);
    assert_eq!((reply.status.as_u16(), reply.cache()), (206, "join"));
    assert!(reply.body.unwrap() == want);
    fault.release();
    assert!(whole.into_body().collect().await.unwrap().to_bytes() == bytes);
    assert_eq!(rig.ecr.s3_gets(&digest), 1);
}
