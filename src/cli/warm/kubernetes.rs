//! Kubernetes manifests: every image of every pod, or of every template of one.
//!
//! A kind is not looked up: what has a pod template where the kinds of Kubernetes have theirs is one of them.

use serde_json::Value;

use super::file::Found;

/// Where a pod's specification is: of a pod, of what runs pods, of what does so by the clock, of a bare template.
const PODS: [&str; 4] = ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/template/spec"];
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// Lists in lists are nobody's manifest.
const DEEPEST: usize = 4;

pub(super) fn is_manifest(document: &Value) -> bool {
    document.get("apiVersion").is_some() && document.get("kind").is_some()
}

pub(super) fn images(documents: &[Value]) -> Found {
    let mut found = Found::default();
    for document in documents {
        collect(document, DEEPEST, &mut found);
    }
    found
}

fn collect(document: &Value, depth: usize, found: &mut Found) {
    if depth > 0 {
        for item in document["items"].as_array().into_iter().flatten() {
            collect(item, depth - 1, found);
        }
    }
    for pod in PODS.iter().filter_map(|place| document.pointer(place)) {
        let containers = CONTAINERS.iter().filter_map(|kind| pod[kind].as_array()).flatten();
        let containers = containers.filter_map(|container| container["image"].as_str());
        let volumes = pod["volumes"].as_array().into_iter().flatten();
        let volumes = volumes.filter_map(|volume| volume["image"]["reference"].as_str());
        containers.chain(volumes).filter(|image| !image.is_empty()).for_each(|image| found.want(image));
    }
}
