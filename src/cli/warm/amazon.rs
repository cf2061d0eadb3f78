//! Task definitions of ECS and `Dockerrun.aws.json` of Elastic Beanstalk.

use serde_json::Value;

use super::{
    file::{Found, Wanted},
    platform::Platform,
};

/// The task definition in a document: the document itself, or what `describe-task-definition` wraps it in.
pub(super) fn task_definition(document: &Value) -> Option<&Value> {
    let wrapped = document.get("taskDefinition").filter(|inner| inner.is_object());
    wrapped.into_iter().chain([document]).find(|document| document.get("containerDefinitions").is_some())
}

pub(super) fn task(definition: &Value) -> Result<Found, String> {
    let platform = platform(&definition["runtimePlatform"]);
    let containers = definition["containerDefinitions"].as_array().ok_or("containerDefinitions is not a list")?;
    let mut found = Found::default();
    for (number, container) in containers.iter().enumerate() {
        if let Some(image) = container["image"].as_str() {
            found.wanted.push(Wanted { image: image.to_owned(), platform: platform.clone() });
        } else {
            let name = container["name"].as_str().map_or_else(|| format!("number {}", number + 1), str::to_owned);
            found.notes.push(format!("container {name} has no image"));
        }
    }
    Ok(found)
}

/// Version 1 has one image, version 2 a task definition's list; version 3 leaves the images to a compose file.
pub(super) fn dockerrun(document: &Value) -> Result<Found, String> {
    if document.get("containerDefinitions").is_some() {
        return task(document);
    }
    let mut found = Found::default();
    match document["Image"]["Name"].as_str() {
        Some(image) => found.want(image),
        None => found
            .notes
            .push("without Image.Name, Elastic Beanstalk builds a Dockerfile or reads a compose file".to_owned()),
    }
    Ok(found)
}

fn platform(runtime: &Value) -> Option<Platform> {
    let family = runtime["operatingSystemFamily"].as_str().unwrap_or("LINUX");
    let os = if family.starts_with("WINDOWS") { "windows" } else { "linux" };
    let architecture = runtime["cpuArchitecture"].as_str().unwrap_or("X86_64");
    // a task without a platform runs where somebody else decides
    runtime.is_object().then(|| format!("{os}/{architecture}").parse().ok())?
}
