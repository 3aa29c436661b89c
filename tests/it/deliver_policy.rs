//! What an operator sets about delivery and freeing, as the real program keeps to it: samples, timetables, names, and what
//! may go from the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use aftercast::deliver::{Bandwidth, TargetOptions};
use jiff::ToSpan as _;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{made, padded};
use crate::support::stores::s3;
use crate::support::{Sandbox, config_with_targets, standard_config, tree};

/// Puts other settings in place of the `[retain]` table.
fn retaining(sandbox: &Sandbox, retain: &str) {
    let path = sandbox.path().join("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    let (kept, _) = config.split_once("[retain]").unwrap_or((&config, ""));
    fs::write(&path, format!("{kept}[retain]\n{retain}\n")).unwrap();
}

/// The names of VoDs by their ids.
fn names(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    sandbox.vods().iter().map(|vod| (text(&vod["vodId"]), text(&vod["vodName"]))).collect()
}

#[test]
fn a_sample_is_a_part_the_same_all_day_and_nothing_else_is_looked_at() {
    const RECORDINGS: usize = 300;
    let sandbox = Sandbox::new();
    for n in 0..RECORDINGS {
        let name = format!("room{n}.mp4");
        fs::write(sandbox.root().join(&name), padded(&name, 0)).unwrap();
    }
    sandbox.process().expect_code(0);
    let looked_at = |code| {
        let run = sandbox.run(&["--json", "vod", "verify", "--sample", "5%"]).expect_code(code);
        run.json_lines().iter().map(|line| line["vodId"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let today = || jiff::Timestamp::now().as_second().div_euclid(86_400);
    // At midnight the sample is another one.
    let (first, again) = loop {
        let day = today();
        let both = (looked_at(0), looked_at(0));
        if day == today() {
            break both;
        }
    };
    assert!((1..RECORDINGS / 5).contains(&first.len()), "{}", first.len());
    assert_eq!(first, again);

    for (name, _) in tree(&sandbox.store()) {
        fs::remove_file(sandbox.store().join(name)).unwrap();
    }
    let missed = looked_at(4);
    let differ = |vod: &&serde_json::Value| vod["remote"][0]["differs"].is_string();
    let noted: BTreeSet<_> =
        sandbox.vods().iter().filter(differ).map(|vod| vod["vodId"].as_str().unwrap().to_owned()).collect();
    assert!(!missed.is_empty() && missed.len() < RECORDINGS / 5);
    assert_eq!(noted, missed, "what was not looked at is not judged");
}

#[test]
fn a_timetable_holds_for_its_target_by_the_hour_and_for_no_other() {
    let server = s3();
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let clock = |hours: i64| (&now + hours.hours()).strftime("%H:%M").to_string();
    let (since, until_then) = (clock(-6), clock(6));
    let with = |name: &str, now: &str, later: &str| TargetOptions {
        name: name.into(),
        bandwidth: Some(Bandwidth::parse(&format!("{since},{now} {until_then},{later}")).unwrap()),
        ..server.bucket(&format!("timetable-{name}"))
    };
    // At 1 KiB a second the recording would take more than half an hour.
    let (slow, fast) = (with("slow", "1K", "off"), with("fast", "off", "1K"));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&slow, &fast], ""));
    fs::write(sandbox.root().join("room1.mp4"), padded("room1.mp4", 2 << 20)).unwrap();
    let daemon = Daemon::start(&sandbox);
    until("the target without a limit now has it", || (server.listing("timetable-fast").len() == 1).then_some(()));
    assert_eq!(server.listing("timetable-slow"), []);
    daemon.stop();
    let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("@slow") && !queue.contains("@fast"), "{queue}");
}

#[test]
fn other_content_under_a_key_gives_another_name_in_that_target_alone() {
    let server = s3();
    let cloud = server.bucket("one-of-two");
    let sandbox = Sandbox::with_config(|dir| {
        let disk = TargetOptions::new("disk", &format!("file://{}/store", dir.display()));
        config_with_targets(dir, &[&cloud, &disk], "")
    });
    fs::write(sandbox.store().join("room1.mp4"), "somebody else's").unwrap();
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    for _ in 0..2 {
        sandbox.process().expect_code(0);
        let vods = sandbox.vods();
        let remote = vods[0]["remote"].as_array().unwrap();
        let keys: BTreeMap<_, _> =
            remote.iter().map(|r| (r["target"].as_str().unwrap(), r["key"].as_str().unwrap())).collect();
        assert_eq!((vods.len(), keys), (1, [("cloud", "pre/room1.mp4"), ("disk", "room1_1.mp4")].into()));
        sandbox.run(&["vod", "verify", "--download"]).expect_code(0);
    }
    assert_eq!(fs::read(sandbox.store().join("room1.mp4")).unwrap(), b"somebody else's");
    assert_eq!(tree(&sandbox.store()).into_keys().collect::<Vec<_>>(), ["room1.mp4", "room1_1.mp4"]);
    assert_eq!(server.listing("one-of-two").len(), 1);
    assert!(sandbox.root().join("room1.mp4").exists(), "the local name is its own");
}

/// A store that cannot be asked frees nothing.
fn mount_again(sandbox: &Sandbox) {
    fs::remove_file(sandbox.store()).unwrap();
    fs::rename(sandbox.path().join("unmounted"), sandbox.store()).unwrap();
}

#[test]
fn the_plan_says_of_each_why_and_the_run_frees_what_the_plan_says() {
    let sandbox = Sandbox::new();
    for name in ["proven", "vip1", "changed", "gone", "differs"] {
        fs::write(sandbox.root().join(format!("{name}.mp4")), padded(name, 0)).unwrap();
    }
    sandbox.process().expect_code(0);
    fs::remove_file(sandbox.store().join("differs.mp4")).unwrap();
    sandbox.run(&["vod", "verify"]).expect_code(4);
    fs::rename(sandbox.store(), sandbox.path().join("unmounted")).unwrap();
    fs::write(sandbox.store(), "no directory").unwrap();
    fs::write(sandbox.root().join("waiting.mp4"), padded("waiting", 0)).unwrap();
    sandbox.process().expect_code(5);
    mount_again(&sandbox);
    fs::write(sandbox.root().join("changed.mp4"), padded("changed", 4 << 20)).unwrap();
    fs::remove_file(sandbox.root().join("gone.mp4")).unwrap();
    let names = names(&sandbox);
    let plan = |retain: &str| {
        retaining(&sandbox, retain);
        let lines = sandbox.run(&["--json", "retain", "--dry-run"]).expect_code(0).json_lines();
        let word =
            |line: &serde_json::Value| (line["frees"].as_bool().unwrap(), line["reason"].as_str().unwrap().to_owned());
        lines
            .iter()
            .map(|line| (names[line["vodId"].as_str().unwrap()].clone(), word(line)))
            .collect::<BTreeMap<_, _>>()
    };
    let all: Vec<_> = names.values().collect();
    let all_stay = |retain: &str, why: &str| {
        let plan = plan(retain);
        assert_eq!(plan.keys().collect::<BTreeSet<_>>(), all.iter().copied().collect(), "{retain}");
        let (frees, said) = &plan["proven.mp4"];
        assert!(!frees && said.contains(why), "{retain}: {said}");
        assert!(plan.values().all(|(frees, _)| !frees), "{plan:?}");
    };
    all_stay("", "local files are never freed (`delete_local = \"never\"`)");
    all_stay("delete_local = \"24h\"", "its retention time has not passed");
    all_stay("delete_local = { max_bytes = \"1TiB\" }", "no more than `max_bytes`");
    all_stay("delete_local = { below_free = \"1MiB\" }", "enough disk space");

    let said = plan("delete_local = \"delivered\"\nprotect = [\"vip*\"]");
    for (name, frees, why) in [
        ("proven", true, "proven in every required target since 2"),
        ("vip1", false, "stream `vip1` is protected (`protect`)"),
        ("changed", false, "the local file has changed since it was catalogued"),
        ("gone", false, "the local file does not exist"),
        ("differs", false, "target `store` no longer holds the proven object: it is missing"),
        ("waiting", false, "target `store` does not hold it yet"),
    ] {
        let (is_freed, reason) = &said[&format!("{name}.mp4")];
        assert!(*is_freed == frees && reason.contains(why), "{name}: {reason}");
    }
    sandbox.run(&["retain"]).expect_code(0);
    let left: Vec<_> = tree(&sandbox.root()).into_keys().collect();
    assert_eq!(left, ["changed.mp4", "differs.mp4", "vip1.mp4", "waiting.mp4"]);
}

#[test]
fn room_is_made_from_the_oldest_proof_on_never_of_what_is_unproven_and_an_end_of_it_is_an_alarm() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[retain]"));
    let recordings = ["second", "third", "first"].map(|name| format!("{name}.mp4"));
    for name in [&recordings[2], &recordings[0], &recordings[1]] {
        fs::write(sandbox.root().join(name), padded(name, 0)).unwrap();
        sandbox.process().expect_code(0);
    }
    fs::rename(sandbox.store(), sandbox.path().join("unmounted")).unwrap();
    fs::write(sandbox.store(), "no directory").unwrap();
    fs::write(sandbox.root().join("unproven.mp4"), padded("unproven", 0)).unwrap();
    sandbox.process().expect_code(5);
    mount_again(&sandbox);
    // More than any disk of today has.
    retaining(&sandbox, "delete_local = { below_free = \"900000TiB\" }");
    let names = names(&sandbox);
    let plan = sandbox.run(&["--json", "retain", "--dry-run"]).expect_code(0).json_lines();
    let frees = |wanted| {
        let lines = plan.iter().filter(move |line| line["frees"] == wanted);
        lines.map(|line| names[line["vodId"].as_str().unwrap()].as_str()).collect::<Vec<_>>()
    };
    assert_eq!(frees(true), ["first.mp4", "second.mp4", "third.mp4"]);
    assert_eq!(frees(false), ["unproven.mp4"]);
    for _ in 0..2 {
        let run = sandbox.run(&["retain"]).expect_code(0);
        assert!(run.err.contains("ERROR") && run.err.contains("no more files may be freed"), "{}", run.err);
        assert_eq!(tree(&sandbox.root()).into_keys().collect::<Vec<_>>(), ["unproven.mp4"]);
    }
    assert!(sandbox.vods().iter().all(|vod| vod["freedAt"].is_i64() == (vod["vodName"] != "unproven.mp4")));
}
