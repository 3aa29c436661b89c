//! What is wrong around a recording or with it: a clear error or a quarantined defect, the documented exit code, nothing
//! lost, and the daemon goes on.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{ffmpeg, made};
use crate::support::stores::{ACCESS_KEY, SECRET_KEY, s3};
use crate::support::{RunOutput, Sandbox, config_with_targets, standard_config, tree};

pub fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let _ = writeln!(std::io::stderr(), "skipped: only root can {what}");
    }
    is_root
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    tree(&sandbox.root()).into_keys().collect()
}

pub const STRANGER: u32 = 65534;

/// Runs a command of the program as another user, who may read and write the house except what a test takes away.
pub fn as_stranger(sandbox: &Sandbox, args: &[&str], privileges: &[&str]) -> RunOutput {
    let own = sandbox.command(args);
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={STRANGER}"), &format!("--regid={STRANGER}"), "--clear-groups"]);
    let inherited = if privileges.is_empty() { "--inh-caps=-all" } else { "--inh-caps=-all,+lease" };
    command.arg(inherited).args(privileges).arg("--").arg(sandbox.path().join("aftercast")).args(own.get_args());
    command.env("TZ", "UTC").env_remove("AFTERCAST_CONFIG").env_remove("AFTERCAST_TEST_TOOLS");
    command.current_dir(sandbox.path()).output().unwrap().into()
}

/// A house that the stranger may use, with the program in it: its own directory may be closed to others.
pub fn house_of_stranger() -> Sandbox {
    let sandbox = Sandbox::new();
    let program = sandbox.path().join("aftercast");
    fs::copy(env!("CARGO_BIN_EXE_aftercast"), &program).unwrap();
    for path in [sandbox.path().to_owned(), program, sandbox.root(), sandbox.path().join("state"), sandbox.store()] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    sandbox
}

fn assert_says_what_helps(run: &RunOutput) {
    let said = format!("{}{}", run.out, run.err);
    assert!(said.contains("usermod -aG") && said.contains("setfacl"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_read_is_an_environment_failure_and_the_rest_goes_on() {
    if !is_root("take a directory from another user") {
        return;
    }
    let sandbox = house_of_stranger();
    let closed = sandbox.put(&made("flv", 2), "closed/room1.flv");
    fs::set_permissions(closed.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    let open = sandbox.put(&made("flv", 2), "room2.flv");
    chown(&open, Some(STRANGER), Some(STRANGER)).unwrap();
    let root = sandbox.root();
    let run = as_stranger(&sandbox, &["process", root.to_str().unwrap()], &[]).expect_code(5);
    assert!(run.out.contains("closed"), "{}", run.out);
    assert_says_what_helps(&run);
    assert_eq!(names(&sandbox), ["closed/room1.flv", "room2.mp4"], "nothing is touched there, the rest is done");
}

#[test]
fn a_directory_that_may_not_be_written_is_left_untouched_with_the_line_that_helps() {
    if !is_root("take a directory from another user") {
        return;
    }
    let sandbox = house_of_stranger();
    let path = sandbox.put(&made("flv", 2), "live/room1.flv");
    // Read, not write; the file rests so that it may be taken without a lease.
    for path in [&path, path.parent().unwrap()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let before = tree(&sandbox.root());
    let root = sandbox.root();
    let run = as_stranger(&sandbox, &["process", root.to_str().unwrap()], &[]).expect_code(5);
    assert_says_what_helps(&run);
    assert_eq!(tree(&sandbox.root()), before);
    assert!(tree(&sandbox.store()).is_empty());
    // Once the group lets it in, the same command succeeds.
    for path in [path.as_path(), path.parent().unwrap()] {
        chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    as_stranger(&sandbox, &["process", "--again", root.to_str().unwrap()], &[]).expect_code(0);
    assert_eq!(names(&sandbox), ["live/room1.mp4"]);
}

// Configuration

fn configured(text: &str) -> RunOutput {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, text));
    sandbox.put(&made("flv", 2), "room1.flv");
    let before = tree(&sandbox.root());
    let run = sandbox.process().expect_code(3);
    assert_eq!(tree(&sandbox.root()), before);
    sandbox.run(&["watch"]).expect_code(3);
    sandbox.run(&["config", "check"]).expect_code(3);
    run
}

#[test]
fn an_unknown_key_or_a_wrong_type_names_key_line_and_nearest() {
    let run = configured("[finish]\nkeep_orginal = true\n");
    assert!(run.err.contains("config.toml:11") && run.err.contains("keep_orginal"), "{}", run.err);
    assert!(run.err.contains("keep_original"), "the nearest: {}", run.err);
    let run = configured("[finish]\nkeep_original = \"perhaps\"\n");
    assert!(run.err.contains("config.toml:11") && run.err.contains("keep_original"), "{}", run.err);
    assert!(run.err.contains("true or false"), "what is wanted: {}", run.err);
    let run = configured("[finish\n");
    assert!(run.err.contains("config.toml:10"), "{}", run.err);
}

#[test]
fn a_file_target_inside_a_root_and_freeing_without_a_target_are_refused() {
    let sandbox = Sandbox::with_config(|dir| {
        standard_config(dir, "")
            .replace(&format!("file://{}/store", dir.display()), &format!("file://{}/root/vod", dir.display()))
    });
    let run = sandbox.process().expect_code(3);
    assert!(run.err.contains("root"), "{}", run.err);
    let sandbox = Sandbox::with_config(|dir| {
        let config = standard_config(dir, "[retain]\ndelete_local = \"delivered\"");
        config.replace("name = \"store\"", "name = \"store\"\nrequired = false")
    });
    assert!(sandbox.process().expect_code(3).err.contains("required"));
}

#[test]
fn a_missing_bucket_is_named_and_nothing_is_lost() {
    let server = s3();
    let target = server.target("no-such-bucket", ACCESS_KEY, SECRET_KEY);
    let sandbox =
        Sandbox::with_config(|dir| config_with_targets(dir, &[&target], "[retain]\ndelete_local = \"delivered\""));
    sandbox.put(&made("flv", 2), "room1.flv");
    let run = sandbox.process().expect_code(5);
    assert!(run.out.contains("no-such-bucket") || run.out.contains("bucket"), "{}", run.out);
    assert_eq!(names(&sandbox), ["room1.mp4"]);
    let doctor = sandbox.run(&["doctor"]).expect_code(5);
    assert!(doctor.out.contains("bucket"), "{}", doctor.out);
}

// Disk

/// A file system of its own for the root; unmounted when the test ends.
pub struct Mount(PathBuf);

impl Mount {
    pub fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_recording_and_no_partial_and_is_an_environment_failure() {
    if !is_root("mount") {
        return;
    }
    let sandbox = Sandbox::new();
    let Some(_mount) = Mount::tmpfs(&sandbox.root(), "400k") else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let source = sandbox.put(&made("flv", 4), "room1.flv");
    let original = fs::read(&source).unwrap();
    fs::write(sandbox.root().join("ballast"), vec![7; (400 << 10) - original.len() - (16 << 10)]).unwrap();
    let run = sandbox.process().expect_code(5);
    let said = format!("{}{}", run.out, run.err);
    assert!(said.contains("space") || said.contains("room"), "{said}");
    assert!(said.contains("safe"), "it says what is safe: {said}");
    assert_eq!(names(&sandbox), ["ballast", "room1.flv"]);
    assert_eq!(fs::read(&source).unwrap(), original);

    fs::remove_file(sandbox.root().join("ballast")).unwrap();
    sandbox.process().expect_code(0);
    assert_eq!(names(&sandbox), ["room1.mp4"]);
}

/// The check before the work cannot know of everything: the disk fills while the file is written.
#[test]
fn a_disk_that_fills_during_the_work_leaves_the_recording_and_no_partial() {
    if !is_root("mount") {
        return;
    }
    let sandbox = Sandbox::with_config(|dir| {
        let target = format!("file://{}/store", dir.display());
        standard_config(dir, "").replace(&target, &format!("file://{}/small", dir.display()))
    });
    let small = sandbox.path().join("small");
    fs::create_dir(&small).unwrap();
    let Some(_mount) = Mount::tmpfs(&small, "64k") else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    sandbox.put(&made("flv", 4), "room1.flv");
    sandbox.process().expect_code(5);
    assert_eq!(names(&sandbox), ["room1.mp4"], "finished and catalogued; only its delivery waits");
    assert!(tree(&small).is_empty(), "{:?}", tree(&small).keys());
    assert_eq!(sandbox.vods().len(), 1);
}

// Files that come and go

#[test]
fn files_that_vanish_or_grow_meanwhile_are_no_trouble_to_the_daemon() {
    let sandbox =
        Sandbox::with_config(|dir| standard_config(dir, "").replace("[watch]\n", "[watch]\nrescan = \"100ms\"\n"));
    let daemon = Daemon::start(&sandbox);
    let bytes = fs::read(made("flv", 6)).unwrap();
    for n in 0..20 {
        let path = sandbox.root().join(format!("vanishes{n}.flv"));
        fs::write(&path, &bytes).unwrap();
        if n % 2 == 0 {
            std::thread::yield_now();
        }
        let _ = fs::remove_file(&path);
    }
    let grows = sandbox.root().join("grows.flv");
    for piece in bytes.chunks(bytes.len() / 40) {
        File::options().create(true).append(true).open(&grows).unwrap().write_all(piece).unwrap();
    }
    let whole = until("the whole of what grew", || {
        let vods = sandbox.vods();
        vods.into_iter().find(|v| v["streamId"] == "grows" && v["duration"].as_i64().unwrap() > 5800)
    });
    assert_eq!(whole["defects"].as_array().map(Vec::len), Some(0), "{whole}");
    sandbox.put(&made("mp4-faststart", 2), "after.mp4");
    until("the daemon goes on", || sandbox.vods().iter().any(|v| v["streamId"] == "after").then_some(()));
    assert!(!names(&sandbox).iter().any(|n| n.contains(".aftercast-")), "{:?}", names(&sandbox));
    daemon.stop();
}

#[test]
fn a_target_on_the_command_line_is_not_another_one_of_the_daemon() {
    let sandbox = Sandbox::new();
    let daemon = Daemon::start(&sandbox);
    let (elsewhere, recording) = (sandbox.path().join("elsewhere"), sandbox.path().join("beside/x.mp4"));
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir_all(recording.parent().unwrap()).unwrap();
    fs::copy(made("mp4-faststart", 2), &recording).unwrap();
    let target = format!("file://{}", elsewhere.display());
    for command in ["process", "recover"] {
        let run = sandbox.run(&[command, recording.to_str().unwrap(), "--target", &target]).expect_code(2);
        assert!(run.err.contains("stop the daemon first"), "{}", run.err);
    }
    assert!(sandbox.vods().is_empty() && tree(&elsewhere).is_empty());
    daemon.stop();
}

// Names

#[test]
fn a_directory_with_a_recordings_name_is_a_directory() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "x.mp4/room1.flv");
    fs::create_dir(sandbox.root().join("empty.mp4")).unwrap();
    sandbox.process().expect_code(0);
    assert_eq!(names(&sandbox), ["x.mp4/room1.mp4"]);
    assert!(sandbox.root().join("empty.mp4").is_dir());
}

#[test]
fn a_link_out_of_the_root_is_not_followed_and_what_it_leads_to_stays() {
    let sandbox = Sandbox::new();
    let outside = sandbox.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::copy(made("flv", 2), outside.join("secret.flv")).unwrap();
    let before = tree(&outside);
    symlink(outside.join("secret.flv"), sandbox.root().join("link.flv")).unwrap();
    symlink(&outside, sandbox.root().join("directory")).unwrap();
    symlink(sandbox.root(), sandbox.root().join("circle")).unwrap();
    sandbox.put(&made("flv", 2), "room1.flv");
    let run = sandbox.process().expect_code(4);
    assert!(run.out.contains("symbolic link that leads out of the root"), "{}", run.out);
    assert_eq!((names(&sandbox), tree(&outside)), (vec!["room1.mp4".to_owned()], before));
    assert_eq!(tree(&sandbox.store()).into_keys().collect::<Vec<_>>(), ["room1.mp4"]);
    assert!(sandbox.root().join("link.flv").is_symlink() && sandbox.root().join("directory").is_symlink());
}

#[test]
fn names_that_are_not_utf_8_or_paint_the_terminal_are_handled_or_refused_and_never_printed_raw() {
    let sandbox = Sandbox::new();
    let not_utf8 = OsStr::from_bytes(b"caf\xE9.flv").to_owned();
    let evil = "evil\u{1b}[2J\nfinished          x.flv";
    for name in [&not_utf8, &OsString::from(format!("{evil}.flv")), &OsString::from("Größe 直播.flv")] {
        fs::copy(made("flv", 2), sandbox.root().join(name)).unwrap();
    }
    let root = sandbox.root();
    let root = root.to_str().unwrap();
    for args in [&["process", "--dry-run", root] as &[&str], &["process", root], &["vod", "list"], &["queue", "list"]] {
        let run = sandbox.run(args);
        assert!([0, 4].contains(&run.code()), "{args:?} {run:?}");
        assert!(!run.out.contains('\u{1b}') && !run.err.contains('\u{1b}'), "{args:?} {run:?}");
        assert!(!run.out.contains("\nfinished          x.flv"), "a name posed as a line: {}", run.out);
        assert!(!run.err.contains("panicked"), "{}", run.err);
    }
    assert!(sandbox.root().join("Größe 直播.mp4").exists());
    let of_odd = fs::read_dir(sandbox.root())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().as_bytes().starts_with(b"caf\xE9"));
    assert_eq!(of_odd.count(), 1, "handled or left, not lost");
    // The finished file gets a name that no terminal minds; the record keeps where it came from.
    assert!(sandbox.root().join("evil_[2J_finished          x.flv.mp4").exists(), "{:?}", names(&sandbox));
    let source = sandbox.root().join(format!("{evil}.flv"));
    assert!(sandbox.vods().iter().any(|v| v["sourcePath"] == source.to_str().unwrap()));
}

// Contents

#[test]
fn what_is_no_recording_is_quarantined_where_it_is() {
    let sandbox = Sandbox::new();
    let mut noise = vec![0; 300_000];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    for extension in ["mp4", "mov", "flv", "ts", "mkv", "webm"] {
        fs::write(sandbox.root().join(format!("noise.{extension}")), &noise).unwrap();
        fs::write(sandbox.root().join(format!("empty.{extension}")), "").unwrap();
        fs::write(sandbox.root().join(format!("short.{extension}")), "x").unwrap();
    }
    fs::write(sandbox.root().join("zeros.mp4"), vec![0; 300_000]).unwrap();
    fs::write(
        sandbox.root().join("claims.mp4"),
        b"\xFF\xFF\xFF\xFFftyp\x00\x00\x00\x01mdat\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    )
    .unwrap();
    let before = tree(&sandbox.root());
    let run = sandbox.process().expect_code(4);
    assert_eq!(run.out.lines().filter(|l| l.starts_with("quarantined")).count(), before.len(), "{}", run.out);
    assert_eq!(tree(&sandbox.root()), before);
    assert!(sandbox.vods().is_empty() && tree(&sandbox.store()).is_empty());
    let listed = sandbox.run(&["queue", "list"]).expect_code(0).out;
    assert_eq!(listed.lines().filter(|l| l.contains("quarantined")).count(), before.len(), "{listed}");
    sandbox.process().expect_code(4);
    assert_eq!(tree(&sandbox.root()), before);
}

#[test]
fn a_recording_with_another_containers_name_is_finished_for_what_it_is() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "is-flv.mp4");
    sandbox.put(&made("mp4-faststart", 2), "is-mp4.flv");
    let before = tree(&sandbox.root());
    let run = sandbox.process();
    assert!([0, 4].contains(&run.code()), "{run:?}");
    let after = tree(&sandbox.root());
    for name in before.keys() {
        let is_kept = after.get(name).is_some_and(|f| f.3 == before[name].3);
        let stem = name.split('.').next().unwrap();
        let is_finished = sandbox.vods().iter().any(|v| v["streamId"] == stem && v["container"] == "mp4");
        assert!(is_kept || is_finished, "{name}: {run:?}");
    }
}

#[test]
fn a_recording_without_a_keyframe_or_without_a_packet_is_quarantined() {
    let sandbox = Sandbox::new();
    // A header and nothing behind it, as a publisher that connects and goes leaves it.
    let bytes = fs::read(made("flv", 2)).unwrap();
    fs::write(sandbox.root().join("header.flv"), &bytes[..13]).unwrap();
    let webm = fs::read(made("webm-live", 2)).unwrap();
    let cluster = webm.windows(4).position(|w| w == [0x1F, 0x43, 0xB6, 0x75]).unwrap();
    fs::write(sandbox.root().join("header.webm"), &webm[..cluster]).unwrap();
    let init = sandbox.path().join("init.mp4");
    let whole = made("mp4-fragmented", 2);
    ffmpeg(&[
        "-i",
        whole.to_str().unwrap(),
        "-c",
        "copy",
        "-t",
        "0",
        "-movflags",
        "frag_keyframe+empty_moov",
        init.to_str().unwrap(),
    ]);
    let bytes = fs::read(&whole).unwrap();
    let moof = bytes.windows(4).position(|w| w == b"moof").unwrap() - 4;
    fs::write(sandbox.root().join("header.mp4"), &bytes[..moof]).unwrap();
    let before = tree(&sandbox.root());
    let run = sandbox.process().expect_code(4);
    assert_eq!(run.out.lines().filter(|l| l.starts_with("quarantined")).count(), 3, "{}", run.out);
    assert_eq!(tree(&sandbox.root()), before);
}

#[test]
fn the_daemon_goes_on_after_everything_bad() {
    let sandbox =
        Sandbox::with_config(|dir| standard_config(dir, "").replace("[watch]\n", "[watch]\nrescan = \"200ms\"\n"));
    fs::write(sandbox.root().join("noise.mp4"), vec![0x5A; 70_000]).unwrap();
    fs::create_dir(sandbox.root().join("x.mp4")).unwrap();
    symlink("/etc", sandbox.root().join("etc")).unwrap();
    symlink("nowhere", sandbox.root().join("dangling.mp4")).unwrap();
    fs::copy(made("flv", 2), sandbox.root().join(OsStr::from_bytes(b"\xFF.flv"))).unwrap();
    let daemon = Daemon::start(&sandbox);
    sandbox.put(&made("flv", 2), "good.flv");
    until("the good one", || sandbox.vods().iter().any(|v| v["streamId"] == "good").then_some(()));
    // A root that goes away and comes back.
    let away = sandbox.path().join("away");
    fs::rename(sandbox.root(), &away).unwrap();
    fs::create_dir(sandbox.root()).unwrap();
    daemon.until_said("root not available");
    let _ = fs::remove_file(sandbox.root().join(".aftercast-root"));
    fs::remove_dir(sandbox.root()).unwrap();
    fs::rename(&away, sandbox.root()).unwrap();
    sandbox.put(&made("webm", 2), "later.webm");
    until("what comes after", || sandbox.vods().iter().any(|v| v["streamId"] == "later").then_some(()));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.stop();
}
