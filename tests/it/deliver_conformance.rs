//! What every back end must do, by one suite; a back end is added by one line.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use aftercast::deliver::{Cause, ChecksumMode, DeliverError, NullLedger, TargetOptions};
use aftercast::fault::{Class, Fault};
use aftercast::recording::RemoteObject;
use aftercast::stop::Stop;

use crate::support::assets::{MIB, MemoryLedger, asset, targets, upload, write_noise};
use crate::support::clients::see;
use crate::support::google::google;
use crate::support::http::{Request, Response};
use crate::support::memory;
use crate::support::stores::{azure, gcs, s3};
use crate::support::unruly::{Mischief, Unruly, refusing};

/// What is known of a back end.
struct Manner {
    /// Algorithms that small and large files are proven by. `None`: it reports none, so that nothing counts as proven, and
    /// what it holds is read back and compared here instead.
    proof: Option<[&'static str; 2]>,
    /// Whether uploads in parts can be told to stop and be continued.
    continues: bool,
    /// Whether another client can put an object whose upload is under way. (A directory is one program's alone, and the
    /// emulator of Azure takes blocks that are not committed for a blob.)
    can_be_overtaken: bool,
    /// Whether objects keep what they are given besides their bytes.
    keeps_metadata: bool,
}

const fn manner(small: &'static str, large: &'static str) -> Manner {
    Manner { proof: Some([small, large]), continues: true, can_be_overtaken: true, keeps_metadata: true }
}

#[test]
fn a_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let target = |name: &str| TargetOptions::new("cloud", &format!("file://{}/{name}", dir.path().display()));
    conform(
        target,
        &Manner { continues: false, can_be_overtaken: false, keeps_metadata: false, ..manner("blake3:", "blake3:") },
    );
}

#[test]
fn a_bucket_in_memory_conforms() {
    conform(memory::target, &Manner { proof: None, ..manner("", "") });
}

#[test]
fn s3_conforms() {
    let server = s3();
    conform(|name| server.bucket(&format!("conform-{name}")), &manner("crc64nvme:", "crc64nvme:"));
}

#[test]
fn s3_with_sha256_conforms() {
    let server = s3();
    // By its name, and not by an address that is known to be this machine: so every payload is signed, too.
    let endpoint = Some(format!("http://localhost:{}", server.address().port()));
    let target = |name: &str| TargetOptions {
        checksum: ChecksumMode::Sha256,
        endpoint: endpoint.clone(),
        ..server.bucket(&format!("sha-{name}"))
    };
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
    conform(target, &Manner { can_be_overtaken: false, ..manner("md5:", "crc64nvme-by-part:") });
}

#[test]
fn google_conforms() {
    let server = google();
    conform(|name| server.bucket(name), &manner("crc32c:", "crc32c:"));
}

#[test]
fn googles_interface_as_rclone_speaks_it_conforms() {
    let server = gcs();
    let manner = Manner { keeps_metadata: false, ..manner("md5:", "md5:") };
    conform(|name| server.bucket(&format!("conform-{name}")), &manner);
}

fn conform(target: impl Fn(&str) -> TargetOptions, manner: &Manner) {
    arrives_proven_and_is_adopted(&target("arrive"), manner);
    other_content_is_never_overwritten(target("other"));
    if manner.can_be_overtaken {
        what_comes_meanwhile_is_never_overwritten(target("meanwhile"));
    }
    if manner.keeps_metadata {
        an_object_says_what_it_is(target("attributes"));
    }
    two_that_want_one_key_have_one_each(&target("same"), manner);
    if manner.continues {
        what_was_stopped_is_continued(target("stop"), manner);
        what_changed_meanwhile_is_thrown_away(target("change"));
    }
    let checks = targets(target("doctor")).probe("cloud").unwrap();
    assert!(checks.iter().all(|c| c.ok), "{checks:?}");
}

fn arrives_proven_and_is_adopted(options: &TargetOptions, manner: &Manner) {
    let prefix = if options.url.starts_with("file:") { "" } else { "pre/" };
    let targets = targets(options.clone());
    let dir = tempfile::tempdir().unwrap();
    for (name, len, size) in [("a/ü & b.mp4", 1, 0), ("five.mp4", 5 * MIB, 0), ("many.mp4", 20 * MIB + 3, 1)] {
        let bytes = write_noise(dir.path(), name, len, 1);
        let asset = asset(dir.path(), name, &[name]);
        let object = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((object.key.as_str(), object.size_bytes), (format!("{prefix}{name}").as_str(), len as u64));
        is_proven(manner, options, &object, size, &bytes);
        assert_eq!(targets.verify(&object, true, &Stop::default()).unwrap(), None, "{object:?}");
        let again = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((again.key, again.etag), (object.key.clone(), object.etag.clone()));
        targets.delete("cloud", &object.key).unwrap();
        targets.delete("cloud", &object.key).unwrap();
        assert_eq!(targets.head("cloud", &object.key).unwrap(), None);
        let gone = targets.verify(&object, false, &Stop::default()).unwrap();
        assert!(gone.is_some_and(|gone| gone.is_missing && gone.words == "it is missing"));
    }
}

/// An object is proven in its store's manner; where that reports nothing, it holds the bytes and counts as not proven.
fn is_proven(manner: &Manner, options: &TargetOptions, object: &RemoteObject, size: usize, bytes: &[u8]) {
    if let Some(algorithms) = manner.proof {
        assert!(object.checksum_compared, "{object:?}");
        assert!(object.checksum.as_ref().unwrap().starts_with(algorithms[size]), "{object:?}");
    } else {
        assert!(!object.checksum_compared && object.checksum.is_none(), "{object:?}");
        assert!(see(options, &object.key).bytes == bytes, "{object:?}");
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

/// Another program takes the key after it was seen free and before the upload ends.
fn what_comes_meanwhile_is_never_overwritten(options: TargetOptions) {
    let (targets, elsewhere) = (targets(options.clone()), targets(options));
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 20 * MIB, 1);
    let ours = asset(dir.path(), "ours", &["x.mp4"]);
    let theirs_bytes = write_noise(&dir.path().join("their"), "x.mp4", 1000, 2);
    let theirs = asset(&dir.path().join("their"), "theirs", &["x.mp4"]);
    let has_come = std::sync::OnceLock::new();
    let comes = |_| {
        // What reports progress must not wait inside the runtime that reports it.
        let send =
            || std::thread::scope(|s| s.spawn(|| upload(&elsewhere, &theirs).unwrap().remove(0)).join().unwrap());
        has_come.get_or_init(send);
    };
    let rows = MemoryLedger::default();
    let object = targets.upload("cloud", &ours, "2026-03-04", &Stop::default(), &comes, &rows).unwrap().remove(0);
    let other = has_come.into_inner().expect("progress is told before the end");
    assert!(object.key.ends_with("x_1.mp4") && other.key.ends_with("x.mp4"), "{object:?} {other:?}");
    for (object, len) in [(&object, 20 * MIB), (&other, theirs_bytes.len())] {
        assert_eq!(object.size_bytes, len as u64);
        assert_eq!(targets.verify(object, true, &Stop::default()).unwrap(), None, "{object:?}");
    }
}

/// Two recordings of one name in two roots, at the same time, stopped in the middle and continued.
fn two_that_want_one_key_have_one_each(options: &TargetOptions, manner: &Manner) {
    let targets = targets(options.clone());
    let dir = tempfile::tempdir().unwrap();
    let rows = MemoryLedger::default();
    let assets: Vec<_> = [1, 2]
        .map(|seed| {
            let root = dir.path().join(seed.to_string());
            let bytes = write_noise(&root, "x.mp4", 33 * MIB, seed);
            (asset(&root, &format!("id-{seed}"), &["x.mp4"]), bytes)
        })
        .into();
    let cancel = Stop::default();
    let stop = |_| cancel.request();
    std::thread::scope(|scope| {
        for (asset, _) in &assets {
            scope.spawn(|| targets.upload("cloud", asset, "2026-03-04", &cancel, &stop, &rows));
        }
    });
    let go_on = |asset| {
        let run = |_| targets.upload("cloud", asset, "2026-03-04", &Stop::default(), &|_| {}, &rows);
        let is_told = |said: &Result<Vec<_>, DeliverError>| {
            // rclone now and then takes the last part after the end of its upload; the queue tries again.
            !said.as_ref().is_err_and(|error| error.cause() == Some(&Cause::PartsLost))
        };
        (0..5).map(run).find(is_told).expect("parts that were acknowledged are not lost each time").unwrap().remove(0)
    };
    let objects: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = assets.iter().map(|(asset, _)| scope.spawn(move || go_on(asset))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_ne!(objects[0].key, objects[1].key);
    for (object, (_, bytes)) in objects.iter().zip(&assets) {
        is_proven(manner, options, object, 1, bytes);
        assert_eq!(targets.verify(object, true, &Stop::default()).unwrap(), None, "{object:?}");
    }
    assert_eq!(targets.open_uploads("cloud", &NullLedger).unwrap_or_default(), []);
}

fn an_object_says_what_it_is(mut options: TargetOptions) {
    options.cache_control = Some("max-age=60".into());
    options.metadata.insert("origin".into(), "Wien".into());
    let targets = targets(options.clone());
    let dir = tempfile::tempdir().unwrap();
    for (name, len) in [("small.mp4", 1000), ("large.webm", 17 * MIB)] {
        let bytes = write_noise(dir.path(), name, len, 1);
        upload(&targets, &asset(dir.path(), name, &[name])).unwrap();
        let seen = see(&options, &format!("pre/{name}"));
        assert_eq!(seen.bytes, bytes);
        let content_type = if len == 1000 { "video/mp4" } else { "video/webm" };
        assert_eq!((seen.content_type.as_str(), seen.cache_control.as_str()), (content_type, "max-age=60"));
        let said = |name: &str| seen.metadata.get(name).map(String::as_str);
        assert_eq!([said("stream-id"), said("vod-id")], [Some("room %C3%BC"), Some(name)], "{seen:?}");
        assert_eq!(
            [said("origin"), said("duration-ms"), said("salvaged")],
            [Some("Wien"), Some("1500"), Some("false")]
        );
    }
}

/// A target behind a proxy that lies about what it holds, or that forgets conditions.
fn behind(options: &TargetOptions, proxy: &Unruly) -> TargetOptions {
    let account = if options.url.starts_with("az:") { "/devstoreaccount1" } else { "" };
    TargetOptions { endpoint: Some(format!("http://{}{account}", proxy.address)), ..options.clone() }
}

#[test]
fn no_store_that_lies_about_what_it_holds_is_believed() {
    let (s3, azure, google, rclone) = (s3(), azure(), google(), gcs());
    let stores = [
        (s3.bucket("lying"), s3.address(), Mischief::WrongChecksum),
        (azure.container("lying"), azure.address(), Mischief::WrongChecksum),
        (google.bucket("lying"), google.address, Mischief::WrongChecksum),
        (rclone.bucket("lying"), rclone.address(), Mischief::WrongEtag),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (honest, address, lie) in stores {
        for (lie, len) in [(lie, 1000), (lie, 17 * MIB), (Mischief::StoredNothing, 1000), (Mischief::WrongSize, 1000)] {
            let proxy = Unruly::on(address, move |_| Some(lie));
            let name = format!("{lie:?}-{len}.mp4");
            write_noise(dir.path(), &name, len, 1);
            let lying = targets(behind(&honest, &proxy));
            let said = upload(&lying, &asset(dir.path(), &name, &[&name]));
            assert!(!proxy.done().is_empty());
            let proven = said.as_ref().is_ok_and(|objects| objects[0].checksum_compared);
            assert!(!proven, "{} {lie:?} {len}: {said:?}", honest.url);
        }
    }
}

#[test]
fn where_conditions_are_ignored_nothing_is_overwritten_all_the_same() {
    let server = s3();
    let proxy = Unruly::on(server.address(), |_| Some(Mischief::IgnoresConditions));
    let careless = behind(&server.bucket("careless"), &proxy);
    what_comes_meanwhile_is_never_overwritten(careless.clone());
    let checks = targets(careless).probe("cloud").unwrap();
    let said = checks.iter().find(|c| c.name == "no overwriting").unwrap();
    assert!(said.ok && said.detail.contains("ignores conditional writes"), "{said:?}");
}

/// Uploads until a number of progress reports were heard; the bytes that were acknowledged.
fn stopped_after(
    targets: &aftercast::deliver::Targets,
    asset: &aftercast::recording::Asset,
    rows: &MemoryLedger,
) -> usize {
    let (cancel, acknowledged) = (Stop::default(), AtomicUsize::new(0));
    let stop = |bytes: u64| {
        acknowledged.fetch_add(usize::try_from(bytes).unwrap(), Ordering::Relaxed);
        cancel.request();
    };
    let error = targets.upload("cloud", asset, "2026-03-04", &cancel, &stop, rows).unwrap_err();
    assert_eq!(error.class(), Class::Cancelled);
    acknowledged.into_inner()
}

fn what_was_stopped_is_continued(mut options: TargetOptions, manner: &Manner) {
    options.bandwidth = Some(aftercast::deliver::Bandwidth::parse("200M").unwrap());
    let targets = targets(options.clone());
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_noise(dir.path(), "x.mp4", 100 * MIB, 1);
    let (asset, rows) = (asset(dir.path(), "id", &["x.mp4"]), MemoryLedger::default());
    let first = stopped_after(&targets, &asset, &rows);
    let reports = std::sync::Mutex::new(Vec::new());
    let note = |bytes: u64| reports.lock().unwrap().push(usize::try_from(bytes).unwrap());
    let object = targets.upload("cloud", &asset, "2026-03-04", &Stop::default(), &note, &rows).unwrap().remove(0);
    assert!(first > 0);
    assert_eq!(reports.into_inner().unwrap().iter().sum::<usize>(), 100 * MIB, "what was there counts, once");
    is_proven(manner, &options, &object, 1, &bytes);
    assert_eq!(targets.open_uploads("cloud", &NullLedger).unwrap_or_default(), []);
    targets.forget("id", &[object], &rows).unwrap();
    assert!(rows.is_empty());
}

fn what_changed_meanwhile_is_thrown_away(mut options: TargetOptions) {
    options.bandwidth = Some(aftercast::deliver::Bandwidth::parse("200M").unwrap());
    let targets = targets(options);
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 100 * MIB, 1);
    let (before, rows) = (asset(dir.path(), "id", &["x.mp4"]), MemoryLedger::default());
    stopped_after(&targets, &before, &rows);
    OpenOptions::new().append(true).open(dir.path().join("x.mp4")).unwrap().write_all(b"more").unwrap();
    let changed = targets.upload("cloud", &before, "2026-03-04", &Stop::default(), &|_| {}, &rows).unwrap_err();
    assert!(matches!(changed, DeliverError::SourceChanged { .. }), "{changed:?}");
    assert_eq!(targets.abort_stale(&rows, &|_, _| true).unwrap(), 1);
    assert!(rows.is_empty());
    assert_eq!(targets.open_uploads("cloud", &NullLedger).unwrap_or_default(), []);
    let after = asset(dir.path(), "id", &["x.mp4"]);
    let object = targets.upload("cloud", &after, "2026-03-04", &Stop::default(), &|_| {}, &rows).unwrap().remove(0);
    assert_eq!(object.size_bytes, 100 * MIB as u64 + 4);
}

/// The store acknowledged all parts, and says at the end that it does not have them.
#[test]
fn parts_that_the_store_lost_are_all_sent_again() {
    let (server, azure_server) = (s3(), azure());
    let (s3, azure) = (server.bucket("forgetful"), azure_server.container("forgetful"));
    for (honest, address, code) in
        [(s3, server.address(), "InvalidPart"), (azure, azure_server.address(), "InvalidBlockList")]
    {
        let has_refused = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let forgetful = refusing(address, move |request: &Request| {
            let is_end = (request.method == "POST" && request.query("uploadId").is_some())
                || request.query("comp").is_some_and(|comp| comp == "blocklist");
            (is_end && !has_refused.swap(true, Ordering::SeqCst)).then(|| Response::error(400, code))
        });
        let account = if honest.url.starts_with("az:") { "/devstoreaccount1" } else { "" };
        let endpoint = Some(format!("http://{forgetful}{account}"));
        let targets = targets(TargetOptions { endpoint, ..honest.clone() });
        let dir = tempfile::tempdir().unwrap();
        let bytes = write_noise(dir.path(), "x.mp4", 33 * MIB, 1);
        let (asset, rows) = (asset(dir.path(), "id", &["x.mp4"]), MemoryLedger::default());
        let sent = AtomicUsize::new(0);
        let count = |bytes: u64| {
            sent.fetch_add(usize::try_from(bytes).unwrap(), Ordering::Relaxed);
        };
        let run = || targets.upload("cloud", &asset, "2026-03-04", &Stop::default(), &count, &rows);
        let error = run().unwrap_err();
        assert_eq!((error.cause(), error.class()), (Some(&Cause::PartsLost), Class::Transient), "{error:?}");
        assert!(rows.is_empty(), "nothing is continued");
        let object = run().unwrap().remove(0);
        assert_eq!(sent.load(Ordering::Relaxed), 2 * 33 * MIB);
        assert!(see(&honest, &object.key).bytes == bytes);
        assert_eq!(targets.open_uploads("cloud", &NullLedger).unwrap_or_default(), []);
    }
}

#[test]
fn googles_refusals_are_said_in_words() {
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
