//! `process --shard i/n`: n processes at once take every recording exactly once, and what belongs together is in one shard.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::recordings::made;
use crate::support::{RunOutput, Sandbox};

/// A root of many recordings: pairs of one name, temporary names, and a unit of several files.
fn house() -> Sandbox {
    let sandbox = Sandbox::new();
    let (flv, mp4) = (made("flv", 2), made("mp4-faststart", 2));
    for room in 0..12 {
        sandbox.put(&flv, &format!("live/room{room}.flv"));
    }
    for room in 0..6 {
        sandbox.put(&mp4, &format!("live/room{room}.mp4"));
        sandbox.put(&mp4, &format!("other/cam{room}.mp4.tmp"));
    }
    let ts = made("ts", 2);
    for segment in 0..3 {
        sandbox.put(&ts, &format!("unit/show{segment}.ts"));
    }
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nshow0.ts\n#EXTINF:2,\nshow1.ts\n#EXTINF:2,\nshow2.ts\n#EXT-X-ENDLIST\n";
    fs::write(sandbox.root().join("unit/show.m3u8"), playlist).unwrap();
    sandbox
}

/// Paths below the root that a dry run names.
fn planned(sandbox: &Sandbox, shard: &[&str]) -> Vec<String> {
    let root = sandbox.root();
    let args = [&["--json", "process", "--dry-run", root.to_str().unwrap()], shard].concat();
    let lines = sandbox.run(&args).expect_code(0).json_lines();
    let below = |path: &str| path.strip_prefix(root.to_str().unwrap()).unwrap().trim_start_matches('/').to_owned();
    lines.iter().map(|line| below(line["path"].as_str().unwrap())).collect()
}

#[test]
fn the_dry_runs_of_all_shards_are_the_dry_run_of_everything() {
    let sandbox = house();
    let mut all = planned(&sandbox, &[]);
    let (mut found, mut shard_of) = (Vec::new(), BTreeMap::new());
    for number in 1..=3 {
        let part = planned(&sandbox, &["--shard", &format!("{number}/3")]);
        assert!(part.len() < all.len(), "{part:?}");
        for path in &part {
            let family = path.trim_end_matches(".tmp").rsplit_once('.').unwrap().0.to_owned();
            let other = shard_of.insert(family, number);
            assert!(other.is_none_or(|other| other == number), "{path} is apart from what bears its name");
        }
        found.extend(part);
    }
    all.sort();
    found.sort();
    assert_eq!(found, all, "all of it, and nothing twice");
    assert!(all.contains(&"unit/show.m3u8".to_owned()), "{all:?}");
}

#[test]
fn processes_that_share_a_root_out_take_each_recording_once() {
    let sandbox = house();
    let (root, states) = (sandbox.root(), ["a", "b", "c"].map(|name| sandbox.path().join(name)));
    let start = |(number, state): (usize, &PathBuf)| {
        let shard = format!("{}/3", number + 1);
        let args = ["process", root.to_str().unwrap(), "--shard", &shard, "--state-dir", state.to_str().unwrap()];
        let mut command = sandbox.command(&args);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let running: Vec<_> = states.iter().enumerate().map(start).collect();
    let ended: Vec<RunOutput> = running.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect();
    let finished: usize = ended.into_iter().map(|run| finished_in(&run.expect_code(0))).sum();
    assert_eq!(finished, 24);
    let files = crate::support::tree(&root);
    // Two recordings of one name in two containers: the second one got a number.
    let is_finished = |name: &&String| name.starts_with("live/") && Path::new(name).extension() == Some("mp4".as_ref());
    assert_eq!(files.keys().filter(is_finished).count(), 18, "{files:?}");
    assert!(files.keys().all(|name| !name.contains("/.aftercast")), "{files:?}");
    let again = sandbox.run(&["process", root.to_str().unwrap(), "--shard", "1/1"]).expect_code(0);
    assert_eq!(finished_in(&again), 24, "another catalogue");
}

fn finished_in(run: &RunOutput) -> usize {
    run.out.lines().filter(|line| line.starts_with("finished ")).count()
}

#[test]
fn what_is_no_shard_is_refused_with_the_form() {
    let sandbox = Sandbox::new();
    for shard in ["0/4", "5/4", "1", "x/y"] {
        let refused = sandbox.run(&["process", "/nowhere", "--shard", shard]).expect_code(2);
        assert!(refused.err.contains("write i/n, such as 1/8"), "{}", refused.err);
    }
}
