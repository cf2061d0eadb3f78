//! Files of every kind, and what is not one.

use std::path::Path;

use super::{Found, images};

#[track_caller]
fn found(text: &str) -> Found {
    images(text, Path::new("/nonexistent")).unwrap_or_else(|problem| panic!("{problem}: {text}"))
}

#[track_caller]
fn check(text: &str, want: &[&str]) {
    let got: Vec<_> = found(text)
        .wanted
        .into_iter()
        .map(|wanted| wanted.platform.map_or(wanted.image.clone(), |platform| format!("{} {platform}", wanted.image)))
        .collect();
    assert_eq!(got, want, "{text}");
}

#[track_caller]
fn refused(text: &str, words: &str) {
    let problem = images(text, Path::new("/nonexistent")).unwrap_err();
    assert!(problem.contains(words), "{problem}");
    assert_eq!(problem.lines().count(), 1, "{problem}");
}

#[test]
fn services_have_images_through_anchors_and_merges() {
    check(
        "x-base: &base\n  image: a.b/base:1\n  restart: always\nservices:\n  one: *base\n  two:\n    <<: *base\n    \
         platform: linux/arm64\n  three:\n    <<: [*base, {build: .}]\n    image: \"a.b/three@sha256:00\"\n",
        &["a.b/base:1", "a.b/base:1 linux/arm64", "a.b/three@sha256:00"],
    );
    check(
        "version: '3'\nservices:\n  s:\n    image: a:${LONGSHORE_NOT_SET:-v2}\n    ports: [80:80]\n    tty: !reset null\n",
        &["a:v2"],
    );
}

#[test]
fn services_without_an_image_are_left_out_with_a_word() {
    let found = found(
        "include: [x.yaml]\nservices:\n  built: {build: .}\n  both: {build: ., image: a.b/both}\n  mine: {image: x, \
         pull_policy: never}\n  ext: {extends: {file: y, service: z}}\n  bare: {}\n  nothing:\n  unset: {image: \"a$LONGSHORE_NOT_SET\"}\n",
    );
    assert_eq!(found.wanted.len(), 2, "{found:?}");
    assert_eq!(
        found.notes,
        [
            "the files it includes are not read: give them with --from, too",
            "service built is left out: it is built, not pulled",
            "service mine is left out: its pull_policy says so",
            "service ext is left out: its image is in the service it extends",
            "service bare is left out: it has neither image nor build",
            "service nothing is left out: it has neither image nor build",
            "service unset: LONGSHORE_NOT_SET is not set and stands for nothing",
        ]
    );
}

#[test]
fn every_kind_with_a_pod_has_its_images_found() {
    check("apiVersion: v1\nkind: Pod\nspec:\n  containers: [{image: a:1}]\n", &["a:1"]);
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet", "Rollout"] {
        let text = format!(
            "---\n# nothing\n---\napiVersion: v1\nkind: Service\nspec: {{ports: [{{port: 80}}]}}\n---\napiVersion: apps/v1\nkind: {kind}\nspec:\n  template:\n    spec:\n      \
             initContainers:\n      - {{name: i, image: i:1}}\n      containers:\n      - {{name: c, image: c:1}}\n      \
             ephemeralContainers: [{{image: e:1}}]\n      volumes:\n      - image: {{reference: v:1, pullPolicy: Always}}\n      - emptyDir: {{}}\n...\n"
        );
        check(&text, &["i:1", "c:1", "e:1", "v:1"]);
    }
    check(
        "apiVersion: batch/v1\nkind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{image: j}]}}}}}",
        &["j"],
    );
    check(
        r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"l"}]}}]}"#,
        &["l"],
    );
    check("apiVersion: v1\nkind: ConfigMap\ndata: {image: not-one}\n", &[]);
}

#[test]
fn a_task_definition_has_its_images_and_its_platform() {
    let task =
        r#"{"family":"f","containerDefinitions":[{"name":"a","image":"a:1"},{"name":"b","image":"b"},{"name":"c"}]"#;
    check(&format!("{task}}}"), &["a:1", "b"]);
    check(
        &format!(r#"{{"taskDefinition":{task},"runtimePlatform":{{"cpuArchitecture":"ARM64"}}}},"tags":[]}}"#),
        &["a:1 linux/arm64", "b linux/arm64"],
    );
    assert_eq!(found(&format!("{task}}}")).notes, ["container c has no image"]);
    check(r#"{"containerDefinitions":[]}"#, &[]);
    refused(r#"{"containerDefinitions":{}}"#, "containerDefinitions is not a list");
}

#[test]
fn a_dockerrun_has_one_image_or_a_list() {
    check(r#"{"AWSEBDockerrunVersion":"1","Image":{"Name":"a:1","Update":"true"},"Ports":[]}"#, &["a:1"]);
    check(r#"{"AWSEBDockerrunVersion":2,"containerDefinitions":[{"image":"b"}]}"#, &["b"]);
    assert!(found(r#"{"AWSEBDockerrunVersion":"3"}"#).notes[0].contains("compose file"));
}

#[test]
fn what_is_no_file_of_images_is_refused_with_what_was_looked_for() {
    for text in ["a: b", "just words", "[1, 2]", "{}", "services: [a]", "42"] {
        refused(
            text,
            "neither a compose file (services), nor a Kubernetes manifest (apiVersion and kind), nor an ECS task",
        );
    }
    for text in ["", "\n# nothing\n", "---\n---\n", "null"] {
        refused(text, "it is empty");
    }
    refused("a: [b", "neither YAML nor JSON");
    refused("{{ .Values.image }}:\n  a: {{ b }}", "");
    refused("\u{0}\u{1}", "neither YAML nor JSON");
    refused("services:\n  a: {image: \"x:${TAG?which}\"}", "service a: x:${TAG?which}: TAG is not set: which");
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_goes_off() {
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        let aliases = vec![format!("*a{below}"); 8].join(", ");
        let name = format!("a{level}");
        bomb.extend([&name, ": &", &name, " [", &aliases, "]\n"].map(str::to_owned));
    }
    refused(&format!("{bomb}services: {{a: {{image: b}}}}\n"), "neither YAML nor JSON");
    refused(&"[".repeat(100_000), "neither YAML nor JSON");
    refused(&("{\"a\":".repeat(100_000)), "neither YAML nor JSON");
}
