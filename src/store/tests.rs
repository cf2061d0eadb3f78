//! The store as a whole, on real folders; sums are compared with those of `du`.

use std::{
    fs,
    io::Read as _,
    num::NonZeroU64,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{BlobReader, BlobStore, Limits, Quota, Quotas};
use crate::oci::{Accept, Digest, Manifest, MediaType, Reference, Repository};

const DAY: Duration = Duration::from_hours(24);
const KIB: usize = 1024;

fn repository() -> Repository {
    "registry.test/app".parse().unwrap()
}

/// A store that nothing limits.
fn open(dir: &Path) -> BlobStore {
    limited(dir, u64::MAX)
}

fn limited(dir: &Path, max_size: u64) -> BlobStore {
    let max_size = NonZeroU64::new(max_size);
    BlobStore::open(dir, Limits { max_size, min_free: Some(0), ..Limits::default() }).unwrap()
}

fn bytes(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|at| seed ^ u8::try_from(at % 251).unwrap()).collect()
}

fn put_from(store: &BlobStore, from: &Repository, seed: u8, size: usize) -> Digest {
    let bytes = bytes(seed, size);
    let digest = Digest::of(&bytes);
    let (writer, _) = store.write(&digest, from).unwrap();
    writer.write_at(0, &bytes).unwrap();
    Arc::new(writer).verify(size as u64).unwrap().commit().unwrap();
    digest
}

fn put(store: &BlobStore, seed: u8, size: usize) -> Digest {
    put_from(store, &repository(), seed, size)
}

fn read(store: &BlobStore, digest: &Digest) -> Option<BlobReader> {
    store.read(digest).unwrap()
}

/// Whether it is there, without counting as a read.
fn has(store: &BlobStore, digest: &Digest) -> bool {
    store.size(digest).unwrap().is_some()
}

fn du(dir: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
}

/// Makes content look as if it had been read and verified so long ago.
fn age(store: &BlobStore, digest: &Digest, read: Duration, verified: Duration) {
    let now = SystemTime::now();
    let file = fs::File::open(store.path(digest)).unwrap();
    file.set_modified(now - verified).unwrap();
    let mut table = store.table();
    let held = table.get_mut(digest).unwrap();
    held.changed_at = file.metadata().unwrap().modified().unwrap();
    (held.read_at, held.verified_at, held.is_read_since) = (now - read, held.changed_at, true);
}

/// Flips a bit; `quietly` as a disk does it, without a time of change.
fn flip(store: &BlobStore, digest: &Digest, quietly: bool) {
    let file = fs::File::options().read(true).write(true).open(store.path(digest)).unwrap();
    let changed_at = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 100).unwrap();
    if quietly {
        file.set_modified(changed_at).unwrap();
    } else {
        file.set_modified(changed_at + Duration::from_secs(1)).unwrap();
    }
}

/// An image of one layer; its manifest, and the digests of config and layer.
fn image(store: &BlobStore, seed: u8) -> (Manifest, [Digest; 2]) {
    let blobs = [put(store, seed, 300), put(store, seed, 9000)];
    let text = format!(r#"{{"config": {{"digest": "{}"}}, "layers": [{{"digest": "{}"}}]}}"#, blobs[0], blobs[1]);
    let manifest = Manifest::new(MediaType::new("application/vnd.oci.image.manifest.v1+json"), text.into());
    store.put_manifest(&repository(), &manifest).unwrap();
    (manifest, blobs)
}

fn tag(store: &BlobStore, name: &str, manifest: &Manifest) {
    store.put_tag(&repository(), &name.parse().unwrap(), &Accept::new([]), &manifest.descriptor).unwrap();
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn the_digest_catches_up_with_bytes_that_came_out_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = bytes(9, 90_000);
    let (writer, _) = store.write(&Digest::of(&bytes), &repository()).unwrap();
    let put = |from: usize, to: usize, is_front| {
        writer.put(from as u64, &bytes[from..to]).unwrap();
        writer.hash_next(from as u64, &bytes[from..to], is_front).unwrap();
        writer.hashed()
    };
    assert_eq!(put(0, 10_000, true), 10_000);
    assert_eq!(put(30_000, 60_000, false), 10_000);
    assert_eq!(put(10_000, 30_000, true), 30_000);
    assert_eq!(put(60_000, 90_000, true), 90_000);
    Arc::new(writer).verify(90_000).unwrap();
}

#[test]
fn what_it_takes_is_what_du_says_whatever_is_done_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let check = |store: &BlobStore, when: &str| assert_eq!(store.used(), du(dir.path()), "{when}");
    check(&store, "empty");
    let blobs: Vec<_> = (0..40_u8).map(|seed| put(&store, seed, 500 * usize::from(seed) + 1)).collect();
    check(&store, "with blobs");
    let images: Vec<_> = (100..110_u8).map(|seed| image(&store, seed)).collect();
    (0..30).for_each(|number| tag(&store, &format!("v{}", number % 3), &images[number % 10].0));
    check(&store, "with images");
    put(&store, 7, 500 * 7 + 1);
    check(&store, "with the same again");
    flip(&store, &blobs[9], false);
    fs::remove_file(store.path(&blobs[10])).unwrap();
    fs::write(store.path(&blobs[11]), "short").unwrap();
    for blob in &blobs[9..12] {
        assert!(read(&store, blob).is_none());
    }
    check(&store, "with damage");
    store.make_room(100_000).unwrap();
    check(&store, "after a sweep");
    let partial = Digest::of(b"never whole");
    let (writer, _) = store.write(&partial, &repository()).unwrap();
    writer.write_at(5, &bytes(1, 70_000)).unwrap();
    check(&store, "with a download under way");
    writer.rest().unwrap();
    drop(writer);
    store.flush();
    check(&store, "with a download at rest");
    let usage = store.usage().unwrap();
    assert_eq!(usage.total, du(dir.path()));
    assert_eq!(usage.registries, [("registry.test".to_owned(), usage.content)]);
    drop(store);
    // as after SIGKILL: nothing is told to the store that is opened next
    let store = open(dir.path());
    check(&store, "opened again");
    store.collect_garbage().unwrap();
    check(&store, "after garbage was collected");
    fs::remove_dir_all(dir.path().join("content-v2")).unwrap();
    store.sweep().unwrap();
    check(&store, "after the content was deleted");
    assert_eq!(store.usage().unwrap().objects, 0);
}

#[test]
fn the_least_recently_read_goes_first_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blobs: Vec<_> = (0..6).map(|seed| put(&store, seed, 100 * KIB)).collect();
    // read in another order than they came, long before the folder is opened again
    for (age_of, number) in [(3, 0), (6, 1), (1, 2), (5, 3), (2, 4), (4, 5)] {
        age(&store, &blobs[number], DAY * age_of, Duration::ZERO);
    }
    store.flush();
    drop(store);
    let store = open(dir.path());
    let mut goes = Vec::new();
    while goes.len() < 6 {
        store.make_room(1).unwrap();
        goes.extend(
            (0..6).filter(|number| !goes.contains(number) && !has(&store, &blobs[*number])).collect::<Vec<_>>(),
        );
    }
    assert_eq!(&goes[..5], [1, 3, 5, 0, 4]);
}

#[test]
fn what_is_open_or_pinned_or_being_written_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (pinned, [config, layer]) = image(&store, 1);
    tag(&store, "v1", &pinned);
    assert_eq!(store.pin(&repository(), &reference("v2"), true).unwrap(), None);
    assert_eq!(store.pin(&repository(), &reference("v1"), true).unwrap(), Some(pinned.descriptor.digest.clone()));
    let (opened, written, other) = (put(&store, 50, 9000), put(&store, 51, 9000), put(&store, 52, 9000));
    let reader = read(&store, &opened).unwrap();
    let (writer, _) = store.write(&written, &repository()).unwrap();
    store.make_room(u64::MAX / 2).unwrap();
    for stays in [&pinned.descriptor.digest, &config, &layer, &opened] {
        assert!(has(&store, stays), "{stays}");
    }
    assert!(!has(&store, &other));
    drop(reader);
    writer.write_at(0, &bytes(51, 9000)).unwrap();
    Arc::new(writer).verify(9000).unwrap().commit().unwrap();
    assert!(has(&store, &written));
    let refused = store.remove_image(&repository(), &reference("v1")).unwrap_err();
    assert!(refused.to_string().contains("is pinned"), "{refused}");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.pins().unwrap(), [(repository(), reference("v1"), pinned.descriptor.digest.clone())]);
    store.make_room(u64::MAX / 2).unwrap();
    assert!(has(&store, &layer) && !has(&store, &opened));
    assert!(store.pin(&repository(), &reference("v1"), false).unwrap().is_some());
    store.make_room(u64::MAX / 2).unwrap();
    assert!(!has(&store, &layer) && store.pins().unwrap().is_empty());
}

#[test]
fn a_pin_by_tag_follows_it_and_protects_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, [_, old_layer]) = image(&store, 1);
    tag(&store, "v1", &old);
    store.pin(&repository(), &reference("v1"), true).unwrap();
    let layer = Digest::of(&bytes(9, 5000));
    let text = format!(r#"{{"layers": [{{"digest": "{layer}"}}]}}"#);
    let child = Manifest::new(MediaType::new("m/m"), text.into());
    let text = format!(r#"{{"manifests": [{{"digest": "{}"}}]}}"#, child.descriptor.digest);
    let index = Manifest::new(MediaType::new("i/i"), text.into());
    for number in 0..3 {
        tag(&store, "v1", if number == 0 { &index } else { &child });
    }
    tag(&store, "v1", &index);
    store.put_manifest(&repository(), &index).unwrap();
    store.put_manifest(&repository(), &child).unwrap();
    put(&store, 9, 5000);
    store.make_room(u64::MAX / 2).unwrap();
    assert!(has(&store, &layer) && !has(&store, &old_layer));
    let images = store.images().unwrap();
    assert_eq!((images.len(), images[0].is_pinned, images[0].is_complete), (1, true, true));
}

#[test]
fn a_registry_keeps_to_its_quota_and_others_do_not_pay_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let quotas = Quotas::new(|registry| {
        let max_size = NonZeroU64::new(300 * KIB as u64)?;
        registry.as_str().ends_with("small.test").then(|| Quota { name: "*small.test".to_owned(), max_size })
    });
    let store = BlobStore::open(dir.path(), Limits { min_free: Some(0), quotas, ..Limits::default() }).unwrap();
    let other = put(&store, 0, 400 * KIB);
    age(&store, &other, DAY, Duration::ZERO);
    let small: Vec<_> = (1..5_u8)
        .map(|seed| put_from(&store, &format!("{seed}.small.test/app").parse().unwrap(), seed, 100 * KIB))
        .collect();
    age(&store, &small[0], DAY, Duration::ZERO);
    assert!(read(&store, &small[1]).is_some());
    store.sweep().unwrap();
    assert!(has(&store, &other) && !has(&store, &small[0]));
    let of_small = store.usage().unwrap().registries.iter().filter(|(name, _)| name.ends_with("small.test")).count();
    assert_eq!(of_small, 2, "270 KiB hold two of 100");
}

#[test]
fn what_nobody_read_for_too_long_goes_and_a_read_renews_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), Limits { min_free: Some(0), max_age: DAY, ..Limits::default() }).unwrap();
    let (old, renewed, young) = (put(&store, 1, 5000), put(&store, 2, 5000), put(&store, 3, 5000));
    age(&store, &old, DAY * 2, Duration::ZERO);
    age(&store, &renewed, DAY * 2, Duration::ZERO);
    drop(read(&store, &renewed).unwrap());
    store.sweep().unwrap();
    assert!(!has(&store, &old) && has(&store, &renewed) && has(&store, &young));
}

#[test]
fn the_disk_keeps_its_free_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), Limits { min_free: Some(u64::MAX / 4), ..Limits::default() }).unwrap();
    let blob = put(&store, 1, 5000);
    store.sweep().unwrap();
    assert!(!has(&store, &blob), "a disk with less than is to stay free has no room for a cache");
}

#[test]
fn downloads_at_rest_go_before_content_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = put(&store, 1, 5000);
    age(&store, &content, DAY * 30, Duration::ZERO);
    let rested: Vec<Digest> = [3_u32, 2, 8]
        .map(|days| {
            let digest = Digest::of(&days.to_be_bytes());
            let (writer, _) = store.write(&digest, &repository()).unwrap();
            writer.write_at(0, &bytes(1, 9000)).unwrap();
            let file = writer.file();
            writer.rest().unwrap();
            drop(writer);
            file.set_modified(SystemTime::now() - DAY * days).unwrap();
            digest
        })
        .into();
    let resting = || store.partials().unwrap().into_iter().map(|partial| partial.digest).collect::<Vec<_>>();
    store.sweep().unwrap();
    assert!(resting().len() == 2 && !resting().contains(&rested[2]), "a week is long enough");
    store.make_room(1).unwrap();
    assert_eq!(resting(), [rested[1].clone()]);
    assert!(has(&store, &content));
}

#[test]
fn damaged_content_is_a_miss_and_can_be_put_again() {
    for damage in ["gone", "short", "long", "flipped"] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let blob = put(&store, 1, 5000);
        let path = store.path(&blob);
        match damage {
            "gone" => fs::remove_file(&path).unwrap(),
            "short" => fs::write(&path, "short").unwrap(),
            "long" => fs::write(&path, bytes(1, 6000)).unwrap(),
            _ => flip(&store, &blob, false),
        }
        if damage != "flipped" {
            assert_eq!(store.size(&blob).unwrap(), None, "{damage}");
        }
        assert!(read(&store, &blob).is_none(), "{damage}");
        put(&store, 1, 5000);
        let mut text = Vec::new();
        (&*read(&store, &blob).unwrap().file).read_to_end(&mut text).unwrap();
        assert_eq!(text, bytes(1, 5000), "{damage}");
        assert_eq!(store.quarantined().len(), usize::from(damage == "flipped"), "{damage}");
    }
}

#[test]
fn content_that_is_asked_for_again_at_once_is_verified_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blob = put(&store, 1, 5000);
    flip(&store, &blob, true);
    age(&store, &blob, DAY, DAY);
    flip(&store, &blob, true);
    flip(&store, &blob, true);
    // the one read that a client finds wrong; then it asks again
    let first = read(&store, &blob);
    assert!(first.is_some());
    assert!(read(&store, &blob).is_some(), "while somebody reads it, nobody has found anything");
    drop(first);
    assert!(read(&store, &blob).is_none());
    assert_eq!(store.quarantined().len(), 1);
}

#[test]
fn the_scrub_finds_what_nobody_reads_and_remembers_what_it_saw() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (right, wrong, young) = (put(&store, 1, 5000), put(&store, 2, 600_000), put(&store, 3, 5000));
    flip(&store, &young, true);
    flip(&store, &wrong, true);
    for blob in [&right, &wrong] {
        age(&store, blob, DAY * 3, DAY * 3);
    }
    let read_at = store.table().get(&right).unwrap().read_at;
    let mut steps = 1;
    while store.scrub(DAY, 300_000) {
        steps += 1;
    }
    assert_eq!(steps, 3, "600 kB and 5 kB at 300 kB a step");
    assert!(has(&store, &right) && !has(&store, &wrong) && has(&store, &young));
    store.flush();
    drop(store);
    let store = open(dir.path());
    let held = store.table().get(&right).unwrap().clone();
    assert_eq!(held.read_at, read_at, "it is no reader");
    assert!(held.verified_at.elapsed().unwrap() < DAY);
    store.suspect(&young);
    assert!(!store.scrub(Duration::ZERO, 1));
    assert!(!has(&store, &young));
}

#[test]
fn the_scrub_reads_no_more_at_once_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seed in 0..10 {
        let blob = put(&store, seed, 100_000);
        age(&store, &blob, DAY * 3, DAY * 3);
    }
    let mut steps = 1;
    while store.scrub(DAY, 300_000) {
        steps += 1;
    }
    assert!(steps >= 4, "10 times 100 kB at 300 kB a step took {steps}");
}

#[test]
fn what_came_since_a_crash_is_verified_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = put(&store, 1, 5000);
    age(&store, &before, DAY, DAY);
    store.stop();
    drop(store);
    let store = open(dir.path());
    let (wrong, right) = (put(&store, 2, 5000), put(&store, 3, 5000));
    flip(&store, &wrong, true);
    drop(store);
    let store = open(dir.path());
    assert!(store.has_doubts() && !store.table().get(&before).unwrap().is_from_a_crash());
    // even where nothing is scrubbed
    while store.scrub(Duration::ZERO, 1000) {}
    assert!(!has(&store, &wrong) && has(&store, &right) && !store.has_doubts());
    drop(store);
    assert!(!open(dir.path()).has_doubts(), "what was verified is not in doubt for ever");
}

#[test]
fn what_came_since_a_crash_is_verified_before_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (wrong, right) = (put(&store, 2, 5000), put(&store, 3, 5000));
    flip(&store, &wrong, true);
    drop(store);
    let store = open(dir.path());
    assert!(read(&store, &right).is_some() && read(&store, &wrong).is_none());
    assert_eq!(store.quarantined().len(), 1);
    assert!(!store.has_doubts(), "once is enough");
}

#[test]
fn what_was_changed_while_no_daemon_ran_is_verified_before_it_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (wrong, right) = (put(&store, 2, 5000), put(&store, 3, 5000));
    store.stop();
    let path = store.path(&wrong);
    drop(store);
    let store = open(dir.path());
    assert!(!store.has_doubts(), "an orderly stop leaves none");
    store.stop();
    drop(store);
    fs::write(&path, bytes(9, 5000)).unwrap();
    fs::File::open(&path).unwrap().set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    // one that dies before it has verified it leaves it in doubt
    drop(open(dir.path()));
    let store = open(dir.path());
    assert!(read(&store, &wrong).is_none() && read(&store, &right).is_some());
}

#[test]
fn what_was_put_right_meanwhile_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blob = put(&store, 1, 5000);
    flip(&store, &blob, false);
    let opened = Arc::new(fs::File::open(store.path(&blob)).unwrap());
    assert!(read(&store, &blob).is_none());
    put(&store, 1, 5000);
    // somebody else opened the damaged file, and comes to its end only now
    assert!(!store.verify_file(&blob, &opened), "its bytes are wrong whatever lies there now");
    assert!(read(&store, &blob).is_some());
}

#[test]
fn a_change_while_it_is_verified_leaves_it_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blob = put(&store, 1, 5000);
    age(&store, &blob, DAY * 3, DAY * 3);
    assert!(store.scrub(DAY, 4000), "the rest is for the next step");
    flip(&store, &blob, false);
    while store.scrub(DAY, 4000) {}
    assert!(read(&store, &blob).is_none());
}

#[test]
fn everything_is_verified_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let wrong = put(&store, 1, 5000);
    put(&store, 2, 3000);
    flip(&store, &wrong, true);
    let told = std::cell::Cell::new((0, 0));
    let verified = store.verify(&|done, total| told.set((done, total))).unwrap();
    assert_eq!((verified.objects, verified.bytes, &verified.damaged[..]), (2, 8000, &[wrong][..]));
    assert_eq!(told.get(), (8000, 8000));
}

#[test]
fn an_image_is_removed_with_what_nothing_else_refers_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, [config, layer]) = image(&store, 1);
    let text = format!(r#"{{"layers": [{{"digest": "{layer}"}}]}}"#);
    let two = Manifest::new(MediaType::new("m/m"), text.into());
    store.put_manifest(&repository(), &two).unwrap();
    tag(&store, "one", &one);
    tag(&store, "also", &one);
    tag(&store, "two", &two);
    let images = store.images().unwrap();
    assert_eq!(images.iter().map(|image| image.tags.len()).sum::<usize>(), 3);
    let removed = store.remove_image(&repository(), &reference("also")).unwrap().unwrap();
    assert_eq!((removed.manifests, removed.blobs), (0, 0), "another tag has it");
    let removed = store.remove_image(&repository(), &reference("one")).unwrap().unwrap();
    assert_eq!((removed.manifests, removed.blobs), (1, 1));
    assert!(!has(&store, &config) && has(&store, &layer) && store.images().unwrap().len() == 1);
    assert_eq!(store.remove_image(&repository(), &reference("one")).unwrap(), None);
    let removed = store.remove_image(&repository(), &reference(two.descriptor.digest.as_str())).unwrap().unwrap();
    assert_eq!((removed.manifests, removed.blobs), (1, 1));
    assert_eq!((store.images().unwrap(), store.usage().unwrap().objects), (Vec::new(), 0));
    assert_eq!(store.used(), du(dir.path()));
}

/// A signed manifest of schema 1 of one layer; it is named by what it signs, not by its bytes.
fn signed_image(store: &BlobStore, seed: u8) -> (Manifest, Digest) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let layer = put(store, seed, 9000);
    let open = format!("{{\n   \"schemaVersion\": 1,\n   \"fsLayers\": [{{\"blobSum\": \"{layer}\"}}]");
    let header = format!("{{\"formatLength\":{},\"formatTail\":\"Cn0\"}}", open.len());
    let header = URL_SAFE_NO_PAD.encode(header);
    let signed = format!("{open},\n   \"signatures\": [{{\"signature\": \"x\", \"protected\": \"{header}\"}}]\n}}");
    let kind = MediaType::new("application/vnd.docker.distribution.manifest.v1+prettyjws");
    let manifest = Manifest::new(kind, signed.into());
    assert_ne!(manifest.descriptor.digest, Digest::of(&manifest.bytes), "it has two names");
    store.put_manifest(&repository(), &manifest).unwrap();
    (manifest, layer)
}

#[test]
fn a_signed_manifest_is_an_image_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path(), 1_000_000);
    let (manifest, layer) = signed_image(&store, 1);
    let name = &manifest.descriptor.digest;
    tag(&store, "signed", &manifest);
    let [image] = &store.images().unwrap()[..] else { panic!("it is listed") };
    assert_eq!((&image.digest, image.is_complete, image.tags.len()), (name, true, 1));
    assert!(image.size > 9000);
    age(&store, &layer, DAY, Duration::ZERO);
    let removed = store.collect_garbage().unwrap();
    assert_eq!((removed.manifests, removed.blobs, has(&store, &layer)), (0, 0, true));
    assert_eq!(store.manifest(&repository(), name).unwrap(), Some(manifest.clone()));
    for pinned in [name.as_str(), "signed"] {
        assert_eq!(store.pin(&repository(), &reference(pinned), true).unwrap().as_ref(), Some(name));
        store.make_room(1_000_000).unwrap();
        assert!(has(&store, &layer) && store.images().unwrap()[0].is_pinned, "{pinned}");
        assert!(store.remove_image(&repository(), &reference("signed")).is_err());
        assert!(store.pin(&repository(), &reference(pinned), false).unwrap().is_some());
    }
    let removed = store.remove_image(&repository(), &reference("signed")).unwrap().unwrap();
    assert_eq!((removed.manifests, removed.blobs), (1, 1));
    assert_eq!((store.images().unwrap(), store.usage().unwrap().objects), (Vec::new(), 0));
    assert_eq!(store.used(), du(dir.path()));
}

#[test]
fn garbage_is_what_nothing_refers_to_and_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (kept, blobs) = image(&store, 1);
    tag(&store, "kept", &kept);
    let (gone, [config, _]) = image(&store, 2);
    tag(&store, "gone", &gone);
    fs::remove_file(store.path(&gone.descriptor.digest)).unwrap();
    assert!(read(&store, &gone.descriptor.digest).is_none());
    for blob in blobs.iter().chain([&config]) {
        age(&store, blob, DAY, Duration::ZERO);
    }
    let removed = store.collect_garbage().unwrap();
    assert_eq!((removed.manifests, removed.blobs), (1, 1), "its layer was read just now");
    assert!(removed.bytes > 0 && !has(&store, &config) && blobs.iter().all(|blob| has(&store, blob)));
    assert_eq!(store.images().unwrap().len(), 1);
    assert!(store.tag(&repository(), &"gone".parse().unwrap(), &Accept::new([])).unwrap().is_empty());
    assert_eq!(store.used(), du(dir.path()));
}

#[test]
fn an_index_that_cannot_be_cleaned_does_not_stop_the_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let store = limited(dir.path(), 100_000);
    let (gone, _) = image(&store, 1);
    tag(&store, "gone", &gone);
    fs::remove_file(store.path(&gone.descriptor.digest)).unwrap();
    assert!(read(&store, &gone.descriptor.digest).is_none());
    // its record lies elsewhere, and where it would be deleted is what cannot be
    let bucket = super::index::bucket(dir.path(), &super::records::tag_key(&repository(), &"gone".parse().unwrap()));
    fs::rename(&bucket, bucket.with_file_name("f".repeat(36))).unwrap();
    fs::create_dir(&bucket).unwrap();
    let blobs = [put(&store, 3, 60_000), put(&store, 4, 60_000)];
    assert!(store.drop_dead_records().is_err());
    store.sweep().unwrap();
    assert!(!has(&store, &blobs[0]), "it is over its limit");
}

#[test]
fn a_folder_full_of_rubbish_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let blob = put(&open(dir.path()), 1, 5000);
    let rubbish =
        ["content-v2/sha256/aa", "content-v2/x", "index-v5/aa/bb", "index-v5/00/00", "quarantine/x", "staging/y"];
    for folder in rubbish {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join("rubbish"), b"\n\xff\t\0").unwrap();
    }
    fs::write(dir.path().join("index-v5/file"), "").unwrap();
    fs::write(dir.path().join("index-v5/00/00").join("0".repeat(36)), b"\n\xff\t\0").unwrap();
    let store = open(dir.path());
    assert!(has(&store, &blob) && store.images().unwrap().is_empty());
    assert_eq!(store.used(), du(dir.path()));
    store.collect_garbage().unwrap();
    store.verify(&|_, _| {}).unwrap();
    assert!(has(&store, &blob) && dir.path().join("index-v5/aa/bb/rubbish").exists());
}
