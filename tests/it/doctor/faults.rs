//! The classic faults, one after another in the same patient: each is found under its name, and mended as the doctor says.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::rig::REGISTRY;

use super::patient::{PASSWORD, Patient};

const SETUP: &str = "longshore setup docker --registry 123456789012.dkr.ecr.us-east-1.amazonaws.com";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn faults_of_its_own_folders_and_file() {
    let patient = Patient::healthy().await;
    patient.is_well();
    let cache = patient.rig.cache();
    mode(&cache, 0o755);
    patient.has_and_is_mended("cache-folder", "warning", &format!("chmod 700 {}", cache.display()));

    let tokens = cache.join("tokens");
    mode(&tokens, 0o777);
    patient.has_and_is_mended("token-store", "problem", &format!("rm -r {}", tokens.display()));
    let names = fs::read_dir(&tokens).unwrap().flatten().map(|entry| entry.path());
    let entry = names.filter(|path| path.extension().is_some_and(|end| end == "json")).min().unwrap();
    mode(&entry, 0o644);
    let remedy = format!("rm {} && chmod 700 {}", entry.display(), tokens.display());
    patient.has_and_is_mended("token-store", "problem", &remedy);

    let valid = fs::read_to_string(patient.config()).unwrap();
    fs::write(patient.config(), format!("lisen = 1\n{valid}")).unwrap();
    patient.has("configuration", "problem", "correct that line, then: longshore config check");
    fs::write(patient.config(), valid).unwrap();
    patient.is_well();
}

#[tokio::test]
async fn faults_of_dockers_configuration_that_one_command_mends() {
    let patient = Patient::healthy().await;
    fs::remove_file(patient.docker()).unwrap();
    patient.has_and_is_mended("docker-credentials", "problem", SETUP);
    for (text, state) in [
        ("{}".to_owned(), "problem"),
        (format!("{{\"credHelpers\": {{\"{REGISTRY}\": \"ecr-login\"}}}}"), "warning"),
        (format!("{{\"credHelpers\": {{\"{REGISTRY}\": \"other\"}}}}"), "warning"),
        ("{\"credsStore\": \"desktop\"}".to_owned(), "warning"),
    ] {
        patient.write_docker(&text);
        patient.has_and_is_mended("docker-credentials", state, SETUP);
    }
}

#[tokio::test]
async fn faults_of_dockers_configuration_that_are_edited_out() {
    let patient = Patient::healthy().await;
    let well = fs::read_to_string(patient.docker()).unwrap();
    let place = |line: usize| format!("{}:{line}", patient.docker().display());
    // a login first counts, and after the set-up never again
    let login = format!("\"{REGISTRY}\": {{\"auth\": \"{PASSWORD}\"}}");
    patient.write_docker(&format!("{{\"auths\": {{\n{login}}}}}"));
    patient.has("docker-credentials", "warning", SETUP);
    patient.write_docker(&format!("{{\"auths\": {{\n{login}}}, \"credHelpers\": {{\"{REGISTRY}\": \"longshore\"}}}}"));
    patient.has("docker-stale-login", "warning", &format!("docker logout {REGISTRY}"));

    let entry =
        |key: &str| format!("{{\"credHelpers\": {{\n\"{REGISTRY}\": \"longshore\",\n\"{key}\": \"longshore\"}}}}");
    for key in [format!("https://{REGISTRY}"), format!("{REGISTRY}/app"), REGISTRY.to_uppercase()] {
        patient.write_docker(&entry(&key));
        patient.has("docker-key", "warning", &format!("write \"{REGISTRY}\" for it in {}", place(3)));
    }
    patient.write_docker(&entry("*.dkr.ecr.us-east-1.amazonaws.com"));
    let remedy = "delete that line, and for each registry: longshore setup docker --registry HOST";
    patient.has("docker-key", "warning", remedy);

    patient.write_docker("{\"auths\": ");
    patient.has("docker-config", "problem", &format!("correct {}", patient.docker().display()));
    patient.write_docker(&well);
    patient.is_well();
}

#[tokio::test]
async fn as_credsstore_it_needs_a_helper_for_the_others() {
    let patient = Patient::healthy().await;
    patient.write_docker(&format!(
        "{{\"auths\": {{\"ghcr.io\": {{\"auth\": \"{PASSWORD}\"}}}},\n\"credsStore\": \"longshore\"}}"
    ));
    let line = |name: &str| format!("write at the top of {}: fallback.helper = \"{name}\"", patient.config().display());
    let remedy = format!("install docker-credential-secretservice, or another helper, and {}", line("secretservice"));
    patient.has("docker-fallback", "problem", &remedy);
    // in one line, and of Docker Hub, as docker writes it
    let hub = format!(
        "{{\"credsStore\":\"longshore\",\"auths\":{{\"https://index.docker.io/v1/\":{{\"auth\":\"{PASSWORD}\"}}}}}}"
    );
    patient.write_docker(&hub);
    patient.has("docker-fallback", "problem", &remedy);
    patient.stub("docker-credential-pass", "echo docker-credential-pass 1");
    let path = format!("{}:{}:/bin", Patient::programs().display(), patient.bin().display());
    let patient = patient.with("PATH", &path);
    let remedy = format!("write at the top of {}: fallback.helper = \"pass\"", patient.config().display());
    patient.has("docker-fallback", "problem", &remedy);
    let text = fs::read_to_string(patient.config()).unwrap();
    fs::write(patient.config(), format!("fallback.helper = \"pass\"\n{text}")).unwrap();
    patient.has_no("docker-fallback", "problem");
    fs::remove_file(patient.bin().join("docker-credential-pass")).unwrap();
    let remedy = format!("install it, or correct fallback.helper in {}", patient.config().display());
    patient.has("docker-fallback", "problem", &remedy);
}

#[tokio::test]
async fn a_helper_that_docker_cannot_run() {
    let patient = Patient::healthy().await.with("PATH", "/nowhere");
    let remedy = format!("export PATH=\"{}:$PATH\"", Patient::programs().display());
    patient.has_and_is_mended("docker-helper", "problem", &remedy);
    patient.has("path", "warning", &remedy);

    let version = env!("CARGO_PKG_VERSION");
    let stub = patient.stub("docker-credential-longshore", &format!("echo docker-credential-longshore {version}"));
    let path = patient.bin().display().to_string();
    let patient = patient.with("PATH", &path);
    patient.is_well();
    mode(&stub, 0o644);
    patient.has_and_is_mended("docker-helper", "problem", &format!("chmod +x {}", stub.display()));
    patient.stub("docker-credential-longshore", "echo docker-credential-longshore 0.0.1");
    patient.has("docker-helper", "warning", "./install.sh");
    // ours in the place of Amazon's is ours
    let entry = format!("{{\"credHelpers\": {{\"{REGISTRY}\": \"ecr-login\"}}}}");
    let wired = fs::read_to_string(patient.docker()).unwrap();
    patient.write_docker(&entry);
    patient.stub("docker-credential-ecr-login", "echo amazon-ecr-credential-helper 0.6.0");
    patient.has("docker-credentials", "warning", SETUP);
    patient.stub("docker-credential-ecr-login", &format!("echo 'docker-credential-ecr-login (longshore) {version}'"));
    assert_eq!(patient.finding(&["--json", REGISTRY], "docker-credentials")["state"], "ok");
    patient.write_docker(&wired);
    patient.stub("docker-credential-longshore", "echo something else");
    patient.has("docker-helper", "problem", &remedy);
}

#[tokio::test]
async fn variables_that_get_in_the_way() {
    let auths = format!("{{\"auths\": {{\"{REGISTRY}\": {{\"auth\": \"{PASSWORD}\"}}}}}}");
    for (name, value, id, state) in [
        ("DOCKER_AUTH_CONFIG", auths.as_str(), "docker-auth-config", "warning"),
        ("AWS_ENDPOINT_URL", "", "aws-endpoint-url", "problem"),
        ("AWS_ECR_DISABLE_CACHE", "1", "disabled-cache", "warning"),
    ] {
        let patient = Patient::healthy().await.with(name, value);
        patient.has_and_is_mended(id, state, &format!("unset {name}"));
    }
    // a file where a folder should be: refused to root, too
    let patient = Patient::healthy().await;
    let file = patient.config().display().to_string();
    let docker = patient.home().join(".docker").display().to_string();
    let patient = patient.with("DOCKER_CONFIG", &docker).with("HOME", &file);
    let remedy = "set cache.dir in the configuration to a folder that can be written to";
    patient.has("cache-folder", "problem", remedy);
    patient.has("home", "problem", "export HOME=\"$(getent passwd \"$(id -un)\" | cut -d: -f6)\"");
    // the home of whoever runs this is looked at, and nothing is written to it
    let patient = Patient::healthy().await;
    let text = fs::read_to_string(patient.config()).unwrap();
    fs::write(patient.config(), format!("cache.dir = {:?}\n{text}", patient.rig.cache())).unwrap();
    let docker = patient.home().join(".docker").display().to_string();
    let patient = patient.with("DOCKER_CONFIG", &docker).without("HOME");
    let home = patient.finding(&["--json", "--offline", REGISTRY], "home");
    assert_eq!(home["state"], "warning");
    assert!(home["remedy"].as_str().unwrap().starts_with("export HOME=/"), "{home}");
}

#[tokio::test]
async fn faults_of_podmans_files() {
    let patient = Patient::healthy().await;
    let conf = patient.home().join("registries.conf").display().to_string();
    let patient = patient.with("CONTAINERS_REGISTRIES_CONF", &conf);
    let daemon = patient.rig.daemon.address;
    let write = |registry: &str, location: &str, mirror: &str| {
        let text = format!(
            "[[registry]]\nprefix = \"{REGISTRY}\"\nlocation = \"{REGISTRY}\"\n{registry}\n\
             [[registry.mirror]]\nlocation = \"{location}\"\n{mirror}\n"
        );
        fs::write(&conf, text).unwrap();
    };
    let location = format!("{daemon}/{REGISTRY}");
    write("", &location, "");
    let remedy = format!("add insecure = true below location = \"{location}\" in {conf}");
    patient.has("podman-mirror", "problem", &remedy);
    write("", &daemon.to_string(), "insecure = true");
    patient.has("podman-mirror", "problem", &format!("write location = \"{location}\" in {conf}"));
    write("insecure = true", &location, "insecure = true");
    let remedy = format!("take insecure = true out of the [[registry]] table in {conf}; the mirror keeps its own");
    patient.has("podman-insecure", "warning", &remedy);
    write("", &location, "insecure = true");
    patient.is_well();

    let folder = patient.home().join(".config/containers");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("auth.json");
    fs::write(&file, format!("{{\"auths\": {{\"{REGISTRY}\": {{\"auth\": \"{PASSWORD}\"}}}}}}")).unwrap();
    let remedy = format!("podman logout --authfile {} {REGISTRY} && {SETUP}", file.display());
    patient.has("podman-credentials", "warning", &remedy);
    fs::write(&file, "{").unwrap();
    patient.has("podman-logins", "problem", &format!("correct {0}, or delete it", file.display()));
    fs::write(&file, "{}").unwrap();
    patient.is_well();
    // credsStore is docker's alone
    patient.write_docker("{\"credsStore\": \"longshore\"}");
    patient.has_and_is_mended("podman-credentials", "warning", SETUP);
}
