//! `catalog rebuild` after the catalogue and the local files are gone: what the stores hold comes back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aftercast::deliver::TargetOptions;
use serde_json::Value;

use crate::support::assets::{asset, targets, upload, write_noise};
use crate::support::recordings::padded;
use crate::support::stores::{azure, s3};
use crate::support::{Sandbox, config_with_targets, standard_config};

const NAMES: [&str; 3] = ["room1.mp4", "shows/room2.mp4", "shows/Küche 100%.mp4"];
const FREEING: &str = "[retain]\ndelete_local = \"delivered\"";

/// Recordings that are finished, delivered and freed; what the catalogue says of each.
fn freed(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    for name in NAMES {
        let path = sandbox.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, padded(name, 0)).unwrap();
    }
    sandbox.process().expect_code(0);
    sandbox.run(&["retain"]).expect_code(0);
    assert!(NAMES.iter().all(|name| !sandbox.root().join(name).exists()), "all of them are freed");
    by_id(sandbox)
}

fn by_id(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    sandbox.vods().into_iter().map(|vod| (vod["vodId"].as_str().unwrap().to_owned(), vod)).collect()
}

fn lose_the_state(sandbox: &Sandbox) {
    fs::remove_dir_all(sandbox.path().join("state")).unwrap();
}

/// Everything of a record that an object can tell.
fn told(vod: &Value) -> Vec<Value> {
    let object = &vod["remote"][0];
    let of_vod = ["vodId", "streamId", "vodName", "filePath", "root", "duration", "fileSize", "container"];
    let of_object = ["target", "key", "url", "sizeBytes", "etag"];
    of_vod.iter().map(|name| vod[name].clone()).chain(of_object.iter().map(|name| object[name].clone())).collect()
}

fn assert_restored(sandbox: &Sandbox, before: &BTreeMap<String, Value>) {
    let after = by_id(sandbox);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (id, vod) in &after {
        assert_eq!(told(vod), told(&before[id]));
        assert!(vod["freedAt"].is_i64(), "{vod}");
        assert_eq!(vod["remote"].as_array().unwrap().len(), before[id]["remote"].as_array().unwrap().len());
    }
    sandbox.run(&["catalog", "check"]).expect_code(0);
}

#[test]
fn freed_vods_come_back_from_a_bucket_with_their_copies_and_what_is_not_ours_stays_out() {
    let server = s3();
    let options = server.bucket("rebuild-stores");
    let options = TargetOptions { url: format!("{}/vods", options.url), ..options };
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&options], FREEING));
    let before = freed(&sandbox);
    // An object of ours that is no recording.
    write_noise(sandbox.path(), "poster.mp4", 1_000, 1);
    let mut poster = asset(sandbox.path(), "poster", &["poster.mp4"]);
    poster.vod_id = Some("SomeVod".into());
    upload(&targets(options.clone()), &poster).unwrap();
    lose_the_state(&sandbox);

    let left_out = sandbox.run(&["--json", "catalog", "rebuild", "--no-stores"]).expect_code(0).json_lines();
    assert_eq!((left_out[0]["fromStores"].as_u64(), sandbox.vods().len()), (Some(0), 0));
    let rebuilt = sandbox.run(&["-v", "--json", "catalog", "rebuild"]).expect_code(0);
    assert_eq!(rebuilt.json_lines()[0]["fromStores"], NAMES.len(), "{}", rebuilt.err);
    assert!(rebuilt.err.contains(&format!("objects={}", NAMES.len() + 1)), "the count is said: {}", rebuilt.err);
    assert_restored(&sandbox, &before);
    let again = sandbox.run(&["-v", "--json", "catalog", "rebuild"]).expect_code(0);
    assert_eq!(again.json_lines()[0]["fromStores"], 0);
    assert!(again.err.contains("objects=1"), "what is known is not asked again: {}", again.err);
    sandbox.run(&["vod", "verify"]).expect_code(0);
}

#[test]
fn a_record_that_lost_its_copies_gets_them_back_only_where_its_file_is_gone() {
    let server = s3();
    let options = server.bucket("rebuild-attach");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&options], ""));
    for name in NAMES {
        fs::create_dir_all(sandbox.root().join("shows")).unwrap();
        fs::write(sandbox.root().join(name), padded(name, 0)).unwrap();
    }
    sandbox.process().expect_code(0);
    // An older catalogue: it knows the files and none of the copies.
    lose_the_state(&sandbox);
    sandbox.run(&["catalog", "rebuild", "--no-stores"]).expect_code(0);
    fs::remove_file(sandbox.root().join(NAMES[0])).unwrap();
    let rebuilt = sandbox.run(&["--json", "catalog", "rebuild"]).expect_code(0).json_lines();
    assert_eq!((rebuilt[0]["attached"].as_u64(), rebuilt[0]["fromStores"].as_u64()), (Some(1), Some(0)));
    for vod in sandbox.vods() {
        let is_gone = vod["vodName"] == NAMES[0];
        assert_eq!(vod["remote"].as_array().unwrap().len(), usize::from(is_gone), "{vod}");
        assert_eq!(vod["freedAt"].is_i64(), is_gone);
    }
}

#[test]
fn freed_vods_come_back_from_a_directory_and_from_a_store_whose_metadata_has_other_names() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, FREEING));
    let before = freed(&sandbox);
    lose_the_state(&sandbox);
    sandbox.run(&["catalog", "rebuild"]).expect_code(0);
    assert_restored(&sandbox, &before);

    let server = azure();
    let options = server.container("rebuild-stores");
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&options], FREEING));
    let before = freed(&sandbox);
    lose_the_state(&sandbox);
    sandbox.run(&["catalog", "rebuild"]).expect_code(0);
    assert_restored(&sandbox, &before);
}

#[test]
fn a_store_that_cannot_be_asked_is_said_and_the_rest_comes_back() {
    let server = s3();
    let (held, dead) = (server.bucket("rebuild-rest"), server.bucket("rebuild-dead"));
    let dead = TargetOptions { name: "dead".into(), url: "s3://no-such-bucket".into(), ..dead };
    let sandbox = Sandbox::with_config(|dir| {
        fs::write(dir.join("one.toml"), config_with_targets(dir, &[&held], FREEING)).unwrap();
        config_with_targets(dir, &[&dead, &held], FREEING)
    });
    fs::rename(sandbox.path().join("config.toml"), sandbox.path().join("two.toml")).unwrap();
    let with = |file: &str| {
        fs::copy(sandbox.path().join(file), sandbox.path().join("config.toml")).unwrap();
    };
    with("one.toml");
    let before = freed(&sandbox);
    lose_the_state(&sandbox);
    let finished = sandbox.root().join("kept.mp4");
    fs::write(&finished, padded("kept.mp4", 0)).unwrap();
    with("two.toml");
    let rebuilt = sandbox.run(&["catalog", "rebuild"]).expect_code(4);
    assert!(rebuilt.out.contains("not queried") && rebuilt.out.contains("target dead"), "{}", rebuilt.out);
    let after = by_id(&sandbox);
    assert_eq!(after.len(), before.len() + 1);
    assert!(after.values().any(|vod| Path::new(vod["filePath"].as_str().unwrap()) == finished));
}
