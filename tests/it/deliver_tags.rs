//! Stores whose entity tags look like an MD5 and are none, and stores whose every word is wrong: no copy after copy.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use aftercast::deliver::{TargetOptions, Targets};
use aftercast::recording::{Asset, RemoteObject};
use aftercast::stop::Stop;

use crate::support::assets::{MIB, MemoryLedger, asset, targets, upload, write_noise};
use crate::support::clients::see;
use crate::support::http::{Request, forward, read_request, reply, serve};
use crate::support::recordings::padded;
use crate::support::stores::{S3, keys_in, s3};
use crate::support::{Sandbox, config_with_targets, tree};

/// How a gateway in front of a store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags {
    /// Every object has a random tag that it keeps.
    OfEachObject,
    /// Every answer has another tag.
    OfEachAnswer,
    /// The same, and size and metadata of an object are wrong, too.
    AllLies,
}

/// A text in the place of another of its length, wherever it stands in the head of an answer.
fn replaced(bytes: &mut [u8], old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let head_len = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = &mut bytes[..head_len];
    for at in 0..head.len().saturating_sub(old.len()) {
        if head[at..at + old.len()].eq_ignore_ascii_case(old.as_bytes()) {
            head[at..at + old.len()].copy_from_slice(new.as_bytes());
        }
    }
}

/// Puts a tag in the place of the one behind a mark, in the header or in the body; a `-N` behind it stays.
fn tagged(bytes: &mut [u8], mark: &str, tag: &str) {
    let lower = bytes.to_ascii_lowercase();
    let Some(at) = lower.windows(mark.len()).position(|w| w == mark.as_bytes()) else { return };
    let is_tag = |at: &usize| bytes[*at..*at + 32].iter().all(u8::is_ascii_hexdigit);
    if let Some(at) = (at + mark.len()..bytes.len().saturating_sub(32).min(at + mark.len() + 8)).find(is_tag) {
        bytes[at..at + 32].copy_from_slice(tag.as_bytes());
    }
}

fn answer_of(server: SocketAddr, request: &Request, tags: Tags, count: &AtomicU64) -> Vec<u8> {
    let mut bytes = forward(server, request).unwrap_or_default();
    if request.query("partNumber").is_some() {
        return bytes;
    }
    // The gateway knows no checksums.
    replaced(&mut bytes, "x-amz-checksum", "x-amz-nochecks");
    let seed = match tags {
        Tags::OfEachObject => request.path().to_owned(),
        _ => count.fetch_add(1, Ordering::SeqCst).to_string(),
    };
    let tag = blake3::hash(seed.as_bytes()).to_hex()[..32].to_owned();
    tagged(&mut bytes, "\r\netag:", &tag);
    tagged(&mut bytes, "<etag>", &tag);
    if tags == Tags::AllLies && request.method == "HEAD" {
        replaced(&mut bytes, "x-amz-meta", "x-amz-lost");
        let lower = bytes.to_ascii_lowercase();
        let length = b"\r\ncontent-length: ";
        if let Some(at) = lower.windows(length.len()).position(|w| w == length) {
            let digit = &mut bytes[at + length.len()];
            *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
        }
    }
    bytes
}

fn gateway(server: &S3, target: &TargetOptions, tags: Tags) -> TargetOptions {
    let (address, count) = (server.address(), Arc::new(AtomicU64::new(0)));
    let gateway = serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        reply(&client, &answer_of(address, &request, tags, &count));
    });
    TargetOptions { endpoint: Some(format!("http://{gateway}")), ..target.clone() }
}

fn upload_noting(targets: &Targets, asset: &Asset, rows: &MemoryLedger) -> Vec<RemoteObject> {
    targets.upload("cloud", asset, "2026-03-04", &Stop::default(), &|_| {}, rows).unwrap()
}

fn keys(server: &S3, bucket: &str) -> Vec<String> {
    keys_in(server.address(), bucket).into_iter().collect()
}

#[test]
fn five_files_with_random_tags_are_five_objects_however_often_they_are_delivered() {
    let server = s3();
    for (bucket, tags) in [("tags-kept", Tags::OfEachObject), ("tags-changing", Tags::OfEachAnswer)] {
        let honest = server.bucket(bucket);
        let target = gateway(&server, &honest, tags);
        let (root, rows) = (tempfile::tempdir().unwrap(), MemoryLedger::default());
        let file = |n: usize| {
            let name = format!("take{n}.mp4");
            write_noise(root.path(), &name, if n == 4 { 17 * MIB } else { 1000 + n }, n as u64);
            asset(root.path(), &name, &[&name])
        };
        let assets: Vec<_> = (0..5).map(file).collect();
        let expected: Vec<_> = (0..5).map(|n| format!("pre/take{n}.mp4")).collect();
        // The second process knows what the first one found, the third knows nothing.
        for ledger in [&rows, &rows, &MemoryLedger::default()] {
            let targets = targets(target.clone());
            for asset in &assets {
                let object = upload_noting(&targets, asset, ledger).remove(0);
                assert!(!object.checksum.is_some_and(|checksum| checksum.starts_with("md5")), "{tags:?}");
            }
            assert_eq!(keys(&server, bucket), expected, "{tags:?}");
        }
    }
}

#[test]
fn where_tags_prove_nothing_other_content_is_told_by_our_own_checksum_or_by_its_bytes() {
    let server = s3();
    let honest = server.bucket("tags-other");
    let target = gateway(&server, &honest, Tags::OfEachObject);
    let (root, rows, targets) = (tempfile::tempdir().unwrap(), MemoryLedger::default(), targets(target));
    for (name, has_ours) in [("first.mp4", false), ("second.mp4", true)] {
        write_noise(root.path(), name, 5000, 1);
        upload_noting(&targets, &asset(root.path(), "same-id", &[name]), &rows);
        let ours = see(&honest, &format!("pre/{name}")).metadata.get("crc64nvme").cloned();
        assert_eq!(ours.is_some(), has_ours, "{name}: it is known after the first one");
        let again = upload_noting(&targets, &asset(root.path(), "same-id", &[name]), &rows).remove(0);
        // What was sent is known by our checksum, what arrived by its bytes alone.
        assert_eq!((again.key, again.checksum_compared), (format!("pre/{name}"), !has_ours));
        let other = write_noise(root.path(), name, 5000, 2);
        let key = upload_noting(&targets, &asset(root.path(), "same-id", &[name]), &rows).remove(0).key;
        assert_eq!(key, format!("pre/{}", name.replace(".mp4", "_1.mp4")));
        assert_eq!(see(&honest, &key).bytes, other);
    }
}

#[test]
fn a_store_whose_every_word_is_wrong_gets_two_numbered_copies_of_one_recording_and_is_named() {
    const MOST: usize = 3;
    let server = s3();
    let honest = server.bucket("tags-lies");
    let target = gateway(&server, &honest, Tags::AllLies);
    let configure = |dir: &Path, target| config_with_targets(dir, &[target], "[retain]\ndelete_local = \"delivered\"");
    let sandbox = Sandbox::with_config(|dir| configure(dir, &target));
    let put = |name: &str| std::fs::write(sandbox.root().join(name), padded(name, 0)).unwrap();
    put("take.mp4");
    assert!(sandbox.process().code() != 0);
    let mut waits = 0;
    for n in 0..40 {
        if waits == 1 {
            // The next recording is the most urgent one from now on.
            put(&format!("later{n}.mp4"));
        }
        sandbox.run(&["queue", "retry"]);
        sandbox.process();
        let queue = sandbox.run(&["queue", "list"]);
        waits += usize::from(queue.out.contains("checksums cannot be trusted"));
        if waits == 4 {
            break;
        }
    }
    assert_eq!(waits, 4, "{}", sandbox.run(&["queue", "list"]).out);
    assert_eq!(keys(&server, "tags-lies").len(), MOST, "{:?}", keys(&server, "tags-lies"));
    let files = tree(&sandbox.root()).len();
    assert!(files > 1);

    // The store was mended, and its operator has cleared away what it had taken.
    for key in keys(&server, "tags-lies") {
        targets(honest.clone()).delete("cloud", &key).unwrap();
    }
    std::fs::write(sandbox.path().join("config.toml"), configure(sandbox.path(), &honest)).unwrap();
    sandbox.run(&["queue", "retry"]).expect_code(0);
    sandbox.process().expect_code(0);
    assert_eq!((keys(&server, "tags-lies").len(), tree(&sandbox.root()).len()), (files, 0));
}

#[test]
fn changing_tags_make_no_copies_although_files_would_be_freed_and_size_is_enough_only_where_it_may_be() {
    const FILES: usize = 5;
    let server = s3();
    let honest = server.bucket("tags-freeing");
    let target = gateway(&server, &honest, Tags::OfEachAnswer);
    let configure = |dir: &Path, more: &str| {
        config_with_targets(dir, &[&target], &format!("[retain]\ndelete_local = \"delivered\"\n{more}"))
    };
    let sandbox = Sandbox::with_config(|dir| configure(dir, ""));
    for n in 0..FILES {
        let name = format!("take{n}.mp4");
        std::fs::write(sandbox.root().join(&name), padded(&name, n)).unwrap();
    }
    for _ in 0..3 {
        sandbox.process().expect_code(0);
        sandbox.run(&["retain"]).expect_code(0);
    }
    assert_eq!((tree(&sandbox.root()).len(), keys(&server, "tags-freeing").len()), (FILES, FILES));
    std::fs::write(sandbox.path().join("config.toml"), configure(sandbox.path(), "accept_size_only = true")).unwrap();
    sandbox.run(&["retain"]).expect_code(0);
    assert_eq!((tree(&sandbox.root()).len(), keys(&server, "tags-freeing").len()), (0, FILES));
}

#[test]
fn an_object_of_another_is_adopted_by_its_bytes_and_not_by_what_the_store_says() {
    let server = s3();
    let honest = server.bucket("tags-foreign");
    let root = tempfile::tempdir().unwrap();
    for (name, seed) in [("ours.mp4", 1), ("foreign.mp4", 2), ("same.mp4", 1)] {
        write_noise(root.path(), name, 3000, seed);
        upload(&targets(honest.clone()), &asset(root.path(), "foreign-id", &[name])).unwrap();
    }
    let (address, reads) = (server.address(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&reads);
    let gateway = serve(move |client| {
        let Some(mut request) = read_request(&client, |_, length| length) else { return };
        counted.fetch_add(usize::from(request.method == "GET"), Ordering::SeqCst);
        // Of one object it says what is true of another. The signature covers the path, and anybody may read.
        if request.method == "HEAD" && request.path().ends_with("/foreign.mp4") {
            request.target = request.target.replace("foreign.mp4", "ours.mp4");
            request.headers.retain(|(name, _)| name != "authorization");
        }
        reply(&client, &forward(address, &request).unwrap_or_default());
    });
    let target = TargetOptions { endpoint: Some(format!("http://{gateway}")), ..honest };
    let deliver = |name: &str| {
        write_noise(root.path(), name, 3000, 1);
        upload(&targets(target.clone()), &asset(root.path(), "our-id", &[name])).unwrap().remove(0)
    };
    let same = deliver("same.mp4");
    assert_eq!((same.key.as_str(), same.checksum_compared), ("pre/same.mp4", true));
    assert_eq!(reads.load(Ordering::SeqCst), 1, "it was read back");
    assert_eq!(deliver("foreign.mp4").key, "pre/foreign_1.mp4");
    assert_eq!(deliver("foreign.mp4").key, "pre/foreign_1.mp4", "and ours is known by its id");
    assert_eq!(reads.load(Ordering::SeqCst), 3);
}
