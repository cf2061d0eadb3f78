//! B13: the folder keeps to its limits. What was read least recently goes first, never what is open, in flight or pinned.

use std::{env, fs, io, path::Path, process::Command, time::SystemTime};

use http_body_util::BodyExt as _;
use longshore::{
    oci::{Digest, Repository},
    store::{BlobStore, Limits},
};

use crate::{
    fake_ecr::{Image, Listener, Rule},
    rig::{APP, Rig, leave_out, run, text},
};

const BLOB: usize = 1_000_000;
/// What three blobs take with the folders and records around them, and what lies in the folder besides.
const THREE_BLOBS: &str = "[cache]\nmax_size = \"3500kB\"";
const BOUND: u64 = 3_500_000;
/// Set for the process that [`on_a_small_disk`] is meant for.
const SMALL_DISK: &str = "LONGSHORE_TEST_SMALL_DISK";

fn du(dir: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(dir).output().unwrap();
    text(&output.stdout).split('\t').next().unwrap().parse().unwrap()
}

/// Pushes so many blobs; their paths in the API.
fn push(rig: &Rig, count: u8) -> Vec<String> {
    let push = |number| format!("/v2/{APP}/blobs/{}", rig.ecr.push_blob(APP, vec![number; BLOB]));
    (0..count).map(push).collect()
}

async fn is_hit(rig: &Rig, path: &str) -> bool {
    let reply = rig.get(path).await.ok();
    assert_eq!(reply.body.as_ref().unwrap().len(), BLOB);
    reply.cache() == "hit"
}

#[tokio::test]
async fn b13_a_hot_blob_survives_a_cycle_of_cold_ones_and_the_folder_keeps_its_bound() {
    let rig = Rig::with(THREE_BLOBS).await;
    let paths = push(&rig, 10);
    let hot = rig.ecr.push_blob(APP, vec![200; BLOB]);
    let hot = format!("/v2/{APP}/blobs/{hot}");
    assert!(!is_hit(&rig, &hot).await);
    for round in 0..3 {
        for path in &paths {
            assert!(!is_hit(&rig, path).await || round == 0, "ten blobs do not fit in the room of three");
            rig.settle().await;
            assert!(is_hit(&rig, &hot).await, "what is read all the time stays");
            let taken = du(&rig.cache());
            assert!(taken <= BOUND + BLOB as u64, "{taken} bytes are taken");
        }
    }
    rig.daemon.wait_for_log("least recently read, over max_size");
}

#[tokio::test]
async fn b13_two_repositories_that_share_a_layer_never_get_an_empty_body() {
    let other = APP.replace("/app", "/other");
    let rig = Rig::with(THREE_BLOBS).await;
    let paths = push(&rig, 4);
    let shared = vec![77; BLOB];
    let digest = rig.ecr.push_blob(APP, shared.clone());
    rig.ecr.push_blob(&other, shared.clone());
    for round in 0..12 {
        let repository = if round % 2 == 0 { APP } else { &other };
        let reply = rig.get(&format!("/v2/{repository}/blobs/{digest}")).await.ok();
        assert_eq!(reply.header("content-length"), BLOB.to_string());
        assert_eq!(reply.body.unwrap(), shared);
        for path in &paths[..=round % 4] {
            is_hit(&rig, path).await;
        }
    }
}

#[tokio::test]
async fn b13_what_is_open_in_flight_or_pinned_survives() {
    let mut rig = Rig::with("[cache]\nmax_size = \"108MB\"").await;
    let pinned = rig.ecr.push_image(APP, "pinned", Image::index(["linux/amd64", "linux/arm64"]).layers(2, BLOB));
    let before = rig.pull(APP, "pinned").await;
    rig.settle().await;
    rig.daemon.kill();
    let pins = BlobStore::open(&rig.cache(), None).unwrap();
    let (repository, reference) = (APP.parse::<Repository>().unwrap(), "pinned".parse().unwrap());
    assert_eq!(pins.pin(&repository, &reference, true).unwrap().unwrap().as_str(), pinned.digest);
    drop(pins);
    rig.restart();
    // more than the buffers between here and there hold
    let large = vec![99; 96_000_000];
    let opened = format!("/v2/{APP}/blobs/{}", rig.ecr.push_blob(APP, large.clone()));
    rig.get(&opened).await.ok();
    rig.settle().await;
    let reading = rig.open("GET", &opened, &[]).await;
    assert_eq!(reading.headers()["x-longshore-cache"], "hit");
    let in_flight = rig.ecr.push_blob(APP, vec![98; BLOB]);
    let fault = rig.ecr.fault(Rule::on(Listener::S3).digest(&in_flight).hold_after(300_000));
    let flying = rig.open("GET", &format!("/v2/{APP}/blobs/{in_flight}"), &[]).await;
    fault.reached().await;
    for path in push(&rig, 20) {
        is_hit(&rig, &path).await;
    }
    rig.daemon.wait_for_log("cache swept");
    fault.release();
    let body = flying.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(Digest::of(&body).as_str(), in_flight);
    assert_eq!(rig.get(&opened).await.ok().cache(), "hit");
    assert_eq!(reading.into_body().collect().await.unwrap().to_bytes(), large);
    rig.ecr.clear_faults();
    rig.ecr.stop_listening();
    assert_eq!(rig.pull(APP, "pinned").await, before, "a pin holds the image, offline too");
}

#[tokio::test]
async fn b13_a_registry_keeps_to_its_quota() {
    let other = "210987654321.dkr.ecr.us-east-1.amazonaws.com/app";
    let quota = "[[registry]]\nmatch = \"210987654321\"\nmax_size = \"2500kB\"";
    let rig = Rig::with(quota).await;
    let kept = push(&rig, 4);
    for path in &kept {
        is_hit(&rig, path).await;
    }
    let limited: Vec<_> = (100..104_u8)
        .map(|number| format!("/v2/{other}/blobs/{}", rig.ecr.push_blob(other, vec![number; BLOB])))
        .collect();
    for path in &limited {
        is_hit(&rig, path).await;
        // what comes to its place first is the older one
        rig.settle().await;
    }
    rig.daemon.wait_for_log("over its registry's max_size");
    for path in &kept {
        assert!(is_hit(&rig, path).await, "the others do not pay for it");
    }
    // the first last: it comes anew, and something goes for it
    assert!(is_hit(&rig, &limited[3]).await && !is_hit(&rig, &limited[0]).await);
}

#[tokio::test]
async fn b13_what_nobody_read_for_max_age_goes_and_recency_survives_a_restart() {
    let mut rig = Rig::start().await;
    let paths = push(&rig, 3);
    for path in &paths {
        is_hit(&rig, path).await;
    }
    rig.daemon.signal("TERM");
    rig.daemon.wait().await;
    for (file, _) in rig.content() {
        let long_ago = SystemTime::now() - std::time::Duration::from_hours(48);
        fs::File::open(file).unwrap().set_times(fs::FileTimes::new().set_accessed(long_ago)).unwrap();
    }
    rig.restart();
    assert!(is_hit(&rig, &paths[1]).await);
    rig.daemon.signal("TERM");
    rig.daemon.wait().await;
    rig.more = "[cache]\nmax_age = \"24h\"".to_owned();
    rig.restart();
    rig.daemon.wait_for_log("not read for max_age");
    assert!(is_hit(&rig, &paths[1]).await, "a hit renewed its age, and that outlasted the restart");
    assert!(!is_hit(&rig, &paths[0]).await);
}

#[tokio::test]
async fn b13_the_order_of_reading_survives_a_restart() {
    let mut rig = Rig::with(THREE_BLOBS).await;
    let paths = push(&rig, 4);
    for path in [&paths[0], &paths[1], &paths[0]] {
        is_hit(&rig, path).await;
        rig.settle().await;
    }
    rig.daemon.signal("TERM");
    rig.daemon.wait().await;
    rig.restart();
    for path in &paths[2..4] {
        is_hit(&rig, path).await;
    }
    rig.daemon.wait_for_log("cache swept");
    assert!(is_hit(&rig, &paths[0]).await && !is_hit(&rig, &paths[1]).await);
}

#[tokio::test]
async fn b13_accounting_equals_du_after_a_kill_in_the_middle_of_a_download() {
    let mut rig = Rig::with("[cache]\nmax_size = \"6MB\"").await;
    for number in 0..12_u64 {
        let size = 1 << (10 + number);
        let image = Image::linux_amd64().seed(number).layers(2, size.min(BLOB));
        rig.ecr.push_image(APP, &format!("v{number}"), image);
        rig.pull(APP, &format!("v{number}")).await;
    }
    let digest = rig.ecr.push_blob(APP, vec![9; BLOB]);
    let fault = rig.ecr.fault(Rule::on(Listener::S3).digest(&digest).hold_after(BLOB as u64 / 2));
    let response = rig.open("GET", &format!("/v2/{APP}/blobs/{digest}"), &[]).await;
    fault.reached().await;
    rig.daemon.kill();
    drop(response);
    for when in ["killed", "and opened once more"] {
        let store = BlobStore::open(&rig.cache(), None).unwrap();
        let (used, really) = (store.used(), du(&rig.cache()));
        assert!(used.abs_diff(really) * 100 <= really, "{when}: {used} are counted, {really} are taken");
        assert_eq!(store.usage().unwrap().total, used);
    }
    fault.release();
    rig.restart();
    rig.get(&format!("/v2/{APP}/blobs/{digest}")).await.ok();
}

#[test]
fn b13_a_disk_that_is_full_is_made_room_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=8m none \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "/bin/sh", "-euc", script, "sh"]).arg(dir.path());
    command.arg(env::current_exe().unwrap());
    command.args(["--exact", "promises::b13_bounds::on_a_small_disk", "--ignored", "--nocapture"]);
    let output = run(command.env(SMALL_DISK, dir.path()), "");
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    if !out.contains("running 1 test") {
        return leave_out(&error);
    }
    assert!(output.status.success(), "{out}{error}");
}

#[test]
#[ignore = "is started by b13_a_disk_that_is_full_is_made_room_on, on a disk of its own"]
fn on_a_small_disk() {
    let Some(dir) = env::var_os(SMALL_DISK) else { return };
    let dir = Path::new(&dir);
    let store =
        BlobStore::open(dir, Limits { min_free: Some(0), max_size: u64::MAX.try_into().ok(), ..Limits::default() });
    let store = store.unwrap();
    let from: Repository = APP.parse().unwrap();
    let put = |bytes: &[u8]| -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let (writer, _) = store.write(&digest, &from)?;
        writer.write_at(0, bytes)?;
        let verified = std::sync::Arc::new(writer).verify(bytes.len() as u64);
        verified.and_then(longshore::store::VerifiedBlob::commit).map_err(io::Error::other)?;
        Ok(digest)
    };
    let mut digests: Vec<Digest> = (0..7).map(|seed| put(&vec![seed; BLOB]).unwrap()).collect();
    let hot = digests.remove(0);
    drop(store.read(&hot).unwrap().unwrap());
    let full = put(&vec![50; BLOB * 2]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert!(store.make_room(2 * BLOB as u64).unwrap() >= 2 * BLOB as u64);
    put(&vec![50; BLOB * 2]).unwrap();
    assert!(store.size(&hot).unwrap().is_some() && store.size(&digests[0]).unwrap().is_none());
    // full to the last byte: records and read times fail, nothing else
    let filler = fs::File::create(dir.join("filler")).unwrap();
    while io::Write::write_all(&mut &filler, &[0; 4096]).is_ok() {}
    drop(store.read(&hot).unwrap().unwrap());
    store.flush();
    store.sweep().unwrap();
    // room is made for its file, not for all of it
    assert!(put(&vec![51; BLOB * 3]).is_err());
    assert!(store.make_room(BLOB as u64).unwrap() >= BLOB as u64);
    put(&vec![51; BLOB / 2]).unwrap();
    let really = du(dir);
    assert!(store.used().abs_diff(really) * 100 <= really, "{} are counted, {really} are taken", store.used());
}
