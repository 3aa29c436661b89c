//! Sidecars: `x.json` beside the VoD, delivered, edited, freed and deleted with it, and read when the state directory is lost.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::stores::s3;
use crate::support::{Sandbox, config_with_targets, standard_config, tree};

const SIDECARS: &str = "[deliver]\nupload_extensions = 33\n";

fn house_with(more: &str) -> Sandbox {
    Sandbox::with_config(|dir| standard_config(dir, &format!("{SIDECARS}{more}")))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// Sends a request to the daemon's socket; the answer's JSON.
fn ask(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Value {
    let socket = sandbox.path().join("state/aftercast.sock");
    let said = std::process::Command::new("curl")
        .args(["-s", "--unix-socket", socket.to_str().unwrap(), "-X", method, "-H", "content-type: application/json"])
        .args(["--data", body, &format!("http://localhost{path}")])
        .output()
        .unwrap();
    serde_json::from_slice(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

fn only_vod(sandbox: &Sandbox) -> Value {
    let vods = sandbox.vods();
    assert_eq!(vods.len(), 1, "{vods:?}");
    vods[0].clone()
}

fn edit(sandbox: &Sandbox, vod: &Value, description: &str) {
    let body = format!("{{\"description\":\"{description}\",\"metadata\":{{\"court\":\"5\"}}}}");
    let path = format!("/api/v1/vods/{}", vod["vodId"].as_str().unwrap());
    assert_eq!(ask(sandbox, "PATCH", &path, &body)["description"], description);
}

#[test]
fn a_sidecar_says_what_the_record_says_and_nothing_of_this_disk() {
    let sandbox = house_with("");
    sandbox.put(&made("flv", 2), "live/room1.flv");
    sandbox.process().expect_code(0);
    let vod = only_vod(&sandbox);
    let text = fs::read_to_string(sandbox.root().join("live/room1.json")).unwrap();
    let sidecar: Value = serde_json::from_str(&text).unwrap();
    for name in ["vodId", "streamId", "vodName", "duration", "startTime", "fileSize", "tracks", "container", "outcome"]
    {
        assert_eq!(sidecar[name], vod[name], "{name}: {text}");
    }
    assert_eq!((&sidecar["aftercastSidecar"], &sidecar["filePath"]), (&1.into(), &"live/room1.mp4".into()));
    assert!(!text.contains(sandbox.path().to_str().unwrap()) && !text.contains("inode"), "{text}");
    assert_eq!(fs::read_to_string(sandbox.store().join("live/room1.json")).unwrap(), text, "it is delivered");
    // It is no recording, and nothing is written again.
    let before = tree(sandbox.path());
    sandbox.process().expect_code(0);
    let after = tree(sandbox.path());
    let of = |tree: &std::collections::BTreeMap<String, crate::support::FileState>| {
        tree.iter()
            .filter(|(name, _)| !name.starts_with("state/"))
            .map(|(n, s)| (n.clone(), s.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&before), of(&after));
    only_vod(&sandbox);
}

#[test]
fn without_the_bit_and_where_a_name_is_taken_nothing_is_written() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(0);
    assert!(!sandbox.root().join("room1.json").exists());

    let sandbox = house_with("");
    sandbox.put(&made("flv", 2), "room1.flv");
    let theirs = sandbox.root().join("room1.json");
    fs::write(&theirs, "{\"of\":\"another program\"}").unwrap();
    sandbox.process().expect_code(0);
    assert_eq!(json(&theirs)["of"], "another program");
    assert_eq!(json(&sandbox.store().join("room1.json"))["of"], "another program", "it is delivered all the same");
    let id = only_vod(&sandbox)["vodId"].as_str().unwrap().to_owned();
    sandbox.run(&["vod", "delete", "--yes", &id]).expect_code(0);
    assert!(theirs.exists(), "what is not ours stays");
}

#[test]
fn an_edit_goes_into_the_sidecar_and_its_copies_and_comes_back_without_the_state_directory() {
    let server = s3();
    let bucket = server.bucket("sidecars");
    let sandbox = Sandbox::with_config(|dir| {
        let with_directory = standard_config(dir, SIDECARS);
        let with_bucket = config_with_targets(dir, &[&bucket], "");
        let table = &with_bucket[with_bucket.find("[[deliver.target]]").unwrap()..];
        format!("{with_directory}{table}")
    });
    sandbox.put(&made("flv", 2), "room1.flv");
    let daemon = Daemon::start(&sandbox);
    let stored = sandbox.store().join("room1.json");
    until("it is delivered", || stored.exists().then_some(()));
    let vod = only_vod(&sandbox);
    for description in ["the first", "the second, which is longer"] {
        edit(&sandbox, &vod, description);
        assert_eq!(json(&sandbox.root().join("room1.json"))["description"], description);
        let in_bucket = || crate::support::clients::see(&bucket, "pre/room1.json").bytes;
        until("the copies are those of the edited sidecar", || {
            let local = fs::read(sandbox.root().join("room1.json")).unwrap();
            let is_pending = sandbox.run(&["--json", "queue", "list"]).out.contains("room1.json");
            (!is_pending && fs::read(&stored).ok()? == local && in_bucket() == local).then_some(())
        });
    }
    daemon.stop();
    let keys: Vec<_> = server.listing("sidecars").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["pre/room1.json", "pre/room1.mp4"], "no numbered copies");
    assert!(!sandbox.store().join("room1_1.json").exists());

    fs::remove_dir_all(sandbox.path().join("state")).unwrap();
    fs::create_dir(sandbox.path().join("state")).unwrap();
    sandbox.run(&["catalog", "rebuild", "--no-stores"]).expect_code(0);
    let rebuilt = only_vod(&sandbox);
    assert_eq!((&rebuilt["vodId"], &rebuilt["description"]), (&vod["vodId"], &"the second, which is longer".into()));
    assert_eq!(rebuilt["metadata"]["court"], "5");
}

fn local(sandbox: &Sandbox) -> Vec<PathBuf> {
    let names = tree(&sandbox.root()).into_keys().map(PathBuf::from);
    names.filter(|name| name.extension().is_some_and(|e| e == "json" || e == "mp4")).collect()
}

#[test]
fn a_sidecar_is_freed_and_deleted_with_its_vod() {
    let sandbox = house_with("[retain]\ndelete_local = \"delivered\"\n");
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(0);
    sandbox.run(&["retain"]).expect_code(0);
    assert!(only_vod(&sandbox)["freedAt"].is_i64());
    assert_eq!(local(&sandbox), Vec::<PathBuf>::new(), "both are freed");
    assert!(sandbox.store().join("room1.json").exists() && sandbox.store().join("room1.mp4").exists());
    let id = only_vod(&sandbox)["vodId"].as_str().unwrap().to_owned();
    sandbox.run(&["vod", "delete", "--yes", &id]).expect_code(0);
    assert!(!sandbox.store().join("room1.json").exists() && !sandbox.store().join("room1.mp4").exists());

    let sandbox = house_with("");
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(0);
    let id = only_vod(&sandbox)["vodId"].as_str().unwrap().to_owned();
    sandbox.run(&["vod", "delete", "--yes", &id]).expect_code(0);
    assert_eq!(local(&sandbox), Vec::<PathBuf>::new(), "both are deleted");
    assert!(!sandbox.store().join("room1.json").exists());
}

#[test]
fn of_edits_at_the_same_time_the_sidecar_has_what_the_record_has() {
    let sandbox = house_with("");
    sandbox.put(&made("flv", 2), "room1.flv");
    let daemon = Daemon::start(&sandbox);
    until("it is delivered", || sandbox.store().join("room1.json").exists().then_some(()));
    let vod = only_vod(&sandbox);
    for round in 0..5 {
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (sandbox, vod) = (&sandbox, &vod);
                scope.spawn(move || edit(sandbox, vod, &format!("{round}: {}", "long ".repeat(n))));
            }
        });
        assert_eq!(json(&sandbox.root().join("room1.json"))["description"], only_vod(&sandbox)["description"]);
    }
    daemon.stop();
}

#[test]
fn the_sidecar_of_a_file_that_went_by_itself_is_freed_with_it() {
    let sandbox = house_with("");
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(0);
    fs::remove_file(sandbox.root().join("room1.mp4")).unwrap();
    let config = standard_config(sandbox.path(), &format!("{SIDECARS}[retain]\ndelete_local = \"delivered\"\n"));
    fs::write(sandbox.path().join("config.toml"), config).unwrap();
    sandbox.run(&["retain"]).expect_code(0);
    assert!(only_vod(&sandbox)["freedAt"].is_i64());
    assert_eq!(local(&sandbox), Vec::<PathBuf>::new());
}

#[test]
fn the_sidecar_of_a_deleted_vod_goes_though_its_file_is_in_use_and_stays_where_the_file_is_kept() {
    for keeps_file in [false, true] {
        let sandbox = house_with("");
        sandbox.put(&made("flv", 2), "room1.flv");
        sandbox.process().expect_code(0);
        let id = only_vod(&sandbox)["vodId"].as_str().unwrap().to_owned();
        let file = sandbox.root().join("room1.mp4");
        let _writer = fs::File::options().append(true).open(&file).unwrap();
        if keeps_file {
            sandbox.run(&["vod", "delete", "--yes", "--keep-file", &id]).expect_code(0);
        } else {
            let said = sandbox.run(&["vod", "delete", "--yes", &id]).expect_code(4);
            assert!(said.err.contains("open for writing"), "{}", said.err);
        }
        assert!(file.exists());
        assert_eq!(file.with_extension("json").exists(), keeps_file);
    }
}
