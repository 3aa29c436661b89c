//! A root that is not mounted, or under whose path another directory stands: nothing that is not there counts as gone, and
//! everything goes on when it is back.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::{Daemon, is_suspended, until, until_with};
use crate::support::recordings::{made, padded};
use crate::support::{Sandbox, standard_config, tree};

const KEPT: &str = "[retain]\ndelete_local = \"delivered\"\nprotect = [\"*\"]";
const FREED: &str = "[retain]\ndelete_local = \"delivered\"";

fn retaining(sandbox: &Sandbox, retain: &str) {
    fs::write(sandbox.path().join("config.toml"), standard_config(sandbox.path(), retain)).unwrap();
}

/// The root is somewhere else, and an empty directory stands in its place.
fn take_away(sandbox: &Sandbox) {
    fs::rename(sandbox.root(), sandbox.path().join("elsewhere")).unwrap();
    fs::create_dir(sandbox.root()).unwrap();
}

fn bring_back(sandbox: &Sandbox) {
    let _ = fs::remove_file(sandbox.root().join(".aftercast-root"));
    fs::remove_dir(sandbox.root()).unwrap();
    fs::rename(sandbox.path().join("elsewhere"), sandbox.root()).unwrap();
}

/// Every command that could take what is not there for gone.
fn ask_everything(sandbox: &Sandbox) {
    let root = sandbox.root();
    sandbox.run(&["retain"]).expect_code(0);
    let said = sandbox.process();
    assert!(said.code() != 0, "{}{}", said.out, said.err);
    assert!(said.err.contains("root not available"), "{}", said.err);
    sandbox.run(&["recover", root.to_str().unwrap()]);
    sandbox.run(&["vod", "verify"]);
    sandbox.run(&["catalog", "rebuild"]);
    sandbox.run(&["retain"]).expect_code(0);
}

fn delivered(sandbox: &Sandbox) -> Vec<u8> {
    let bytes = padded("take", 0);
    fs::write(sandbox.root().join("take.mp4"), &bytes).unwrap();
    sandbox.process().expect_code(0);
    retaining(sandbox, FREED);
    bytes
}

#[test]
fn a_root_that_another_directory_stands_for_keeps_its_records_and_goes_on_when_it_is_back() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    delivered(&sandbox);
    let before = sandbox.vods();
    take_away(&sandbox);
    ask_everything(&sandbox);
    assert_eq!(sandbox.vods(), before);
    bring_back(&sandbox);
    sandbox.run(&["retain"]).expect_code(0);
    assert!(sandbox.vods()[0]["freedAt"].is_i64() && !sandbox.root().join("take.mp4").exists());
}

#[test]
fn a_root_that_is_not_mounted_keeps_its_records_and_goes_on_when_it_is_mounted_again() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    let disk = sandbox.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = || Command::new("mount").arg("--bind").args([&disk, &sandbox.root()]).status();
    if !mount().is_ok_and(|status| status.success()) {
        let _ = writeln!(std::io::stdout(), "skipped: nothing can be mounted here");
        return;
    }
    delivered(&sandbox);
    let before = sandbox.vods();
    assert!(Command::new("umount").arg(sandbox.root()).status().unwrap().success());
    ask_everything(&sandbox);
    assert_eq!(sandbox.vods(), before);
    assert!(mount().unwrap().success());
    sandbox.run(&["retain"]).expect_code(0);
    let is_freed = sandbox.vods()[0]["freedAt"].is_i64() && !disk.join("take.mp4").exists();
    assert!(Command::new("umount").arg(sandbox.root()).status().unwrap().success());
    assert!(is_freed);
}

#[test]
fn a_file_that_is_gone_from_a_root_that_is_there_counts_as_freed_as_before() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    delivered(&sandbox);
    fs::remove_file(sandbox.root().join("take.mp4")).unwrap();
    sandbox.run(&["retain"]).expect_code(0);
    assert!(sandbox.vods()[0]["freedAt"].is_i64());
}

#[test]
fn a_restored_root_is_known_by_its_recordings() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    delivered(&sandbox);
    fs::rename(sandbox.root(), sandbox.path().join("elsewhere")).unwrap();
    let copied = Command::new("cp").arg("-a").args([sandbox.path().join("elsewhere"), sandbox.root()]).status();
    assert!(copied.unwrap().success());
    sandbox.process().expect_code(0);
    assert_eq!(sandbox.vods().len(), 1);
}

#[test]
fn what_was_under_way_when_the_root_went_is_carried_on_when_it_is_back() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    delivered(&sandbox);
    sandbox.put(&made("ts", 2), "room1.ts");
    let root = sandbox.root();
    for step in ["partial created:1", "moved aside:1"] {
        let mut command = sandbox.command(&["process", root.to_str().unwrap()]);
        let run = command.env("AFTERCAST_KILL_AFTER", step).output().unwrap();
        if run.status.code().is_some() {
            continue;
        }
        take_away(&sandbox);
        ask_everything(&sandbox);
        bring_back(&sandbox);
    }
    retaining(&sandbox, KEPT);
    let goes_on = || drop(sandbox.process());
    until_with("it is finished", Duration::from_millis(200), goes_on, || {
        let names: Vec<_> = tree(&root).into_keys().filter(|name| name.contains("room1")).collect();
        (names == ["room1.mp4"]).then_some(())
    });
    assert_eq!(sandbox.vods().iter().filter(|vod| vod["vodName"] == "room1.mp4").count(), 1);
}

#[test]
fn a_delivery_waits_for_its_root_and_needs_no_person() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    // The store is not there at first.
    fs::remove_dir(sandbox.store()).unwrap();
    fs::write(sandbox.store(), "no directory").unwrap();
    fs::write(sandbox.root().join("take.mp4"), padded("take", 0)).unwrap();
    sandbox.process().expect_code(5);
    take_away(&sandbox);
    fs::remove_file(sandbox.store()).unwrap();
    fs::create_dir(sandbox.store()).unwrap();
    sandbox.run(&["queue", "retry"]).expect_code(0);
    sandbox.process();
    let queue = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert!(queue.contains("pending") && queue.contains("not available"), "{queue}");
    bring_back(&sandbox);
    sandbox.run(&["queue", "retry"]).expect_code(0);
    sandbox.process().expect_code(0);
    assert!(sandbox.store().join("take.mp4").exists());
}

#[test]
fn a_daemon_says_once_that_a_root_is_not_available_and_finds_what_comes_when_it_is_back() {
    let sandbox = Sandbox::with_config(|dir| {
        standard_config(dir, KEPT).replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"")
    });
    delivered(&sandbox);
    let config = standard_config(sandbox.path(), FREED).replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"");
    take_away(&sandbox);
    fs::write(sandbox.path().join("config.toml"), config).unwrap();
    let daemon = Daemon::start(&sandbox);
    daemon.until_said("root not available");
    fs::write(sandbox.root().join("stranger.mp4"), padded("stranger", 0)).unwrap();
    let rescans = std::time::Instant::now();
    until("a few rescans are over", || (rescans.elapsed() > Duration::from_secs(3)).then_some(()));
    let vods = sandbox.vods();
    assert!(vods.len() == 1 && vods[0].get("freedAt").is_none(), "{vods:?}");
    assert_eq!(daemon.log().matches("root not available").count(), 1, "{}", daemon.log());
    fs::remove_file(sandbox.root().join("stranger.mp4")).unwrap();
    bring_back(&sandbox);
    let gone = |path: &Path| (!path.exists()).then_some(());
    until("it is freed", || gone(&sandbox.root().join("take.mp4")));
    daemon.until_said("root available again");
    fs::write(sandbox.root().join("new.mp4"), padded("new", 0)).unwrap();
    until("the new one is catalogued", || (sandbox.vods().len() == 2).then_some(()));
    daemon.stop();
}

/// Between the rename and the record nobody can tell, as long as the root is away, whether the finished file has its name.
#[test]
fn a_recording_that_has_its_name_when_the_root_goes_is_not_finished_twice() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    delivered(&sandbox);
    retaining(&sandbox, KEPT);
    sandbox.put(&made("ts", 2), "room1.ts");
    let root = sandbox.root();
    let mut command = sandbox.command(&["process", root.to_str().unwrap()]);
    let run = command.env("AFTERCAST_KILL_AFTER", "renamed:1").output().unwrap();
    assert_eq!(run.status.code(), None, "it was killed: {}", String::from_utf8_lossy(&run.stderr));
    take_away(&sandbox);
    for _try in 0..2 {
        assert_ne!(sandbox.process().code(), 0);
    }
    bring_back(&sandbox);
    sandbox.process().expect_code(0);
    let names: Vec<_> = tree(&root).into_keys().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(names, ["room1.mp4", "take.mp4"]);
    assert_eq!(sandbox.vods().len(), 2);
}

#[test]
fn a_recording_whose_root_goes_right_before_it_is_catalogued_is_delivered_when_it_is_back() {
    let sandbox = Sandbox::with_config(|dir| {
        standard_config(dir, KEPT).replace("quiet = \"1s\"", "quiet = \"1s\"\nrescan = \"1s\"")
    });
    let config = fs::read_to_string(sandbox.path().join("config.toml")).unwrap();
    delivered(&sandbox);
    fs::write(sandbox.path().join("config.toml"), config).unwrap();
    sandbox.put(&made("ts", 2), "room1.ts");
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("AFTERCAST_STOP_AFTER", "renamed:1");
    });
    until("the daemon is suspended", || is_suspended(daemon.id()).then_some(()));
    take_away(&sandbox);
    daemon.signal("CONT");
    daemon.until_said("root not available");
    bring_back(&sandbox);
    until("it is delivered", || sandbox.store().join("room1.mp4").exists().then_some(()));
    assert_eq!(sandbox.vods().len(), 2);
    daemon.stop();
}

/// A directory that is mounted under another device number each time, as file systems on the network, FUSE, overlay and Btrfs are.
struct Renumbered {
    dir: tempfile::TempDir,
    place: PathBuf,
    /// Takes the number that has become free.
    others: Vec<PathBuf>,
}

impl Renumbered {
    fn over(place: &Path) -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let this = Self { dir, place: place.to_owned(), others: Vec::new() };
        this.mount().map(|()| this)
    }

    fn mount(&self) -> Result<(), String> {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        run(Command::new("mount").args(["-t", "overlay", "-o", &options, "none"]).arg(&self.place))
    }

    fn mount_again(&mut self) {
        let device = || fs::metadata(&self.place).unwrap().dev();
        let before = device();
        run(Command::new("umount").arg(&self.place)).unwrap();
        let other = self.dir.path().join(format!("other{}", self.others.len()));
        fs::create_dir(&other).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&other)).unwrap();
        self.mount().unwrap();
        assert_ne!(device(), before);
        self.others.push(other);
    }
}

impl Drop for Renumbered {
    fn drop(&mut self) {
        for path in self.others.iter().chain([&self.place]) {
            let _ = run(Command::new("umount").arg("-l").arg(path));
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

#[test]
fn a_root_that_has_another_device_number_after_a_reboot_holds_the_same_recordings() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    let mut root = match Renumbered::over(&sandbox.root()) {
        Ok(root) => root,
        Err(why) => {
            println!("skipped: no overlay can be mounted: {why}");
            return;
        }
    };
    // One is delivered, the other one waits for its store.
    delivered(&sandbox);
    retaining(&sandbox, KEPT);
    fs::rename(sandbox.store(), sandbox.path().join("store aside")).unwrap();
    fs::write(sandbox.store(), "").unwrap();
    fs::write(sandbox.root().join("waits.mp4"), padded("waits", 0)).unwrap();
    sandbox.process();
    let vods = |sandbox: &Sandbox| {
        let of = |vod: &Value| (vod["vodId"].to_string(), vod["remote"].as_array().unwrap().len());
        sandbox.vods().iter().map(of).collect::<BTreeMap<_, _>>()
    };
    let before = vods(&sandbox);
    assert_eq!(before.values().sum::<usize>(), 1, "{before:?}");
    root.mount_again();
    fs::remove_file(sandbox.store()).unwrap();
    fs::rename(sandbox.path().join("store aside"), sandbox.store()).unwrap();
    sandbox.run(&["queue", "retry"]).expect_code(0);
    sandbox.process().expect_code(0);
    assert!(sandbox.store().join("waits.mp4").exists());
    let after = vods(&sandbox);
    assert!(after.keys().eq(before.keys()) && after.values().all(|copies| *copies == 1), "{after:?}");
    root.mount_again();
    // Both are what was delivered, and are freed; or deleted, if somebody wants that.
    let id = |name: &str| {
        let vods = sandbox.vods();
        vods.iter().find(|vod| vod["vodName"] == name).unwrap()["vodId"].as_str().unwrap().to_owned()
    };
    // There are no leases on an overlay: both are moved aside first.
    let deleted = sandbox.run(&["vod", "delete", &id("waits.mp4"), "--yes"]);
    assert!(!sandbox.root().join("waits.mp4").exists() && !deleted.err.contains("differs"), "{}", deleted.err);
    retaining(&sandbox, FREED);
    until("both are gone", || {
        sandbox.process();
        tree(&sandbox.root()).keys().all(|name| name == ".aftercast-root").then_some(())
    });
}
