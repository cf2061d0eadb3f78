//! Variables of the environment that do not do what whoever set them believes.

use std::env;

use super::{
    finding::{Finding, Subject, check},
    programs::{Lookup, look_up, onto_path, own_folder},
    surroundings::{variable, without_password},
};
use crate::ecr::is_ec2;

/// Where the environment may say that an API is elsewhere.
const ENDPOINTS: &str = "AWS_ENDPOINT_URL";
const HELPER: &str = "docker-credential-longshore";

pub(super) fn look() -> Vec<Finding> {
    let mut findings = vec![home(), path()];
    findings.extend(endpoints());
    findings.extend(disabled_cache());
    findings.extend(metadata());
    findings
}

fn home() -> Finding {
    let check = check("home", Subject::Environment, "HOME");
    match variable("HOME") {
        Some(home) if std::path::Path::new(&home).is_dir() => check.ok(home),
        Some(home) => check
            .problem(format!("{home} is not a folder"), "export HOME=\"$(getent passwd \"$(id -un)\" | cut -d: -f6)\""),
        None => {
            let used = dirs::home_dir().map_or_else(|| "none".to_owned(), |home| home.display().to_string());
            let found = format!("not set; longshore takes {used}, other programs find no configuration");
            check.warning(found, format!("export HOME={used}"))
        }
    }
}

fn path() -> Finding {
    let check = check("path", Subject::Environment, "PATH");
    match (look_up(HELPER), own_folder()) {
        (Lookup::Found(file), _) => check.ok(format!("{HELPER} is found: {}", file.display())),
        (_, Some(dir)) => {
            check.warning(format!("{} is not in it, so docker does not find {HELPER}", dir.display()), onto_path())
        }
        (_, None) => check.warning(format!("there is no {HELPER} in it, nor beside this program"), onto_path()),
    }
}

/// Set to nothing they stop the AWS SDK; set to something they are worth knowing.
fn endpoints() -> Vec<Finding> {
    let mut found: Vec<_> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .filter(|(name, _)| name.starts_with(ENDPOINTS))
        .collect();
    found.sort();
    let findings = found.into_iter().map(|(name, value)| {
        let check = check("aws-endpoint-url", Subject::Environment, &name);
        if value.is_empty() {
            check.problem("set to nothing, which no AWS program understands", format!("unset {name}"))
        } else {
            check.ok(without_password(&value))
        }
    });
    findings.collect()
}

fn disabled_cache() -> Option<Finding> {
    let value = variable("AWS_ECR_DISABLE_CACHE")?;
    let check = check("disabled-cache", Subject::Environment, "AWS_ECR_DISABLE_CACHE");
    Some(
        check.warning(
            format!("{value}: each docker command may ask AWS for a new token"),
            "unset AWS_ECR_DISABLE_CACHE",
        ),
    )
}

fn metadata() -> Option<Finding> {
    let value = variable("AWS_EC2_METADATA_DISABLED")?;
    let check = check("disabled-metadata", Subject::Environment, "AWS_EC2_METADATA_DISABLED");
    Some(if value.eq_ignore_ascii_case("true") && is_ec2() {
        check.warning("true: the role of this EC2 instance is not used", "unset AWS_EC2_METADATA_DISABLED")
    } else {
        check.ok(value)
    })
}
