//! A temporary name belongs to its writer, whatever that is called, until it is renamed or its writer is gone.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::daemon::{Daemon, until, until_with};
use crate::support::recordings::made;
use crate::support::{Sandbox, standard_config, tree};

/// A house with the given settings of `[watch]`; those of its own about orphans are left at their defaults.
fn sandbox(watch: &str) -> Sandbox {
    Sandbox::with_config(|dir| {
        let config = standard_config(dir, "").replace("orphan_grace = \"0s\"\n", "");
        config.replace("[watch]\n", &format!("[watch]\nserver = \"auto\"\n{watch}\n"))
    })
}

fn start(sandbox: &Sandbox) -> Daemon {
    Daemon::start_with(sandbox, |command| {
        command.env("AFTERCAST_LOG", "aftercast=debug");
    })
}

/// A writer under a name that is no ingest server's: writes, closes, and renames a moment later.
fn write_and_rename(sandbox: &Sandbox, number: usize, pause_ms: u64) {
    let source = made("mp4", 2);
    let temporary = sandbox.root().join(format!("room{number}.mp4.tmp"));
    let last = sandbox.root().join(format!("room{number}.mp4"));
    if number.is_multiple_of(2) {
        let mut writer = File::create(&temporary).unwrap();
        writer.write_all(&fs::read(&source).unwrap()).unwrap();
        drop(writer);
        std::thread::sleep(Duration::from_millis(pause_ms));
        return fs::rename(&temporary, &last).unwrap();
    }
    // One process writes and ends, another one renames.
    let script = "cat \"$1\" > \"$2\"; sleep \"$4\"; mv \"$2\" \"$3\"";
    let sleep = format!("{}.{:03}", pause_ms / 1000, pause_ms % 1000);
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "recorder"]).args([&source, &temporary, &last]).arg(sleep);
    assert!(shell.status().unwrap().success(), "its temporary name was taken from it");
}

#[test]
fn a_writer_of_any_name_that_renames_after_its_close_keeps_its_names() {
    const PAUSES_MS: [u64; 4] = [0, 10, 100, 1000];
    const WRITERS: usize = 20;
    const FILES: usize = 200;
    let sandbox = sandbox("rescan = \"200ms\"");
    made("mp4", 2);
    let daemon = start(&sandbox);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _load in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let write = |writer: usize| {
            let sandbox = &sandbox;
            move || {
                for number in (writer..FILES).step_by(WRITERS) {
                    write_and_rename(sandbox, number, PAUSES_MS[number / 2 % PAUSES_MS.len()]);
                }
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(write(writer))).collect();
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a writer did not find its file:\n{}", daemon.log());
    });
    let vods = until_with(
        "a VoD of each",
        Duration::from_secs(1),
        || {},
        || Some(sandbox.vods()).filter(|vods| vods.len() >= FILES),
    );
    daemon.stop();
    let mut expected: Vec<String> = (0..FILES).map(|n| format!("room{n}.mp4")).collect();
    expected.sort();
    let mut catalogued: Vec<&str> = vods.iter().map(|v| v["vodName"].as_str().unwrap()).collect();
    catalogued.sort_unstable();
    assert_eq!(catalogued, expected);
    assert_eq!(tree(&sandbox.root()).into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(sandbox.vods().len(), FILES, "each is finished once");
    let log = fs::read_to_string(sandbox.path().join("daemon.log")).unwrap();
    for word in ["nterrupted", "_1.mp4", " ERROR "] {
        assert!(!log.contains(word), "{word}: {}", log.lines().find(|l| l.contains(word)).unwrap_or_default());
    }
}

/// Starts a process that writes the first half of a recording and keeps it open.
fn half_a_recording(from: &Path, to: &Path) -> Child {
    let half = (fs::metadata(from).unwrap().len() / 2).to_string();
    let mut command = Command::new("bash");
    command.args(["-c", "exec 9>\"$2\"; head -c \"$3\" \"$1\" >&9; read -r go", "recorder"]);
    command.arg(from).arg(to).arg(&half).stdin(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn what_a_killed_writer_leaves_is_taken_once_its_process_is_seen_to_be_gone() {
    // Were its end not seen, it would wait ten minutes.
    let sandbox = sandbox("rescan = \"10m\"\norphan_grace = \"1s\"\norphan_after = \"10m\"");
    let daemon = start(&sandbox);
    let temporary = sandbox.root().join("room1.flv.tmp");
    let mut writer = half_a_recording(&made("flv", 4), &temporary);
    daemon.until_said("temporary file is being written");
    assert!(sandbox.vods().is_empty());
    writer.kill().unwrap();
    let vods = until("its orphan", || Some(sandbox.vods()).filter(|vods| !vods.is_empty()));
    writer.wait().unwrap();
    assert_eq!(vods[0]["vodName"], "room1.mp4");
    daemon.stop();
}

#[test]
fn a_closed_temporary_name_whose_writer_lives_waits_and_is_taken_by_recover() {
    let sandbox = sandbox("rescan = \"100ms\"\norphan_grace = \"2s\"\norphan_after = \"10m\"");
    let daemon = start(&sandbox);
    // Written and closed by this test, which lives on.
    let temporary = sandbox.root().join("room1.flv.tmp");
    fs::copy(made("flv", 2), &temporary).unwrap();
    let age = || fs::metadata(&temporary).and_then(|m| m.modified()).map(|written| written.elapsed());
    until("it is older than the grace", || age().unwrap().is_ok_and(|age| age.as_secs() > 2).then_some(()));
    let scans = || daemon.log().matches("all roots scanned").count();
    let scanned = scans();
    until("ten more scans", || (scans() >= scanned + 10).then_some(()));
    assert!(temporary.exists() && sandbox.vods().is_empty());
    sandbox.run(&["recover", temporary.to_str().unwrap()]).expect_code(0);
    assert!(sandbox.root().join("room1.mp4").exists());
    daemon.stop();
}
