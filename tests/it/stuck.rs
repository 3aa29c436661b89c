//! What cannot go on behind *publishing*: it is never finished a second time, says why it waits, and goes on from where it
//! stands.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bad_input::{STRANGER, as_stranger, house_of_stranger, is_root};
use crate::support::daemon::{Daemon, until};
use crate::support::image::Image;
use crate::support::recordings::made;
use crate::support::{House, Run, standard_config, tree};

fn names(house: &House) -> Vec<String> {
    tree(&house.root()).into_keys().collect()
}

fn runs(program: &str, args: &[&str], path: &Path) -> bool {
    Command::new(program).args(args).arg(path).status().is_ok_and(|status| status.success())
}

/// What keeps a file where it is, until it is dropped.
struct Held {
    path: PathBuf,
    release: fn(&Path) -> bool,
}

impl Held {
    /// The attribute that even root has to take away first.
    fn immutable(path: PathBuf) -> Option<Self> {
        let release: fn(&Path) -> bool = |path| runs("chattr", &["-i"], path);
        runs("chattr", &["+i"], &path).then_some(Self { path, release })
    }

    /// A file that something is mounted on is busy.
    fn busy(path: PathBuf) -> Option<Self> {
        let release: fn(&Path) -> bool = |path| runs("umount", &["-l"], path);
        let text = path.to_str().unwrap().to_owned();
        runs("mount", &["--bind", &text], &path).then_some(Self { path, release })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.release)(&self.path);
    }
}

/// As the owner of the state directory: of another user's it is refused.
fn run(house: &House, args: &[&str]) -> Run {
    let is_of_stranger = fs::metadata(house.path().join("state")).is_ok_and(|state| state.uid() == STRANGER);
    if is_of_stranger { as_stranger(house, args, &[]) } else { house.run(args) }
}

fn queue(house: &House) -> String {
    run(house, &["queue", "list"]).expect_code(0).out
}

/// How often the step that waits was tried.
fn tries(house: &House) -> u64 {
    let listed = run(house, &["--json", "queue", "list"]).expect_code(0).json_lines();
    listed.iter().find_map(|line| line["postponed"]["tries"].as_u64()).unwrap_or(0)
}

#[track_caller]
fn is_finished_once(house: &House, expected: &[&str]) {
    assert_eq!(names(house), expected);
    assert_eq!(run(house, &["--json", "vod", "list"]).expect_code(0).json_lines().len(), 1);
    assert_eq!(tree(&house.store()).len(), 1, "{:?}", tree(&house.store()).keys());
}

/// The sequence is the same whatever keeps the source where it is: three runs, a daemon, two restarts.
fn a_source_that_stays(house: &House, run: impl Fn() -> Run, release: impl FnOnce()) {
    let mut before = 0;
    for _run in 0..3 {
        let said = run().expect_code(5).out;
        assert!(said.contains("finished and catalogued") && said.contains("cannot be removed"), "{said}");
        is_finished_once(house, &["room1.mp4", "room1.ts"]);
        let queue = queue(house);
        assert!(queue.contains("room1.ts") && queue.contains("cannot be removed"), "{queue}");
        let now = tries(house);
        assert!(now > before, "counted over restarts: {now} after {before}");
        before = now;
    }
    release();
    run().expect_code(0);
    is_finished_once(house, &["room1.mp4"]);
    assert!(!queue(house).contains("room1.ts"), "{}", queue(house));
}

#[test]
fn an_immutable_source_is_finished_once() {
    if !is_root("make a file immutable") {
        return;
    }
    let Some(image) = Image::mount("ext4", 64, &[]) else { return };
    let house = House::with_config_in(&image.path(), |dir| standard_config(dir, ""));
    let Some(held) = Held::immutable(house.put(&made("ts", 2), "room1.ts")) else {
        println!("skipped: no file can be made immutable here");
        return;
    };
    a_source_that_stays(&house, || house.process(), || drop(held));
}

#[test]
fn a_busy_source_is_finished_once() {
    if !is_root("mount") {
        return;
    }
    let house = House::new();
    let Some(held) = Held::busy(house.put(&made("ts", 2), "room1.ts")) else {
        println!("skipped: nothing can be mounted on a file here");
        return;
    };
    a_source_that_stays(&house, || house.process(), || drop(held));
}

#[test]
fn a_source_in_a_sticky_directory_is_finished_once() {
    if !is_root("put a file of another user into a directory") {
        return;
    }
    let house = house_of_stranger();
    let source = house.put(&made("ts", 2), "room1.ts");
    fs::set_permissions(&source, Permissions::from_mode(0o644)).unwrap();
    chown(house.root(), Some(0), Some(0)).unwrap();
    fs::set_permissions(house.root(), Permissions::from_mode(0o1777)).unwrap();
    // Weak evidence would keep the original: the lease is what makes it strong.
    let root = house.root();
    let run = || as_stranger(&house, &["process", root.to_str().unwrap()], &["--ambient-caps=+lease"]);
    a_source_that_stays(&house, run, || chown(&source, Some(STRANGER), Some(STRANGER)).unwrap());
}

/// The daemon tries again by itself, says it once, and at once when it is told that something has changed.
#[test]
fn a_daemon_keeps_trying_to_remove_a_source_and_says_it_once() {
    if !is_root("mount") {
        return;
    }
    let house =
        House::with_config(|dir| standard_config(dir, "").replace("[watch]\n", "[watch]\nrescan = \"100ms\"\n"));
    let source = house.put(&made("ts", 2), "room1.ts");
    let Some(held) = Held::busy(source) else {
        println!("skipped: nothing can be mounted on a file here");
        return;
    };
    for _start in 0..2 {
        let daemon = Daemon::start(&house);
        until("the removal was tried", || (tries(&house) > 0).then_some(()));
        let before = tries(&house);
        house.run(&["queue", "retry"]).expect_code(0);
        until("it was tried again", || (tries(&house) > before).then_some(()));
        is_finished_once(&house, &["room1.mp4", "room1.ts"]);
        daemon.stop();
    }
    let daemon = Daemon::start(&house);
    until("the removal was tried", || (tries(&house) > 0).then_some(()));
    assert_eq!(daemon.log().matches("postponed; it will be retried").count(), 1, "{}", daemon.log());
    drop(held);
    house.run(&["queue", "retry"]).expect_code(0);
    until("the source is gone", || (names(&house) == ["room1.mp4"]).then_some(()));
    daemon.stop();
    is_finished_once(&house, &["room1.mp4"]);
}

/// A rename that happened is not undone by what fails after it.
#[test]
fn a_directory_that_cannot_be_synced_after_the_rename_gets_one_file() {
    if !is_root("be another user") {
        return;
    }
    let house = house_of_stranger();
    let config = house.path().join("config.toml");
    let more = "[finish]\nrecording_subfolder = \"vod\"\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + more).unwrap();
    let source = house.put(&made("ts", 2), "room1.ts");
    chown(&source, Some(STRANGER), Some(STRANGER)).unwrap();
    // Files can be made there, and the directory cannot be opened to be synced.
    let vod = house.root().join("vod");
    fs::create_dir(&vod).unwrap();
    chown(&vod, Some(STRANGER), Some(STRANGER)).unwrap();
    fs::set_permissions(&vod, Permissions::from_mode(0o333)).unwrap();
    let run = || as_stranger(&house, &["process", source.to_str().unwrap()], &[]);
    for _run in 0..3 {
        run().expect_code(5);
        assert!(names(&house).iter().all(|name| !name.contains("_1")), "{:?}", names(&house));
        assert!(source.exists(), "nothing is removed before the record is durable");
    }
    fs::set_permissions(&vod, Permissions::from_mode(0o755)).unwrap();
    let root = house.root();
    as_stranger(&house, &["process", root.to_str().unwrap()], &[]).expect_code(0);
    is_finished_once(&house, &["vod/room1.mp4"]);
}
