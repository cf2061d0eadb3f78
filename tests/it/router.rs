//! The helper as docker's `credsStore`: what is not ECR goes to the fallback helper, and its answer is the answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::rig::{REGISTRY, Rig, answer};

const NOT_FOUND: &str = "credentials not found in native keychain\n";
const FALLBACK: &str = "[fallback]\nhelper = \"keychain\"\n";
const ABSENT: &str = "docker-credential-keychain, the fallback helper, is not on PATH";
const DONE: (Option<i32>, String, String) = (Some(0), String::new(), String::new());

fn not_found(said: &str) -> (Option<i32>, String, String) {
    (Some(1), NOT_FOUND.to_owned(), said.to_owned())
}

fn login(server: &str, secret: &str) -> String {
    format!("{{\"ServerURL\":\"{server}\",\"Username\":\"me\",\"Secret\":\"{secret}\"}}")
}

/// A rig whose fallback is made of shell lines, and the folder for `PATH`.
async fn with_fallback(lines: &str) -> (Rig, String) {
    let rig = Rig::start().await;
    rig.configure(FALLBACK);
    rig.script("bin", "docker-credential-keychain", lines);
    let path = rig.folder("bin").to_str().unwrap().to_owned();
    (rig, path)
}

#[tokio::test]
async fn a_foreign_host_is_answered_by_the_fallback_to_the_letter() {
    let (rig, path) = with_fallback("echo \"verb=$*\"\n/bin/cat\necho 'a word' >&2\nexit 3").await;
    for (verb, input) in [
        ("get", "https://index.docker.io/v1/".to_owned()),
        ("erase", "ghcr.io\n".to_owned()),
        ("store", login("ghcr.io", "hunter2")),
        ("store", login("ghcr.io", &"s".repeat(200_000))),
    ] {
        let got = answer(&rig.helper_with(verb, &input, &[("PATH", &path)]));
        assert_eq!(got, (Some(3), format!("verb={verb}\n{input}"), "a word\n".to_owned()));
    }
}

#[tokio::test]
async fn what_is_ours_never_goes_to_the_fallback() {
    let (rig, path) = with_fallback("echo fallback").await;
    rig.configure(&format!("{FALLBACK}[[registry]]\nmatch = \"r.corp\"\nalias = \"{REGISTRY}\"\n"));
    let path = [("PATH", path.as_str())];
    for server in [REGISTRY, "public.ecr.aws", "r.corp"] {
        let (code, out, _) = answer(&rig.helper_with("get", server, &path));
        assert!(code == Some(0) && out.contains("\"Username\":\"AWS\""), "{out}");
        assert_eq!(answer(&rig.helper_with("store", &login(server, "x"), &path)), DONE);
        assert_eq!(answer(&rig.helper_with("erase", server, &path)), DONE);
    }
    assert_eq!(answer(&rig.helper_with("get", "localhost:5577", &path)), not_found(""));
    assert_eq!(answer(&rig.helper_with("get", "ghcr.io", &path)).1, "fallback\n");
}

#[tokio::test]
async fn its_list_is_passed_on_and_its_failure_does_not_hide_ours() {
    let (rig, path) = with_fallback("[ \"$1\" = list ] && echo '{\"https://ghcr.io\": \"me\", \"b\":\"c\"}'").await;
    let list = || answer(&rig.helper_with("list", "unused", &[("PATH", &path)]));
    assert_eq!(list(), (Some(0), "{\"https://ghcr.io\":\"me\",\"b\":\"c\"}\n".to_owned(), String::new()));
    let failing = |lines: &str, words: &str| {
        rig.script("bin", "docker-credential-keychain", lines);
        let said = format!("longshore: docker-credential-keychain, the fallback helper: {words}\n");
        assert_eq!(list(), (Some(0), "{}\n".to_owned(), said));
    };
    failing("echo 'the keychain is locked'\nexit 1", "the keychain is locked");
    failing("echo '[]'", "its list is no JSON object");
}

#[tokio::test]
async fn a_fallback_that_is_missing_is_named_and_anonymous_pulls_go_on() {
    let rig = Rig::start().await;
    rig.configure(FALLBACK);
    let said = format!("longshore: {ABSENT}\n");
    assert_eq!(answer(&rig.helper("get", "ghcr.io")), not_found(&said));
    assert_eq!(answer(&rig.helper("erase", "ghcr.io")), DONE);
    assert_eq!(answer(&rig.helper("list", "unused")), (Some(0), "{}\n".to_owned(), said));
    let cause = format!(
        "nothing was saved for ghcr.io: {ABSENT}; install it, or name another one in the configuration: \
         [fallback] helper = \"NAME\"\n"
    );
    assert_eq!(answer(&rig.helper("store", &login("ghcr.io", "hunter2"))), (Some(1), cause, String::new()));
    // a file that is no program, and one that the system cannot start
    rig.script("bin", "docker-credential-keychain", "").metadata().unwrap();
    let path = rig.folder("bin");
    let program = path.join("docker-credential-keychain");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let got = answer(&rig.helper_with("get", "ghcr.io", &[("PATH", path.to_str().unwrap())]));
    assert_eq!(got, not_found(&format!("longshore: {ABSENT}\n")));
    std::fs::write(&program, "#!/nowhere/to/be/found\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (code, out, said) = answer(&rig.helper_with("get", "ghcr.io", &[("PATH", path.to_str().unwrap())]));
    assert_eq!((code, out.as_str()), (Some(1), NOT_FOUND));
    assert!(said.starts_with("longshore: docker-credential-keychain, the fallback helper: "), "{said}");
}

#[tokio::test]
async fn the_fallback_is_never_this_program_and_never_in_a_relative_folder() {
    let rig = Rig::start().await;
    rig.configure(FALLBACK);
    let said = format!("longshore: {ABSENT}\n");
    let link = rig.link("docker-credential-keychain");
    let links = link.parent().unwrap().to_str().unwrap();
    assert_eq!(answer(&rig.helper_with("get", "ghcr.io", &[("PATH", links)])), not_found(&said));
    assert_eq!(answer(&rig.call(&link, &["get"], "ghcr.io", &[("PATH", links)])), not_found(&said));
    rig.script("bin", "docker-credential-keychain", "echo found");
    let both = format!("bin:.:{links}:{}", rig.folder("bin").display());
    assert_eq!(answer(&rig.helper_with("get", "ghcr.io", &[("PATH", &both)])).1, "found\n");
}

#[tokio::test]
async fn two_that_name_each_other_come_to_an_end() {
    let (rig, path) = with_fallback("exec docker-credential-longshore \"$1\"").await;
    let link = rig.link("docker-credential-longshore");
    let path = format!("{path}:{}", link.parent().unwrap().display());
    let path = [("PATH", path.as_str())];
    let cause = "docker-credential-keychain, the fallback helper, asks Longshore, which would ask it again";
    assert_eq!(answer(&rig.helper_with("get", "ghcr.io", &path)), not_found(&format!("longshore: {cause}\n")));
    assert_eq!(answer(&rig.helper_with("erase", "ghcr.io", &path)), DONE);
    let (code, out, _) = answer(&rig.helper_with("store", &login("ghcr.io", "x"), &path));
    assert!(code == Some(1) && out.contains(cause), "{out}");
    assert_eq!(rig.helper_with("list", "unused", &path).stdout, b"{}\n");
}

#[tokio::test]
async fn without_a_fallback_nothing_foreign_is_kept_and_nobody_pretends() {
    let rig = Rig::start().await;
    assert_eq!(answer(&rig.helper("get", "ghcr.io")), not_found(""));
    assert_eq!(answer(&rig.helper("erase", "ghcr.io")), DONE);
    let cause = "nothing was saved for ghcr.io: Longshore keeps credentials for Amazon ECR only; name the helper that \
                 keeps the others in its configuration, for example: [fallback] helper = \"secretservice\"\n";
    let got = answer(&rig.helper("store", &login("https://ghcr.io/v1/", "hunter2")));
    assert_eq!(got, (Some(1), cause.to_owned(), String::new()));
}

#[tokio::test]
async fn the_list_names_the_registries_whose_token_is_at_hand() {
    let (rig, path) = with_fallback("echo '{\"https://ghcr.io\":\"me\"}'").await;
    rig.configure(&format!("{FALLBACK}[[registry]]\nmatch = \"r.corp\"\nalias = \"{REGISTRY}\"\nprofile = \"corp\"\n"));
    let path = [("PATH", path.as_str())];
    let list = |environment: &[(&str, &str)]| answer(&rig.helper_with("list", "unused", environment)).1;
    assert_eq!(list(&path), "{\"https://ghcr.io\":\"me\"}\n");
    assert!(rig.helper_with("get", REGISTRY, &path).status.success());
    let ours = format!("\"https://{REGISTRY}\":\"AWS\"");
    assert_eq!(list(&path), format!("{{\"https://ghcr.io\":\"me\",{ours}}}\n"));
    // another identity would have to mint, and so would this one when its rule is changed
    assert_eq!(list(&[path[0], ("AWS_ACCESS_KEY_ID", "AKIDOTHER")]), "{\"https://ghcr.io\":\"me\"}\n");
    rig.configure(&format!("[[registry]]\nmatch = \"{REGISTRY}\"\nprofile = \"corp\"\n"));
    assert_eq!(list(&path), "{}\n");
    rig.configure("");
    assert_eq!(list(&path), format!("{{{ours}}}\n"));
    let mints = rig.mints();
    rig.helper("erase", REGISTRY);
    assert_eq!((list(&path), rig.mints()), ("{}\n".to_owned(), mints));
}

#[tokio::test]
async fn a_login_to_ecr_is_listed_until_the_logout_and_its_password_is_not_kept() {
    let rig = Rig::start().await;
    let list = || answer(&rig.helper("list", "unused")).1;
    assert_eq!(answer(&rig.helper("store", &login(REGISTRY, "hunter2"))), DONE);
    assert_eq!(list(), format!("{{\"https://{REGISTRY}\":\"AWS\"}}\n"));
    for file in std::fs::read_dir(rig.cache().join("tokens")).unwrap().flatten() {
        assert!(!String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).contains("hunter2"), "{file:?}");
    }
    assert_eq!(answer(&rig.helper("erase", REGISTRY)), DONE);
    assert_eq!((list(), rig.mints()), ("{}\n".to_owned(), 0));
}

#[tokio::test]
async fn a_list_asks_nobody_and_leaves_out_what_is_over() {
    let rig = Rig::start().await;
    rig.helper("get", REGISTRY);
    rig.ecr.clear_requests();
    assert_eq!(answer(&rig.helper("list", "unused")).1, format!("{{\"https://{REGISTRY}\":\"AWS\"}}\n"));
    for file in std::fs::read_dir(rig.cache().join("tokens")).unwrap().flatten().map(|file| file.path()) {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let Ok(mut entry) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        entry["expires_at"] = 1_000_000_000.into();
        std::fs::write(&file, entry.to_string()).unwrap();
    }
    assert_eq!(answer(&rig.helper("list", "unused")), (Some(0), "{}\n".to_owned(), String::new()));
    assert!(rig.ecr.requests().is_empty());
}

#[tokio::test]
async fn nothing_is_written_but_the_folder_of_tokens() {
    let rig = Rig::start().await;
    let temporary = rig.folder("temporary");
    let environment = [("TMPDIR", temporary.to_str().unwrap())];
    rig.helper_with("get", REGISTRY, &environment);
    rig.helper_with("get", "ghcr.io", &environment);
    rig.helper_with("list", "unused", &environment);
    rig.helper_with("erase", REGISTRY, &environment);
    let below = |dir: &std::path::Path| -> Vec<String> {
        std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    assert_eq!(below(&temporary), Vec::<String>::new());
    assert_eq!(below(&rig.dir.path().join("home")), [".cache"]);
    assert!(below(&rig.cache()).contains(&"tokens".to_owned()));
}

/// A password as ECR makes them: base64 of JSON that says when it ends.
fn password(hours: i64) -> String {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
    let said = format!("{{\"payload\":\"x\",\"type\":\"DATA_KEY\",\"expiration\":{}}}", end.as_second());
    STANDARD.encode(said)
}

#[tokio::test]
async fn the_token_of_a_login_serves_where_none_can_be_minted_and_until_its_end() {
    let rig = Rig::start().await;
    let nothing = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let get = || answer(&rig.helper_with("get", REGISTRY, &nothing));
    let store = |user: &str, password: &str| {
        let request = login(REGISTRY, password).replace("\"me\"", &format!("\"{user}\""));
        assert_eq!(answer(&rig.helper("store", &request)), DONE);
    };
    let good = password(11);
    store("AWS", &good);
    for _ in 0..2 {
        let (code, out, err) = get();
        assert!(code == Some(0) && out.contains(&good) && err.is_empty(), "{out}{err}");
    }
    // whoever can mint gets what is minted
    assert!(!answer(&rig.helper("get", REGISTRY)).1.contains(&good));
    assert_eq!(answer(&rig.helper("erase", REGISTRY)), DONE);
    assert_eq!(get().0, Some(1));
    for (user, password) in [("AWS", password(-1)), ("AWS", "hunter2".to_owned()), ("me", good)] {
        store(user, &password);
        assert_eq!(get().0, Some(1), "{user}");
    }
}
