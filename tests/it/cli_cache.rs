//! `longshore cache`: what is in the cache and the work on it, by a running daemon and without one.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;

use crate::{
    fake_ecr::Image,
    rig::{APP, Rig, answer, text},
};

const WEB: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/web";

/// What a command says: its exit code, and its two outputs.
fn cache(rig: &Rig, arguments: &[&str]) -> (Option<i32>, String, String) {
    answer(&rig.longshore(&[&["cache"], arguments].concat()))
}

#[track_caller]
fn json(rig: &Rig, arguments: &[&str]) -> Value {
    let (code, out, err) = cache(rig, arguments);
    assert!(code == Some(0) && err.is_empty(), "{code:?} {err}");
    serde_json::from_str(&out).unwrap()
}

fn tags(rig: &Rig) -> Vec<String> {
    let images = json(rig, &["ls", "--json"]);
    let mut tags: Vec<_> = images
        .as_array()
        .unwrap()
        .iter()
        .map(|image| format!("{}:{}", image["repository"].as_str().unwrap(), image["tags"][0].as_str().unwrap()))
        .collect();
    tags.sort();
    tags
}

/// Every check twice: with the daemon that has the folder, and after it is gone.
async fn with_and_without(check: impl AsyncFn(&mut Rig)) {
    let mut rig = Rig::start().await;
    check(&mut rig).await;
    rig.daemon.wait_for_log("asked by its owner");
    let mut rig = Rig::start().await;
    rig.daemon.kill();
    check(&mut rig).await;
}

/// Two images that share a layer, in the cache.
async fn fill(rig: &Rig) {
    rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(1, 50_000).shared_layer(5, 200_000));
    rig.ecr.push_image(WEB, "v2", Image::linux_amd64().seed(2).layers(1, 50_000).shared_layer(5, 200_000));
    for image in [format!("{APP}:v1"), format!("{WEB}:v2")] {
        let output = rig.longshore(&["warm", "-q", &image]);
        assert!(output.status.success(), "{output:?}");
    }
    // the last bytes are with the client before they are in the cache
    rig.settle().await;
}

fn content(rig: &Rig) -> u64 {
    rig.content().iter().map(|(_, size)| size).sum()
}

#[tokio::test]
async fn images_are_listed_with_what_a_person_wants_to_know() {
    with_and_without(async |rig| {
        let empty = format!("no image is in the cache {}\n", rig.cache().display());
        assert_eq!(cache(rig, &["ls"]), (Some(0), empty, String::new()));
        fill(rig).await;
        let digest = rig.ecr.manifest(APP, "v1").map(|bytes| longshore::oci::Digest::of(&bytes)).unwrap();
        let images = json(rig, &["ls", "--json"]);
        let app = images.as_array().unwrap().iter().find(|image| image["repository"] == APP).unwrap();
        assert_eq!((app["tags"][0].as_str(), app["digest"].as_str()), (Some("v1"), Some(digest.as_str())));
        assert_eq!((app["complete"].as_bool(), app["pinned"].as_bool()), (Some(true), Some(false)));
        assert!(app["size"].as_u64().is_some_and(|size| (250_000..270_000).contains(&size)), "{app}");
        let (_, table, _) = cache(rig, &["ls"]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["IMAGE", "TAGS", "DIGEST", "SIZE", "COMPLETE", "PINNED", "LAST", "READ"]
        );
        assert_eq!(lines.len(), 3, "{table}");
        let line = lines.iter().find(|line| line.starts_with(&format!("{APP} "))).unwrap();
        assert!(line.contains(&format!("  v1    {}  ", &digest.hex()[..12])), "{table}");
        assert!(cache(rig, &["ls", "--digests"]).1.contains(digest.as_str()));
    })
    .await;
}

#[tokio::test]
async fn what_is_read_last_is_listed_first() {
    let rig = Rig::start().await;
    fill(&rig).await;
    for (repository, tag) in [(WEB, "v2"), (APP, "v1"), (WEB, "v2")] {
        rig.pull(repository, tag).await;
        assert_eq!(json(&rig, &["ls", "--json"])[0]["repository"], repository);
    }
}

#[tokio::test]
async fn an_image_of_which_a_layer_is_missing_is_not_complete() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.head(&format!("/v2/{APP}/manifests/v1")).await.ok();
    rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    assert_eq!(json(&rig, &["ls", "--json"])[0]["complete"], false);
    rig.pull(APP, "v1").await;
    assert_eq!(json(&rig, &["ls", "--json"])[0]["complete"], true);
}

#[tokio::test]
async fn usage_is_what_du_says() {
    with_and_without(async |rig| {
        fill(rig).await;
        let usage = json(rig, &["du", "--json"]);
        let du = Command::new("du").args(["-s", "-B1"]).arg(rig.cache()).output().unwrap();
        let du: f64 = text(&du.stdout).split_whitespace().next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let total = usage["total"].as_u64().unwrap() as f64;
        assert!((total / du - 1.0).abs() < 0.01, "{total} {du}");
        assert_eq!(usage["objects"].as_u64().map(usize::try_from), Some(Ok(rig.content().len())));
        assert_eq!(
            usage["registries"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["123456789012.dkr.ecr.us-east-1.amazonaws.com"]
        );
        let (code, out, _) = cache(rig, &["du"]);
        let names: Vec<_> = out.lines().map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(
            (code, names),
            (Some(0), vec!["total", "content", "in flight", "records", "pinned", "at most", "keep free", "from"])
        );
        assert!(out.contains(" kB  7 objects\n"), "{out}");
    })
    .await;
}

#[tokio::test]
async fn what_is_removed_frees_what_only_it_refers_to() {
    with_and_without(async |rig| {
        fill(rig).await;
        let before = content(rig);
        let image = format!("{APP}:v1");
        let (code, out, err) = cache(rig, &["rm", &image]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.starts_with(&format!("{image}: removed 1 manifest and 2 blobs, freed ")), "{out}");
        let freed = before - content(rig);
        assert!((50_000..60_000).contains(&freed), "the shared layer stays: {freed}");
        assert_eq!(tags(rig), [format!("{WEB}:v2")]);
        let gone = format!("longshore: {image}: it is not in the cache\n");
        assert_eq!(cache(rig, &["rm", &image]), (Some(1), String::new(), gone));
        let (code, out, err) = cache(rig, &["rm", &image, &format!("{WEB}:v2")]);
        assert_eq!((code, err.lines().count(), out.lines().count()), (Some(1), 1, 1), "the others go on: {err}{out}");
        assert_eq!(content(rig), 0);
    })
    .await;
}

#[tokio::test]
async fn a_pinned_image_is_not_removed_until_it_is_unpinned() {
    with_and_without(async |rig| {
        fill(rig).await;
        let image = format!("{APP}:v1");
        let digest = longshore::oci::Digest::of(&rig.ecr.manifest(APP, "v1").unwrap());
        let pinned = format!("{image}: pinned, {digest}\n");
        assert_eq!(cache(rig, &["pin", &image]), (Some(0), pinned.clone(), String::new()));
        assert_eq!(cache(rig, &["pin", &image]), (Some(0), pinned, String::new()));
        let images = json(rig, &["ls", "--json"]);
        assert_eq!(images.as_array().unwrap().iter().filter(|image| image["pinned"] == true).count(), 1);
        assert!(json(rig, &["du", "--json"])["pinned"].as_u64().is_some_and(|bytes| bytes > 250_000));
        let refused = format!("longshore: {image}: it is pinned; to let it go: longshore cache unpin {image}\n");
        assert_eq!(cache(rig, &["rm", &image]), (Some(1), String::new(), refused));
        assert_eq!(cache(rig, &["rm", "--all"]).0, Some(0));
        assert_eq!(tags(rig), std::slice::from_ref(&image));
        let unpinned = format!("{image}: no longer pinned, {digest}\n");
        assert_eq!(cache(rig, &["unpin", &image]), (Some(0), unpinned, String::new()));
        let twice = format!("longshore: {image}: it is not pinned\n");
        assert_eq!(cache(rig, &["unpin", &image]), (Some(1), String::new(), twice));
        assert_eq!(cache(rig, &["rm", "--all"]).0, Some(0));
        assert_eq!(json(rig, &["ls", "--json"]), Value::Array(Vec::new()));
    })
    .await;
}

#[tokio::test]
async fn pinning_pulls_what_is_not_there() {
    with_and_without(async |rig| {
        rig.ecr.push_image(APP, "v1", Image::linux_amd64());
        let (image, missing) = (format!("{APP}:v1"), format!("{APP}:v2"));
        let (code, out, err) = cache(rig, &["pin", &missing, &image]);
        assert_eq!(code, Some(1));
        assert!(out.starts_with(&format!("{image}: pinned, sha256:")) && out.lines().count() == 1, "{out}");
        assert!(err.starts_with(&format!("longshore: {missing}: ")), "{err}");
        let images = json(rig, &["ls", "--json"]);
        assert_eq!((&images[0]["pinned"], &images[0]["complete"]), (&true.into(), &true.into()), "{images}");
    })
    .await;
}

#[tokio::test]
async fn garbage_is_what_no_image_refers_to() {
    with_and_without(async |rig| {
        fill(rig).await;
        let nothing = "removed 0 manifests and 0 blobs, freed 0 B\n".to_owned();
        assert_eq!(cache(rig, &["gc"]), (Some(0), nothing, String::new()));
        assert_eq!(json(rig, &["gc", "--json"])["bytes"], 0);
        assert_eq!(tags(rig).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn pinning_pulls_what_is_missing_of_an_image() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    assert_eq!(json(&rig, &["ls", "--json"])[0]["complete"], false);
    assert_eq!(cache(&rig, &["pin", &format!("{APP}:v1")]).0, Some(0));
    assert_eq!(json(&rig, &["ls", "--json"])[0]["complete"], true);
}

#[tokio::test]
async fn damage_is_found_said_and_mended_by_the_next_pull() {
    let mut rig = Rig::start().await;
    fill(&rig).await;
    let (code, out, err) = cache(&rig, &["verify"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("7 objects, ") && out.ends_with(" kB: nothing is damaged\n"), "{out}");
    for with_daemon in [true, false] {
        let (path, _) = rig.content().into_iter().max_by_key(|(_, size)| *size).unwrap();
        flip(&path);
        if !with_daemon {
            rig.daemon.kill();
        }
        let report = rig.longshore(&["cache", "verify", "--json"]);
        assert_eq!(report.status.code(), Some(1), "{report:?}");
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        let digest = report["damaged"][0].as_str().unwrap().to_owned();
        assert!(path.ends_with(&digest["sha256:".len() + 4..]), "{report}");
        assert_eq!(cache(&rig, &["verify"]).0, Some(0), "it is gone");
        assert_eq!(json(&rig, &["ls", "--json"])[0]["complete"], false);
        if !with_daemon {
            rig.restart();
        }
        rig.pull(APP, "v1").await;
        rig.settle().await;
        assert_eq!(json(&rig, &["ls", "--json"])[0]["complete"], true);
    }
}

fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1000] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn names_are_understood_as_in_a_pull_and_mistakes_are_named() {
    let rig = Rig::start().await;
    fill(&rig).await;
    let by_address = format!("localhost:{}/{APP}:v1", rig.daemon.address.port());
    assert_eq!(cache(&rig, &["pin", &by_address]).0, Some(0));
    assert_eq!(cache(&rig, &["unpin", "ecr/123456789012/us-east-1/app:v1"]).0, Some(0));
    for (name, words) in [
        ("UPPER", "\"UPPER\" is not a name of an image: wanted [registry/]repository"),
        ("app:v1", "no registry is given for app"),
        ("quay.io/app:v1", "it is not in the cache"),
    ] {
        let (code, _, err) = cache(&rig, &["rm", name]);
        assert_eq!(code, Some(1));
        assert!(err.starts_with(&format!("longshore: {name}: {words}")) && err.lines().count() == 1, "{err}");
    }
    assert_eq!(cache(&rig, &["rm"]).0, Some(2));
}

#[tokio::test]
async fn the_control_socket_is_private_replaced_after_a_crash_and_gone_after_a_stop() {
    let mut rig = Rig::start().await;
    let path = rig.cache().join("control.sock");
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&rig.cache())), (0o600, 0o700));
    rig.kill_and_restart();
    assert_eq!(cache(&rig, &["ls"]).0, Some(0));
    rig.daemon.wait_for_log("asked by its owner");
    rig.daemon.signal("TERM");
    assert_eq!(rig.daemon.wait().await, Some(0));
    assert!(!path.exists());
}

#[tokio::test]
async fn who_says_nonsense_or_nothing_at_the_socket_is_answered_or_let_go() {
    let mut rig = Rig::start().await;
    let path = rig.cache().join("control.sock");
    let say = |words: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(words).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"{\"launch\":1}\n", &[b'x'; 16_384], b"\xff\xfe\n"] {
        // more than is read resets the connection, and nothing is promised of text that is none
        let answer = std::panic::catch_unwind(|| say(words)).unwrap_or_default();
        assert!(
            answer.is_empty() || answer.starts_with("{\"failed\":\"the daemon does not know this question"),
            "{answer}"
        );
    }
    let silent = UnixStream::connect(&path).unwrap();
    assert_eq!(cache(&rig, &["du"]).0, Some(0), "one that is silent does not hold up another");
    rig.daemon.signal("TERM");
    assert_eq!(rig.daemon.wait().await, Some(0), "nor the end");
    drop(silent);
}

#[tokio::test]
async fn a_cache_folder_with_a_long_path_is_looked_after_all_the_same() {
    let mut rig = Rig::start().await;
    let long = rig.dir.path().join("d".repeat(150));
    rig.more = format!("[cache]\ndir = {:?}", long.display().to_string());
    rig.kill_and_restart();
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    assert_eq!(tags(&rig), [format!("{APP}:v1")]);
    rig.daemon.wait_for_log("asked by its owner");
}

#[tokio::test]
async fn a_folder_that_something_else_holds_is_named_with_its_holder() {
    let mut rig = Rig::start().await;
    rig.daemon.kill();
    let _store = longshore::store::BlobStore::open(&rig.cache(), None).unwrap();
    let (code, out, err) = cache(&rig, &["ls"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let holder = format!(
        "longshore: the cache {} is in use by process {}, which answers no commands\n",
        rig.cache().display(),
        std::process::id()
    );
    assert!(err.starts_with(&holder) && err.lines().count() == 2, "{err}");
}
