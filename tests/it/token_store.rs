//! The token store among processes: killed writers, full and read-only disks, the keyring of the system.
//!
//! What a machine does not permit to the tests (mounts, keys) is left out there, unless `LONGSHORE_TESTS_ALL` is set;
//! nothing outside of the rig is changed but the keyring of the user, from which the key is taken again.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use keyring_core::api::CredentialStoreApi as _;
use longshore::{
    chain::chain,
    config::TokenProtection,
    secret::Secret,
    store::{Entry, TokenKey, TokenStore},
};
use serde_json::Value;

use crate::rig::{REGISTRY, Rig, leave_out, program, run, text};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-longshore");
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Set for the process that [`writer`] is meant for.
const WRITE_TO: &str = "LONGSHORE_TEST_WRITES_TOKENS_TO";

/// The secret of a helper's answer.
#[track_caller]
fn secret(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["Secret"].as_str().unwrap().to_owned()
}

/// Runs a script of the shell in the rig's environment; `$0` is the helper, `$1` the registry.
fn shell(rig: &Rig, script: &str) -> Output {
    let mut command = program("/bin/sh", &rig.ecr, rig.dir.path());
    run(command.env("PATH", PATH).args(["-euc", script, HELPER, REGISTRY]), REGISTRY)
}

/// As above, where it may mount; `None` where it may not.
fn shell_that_mounts(rig: &Rig, script: &str) -> Option<Output> {
    let tried = shell(rig, "unshare -m mount -t tmpfs none \"$HOME\"");
    if !tried.status.success() {
        leave_out(&text(&tried.stderr));
        return None;
    }
    let mut command = program("/usr/bin/unshare", &rig.ecr, rig.dir.path());
    Some(run(command.env("PATH", PATH).args(["-m", "/bin/sh", "-euc", script, HELPER, REGISTRY]), ""))
}

#[test]
fn a_writer_that_is_killed_leaves_a_whole_entry_or_none() {
    let cache = tempfile::tempdir().unwrap();
    let store = TokenStore::new(cache.path(), &TokenProtection::File);
    let key = TokenKey::new("written by a child");
    for round in 0..40 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "token_store::writer", "--ignored", "--nocapture"])
            .env(WRITE_TO, cache.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let written = lines.by_ref().filter(|line| line.as_ref().unwrap().contains("written"));
        for _ in written.take(1 + round % 5) {
            check(&store, &key);
        }
        // somewhere else in its work in each round
        (0..round * 3).for_each(|_| check(&store, &key));
        child.kill().unwrap();
        child.wait().unwrap();
        check(&store, &key);
        // a dead process holds no lock, and the next one writes as if nothing had been
        drop(store.lock(&key).unwrap());
    }
    assert!(store.get(&key).unwrap().is_some());
}

/// What is kept is as the child wrote it.
#[track_caller]
fn check(store: &TokenStore, key: &TokenKey) {
    if let Some(entry) = store.get(key).unwrap() {
        let number = entry.about.parse().unwrap();
        assert_eq!(entry.secret, numbered(number).secret);
    }
}

fn numbered(number: usize) -> Entry {
    let now = SystemTime::now();
    let secret = Secret::new(format!("{number:09} ").repeat(1 + number % 300));
    let (refresh_at, expires_at) = (now + Duration::from_hours(6), now + Duration::from_hours(12));
    Entry { secret, minted_at: now, refresh_at, expires_at, about: number.to_string() }
}

/// No test of its own: the child of the one above, which is killed.
#[test]
#[ignore = "started by a_writer_that_is_killed_leaves_a_whole_entry_or_none"]
fn writer() {
    let dir = env::var_os(WRITE_TO).expect("the test above says where");
    let store = TokenStore::new(Path::new(&dir), &TokenProtection::File);
    let key = TokenKey::new("written by a child");
    for number in 0.. {
        let lock = store.lock(&key).unwrap();
        store.put(&key, &numbered(number)).unwrap();
        drop(lock);
        // a parent that is gone does not read
        if writeln!(std::io::stdout(), "written").is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_costs_only_the_cache() {
    let rig = Rig::start().await;
    let kept = secret(&rig.helper("get", REGISTRY));
    // every write to a file is refused from here on
    let script = "trap '' XFSZ; ulimit -f 0; AWS_ACCESS_KEY_ID=AKIDOTHER exec \"$0\" get";
    let (one, two) = (secret(&shell(&rig, script)), secret(&shell(&rig, script)));
    assert!(one != kept && two != one);
    assert_eq!(secret(&rig.helper("get", REGISTRY)), kept);
    assert_eq!(rig.mints(), 3);
    let files = fs::read_dir(rig.cache().join("tokens")).unwrap().map(|file| file.unwrap().file_name());
    let leftovers: Vec<_> = files.filter(|name| name.to_string_lossy().starts_with(".new")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_only_the_cache() {
    let rig = Rig::start().await;
    let script = "mount -t tmpfs -o size=64k none \"$HOME\"
        get() { printf %s \"$1\" | \"$0\" get; }
        get \"$1\"
        head -c 100000 /dev/zero >\"$HOME/full\" 2>/dev/null || :
        AWS_ACCESS_KEY_ID=AKIDOTHER get \"$1\"
        get \"$1\"";
    let Some(output) = shell_that_mounts(&rig, script) else { return };
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0] == lines[2] && lines[0] != lines[1]);
    assert_eq!(rig.mints(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_read_only_gives_what_is_kept_and_mints_the_rest() {
    let rig = Rig::start().await;
    let script = "mount --bind \"$HOME\" \"$HOME\"; mount -o remount,ro,bind \"$HOME\"
        if touch \"$HOME/probe\" 2>/dev/null; then exit 9; fi
        printf %s \"$1\" | \"$0\" get";
    let Some(output) = shell_that_mounts(&rig, script) else { return };
    let minted = secret(&output);
    let kept = secret(&rig.helper("get", REGISTRY));
    assert!(minted != kept && rig.mints() == 2);
    assert_eq!(secret(&shell_that_mounts(&rig, script).unwrap()), kept);
    assert_eq!(rig.mints(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_home_the_folder_is_the_one_that_is_named() {
    let rig = Rig::start().await;
    let named = rig.dir.path().join("named");
    for (variable, folder) in [("XDG_CACHE_HOME", named.clone()), ("CACHE_DIRECTORY", named.join("unit/longshore"))] {
        let get = || {
            let mut command = program(HELPER, &rig.ecr, rig.dir.path());
            run(command.env_remove("HOME").env(variable, &folder).arg("get"), REGISTRY)
        };
        let before = rig.mints();
        assert_eq!(secret(&get()), secret(&get()));
        assert_eq!(rig.mints(), before + 1, "{variable}");
    }
    assert!(named.join("longshore/tokens").exists() && named.join("unit/longshore/tokens").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_token_is_shared_and_a_lost_key_costs_one_mint() {
    let rig = Rig::start().await;
    let key_file = rig.dir.path().join("key");
    fs::write(&key_file, [7; 32]).unwrap();
    configure(&rig, &format!("token_store = \"encrypted-file\"\ntoken_key_file = {:?}\n", key_file.display()));
    let exposed = rig.helper("get", REGISTRY);
    assert!(text(&exposed.stdout).contains("key can be read by other users"), "{exposed:?}");
    shell(&rig, "chmod 600 \"$HOME/../key\"");
    let one = secret(&rig.helper("get", REGISTRY));
    assert_eq!((secret(&rig.helper("get", REGISTRY)), rig.mints()), (one.clone(), 1));
    assert!(!everything_in(&rig).contains(&one[..40]));
    fs::write(&key_file, [8; 32]).unwrap();
    let two = secret(&rig.helper("get", REGISTRY));
    assert_eq!((secret(&rig.helper("get", REGISTRY)), rig.mints()), (two, 2));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_keyring_is_shared_among_sessions() {
    let rig = Rig::start().await;
    configure(&rig, "token_store = \"keyring\"\n");
    let store = TokenStore::new(&rig.cache(), &TokenProtection::Keyring);
    if let Err(error) = store.put(&TokenKey::new("probe"), &numbered(1)) {
        // a container without keys, for which the next test is; anything else is a mistake of ours
        assert!(["PermissionDenied", "Unknown(38)"].iter().any(|refused| chain(&error).contains(refused)), "{error:?}");
        return leave_out(&chain(&error));
    }
    forget_key(&rig);
    if !shell(&rig, "command -v perl").status.success() {
        return leave_out("there is no perl");
    }
    // each in a keyring session of its own, as logins and units are; none has a key yet
    let minted = in_sessions(&rig);
    assert_eq!(in_sessions(&rig), minted);
    assert_eq!((secret(&rig.helper("get", &host(0))), rig.mints()), (minted[0].clone(), SESSIONS as u64));
    // minted in the session of this test, found in the others
    rig.helper("erase", &host(1));
    let newer = secret(&rig.helper("get", &host(1)));
    assert!(newer != minted[1] && in_sessions(&rig)[1] == newer);
    let files = everything_in(&rig);
    assert!(minted.iter().all(|secret| !files.contains(&secret[..40])));
    assert_eq!(rig.mints(), SESSIONS as u64 + 1);
    // as after a restart of the machine
    forget_key(&rig);
    assert_ne!(secret(&rig.helper("get", &host(1))), newer);
    forget_key(&rig);
}

const SESSIONS: usize = 6;

/// A host with a token of its own.
fn host(number: usize) -> String {
    format!("123456789012.dkr.ecr.us-east-{number}.amazonaws.com")
}

/// The secrets of helpers that run at once, each in a keyring session of its own.
fn in_sessions(rig: &Rig) -> Vec<String> {
    let number = if cfg!(target_arch = "x86_64") { 250 } else { 219 };
    let join = format!("syscall({number}, 1, 0) > 0 or die $!; exec @ARGV");
    let helper = |host: String| {
        let script = format!("printf %s {host} | setsid -w perl -e '{join}' \"$0\" get");
        secret(&shell(rig, &script))
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..SESSIONS).map(|number| scope.spawn(move || helper(host(number)))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Takes the key of this rig's tokens from the keyring.
fn forget_key(rig: &Rig) {
    let name = fs::read_to_string(rig.cache().join("tokens/keyring-key")).unwrap();
    let system = linux_keyutils_keyring_store::Store::new().unwrap();
    // the first answer may be that of before this thread had a session
    let keys = [(); 2].map(|()| system.build("longshore", &name, None).unwrap());
    assert_eq!(keys[1].get_secret().unwrap().len(), 32);
    keys[1].delete_credential().unwrap();
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_that_refuses_keys_costs_only_the_cache() {
    let rig = Rig::start().await;
    configure(&rig, "token_store = \"keyring\"\n");
    // what docker's seccomp profile does: add_key, request_key and keyctl (248 to 250) are answered with EPERM
    let refuse = r#"exec perl -e '
        my $code = join "", map { pack "SCCL", @$_ } [0x20,0,0,0], [0x15,2,0,248], [0x15,1,0,249], [0x15,0,1,250],
            [6,0,0,0x50001], [6,0,0,0x7fff0000];
        syscall(157, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
        syscall(157, 22, 2, pack "Sx6P", 6, $code) == 0 or die "seccomp: $!";
        exec @ARGV' "$0" get"#;
    if !shell(&rig, "command -v perl").status.success() {
        return leave_out("there is no perl");
    }
    let (one, two) = (secret(&shell(&rig, refuse)), secret(&shell(&rig, refuse)));
    assert_ne!(one, two);
    assert_eq!(rig.mints(), 2);
    assert!(!everything_in(&rig).contains(&one[..40]));
}

/// The rig's configuration for the helper, with more at its top.
fn configure(rig: &Rig, more: &str) {
    let path = rig.dir.path().join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{more}{text}")).unwrap();
}

/// The text of all files of the token store.
fn everything_in(rig: &Rig) -> String {
    let files = fs::read_dir(rig.cache().join("tokens")).unwrap().map(|file| file.unwrap().path());
    files.map(|path| text(&fs::read(path).unwrap())).collect()
}
