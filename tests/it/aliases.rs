//! Registries by another name, host and port, and the daemon's own address: every way in knows the same ones.

use std::process::Output;

use serde_json::{Value, json};

use crate::rig::{REGISTRY, Rig, program, run, text};

/// Names of the registry, once this is the configuration.
const NAMES: [&str; 3] = ["proxy.corp:5000", "localhost:5588", "127.0.0.1:5588"];
/// What is none of ours.
const STRANGERS: [&str; 4] = ["proxy.corp", "proxy.corp:5001", "localhost:5000", "localhost"];

async fn rig() -> Rig {
    let rig = Rig::start().await;
    let alias = format!("[[registry]]\nmatch = \"proxy.corp:5000\"\nalias = \"{REGISTRY}\"\n");
    rig.configure(&format!("listen = \"127.0.0.1:5588\"\ndefault_registry = \"{REGISTRY}\"\n{alias}"));
    rig
}

fn password(rig: &Rig) -> String {
    let answer: Value = serde_json::from_slice(&rig.helper("get", REGISTRY).stdout).unwrap();
    answer["Secret"].as_str().unwrap().to_owned()
}

fn kubelet(rig: &Rig, host: &str) -> Output {
    let mut command = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
    let (version, kind) = ("credentialprovider.kubelet.k8s.io/v1", "CredentialProviderRequest");
    let request = json!({ "apiVersion": version, "kind": kind, "image": format!("{host}/app:v1") });
    run(command.args(["kubelet-credential-provider", "get-credentials"]), &request.to_string())
}

#[tokio::test]
async fn helper_token_and_kubelet_have_one_password_for_every_name() {
    let rig = rig().await;
    let password = password(&rig);
    for name in NAMES {
        let helper: Value = serde_json::from_slice(&rig.helper("get", name).stdout).unwrap();
        assert_eq!((helper["ServerURL"].as_str(), helper["Secret"].as_str()), (Some(name), Some(&*password)));
        assert_eq!(text(&rig.longshore(&["token", name]).stdout), format!("{password}\n"), "{name}");
        let answer: Value = serde_json::from_slice(&kubelet(&rig, name).stdout).unwrap();
        assert_eq!(answer["auth"][name]["password"], password.as_str(), "{answer}");
    }
    assert_eq!(rig.mints(), 1);
}

#[tokio::test]
async fn a_login_and_a_logout_count_for_every_name() {
    let rig = rig().await;
    let mut before = password(&rig);
    for name in NAMES {
        for verb in ["login", "logout"] {
            let output = rig.longshore(&[verb, name]);
            assert!(output.status.success(), "{output:?}");
            let after = password(&rig);
            assert_ne!(after, before, "{verb} {name}");
            before = after;
        }
    }
}

#[tokio::test]
async fn no_way_in_gives_a_password_to_a_stranger() {
    let rig = rig().await;
    for name in STRANGERS {
        for output in [rig.helper("get", name), rig.longshore(&["token", name])] {
            assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        }
        assert!(text(&kubelet(&rig, name).stdout).contains("\"auth\":{}"), "{name}");
    }
    assert_eq!(rig.mints(), 0);
}
