//! A crashed MP4 plays again: with what an earlier recording of its stream taught, and not without.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::browser::width_in_chromium;
use crate::support::recordings::{decode_errors, ffmpeg, made, packets, without_moov, zeroed};
use crate::support::{Sandbox, standard_config};

/// Digests of the packets of one kind, in order; the times are compared apart.
fn payloads(lines: &[String], kind: &str) -> Vec<String> {
    let of_kind = lines.iter().filter(|line| line.contains(kind));
    of_kind.map(|line| line.rsplit(['|', ',', ' ']).next().unwrap().to_owned()).collect()
}

#[test]
fn a_crashed_recording_is_salvaged_with_what_its_stream_taught_before() {
    let sandbox = Sandbox::new();
    let sound = sandbox.put(&made("mp4", 2), "before/monday.mp4");
    sandbox.run(&["process", sound.to_str().unwrap(), "--stream", "room1"]).expect_code(0);

    let whole = made("mp4", 4);
    let crashed = sandbox.put(&without_moov(&whole), "after/tuesday.mp4.tmp");
    let before = fs::read(&crashed).unwrap();
    sandbox.run(&["recover", crashed.to_str().unwrap(), "--stream", "room1"]).expect_code(0);

    let vods = sandbox.vods();
    let vod = vods.iter().find(|vod| vod["salvaged"] == true).unwrap_or_else(|| panic!("{vods:?}"));
    assert_eq!(vod["outcome"], "salvaged", "{vod}");
    let path = sandbox.root().join("after/tuesday.mp4");
    assert_eq!(decode_errors(&path), "");
    let (truth, got) = (packets(&whole), packets(&path));
    for kind in ["video", "audio"] {
        assert!(payloads(&truth, kind).len() > 10);
        assert_eq!(payloads(&got, kind), payloads(&truth, kind), "{kind}");
    }
    assert_eq!(fs::read(&crashed).unwrap(), before, "the original stays as it was");
}

#[test]
fn without_parameters_it_stays_and_says_what_would_finish_it() {
    let sandbox = Sandbox::new();
    let crashed = sandbox.put(&without_moov(&made("mp4", 4)), "alone/tuesday.mp4.tmp");
    let run = sandbox.run(&["--json", "recover", crashed.to_str().unwrap()]).expect_code(4);
    assert!(run.out.contains("needs_parameters"), "{}", run.out);
    assert!(sandbox.vods().is_empty() && crashed.exists());

    let output = sandbox.path().join("out.mp4");
    let good = made("mp4", 2);
    let named = ["--reference", good.to_str().unwrap(), "--output", output.to_str().unwrap()];
    sandbox.run(&[&["recover", crashed.to_str().unwrap()], &named[..]].concat()).expect_code(0);
    assert_eq!(decode_errors(&output), "");
    assert_eq!(packets(&output).len(), packets(&made("mp4", 4)).len());
    sandbox.run(&[&["recover", crashed.to_str().unwrap()], &named[..]].concat()).expect_code(2);
}

#[test]
fn what_another_recording_of_the_run_teaches_is_used_whichever_comes_first() {
    for crashed_is_newer in [true, false] {
        let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[finish]\njobs = 1"));
        let crashed = sandbox.put(&without_moov(&made("mp4", 4)), "one/crashed.mp4");
        let sound = sandbox.put(&made("flv", 2), "two/sound.flv");
        let hours = |hours: u64| SystemTime::now() - Duration::from_secs(3600 * hours);
        let aged = |path, at| fs::File::options().write(true).open::<&Path>(path).unwrap().set_modified(at).unwrap();
        aged(&crashed, hours(if crashed_is_newer { 1 } else { 3 }));
        aged(&sound, hours(2));
        let run = sandbox.run(&["--json", "process", sandbox.root().to_str().unwrap()]).expect_code(0).json_lines();
        let ends: Vec<_> = run.iter().map(|end| (end["state"].as_str(), end["vod"]["salvaged"].as_bool())).collect();
        assert_eq!(run.len(), 2, "each is told once: {run:?}");
        assert!(ends.contains(&(Some("finished"), Some(true))), "crashed is newer: {crashed_is_newer}: {run:?}");
        let got = packets(&sandbox.root().join("one/crashed_1.mp4"));
        assert_eq!(payloads(&got, "video"), payloads(&packets(&made("mp4", 4)), "video"));
    }
}

/// A recording with other settings of its encoder: its pictures look like those of `made("mp4", …)` until they are decoded.
fn of_another_encoder(to: &Path) {
    let pictures = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=3", "-f", "lavfi", "-i", "sine=b=4:r=48000:d=3"];
    let settings = ["-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-g", "50", "-c:a", "aac"];
    let to = to.to_str().unwrap();
    ffmpeg(&[&pictures[..], &settings, &["-pix_fmt", "yuv420p", to]].concat());
}

#[test]
fn what_another_recording_taught_and_does_not_decode_makes_no_recording() {
    let sandbox = Sandbox::new();
    let crashed = sandbox.put(&without_moov(&made("mp4", 4)), "live/tuesday.mp4.tmp");
    let neighbour = sandbox.root().join("live/other.mp4");
    of_another_encoder(&neighbour);
    let output = sandbox.path().join("out.mp4");
    let (crashed, output) = (crashed.to_str().unwrap(), output.to_str().unwrap());
    let said = sandbox.run(&["--json", "recover", crashed, "--output", output]).expect_code(4);
    assert!(said.out.contains("needs_parameters") && !Path::new(output).exists(), "{}", said.out);
    // The operator's own word is tried like any other.
    let named = ["--reference", neighbour.to_str().unwrap(), "--output", output];
    let said = sandbox.run(&[&["--json", "recover", crashed], &named[..]].concat()).expect_code(4);
    assert!(said.out.contains("needs_parameters") && !Path::new(output).exists(), "{}", said.out);
}

/// Recovers a file alone and says which share of each kind's packets is in the result, in a hundred, and how it decodes.
fn shares(sandbox: &Sandbox, broken: &Path, reference: &Path, truth: &Path) -> (usize, usize, String) {
    let names = [broken, reference].map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    let name = format!("out-{}-{}", names[1], names[0]);
    let output = sandbox.path().join(name);
    let files = [broken, reference, &output].map(|path| path.to_str().unwrap().to_owned());
    sandbox.run(&["recover", &files[0], "--reference", &files[1], "--output", &files[2]]).expect_code(0);
    let (truth, got) = (packets(truth), packets(&output));
    let share = |kind| {
        let (truth, got) = (payloads(&truth, kind), payloads(&got, kind));
        // In order: each packet of the truth is looked for behind the one before.
        let mut next = 0;
        let mut found = 0;
        for one in &truth {
            if let Some(at) = got[next..].iter().position(|other| other == one) {
                (next, found) = (next + at + 1, found + 1);
            }
        }
        assert!(truth.len() > 10, "{kind}");
        found * 100 / truth.len()
    };
    (share("video"), share("audio"), decode_errors(&output))
}

#[test]
fn every_codec_that_mp4_carries_here_comes_back_without_a_header() {
    let sandbox = Sandbox::new();
    for recipe in ["mp4-h265", "mp4-mp3", "mp4-ac3", "mp4-eac3", "mp4-opus", "mov-pcm", "mp4-mpeg4", "mp4-inband"] {
        let whole = made(recipe, 6);
        let (video, audio, errors) = shares(&sandbox, &without_moov(&whole), &made(recipe, 3), &whole);
        // The packets of Opus say nothing of their length.
        let least = if recipe == "mp4-opus" { 90 } else { 99 };
        assert!(video == 100 && audio >= least && errors.is_empty(), "{recipe}: {video} {audio} {errors}");
    }
}

#[test]
fn fragments_whose_headers_were_hit_come_back() {
    let sandbox = Sandbox::new();
    let whole = made("mp4-fragmented", 6);
    let bytes = fs::read(&whole).unwrap();
    let moofs: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| *w == b"moof").map(|(at, _)| at - 4).collect();
    let size = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let hit = moofs[moofs.len() / 2];
    let lost_header = zeroed(&whole, hit..hit + size(hit));
    let lost_head = zeroed(&whole, 0..moofs[0] + 40);
    for broken in [lost_header, lost_head] {
        let (video, audio, errors) = shares(&sandbox, &broken, &made("mp4-fragmented", 3), &whole);
        assert!(video >= 99 && audio >= 99 && errors.is_empty(), "{}: {video} {audio} {errors}", broken.display());
    }
}

/// A file of which the end was never stored: zeros from a place on, to where it ends and `behind` bytes further.
fn unstored(whole: &Path, from: usize, behind: usize) -> std::path::PathBuf {
    let bytes = fs::read(whole).unwrap();
    let path =
        whole.with_file_name(format!("unstored-{from}-{behind}-{}", whole.file_name().unwrap().to_string_lossy()));
    fs::write(&path, [&bytes[..from], &vec![0; bytes.len() - from + behind]].concat()).unwrap();
    path
}

#[test]
fn zeros_that_the_writer_never_stored_become_no_packets() {
    let sandbox = Sandbox::new();
    for recipe in ["mp4-fragmented", "mkv", "webm", "webm-live", "flv", "ts"] {
        let whole = made(recipe, 12);
        let size = usize::try_from(fs::metadata(&whole).unwrap().len()).unwrap();
        for (share, behind) in [(60, 0), (75, 70_000)] {
            let broken = unstored(&whole, size * share / 100, behind);
            let output =
                sandbox.path().join(format!("{share}-{recipe}.{}", whole.extension().unwrap().to_str().unwrap()));
            let files = [&broken, &whole, &output].map(|path| path.to_str().unwrap().to_owned());
            sandbox.run(&["recover", &files[0], "--reference", &files[1], "--output", &files[2]]).expect_code(0);
            assert_eq!(decode_errors(&output), "", "{recipe} {share}");
            let (truth, got) = (packets(&whole), packets(&output));
            if recipe == "ts" {
                continue; // The container wraps its packets in another way.
            }
            for kind in ["video", "audio"] {
                let (truth, got) = (payloads(&truth, kind), payloads(&got, kind));
                assert!(got.len() * 100 >= truth.len() * (share - 20), "{recipe} {share} {kind}: {}", got.len());
                // The digest of the first one may stand behind its side data.
                let invented = got.iter().zip(&truth).skip(1).position(|(got, truth)| got != truth);
                assert_eq!(invented, None, "{recipe} {share} {kind} of {}", got.len());
            }
        }
    }
}

#[test]
fn matroska_webm_and_flv_get_their_beginning_again() {
    let sandbox = Sandbox::new();
    for (recipe, reference) in [("mkv", "mkv"), ("mkv", "mp4"), ("webm", "webm"), ("flv", "flv"), ("flv", "mp4")] {
        let whole = made(recipe, 12);
        let (video, audio, errors) = shares(&sandbox, &zeroed(&whole, 0..1500), &made(reference, 3), &whole);
        assert!(video >= 99 && audio >= 99, "{recipe} from {reference}: {video} {audio} {errors}");
    }
}

#[test]
fn no_packet_of_a_transport_stream_is_lost_that_ffmpeg_copies() {
    let sandbox = Sandbox::new();
    let whole = made("ts", 12);
    let size = usize::try_from(fs::metadata(&whole).unwrap().len()).unwrap();
    let sound = sandbox.path().join("sound.mp4");
    ffmpeg(&["-i", whole.to_str().unwrap(), "-map", "0", "-c", "copy", sound.to_str().unwrap()]);
    let sound = packets(&sound);
    // A packet that libavformat calls corrupt is left out, and that is said; it may be whole all the same.
    for (hit, corrupt) in [(0..4096, 0), (size / 2..size / 2 + 900, 1), (size - 5000..size, 1)] {
        let broken = zeroed(&whole, hit.clone());
        let (output, copy) = (sandbox.path().join(format!("{}.mp4", hit.start)), sandbox.path().join("copy.mp4"));
        let files = [&broken, &whole, &output].map(|path| path.to_str().unwrap().to_owned());
        let run = sandbox.run(&["recover", &files[0], "--reference", &files[1], "--output", &files[2]]).expect_code(0);
        assert_eq!(run.out.contains("the beginning of the file"), hit.start == 0, "{}", run.out);
        ffmpeg(&["-i", &files[0], "-map", "0", "-c", "copy", copy.to_str().unwrap()]);
        let (ours, theirs) = (packets(&output), packets(&copy));
        for kind in ["video", "audio"] {
            let (ours, theirs, sound) = (payloads(&ours, kind), payloads(&theirs, kind), payloads(&sound, kind));
            let missing = theirs.iter().filter(|payload| sound.contains(payload));
            let missing = missing.filter(|payload| !ours.contains(payload)).count();
            assert!(missing <= corrupt, "{missing} {kind} of {}, zeros from {}", theirs.len(), hit.start);
            assert!(theirs.len() > 50, "{kind}");
        }
    }
}

#[test]
fn the_original_of_a_transport_stream_that_lost_its_beginning_stays() {
    let sandbox = Sandbox::new();
    let broken = sandbox.put(&zeroed(&made("ts", 12), 0..4096), "yard/camera.ts");
    sandbox.run(&["recover", broken.to_str().unwrap()]).expect_code(0);
    let vods = sandbox.vods();
    assert!(vods.len() == 1 && vods[0].to_string().contains("the beginning of the file"), "{vods:?}");
    assert!(broken.exists(), "{vods:?}");
}

#[test]
fn recordings_that_lost_their_beginning_play_in_a_browser() {
    let sandbox = Sandbox::new();
    for (recipe, finished) in [("mkv", "mp4"), ("webm", "webm"), ("flv", "mp4"), ("mp4-fragmented", "mp4")] {
        let whole = made(recipe, 12);
        let (broken, output) = (zeroed(&whole, 0..1500), sandbox.path().join(format!("{recipe}.{finished}")));
        let files = [&broken, &made(recipe, 3), &output].map(|path| path.to_str().unwrap().to_owned());
        sandbox.run(&["recover", &files[0], "--reference", &files[1], "--output", &files[2]]).expect_code(0);
        let width = width_in_chromium(&output, sandbox.path());
        assert!(width.is_none_or(|width| width == 160), "{recipe}: {width:?}");
    }
}

#[test]
fn matroska_and_webm_whose_clusters_were_hit_come_back() {
    let sandbox = Sandbox::new();
    for recipe in ["mkv", "webm", "webm-live"] {
        let whole = made(recipe, 12);
        let bytes = fs::read(&whole).unwrap();
        let is_cluster = |window: &[u8]| window == [0x1F, 0x43, 0xB6, 0x75];
        let clusters: Vec<usize> =
            bytes.windows(4).enumerate().filter(|(_, w)| is_cluster(w)).map(|(at, _)| at).collect();
        let hit = clusters[clusters.len() / 2];
        for broken in [zeroed(&whole, hit..hit + 4), zeroed(&whole, hit..hit + 7)] {
            let (video, audio, errors) = shares(&sandbox, &broken, &whole, &whole);
            assert!(video >= 99 && audio >= 99 && errors.is_empty(), "{recipe}: {video} {audio} {errors}");
            let output = sandbox.path().join(format!(
                "out-{}-{}",
                whole.file_name().unwrap().to_str().unwrap(),
                broken.file_name().unwrap().to_str().unwrap()
            ));
            fs::remove_file(output).unwrap();
        }
    }
}

#[test]
fn what_waits_for_parameters_is_finished_when_its_stream_is_recorded_again() {
    let sandbox = Sandbox::new();
    let crashed = sandbox.put(&without_moov(&made("mp4", 4)), "a/room7.mp4.tmp");
    sandbox.run(&["recover", crashed.to_str().unwrap(), "--stream", "room7"]).expect_code(4);
    let sound = sandbox.put(&made("mp4", 2), "b/room7.mp4");
    sandbox.run(&["process", sound.to_str().unwrap(), "--stream", "room7"]).expect_code(0);
    sandbox.run(&["recover", crashed.to_str().unwrap(), "--stream", "room7"]).expect_code(0);
    assert!(sandbox.vods().iter().any(|vod| vod["salvaged"] == true));
    assert_eq!(decode_errors(&sandbox.root().join("a/room7.mp4")), "");
}

#[test]
fn the_segments_of_its_playlist_teach_a_crashed_recording() {
    let sandbox = Sandbox::new();
    let crashed = sandbox.put(&without_moov(&made("mp4", 4)), "live/room8.mp4.tmp");
    let segment = sandbox.put(&made("ts", 4), "live/room8000000001.ts");
    fs::write(segment.with_file_name("room8.m3u8"), "#EXTM3U\n#EXTINF:4,\nroom8000000001.ts\n").unwrap();
    sandbox.run(&["recover", crashed.to_str().unwrap(), "--stream", "room8"]).expect_code(0);
    let vods = sandbox.vods();
    let vod = vods.iter().find(|vod| vod["salvaged"] == true).unwrap_or_else(|| panic!("{vods:?}"));
    assert_eq!(vod["salvage"]["source"], "sibling", "{vod}");
    assert_eq!(decode_errors(&sandbox.root().join("live/room8.mp4")), "");
}

#[test]
fn a_crashed_recording_gets_its_header_where_it_stands_and_gives_it_back() {
    let sandbox = Sandbox::with_config(|dir| standard_config(dir, "[finish]\nsalvage_in_place = \"always\"\n"));
    let sound = sandbox.put(&made("mp4", 2), "a/room4.mp4");
    sandbox.run(&["process", sound.to_str().unwrap(), "--stream", "room4"]).expect_code(0);
    let crashed = sandbox.put(&without_moov(&made("mp4", 4)), "b/room4.mp4.tmp");
    let before = fs::read(&crashed).unwrap();
    sandbox.run(&["recover", crashed.to_str().unwrap(), "--stream", "room4"]).expect_code(0);
    let vod = sandbox.vods().into_iter().find(|vod| vod["salvaged"] == true).unwrap();
    if vod["splice"] != "insert_range" {
        let _ = writeln!(std::io::stderr(), "skipped: the file system here inserts no blocks");
        return;
    }
    let finished = sandbox.root().join("b/room4.mp4");
    assert!(!crashed.exists() && decode_errors(&finished).is_empty(), "{vod}");
    assert_eq!(packets(&finished).len(), packets(&made("mp4", 4)).len());
    sandbox.run(&["recover", "--undo", finished.to_str().unwrap()]).expect_code(0);
    assert_eq!(fs::read(&finished).unwrap(), before, "what crashed is back, byte for byte");
}
