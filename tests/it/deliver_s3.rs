//! Delivery to a real S3 server.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Arc, Mutex};

use aftercast::deliver::{Cause, DeliverError, Encryption, NullLedger, TargetOptions};
use aftercast::fault::{Class, Fault};
use aftercast::stop::Stop;

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::http::{Request, Response};
use crate::support::stores::{ACCESS_KEY, READER_KEY, READER_SECRET, SECRET_KEY, free_port, s3};
use crate::support::tap::{Fault as LineFault, Tap};
use crate::support::unruly::refusing;

fn tapped(options: &TargetOptions, tap: &Tap) -> TargetOptions {
    TargetOptions { endpoint: Some(format!("http://{}", tap.address)), ..options.clone() }
}

#[test]
fn a_small_and_a_large_file_arrive_with_a_compared_checksum_and_are_adopted_by_one_request_each() {
    let server = s3();
    let tap = Tap::on(server.address());
    let mut options = tapped(&server.bucket("sizes"), &tap);
    options.cache_control = Some("max-age=60".into());
    options.metadata.insert("origin".into(), "Wien".into());
    let targets = targets(options);
    let dir = tempfile::tempdir().unwrap();
    for (name, len) in [("a/five.mp4", 5 * MIB), ("forty.mp4", 40 * MIB + 3), ("empty.mp4", 0)] {
        write_noise(dir.path(), name, len, 1);
        let asset = asset(dir.path(), name, &[name]);
        let object = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!((object.key.as_str(), object.size_bytes), (format!("pre/{name}").as_str(), len as u64));
        assert!(object.checksum_compared, "{object:?}");
        assert!(object.checksum.as_ref().unwrap().starts_with("crc64nvme:"), "{object:?}");
        assert!(targets.head("cloud", &object.key).unwrap().unwrap().agrees_with(&object));

        tap.take();
        let again = upload(&targets, &asset).unwrap().remove(0);
        assert_eq!(tap.take(), [format!("HEAD /sizes/pre/{name}")]);
        assert_eq!((again.etag, again.checksum), (object.etag, object.checksum));
    }
}

#[test]
fn other_content_under_the_key_gets_a_number_and_nothing_is_overwritten() {
    let server = s3();
    let targets = targets(server.bucket("numbers"));
    let dir = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    for (seed, len) in [(1, 1000), (2, 1000), (3, 20 * MIB)] {
        write_noise(dir.path(), "x.mp4", len, seed);
        let object = upload(&targets, &asset(dir.path(), &seed.to_string(), &["x.mp4"])).unwrap().remove(0);
        assert_eq!(targets.head("cloud", &object.key).unwrap().unwrap().size_bytes, len as u64);
        keys.push(object.key);
    }
    assert_eq!(keys, ["pre/x.mp4", "pre/x_1.mp4", "pre/x_2.mp4"]);
}

#[test]
fn of_a_unit_the_playlist_comes_last() {
    let server = s3();
    let tap = Tap::on(server.address());
    let targets = targets(tapped(&server.bucket("unit"), &tap));
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..9).map(|i| format!("live/room1{i:09}.ts")).chain(["live/room1.m3u8".into()]).collect();
    for (seed, name) in (0..).zip(&names) {
        write_noise(dir.path(), name, 3000, seed);
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let objects = upload(&targets, &asset(dir.path(), "unit", &names)).unwrap();
    let keys: Vec<_> = objects.iter().map(|o| o.key.strip_prefix("pre/").unwrap()).collect();
    assert_eq!(keys, names);
    assert!(objects.iter().all(|o| o.checksum_compared));
    let puts: Vec<_> = tap.take().into_iter().filter(|r| r.starts_with("PUT /unit/pre/live/")).collect();
    assert_eq!(puts.len(), 10, "{puts:?}");
    assert_eq!(puts[9], "PUT /unit/pre/live/room1.m3u8");
}

#[test]
fn a_source_that_changes_during_the_upload_leaves_no_object_and_no_open_upload() {
    let server = s3();
    let tap = Tap::on(server.address());
    let targets = targets(tapped(&server.bucket("changes"), &tap));
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 40 * MIB, 1);
    let asset = asset(dir.path(), "id", &["x.mp4"]);
    let path = dir.path().join("x.mp4");
    let append = |_| OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    let error = targets.upload("cloud", &asset, "2026-03-04", &Stop::default(), &append, &NullLedger).unwrap_err();
    assert!(matches!(error, DeliverError::SourceChanged { .. }), "{error}");
    assert_eq!(targets.head("cloud", "pre/x.mp4").unwrap(), None);
    let aborts = tap.take().into_iter().filter(|r| r.starts_with("DELETE ") && r.contains("uploadId=")).count();
    assert_eq!(aborts, 1);
}

#[test]
fn an_upload_that_is_told_to_stop_is_aborted() {
    let server = s3();
    let tap = Tap::on(server.address());
    let targets = targets(tapped(&server.bucket("stops"), &tap));
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 120 * MIB, 1);
    let cancel = Stop::default();
    let stop = |_| cancel.request();
    let asset = asset(dir.path(), "id", &["x.mp4"]);
    let error = targets.upload("cloud", &asset, "2026-03-04", &cancel, &stop, &NullLedger).unwrap_err();
    assert_eq!(error.class(), Class::Cancelled);
    assert_eq!(targets.head("cloud", "pre/x.mp4").unwrap(), None);
    assert!(tap.take().iter().any(|r| r.starts_with("DELETE ") && r.contains("uploadId=")));
}

#[test]
fn a_lost_answer_to_the_last_request_is_settled_by_looking() {
    let server = s3();
    let options = server.bucket("lost");
    let dir = tempfile::tempdir().unwrap();
    for (name, len, last) in [("one.mp4", MIB, "PUT /lost/pre/one.mp4"), ("many.mp4", 20 * MIB, "?uploadId=")] {
        let tap = Tap::on(server.address());
        let targets = targets(tapped(&options, &tap));
        write_noise(dir.path(), name, len, 1);
        tap.spoil(LineFault::AnswerLost, last);
        let object = upload(&targets, &asset(dir.path(), name, &[name])).unwrap().remove(0);
        assert_eq!((object.key, object.checksum_compared), (format!("pre/{name}"), true));
    }
}

#[test]
fn what_is_damaged_on_the_way_never_counts_as_delivered() {
    let server = s3();
    let options = server.bucket("damage");
    let dir = tempfile::tempdir().unwrap();
    for (name, len) in [("one.mp4", MIB), ("many.mp4", 20 * MIB)] {
        let tap = Tap::on(server.address());
        let targets = targets(tapped(&options, &tap));
        write_noise(dir.path(), name, len, 1);
        tap.spoil(LineFault::BitFlipped, "PUT /damage");
        let error = upload(&targets, &asset(dir.path(), name, &[name])).unwrap_err();
        assert_eq!((error.cause(), error.class()), (Some(&Cause::Corrupted), Class::Transient), "{error:?}");
        assert_eq!(targets.head("cloud", &format!("pre/{name}")).unwrap(), None);
    }
}

/// The cause that the first upload of a small file to a target ends with.
fn cause_at(options: TargetOptions) -> (Cause, DeliverError) {
    let dir = tempfile::tempdir().unwrap();
    write_noise(dir.path(), "x.mp4", 1000, 1);
    let error = upload(&targets(options), &asset(dir.path(), "id", &["x.mp4"])).unwrap_err();
    assert!(error.hint().unwrap().starts_with("The recording is safe on the local disk."), "{error:?}");
    (error.cause().unwrap().clone(), error)
}

#[test]
fn what_an_operator_got_wrong_is_said_in_words() {
    let server = s3();
    server.bucket("words");
    let wrong_secret = cause_at(server.target("words", ACCESS_KEY, "wrong"));
    let unknown_key = cause_at(server.target("words", "nobody", SECRET_KEY));
    let no_bucket = cause_at(server.target("nowhere", ACCESS_KEY, SECRET_KEY));
    let (denied, error) = cause_at(server.target("words", READER_KEY, READER_SECRET));
    assert_eq!(no_bucket.0, Cause::NoSuchBucket);
    assert_eq!(denied, Cause::Denied { permission: "s3:PutObject".into() });
    assert_eq!(error.class(), Class::Environment);
    assert_eq!((wrong_secret.0, wrong_secret.1.class()), (Cause::WrongSecret, Class::Environment));
    assert_eq!((unknown_key.0, unknown_key.1.class()), (Cause::UnknownKeyId, Class::Environment));
}

#[test]
fn an_unreachable_store_is_transient_and_says_how() {
    let server = s3();
    let mut options = server.target("words", ACCESS_KEY, SECRET_KEY);
    options.endpoint = Some(format!("http://127.0.0.1:{}", free_port()));
    let (cause, error) = cause_at(options.clone());
    assert_eq!((cause, error.class()), (Cause::Refused, Class::Transient));
    options.endpoint = Some("http://store.invalid:9000".into());
    assert_eq!(cause_at(options.clone()).0, Cause::Dns);
    options.endpoint = Some(format!("https://{}", server.address()));
    assert_eq!(cause_at(options).0, Cause::EndpointIsHttp);
}

#[test]
fn the_doctor_finds_everything_allowed_or_names_what_is_not() {
    let server = s3();
    let checks = targets(server.bucket("doctor")).probe("cloud").unwrap();
    assert!(checks.iter().all(|c| c.ok), "{checks:?}");
    let reader = targets(server.target("doctor", READER_KEY, READER_SECRET)).probe("cloud").unwrap();
    let write = reader.iter().find(|c| c.name == "write").unwrap();
    assert!(!write.ok && write.hint.as_ref().unwrap().contains("s3:PutObject"), "{write:?}");
    assert!(reader.iter().find(|c| c.name == "list").unwrap().ok, "{reader:?}");
    let wrong = targets(server.target("doctor", ACCESS_KEY, "wrong")).probe("cloud").unwrap();
    assert!(wrong[0].detail.contains("the secret is wrong"), "{wrong:?}");
    let unknown = targets(server.target("doctor", "nobody", SECRET_KEY)).probe("cloud").unwrap();
    assert!(unknown[0].detail.contains("the access key id is unknown"), "{unknown:?}");
}

#[test]
fn what_a_target_asks_for_stands_in_the_request_that_makes_the_object() {
    let server = s3();
    let mut options = server.bucket("asked-for");
    options.encryption = Encryption::Kms(Some("arn:aws:kms:eu-central-1:1:key/k".into()));
    options.storage_class = Some("STANDARD_IA".into());
    options.acl = Some("bucket-owner-full-control".into());
    options.cache_control = Some("max-age=60".into());
    options.tags.insert("retention".into(), "1 y".into());
    options.metadata.insert("origin".into(), "Wien".into());
    let expected = [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:eu-central-1:1:key/k"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-tagging", "retention=1+y"),
        ("x-amz-meta-origin", "Wien"),
        ("x-amz-meta-vod-id", "id"),
        ("cache-control", "max-age=60"),
        ("content-type", "video/mp4"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for len in [1000, 17 * MIB] {
        write_noise(dir.path(), "x.mp4", len, 1);
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let keeps = Arc::clone(&seen);
        // Not every server takes all of this: the request is kept, and refused.
        let address = refusing(server.address(), move |request: &Request| {
            let makes = request.path().ends_with("/x.mp4") && request.method != "HEAD";
            makes.then(|| keeps.lock().unwrap().push(request.clone())).map(|()| Response::error(403, "AccessDenied"))
        });
        let target = TargetOptions { endpoint: Some(format!("http://{address}")), ..options.clone() };
        upload(&targets(target), &asset(dir.path(), "id", &["x.mp4"])).unwrap_err();
        let seen = seen.lock().unwrap();
        let request = seen.first().unwrap();
        assert_eq!(request.method, if len == 1000 { "PUT" } else { "POST" });
        for (name, value) in expected {
            assert_eq!(request.header(name), Some(value), "{name} {request:?}");
        }
    }
}
