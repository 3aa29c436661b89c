//! The real `aftercast watch`: what it takes and when, what it leaves alone, signals, and the commands beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::{Daemon, until};
use crate::support::recordings::{ffmpeg, made, without_moov};
use crate::support::{RunOutput, Sandbox, standard_config, tree};

/// A house with more settings of `[watch]`; they take the place of its own.
fn sandbox(watch: &str, more: &str) -> Sandbox {
    Sandbox::with_config(|dir| {
        let config = standard_config(dir, more);
        let config = if watch.contains("settle") { config.replace("settle = \"0s\"\n", "") } else { config };
        config.replace("[watch]\n", &format!("[watch]\n{watch}\n"))
    })
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    tree(&sandbox.root()).into_keys().collect()
}

fn vod_names(sandbox: &Sandbox) -> Vec<String> {
    sandbox.vods().iter().map(|v| v["vodName"].as_str().unwrap().to_owned()).collect()
}

/// Waits for what lies in the root to be these files. A source is removed after its VoD is in the catalogue, so a VoD
/// that is listed says nothing yet of the source.
#[track_caller]
fn until_names(sandbox: &Sandbox, expected: &[&str]) {
    until(&format!("{expected:?} and no other file"), || (names(sandbox) == expected).then_some(()));
}

#[track_caller]
fn until_vods(sandbox: &Sandbox, count: usize) -> Vec<Value> {
    until(&format!("{count} VoDs"), || Some(sandbox.vods()).filter(|vods| vods.len() >= count))
}

#[track_caller]
fn until_delivered(sandbox: &Sandbox, count: usize) -> Vec<Value> {
    let is_delivered = |vod: &Value| vod["remote"].as_array().is_some_and(|r| !r.is_empty());
    until(&format!("{count} delivered"), || {
        Some(sandbox.vods()).filter(|vods| vods.len() >= count && vods.iter().all(is_delivered))
    })
}

/// The event was seen, or it only led to a look at a file that the kernel then gave a lease on.
#[track_caller]
fn assert_strong(vod: &Value, event: &str) {
    let kind = vod["evidence"]["kind"].as_str().unwrap();
    assert!([event, "lease"].contains(&kind), "{vod}");
}

/// Events are hints; here the scan must not be what finds a recording.
const NO_RESCAN: &str = "rescan = \"10m\"";
/// And no rest may be what settles it.
const EVENTS_ONLY: &str = "rescan = \"10m\"\nsettle = \"10m\"";

#[test]
fn a_file_that_is_written_and_closed_is_finished() {
    let sandbox = sandbox(EVENTS_ONLY, "");
    let daemon = Daemon::start(&sandbox);
    let to = sandbox.root().join("room1.flv");
    ffmpeg(&["-i", made("flv", 2).to_str().unwrap(), "-c", "copy", "-f", "flv", to.to_str().unwrap()]);
    let vods = until_delivered(&sandbox, 1);
    assert_strong(&vods[0], "close_seen");
    until_names(&sandbox, &["room1.mp4"]);
    daemon.stop();
}

#[test]
fn what_waits_for_parameters_is_finished_as_soon_as_its_stream_was_recorded() {
    let sandbox = sandbox(NO_RESCAN, "");
    sandbox.put(&without_moov(&made("mp4", 4)), "a/room7.mp4");
    let daemon = Daemon::start(&sandbox);
    until("it waits", || sandbox.run(&["queue", "list"]).out.contains("quarantined").then_some(()));
    sandbox.put(&made("mp4", 2), "b/room7.mp4");
    let vods = until_vods(&sandbox, 2);
    assert!(vods.iter().any(|vod| vod["salvaged"] == true), "{vods:?}");
    daemon.stop();
}

#[test]
fn a_rename_from_a_temporary_name_is_taken_and_the_temporary_never() {
    let sandbox = sandbox(EVENTS_ONLY, "");
    let daemon = Daemon::start(&sandbox);
    let temporary = sandbox.put(&made("mp4-faststart", 2), "room1.mp4.tmp_extension");
    fs::rename(&temporary, sandbox.root().join("room1.mp4")).unwrap();
    let vods = until_delivered(&sandbox, 1);
    assert_strong(&vods[0], "rename_seen");
    assert_eq!((names(&sandbox), vods[0]["outcome"].as_str()), (vec!["room1.mp4".to_owned()], Some("kept")));
    daemon.stop();
}

#[test]
fn new_subdirectories_are_watched_however_fast_they_fill() {
    let sandbox = sandbox(NO_RESCAN, "");
    let daemon = Daemon::start(&sandbox);
    sandbox.put(&made("mp4-faststart", 2), "live/2026/03/room1.mp4");
    until_vods(&sandbox, 1);
    sandbox.put(&made("webm", 2), "live/2026/04/room2.webm");
    fs::create_dir_all(sandbox.path().join("elsewhere/deep")).unwrap();
    fs::copy(made("flv", 2), sandbox.path().join("elsewhere/deep/room3.flv")).unwrap();
    fs::rename(sandbox.path().join("elsewhere"), sandbox.root().join("moved-in")).unwrap();
    until_delivered(&sandbox, 3);
    until_names(&sandbox, &["live/2026/03/room1.mp4", "live/2026/04/room2.webm", "moved-in/deep/room3.mp4"]);
    daemon.stop();
}

// Writers

/// Starts a writer that writes the first part of a file, pauses until it is told, and writes the rest.
fn pausing_writer(from: &Path, to: &Path, uid: Option<u32>) -> Child {
    let script = "head -c \"$3\" \"$1\" > /dev/fd/9; read -r go; tail -c +\"$(( $3 + 1 ))\" \"$1\" >&9";
    let script = format!("exec 9>\"$2\"; {script}");
    let half = (fs::metadata(from).unwrap().len() / 2).to_string();
    let mut command = match uid {
        Some(uid) => {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "bash"]);
            command
        }
        None => Command::new("bash"),
    };
    command.args(["-c", &script.replace("> /dev/fd/9", ">&9"), "writer"]).arg(from).arg(to).arg(half);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

fn a_writer_that_pauses_is_left_alone(uid: Option<u32>) {
    let sandbox = sandbox("rescan = \"100ms\"", "");
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(sandbox.path());
    open(&sandbox.root());
    let source = sandbox.path().join("source.flv");
    fs::copy(made("flv", 3), &source).unwrap();
    let daemon = Daemon::start(&sandbox);
    let to = sandbox.root().join("room1.flv");
    let mut writer = pausing_writer(&source, &to, uid);
    let half = fs::metadata(&source).unwrap().len() / 2;
    until("the first half", || fs::metadata(&to).ok().filter(|m| m.len() == half));
    // Well beyond `settle` and `quiet` of this house, and dozens of rescans. A finished neighbour tells that time passes.
    for neighbour in 0..3 {
        sandbox.put(&made("mp4-faststart", 2), &format!("neighbour{neighbour}.mp4"));
        until_vods(&sandbox, neighbour + 1);
        std::thread::sleep(Duration::from_millis(700));
    }
    assert_eq!(vod_names(&sandbox).iter().filter(|n| n.starts_with("room1")).count(), 0);
    assert!(names(&sandbox).contains(&"room1.flv".to_owned()));
    writer.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert!(writer.wait().unwrap().success());
    let vods = until_vods(&sandbox, 4);
    let vod = vods.iter().find(|v| v["streamId"] == "room1").unwrap();
    assert!((vod["duration"].as_i64().unwrap() - 3000).abs() < 200, "all of it: {vod}");
    assert_eq!(vod["defects"].as_array().map(Vec::len), Some(0), "{vod}");
    daemon.stop();
}

#[test]
fn a_writer_that_pauses_and_goes_on_is_never_taken() {
    a_writer_that_pauses_is_left_alone(None);
}

#[test]
fn a_writer_under_another_uid_that_pauses_and_goes_on_is_never_taken() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be another user");
        return;
    }
    a_writer_that_pauses_is_left_alone(Some(65534));
}

#[test]
fn a_finished_recording_that_is_appended_to_is_taken_again() {
    let sandbox = sandbox(NO_RESCAN, "[finish]\nkeep_original = true");
    let daemon = Daemon::start(&sandbox);
    let bytes = fs::read(made("ts", 3)).unwrap();
    let path = sandbox.root().join("room1.ts");
    let half = bytes.len() / 2 / 188 * 188;
    fs::write(&path, &bytes[..half]).unwrap();
    until_vods(&sandbox, 1);
    File::options().append(true).open(&path).unwrap().write_all(&bytes[half..]).unwrap();
    let vods = until_vods(&sandbox, 2);
    assert!(vods[1]["duration"].as_i64() > vods[0]["duration"].as_i64(), "{vods:?}");
    daemon.stop();
}

// Units

#[test]
fn a_directory_with_a_playlist_gives_one_vod_and_a_unit_delivered_playlist_last() {
    let sandbox = sandbox(NO_RESCAN, "");
    let mut playlist = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n".to_owned();
    let segment = fs::read(made("ts", 2)).unwrap();
    for n in 0..20 {
        fs::write(sandbox.root().join(format!("room1{n:09}.ts")), &segment).unwrap();
        writeln!(playlist, "#EXTINF:2.0,\nroom1{n:09}.ts").unwrap();
    }
    playlist.push_str("#EXT-X-ENDLIST\n");
    fs::write(sandbox.root().join("room1.m3u8"), playlist).unwrap();
    fs::write(
        sandbox.root().join("room1_1700000000000_init.mp4"),
        &fs::read(made("mp4-fragmented", 2)).unwrap()[..900],
    )
    .unwrap();
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let before = tree(&sandbox.root());
    let daemon = Daemon::start(&sandbox);
    until("all is delivered", || {
        let there = tree(&sandbox.store());
        (there.contains_key("room1.m3u8") && there.contains_key("room1.mp4")).then_some(())
    });
    assert_eq!(vod_names(&sandbox), ["room1.mp4"]);
    let objects = tree(&sandbox.store());
    let segments = objects.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "ts"));
    assert_eq!(segments.clone().count(), 20);
    // The objects of a directory keep the order in which they were made in their inodes' change times.
    let changed = |name: &str| changed_ns(&sandbox.store().join(name));
    assert!(segments.clone().all(|(name, _)| changed(name) <= changed("room1.m3u8")));
    assert_eq!(tree(&sandbox.root()), before, "the unit is left as it is");
    daemon.stop();
}

fn changed_ns(path: &Path) -> i128 {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).unwrap();
    i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
}

// What was there before

#[test]
fn existing_none_leaves_out_what_was_there_and_process_takes_it_later() {
    let sandbox = sandbox("existing = \"none\"", "");
    let old = sandbox.put(&made("mp4-faststart", 2), "old.mp4");
    let before = tree(&sandbox.root());
    let daemon = Daemon::start(&sandbox);
    sandbox.put(&made("flv", 2), "new.flv");
    until_vods(&sandbox, 1);
    assert_eq!(vod_names(&sandbox), ["new.mp4"]);
    assert_eq!(tree(&sandbox.root())["old.mp4"], before["old.mp4"]);
    let said = sandbox.run(&["process", old.to_str().unwrap()]).expect_code(0);
    assert!(said.out.contains("left out"), "{}", said.out);
    sandbox.run(&["process", "--again", old.to_str().unwrap()]).expect_code(0);
    assert_eq!(sandbox.vods().len(), 2);
    daemon.stop();
}

#[test]
fn of_thousands_of_old_files_and_a_new_one_the_new_one_is_catalogued_first() {
    let sandbox = sandbox(NO_RESCAN, "");
    let old = fs::read(made("mp4-faststart", 1)).unwrap();
    for n in 0..2000 {
        let directory = sandbox.root().join(format!("old/{}", n / 100));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("old{n}.mp4")), &old).unwrap();
    }
    let daemon = Daemon::start(&sandbox);
    let before = sandbox.vods().len();
    sandbox.put(&made("mp4-faststart", 2), "new.mp4");
    let place = until("the new one", || vod_names(&sandbox).iter().position(|n| n == "new.mp4"));
    // What was being finished when it came may end before it.
    assert!(place < before + 200, "{place} were catalogued before it, {before} before it came");
    assert!(place < 1500, "it overtook the backlog: {place}");
    drop(daemon);
}

#[test]
fn ten_rescans_of_a_finished_tree_write_nothing() {
    let sandbox = sandbox("rescan = \"100ms\"", "");
    sandbox.put(&made("flv", 2), "a.flv");
    sandbox.put(&made("mp4", 2), "b.mp4");
    sandbox.put(&made("ts", 2), "live/c.ts");
    let daemon = Daemon::start_with(&sandbox, |command| {
        command.env("AFTERCAST_LOG", "aftercast=debug");
    });
    until_delivered(&sandbox, 3);
    until_names(&sandbox, &["a.mp4", "b.mp4", "live/c.mp4"]);
    let scans = || daemon.log().matches("all roots scanned").count();
    // The journal hears of the removal after it.
    let mut last = (written_bytes(&daemon), scans());
    until("the daemon rests", || {
        let now = (written_bytes(&daemon), scans());
        if now.0 != last.0 {
            last = now;
        }
        (now.1 >= last.1 + 3).then_some(())
    });
    let state = || (tree(&sandbox.root()), tree(&sandbox.store()), sandbox.vods());
    let before = state();
    let writes = written_bytes(&daemon);
    let scanned = scans();
    until("ten rescans", || (scans() >= scanned + 10).then_some(()));
    assert_eq!(state(), before);
    let more = written_bytes(&daemon) - writes;
    assert!(more < 64 * 1024, "{more} bytes written over ten rescans");
    daemon.stop();
}

/// Bytes that a process has caused to be written to a disk.
fn written_bytes(daemon: &Daemon) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", daemon.id())).unwrap();
    io.lines().find_map(|l| l.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

// Signals

#[test]
fn sigterm_drains_and_nothing_is_begun_twice() {
    let sandbox = sandbox(NO_RESCAN, "");
    for n in 0..12 {
        sandbox.put(&made("flv", 6), &format!("room{n:02}.flv"));
    }
    let daemon = Daemon::start(&sandbox);
    until_vods(&sandbox, 1);
    daemon.stop();
    let partials = |sandbox: &Sandbox| names(sandbox).iter().filter(|n| n.contains(".aftercast-")).count();
    assert_eq!(partials(&sandbox), 0, "{:?}", names(&sandbox));
    sandbox.process().expect_code(0);
    assert_eq!(vod_names(&sandbox).len(), 12);
    assert_eq!(tree(&sandbox.store()).len(), 12);
    assert_eq!((names(&sandbox).len(), partials(&sandbox)), (12, 0));
}

#[test]
fn sighup_reloads_and_a_broken_configuration_is_refused() {
    let sandbox = sandbox(NO_RESCAN, "");
    let config = sandbox.path().join("config.toml");
    let sound = fs::read_to_string(&config).unwrap();
    let daemon = Daemon::start(&sandbox);

    fs::write(&config, format!("{sound}[finish]\nkeep_orginal = true\n")).unwrap();
    daemon.signal("HUP");
    daemon.until_said("configuration not reloaded; the old one stays in force");
    assert!(daemon.log().contains("keep_orginal") && daemon.log().contains("keep_original"), "names key and nearest");
    sandbox.put(&made("flv", 2), "a.flv");
    fs::write(&config, &sound).unwrap();
    until_vods(&sandbox, 1);
    until_names(&sandbox, &["a.mp4"]);

    fs::write(&config, format!("{sound}[finish]\nkeep_original = true\nrecording_subfolder = \"vod\"\n")).unwrap();
    daemon.signal("HUP");
    daemon.until_said("configuration reloaded");
    sandbox.put(&made("flv", 3), "b.flv");
    until_vods(&sandbox, 2);
    until_names(&sandbox, &["a.mp4", "b.flv", "vod/b.mp4"]);

    let second = sandbox.path().join("second");
    fs::create_dir(&second).unwrap();
    let first = format!("\"{}\"", sandbox.root().display());
    let both = format!("{first}, \"{}\"", second.display());
    fs::write(&config, sound.replace(&first, &both)).unwrap();
    let reloads = daemon.log().matches("configuration reloaded").count();
    daemon.signal("HUP");
    until("the second root", || (daemon.log().matches("configuration reloaded").count() > reloads).then_some(()));
    fs::copy(made("webm", 2), second.join("c.webm")).unwrap();
    until_vods(&sandbox, 3);
    daemon.stop();
}

// Commands beside it

/// What differs between two runs in any case: nothing but the time of the next try.
fn said(run: RunOutput) -> (i32, String, String) {
    (run.code(), run.out, run.err)
}

#[test]
fn every_command_prints_the_same_beside_the_daemon_as_alone() {
    let sandbox = sandbox(NO_RESCAN, "");
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.put(&made("mp4-faststart", 2), "room2.mp4");
    fs::write(sandbox.root().join("noise.mp4"), [0x5A; 4096]).unwrap();
    sandbox.process().expect_code(4);
    let root = sandbox.root();
    let root = root.to_str().unwrap().to_owned();
    let id = sandbox.vods()[0]["vodId"].as_str().unwrap().to_owned();
    let commands: [&[&str]; 14] = [
        &["process", &root],
        &["--json", "process", &root],
        &["process", "--dry-run", &root],
        &["recover", &root],
        &["vod", "list"],
        &["--json", "vod", "list"],
        &["vod", "show", &id],
        &["vod", "show", "nobody"],
        &["vod", "export", "--format", "csv"],
        &["queue", "list"],
        &["queue", "retry"],
        &["retain", "--dry-run"],
        &["catalog", "check"],
        &["vod", "verify"],
    ];
    let all = || commands.map(|args| (args.join(" "), said(sandbox.run(args)))).into_iter().collect::<BTreeMap<_, _>>();
    let alone = all();
    let daemon = Daemon::start(&sandbox);
    let beside = all();
    for (command, said) in &alone {
        assert_eq!(&beside[command], said, "{command}");
    }
    for args in [&["inspect", &format!("{root}/room1.mp4")] as &[&str], &["doctor"], &["config", "print"]] {
        sandbox.run(args).expect_code(0);
    }
    sandbox.run(&["config", "check"]).expect_code(0);
    daemon.stop();
}

#[test]
fn process_beside_the_daemon_takes_paths_outside_its_roots_and_relative_to_where_it_was_typed() {
    let sandbox = sandbox(NO_RESCAN, "");
    let daemon = Daemon::start(&sandbox);
    let elsewhere = sandbox.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(made("flv", 2), elsewhere.join("room9.flv")).unwrap();
    let run: RunOutput = sandbox.command(&["process", "room9.flv"]).current_dir(&elsewhere).output().unwrap().into();
    let run = run.expect_code(0);
    assert!(run.out.starts_with("finished") && run.out.contains("room9.mp4"), "{}", run.out);
    assert!(elsewhere.join("room9.mp4").exists() && sandbox.store().join("room9.mp4").exists());
    daemon.stop();
}
