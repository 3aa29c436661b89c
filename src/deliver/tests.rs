//! Tests of the whole room against a store in memory and against directories.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use object_store::{ObjectStoreExt, PutPayload};

use super::*;
use crate::durable;
use crate::fault::{Class, Fault};
use crate::recording::{Asset, AssetFile, Kind, RemoteObject};
use crate::runtime::Runtime;
use crate::stop::Stop;

const DATE: &str = "2026-03-04";

struct Fixture {
    root: tempfile::TempDir,
    memory: MemoryBucket,
    targets: Targets,
}

fn fixture() -> Fixture {
    let memory = MemoryBucket::default();
    let targets =
        Targets::in_memory(&TargetOptions::new("cloud", "s3://bucket/pre"), &memory, &Runtime::start().unwrap())
            .unwrap();
    Fixture { root: tempfile::tempdir().unwrap(), memory, targets }
}

fn disk_targets(base: &Path) -> Targets {
    let target = TargetOptions::new("disk", &format!("file://{}", base.display()));
    Targets::open(&DeliverOptions { targets: vec![target], ..DeliverOptions::default() }, &Runtime::start().unwrap())
        .unwrap()
}

fn asset(root: &Path, id: &str, names: &[&str]) -> Asset {
    let file = |name: &&str| {
        let path = root.join(name);
        AssetFile::new(path.clone(), durable::fingerprint(&path).unwrap())
    };
    Asset {
        id: id.into(),
        kind: Kind::Recording,
        vod_id: Some(id.into()),
        stream_id: "room1".into(),
        root: root.to_owned(),
        start_ms: 0,
        duration_ms: Some(1500),
        salvaged: false,
        files: names.iter().map(file).collect(),
    }
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&len.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Fixture {
    fn upload(&self, asset: &Asset) -> Result<Vec<RemoteObject>> {
        self.targets.upload("cloud", asset, DATE, &Stop::default(), &|_| {}, &NullLedger)
    }

    fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.memory.object(key).map(|object| object.bytes)
    }

    fn is_empty(&self) -> bool {
        use futures::StreamExt;
        use object_store::ObjectStore;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { self.memory.0.list(None).next().await.is_none() })
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.memory.0.put(&key.into(), PutPayload::from(bytes.to_vec()))).unwrap();
    }
}

#[test]
fn a_small_and_a_large_file_arrive_whole() {
    let f = fixture();
    for (name, len) in [("empty.mp4", 0), ("a/small.mp4", 5_000), ("large.mp4", 20 * 1024 * 1024 + 7)] {
        let bytes = noise(len);
        write(f.root.path(), name, &bytes);
        let acknowledged = Cell::new(0);
        let asset = asset(f.root.path(), name, &[name]);
        let count = |n| acknowledged.set(acknowledged.get() + n);
        let objects = f.targets.upload("cloud", &asset, DATE, &Stop::default(), &count, &NullLedger).unwrap();
        assert_eq!(objects[0].key, format!("pre/{name}"));
        assert_eq!(objects[0].url, format!("s3://bucket/pre/{name}"));
        assert_eq!(objects[0].size_bytes, len as u64);
        assert_eq!(objects[0].source, asset.files[0].fingerprint);
        assert_eq!(f.stored(&objects[0].key).unwrap(), bytes);
        assert_eq!(acknowledged.get(), len as u64);
    }
}

#[test]
fn the_same_asset_is_adopted_and_other_content_moves_it_alone() {
    let f = fixture();
    write(f.root.path(), "x.mp4", b"first");
    let first = asset(f.root.path(), "id-1", &["x.mp4"]);
    let before = f.upload(&first).unwrap();
    let again = f.upload(&first).unwrap();
    assert_eq!((&before[0].key, &before[0].etag), (&again[0].key, &again[0].etag));

    write(f.root.path(), "x.mp4", b"other");
    let other = f.upload(&asset(f.root.path(), "id-2", &["x.mp4"])).unwrap();
    assert_eq!(other[0].key, "pre/x_1.mp4");
    assert_eq!(f.stored("pre/x.mp4").unwrap(), b"first");
    assert_eq!(f.stored("pre/x_1.mp4").unwrap(), b"other");
}

#[test]
fn a_store_that_reports_no_checksum_gives_no_compared_checksum() {
    let f = fixture();
    write(f.root.path(), "x.mp4", b"first");
    let object = f.upload(&asset(f.root.path(), "id", &["x.mp4"])).unwrap().remove(0);
    assert_eq!((object.checksum, object.checksum_compared), (None, false));
}

#[test]
fn a_unit_whose_playlist_differs_goes_beside_as_a_whole() {
    let f = fixture();
    for name in ["live/0.ts", "live/1.ts", "live/room1.m3u8"] {
        write(f.root.path(), name, name.as_bytes());
    }
    f.put("pre/live/room1.m3u8", b"somebody else's");
    let unit = asset(f.root.path(), "unit", &["live/0.ts", "live/1.ts", "live/room1.m3u8"]);
    let keys: Vec<_> = f.upload(&unit).unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(keys, ["pre/live/room1_1/0.ts", "pre/live/room1_1/1.ts", "pre/live/room1_1/room1.m3u8"]);
    assert_eq!(f.stored("pre/live/0.ts"), None);
    assert_eq!(f.stored("pre/live/room1.m3u8").unwrap(), b"somebody else's");
}

#[test]
fn a_unit_that_was_cut_off_continues_with_what_is_missing() {
    let f = fixture();
    for name in ["live/0.ts", "live/1.ts", "live/room1.m3u8"] {
        write(f.root.path(), name, name.as_bytes());
    }
    f.upload(&asset(f.root.path(), "unit", &["live/0.ts"])).unwrap();
    let unit = asset(f.root.path(), "unit", &["live/0.ts", "live/1.ts", "live/room1.m3u8"]);
    let objects = f.upload(&unit).unwrap();
    assert_eq!(objects[2].key, "pre/live/room1.m3u8");
    assert_eq!(f.stored("pre/live/1.ts").unwrap(), b"live/1.ts");
}

#[test]
fn a_source_that_changes_during_the_upload_leaves_nothing_behind() {
    let f = fixture();
    write(f.root.path(), "x.mp4", &noise(40 * 1024 * 1024));
    let asset = asset(f.root.path(), "id", &["x.mp4"]);
    let path = f.root.path().join("x.mp4");
    let append = |_| {
        use std::io::Write;
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    };
    let error = f.targets.upload("cloud", &asset, DATE, &Stop::default(), &append, &NullLedger).unwrap_err();
    assert!(matches!(error, DeliverError::SourceChanged { .. }), "{error}");
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(f.stored("pre/x.mp4"), None);
}

#[test]
fn a_source_that_changed_since_it_was_queued_is_not_sent() {
    let f = fixture();
    write(f.root.path(), "x.mp4", b"first");
    let asset = asset(f.root.path(), "id", &["x.mp4"]);
    write(f.root.path(), "x.mp4", b"rewritten");
    assert!(matches!(f.upload(&asset), Err(DeliverError::SourceChanged { .. })));
    assert_eq!(f.stored("pre/x.mp4"), None);
}

#[test]
fn an_upload_that_is_told_to_stop_stops() {
    let f = fixture();
    write(f.root.path(), "x.mp4", &noise(40 * 1024 * 1024));
    let asset = asset(f.root.path(), "id", &["x.mp4"]);
    let cancel = Stop::default();
    let stop = |_| cancel.request();
    // Stopping is noticed within a moment, not at once: a store in memory may be quicker, and then it is delivered.
    match f.targets.upload("cloud", &asset, DATE, &cancel, &stop, &NullLedger) {
        Err(error) => assert_eq!((error.class(), f.stored("pre/x.mp4")), (Class::Cancelled, None)),
        Ok(objects) => assert_eq!(objects[0].size_bytes, 40 * 1024 * 1024),
    }
    cancel.request();
    write(f.root.path(), "y.mp4", b"never sent");
    let other = self::asset(f.root.path(), "other", &["y.mp4"]);
    let refused = f.targets.upload("cloud", &other, DATE, &cancel, &|_| {}, &NullLedger).unwrap_err();
    assert_eq!((refused.class(), f.stored("pre/y.mp4")), (Class::Cancelled, None));
}

#[test]
fn the_state_of_an_object_is_told_and_it_can_be_deleted() {
    let f = fixture();
    write(f.root.path(), "x.mp4", b"first");
    let object = f.upload(&asset(f.root.path(), "id", &["x.mp4"])).unwrap().remove(0);
    let state = f.targets.head("cloud", &object.key).unwrap().unwrap();
    assert!(state.agrees_with(&object));
    assert!(!RemoteState { size_bytes: 4, ..state.clone() }.agrees_with(&object));
    assert!(!RemoteState { etag: Some("other".into()), ..state }.agrees_with(&object));
    f.targets.delete("cloud", &object.key).unwrap();
    f.targets.delete("cloud", &object.key).unwrap();
    assert_eq!(f.targets.head("cloud", &object.key).unwrap(), None);
    assert!(matches!(f.targets.head("clod", "x"), Err(DeliverError::UnknownTarget(name)) if name == "clod"));
}

#[test]
fn a_probe_tries_everything_and_leaves_nothing() {
    let f = fixture();
    let checks = f.targets.probe("cloud").unwrap();
    assert!(checks.iter().all(|c| c.ok), "{checks:?}");
    let names: Vec<_> = checks.iter().map(|c| c.name).collect();
    let first = ["write", "read back", "checksum", "list", "unfinished uploads", "upload in parts"];
    assert_eq!(names, [&first[..], &["no overwriting", "delete"]].concat());
    assert!(f.is_empty());
    let dir = tempfile::tempdir().unwrap();
    let checks = disk_targets(dir.path()).probe("disk").unwrap();
    assert!(checks.iter().all(|c| c.ok), "{checks:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_gets_a_durable_compared_copy_with_the_attributes_of_the_source() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = noise(3 * 1024 * 1024 + 1);
    write(from.path(), "vod/x.mp4", &bytes);
    let targets = disk_targets(to.path());
    let asset = asset(from.path(), "id", &["vod/x.mp4"]);
    let objects = targets.upload("disk", &asset, DATE, &Stop::default(), &|_| {}, &NullLedger).unwrap();
    let copy = to.path().join("vod/x.mp4");
    assert_eq!(fs::read(&copy).unwrap(), bytes);
    assert_eq!(objects[0].url, format!("file://{}", copy.display()));
    assert_eq!(objects[0].checksum, Some(format!("blake3:{}", blake3::hash(&bytes).to_hex())));
    assert!(objects[0].checksum_compared);
    assert_eq!(durable::fingerprint(&copy).unwrap().mtime_ns, asset.files[0].fingerprint.mtime_ns);
    assert_eq!(fs::read_dir(to.path().join("vod")).unwrap().count(), 1, "a partial was left behind");
}

#[test]
fn a_directory_is_never_overwritten_and_the_same_file_is_adopted() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(from.path(), "x.mp4", b"mine!");
    write(to.path(), "x.mp4", b"other");
    let targets = disk_targets(to.path());
    let asset = asset(from.path(), "id", &["x.mp4"]);
    let upload = || targets.upload("disk", &asset, DATE, &Stop::default(), &|_| {}, &NullLedger).unwrap().remove(0);
    assert_eq!(upload().key, "x_1.mp4");
    let inode = |name| durable::fingerprint(&to.path().join(name)).unwrap().inode;
    let before = inode("x_1.mp4");
    assert_eq!(upload().key, "x_1.mp4");
    assert_eq!(inode("x_1.mp4"), before);
    assert_eq!(fs::read(to.path().join("x.mp4")).unwrap(), b"other");
}

#[test]
fn an_unmounted_disk_is_not_filled() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(from.path(), "x.mp4", b"x");
    let asset = asset(from.path(), "id", &["x.mp4"]);
    let base = to.path().join("not/mounted");
    let targets = disk_targets(&base);
    let error = targets.upload("disk", &asset, DATE, &Stop::default(), &|_| {}, &NullLedger).unwrap_err();
    assert!(matches!(error, DeliverError::DirectoryMissing { .. }), "{error}");
    assert_eq!(error.class(), Class::Environment);
    assert!(error.hint().unwrap().contains("Mount"));
    assert!(!to.path().join("not").exists());
    assert!(!targets.probe("disk").unwrap()[0].ok);

    // With its parent there, one level is created.
    fs::create_dir(to.path().join("not")).unwrap();
    targets.upload("disk", &asset, DATE, &Stop::default(), &|_| {}, &NullLedger).unwrap();
    assert!(base.join("x.mp4").exists());
}

#[test]
fn two_targets_of_one_name_are_refused() {
    let target = TargetOptions::new("t", "file:///tmp");
    let options = DeliverOptions { targets: vec![target.clone(), target], ..DeliverOptions::default() };
    assert!(Targets::open(&options, &Runtime::start().unwrap()).unwrap_err().is_configuration());
}

#[test]
fn ranges_of_a_copy_are_read_until_it_is_another_object() {
    let f = fixture();
    let bytes = noise(300_000);
    write(f.root.path(), "x.mp4", &bytes);
    let proven = f.upload(&asset(f.root.path(), "id", &["x.mp4"])).unwrap().remove(0);
    let pin = || f.targets.pin(&proven, &Stop::default()).unwrap();
    let Looked::AsProven(Pinned::Object(pinned)) = pin() else { panic!("{:?}", pin()) };
    for range in [0..10, 70_000..200_001, 299_999..300_000] {
        let read = f.targets.read(&pinned, range.clone()).unwrap().unwrap();
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(read == bytes[range]);
    }
    // As long as the one before.
    f.put(&proven.key, &noise(300_001)[1..]);
    assert_eq!(f.targets.read(&pinned, 0..10).unwrap(), None);
    assert!(matches!(pin(), Looked::Differs(_)), "{:?}", pin());
    f.targets.delete("cloud", &proven.key).unwrap();
    assert_eq!(f.targets.read(&pinned, 0..10).unwrap(), None);
    assert!(matches!(pin(), Looked::Differs(difference) if difference.is_missing));
}

#[test]
fn a_copy_in_a_directory_is_pinned_as_a_file_and_one_that_was_written_again_differs() {
    let dir = tempfile::tempdir().unwrap();
    let (root, base) = (dir.path().join("root"), dir.path().join("store"));
    fs::create_dir(&base).unwrap();
    write(&root, "x.mp4", &noise(5_000));
    let targets = disk_targets(&base);
    let asset = asset(&root, "id", &["x.mp4"]);
    let proven = targets.upload("disk", &asset, DATE, &Stop::default(), &|_| {}, &NullLedger).unwrap().remove(0);
    let pin = || targets.pin(&proven, &Stop::default()).unwrap();
    assert!(matches!(pin(), Looked::AsProven(Pinned::File { path, .. }) if path == base.join("x.mp4")));
    fs::write(base.join("x.mp4"), &noise(5_001)[1..]).unwrap();
    assert!(matches!(pin(), Looked::Differs(difference) if difference.when_read), "{:?}", pin());
}
