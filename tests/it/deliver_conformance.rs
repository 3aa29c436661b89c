//! What every back end must do, by one suite; a back end is added by one line.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aftercast::deliver::{ChecksumMode, DeliverError, NoLedger, TargetOptions};
use aftercast::fault::{Class, Fault};

use crate::support::assets::{MIB, Rows, asset, targets, upload, write_noise};
use crate::support::google::google;
use crate::support::stores::{azure, gcs, s3};

/// What is known of a back end.
struct Manner {
    /// Algorithms that small and large files are proven by.
    proof: [&'static str; 2],
    /// Whether uploads in parts can be told to stop and be continued.
    continues: bool,
}

const fn manner(small: &'static str, large: &'static str) -> Manner {
    Manner { proof: [small, large], continues: true }
}

#[test]
fn a_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let target = |name: &str| TargetOptions::new("cloud", &format!("file://{}/{name}", dir.path().display()));
    conform(target, &Manner { proof: ["blake3:", "blake3:"], continues: false });
}

#[test]
fn s3_conforms() {
    let server = s3();
    conform(|name| server.bucket(&format!("conform-{name}")), &manner("crc64nvme:", "crc64nvme:"));
}

#[test]
fn s3_with_sha256_conforms() {
    let server = s3();
    let target = |name: &str| TargetOptions { checksum: ChecksumMode::Sha256, ..server.bucket(&format!("sha-{name}")) };
    conform(target, &manner("sha256:", "sha256-of-parts:"));
}

#[test]
fn s3_with_md5_tags_an_acl_and_small_parts_conforms() {
    let server = s3();
    let target = |name: &str| {
        let mut options = TargetOptions { checksum: ChecksumMode::Md5, ..server.bucket(&format!("md5-{name}")) };
        options.tags.insert("retention".into(), "1 y".into());
        options.acl = Some("private".into());
        options.part_bytes = 5 * MIB as u64;
        options.concurrency = 2;
        options
    };
    conform(target, &manner("md5:", "md5-of-parts:"));
}

#[test]
fn azure_conforms() {
    let server = azure();
    let target = |name: &str| {
        let mut options = server.container(&format!("conform-{name}"));
        options.tags.insert("retention".into(), "1y".into());
        options.cache_control = Some("max-age=60".into());
        options
    };
    conform(target, &manner("md5:", "crc64nvme-by-part:"));
}

#[test]
fn google_conforms() {
    let server = google();
    conform(|name| server.bucket(name), &manner("crc32c:", "crc32c:"));
}

#[test]
fn googles_interface_as_rclone_speaks_it_conforms() {
    let server = gcs();
    conform(|name| server.bucket(&format!("conform-{name}")), &manner("md5:", "md5:"));
}

fn conform(target: impl Fn(&str) -> TargetOptions, manner: &Manner) {
    arrives_proven_and_is_adopted(target("arrive"), manner);
    other_content_is_never_overwritten(target("other"));
    if manner.continues {
        what_was_stopped_is_continued(target("stop"), manner);
        what_changed_meanwhile_is_thrown_away(target("change"));
    }
    let checks = targets(target("doctor")).probe("cloud").unwrap();
    assert!(checks.iter().all(|c| c.ok), "{checks:?}");
}

fn arrives_proven_and_is_adopted(options: TargetOptions, manner: &Manner) {
    let prefix = if options.url.starts_with("file:") { "" } else { "pre/" };
    let targets = targets(options);
    let dir = tempfile::tempdir().unwrap();
    for (name, len, algorithm) in [
        ("a/ü & b.mp4", 1, manner.proof[0]),
        ("five.mp4", 5 * MIB, manner.proof[0]),
        ("many.mp4", 20 * MIB + 3, manner.proof[1]),
    ] {
        write_noise(dir.path(), name, len, 1);
        let asset = asset(dir.path(), name, &[name]);
        let object = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((object.key.as_str(), object.size_bytes), (format!("{prefix}{name}").as_str(), len as u64));
        assert!(object.checksum_compared, "{object:?}");
        assert!(object.checksum.as_ref().unwrap().starts_with(algorithm), "{object:?}");
        assert_eq!(targets.verify(&object, true, &AtomicBool::new(false)).unwrap(), None, "{object:?}");
        let again = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((again.key, again.etag), (object.key.clone(), object.etag.clone()));
        targets.delete("cloud", &object.key).unwrap();
        targets.delete("cloud", &object.key).unwrap();
        assert_eq!(targets.head("cloud", &object.key).unwrap(), None);
        let gone = targets.verify(&object, false, &AtomicBool::new(false)).unwrap();
        assert_eq!(gone.as_deref(), Some("it is missing"));
    }
}

fn other_content_is_never_overwritten(options: TargetOptions) {
    let targets = targets(options);
    let dir = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    for (seed, len) in [(1, 1000), (2, 1000), (3, 17 * MIB)] {
        write_noise(dir.path(), "x.mp4", len, seed);
        let object = upload(&targets, &asset(dir.path(), &seed.to_string(), &["x.mp4"])).unwrap().remove(0);
        keys.push(object.key.trim_start_matches("pre/").to_owned());
    }
    assert_eq!(keys, ["x.mp4", "x_1.mp4", "x_2.mp4"]);
}

/// Uploads until a number of progress reports were heard; the bytes that were acknowledged.
fn stopped_after(targets: &aftercast::deliver::Targets, asset: &aftercast::recording::Asset, rows: &Rows) -> usize {
    let (cancel, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let stop = |bytes: u64| {
        acknowledged.fetch_add(usize::try_from(bytes).unwrap(), Ordering::Relaxed);
        cancel.store(true, Ordering::Relaxed);
    };
    let error = targets.upload("cloud", asset, "2026-03-04", &cancel, &stop, rows).unwrap_err();
    assert_eq!(error.class(), Class::Cancelled);
    acknowledged.into_inner()
}

fn what_was_stopped_is_continued(mut options: TargetOptions, manner: &Manner) {
    options.bandwidth = Some(aftercast::deliver::Bandwidth::parse("200M").unwrap());
    let targets = targets(options);
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 100 * MIB, 1);
    let (asset, rows) = (asset(dir.path(), "id", &["x.mp4"]), Rows::default());
    let first = stopped_after(&targets, &asset, &rows);
    let reports = std::sync::Mutex::new(Vec::new());
    let note = |bytes: u64| reports.lock().unwrap().push(usize::try_from(bytes).unwrap());
    let object =
        targets.upload("cloud", &asset, "2026-03-04", &AtomicBool::new(false), &note, &rows).unwrap().remove(0);
    assert!(first > 0);
    assert_eq!(reports.into_inner().unwrap().iter().sum::<usize>(), 100 * MIB, "what was there counts, once");
    assert!(object.checksum.as_ref().unwrap().starts_with(manner.proof[1]), "{object:?}");
    assert_eq!(targets.open_uploads("cloud", &NoLedger).unwrap_or_default(), []);
    targets.forget("id", &[object], &rows).unwrap();
    assert!(rows.is_empty());
}

fn what_changed_meanwhile_is_thrown_away(mut options: TargetOptions) {
    options.bandwidth = Some(aftercast::deliver::Bandwidth::parse("200M").unwrap());
    let targets = targets(options);
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 100 * MIB, 1);
    let (before, rows) = (asset(dir.path(), "id", &["x.mp4"]), Rows::default());
    stopped_after(&targets, &before, &rows);
    OpenOptions::new().append(true).open(dir.path().join("x.mp4")).unwrap().write_all(b"more").unwrap();
    let changed = targets.upload("cloud", &before, "2026-03-04", &AtomicBool::new(false), &|_| {}, &rows).unwrap_err();
    assert!(matches!(changed, DeliverError::SourceChanged { .. }), "{changed:?}");
    assert_eq!(targets.abort_stale(&rows, &|_, _| true).unwrap(), 1);
    assert!(rows.is_empty());
    assert_eq!(targets.open_uploads("cloud", &NoLedger).unwrap_or_default(), []);
    let after = asset(dir.path(), "id", &["x.mp4"]);
    let object =
        targets.upload("cloud", &after, "2026-03-04", &AtomicBool::new(false), &|_| {}, &rows).unwrap().remove(0);
    assert_eq!(object.size_bytes, 100 * MIB as u64 + 4);
}

#[test]
fn googles_refusals_are_said_in_words() {
    use aftercast::deliver::Cause;
    let server = google();
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 1000, 1);
    let cause = |bucket: &str| {
        let error = upload(&targets(server.bucket(bucket)), &asset(dir.path(), "id", &["x.mp4"])).unwrap_err();
        assert_eq!(error.class(), Class::Environment, "{error:?}");
        error.cause().unwrap().clone()
    };
    assert_eq!(cause("locked"), Cause::WrongSecret);
    assert_eq!(cause("denied"), Cause::Denied { permission: "storage.objects.create".into() });
}
