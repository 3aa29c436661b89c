//! A root that is not mounted, or under whose path another directory stands: nothing that is not there counts as gone, and
//! everything goes on when it is back.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{Daemon, until, until_with};
use crate::support::recordings::{made, padded};
use crate::support::{House, standard_config, tree};

const KEPT: &str = "[retain]\ndelete_local = \"delivered\"\nprotect = [\"*\"]";
const FREED: &str = "[retain]\ndelete_local = \"delivered\"";

fn retaining(house: &House, retain: &str) {
    fs::write(house.path().join("config.toml"), standard_config(house.path(), retain)).unwrap();
}

/// The root is somewhere else, and an empty directory stands in its place.
fn take_away(house: &House) {
    fs::rename(house.root(), house.path().join("elsewhere")).unwrap();
    fs::create_dir(house.root()).unwrap();
}

fn bring_back(house: &House) {
    let _ = fs::remove_file(house.root().join(".aftercast-root"));
    fs::remove_dir(house.root()).unwrap();
    fs::rename(house.path().join("elsewhere"), house.root()).unwrap();
}

/// Every command that could take what is not there for gone.
fn ask_everything(house: &House) {
    let root = house.root();
    house.run(&["retain"]).expect_code(0);
    let said = house.process();
    assert!(said.code() != 0, "{}{}", said.out, said.err);
    assert!(said.err.contains("root not available"), "{}", said.err);
    house.run(&["recover", root.to_str().unwrap()]);
    house.run(&["vod", "verify"]);
    house.run(&["catalog", "rebuild"]);
    house.run(&["retain"]).expect_code(0);
}

fn delivered(house: &House) -> Vec<u8> {
    let bytes = padded("take", 0);
    fs::write(house.root().join("take.mp4"), &bytes).unwrap();
    house.process().expect_code(0);
    retaining(house, FREED);
    bytes
}

#[test]
fn a_root_that_another_directory_stands_for_keeps_its_records_and_goes_on_when_it_is_back() {
    let house = House::with_config(|dir| standard_config(dir, KEPT));
    delivered(&house);
    let before = house.vods();
    take_away(&house);
    ask_everything(&house);
    assert_eq!(house.vods(), before);
    bring_back(&house);
    house.run(&["retain"]).expect_code(0);
    assert!(house.vods()[0]["freedAt"].is_i64() && !house.root().join("take.mp4").exists());
}

#[test]
fn a_root_that_is_not_mounted_keeps_its_records_and_goes_on_when_it_is_mounted_again() {
    let house = House::with_config(|dir| standard_config(dir, KEPT));
    let disk = house.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = || Command::new("mount").arg("--bind").args([&disk, &house.root()]).status();
    if !mount().is_ok_and(|status| status.success()) {
        let _ = writeln!(std::io::stdout(), "skipped: nothing can be mounted here");
        return;
    }
    delivered(&house);
    let before = house.vods();
    assert!(Command::new("umount").arg(house.root()).status().unwrap().success());
    ask_everything(&house);
    assert_eq!(house.vods(), before);
    assert!(mount().unwrap().success());
    house.run(&["retain"]).expect_code(0);
    let is_freed = house.vods()[0]["freedAt"].is_i64() && !disk.join("take.mp4").exists();
    assert!(Command::new("umount").arg(house.root()).status().unwrap().success());
    assert!(is_freed);
}

#[test]
fn a_file_that_is_gone_from_a_root_that_is_there_counts_as_freed_as_before() {
    let house = House::with_config(|dir| standard_config(dir, KEPT));
    delivered(&house);
    fs::remove_file(house.root().join("take.mp4")).unwrap();
    house.run(&["retain"]).expect_code(0);
    assert!(house.vods()[0]["freedAt"].is_i64());
}

#[test]
fn a_restored_root_is_known_by_its_recordings() {
    let house = House::with_config(|dir| standard_config(dir, KEPT));
    delivered(&house);
    fs::rename(house.root(), house.path().join("elsewhere")).unwrap();
    let copied = Command::new("cp").arg("-a").args([house.path().join("elsewhere"), house.root()]).status();
    assert!(copied.unwrap().success());
    house.process().expect_code(0);
    assert_eq!(house.vods().len(), 1);
}

#[test]
fn what_was_under_way_when_the_root_went_is_carried_on_when_it_is_back() {
    let house = House::with_config(|dir| standard_config(dir, KEPT));
    delivered(&house);
    house.put(&made("ts", 2), "room1.ts");
    let root = house.root();
    for step in ["partial created:1", "moved aside:1"] {
        let mut command = house.command(&["process", root.to_str().unwrap()]);
        let run = command.env("AFTERCAST_KILL_AFTER", step).output().unwrap();
        if run.status.code().is_some() {
            continue;
        }
        take_away(&house);
        ask_everything(&house);
        bring_back(&house);
    }
    retaining(&house, KEPT);
    let goes_on = || drop(house.process());
    until_with("it is finished", Duration::from_millis(200), goes_on, || {
        let names: Vec<_> = tree(&root).into_keys().filter(|name| name.contains("room1")).collect();
        (names == ["room1.mp4"]).then_some(())
    });
    assert_eq!(house.vods().iter().filter(|vod| vod["vodName"] == "room1.mp4").count(), 1);
}

#[test]
fn a_delivery_waits_for_its_root_and_needs_no_person() {
    let house = House::with_config(|dir| standard_config(dir, KEPT));
    // The store is not there at first.
    fs::remove_dir(house.store()).unwrap();
    fs::write(house.store(), "no directory").unwrap();
    fs::write(house.root().join("take.mp4"), padded("take", 0)).unwrap();
    house.process().expect_code(5);
    take_away(&house);
    fs::remove_file(house.store()).unwrap();
    fs::create_dir(house.store()).unwrap();
    house.run(&["queue", "retry"]).expect_code(0);
    house.process();
    let queue = house.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("pending") && queue.contains("not available"), "{queue}");
    bring_back(&house);
    house.run(&["queue", "retry"]).expect_code(0);
    house.process().expect_code(0);
    assert!(house.store().join("take.mp4").exists());
}

#[test]
fn a_daemon_says_once_that_a_root_is_not_available_and_finds_what_comes_when_it_is_back() {
    let house = House::with_config(|dir| {
        standard_config(dir, KEPT).replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"")
    });
    delivered(&house);
    let config = standard_config(house.path(), FREED).replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"");
    take_away(&house);
    fs::write(house.path().join("config.toml"), config).unwrap();
    let daemon = Daemon::start(&house);
    daemon.until_said("root not available");
    fs::write(house.root().join("stranger.mp4"), padded("stranger", 0)).unwrap();
    let rescans = std::time::Instant::now();
    until("a few rescans are over", || (rescans.elapsed() > Duration::from_secs(3)).then_some(()));
    let vods = house.vods();
    assert!(vods.len() == 1 && vods[0].get("freedAt").is_none(), "{vods:?}");
    assert_eq!(daemon.log().matches("root not available").count(), 1, "{}", daemon.log());
    fs::remove_file(house.root().join("stranger.mp4")).unwrap();
    bring_back(&house);
    let gone = |path: &Path| (!path.exists()).then_some(());
    until("it is freed", || gone(&house.root().join("take.mp4")));
    daemon.until_said("root available again");
    fs::write(house.root().join("new.mp4"), padded("new", 0)).unwrap();
    until("the new one is catalogued", || (house.vods().len() == 2).then_some(()));
    daemon.stop();
}

/// Between the rename and the record nobody can tell, as long as the root is away, whether the finished file has its name.
#[test]
fn a_recording_that_has_its_name_when_the_root_goes_is_not_finished_twice() {
    let house = House::with_config(|dir| standard_config(dir, KEPT));
    delivered(&house);
    retaining(&house, KEPT);
    house.put(&made("ts", 2), "room1.ts");
    let root = house.root();
    let mut command = house.command(&["process", root.to_str().unwrap()]);
    let run = command.env("AFTERCAST_KILL_AFTER", "renamed:1").output().unwrap();
    assert_eq!(run.status.code(), None, "it was killed: {}", String::from_utf8_lossy(&run.stderr));
    take_away(&house);
    for _try in 0..2 {
        assert_ne!(house.process().code(), 0);
    }
    bring_back(&house);
    house.process().expect_code(0);
    let names: Vec<_> = tree(&root).into_keys().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(names, ["room1.mp4", "take.mp4"]);
    assert_eq!(house.vods().len(), 2);
}
