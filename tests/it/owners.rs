//! Two processes with state directories of their own beside one root: one of them owns it, and nothing is lost or made twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::made;
use crate::support::{RunOutput, Sandbox, standard_config};

const ROUNDS: usize = 4;
const RECORDINGS: usize = 48;

/// A second state directory beside the root of a house, and its configuration.
fn second(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.path().join("second");
    fs::create_dir_all(&dir).unwrap();
    let config = standard_config(sandbox.path(), "").replace("/state\"", "/second/state\"");
    fs::write(dir.join("config.toml"), config).unwrap();
    dir.join("config.toml")
}

/// The program as somebody types it who knows of no configuration.
fn typed(sandbox: &Sandbox, args: &[&str]) -> Command {
    let elsewhere = sandbox.path().join("home");
    fs::create_dir_all(&elsewhere).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aftercast"));
    command.args(args).stdin(Stdio::null()).env_remove("AFTERCAST_CONFIG").env("XDG_STATE_HOME", &elsewhere);
    command.env("HOME", &elsewhere).env("TZ", "UTC").current_dir(&elsewhere);
    command
}

fn second_daemon(sandbox: &Sandbox) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aftercast"));
    command.arg("--config").arg(second(sandbox)).arg("watch").stdin(Stdio::null()).env("TZ", "UTC");
    command.current_dir(sandbox.path());
    command
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> RunOutput {
    child.wait_with_output().unwrap().into()
}

/// Drops recordings while another process tries to get at them, round after round; then each must have been finished once,
/// as a whole, by whoever it was.
fn beside(change: impl Fn(&mut Command), other: impl Fn(&Sandbox) -> Command, code: i32) {
    let sandbox = Sandbox::new();
    let flv = made("flv", 2);
    let daemon = Daemon::start_with(&sandbox, &change);
    for round in 0..ROUNDS {
        let mut command = other(&sandbox);
        change(&mut command);
        let other = spawn(command);
        for n in 0..RECORDINGS {
            sandbox.put(&flv, &format!("round{round}/room{round}-{n}.flv"));
        }
        let run = ended(other);
        assert_eq!(run.code(), code, "{}\n{}", run.out, run.err);
        until("every recording of the round is finished", || {
            let left = fs::read_dir(sandbox.root().join(format!("round{round}"))).unwrap();
            let is_flv = |name: &Path| name.extension().is_some_and(|e| e == "flv");
            (!left.map(|entry| entry.unwrap().path()).any(|path| is_flv(&path))).then_some(())
        });
    }
    until("every recording is catalogued", || (sandbox.vods().len() >= ROUNDS * RECORDINGS).then_some(()));
    daemon.stop();
    each_is_there_once(&sandbox);
}

fn each_is_there_once(sandbox: &Sandbox) {
    let mut digests = BTreeSet::new();
    for round in 0..ROUNDS {
        let directory = sandbox.root().join(format!("round{round}"));
        let names: BTreeSet<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        let expected: BTreeSet<_> = (0..RECORDINGS).map(|n| format!("room{round}-{n}.mp4").into()).collect();
        assert_eq!(names, expected, "one file each, under its own name, and no partial");
        digests.extend(names.iter().map(|name| blake3::hash(&fs::read(directory.join(name)).unwrap()).to_hex()));
    }
    assert_eq!(digests.len(), 1, "the same recording gives the same file, whole");
    let paths: BTreeSet<_> = sandbox.vods().iter().map(|vod| vod["filePath"].as_str().unwrap().to_owned()).collect();
    assert_eq!((paths.len(), sandbox.vods().len()), (ROUNDS * RECORDINGS, ROUNDS * RECORDINGS), "one VoD each");
}

fn recover(sandbox: &Sandbox) -> Command {
    typed(sandbox, &["recover", sandbox.root().to_str().unwrap()])
}

fn process(sandbox: &Sandbox) -> Command {
    typed(sandbox, &["process", sandbox.root().to_str().unwrap()])
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
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let refused = ended(spawn(second_daemon(&sandbox))).expect_code(6);
    let state = sandbox.path().join("state");
    assert!(refused.err.contains("in use by another aftercast"), "{}", refused.err);
    assert!(refused.err.contains(&format!("--state-dir {}", state.display())), "{}", refused.err);
    assert!(refused.err.contains(&daemon.id().to_string()), "{}", refused.err);
    daemon.stop();
    sandbox.put(&made("flv", 2), "room1.flv");
    ended(spawn(process(&sandbox))).expect_code(0);
    assert!(sandbox.root().join("room1.mp4").exists());
}

/// A command without a configuration that takes the root over while its owner rests must not take away what that knows it by.
#[test]
fn a_root_that_another_took_over_meanwhile_is_still_known_to_its_owner() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.process().expect_code(0);
    // Removed by a person: no recording is left that could tell the root.
    fs::remove_file(sandbox.root().join("room1.mp4")).unwrap();
    sandbox.put(&made("flv", 2), "room2.flv");
    ended(spawn(process(&sandbox))).expect_code(0);
    fs::remove_file(sandbox.root().join("room2.mp4")).unwrap();
    sandbox.put(&made("flv", 2), "room3.flv");
    sandbox.process().expect_code(0);
    assert!(sandbox.root().join("room3.mp4").exists());
}

#[test]
fn what_lies_in_anothers_root_below_is_left_to_it_and_said() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    sandbox.put(&made("flv", 2), "../room2.flv");
    let run = ended(spawn(typed(&sandbox, &["process", sandbox.path().to_str().unwrap()])));
    daemon.stop();
    assert!(sandbox.path().join("room2.mp4").exists(), "{}\n{}", run.out, run.err);
    sandbox.put(&made("flv", 2), "room1.flv");
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("AFTERCAST_WATCH__QUIET", "1h");
    });
    until("it is finished by its owner", || sandbox.root().join("room1.mp4").exists().then_some(()));
    fs::rename(sandbox.root().join("room1.mp4"), sandbox.path().join("away.mp4")).unwrap();
    let run = ended(spawn(typed(&sandbox, &["process", sandbox.path().to_str().unwrap()])));
    daemon.stop();
    assert!(!run.out.contains("root/"), "nothing of the other's is touched: {}", run.out);
}

/// Somebody who may write in the root puts links to another file in the place of whatever appears there.
#[test]
fn a_link_in_the_place_of_any_name_leads_nobody_out_of_the_root() {
    let sandbox = Sandbox::new();
    let victim = sandbox.path().join("victim");
    fs::write(&victim, "secret").unwrap();
    let (stop, swapped) = (AtomicBool::new(false), AtomicU32::new(0));
    let flv = made("flv", 2);
    for n in 0..40 {
        sandbox.put(&flv, &format!("room{n}.flv"));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                swapped.fetch_add(swap_all(&sandbox.root(), &victim), Ordering::SeqCst);
            }
        });
        for _ in 0..3 {
            // Without in place: files are written aside and renamed.
            sandbox
                .command(&["process", "--again", sandbox.root().to_str().unwrap()])
                .env("AFTERCAST_FINISH__SPLICE", "copy")
                .output()
                .unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(swapped.into_inner() > 0, "nothing was swapped, so nothing was tried");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
    assert!(
        !fs::read_dir(sandbox.store())
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
    let sandbox = Sandbox::new();
    let outside = sandbox.path().join("outside");
    fs::create_dir(&outside).unwrap();
    sandbox.put(&made("flv", 2), "live/room1.flv");
    // The subfolder of the finished file leads out.
    std::os::unix::fs::symlink(&outside, sandbox.root().join("live/vod")).unwrap();
    let root = sandbox.root();
    let mut command = sandbox.command(&["process", root.to_str().unwrap()]);
    let run: RunOutput = command.env("AFTERCAST_FINISH__RECORDING_SUBFOLDER", "vod").output().unwrap().into();
    assert_ne!(run.code(), 0, "{}", run.out);
    assert!(fs::read_dir(&outside).unwrap().next().is_none(), "{}", run.out);
    assert!(sandbox.root().join("live/room1.flv").exists());
}
