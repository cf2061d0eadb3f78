//! The chain of AWS credentials, source by source, in the order in which they are asked.

use super::{
    finding::{Finding, Subject, check},
    surroundings::{Surroundings, variable},
};
use crate::{
    config::Origins,
    credentials::Wanted,
    ecr::{EcrRegistry, Identity, Standing, survey},
    oci::Registry,
};

pub(super) fn look(around: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: Vec<Identity> = Vec::new();
    for (registry, wanted) in around.wanted() {
        findings.push(identity(around, registry, wanted));
        if !seen.contains(&wanted.identity) {
            findings.extend(sources(&wanted.identity, wanted.scope.public));
            seen.push(wanted.identity.clone());
        }
    }
    if seen.is_empty() {
        findings.extend(sources(&Identity::default(), true));
    }
    findings
}

/// With whose rights the token of a registry is minted, and who says so.
fn identity(around: &Surroundings, registry: &Registry, wanted: &Wanted) -> Finding {
    let check = check("identity", Subject::Credentials, format!("identity for {registry}"));
    let account = EcrRegistry::parse(registry.host()).and_then(|ecr| ecr.account).unwrap_or_default();
    let variables = ["AWS_PROFILE", "AWS_ROLE_ARN"].map(|name| format!("{name}_{account}"));
    let set = variables.into_iter().find(|name| !account.is_empty() && variable(name).is_some());
    let origin = set.or_else(|| rule_of(around, registry)).map(|origin| format!(", by {origin}")).unwrap_or_default();
    check.ok(format!("{}{origin}", wanted.identity))
}

/// File and line of the rule for a registry.
fn rule_of(around: &Surroundings, registry: &Registry) -> Option<String> {
    let rule = around.rule(registry)?;
    let index = around.config.registries.iter().position(|other| std::ptr::eq(other, rule))?;
    let loaded = around.loaded.as_ref().ok()?;
    let line = Origins::of(&loaded.text).line(&format!("registry[{index}].match"))?;
    Some(format!("{}:{line}", loaded.file.as_ref()?.display()))
}

fn sources(identity: &Identity, may_be_none: bool) -> Vec<Finding> {
    let sources = survey(identity);
    let is_found = sources.iter().any(|source| matches!(source.standing, Standing::Used | Standing::Broken { .. }));
    let is_unknown = sources.iter().any(|source| source.standing == Standing::Unknown);
    let mut findings: Vec<_> = sources
        .into_iter()
        .map(|source| {
            let (id, title) = names(source.name);
            let (check, found) = (check(id, Subject::Credentials, title), source.found);
            match source.standing {
                Standing::Used => check.ok(format!("used: {found}")),
                Standing::Absent | Standing::Unknown => check.skipped(found),
                Standing::Reserve => check.skipped(format!("not reached: {found}")),
                Standing::Shadowed { remedy } => check
                    .warning(format!("chosen, and not reached, because another source goes first: {found}"), remedy),
                Standing::Broken { remedy } => check.problem(found, remedy),
            }
        })
        .collect();
    if !is_found {
        let check = check("source", Subject::Credentials, "AWS credentials");
        let remedy = "aws configure, aws sso login, or AWS_PROFILE";
        findings.push(if may_be_none {
            check.skipped("no source has any; ECR Public works without")
        } else if is_unknown {
            check.warning("no source has any, unless an instance metadata service answers", remedy)
        } else {
            check.problem("no source has any", remedy)
        });
    }
    findings
}

fn names(source: &str) -> (&'static str, &'static str) {
    match source {
        "environment" => ("source-environment", "keys in the environment"),
        "web-identity" => ("source-web-identity", "web identity"),
        "profile" => ("source-profile", "profile"),
        "container" => ("source-container", "container"),
        _ => ("source-instance", "instance role"),
    }
}
