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
use crate::support::{RunOutput, Sandbox, standard_config, tree};

fn names(sandbox: &Sandbox) -> Vec<String> {
    tree(&sandbox.root()).into_keys().collect()
}

fn runs(program: &str, args: &[&str], path: &Path) -> bool {
    Command::new(program).args(args).arg(path).status().is_ok_and(|status| status.success())
}

/// What keeps a file where it is, until it is dropped.
struct HeldFile {
    path: PathBuf,
    release: fn(&Path) -> bool,
}

impl HeldFile {
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

impl Drop for HeldFile {
    fn drop(&mut self) {
        (self.release)(&self.path);
    }
}

/// As the owner of the state directory: of another user's it is refused.
fn run(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    let is_of_stranger = fs::metadata(sandbox.path().join("state")).is_ok_and(|state| state.uid() == STRANGER);
    if is_of_stranger { as_stranger(sandbox, args, &[]) } else { sandbox.run(args) }
}

fn queue(sandbox: &Sandbox) -> String {
    run(sandbox, &["queue", "list"]).expect_code(0).out
}

/// How often the step that waits was tried.
fn tries(sandbox: &Sandbox) -> u64 {
    let listed = run(sandbox, &["--json", "queue", "list"]).expect_code(0).json_lines();
    listed.iter().find_map(|line| line["postponed"]["tries"].as_u64()).unwrap_or(0)
}

#[track_caller]
fn is_finished_once(sandbox: &Sandbox, expected: &[&str]) {
    assert_eq!(names(sandbox), expected);
    assert_eq!(run(sandbox, &["--json", "vod", "list"]).expect_code(0).json_lines().len(), 1);
    assert_eq!(tree(&sandbox.store()).len(), 1, "{:?}", tree(&sandbox.store()).keys());
}

/// The sequence is the same whatever keeps the source where it is: three runs, a daemon, two restarts.
fn a_source_that_stays(sandbox: &Sandbox, run: impl Fn() -> RunOutput, release: impl FnOnce()) {
    let mut before = 0;
    for _run in 0..3 {
        let said = run().expect_code(5).out;
        assert!(said.contains("finished and catalogued") && said.contains("cannot be removed"), "{said}");
        is_finished_once(sandbox, &["room1.mp4", "room1.ts"]);
        let queue = queue(sandbox);
        assert!(queue.contains("room1.ts") && queue.contains("cannot be removed"), "{queue}");
        let now = tries(sandbox);
        assert!(now > before, "counted over restarts: {now} after {before}");
        before = now;
    }
    release();
    run().expect_code(0);
    is_finished_once(sandbox, &["room1.mp4"]);
    assert!(!queue(sandbox).contains("room1.ts"), "{}", queue(sandbox));
}

#[test]
fn an_immutable_source_is_finished_once() {
    if !is_root("make a file immutable") {
        return;
    }
    let Some(image) = Image::mount("ext4", 64, &[]) else { return };
    let sandbox = Sandbox::with_config_in(&image.path(), |dir| standard_config(dir, ""));
    let Some(held) = HeldFile::immutable(sandbox.put(&made("ts", 2), "room1.ts")) else {
        println!("skipped: no file can be made immutable here");
        return;
    };
    a_source_that_stays(&sandbox, || sandbox.process(), || drop(held));
}

#[test]
fn a_busy_source_is_finished_once() {
    if !is_root("mount") {
        return;
    }
    let sandbox = Sandbox::new();
    let Some(held) = HeldFile::busy(sandbox.put(&made("ts", 2), "room1.ts")) else {
        println!("skipped: nothing can be mounted on a file here");
        return;
    };
    a_source_that_stays(&sandbox, || sandbox.process(), || drop(held));
}

#[test]
fn a_source_in_a_sticky_directory_is_finished_once() {
    if !is_root("put a file of another user into a directory") {
        return;
    }
    let sandbox = house_of_stranger();
    let source = sandbox.put(&made("ts", 2), "room1.ts");
    fs::set_permissions(&source, Permissions::from_mode(0o644)).unwrap();
    chown(sandbox.root(), Some(0), Some(0)).unwrap();
    fs::set_permissions(sandbox.root(), Permissions::from_mode(0o1777)).unwrap();
    // Weak evidence would keep the original: the lease is what makes it strong.
    let root = sandbox.root();
    let run = || as_stranger(&sandbox, &["process", root.to_str().unwrap()], &["--ambient-caps=+lease"]);
    a_source_that_stays(&sandbox, run, || chown(&source, Some(STRANGER), Some(STRANGER)).unwrap());
}

/// The daemon tries again by itself, says it once, and at once when it is told that something has changed.
#[test]
fn a_daemon_keeps_trying_to_remove_a_source_and_says_it_once() {
    if !is_root("mount") {
        return;
    }
    let sandbox =
        Sandbox::with_config(|dir| standard_config(dir, "").replace("[watch]\n", "[watch]\nrescan = \"100ms\"\n"));
    let source = sandbox.put(&made("ts", 2), "room1.ts");
    let Some(held) = HeldFile::busy(source) else {
        println!("skipped: nothing can be mounted on a file here");
        return;
    };
    for _start in 0..2 {
        let daemon = Daemon::start(&sandbox);
        until("the removal was tried", || (tries(&sandbox) > 0).then_some(()));
        let before = tries(&sandbox);
        sandbox.run(&["queue", "retry"]).expect_code(0);
        until("it was tried again", || (tries(&sandbox) > before).then_some(()));
        is_finished_once(&sandbox, &["room1.mp4", "room1.ts"]);
        daemon.stop();
    }
    let daemon = Daemon::start(&sandbox);
    until("the removal was tried", || (tries(&sandbox) > 0).then_some(()));
    assert_eq!(daemon.log().matches("postponed; it will be retried").count(), 1, "{}", daemon.log());
    drop(held);
    sandbox.run(&["queue", "retry"]).expect_code(0);
    until("the source is gone", || (names(&sandbox) == ["room1.mp4"]).then_some(()));
    daemon.stop();
    is_finished_once(&sandbox, &["room1.mp4"]);
}

/// A rename that happened is not undone by what fails after it.
#[test]
fn a_directory_that_cannot_be_synced_after_the_rename_gets_one_file() {
    if !is_root("be another user") {
        return;
    }
    let sandbox = house_of_stranger();
    let config = sandbox.path().join("config.toml");
    let more = "[finish]\nrecording_subfolder = \"vod\"\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + more).unwrap();
    let source = sandbox.put(&made("ts", 2), "room1.ts");
    chown(&source, Some(STRANGER), Some(STRANGER)).unwrap();
    // Files can be made there, and the directory cannot be opened to be synced.
    let vod = sandbox.root().join("vod");
    fs::create_dir(&vod).unwrap();
    chown(&vod, Some(STRANGER), Some(STRANGER)).unwrap();
    fs::set_permissions(&vod, Permissions::from_mode(0o333)).unwrap();
    let run = || as_stranger(&sandbox, &["process", source.to_str().unwrap()], &[]);
    for _run in 0..3 {
        run().expect_code(5);
        assert!(names(&sandbox).iter().all(|name| !name.contains("_1")), "{:?}", names(&sandbox));
        assert!(source.exists(), "nothing is removed before the record is durable");
    }
    fs::set_permissions(&vod, Permissions::from_mode(0o755)).unwrap();
    let root = sandbox.root();
    as_stranger(&sandbox, &["process", root.to_str().unwrap()], &[]).expect_code(0);
    is_finished_once(&sandbox, &["vod/room1.mp4"]);
}
