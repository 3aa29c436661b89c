//! The state directory: its room, its lock.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::bad_input::{Mount, is_root};
use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{House, standard_config, tree};

/// Less than what the catalogue wants to be free, more than nothing.
const LITTLE_BYTES: u64 = 6 << 20;

fn leave_room(dir: &Path, bytes: u64) {
    let free = aftercast::durable::free_bytes(dir).unwrap();
    fs::write(dir.join("ballast"), vec![7; usize::try_from(free - bytes).unwrap()]).unwrap();
}

fn names(house: &House) -> Vec<String> {
    tree(&house.root()).into_keys().collect()
}

fn all_end_in(names: &[String], extension: &str) -> bool {
    names.iter().all(|name| Path::new(name).extension().is_some_and(|found| found == extension))
}

#[test]
fn recordings_wait_in_the_queue_while_the_state_has_no_room_and_are_finished_when_it_has() {
    if !is_root("mount") {
        return;
    }
    let house =
        House::with_config(|dir| standard_config(dir, "").replace("[watch]\n", "[watch]\nrescan = \"100ms\"\n"));
    let state = house.path().join("state");
    let Some(_mount) = Mount::tmpfs(&state, "32m") else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let daemon = Daemon::start(&house);
    leave_room(&state, LITTLE_BYTES);
    let came: Vec<_> = (0..6).map(|n| house.put(&made("ts", 2), &format!("room{n}.ts"))).collect();
    let listed = || house.run(&["queue", "list"]).expect_code(0).out;
    until("all of them are listed", || {
        let listed = listed();
        came.iter()
            .all(|path| listed.contains(path.to_str().unwrap()) && listed.contains("bytes are free"))
            .then_some(())
    });
    assert!(all_end_in(&names(&house), "ts"), "{:?}", names(&house));
    let json = house.run(&["--json", "queue", "list"]).expect_code(0).json_lines();
    assert!(
        json.iter().all(|line| line["state"] == "failed" && line["postponed"]["class"] == "environment"),
        "{json:?}"
    );

    fs::remove_file(state.join("ballast")).unwrap();
    until("all of them are finished", || (house.vods().len() == came.len()).then_some(()));
    until("nothing is left", || all_end_in(&names(&house), "mp4").then_some(()));
    assert!(!listed().contains(".ts"), "{}", listed());
    daemon.stop();
}

#[test]
fn a_daemon_waits_for_a_command_that_has_the_state_directory() {
    let house = House::new();
    let lock = File::create(house.path().join("state/lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let log = house.path().join("daemon.log");
    let daemon = std::thread::scope(|scope| {
        scope.spawn(|| {
            until("it waits", || fs::read_to_string(&log).is_ok_and(|log| log.contains("waiting for")).then_some(()));
            drop(lock);
        });
        Daemon::start(&house)
    });
    // Another daemon stays: nobody waits for it.
    let second = house.run(&["watch"]).expect_code(6);
    assert!(!second.err.contains("waiting for"), "{}", second.err);
    daemon.stop();
}
