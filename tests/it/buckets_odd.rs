//! Buckets with what nobody expects there: keys that cannot be named, leftovers of a killed run; and what only a look costs.

use std::fs;
use std::path::Path;

use aftercast::deliver::TargetOptions;

use super::buckets::keys;
use crate::support::buckets::{item, large, process};
use crate::support::clients::put;
use crate::support::http::{forward, read_request, reply, serve};
use crate::support::recordings::{ffmpeg, made};
use crate::support::stores::s3;
use crate::support::{Sandbox, config_with_targets};

/// The same bytes with a text in place of another of its length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[test]
fn keys_that_cannot_be_named_are_said_and_all_others_are_finished() {
    let server = s3();
    let target = server.bucket("odd-keys");
    let bytes = fs::read(made("flv", 2)).unwrap();
    // As the store lists them: this one has no such keys itself.
    let odd = [("old/live/yx.flv", "old/live//x.flv"), ("old/aa/yz.flv", "old/../yz.flv")];
    for key in ["old/a.flv", "old/live/b.flv", "old/zz.flv"].into_iter().chain(odd.map(|(key, _)| key)) {
        put(&target, key, bytes.clone());
    }
    let at = server.address();
    let address = serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        let answer = forward(at, &request).unwrap_or_default();
        let listed = odd.iter().fold(answer, |answer, (key, listed)| replaced(&answer, key, listed));
        reply(&client, &listed);
    });
    let over = TargetOptions { endpoint: Some(format!("http://{address}")), ..target.clone() };
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&over], ""));
    let ended = process(&sandbox, "s3://odd-keys/old", &[]).expect_code(4).json_lines();
    for (_, key) in odd {
        let item = item(&ended, key);
        assert_eq!((&item["state"], &item["class"]), (&"failed".into(), &"permanent".into()), "{item}");
        assert!(item["message"].as_str().unwrap().contains("cannot be used"), "{item}");
        assert!(item["hint"].as_str().unwrap().contains("another key"), "{item}");
    }
    for key in ["old/a.flv", "old/live/b.flv", "old/zz.flv"] {
        assert_eq!(item(&ended, key)["state"], "finished", "{ended:?}");
    }
    let finished =
        keys(&server, "odd-keys").into_iter().filter(|key| Path::new(key).extension() == Some("mp4".as_ref()));
    assert_eq!(finished.count(), 3);
}

#[test]
fn what_a_killed_run_left_in_scratch_space_goes_also_where_the_next_one_needs_none() {
    let server = s3();
    let target = server.bucket("left-in-scratch");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    put(&target, "old/x.flv", fs::read(made("flv", 2)).unwrap());
    put(&target, "new/y.mp4", fs::read(made("mp4-faststart", 2)).unwrap());
    let mut killed = sandbox.command(&["process", "s3://left-in-scratch/old"]);
    let status = killed.env("AFTERCAST_KILL_AFTER", "partial synced:1").status().unwrap();
    assert_eq!(status.code(), None, "it was killed");
    let scratch = sandbox.path().join("state/scratch");
    let left = || crate::support::tree(&scratch).into_keys().collect::<Vec<_>>();
    assert!(left().iter().any(|name| name.ends_with("x.flv")), "{:?}", left());
    process(&sandbox, "s3://left-in-scratch/new", &["--dry-run"]).expect_code(0);
    assert!(!left().is_empty(), "a dry run changes nothing");
    let done = process(&sandbox, "s3://left-in-scratch/new", &[]).expect_code(0).json_lines();
    assert_eq!(item(&done, "new/y.mp4")["state"], "complete", "{done:?}");
    assert_eq!(left(), Vec::<String>::new());
}

fn faststart(file: &Path, dir: &Path) -> Vec<u8> {
    let made = dir.join("faststart.mp4");
    let args = ["-i", file.to_str().unwrap(), "-c", "copy", "-movflags", "+faststart", made.to_str().unwrap()];
    ffmpeg(&args);
    fs::read(made).unwrap()
}

#[test]
fn a_look_at_a_complete_object_reads_its_headers_only() {
    let server = s3();
    let target = server.bucket("looks");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    let dir = tempfile::tempdir().unwrap();
    let bytes = faststart(large(), dir.path());
    assert!(bytes.len() > 11 << 20);
    put(&target, "old/x.mp4", bytes);
    let looked = process(&sandbox, "s3://looks/old", &["--dry-run"]).expect_code(0).json_lines();
    let item = item(&looked, "old/x.mp4");
    assert_eq!(item["state"], "complete", "{item}");
    let read = item["transferred"]["readBytes"].as_u64().unwrap();
    assert!(read <= 512 << 10, "{read} bytes");
}
