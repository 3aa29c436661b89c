//! What is said of a recording is what an operator wants to know: no alarm for what is as it should be, each thing once, with a
//! number that is right.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::recordings::{ffmpeg, made, packets};

/// The only recording of a house, finished.
#[track_caller]
fn finished(sandbox: &Sandbox) -> Value {
    let run = sandbox.process().expect_code(0);
    let mut vods = sandbox.vods();
    assert_eq!(vods.len(), 1, "{}", run.out);
    vods.pop().unwrap()
}

fn gaps(vod: &Value) -> Vec<(u64, i64)> {
    let all = vod["defects"].as_array().unwrap().iter().filter(|defect| defect["kind"] == "timestamp_gap");
    all.map(|gap| (gap["track"].as_u64().unwrap(), gap["lengthMs"].as_i64().unwrap())).collect()
}

/// A recording whose pictures are those that an expression of ffmpeg's `select` takes; the sound is that of another.
fn recorded(sandbox: &Sandbox, name: &str, select: &str, sound: &str, format: &str) -> PathBuf {
    let path = sandbox.root().join(name);
    let select = format!("select='{select}'");
    let mut args = vec!["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=40", "-f", "lavfi", "-i", "sine=r=48000:d=40"];
    args.extend(["-vf", &select, "-vsync", "vfr", "-enc_time_base", "1/25", "-c:v", "libx264", "-preset", "ultrafast"]);
    args.extend(["-x264-params", "force-cfr=1:fps=25", "-bf", "0", "-g", "4", "-pix_fmt", "yuv420p", "-c:a", "aac"]);
    args.extend(sound.split(' ').filter(|word| !word.is_empty()));
    args.extend(format.split(' '));
    args.push(path.to_str().unwrap());
    ffmpeg(&args);
    path
}

const SLIDES: &str = "not(mod(n,125))";
/// Half of the time a shared screen on which nothing moves.
const SCREEN: &str = "lt(mod(n,200),100)";
const FORMATS: [(&str, &str); 4] = [
    ("room1.ts", "-f mpegts"),
    ("room1.mkv", "-f matroska"),
    ("room1.flv", "-f flv"),
    ("room1.mp4", "-movflags frag_keyframe+empty_moov -f mp4"),
];

#[test]
fn pictures_that_stay_as_they_are_while_sound_goes_on_are_no_gaps() {
    for (name, format) in FORMATS {
        for (select, sound) in [(SLIDES, ""), (SLIDES, "-an"), (SCREEN, "")] {
            let sandbox = Sandbox::new();
            recorded(&sandbox, name, select, sound, format);
            let vod = finished(&sandbox);
            assert_eq!(gaps(&vod), [], "{name} {select} {sound}: {vod}");
        }
    }
}

#[test]
fn a_pause_is_said_once_with_its_length() {
    for (name, format) in FORMATS {
        let sandbox = Sandbox::new();
        recorded(&sandbox, name, "lt(n,300)+gt(n,450)", "-af aselect='lt(t,12)+gt(t,18)'", format);
        let vod = finished(&sandbox);
        let found = gaps(&vod);
        assert_eq!(found.iter().map(|gap| gap.0).collect::<Vec<_>>(), [1, 2], "{name}: {vod}");
        assert!(found.iter().all(|gap| (5900..6200).contains(&gap.1)), "{name}: {vod}");
    }
}

/// The same times so many milliseconds later, of each as many lower bits as its writer keeps.
fn later(flv: &Path, by_ms: u32, mask: u32) -> Vec<u8> {
    let mut bytes = fs::read(flv).unwrap();
    let mut at = 13;
    while at + 11 <= bytes.len() {
        let length = usize::from(bytes[at + 1]) << 16 | usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]);
        let time = u32::from_be_bytes([bytes[at + 7], bytes[at + 4], bytes[at + 5], bytes[at + 6]]);
        // Script data stands at the beginning, whatever the clock says.
        let later = if bytes[at] == 18 { time } else { time + by_ms };
        let [high, rest @ ..] = (later & mask).to_be_bytes();
        bytes[at + 4..at + 7].copy_from_slice(&rest);
        bytes[at + 7] = high;
        at += 15 + length;
    }
    bytes
}

#[test]
fn times_without_their_extended_byte_go_on() {
    let times = |path: &Path| -> Vec<(String, i64)> {
        let field = |packet: &str, name: &str| packet.split(name).nth(1).unwrap().split('|').next().unwrap().to_owned();
        let time = |packet: &String| -> f64 { field(packet, "pts_time=").parse().unwrap() };
        let all = packets(path);
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a short recording")]
        all.iter().map(|packet| (field(packet, "codec_type="), (time(packet) * 1000.0).round() as i64)).collect()
    };
    let whole = made("flv", 4);
    for (by_ms, is_said) in [((1 << 24) - 2000, true), ((1 << 24) + 5000, false), (1 << 23, false)] {
        let expected = Sandbox::new();
        expected.put(&whole, "room1.flv");
        finished(&expected);
        let sandbox = Sandbox::new();
        fs::write(sandbox.root().join("room1.flv"), later(&whole, by_ms, 0x00FF_FFFF)).unwrap();
        let vod = finished(&sandbox);
        assert_eq!(gaps(&vod), [], "{by_ms}: {vod}");
        let kinds: Vec<_> =
            vod["defects"].as_array().unwrap().iter().map(|defect| defect["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, if is_said { vec!["malformed"] } else { vec![] }, "{by_ms}: {vod}");
        assert!((vod["duration"].as_i64().unwrap() - 4000).abs() < 100, "{vod}");
        let mut ours = times(&sandbox.root().join("room1.mp4"));
        let mut theirs = times(&expected.root().join("room1.mp4"));
        ours.sort();
        theirs.sort();
        assert_eq!(ours.len(), theirs.len());
        assert!(ours.iter().zip(&theirs).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 1), "{by_ms}");
    }
}

#[test]
fn a_header_that_is_mended_is_no_defect_of_what_is_finished() {
    let whole = fs::read(made("mp4", 4)).unwrap();
    let mut bytes = whole.clone();
    let at: Vec<_> = whole.windows(4).enumerate().filter(|(_, name)| *name == b"mdhd").map(|(at, _)| at).collect();
    assert_eq!(at.len(), 2);
    for at in at {
        bytes[at + 20..at + 24].copy_from_slice(&4000_u32.to_be_bytes());
    }
    let sandbox = Sandbox::new();
    fs::write(sandbox.root().join("room1.mp4"), bytes).unwrap();
    let vod = finished(&sandbox);
    assert_eq!((vod["outcome"].as_str(), &vod["defects"]), (Some("spliced"), &serde_json::json!([])), "{vod}");
}

/// Matroska and WebM count their duration from zero, wherever the first packet lies.
#[test]
fn a_recording_that_begins_late_is_not_cut() {
    for (name, codecs) in [
        ("room1.mkv", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac"),
        ("room1.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis"),
    ] {
        let sandbox = Sandbox::new();
        let source = sandbox.root().join(name);
        let mut args =
            vec!["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=4", "-f", "lavfi", "-i", "sine=r=48000:d=4"];
        args.extend(codecs.split(' '));
        args.extend(["-output_ts_offset", "9000", source.to_str().unwrap()]);
        ffmpeg(&args);
        let vod = finished(&sandbox);
        assert_eq!(vod["defects"], serde_json::json!([]), "{name}: {vod}");
        assert!((3950..4100).contains(&vod["duration"].as_i64().unwrap()), "{name}: {vod}");
        // One that is cut is still said to be: half of its bytes are gone.
        let sandbox = Sandbox::new();
        let cut = sandbox.put(&crate::support::recordings::cut(&made("mkv", 8), 0.5), name);
        let vod = finished(&sandbox);
        assert!(vod["defects"].to_string().contains("truncated") && cut.exists(), "{name}: {vod}");
    }
}
