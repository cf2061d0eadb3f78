//! `longshore setup kubelet`: what it prints is a `CredentialProviderConfig`, and asks for the right images.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::rig::{Rig, run, text};

/// Names of images, and whether the kubelet is to ask for them.
const IMAGES: [(&str, bool); 32] = [
    ("123456789012.dkr.ecr.us-east-1.amazonaws.com/app", true),
    ("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1", true),
    ("123456789012.dkr.ecr.us-east-1.amazonaws.com:443/app", true),
    ("123456789012.dkr.ecr.mx-central-1.amazonaws.com/app", true),
    ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/app", true),
    ("123456789012.dkr-ecr.us-west-2.on.aws/app", true),
    ("123456789012.dkr-ecr-fips.us-west-2.on.aws/app", true),
    ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/app", true),
    ("123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com/app", true),
    ("123456789012.dkr-ecr.us-gov-east-1.on.aws/app", true),
    ("123456789012.dkr-ecr-fips.us-gov-east-1.on.aws/app", true),
    ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app", true),
    ("123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn/app", true),
    ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/app", true),
    ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu/app", true),
    ("123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu/app", true),
    ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov/app", true),
    ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov/app", true),
    ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk/app", true),
    ("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov/app", true),
    ("public.ecr.aws/docker/library/busybox", true),
    ("ecr-public.aws.com/docker/library/busybox", true),
    ("images.corp.example/app", true),
    ("eu.images.corp.example:8443/app", true),
    ("eu.images.corp.example/app", false),
    ("plain.corp.example/app", false),
    ("docker.io/library/busybox", false),
    ("123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example/app", false),
    ("evil.public.ecr.aws/app", false),
    ("a.b.dkr.ecr.us-east-1.amazonaws.com/app", false),
    ("123456789012.dkr.ecr.amazonaws.com/app", false),
    ("vpce-0a1b.dkr.ecr.us-east-1.vpce.amazonaws.com/app", false),
];
const ALIASES: &str = "
[[registry]]
match = \"images.corp.example\"
alias = \"123456789012.dkr.ecr.us-east-1.amazonaws.com\"
[[registry]]
match = \"*.images.corp.example:8443\"
alias = \"123456789012.dkr.ecr.us-east-1.amazonaws.com\"
[[registry]]
match = \"plain.corp.example\"
endpoint = \"https://10.0.0.1\"
[[registry]]
match = \"123456789012\"
alias = \"123456789012.dkr.ecr.us-east-1.amazonaws.com\"
";

/// The printed text as a YAML parser understands it; `None` where there is none.
fn yaml(text_of: &str) -> Option<Value> {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let has_parser = Command::new("python3").args(["-c", "import yaml"]).output().is_ok_and(|o| o.status.success());
    if !has_parser {
        return None;
    }
    let output = run(Command::new("python3").args(["-c", script]), text_of);
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[track_caller]
fn print(rig: &Rig, arguments: &[&str]) -> String {
    let output = rig.longshore(&[&["setup", "kubelet"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// The entries of `matchImages`, by their lines.
fn patterns(printed: &str) -> Vec<String> {
    let (_, list) = printed.split_once("    matchImages:\n").unwrap();
    let entries = list.lines().map_while(|line| line.strip_prefix("      - \"")?.strip_suffix('"'));
    entries.map(str::to_owned).collect()
}

/// As the kubelet compares: the same number of labels, each by its glob; a port only if the pattern has one.
fn matches(pattern: &str, image: &str) -> bool {
    let (host, port) = split(image.split('/').next().unwrap());
    let (want, want_port) = split(pattern);
    let (want, labels): (Vec<_>, Vec<_>) = (want.split('.').collect(), host.split('.').collect());
    let same = want.len() == labels.len()
        && want.iter().zip(&labels).all(|(glob, label)| glob == label || (*glob == "*" && !label.is_empty()));
    same && want_port.is_none_or(|want| port == Some(want))
}

fn split(host: &str) -> (&str, Option<&str>) {
    host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port)))
}

#[tokio::test]
async fn the_kubelet_asks_for_ecr_and_aliases_and_nothing_else() {
    let rig = Rig::with(ALIASES).await;
    let patterns = patterns(&print(&rig, &[]));
    for (image, want) in IMAGES {
        assert_eq!(patterns.iter().any(|pattern| matches(pattern, image)), want, "{image}");
    }
    // every entry is there for one of the images, FIPS and dual-stack names that may come to be aside
    let idle = patterns.iter().filter(|pattern| !IMAGES.iter().any(|(image, _)| matches(pattern, image)));
    assert!(idle.clone().all(|pattern| pattern.contains("-fips.")), "{:?}", idle.collect::<Vec<_>>());
}

#[tokio::test]
async fn the_text_is_a_credential_provider_config() {
    let rig = Rig::start().await;
    let printed = print(&rig, &[]);
    for words in [
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n  - name: ecr-credential-provider\n",
        "/docker-credential-longshore ",
        "--image-credential-provider-config=",
        "--image-credential-provider-bin-dir=",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let provider = json!({
        "name": "ecr-credential-provider",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "defaultCacheDuration": "0s",
        "matchImages": patterns(&printed),
    });
    let whole = |provider: &Value| json!({ "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [provider] });
    if let Some(parsed) = yaml(&printed) {
        assert_eq!(parsed, whole(&provider));
    }
    let audience = "it's a \"strange\"\n# audience";
    let printed = print(&rig, &["--service-account-tokens", audience]);
    let mut with_tokens = provider;
    with_tokens["tokenAttributes"] = json!({
        "serviceAccountTokenAudience": audience,
        "cacheType": "ServiceAccount",
        "requireServiceAccount": false,
        "optionalServiceAccountAnnotationKeys": ["eks.amazonaws.com/ecr-role-arn"],
    });
    if let Some(parsed) = yaml(&printed) {
        assert_eq!(parsed, whole(&with_tokens));
    }
    assert!(printed.ends_with("      - eks.amazonaws.com/ecr-role-arn\n"), "{printed}");
}

#[tokio::test]
async fn nothing_is_written_and_an_empty_audience_is_refused() {
    let rig = Rig::start().await;
    let before = fs::read_dir(rig.dir.path().join("home")).unwrap().count();
    print(&rig, &["--service-account-tokens", "sts.amazonaws.com"]);
    assert_eq!(fs::read_dir(rig.dir.path().join("home")).unwrap().count(), before);
    assert_eq!(rig.longshore(&["setup", "kubelet", "--service-account-tokens", ""]).status.code(), Some(2));
}
