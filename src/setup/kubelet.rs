//! The kubelet's `CredentialProviderConfig`, as text: which images the credential helper is asked for.
//!
//! Written nowhere: a node's files belong to whoever runs the cluster. The first lines say where it goes.

use std::{fmt, path::Path};

use serde_json::Value;

use crate::{
    config::{Config, RegistryRule},
    ecr::{EcrRegistry, ROLE_ANNOTATION},
};

/// The name under which the kubelet calls the program, which is also the name of Amazon's own provider.
const PROVIDER: &str = "ecr-credential-provider";
/// Where the program and this text may go; any folder that only root can write will do.
const FOLDER: &str = "/etc/kubernetes/longshore";
/// A rule may be about an AWS account instead of a host.
const ACCOUNT_DIGITS: usize = 12;

/// What a `CredentialProviderConfig` depends on; its text is what `Display` writes.
#[derive(Clone, Copy, Debug)]
pub struct Kubelet<'a> {
    /// Whose aliases are asked for, beside the registries of ECR.
    pub config: &'a Config,
    /// Where the configuration was read.
    pub file: Option<&'a Path>,
    /// The program that answers.
    pub program: &'a Path,
    /// For whom tokens of service accounts are to be made, if the kubelet is to send any.
    pub audience: Option<&'a str>,
}

impl Kubelet<'_> {
    /// Which images the helper is asked for: all of ECR, and the names that the configuration has for registries of ECR.
    fn hosts(&self) -> Vec<String> {
        let is_host = |rule: &&RegistryRule| {
            let name = rule.pattern.as_str();
            let is_account = name.len() == ACCOUNT_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
            rule.alias.is_some() && !is_account
        };
        let mut hosts = EcrRegistry::patterns();
        for rule in self.config.registries.iter().filter(is_host) {
            let name = rule.pattern.as_str().to_owned();
            if !hosts.contains(&name) {
                hosts.push(name);
            }
        }
        hosts
    }

    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.display();
        // a JSON string is on one line, and a string of the shell and of YAML as well
        let flag = self.audience.map(|audience| format!(" --service-account-tokens {}", Value::from(audience)));
        let flag = flag.unwrap_or_default();
        writeln!(
            f,
            "# Makes the kubelet of this node ask Longshore for ECR credentials.\n\
             #\n\
             # 1. Put the program under the provider's name into a folder that only root can write, and this text beside it:\n\
             #      mkdir -p {FOLDER}/bin\n\
             #      ln -sf {program} {FOLDER}/bin/{PROVIDER}\n\
             #      longshore setup kubelet{flag} > {FOLDER}/config.yaml\n\
             # 2. Start the kubelet with these two flags (not with others of that name beside them):\n\
             #      --image-credential-provider-config={FOLDER}/config.yaml\n\
             #      --image-credential-provider-bin-dir={FOLDER}/bin"
        )?;
        if let Some(file) = self.file {
            let file = file.display();
            writeln!(f, "#\n# Aliases are those of {file}; see to it that the kubelet's user reads that file, too.")?;
        }
        Ok(())
    }

    fn write_token_attributes(f: &mut fmt::Formatter<'_>, audience: &str) -> fmt::Result {
        let audience = Value::from(audience);
        writeln!(
            f,
            "    # Kubernetes 1.34 or later. A pod whose service account has the annotation pulls with that role, a pod without a\n\
             \x20   # service account with the node's rights. For service accounts without the annotation, name a role in the\n\
             \x20   # provider's env as AWS_ECR_ROLE_ARN. The kubelet must be allowed to ask for such tokens: a ClusterRole, bound\n\
             \x20   # to the group system:nodes, with the rule\n\
             \x20   #   apiGroups: [\"\"], resources: [{audience}], verbs: [\"request-serviceaccounts-token-audience\"]\n\
             \x20   tokenAttributes:\n\
             \x20     serviceAccountTokenAudience: {audience}\n\
             \x20     cacheType: ServiceAccount\n\
             \x20     requireServiceAccount: false\n\
             \x20     optionalServiceAccountAnnotationKeys:\n\
             \x20       - {ROLE_ANNOTATION}"
        )
    }
}

impl fmt::Display for Kubelet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        writeln!(
            f,
            "apiVersion: kubelet.config.k8s.io/v1\n\
             kind: CredentialProviderConfig\n\
             providers:\n\
             \x20 - name: {PROVIDER}\n\
             \x20   apiVersion: credentialprovider.kubelet.k8s.io/v1\n\
             \x20   # each answer says for how long it may be kept\n\
             \x20   defaultCacheDuration: 0s\n\
             \x20   matchImages:"
        )?;
        for host in self.hosts() {
            writeln!(f, "      - \"{host}\"")?;
        }
        self.audience.map_or(Ok(()), |audience| Self::write_token_attributes(f, audience))
    }
}
