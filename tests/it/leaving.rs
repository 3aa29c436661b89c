//! What leaves the disk leaves it only as it was proven, whoever writes it meanwhile and whenever the process is killed.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::until_with;
use crate::support::recordings::{made, padded};
use crate::support::{Sandbox, standard_config, tree};

const KEPT: &str = "[retain]\ndelete_local = \"delivered\"\nprotect = [\"*\"]";
const FREED: &str = "[retain]\ndelete_local = \"delivered\"";

fn retaining(sandbox: &Sandbox, retain: &str) {
    fs::write(sandbox.path().join("config.toml"), standard_config(sandbox.path(), retain)).unwrap();
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    tree(&sandbox.root()).into_keys().filter(|name| name != ".aftercast-root").collect()
}

/// Runs a command that is killed right after a file was moved aside.
fn killed_when_aside(sandbox: &Sandbox, args: &[&str]) {
    killed_after(sandbox, "moved aside:1", args);
}

fn killed_after(sandbox: &Sandbox, step: &str, args: &[&str]) {
    let run = sandbox.command(args).env("AFTERCAST_KILL_AFTER", step).output().unwrap();
    assert!(run.status.code().is_none(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Other bytes, and the length and the time of before.
fn rewrite(path: &Path) {
    let mut file = File::options().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.seek(SeekFrom::End(-4)).unwrap();
    file.write_all(b"else").unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn a_source_whose_removal_was_killed_is_removed_by_the_next_start() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("ts", 2), "room1.ts");
    killed_when_aside(&sandbox, &["process", sandbox.root().to_str().unwrap()]);
    assert_eq!(names(&sandbox), [".aftercast-room1.ts.aside", "room1.mp4"]);
    sandbox.process().expect_code(0);
    assert_eq!((names(&sandbox), sandbox.vods().len()), (vec!["room1.mp4".to_owned()], 1));
}

#[test]
fn a_source_that_was_written_while_it_was_aside_has_its_name_again() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("ts", 2), "room1.ts");
    killed_when_aside(&sandbox, &["process", sandbox.root().to_str().unwrap()]);
    let aside = sandbox.root().join(".aftercast-room1.ts.aside");
    File::options().append(true).open(&aside).unwrap().write_all(&fs::read(made("ts", 2)).unwrap()).unwrap();
    let bytes = fs::read(&aside).unwrap();
    // A recording of its own by now, which may be finished at once.
    let said = sandbox.run(&["process", "--dry-run", sandbox.root().to_str().unwrap()]);
    assert!(said.out.contains("room1") || aside.exists(), "{}", said.out);
    sandbox.run(&["queue", "list"]);
    sandbox.process();
    let is_kept = fs::read(sandbox.root().join("room1.ts")).is_ok_and(|now| now == bytes);
    assert!(is_kept || sandbox.vods().len() == 2, "{:?}", names(&sandbox));
}

#[test]
fn a_source_that_its_finished_file_was_replacing_when_it_was_killed_goes_or_has_a_name_again() {
    for step in ["second name:1", "renamed over the source:1", "removed:1"] {
        for is_written in [false, true] {
            let sandbox = Sandbox::new();
            sandbox.put(&made("mp4", 2), "room1.mp4");
            killed_after(&sandbox, step, &["process", sandbox.root().to_str().unwrap()]);
            let aside = sandbox.root().join(".aftercast-room1.mp4.aside");
            let was_aside = aside.exists() && step != "second name:1";
            assert_eq!(was_aside, step == "renamed over the source:1", "{:?}", names(&sandbox));
            if is_written && was_aside {
                File::options().append(true).open(&aside).unwrap().write_all(b"more").unwrap();
            }
            let bytes = fs::read(&aside).unwrap_or_default();
            let said = sandbox.process();
            if is_written && was_aside {
                let is_kept = |name: &str| fs::read(sandbox.root().join(name)).is_ok_and(|now| now == bytes);
                assert!(sandbox.vods().len() == 2 || is_kept("room1_1.mp4"), "{step}: {:?} {said:?}", names(&sandbox));
            } else {
                let left = (names(&sandbox), sandbox.vods().len());
                assert_eq!(left, (vec!["room1.mp4".to_owned()], 1), "{step}: {said:?}");
            }
        }
    }
}

#[test]
fn freeing_that_was_killed_begins_again_and_loses_nothing() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    let bytes = padded("take", 0);
    fs::write(sandbox.root().join("take.mp4"), &bytes).unwrap();
    sandbox.process().expect_code(0);
    retaining(&sandbox, FREED);
    killed_when_aside(&sandbox, &["retain"]);
    assert_eq!(names(&sandbox), [".aftercast-take.mp4.aside"]);
    sandbox.run(&["retain"]).expect_code(0);
    assert!(sandbox.vods()[0].get("freedAt").is_none(), "what is aside is not freed");
    sandbox.process().expect_code(0);
    let free = || drop(sandbox.process());
    until_with("it is freed", Duration::from_millis(100), free, || names(&sandbox).is_empty().then_some(()));
    assert!(sandbox.vods()[0]["freedAt"].is_i64());
    assert_eq!(tree(&sandbox.store()).into_keys().collect::<Vec<_>>(), ["take.mp4"], "it is stored once");
    assert_eq!(fs::read(sandbox.store().join("take.mp4")).unwrap(), bytes);
}

#[test]
fn a_rewrite_whose_length_and_time_were_put_back_is_not_freed_before_it_is_stored_itself() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    let local = sandbox.root().join("take.mp4");
    fs::write(&local, padded("take", 0)).unwrap();
    sandbox.process().expect_code(0);
    let proven = fs::read(&local).unwrap();
    rewrite(&local);
    let rewritten = fs::read(&local).unwrap();
    retaining(&sandbox, FREED);
    sandbox.run(&["retain"]).expect_code(0);
    assert_eq!(fs::read(&local).unwrap(), rewritten);
    sandbox.process().expect_code(0);
    assert!(!local.exists(), "it is proven now");
    assert_eq!(fs::read(sandbox.store().join("take.mp4")).unwrap(), proven);
    assert_eq!(fs::read(sandbox.store().join("take_1.mp4")).unwrap(), rewritten);
}

#[test]
fn what_was_only_touched_is_compared_again_and_freed_and_a_poster_that_was_rewritten_stays() {
    let more = format!("[deliver]\nupload_extensions = 63\n{KEPT}");
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, &more));
    let (local, poster) = (sandbox.root().join("take.mp4"), sandbox.root().join("take.png"));
    fs::write(&local, padded("take", 0)).unwrap();
    fs::write(&poster, "a poster").unwrap();
    sandbox.process().expect_code(0);
    fs::set_permissions(&local, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    rewrite(&poster);
    retaining(&sandbox, &format!("[deliver]\nupload_extensions = 63\n{FREED}"));
    sandbox.run(&["retain"]).expect_code(0);
    assert!(local.exists(), "it was touched");
    sandbox.process().expect_code(0);
    assert!(!local.exists());
    assert_eq!(fs::read(&poster).unwrap(), b"a poelse");
    assert_eq!(tree(&sandbox.store()).into_keys().collect::<Vec<_>>(), ["take.json", "take.mp4", "take.png"]);
}

#[test]
fn a_recording_that_is_being_written_is_neither_freed_nor_deleted() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    let local = sandbox.root().join("take.mp4");
    fs::write(&local, padded("take", 0)).unwrap();
    sandbox.process().expect_code(0);
    let id = sandbox.vods()[0]["vodId"].as_str().unwrap().to_owned();
    let writer = File::options().append(true).open(&local).unwrap();
    retaining(&sandbox, FREED);
    sandbox.run(&["retain"]).expect_code(0);
    assert!(local.exists() && sandbox.vods()[0].get("freedAt").is_none());
    let said = sandbox.run(&["vod", "delete", "--yes", "--keep-objects", &id]).expect_code(4);
    assert!(said.err.contains("open for writing"), "{}", said.err);
    assert!(local.exists());
    drop(writer);
    sandbox.run(&["retain"]).expect_code(0);
    assert_eq!(names(&sandbox), [""; 0], "nobody has written to it");
}

/// A file system without leases, unmounted when dropped; needs root.
struct WithoutLeases(PathBuf);

impl WithoutLeases {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "ramfs", "none"]).arg(at).output();
        if mounted.is_ok_and(|run| run.status.success()) {
            return Some(Self(at.to_owned()));
        }
        let _ = writeln!(std::io::stdout(), "skipped: no ramfs can be mounted here");
        None
    }
}

impl Drop for WithoutLeases {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn without_leases_a_delivered_file_waits_aside_and_a_restart_forgets_it_not() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, KEPT));
    let Some(_mount) = WithoutLeases::mount(&sandbox.root()) else { return };
    for name in ["quiet.mp4", "written.mp4"] {
        fs::write(sandbox.root().join(name), padded(name, 0)).unwrap();
    }
    sandbox.process();
    let settled = || drop(sandbox.process());
    until_with("both are delivered", Duration::from_millis(200), settled, || {
        let vods = sandbox.vods();
        let is_delivered = |vod: &serde_json::Value| vod["remote"].as_array().is_some_and(|r| !r.is_empty());
        (vods.len() == 2 && vods.iter().all(is_delivered)).then_some(())
    });
    // Long enough for the file to be aside when the next command begins.
    let config = standard_config(sandbox.path(), FREED).replace("quiet = \"1s\"", "quiet = \"3s\"");
    fs::write(sandbox.path().join("config.toml"), config).unwrap();
    let aside = |name: &str| -> PathBuf { sandbox.root().join(format!(".aftercast-{name}.aside")) };
    sandbox.run(&["retain"]).expect_code(0);
    assert!(aside("quiet.mp4").exists() && aside("written.mp4").exists(), "{:?}", names(&sandbox));
    assert!(sandbox.vods().iter().all(|vod| vod.get("freedAt").is_none()));
    File::options().append(true).open(aside("written.mp4")).unwrap().write_all(b"more").unwrap();
    let look = || drop(sandbox.run(&["retain"]));
    until_with("the quiet one is freed", Duration::from_millis(200), look, || {
        (!aside("quiet.mp4").exists() && !aside("written.mp4").exists()).then_some(())
    });
    assert_eq!(names(&sandbox), ["written.mp4"], "what was written meanwhile has its name again");
    assert!(fs::read(sandbox.root().join("written.mp4")).unwrap().ends_with(b"more"));
    let freed = |vod: &serde_json::Value| vod["freedAt"].is_i64() == (vod["vodName"] == "quiet.mp4");
    assert!(sandbox.vods().iter().all(freed));
}

#[test]
fn without_leases_a_sidecar_is_freed_with_its_recording() {
    let sidecars = "[deliver]\nupload_extensions = 33\n";
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, &format!("{sidecars}{KEPT}")));
    let Some(_mount) = WithoutLeases::mount(&sandbox.root()) else { return };
    fs::write(sandbox.root().join("take.mp4"), padded("take", 0)).unwrap();
    let settled = || drop(sandbox.process());
    until_with("both are delivered", Duration::from_millis(200), settled, || {
        let is_stored = |name: &str| sandbox.store().join(name).exists();
        (is_stored("take.mp4") && is_stored("take.json")).then_some(())
    });
    retaining(&sandbox, &format!("{sidecars}{FREED}"));
    let look = || drop(sandbox.run(&["retain"]));
    until_with("both are freed", Duration::from_millis(200), look, || names(&sandbox).is_empty().then_some(()));
    assert!(sandbox.vods()[0]["freedAt"].is_i64());
}

#[test]
fn a_source_that_was_rewritten_while_its_removal_was_refused_stays() {
    let sandbox = Sandbox::new();
    let source = sandbox.put(&made("ts", 2), "room1.ts");
    let chattr = |how: &str| Command::new("chattr").arg(how).arg(&source).status().is_ok_and(|s| s.success());
    if !chattr("+i") {
        let _ = writeln!(std::io::stdout(), "skipped: no file can be made immutable here");
        return;
    }
    sandbox.process().expect_code(5);
    assert!(chattr("-i"));
    rewrite(&source);
    let rewritten = fs::read(&source).unwrap();
    sandbox.process().expect_code(0);
    assert_eq!(fs::read(&source).unwrap(), rewritten);
    assert_eq!(names(&sandbox), ["room1.mp4", "room1.ts"]);
}
