//! The names and variables that the helper goes by, and how the small program finds the large one.

use std::fs;

use crate::{
    fake_ecr::Listener,
    rig::{HELPER, REGISTRY, Rig, answer, text},
};

const ECHO: &str = "echo \"[$*]\"\n/bin/cat\nexit 7";
const DONE: (Option<i32>, String, String) = (Some(0), String::new(), String::new());

fn login(server: &str) -> String {
    format!("{{\"ServerURL\":\"{server}\",\"Username\":\"AWS\",\"Secret\":\"x\"}}")
}

#[tokio::test]
async fn a_link_in_another_folder_finds_the_large_program_beside_the_real_one() {
    let rig = Rig::start().await;
    for name in ["docker-credential-longshore", "docker-credential-ecr-login"] {
        let link = rig.link(name);
        let output = rig.call(&link, &["get"], REGISTRY, &[]);
        assert!(output.status.success(), "{output:?}");
        let version = text(&rig.call(&link, &["version"], "", &[]).stdout);
        assert_eq!(version, format!("{name} (longshore) {}\n", env!("CARGO_PKG_VERSION")));
    }
    assert_eq!(rig.mints(), 1, "the name is not part of the identity");
}

#[tokio::test]
async fn the_large_program_is_found_on_path_and_its_absence_is_said() {
    let rig = Rig::start().await;
    let alone = rig.copy();
    let cause = "the program longshore, which mints tokens, is neither beside this one nor on PATH";
    let remedy = "longshore: install both programs into one folder, as install.sh does";
    for path in ["", "relative", rig.folder("links").to_str().unwrap()] {
        let got = answer(&rig.call(&alone, &["get"], REGISTRY, &[("PATH", path)]));
        assert_eq!(got, (Some(1), format!("{cause}\n"), format!("longshore: {cause}\n{remedy}\n")));
    }
    let bin = std::path::Path::new(HELPER).parent().unwrap().to_str().unwrap();
    let output = rig.call(&alone, &["get"], REGISTRY, &[("PATH", bin)]);
    assert!(output.status.success(), "{output:?}");
    // a token that is at hand needs no other program
    let output = rig.call(&alone, &["get"], REGISTRY, &[]);
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn what_is_handed_over_is_the_verb_the_server_and_the_profile() {
    let rig = Rig::start().await;
    rig.copy();
    rig.script("alone", "longshore", ECHO);
    for profile in ["prod", "-x"] {
        let link = rig.folder("alone").join(format!("docker-credential-longshore-{profile}"));
        std::os::unix::fs::symlink("docker-credential-longshore", &link).unwrap();
        let got = answer(&rig.call(&link, &["get"], &format!("https://{REGISTRY}\n"), &[]));
        let want = format!("[credential --profile={profile} get]\nhttps://{REGISTRY}\n");
        assert_eq!(got, (Some(7), want, String::new()));
    }
    let got = answer(&rig.call(&rig.folder("alone").join("docker-credential-longshore"), &["get"], REGISTRY, &[]));
    let want = format!("[credential get]\n{REGISTRY}");
    assert_eq!(got, (Some(7), want, String::new()));
}

#[tokio::test]
async fn a_profile_in_the_name_beats_keys_in_the_environment() {
    let rig = Rig::start().await;
    fs::create_dir(rig.dir.path().join("home/.aws")).unwrap();
    let credentials = "[prod]\naws_access_key_id = AKIDPROD\naws_secret_access_key = x\n";
    fs::write(rig.dir.path().join("home/.aws/credentials"), credentials).unwrap();
    let link = rig.link("docker-credential-longshore-prod");
    for _ in 0..2 {
        let output = rig.call(&link, &["get"], REGISTRY, &[]);
        assert!(output.status.success(), "{output:?}");
    }
    rig.helper("get", REGISTRY);
    let calls = rig.ecr.requests_to(Listener::Api);
    let signers: Vec<_> = calls.iter().map(|call| call.header("authorization").unwrap()).collect();
    assert_eq!(signers.len(), 2, "{signers:?}");
    assert!(signers[0].contains("Credential=AKIDPROD/") && signers[1].contains("Credential=AKIDEXAMPLE/"));
    assert_eq!(answer(&rig.call(&link, &["erase"], REGISTRY, &[])), DONE);
    rig.helper("get", REGISTRY);
    assert_eq!(rig.mints(), 2, "another profile's token was dropped");
}

#[tokio::test]
async fn the_kubelet_is_handed_on_with_arguments_and_request() {
    let rig = Rig::start().await;
    let helper = rig.copy();
    rig.script("alone", "longshore", ECHO);
    let plugin = rig.folder("alone").join("ecr-credential-provider");
    std::os::unix::fs::symlink("docker-credential-longshore", &plugin).unwrap();
    let long =
        format!("{{\"kind\":\"CredentialProviderRequest\",\"serviceAccountToken\":\"{}\"}}", "t".repeat(100_000));
    for request in ["\n{\"kind\":\"CredentialProviderRequest\"}\n", &long] {
        let want = |arguments: &str| {
            let said = format!("[kubelet-credential-provider{arguments}]\n{request}");
            (Some(7), said, String::new())
        };
        assert_eq!(answer(&rig.call(&plugin, &["--v=2"], request, &[])), want(" --v=2"));
        assert_eq!(answer(&rig.call(&helper, &[], request, &[])), want(""));
    }
    let usage = "Usage: docker-credential-longshore <store|get|erase|list|version>\n";
    assert_eq!(answer(&rig.call(&helper, &[], REGISTRY, &[])), (Some(1), usage.to_owned(), String::new()));
}

#[tokio::test]
async fn the_variables_for_the_token_cache_keep_their_meaning() {
    let rig = Rig::start().await;
    let off = [("AWS_ECR_DISABLE_CACHE", "false")];
    for _ in 0..2 {
        assert!(rig.helper_with("get", REGISTRY, &off).status.success());
    }
    assert_eq!(rig.mints(), 2);
    assert!(!rig.cache().join("tokens").exists());
    assert_eq!(answer(&rig.helper_with("erase", REGISTRY, &off)), DONE);
    let folder = rig.dir.path().join("home/elsewhere");
    for dir in [folder.to_str().unwrap(), "~/elsewhere"] {
        assert!(rig.helper_with("get", REGISTRY, &[("AWS_ECR_CACHE_DIR", dir)]).status.success());
    }
    assert_eq!(rig.mints(), 3);
    assert!(folder.join("tokens").exists() && !rig.cache().join("tokens").exists());
    assert!(rig.helper_with("get", REGISTRY, &[("AWS_ECR_DISABLE_CACHE", "")]).status.success());
    assert!(rig.cache().join("tokens").exists());
}

#[tokio::test]
async fn the_variable_for_storing_keeps_its_meaning() {
    let rig = Rig::start().await;
    assert!(rig.helper("get", REGISTRY).status.success());
    let refused = (Some(1), "not implemented\n".to_owned(), String::new());
    for server in [REGISTRY, "ghcr.io"] {
        for (verb, input) in [("store", login(server)), ("erase", server.to_owned())] {
            let with = |value| answer(&rig.helper_with(verb, &input, &[("AWS_ECR_IGNORE_CREDS_STORAGE", value)]));
            assert_eq!((with("true"), with("false")), (DONE, refused.clone()), "{verb} {server}");
        }
    }
    rig.helper("get", REGISTRY);
    assert_eq!(rig.mints(), 1, "a token was dropped all the same");
    let usual = rig.helper_with("erase", REGISTRY, &[("AWS_ECR_IGNORE_CREDS_STORAGE", "1")]);
    assert_eq!(answer(&usual), DONE);
    rig.helper("get", REGISTRY);
    assert_eq!(rig.mints(), 2);
}
