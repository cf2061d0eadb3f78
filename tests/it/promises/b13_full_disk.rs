//! Bounded and full disks: what happens when the disk takes nothing any more.

use std::process::Command;

use super::{S, blob, path};
use crate::{
    fake_ecr::{Action, Listener, Rule},
    rig::{APP, Daemon, Rig, leave_out, program},
};

/// The rig, its daemon on a cache folder of so many MiB; `None` where the tests may not mount.
async fn on_a_small_disk(mebibytes: u64) -> Option<Rig> {
    on_a_disk(&format!("size={mebibytes}m")).await
}

/// The same with any options of such a disk.
async fn on_a_disk(options: &str) -> Option<Rig> {
    let mut rig = Rig::with("[cache]\nmax_size = \"1GB\"\nmin_free = \"0B\"").await;
    let tried = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).status().unwrap();
    if !tried.success() {
        leave_out("no mounts");
        return None;
    }
    rig.daemon.kill();
    let mut command = program("unshare", &rig.ecr, rig.dir.path());
    let script = format!("mount -t tmpfs -o {options} none {} && exec \"$0\" \"$@\"", rig.cache().display());
    command.args(["-m", "/bin/sh", "-c", &script, env!("CARGO_BIN_EXE_longshore")]);
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    rig.daemon = Daemon::spawn(command, "debug");
    Some(rig)
}

#[tokio::test]
async fn b13_a_blob_larger_than_the_disk_passes_through() {
    let Some(rig) = on_a_small_disk(16).await else { return };
    let digest = rig.ecr.push_blob(APP, blob(1));
    for _ in 0..2 {
        assert!(rig.get(&path(APP, &digest)).await.ok().body.unwrap() == blob(1));
    }
    // and one that fits is kept, without a restart
    let small = rig.ecr.push_blob(APP, vec![5; 1_000_000]);
    assert_eq!(rig.get(&path(APP, &small)).await.ok().cache(), "miss");
    assert_eq!(rig.get(&path(APP, &small)).await.ok().cache(), "hit");
}

#[tokio::test]
async fn b13_several_clients_stream_on_when_the_disk_is_full() {
    let Some(rig) = on_a_small_disk(8).await else { return };
    let digests: Vec<_> = (0..4).map(|seed| rig.ecr.push_blob(APP, blob(seed))).collect();
    let replies = crate::rig::together(
        digests
            .iter()
            .flat_map(|digest| [digest, digest])
            .map(|digest| async { rig.get(&path(APP, digest)).await.ok().body.unwrap() }),
    )
    .await;
    for (n, body) in replies.iter().enumerate() {
        assert!(*body == blob(n as u64 / 2), "reply {n}");
    }
    let range = rig.request("GET", &path(APP, &digests[0]), &[("range", "bytes=-1000")]).await;
    assert_eq!((range.status.as_u16(), &range.body.unwrap()[..]), (206, &blob(0)[S - 1000..]));
}

#[tokio::test]
async fn b13_what_passes_through_is_verified_and_resumed_too() {
    let Some(rig) = on_a_small_disk(8).await else { return };
    let digest = rig.ecr.push_blob(APP, blob(1));
    let breaks = rig.ecr.fault(Rule::on(Listener::S3).reset_after(9_000_000));
    assert!(rig.get(&path(APP, &digest)).await.ok().body.unwrap() == blob(1));
    breaks.remove();
    rig.ecr.fault(Rule::on(Listener::S3).then(Action::SwapBody));
    assert!(rig.get(&path(APP, &digest)).await.ok().body.is_err(), "wrong bytes must not be whole");
}

#[tokio::test]
async fn b13_room_is_made_for_what_is_asked_for() {
    let Some(rig) = on_a_small_disk(40).await else { return };
    let (old, new) = (rig.ecr.push_blob(APP, blob(1)), rig.ecr.push_blob(APP, blob(2)));
    assert!(rig.get(&path(APP, &old)).await.ok().body.unwrap() == blob(1));
    rig.daemon.wait_for_log("a blob is kept");
    assert!(rig.get(&path(APP, &new)).await.ok().body.unwrap() == blob(2));
    assert_eq!(rig.get(&path(APP, &new)).await.ok().cache(), "hit");
}

#[tokio::test]
async fn b13_room_is_made_on_a_disk_that_takes_no_new_file() {
    let Some(rig) = on_a_disk("size=40m,nr_inodes=200").await else { return };
    let digests: Vec<_> = (0..6).map(|seed| rig.ecr.push_blob(APP, vec![seed; 1_000_000])).collect();
    let (new, old) = digests.split_last().unwrap();
    for digest in old {
        assert_eq!(rig.get(&path(APP, digest)).await.ok().cache(), "miss");
        assert_eq!(rig.get(&path(APP, digest)).await.ok().cache(), "hit");
    }
    rig.settle().await;
    // the disk as the daemon sees it, filled by somebody else
    let disk = format!("/proc/{}/root{}", rig.daemon.id(), rig.cache().display());
    let refused = (0..200).find_map(|n| std::fs::write(format!("{disk}/file-{n}"), "").err());
    assert_eq!(refused.unwrap().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(rig.get(&path(APP, new)).await.ok().cache(), "miss");
    assert_eq!(rig.get(&path(APP, new)).await.ok().cache(), "hit", "{}", rig.daemon.log());
}
