//! Tokens: how often one is minted, who shares it, and where it lies.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Output,
    time::Duration,
};

use serde_json::Value;

use crate::{
    fake_ecr::{Image, Listener, Rule},
    rig::{APP, REGISTRY, Rig, leave_out, text, together},
};

const HALF_A_DAY: Duration = Duration::from_hours(13);

/// Runs `count` helpers at once, each on a host of its own making.
fn helpers(rig: &Rig, count: usize, host: impl Fn(usize) -> String + Sync) -> Vec<String> {
    std::thread::scope(|scope| {
        let host = &host;
        let started: Vec<_> = (0..count).map(|number| scope.spawn(move || rig.helper("get", &host(number)))).collect();
        started.into_iter().map(|thread| secret_of(&thread.join().unwrap())).collect()
    })
}

/// The secret of a helper's answer.
#[track_caller]
fn secret_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["Username"], "AWS");
    answer["Secret"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_the_middle_of_a_pull_is_minted_once_and_nobody_notices() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::linux_amd64().layers(12, 50_000));
    rig.get(&format!("/v2/{APP}/manifests/v1")).await.ok();
    assert_eq!(rig.mints(), 1);
    rig.ecr.advance(HALF_A_DAY);
    let paths: Vec<_> = pushed.blobs().iter().map(|blob| format!("/v2/{APP}/blobs/{}", blob.digest)).collect();
    let replies = together(paths.iter().map(|path| rig.get(path))).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body.is_ok()), "{replies:?}");
    assert_eq!(rig.mints(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_with_a_token_that_is_over_wait_for_one_mint() {
    let rig = Rig::start().await;
    let digests: Vec<_> = (0..40_u8).map(|number| rig.ecr.push_blob(APP, vec![number; 1000])).collect();
    rig.get(&format!("/v2/{APP}/blobs/{}", digests[0])).await.ok();
    rig.ecr.advance(HALF_A_DAY);
    let paths: Vec<_> = digests.iter().map(|digest| format!("/v2/{APP}/blobs/{digest}")).collect();
    let replies = together(paths.iter().map(|path| rig.get(path))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(rig.mints(), 2);
}

#[tokio::test]
async fn a_head_with_a_token_that_is_over_finds_out_and_goes_on() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    rig.ecr.advance(HALF_A_DAY);
    rig.ecr.clear_requests();
    rig.head(&format!("/v2/{APP}/manifests/v1")).await.ok();
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn a_token_that_stays_refused_is_renewed_once_and_the_no_is_told() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    let words = "Your authorization token has expired. Reauthenticate and try again.";
    rig.ecr.fault(Rule::on(Listener::Registry).registry_error(403, "DENIED", words));
    let reply = rig.get(&format!("/v2/{APP}/manifests/v1")).await;
    assert_eq!((reply.status.as_u16(), reply.error()), (403, ("DENIED".to_owned(), words.to_owned())));
    assert_eq!(rig.mints(), 2);
    assert_eq!(rig.ecr.count(Listener::Registry, "GET"), 2);
}

#[tokio::test]
async fn a_registry_that_refuses_every_token_does_not_cost_one_with_each_request() {
    for (status, code) in [(403, "DENIED"), (401, "UNAUTHORIZED")] {
        let rig = Rig::start().await;
        rig.ecr.push_image(APP, "v1", Image::linux_amd64());
        let words = "Your authorization token has expired. Reauthenticate and try again.";
        rig.ecr.fault(Rule::on(Listener::Registry).registry_error(status, code, words));
        for number in 0..10 {
            let reply = rig.get(&format!("/v2/{APP}/manifests/v{number}")).await;
            assert_eq!(reply.status, status, "{reply:?}");
        }
        // one at first, one in its place, and another where ten requests take this machine longer than five seconds
        let mints = rig.mints();
        assert!((2..=3).contains(&mints), "{mints} for {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_helpers_at_once_mint_one_token() {
    let rig = Rig::start().await;
    let secrets = helpers(&rig, 50, |_| REGISTRY.to_owned());
    assert_eq!(rig.mints(), 1);
    assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_a_region_and_not_for_an_account() {
    let rig = Rig::start().await;
    helpers(&rig, 20, |number| format!("1234567890{number:02}.dkr.ecr.us-east-1.amazonaws.com"));
    assert_eq!(rig.mints(), 1);
    rig.helper("get", "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
    rig.helper("get", "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com");
    assert_eq!(rig.mints(), 3);
}

#[tokio::test]
async fn the_daemon_and_the_helper_share_their_token() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::linux_amd64());
    rig.pull(APP, "v1").await;
    rig.ecr.stop_listening();
    let output = rig.helper("get", REGISTRY);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn another_identity_gets_another_token() {
    let rig = Rig::start().await;
    let one = secret_of(&rig.helper("get", REGISTRY));
    let other = secret_of(&rig.helper_with("get", REGISTRY, &[("AWS_ACCESS_KEY_ID", "AKIDOTHER")]));
    assert_ne!(one, other);
    assert_eq!(secret_of(&rig.helper("get", REGISTRY)), one);
    assert_eq!(rig.mints(), 2);
}

#[tokio::test]
async fn an_expired_token_is_never_handed_out() {
    let rig = Rig::start().await;
    rig.helper("get", REGISTRY);
    let (path, mut entry) = entry(&rig);
    entry["expires_at"] = Value::from(1_000_000_000);
    fs::write(&path, entry.to_string()).unwrap();
    rig.ecr.fault(Rule::on(Listener::Api).api_error("ServerException", "out of order"));
    let output = rig.helper("get", REGISTRY);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("out of order"), "{output:?}");
    rig.ecr.clear_faults();
    assert!(rig.helper("get", REGISTRY).status.success());
}

#[tokio::test]
async fn tokens_lie_where_only_their_owner_reads_them() {
    let rig = Rig::start().await;
    rig.helper("get", REGISTRY);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (path, _) = entry(&rig);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let output = rig.helper("get", REGISTRY);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("can be read by other users"), "{output:?}");
}

#[tokio::test]
async fn a_folder_in_the_hands_of_others_costs_only_the_cache_and_is_said() {
    let rig = Rig::start().await;
    let named = rig.folder("named");
    let tokens = rig.folder("named/tokens");
    let get = || rig.helper_with("get", REGISTRY, &[("AWS_ECR_CACHE_DIR", named.to_str().unwrap())]);
    let check = |words: &str| {
        let (one, two) = (get(), get());
        assert_ne!(secret_of(&one), secret_of(&two), "{words}");
        let said = text(&one.stderr);
        assert!(said.lines().count() == 1 && said.contains(words), "{said}");
        assert_eq!(fs::read_dir(&tokens).unwrap().count(), 0, "{words}");
    };
    match chown(&tokens, Some(54_321), None) {
        Ok(()) => check("tokens belongs to another user and is not used; delete it, or name a folder of your own"),
        Err(error) => leave_out(&error.to_string()),
    }
    chown(&tokens, Some(rustix::process::geteuid().as_raw()), None).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o777)).unwrap();
    check("tokens can be written to by other users and is not used");
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(secret_of(&get()), secret_of(&get()));
}

#[tokio::test]
async fn a_damaged_entry_is_replaced() {
    let rig = Rig::start().await;
    rig.helper("get", REGISTRY);
    let mut mints = 1;
    let mut check = |damage: &str, damaged: &str, is_good: bool| {
        let (path, _) = entry(&rig);
        fs::write(&path, damaged).unwrap();
        assert!(rig.helper("get", REGISTRY).status.success(), "{damage}");
        mints += u64::from(!is_good);
        assert_eq!(rig.mints(), mints, "{damage}");
    };
    let (_, good) = entry(&rig);
    // one field a row, so that nothing else is what is wrong with it
    for (field, value, is_good) in [
        ("token", good["token"].clone(), true),
        ("token", Value::from("bm8gY29sb24="), false),
        ("token", Value::from("!QVdTOmFiYw=="), false),
        ("token", Value::from(""), false),
        ("token", Value::from(7), false),
        ("token", Value::Null, false),
        ("version", Value::from(1), false),
        ("minted_at", Value::from(u64::MAX), false),
        ("refresh_at", Value::from(u64::MAX), false),
        ("expires_at", Value::from(u64::MAX), false),
        ("expires_at", Value::from(0), false),
        ("expires_at", Value::from(-1), false),
    ] {
        let damaged =
            Value::Object(good.as_object().unwrap().clone().into_iter().chain([(field.into(), value)]).collect());
        check(&format!("{field}: {}", damaged[field]), &damaged.to_string(), is_good);
    }
    let good = good.to_string();
    check("half of it", &good[..good.len() / 2], false);
    check("nothing", "", false);
}

/// The one token entry of the store.
fn entry(rig: &Rig) -> (std::path::PathBuf, Value) {
    let entries = fs::read_dir(rig.cache().join("tokens")).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    assert_eq!(entries.len(), 1);
    let path = entries.remove(0);
    let text = fs::read_to_string(&path).unwrap();
    (path, serde_json::from_str(&text).unwrap())
}
