//! `process` and the commands around it, through the real binary: repeats, plans, exit codes, names, containers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::daemon::until;
use crate::support::recordings::{cut, decode_errors, duration_s, ffmpeg, made, packets, without_moov};
use crate::support::stores::{free_port, s3};
use crate::support::tap::Tap;
use crate::support::{Sandbox, config_with_targets, standard_config, tree};

fn names(sandbox: &Sandbox) -> Vec<String> {
    tree(&sandbox.root()).into_keys().collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key}: {value}"))
}

fn of_every_kind(sandbox: &Sandbox) {
    for (recipe, name) in [
        ("mp4-faststart", "live/kept.mp4"),
        ("mp4", "live/header-last.mp4"),
        ("flv", "live/spliced.flv"),
        ("webm", "live/kept.webm"),
        ("ts", "live/remuxed-ts.ts"),
    ] {
        sandbox.put(&made(recipe, 2), name);
    }
    sandbox.put(&cut(&made("ts", 2), 0.7), "live/cut.ts");
}

#[test]
fn a_second_run_writes_no_byte_and_sends_at_most_one_head_per_object() {
    let server = s3();
    let tap = Tap::on(server.address());
    let mut target = server.bucket("second-run");
    target.endpoint = Some(format!("http://{}", tap.address));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    of_every_kind(&sandbox);
    sandbox.process().expect_code(0);
    let (before, vods) = (tree(&sandbox.root()), sandbox.vods());
    assert_eq!(vods.len(), 6);
    let objects = vods.iter().flat_map(|v| v["remote"].as_array().unwrap()).map(|o| text(o, "key").to_owned());
    let objects: BTreeSet<_> = objects.collect();
    assert_eq!(objects.len(), 6);
    tap.take();

    let again = sandbox.process().expect_code(0);
    assert_eq!(again.out.lines().filter(|l| l.starts_with("already finished")).count(), again.out.lines().count());
    assert!(again.out.lines().count() >= 6, "{}", again.out);
    assert_eq!(tree(&sandbox.root()), before, "inode, mtime and digest of every file");
    assert_eq!(sandbox.vods(), vods);
    let requests = tap.take();
    assert!(requests.iter().all(|r| r.starts_with("HEAD ")), "{requests:?}");
    let heads: BTreeSet<_> = requests.iter().collect();
    assert_eq!(heads.len(), requests.len(), "at most one per object: {requests:?}");
}

#[test]
fn again_validates_again_and_changes_nothing_that_is_sound() {
    let sandbox = Sandbox::new();
    of_every_kind(&sandbox);
    sandbox.process().expect_code(0);
    let (files, objects, ids) = (names(&sandbox), tree(&sandbox.store()), ids(&sandbox));
    let root = sandbox.root();
    sandbox.run(&["process", "--again", root.to_str().unwrap()]).expect_code(0);
    assert_eq!(names(&sandbox), files);
    assert_eq!(self::ids(&sandbox), ids, "the same VoDs, none twice");
    assert_eq!(tree(&sandbox.store()), objects);
}

fn ids(sandbox: &Sandbox) -> BTreeSet<String> {
    let vods = sandbox.vods();
    let ids: BTreeSet<_> = vods.iter().map(|v| text(v, "vodId").to_owned()).collect();
    assert_eq!(ids.len(), vods.len());
    ids
}

#[test]
fn the_plan_of_a_cut_recording_that_is_kept_has_the_name_that_it_keeps() {
    let sandbox =
        Sandbox::with_config(|dir| standard_config(dir, "").replace("settle =", "fragmented = \"keep\"\nsettle ="));
    let path = sandbox.put(&cut(&made("mp4-fragmented", 4), 0.9), "room1.mp4");
    let root = sandbox.root();
    let plan = sandbox.run(&["--json", "process", "--dry-run", root.to_str().unwrap()]).expect_code(0).json_lines();
    assert_eq!((text(&plan[0], "plan"), text(&plan[0], "to")), ("keep", path.to_str().unwrap()), "{plan:?}");
    sandbox.process().expect_code(0);
    assert_eq!(text(&sandbox.vods()[0], "filePath"), path.to_str().unwrap());
}

#[test]
fn a_finished_file_beside_its_kept_original_of_a_temporary_name_is_finished_and_not_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("mp4", 2), "room1.mp4");
    let original = sandbox.put(&without_moov(&made("mp4", 2)), "room2.mp4.tmp_extension");
    let (root, file) = (sandbox.root(), sandbox.root().join("room2.mp4"));
    let place = root.to_str().unwrap();
    sandbox.run(&["recover", place]).expect_code(0);
    assert!(original.exists() && file.exists(), "the original of what was salvaged is kept");
    for args in [
        vec!["recover", place],
        vec!["process", place, file.to_str().unwrap()],
        vec!["process", "--dry-run", place],
        vec!["process", "--again", file.to_str().unwrap(), original.to_str().unwrap(), file.to_str().unwrap()],
    ] {
        let again = sandbox.run(&args).expect_code(0);
        let is_finished = |line: &str| line.starts_with("already finished");
        assert!(again.out.lines().count() >= 3 && again.out.lines().all(is_finished), "{args:?}: {}", again.out);
    }
}

#[test]
fn again_takes_what_was_quarantined() {
    let sandbox = Sandbox::new();
    let path = sandbox.put(&without_moov(&made("mp4", 2)), "room1.mp4");
    sandbox.process().expect_code(4);
    let second = sandbox.process().expect_code(4);
    assert!(second.out.starts_with("quarantined"), "{}", second.out);
    // The ingest server comes back and finishes it after all; the name is the same, the file is not.
    fs::copy(made("mp4-faststart", 2), &path).unwrap();
    sandbox.run(&["process", "--again", path.to_str().unwrap()]).expect_code(0);
    assert_eq!(sandbox.vods().len(), 1);
}

#[test]
fn a_dry_run_writes_nothing_and_prints_the_plan_that_a_run_applies() {
    let sandbox = Sandbox::new();
    of_every_kind(&sandbox);
    sandbox.put(&without_moov(&made("mp4", 2)), "live/crashed.mp4");
    fs::write(sandbox.root().join("live/noise.mp4"), [0x5A; 4096]).unwrap();
    let (root, before) = (sandbox.root(), tree(&sandbox.root()));
    let plan = sandbox.run(&["--json", "process", "--dry-run", root.to_str().unwrap()]).expect_code(0).json_lines();
    assert_eq!(tree(&root), before);
    assert!(tree(&sandbox.store()).is_empty() && sandbox.vods().is_empty());
    assert_eq!(plan.len(), 8, "{plan:?}");

    let run = sandbox.run(&["--json", "process", root.to_str().unwrap()]).expect_code(4).json_lines();
    for planned in plan {
        let done = run.iter().find(|done| done["path"] == planned["path"]).unwrap();
        let applied = match (text(done, "state"), done["vod"]["outcome"].as_str()) {
            ("quarantined", _) => "quarantine",
            (_, Some("kept")) => "keep",
            (_, Some("spliced")) if text(done, "path").contains("spliced.flv") => "move sample tables to front",
            (_, Some("spliced")) => "move header to front",
            (_, Some("remuxed")) => "remux",
            (_, Some("salvaged")) => "salvage",
            other => panic!("{other:?}"),
        };
        assert_eq!(planned["plan"], applied, "{planned}");
        // A name that only the packets decide (something is left out) may get a number; here the container changes.
        assert_eq!(planned["to"], done["vod"]["filePath"], "{planned}");
    }
}

#[test]
fn wait_stays_until_everything_is_delivered() {
    let server = s3();
    let port = free_port();
    let mut target = server.bucket("wait");
    target.endpoint = Some(format!("http://127.0.0.1:{port}"));
    let sandbox = Sandbox::with_config(|dir| config_with_targets(dir, &[&target], ""));
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let root = sandbox.root();
    let log = fs::File::create(sandbox.path().join("log")).unwrap();
    let mut command = sandbox.command(&["process", "--wait", root.to_str().unwrap()]);
    let mut waiting = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let said = || fs::read_to_string(sandbox.path().join("log")).unwrap();
    until("the first try fails", || said().contains("not delivered").then_some(()));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    let _now_it_is_there = Tap::at(port, server.address());
    let status = until("it ends", || waiting.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", said());
    assert_eq!(sandbox.vods()[0]["remote"].as_array().map(Vec::len), Some(1));
}

#[test]
fn exit_codes_and_json_lines_are_the_documented_ones() {
    let sandbox = Sandbox::new();
    let root = sandbox.root();
    let root = root.to_str().unwrap();
    sandbox.run(&["process"]).expect_code(2);
    sandbox.run(&["process", root, "--server", "no-such"]).expect_code(2);
    sandbox.run(&["--config", "/nowhere.toml", "process", root]).expect_code(2);
    sandbox.run(&["vod", "show", "nobody"]).expect_code(2);
    sandbox.process().expect_code(0);
    sandbox.run(&["process", "/nowhere/at/all"]).expect_code(5);

    sandbox.put(&made("flv", 2), "good.flv");
    // Nothing else here is coded like it, so nothing can teach what it needs.
    sandbox.put(&without_moov(&made("mp4-h265", 2)), "bad.mp4");
    let run = sandbox.run(&["--json", "process", root]).expect_code(4).json_lines();
    let by_name = |lines: &[Value], name: &str| {
        let mut found = lines.iter().filter(|l| l["path"].as_str().is_some_and(|p| p.ends_with(name)));
        found.next().cloned().unwrap_or_else(|| panic!("no {name}: {lines:?}"))
    };
    let good = by_name(&run, "good.flv");
    assert_eq!((text(&good, "state"), text(&good["vod"], "vodName")), ("finished", "good.mp4"));
    assert!(text(&good["vod"], "vodId").len() == 24 && good["vod"]["duration"].as_i64() > Some(1900), "{good}");
    let bad = by_name(&run, "bad.mp4");
    assert_eq!((text(&bad, "state"), bad["defects"].as_array().unwrap().is_empty()), ("quarantined", false));
    let again = sandbox.run(&["--json", "process", root]).expect_code(4).json_lines();
    assert_eq!(by_name(&again, "good.mp4")["vodId"], good["vod"]["vodId"]);
}

// Containers

/// The table of design §5, each cell with a real file: what comes out for (mp4, webm) settings.
const CONTAINERS: [(&str, &str, [&str; 4]); 7] = [
    ("flv", "flv", ["mp4", "mp4", "mkv", "flv"]),
    ("ts-mp2", "ts", ["mkv", "mkv", "mkv", "ts"]),
    ("webm", "webm", ["webm"; 4]),
    ("webm-vp9", "webm", ["webm"; 4]),
    ("mkv-vp9", "mkv", ["mp4", "mp4", "webm", "mkv"]),
    ("mp4-vp9", "mp4", ["mp4"; 4]),
    ("mp4-h265", "mp4", ["mp4"; 4]),
];

/// Packets of pictures and of sound. Containers frame payloads differently, so that only their numbers are compared here;
/// the payloads were compared by the program itself.
fn packet_counts(path: &Path) -> [usize; 2] {
    let packets = packets(path);
    ["codec_type=video|", "codec_type=audio|"].map(|kind| packets.iter().filter(|p| p.starts_with(kind)).count())
}

#[test]
fn every_cell_of_the_container_table_comes_out_with_every_packet() {
    let expected = CONTAINERS.map(|(recipe, ..)| packet_counts(&made(recipe, 2)));
    assert!(expected.iter().flatten().all(|count| *count > 0), "{expected:?}");
    for (column, (mp4, webm)) in [(true, false), (true, true), (false, true), (false, false)].into_iter().enumerate() {
        let more = format!("[finish]\nmp4MuxingEnabled = {mp4}\nwebMMuxingEnabled = {webm}");
        let sandbox = Sandbox::with_config(|dir| standard_config(dir, &more));
        for (recipe, extension, _) in CONTAINERS {
            sandbox.put(&made(recipe, 2), &format!("{recipe}.{extension}"));
        }
        sandbox.process().expect_code(0);
        for ((recipe, _, extensions), expected) in CONTAINERS.into_iter().zip(&expected) {
            let finished = sandbox.root().join(format!("{recipe}.{}", extensions[column]));
            let what = format!("{recipe}, mp4 {mp4}, webm {webm}");
            assert!(finished.exists(), "{what}: {:?}", names(&sandbox));
            assert_eq!(packet_counts(&finished), *expected, "{what}");
            assert_eq!(decode_errors(&finished), "", "{what}");
        }
        let vods = sandbox.vods();
        assert_eq!((names(&sandbox).len(), vods.len()), (CONTAINERS.len(), CONTAINERS.len()), "{:?}", names(&sandbox));
        assert!(vods.iter().all(|v| (v["duration"].as_i64().unwrap() - 2000).abs() < 150), "{vods:?}");
    }
}

/// FFmpeg 5.1 neither reads nor writes H.265 in FLV (the enhanced one, or codec id 12 of some servers). Whatever is made
/// of such a file: its video is not lost silently.
#[test]
fn an_flv_with_h265_never_loses_its_video_silently() {
    for relabel in [relabel_as_codec_12 as fn(&mut [u8]), relabel_as_enhanced] {
        let sandbox = Sandbox::new();
        let mut bytes = fs::read(made("flv", 2)).unwrap();
        relabel(&mut bytes);
        let source = sandbox.root().join("room1.flv");
        fs::write(&source, &bytes).unwrap();
        let run = sandbox.process();
        if source.exists() {
            assert_eq!(fs::read(&source).unwrap(), bytes);
        }
        match sandbox.vods().pop() {
            None => assert_eq!(run.code(), 4, "quarantined: {run:?}"),
            Some(vod) => {
                let has_video = vod["tracks"].as_array().unwrap().iter().any(|t| t["kind"] == "video");
                let is_said = !vod["defects"].as_array().unwrap().is_empty();
                assert!(has_video || (is_said && source.exists()), "{vod}");
            }
        }
    }
}

/// Calls with the first byte of every video tag's body.
fn video_tags(flv: &mut [u8], change: impl Fn(&mut [u8])) {
    let mut at = 13;
    while at + 11 < flv.len() {
        let length = usize::from(flv[at + 1]) << 16 | usize::from(flv[at + 2]) << 8 | usize::from(flv[at + 3]);
        if flv[at] == 9 {
            change(&mut flv[at + 11..at + 11 + length]);
        }
        at += 11 + length + 4;
    }
}

fn relabel_as_codec_12(flv: &mut [u8]) {
    video_tags(flv, |body| body[0] = body[0] & 0xF0 | 0x0C);
}

fn relabel_as_enhanced(flv: &mut [u8]) {
    video_tags(flv, |body| {
        body[0] = 0x80 | body[0] & 0x70 | u8::from(body[1] != 0);
        body[1..5].copy_from_slice(b"hvc1");
    });
}

// Names

#[test]
fn add_date_time_puts_the_start_into_names_that_have_none() {
    let more = "[finish]\naddDateTimeToMp4FileName = true\ntime_zone = \"UTC\"";
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, more));
    let path = sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_634_617);
    fs::File::options().write(true).open(&path).unwrap().set_modified(end).unwrap();
    sandbox.put(&made("mp4-faststart", 2), "room2-2024-01-02_03-04-05.000.mp4");
    sandbox.process().expect_code(0);
    let names = names(&sandbox);
    assert!(names.contains(&"room1_2026-03-04_14-30-15.mp4".to_owned()), "{names:?}");
    assert!(names.contains(&"room2-2024-01-02_03-04-05.000.mp4".to_owned()), "it has a date: {names:?}");
}

#[test]
fn recording_subfolder_takes_finished_files_below_their_directory_once() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[finish]\nrecordingSubfolder = \"vod\""));
    sandbox.put(&made("flv", 2), "live/room1.flv");
    sandbox.put(&made("mp4-faststart", 2), "live/vod/room2.mp4");
    // Only renamed, into a directory that is not there yet.
    sandbox.put(&made("mp4-faststart", 2), "other/room3.mp4");
    sandbox.process().expect_code(0);
    let expected = ["live/vod/room1.mp4", "live/vod/room2.mp4", "other/vod/room3.mp4"];
    assert_eq!(names(&sandbox), expected);
    let keys: Vec<_> = tree(&sandbox.store()).into_keys().collect();
    assert_eq!(keys, expected);
    sandbox.process().expect_code(0);
    assert_eq!(names(&sandbox).len(), 3);
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    sandbox.put(&made("flv", 2), "room1.flv");
    sandbox.put(&made("ts", 2), "room1.ts");
    sandbox.process().expect_code(0);
    assert_eq!(names(&sandbox), ["room1.mp4", "room1_1.mp4", "room1_2.mp4"]);
    assert_eq!(ids(&sandbox).len(), 3);
    assert_eq!(tree(&sandbox.store()).len(), 3);
}

#[test]
fn owner_mode_and_mtime_of_the_source_are_kept() {
    let sandbox = Sandbox::new();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    for (recipe, name) in [("flv", "a.flv"), ("mp4", "b.mp4"), ("webm-live", "c.webm")] {
        let path = sandbox.put(&made(recipe, 2), name);
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(65534), Some(65534)).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    }
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
    let expected = owner(&sandbox.root().join("b.mp4"));
    sandbox.process().expect_code(0);
    for name in ["a.mp4", "b.mp4", "c.webm"] {
        let path = sandbox.root().join(name);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((owner(&path), metadata.mode() & 0o7777), (expected, 0o640), "{name}");
        assert_eq!(metadata.modified().unwrap(), at, "{name}");
    }
}

#[test]
fn the_same_name_recorded_again_with_other_content_is_another_vod_and_another_object() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[retain]\ndelete_local = \"delivered\""));
    sandbox.put(&made("mp4-faststart", 2), "room1.mp4");
    sandbox.process().expect_code(0);
    assert!(names(&sandbox).is_empty(), "freed");
    sandbox.put(&made("mp4-faststart", 3), "room1.mp4");
    sandbox.process().expect_code(0);
    assert!(names(&sandbox).is_empty(), "freed");
    let vods = sandbox.vods();
    assert_eq!(ids(&sandbox).len(), 2);
    let urls: BTreeSet<_> = vods.iter().map(|v| text(&v["remote"][0], "url").to_owned()).collect();
    assert_eq!(urls.len(), 2, "{urls:?}");
    let sizes: BTreeSet<_> = tree(&sandbox.store()).values().map(|f| f.0).collect();
    assert_eq!(sizes, vods.iter().map(|v| v["fileSize"].as_u64().unwrap()).collect());
}

// The catalogue

#[test]
fn a_rebuild_after_the_loss_of_the_state_directory_gives_the_same_ids() {
    let sandbox = Sandbox::new();
    of_every_kind(&sandbox);
    sandbox.process().expect_code(0);
    let (ids, files) = (ids(&sandbox), tree(&sandbox.root()));
    fs::remove_dir_all(sandbox.path().join("state")).unwrap();
    sandbox.run(&["catalog", "rebuild"]);
    let rebuilt = self::ids(&sandbox);
    assert!(rebuilt.is_superset(&ids), "{ids:?} {rebuilt:?}");
    assert_eq!(tree(&sandbox.root()), files, "nothing on the disk has changed");
    sandbox.run(&["catalog", "check"]).expect_code(0);
}

#[test]
fn vods_are_listed_shown_exported_and_deleted() {
    let sandbox = Sandbox::new();
    sandbox.put(&made("flv", 2), "room,1 \"x\".flv");
    sandbox.put(&made("mp4-faststart", 2), "room2.mp4");
    sandbox.process().expect_code(0);
    let table = sandbox.run(&["vod", "list"]).expect_code(0).out;
    assert!(table.starts_with("ID ") && table.lines().count() == 3, "{table}");
    let one = sandbox.run(&["--json", "vod", "list", "--stream", "room2"]).expect_code(0).json_lines();
    assert_eq!((one.len(), text(&one[0], "streamId")), (1, "room2"));
    let id = text(&one[0], "vodId");
    let shown = sandbox.run(&["--json", "vod", "show", id]).expect_code(0).json_lines();
    assert_eq!(shown, one);
    let sheet = sandbox.run(&["vod", "show", id]).expect_code(0).out;
    assert!(sheet.starts_with("room2.mp4\n"), "{sheet}");
    let store = sandbox.store().display().to_string();
    for fact in [
        "stream        room2",
        "video         h264, 160x120, 15 fps, 30 packets",
        &store,
        "checksum compared 20",
        "kept as it was",
    ] {
        assert!(sheet.contains(fact), "`{fact}` is not in\n{sheet}");
    }
    let exported = sandbox.run(&["vod", "export"]).expect_code(0).json_lines();
    assert_eq!(exported.len(), 2);
    let csv = sandbox.run(&["vod", "export", "--format", "csv"]).expect_code(0).out;
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let header = rows.headers().unwrap().clone();
    assert_eq!(header.get(0), Some("vodId"));
    let names: BTreeSet<_> = rows.records().map(|r| r.unwrap().get(2).unwrap().to_owned()).collect();
    assert_eq!(names, BTreeSet::from(["room,1 \"x\".mp4".to_owned(), "room2.mp4".to_owned()]));

    sandbox.run(&["vod", "delete", id]).expect_code(0);
    assert_eq!(sandbox.vods().len(), 2, "not without --yes");
    sandbox.run(&["vod", "delete", id, "--yes"]).expect_code(0);
    assert_eq!((sandbox.vods().len(), self::names(&sandbox).len(), tree(&sandbox.store()).len()), (1, 1, 1));
    sandbox.run(&["vod", "show", id]).expect_code(2);
}

#[test]
fn a_recording_begins_at_its_first_keyframe_and_the_original_stays() {
    let sandbox = Sandbox::new();
    let whole = made("ts", 4);
    let late = sandbox.root().join("late.ts");
    // Whole packets of 188 bytes; the tables repeat, the first keyframes are gone.
    let bytes = fs::read(&whole).unwrap();
    let from = bytes.len() / 3 / 188 * 188;
    fs::write(&late, &bytes[from..]).unwrap();
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().pop().unwrap();
    let finished = Path::new(text(&vod, "filePath"));
    assert_eq!(decode_errors(finished), "", "it begins with a picture");
    assert!((1.5..3.5).contains(&duration_s(finished)), "{vod}");
    assert_eq!(text(&vod, "originalPath"), late.to_str().unwrap(), "{vod}");
}

#[test]
fn a_file_alone_is_taken_without_any_configuration() {
    let sandbox = Sandbox::new();
    let path = sandbox.put(&made("flv", 2), "room1.flv");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_aftercast"));
    let states = sandbox.path().join("states");
    command
        .env("XDG_STATE_HOME", &states)
        .env("AFTERCAST_PICTURES__POSTER", "false")
        .env_remove("AFTERCAST_CONFIG")
        .env_remove("AFTERCAST_TEST_TOOLS");
    let output = command.arg("process").arg(&path).current_dir(sandbox.path().join("store")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&sandbox), ["room1.mp4"]);
    assert!(states.join("aftercast").is_dir());
}

/// Rotating, editing and subtitling: what is neither video nor audio is not lost silently.
#[test]
fn a_subtitle_track_survives_or_is_named() {
    let sandbox = Sandbox::new();
    let subtitles = sandbox.path().join("s.srt");
    fs::write(&subtitles, "1\n00:00:00,500 --> 00:00:01,500\nServus\n\n").unwrap();
    let source = sandbox.root().join("room1.mkv");
    let (from, subtitles) = (made("mkv", 2), subtitles.to_str().unwrap().to_owned());
    let (from, to) = (from.to_str().unwrap(), source.to_str().unwrap().to_owned());
    ffmpeg(&["-i", from, "-i", &subtitles, "-map", "0", "-map", "1", "-c", "copy", "-c:s", "srt", &to]);
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().pop().unwrap();
    let has_it = packets(Path::new(text(&vod, "filePath"))).iter().any(|l| l.contains("=subtitle"));
    assert!(has_it || (source.exists() && !vod["defects"].as_array().unwrap().is_empty()), "{vod}");
}

#[test]
fn a_file_whose_offsets_no_header_can_move_is_kept_as_it_is() {
    let sandbox = Sandbox::new();
    let path = sandbox.put(&made("mp4", 2), "indexed.mp4");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"\0\0\0\x18mfra\0\0\0\x10mfro\0\0\0\0\0\0\0\x18");
    fs::write(&path, &bytes).unwrap();

    sandbox.process().expect_code(0);

    let [vod] = sandbox.vods().try_into().unwrap();
    assert_eq!(text(&vod, "outcome"), "kept");
    assert!(vod["defects"].to_string().contains("tfra"), "{vod}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn inspect_shows_tracks_tables_defects_and_the_plan_on_one_screen() {
    const SCREEN_LINES: usize = 24;
    let sandbox = Sandbox::new();
    for (recipe, plan, front) in [
        ("mp4-faststart", "keep", 0),
        ("mp4", "move header to front", 1),
        ("mp4-fragmented", "move header to front", 1),
    ] {
        let file = sandbox.put(&made(recipe, 4), &format!("{recipe}.mp4"));
        let path = file.to_str().unwrap();
        let text = sandbox.run(&["inspect", path]).expect_code(0).out;
        assert!(text.lines().count() <= SCREEN_LINES, "{text}");
        for word in ["h264", "aac", "CHUNKS", "boxes: ftyp", "audio/video offset", "defects: none", plan] {
            assert!(text.contains(word), "{recipe}: no `{word}` in\n{text}");
        }
        let json: Value = serde_json::from_str(&sandbox.run(&["--json", "inspect", path]).expect_code(0).out).unwrap();
        assert_eq!(json["tracks"].as_array().unwrap().len(), 2);
        let video = &json["tables"][0];
        assert_eq!((video["timeRuns"].as_u64(), video["syncSamples"].as_u64()), (Some(1), Some(4)), "{video}");
        assert!(video["chunks"].as_u64().unwrap() > 0 && video["compositionRuns"].as_u64().unwrap() > 1, "{video}");
        let bytes: u64 = json["boxes"].as_array().unwrap().iter().map(|b| b["size"].as_u64().unwrap()).sum();
        assert_eq!(bytes, fs::metadata(&file).unwrap().len(), "boxes cover the file");
        assert_eq!(json["writes"].as_u64().unwrap().min(1), front);
    }
}

/// Whatever is typed, a recording belongs to the configured root that holds it, and so its key in the store is one.
#[test]
fn roots_below_the_directory_that_is_given_keep_their_own_recordings() {
    let sandbox = Sandbox::with_config(|dir| {
        let config = standard_config(dir, "");
        let line = config.lines().find(|line| line.starts_with("roots")).unwrap().to_owned();
        let root = |name| dir.join("root").join(name).display().to_string();
        config.replace(&line, &format!("roots = [\"{}\", \"{}\"]", root("a"), root("b")))
    });
    for name in ["a/one.mp4", "b/two.mp4", "three.mp4"] {
        sandbox.put(&made("mp4-faststart", 2), name);
    }
    sandbox.process().expect_code(0);
    let uploaded: Vec<_> = tree(&sandbox.store()).into_keys().collect();
    assert_eq!(uploaded, ["one.mp4", "three.mp4", "two.mp4"]);
    assert_eq!(sandbox.vods().len(), 3);
}
