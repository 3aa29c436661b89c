//! Two processes with state directories of their own beside one root: one of them owns it, and nothing is lost or made twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{House, Run, standard_config};

const ROUNDS: usize = 4;
const RECORDINGS: usize = 48;

/// A second state directory beside the root of a house, and its configuration.
fn second(house: &House) -> PathBuf {
    let dir = house.path().join("second");
    fs::create_dir_all(&dir).unwrap();
    let config = standard_config(house.path(), "").replace("/state\"", "/second/state\"");
    fs::write(dir.join("config.toml"), config).unwrap();
    dir.join("config.toml")
}

/// The program as somebody types it who knows of no configuration.
fn typed(house: &House, args: &[&str]) -> Command {
    let elsewhere = house.path().join("home");
    fs::create_dir_all(&elsewhere).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aftercast"));
    command.args(args).stdin(Stdio::null()).env_remove("AFTERCAST_CONFIG").env("XDG_STATE_HOME", &elsewhere);
    command.env("HOME", &elsewhere).env("TZ", "UTC").current_dir(&elsewhere);
    command
}

fn second_daemon(house: &House) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aftercast"));
    command.arg("--config").arg(second(house)).arg("watch").stdin(Stdio::null()).env("TZ", "UTC");
    command.current_dir(house.path());
    command
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

/// Drops recordings while another process tries to get at them, round after round; then each must have been finished once,
/// as a whole, by whoever it was.
fn beside(change: impl Fn(&mut Command), other: impl Fn(&House) -> Command, code: i32) {
    let house = House::new();
    let flv = made("flv", 2);
    let daemon = Daemon::start_with(&house, &change);
    for round in 0..ROUNDS {
        let mut command = other(&house);
        change(&mut command);
        let other = spawn(command);
        for n in 0..RECORDINGS {
            house.put(&flv, &format!("round{round}/room{round}-{n}.flv"));
        }
        let run = ended(other);
        assert_eq!(run.code(), code, "{}\n{}", run.out, run.err);
        until("every recording of the round is finished", || {
            let left = fs::read_dir(house.root().join(format!("round{round}"))).unwrap();
            let is_flv = |name: &Path| name.extension().is_some_and(|e| e == "flv");
            (!left.map(|entry| entry.unwrap().path()).any(|path| is_flv(&path))).then_some(())
        });
    }
    until("every recording is catalogued", || (house.vods().len() >= ROUNDS * RECORDINGS).then_some(()));
    daemon.stop();
    each_is_there_once(&house);
}

fn each_is_there_once(house: &House) {
    let mut digests = BTreeSet::new();
    for round in 0..ROUNDS {
        let directory = house.root().join(format!("round{round}"));
        let names: BTreeSet<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        let expected: BTreeSet<_> = (0..RECORDINGS).map(|n| format!("room{round}-{n}.mp4").into()).collect();
        assert_eq!(names, expected, "one file each, under its own name, and no partial");
        digests.extend(names.iter().map(|name| blake3::hash(&fs::read(directory.join(name)).unwrap()).to_hex()));
    }
    assert_eq!(digests.len(), 1, "the same recording gives the same file, whole");
    let paths: BTreeSet<_> = house.vods().iter().map(|vod| vod["filePath"].as_str().unwrap().to_owned()).collect();
    assert_eq!((paths.len(), house.vods().len()), (ROUNDS * RECORDINGS, ROUNDS * RECORDINGS), "one VoD each");
}

fn recover(house: &House) -> Command {
    typed(house, &["recover", house.root().to_str().unwrap()])
}

fn process(house: &House) -> Command {
    typed(house, &["process", house.root().to_str().unwrap()])
}

#[test]
fn a_second_daemon_is_refused_and_nothing_is_lost_or_made_twice() {
    beside(|_| (), second_daemon, 6);
}

#[test]
fn recover_without_its_configuration_is_run_by_the_daemon_that_owns_the_root() {
    beside(|_| (), recover, 0);
}

#[test]
fn process_without_its_configuration_is_run_by_the_daemon_that_owns_the_root() {
    beside(|_| (), process, 0);
}

#[test]
fn where_the_file_system_has_no_locks_a_second_daemon_is_refused_all_the_same() {
    beside(
        |command| {
            command.env("AFTERCAST_NO_ROOT_LOCKS", "1");
        },
        second_daemon,
        6,
    );
}

#[test]
fn the_second_owner_is_told_who_the_first_one_is_and_takes_over_when_it_ends() {
    let house = House::new();
    let daemon = Daemon::start(&house);
    let refused = ended(spawn(second_daemon(&house))).expect_code(6);
    let state = house.path().join("state");
    assert!(refused.err.contains("in use by another aftercast"), "{}", refused.err);
    assert!(refused.err.contains(&format!("--state-dir {}", state.display())), "{}", refused.err);
    assert!(refused.err.contains(&daemon.id().to_string()), "{}", refused.err);
    daemon.stop();
    house.put(&made("flv", 2), "room1.flv");
    ended(spawn(process(&house))).expect_code(0);
    assert!(house.root().join("room1.mp4").exists());
}

/// A command without a configuration that takes the root over while its owner rests must not take away what that knows it by.
#[test]
fn a_root_that_another_took_over_meanwhile_is_still_known_to_its_owner() {
    let house = House::new();
    house.put(&made("flv", 2), "room1.flv");
    house.process().expect_code(0);
    // Removed by a person: no recording is left that could tell the root.
    fs::remove_file(house.root().join("room1.mp4")).unwrap();
    house.put(&made("flv", 2), "room2.flv");
    ended(spawn(process(&house))).expect_code(0);
    fs::remove_file(house.root().join("room2.mp4")).unwrap();
    house.put(&made("flv", 2), "room3.flv");
    house.process().expect_code(0);
    assert!(house.root().join("room3.mp4").exists());
}

#[test]
fn what_lies_in_anothers_root_below_is_left_to_it_and_said() {
    let house = House::new();
    let daemon = Daemon::start(&house);
    house.put(&made("flv", 2), "../room2.flv");
    let run = ended(spawn(typed(&house, &["process", house.path().to_str().unwrap()])));
    daemon.stop();
    assert!(house.path().join("room2.mp4").exists(), "{}\n{}", run.out, run.err);
    house.put(&made("flv", 2), "room1.flv");
    let daemon = Daemon::start_with(&house, |command| {
        command.env("AFTERCAST_WATCH__QUIET", "1h");
    });
    until("it is finished by its owner", || house.root().join("room1.mp4").exists().then_some(()));
    fs::rename(house.root().join("room1.mp4"), house.path().join("away.mp4")).unwrap();
    let run = ended(spawn(typed(&house, &["process", house.path().to_str().unwrap()])));
    daemon.stop();
    assert!(!run.out.contains("root/"), "nothing of the other's is touched: {}", run.out);
}

/// Somebody who may write in the root puts links to another file in the place of whatever appears there.
#[test]
fn a_link_in_the_place_of_any_name_leads_nobody_out_of_the_root() {
    let house = House::new();
    let victim = house.path().join("victim");
    fs::write(&victim, "secret").unwrap();
    let (stop, swapped) = (AtomicBool::new(false), AtomicU32::new(0));
    let flv = made("flv", 2);
    for n in 0..40 {
        house.put(&flv, &format!("room{n}.flv"));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                swapped.fetch_add(swap_all(&house.root(), &victim), Ordering::SeqCst);
            }
        });
        for _ in 0..3 {
            // Without in place: files are written aside and renamed.
            house
                .command(&["process", "--again", house.root().to_str().unwrap()])
                .env("AFTERCAST_FINISH__SPLICE", "copy")
                .output()
                .unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(swapped.into_inner() > 0, "nothing was swapped, so nothing was tried");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
    assert!(
        !fs::read_dir(house.store())
            .into_iter()
            .flatten()
            .any(|entry| { fs::read(entry.unwrap().path()).is_ok_and(|bytes| bytes == b"secret") })
    );
}

/// Puts a link in the place of each name of ours and of each finished file; how many it was.
fn swap_all(root: &Path, victim: &Path) -> u32 {
    let mut swapped = 0;
    for entry in fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_target = name.ends_with(".partial") || (name.contains(".mp4") && name.len() % 2 == 0);
        if is_target && entry.file_type().is_ok_and(|t| t.is_file()) {
            let link = root.join(".link");
            let _ = fs::remove_file(&link);
            if std::os::unix::fs::symlink(victim, &link).is_ok() && fs::rename(&link, entry.path()).is_ok() {
                swapped += 1;
            }
        }
    }
    swapped
}

#[test]
fn a_directory_that_becomes_a_link_leads_nobody_out_of_the_root() {
    let house = House::new();
    let outside = house.path().join("outside");
    fs::create_dir(&outside).unwrap();
    house.put(&made("flv", 2), "live/room1.flv");
    // The subfolder of the finished file leads out.
    std::os::unix::fs::symlink(&outside, house.root().join("live/vod")).unwrap();
    let root = house.root();
    let mut command = house.command(&["process", root.to_str().unwrap()]);
    let run: Run = command.env("AFTERCAST_FINISH__RECORDING_SUBFOLDER", "vod").output().unwrap().into();
    assert_ne!(run.code(), 0, "{}", run.out);
    assert!(fs::read_dir(&outside).unwrap().next().is_none(), "{}", run.out);
    assert!(house.root().join("live/room1.flv").exists());
}
