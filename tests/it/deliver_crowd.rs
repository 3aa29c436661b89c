//! How much is on the way to a store at once: never more than was said, and as much where there is enough to do.

use std::fs;

use aftercast::deliver::TargetOptions;

use crate::support::assets::{MIB, asset, targets, upload, write_noise};
use crate::support::crowd::Crowd;
use crate::support::recordings::padded;
use crate::support::stores::{S3, s3};
use crate::support::{Sandbox, config_with_targets};

fn through(crowd: &Crowd, options: TargetOptions) -> TargetOptions {
    TargetOptions { endpoint: Some(format!("http://{}", crowd.address)), ..options }
}

#[test]
fn so_many_parts_of_a_file_are_on_the_way_as_its_target_says() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    for (concurrency, part_mib, expected) in [(0, 5, 4), (1, 5, 1), (2, 8, 2), (6, 5, 6), (3, 16, 3), (0, 16, 2)] {
        let bucket = format!("parts-{concurrency}-{part_mib}");
        let crowd = Crowd::before(server.address(), expected);
        let mut options = through(&crowd, server.bucket(&bucket));
        (options.concurrency, options.part_bytes) = (concurrency, part_mib * MIB as u64);
        let len = usize::try_from(part_mib).unwrap() * MIB * (expected + 2);
        write_noise(dir.path(), "x.mp4", len, part_mib);
        upload(&targets(options), &asset(dir.path(), &bucket, &["x.mp4"])).unwrap();
        assert_eq!(crowd.most(), expected, "concurrency = {concurrency}, part_size = {part_mib} MiB");
    }
}

#[test]
fn so_many_segments_of_a_directory_are_on_the_way_as_its_target_says() {
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..9).map(|n| format!("live/{n}.ts")).chain(["live/room1.m3u8".into()]).collect();
    for (seed, name) in (0..).zip(&names) {
        write_noise(dir.path(), name, 3000, seed);
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for (concurrency, expected) in [(0, 4), (1, 1), (7, 7)] {
        let bucket = format!("segments-{concurrency}");
        let crowd = Crowd::before(server.address(), expected);
        let options = TargetOptions { concurrency, ..through(&crowd, server.bucket(&bucket)) };
        upload(&targets(options), &asset(dir.path(), &bucket, &names)).unwrap();
        assert_eq!(crowd.most(), expected, "concurrency = {concurrency}");
    }
}

/// Delivers recordings to targets of these names, each in a bucket of its own; the most that were on the way at once.
fn at_once(server: &S3, names: &[&str], concurrency: usize, expected: usize) -> Crowd {
    let crowd = Crowd::before(server.address(), expected);
    let target = |name: &&str| TargetOptions {
        name: (*name).into(),
        ..through(&crowd, server.bucket(&format!("uploads-{concurrency}-{name}")))
    };
    let targets: Vec<_> = names.iter().map(target).collect();
    let sandbox = Sandbox::with_config(|dir| {
        let targets: Vec<_> = targets.iter().collect();
        config_with_targets(dir, &targets, &format!("[deliver]\nconcurrency = {concurrency}"))
    });
    for n in 0..=expected {
        let name = format!("room{n}.mp4");
        fs::write(sandbox.root().join(&name), padded(&name, 0)).unwrap();
    }
    sandbox.process().expect_code(0);
    crowd
}

#[test]
fn so_many_uploads_are_on_the_way_as_the_configuration_says_and_each_target_leaves_one_to_every_other() {
    let server = s3();
    for (concurrency, expected) in [(0, 4), (1, 1), (6, 6)] {
        let crowd = at_once(&server, &["alone"], concurrency, expected);
        assert_eq!(crowd.most(), expected, "concurrency = {concurrency}");
    }
    for (concurrency, expected, in_each) in [(0, 8, 4), (3, 3, 2)] {
        let crowd = at_once(&server, &["first", "second"], concurrency, expected);
        assert_eq!(crowd.most(), expected, "concurrency = {concurrency}");
        let most = crowd.most_in_each();
        assert!(most.len() == 2 && most.values().all(|most| *most <= in_each), "{most:?}");
    }
}
