//! The daemon as a process: how it starts, what it answers besides pulls, how it stops, what it keeps.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    num::NonZeroU64,
    time::Duration,
};

use http_body_util::BodyExt as _;
use longshore::{
    oci::{Digest, Manifest, MediaType, Repository},
    store::BlobStore,
};

use crate::{
    fake_ecr::{Image, Listener, Rule},
    rig::{APP, Rig, program, run, text},
};

#[tokio::test]
async fn a_tls_client_hello_is_answered_with_a_plain_400_at_once() {
    let rig = Rig::start().await;
    // what rustls really sends
    let name = "localhost".try_into().unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let mut hello = Vec::new();
    let mut tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    tls.write_tls(&mut hello).unwrap();
    assert_eq!(hello[0], 0x16);
    let mut tcp = TcpStream::connect(rig.daemon.address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    tcp.write_all(&hello).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

#[tokio::test]
async fn sigterm_lets_a_transfer_finish_and_ends_with_success() {
    let mut rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![9; 1_000_000]);
    let fault = rig.ecr.fault(Rule::on(Listener::S3).hold_after(300_000));
    let response = rig.open("GET", &format!("/v2/{APP}/blobs/{digest}"), &[]).await;
    rig.daemon.signal("TERM");
    rig.daemon.wait_for_log("stopping: running transfers may finish");
    assert!(TcpStream::connect(rig.daemon.address).is_err(), "a stopping daemon takes no new connection");
    fault.release();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(Digest::of(&body).as_str(), digest);
    assert_eq!(rig.daemon.wait().await, Some(0));
}

#[tokio::test]
async fn the_grace_ends() {
    let mut rig = Rig::with("grace = \"100ms\"").await;
    let digest = rig.ecr.push_blob(APP, vec![9; 1_000_000]);
    rig.ecr.fault(Rule::on(Listener::S3).hold_after(300_000));
    let response = rig.open("GET", &format!("/v2/{APP}/blobs/{digest}"), &[]).await;
    rig.daemon.signal("TERM");
    assert_eq!(rig.daemon.wait().await, Some(0));
    assert!(rig.daemon.log().contains("transfers that did not finish in time were cut"));
    assert!(response.into_body().collect().await.is_err());
    // what came rests: the bytes and the journal of them
    assert_eq!(fs::read_dir(rig.cache().join("staging")).unwrap().count(), 2);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut rig = Rig::start().await;
    let digest = rig.ecr.push_blob(APP, vec![9; 1_000_000]);
    rig.ecr.fault(Rule::on(Listener::S3).hold_after(300_000));
    let _response = rig.open("GET", &format!("/v2/{APP}/blobs/{digest}"), &[]).await;
    rig.daemon.signal("TERM");
    rig.daemon.wait_for_log("stopping: running transfers may finish");
    rig.daemon.signal("INT");
    assert_eq!(rig.daemon.wait().await, Some(130));
}

#[tokio::test]
async fn a_second_daemon_says_who_has_the_cache() {
    let rig = Rig::start().await;
    let output = rig.longshore(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("the cache {} is in use by process ", rig.cache().display())), "{said}");
    assert!(said.contains("[cache] dir"), "{said}");
}

#[tokio::test]
async fn a_cache_of_another_layout_is_refused_and_left_alone() {
    let mut rig = Rig::start().await;
    rig.daemon.kill();
    assert!(
        fs::read_to_string(rig.cache().join("CACHEDIR.TAG"))
            .unwrap()
            .starts_with("Signature: 8a477f597d28d172789f06886806bc55")
    );
    fs::write(rig.cache().join("VERSION"), "2\n").unwrap();
    let output = rig.longshore(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has layout version \"2\", this program knows 1"), "{output:?}");
    assert_eq!(fs::read_to_string(rig.cache().join("VERSION")).unwrap(), "2\n");
}

#[tokio::test]
async fn a_request_is_one_line_that_says_how_it_was_answered() {
    let rig = Rig::with("log_format = \"json\"").await;
    let digest = rig.ecr.push_blob(APP, vec![1; 100_000]);
    let path = format!("/v2/{APP}/blobs/{digest}");
    rig.request("GET", &path, &[("user-agent", "docker/28")]).await.ok();
    rig.request("GET", &path, &[("user-agent", "docker/28")]).await.ok();
    rig.daemon.wait_for_log("\"cache\":\"hit\"");
    let log = rig.daemon.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("longshore::request"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let facts: Vec<_> = lines
        .iter()
        .map(|line| {
            format!(
                "{} {} {} {} {}",
                line["cache"], line["status"], line["sent"], line["upstream_bytes"], line["client"]
            )
        })
        .collect();
    assert_eq!(facts, ["\"miss\" 200 100000 100000 \"docker/28\"", "\"hit\" 200 100000 0 \"docker/28\""]);
    assert_eq!(lines[0]["path"], path);
}

#[tokio::test]
async fn the_cache_stays_within_its_bound_and_keeps_what_was_read_last() {
    let rig = Rig::with("[cache]\nmax_size = \"1200kB\"").await;
    let digests: Vec<_> = (0..5_u8).map(|number| rig.ecr.push_blob(APP, vec![number; 300_000])).collect();
    let path = |number: usize| format!("/v2/{APP}/blobs/{}", digests[number]);
    for number in [0, 1, 2] {
        rig.get(&path(number)).await.ok();
    }
    // 0 is the oldest but was read last
    assert_eq!(rig.get(&path(0)).await.ok().cache(), "hit");
    rig.get(&path(3)).await.ok();
    rig.daemon.wait_for_log("cache swept");
    // three blobs, and the folders and records around them
    let kept: u64 = rig.content().iter().map(|(_, size)| size).sum();
    assert!((600_000..=1_200_000).contains(&kept), "{kept} bytes are kept");
    assert_eq!(rig.get(&path(0)).await.ok().cache(), "hit");
    assert_eq!(rig.get(&path(1)).await.ok().cache(), "miss");
}

#[tokio::test]
async fn content_that_is_being_read_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    // one content and its folders, but not two
    let store = BlobStore::open(dir.path(), NonZeroU64::new(150_000)).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        let from = "registry.test/app".parse().unwrap();
        let (writer, _) = store.write(&digest, &from).unwrap();
        writer.write_at(0, bytes).unwrap();
        std::sync::Arc::new(writer).verify(bytes.len() as u64).unwrap().commit().unwrap();
        digest
    };
    let (one, other) = (put(&vec![1; 50_000]), put(&vec![2; 50_000]));
    let open = store.read(&one).unwrap().unwrap();
    let _ = store.read(&other).unwrap();
    assert!(store.sweep().unwrap() >= 50_000);
    assert!(store.read(&one).unwrap().is_some() && store.read(&other).unwrap().is_none());
    drop(open);
    assert!((50_000..150_000).contains(&store.used()));
}

#[tokio::test]
async fn one_blob_that_can_never_stay_does_not_empty_the_cache() {
    let rig = Rig::with("[cache]\nmax_size = \"1MB\"").await;
    let small = rig.ecr.push_blob(APP, vec![1; 300_000]);
    let huge = rig.ecr.push_blob(APP, vec![2; 2_000_000]);
    let path = |digest: &str| format!("/v2/{APP}/blobs/{digest}");
    rig.get(&path(&small)).await.ok();
    assert_eq!(rig.get(&path(&huge)).await.ok().body.unwrap().len(), 2_000_000);
    rig.daemon.wait_for_log("cache swept");
    assert_eq!(rig.get(&path(&small)).await.ok().cache(), "hit");
}

#[tokio::test]
async fn a_cache_folder_that_is_deleted_under_the_daemon_costs_only_the_cache() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let before = rig.pull(APP, "v1").await;
    rig.settle().await;
    fs::remove_dir_all(rig.cache()).unwrap();
    assert_eq!(rig.pull(APP, "v1").await, before);
    assert_eq!(rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok().cache(), "hit");
}

#[tokio::test]
async fn the_layout_is_that_of_the_content_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), NonZeroU64::new(1_000_000)).unwrap();
    let repository = Repository { registry: "a.b".parse().unwrap(), name: "c".parse().unwrap() };
    let manifest = Manifest::new(MediaType::new("x/y"), "{}".into());
    store.put_manifest(&repository, &manifest).unwrap();
    let integrity = cacache::Integrity::from_hex(manifest.descriptor.digest.hex(), cacache::Algorithm::Sha256).unwrap();
    // what we place, cacache reads and checks
    assert_eq!(cacache::read_hash_sync(dir.path(), &integrity).unwrap(), b"{}");
    // what cacache places lies where we look, but nobody verified it here
    let bytes = b"placed by cacache";
    cacache::write_hash_sync(dir.path(), bytes).unwrap();
    let hex = Digest::of(bytes).hex().to_owned();
    assert!(dir.path().join("content-v2/sha256").join(&hex[..2]).join(&hex[2..4]).join(&hex[4..]).exists());
    assert!(store.read(&Digest::of(bytes)).unwrap().is_none());
    assert_eq!(store.manifest(&repository, &manifest.descriptor.digest).unwrap(), Some(manifest));
}

#[tokio::test]
async fn the_configuration_is_checked_and_shown() {
    let rig = Rig::with("[cache]\nmax_size = \"2GB\"").await;
    let path = rig.dir.path().join("config.toml").display().to_string();
    let check = rig.longshore(&["config", "check"]);
    assert_eq!((check.status.code(), text(&check.stdout)), (Some(0), format!("{path}: valid\n")));
    let show = text(&rig.longshore(&["config", "show"]).stdout);
    assert!(show.contains(&format!("cache.max_size = \"2GB\"  # {path}:3\n")), "{show}");
    assert!(show.contains("grace = \"30s\"  # default\n"), "{show}");
    let home = rig.dir.path().join("home");
    assert!(show.contains(&format!("cache.dir = \"{}/.cache/longshore\"  # default\n", home.display())), "{show}");
    fs::write(&path, "listen = \"0.0.0.0:5577\"\n").unwrap();
    for command in [&["config", "check"][..], &["serve"]] {
        let output = rig.longshore(command);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.starts_with(&format!("longshore: {path}: line 1: listen: 0.0.0.0:5577 is reachable")), "{said}");
    }
}

#[tokio::test]
async fn the_file_of_the_user_counts_when_no_variable_names_one() {
    let rig = Rig::start().await;
    let path = rig.dir.path().join("home/.config/longshore/config.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "grace = \"7s\"\n").unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
    let show = run(command.env_remove("LONGSHORE_CONFIG").args(["config", "show"]), "");
    assert!(text(&show.stdout).contains(&format!("grace = \"7s\"  # {}:1", path.display())), "{show:?}");
    let missing = rig.dir.path().join("missing.toml");
    let mut command = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
    let check = run(command.env("LONGSHORE_CONFIG", &missing).args(["config", "check"]), "");
    assert_eq!(check.status.code(), Some(1), "a file that is named must exist");
    assert!(text(&check.stderr).contains("missing.toml"), "{check:?}");
}

#[tokio::test]
async fn tags_survive_a_restart() {
    let mut rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let before = rig.pull(APP, "v1").await;
    // what came whole is served whole, whether it was put in its place in time or not
    rig.kill_and_restart();
    rig.ecr.stop_listening();
    assert_eq!(rig.pull(APP, "v1").await, before);
}
