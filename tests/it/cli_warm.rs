//! `longshore warm`: with a daemon and without, by name and from files, and what it says when something does not come.

use std::fs;

use serde_json::Value;

use crate::{
    fake_ecr::{Image, Listener, Rule},
    rig::{APP, REGISTRY, Rig, answer, program, run, text},
};

const WEB: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/web";
const ARCHITECTURES: [&str; 3] = ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"];

fn own() -> &'static str {
    if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" }
}

/// Requests for blobs that reached the registry.
fn blobs(rig: &Rig) -> usize {
    rig.upstream().iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/")).count()
}

fn json(rig: &Rig, arguments: &[&str]) -> Value {
    let arguments = [&["warm", "--json", "--quiet"], arguments].concat();
    let output = rig.longshore(&arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test]
async fn an_image_is_pulled_through_the_daemon_and_then_pulls_without_a_blob_from_upstream() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()).layers(4, 100_000));
    let image = format!("{APP}:v1");
    let (code, out, err) = answer(&rig.longshore(&["warm", &image]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("1 image, 5 blobs, 41") && out.contains("0 blobs from the cache, 41"), "{out}");
    assert_eq!(err.lines().count(), 6, "{err}");
    assert!(
        err.lines()
            .take(5)
            .all(|line| line.starts_with(&format!("{image}: sha256:")) && line.ends_with(" from upstream"))
    );
    assert!(err.lines().last().unwrap().starts_with(&format!("{image}: 5 blobs, 41")), "{err}");
    assert_eq!(blobs(&rig), 5);
    rig.daemon.wait_for_log("longshore-warm/");
    rig.pull(APP, "v1").await;
    assert_eq!(blobs(&rig), 5);
    let (code, out, _) = answer(&rig.longshore(&["warm", &image]));
    assert_eq!(code, Some(0));
    assert!(out.contains(": 5 blobs from the cache, 0 B from upstream\n"), "{out}");
}

#[tokio::test]
async fn without_a_daemon_it_serves_itself_and_leaves_the_folder_free() {
    let mut rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()));
    rig.daemon.kill();
    for from_cache in [0, 2] {
        let (code, out, err) = answer(&rig.longshore(&["warm", "--quiet", "--json", &format!("{APP}:v1")]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["blobs_from_cache"], from_cache, "{report}");
    }
    rig.restart();
    rig.ecr.stop_listening();
    assert_eq!(rig.pull(APP, "v1").await.blobs.len(), 2);
}

#[tokio::test]
async fn a_folder_held_by_who_does_not_answer_is_named_with_its_holder() {
    let mut rig = Rig::start().await;
    rig.daemon.kill();
    let _store = longshore::store::BlobStore::open(&rig.cache(), None).unwrap();
    let (code, out, err) = answer(&rig.longshore(&["warm", &format!("{APP}:v1")]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let holder = format!(
        "the cache {} is in use by process {}, and no daemon answers\n",
        rig.cache().display(),
        std::process::id()
    );
    assert!(
        err.starts_with(&format!("longshore: {holder}"))
            && err.contains("whether listen in the configuration is what it was started with"),
        "{err}"
    );
    assert!(!err.contains("panicked"), "{err}");
}

#[tokio::test]
async fn the_platforms_that_are_wanted_come_and_no_other() {
    let rig = Rig::start().await;
    let pushed = rig.ecr.push_image(APP, "v1", Image::index(ARCHITECTURES).oci().layers(2, 10_000));
    let image = format!("{APP}:v1");
    assert_eq!(json(&rig, &[&image])["blobs"], 3);
    assert_eq!(
        json(&rig, &[&image, "--platform", "linux/arm64"])["blobs_from_cache"],
        if own() == "linux/arm64" { 3 } else { 0 }
    );
    let all = json(&rig, &[&image, "--platform", "all"]);
    assert_eq!((&all["blobs"], &all["blobs_from_cache"]), (&9.into(), &6.into()));
    assert_eq!(all["images"][0]["digest"], pushed.digest);
    let both = json(&rig, &[&image, "--platform", "linux/arm/v7", "--platform", "linux/amd64"]);
    assert_eq!((&both["blobs"], &both["bytes_from_upstream"]), (&6.into(), &0.into()));
    let (code, _, err) = answer(&rig.longshore(&["warm", "-q", &image, "--platform", "linux/s390x"]));
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        format!(
            "longshore: {image}: it is not there for linux/s390x, only for linux/amd64, linux/arm64/v8, linux/arm/v7\n"
        )
    );
    let (code, _, err) = answer(&rig.longshore(&["warm", &image, "--platform", "arm64"]));
    assert!(code == Some(2) && err.contains("os/architecture[/variant]"), "{err}");
}

#[tokio::test]
async fn what_fails_is_one_line_with_its_cause_and_the_others_go_on() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()));
    rig.ecr.push_image(WEB, "v1", Image::platform(own()).seed(7));
    let (good, gone) = (format!("{APP}:v1"), format!("{APP}:gone"));
    let images = ["warm", "--quiet", &gone, "quay.io/a:v1", "UPPER", "app", &good, &format!("{WEB}:v1")];
    let (code, out, err) = answer(&rig.longshore(&images));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 4, "{err}");
    assert!(lines[0].starts_with(&format!("longshore: {gone}: ")), "{err}");
    assert!(lines[1].starts_with("longshore: quay.io/a:v1: quay.io is neither an Amazon ECR registry nor"), "{err}");
    assert!(lines[2].starts_with("longshore: UPPER: \"UPPER\" is not a name of an image: wanted [registry/]"), "{err}");
    assert!(lines[3].starts_with("longshore: app: no registry is given for app; put one in front"), "{err}");
    rig.ecr.stop_listening();
    rig.pull(WEB, "v1").await;
}

#[tokio::test]
async fn a_blob_that_upstream_refuses_fails_its_image_with_upstreams_cause() {
    let rig = Rig::with("[[registry]]\nmatch = \"nothing.test\"").await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()));
    rig.ecr.fault(Rule::on(Listener::S3).status(403));
    let output = rig.longshore(&["warm", "--json", &format!("{APP}:v1")]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = report["images"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("blob sha256:") && error.contains("403"), "{error}");
    assert_eq!(report["failed"], 1);
}

#[tokio::test]
async fn a_blob_that_comes_wrong_fails_its_image_in_one_line_and_comes_when_it_is_right() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()).layers(1, 300_000));
    rig.ecr.fault(Rule::on(Listener::S3).flip_byte(10));
    let image = format!("{APP}:v1");
    let (code, _, err) = answer(&rig.longshore(&["warm", "-q", &image]));
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert!(err.starts_with(&format!("longshore: {image}: blob sha256:")), "{err}");
    rig.ecr.clear_faults();
    assert_eq!(answer(&rig.longshore(&["warm", "-q", &image])), (Some(0), String::new(), String::new()));
}

#[tokio::test]
async fn files_of_every_kind_are_pulled_from_by_their_content() {
    let rig = Rig::start().await;
    for (number, tag) in (0..).zip(["compose", "kube", "task", "run1", "run2", "stdin"]) {
        rig.ecr.push_image(APP, tag, Image::index(ARCHITECTURES).seed(number));
    }
    let digest = rig.ecr.push_image(WEB, "v1", Image::platform(own()).seed(99)).digest;
    let folder = rig.folder("files");
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    fs::write(folder.join(".env"), format!("HOST={REGISTRY}\nTAG=nothing\n")).unwrap();
    // names that say nothing, or the wrong thing
    let compose = write(
        "taskdef.json",
        "x-app: &app\n  image: ${HOST}/app:${TAG:-x}\nservices:\n  a: *app\n  b:\n    <<: *app\n  built: {build: .}\n"
            .to_owned(),
    );
    let kube = write(
        "compose.yaml",
        format!(
            "apiVersion: v1\nkind: ConfigMap\ndata: {{a: b}}\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: batch/v1\n  kind: CronJob\n  spec: {{jobTemplate: {{spec: {{template: {{spec: {{initContainers: [{{image: \"{APP}:kube\"}}], containers: [{{image: \"{WEB}@{digest}\"}}]}}}}}}}}}}\n"
        ),
    );
    let task = write(
        "a.txt",
        format!(
            r#"{{"taskDefinition":{{"runtimePlatform":{{"cpuArchitecture":"ARM64","operatingSystemFamily":"LINUX"}},"containerDefinitions":[{{"image":"localhost:{}/{APP}:task"}}]}}}}"#,
            rig.daemon.address.port()
        ),
    );
    let one = write("Dockerfile", format!(r#"{{"AWSEBDockerrunVersion":"1","Image":{{"Name":"{APP}:run1"}}}}"#));
    let two = write("b", format!(r#"{{"AWSEBDockerrunVersion":2,"containerDefinitions":[{{"image":"{APP}:run2"}}]}}"#));
    let mut command = program(env!("CARGO_BIN_EXE_longshore"), &rig.ecr, rig.dir.path());
    let files = ["--from", &compose, "--from", &kube, "--from", &task, "--from", &one, "--from", &two, "--from", "-"];
    let input = format!("{{\"containerDefinitions\": [{{\"image\": \"{APP}:stdin\"}}]}}");
    let output = run(command.env("TAG", "compose").args(["warm", "--json"]).args(files), &input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let images: Vec<_> =
        report["images"].as_array().unwrap().iter().map(|image| image["image"].as_str().unwrap()).collect();
    let task_image = format!("localhost:{}/{APP}:task", rig.daemon.address.port());
    let want = [
        format!("{APP}:compose"),
        format!("{APP}:kube"),
        format!("{WEB}@{digest}"),
        task_image,
        format!("{APP}:run1"),
        format!("{APP}:run2"),
        format!("{APP}:stdin"),
    ];
    assert_eq!(images, want);
    assert!(text(&output.stderr).contains(&format!("{compose}: service built is left out: it is built, not pulled\n")));
    // of the task definition, the platform that it names
    let arm = rig.longshore(&["warm", "--json", "-q", &format!("{APP}:task"), "--platform", "linux/arm64"]);
    assert!(text(&arm.stdout).contains("\"bytes_from_upstream\": 0"), "{arm:?}");
}

#[tokio::test]
async fn a_file_that_is_none_is_named_with_what_was_looked_for_and_costs_no_request() {
    let rig = Rig::start().await;
    let folder = rig.folder("files");
    for (name, text, words) in [
        ("empty.yaml", "\n", "it is empty"),
        (
            "notes.yaml",
            "shopping: [milk]\n",
            "it is neither a compose file (services), nor a Kubernetes manifest (apiVersion and kind), nor an ECS",
        ),
        ("broken.yaml", "services:\n  a: [\n", "it is neither YAML nor JSON: "),
        (
            "built.yaml",
            "services: {a: {build: .}}\n",
            "it names no image; service a is left out: it is built, not pulled",
        ),
        ("service.yaml", "apiVersion: v1\nkind: Service\nspec: {ports: []}\n", "it names no image"),
    ] {
        let path = folder.join(name).display().to_string();
        fs::write(&path, text).unwrap();
        let (code, out, err) = answer(&rig.longshore(&["warm", "-q", "--from", &path]));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{name}");
        assert!(err.starts_with(&format!("longshore: {path}: {words}")) && err.lines().count() == 1, "{err}");
    }
    let missing = folder.join("missing.yaml").display().to_string();
    let (code, _, err) = answer(&rig.longshore(&["warm", "--from", &missing]));
    assert_eq!(code, Some(1));
    assert!(err.starts_with(&format!("longshore: {missing}: No such file")), "{err}");
    assert_eq!(answer(&rig.longshore(&["warm"])).0, Some(2));
    assert!(rig.ecr.requests().is_empty());
}

#[tokio::test]
async fn layers_that_images_share_are_counted_and_fetched_once() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()).shared_layer(5, 50_000));
    rig.ecr.push_image(APP, "v2", Image::platform(own()).seed(2).shared_layer(5, 50_000));
    let report = json(&rig, &[&format!("{APP}:v1"), &format!("{APP}:v2"), &format!("{APP}:v1")]);
    let images = report["images"].as_array().unwrap();
    assert_eq!((images.len(), images[1]["blobs_from_cache"].as_u64()), (2, Some(1)));
    assert_eq!(report["blobs"], 5);
    assert_eq!(blobs(&rig), 5);
}

#[tokio::test]
async fn an_image_upstream_cannot_confirm_is_said_to_be_stale() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()));
    let image = format!("{APP}:v1");
    assert_eq!(answer(&rig.longshore(&["warm", "-q", &image])), (Some(0), String::new(), String::new()));
    rig.ecr.stop_listening();
    let (code, _, err) = answer(&rig.longshore(&["warm", &image]));
    assert_eq!(code, Some(0), "{err}");
    assert!(
        err.contains(&format!("{image}: upstream is out of order; what was cached may not be the newest\n")),
        "{err}"
    );
}

#[tokio::test]
async fn bars_are_shown_at_a_terminal_and_go_with_their_image() {
    let rig = Rig::start().await;
    rig.ecr.push_image(APP, "v1", Image::platform(own()).layers(3, 2_000_000));
    // slow enough for a bar to be drawn
    rig.ecr.fault(Rule::on(Listener::S3).bytes_per_second(2_000_000));
    let (image, missing) = (format!("{APP}:v1"), format!("{APP}:gone"));
    let line = format!("{} warm {image} {missing} >out", env!("CARGO_BIN_EXE_longshore"));
    let mut command = program("script", &rig.ecr, rig.dir.path());
    command.env("PATH", "/usr/bin:/bin").env("TERM", "xterm").current_dir(rig.dir.path());
    let output = run(command.args(["-qec", &line, "/dev/null"]), "");
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for words in ["image 1 of 2", "image 2 of 2", &image, " of 6.", "/s, ", " left", &format!("longshore: {missing}: ")]
    {
        assert!(shown.contains(words), "{words:?} is not in {shown:?}");
    }
    assert!(
        !shown.contains("sha256:0") && shown.contains(&format!("{image}: 4 blobs, ")),
        "no lines of blobs: {shown:?}"
    );
    let out = fs::read_to_string(rig.dir.path().join("out")).unwrap();
    assert!(out.starts_with("1 image, 4 blobs, 6.") && out.ends_with("; 1 failed\n"), "{out}");
}
