//! When packets are presented: as the source says, in every container, whatever its decoding times and clocks are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::recordings::{ffmpeg, packets};
use crate::support::transport::with_decoding_times;

/// Presentation times of a track in file order, microseconds.
fn presented(path: &Path, kind: &str) -> Vec<i64> {
    let mut run = Command::new("ffprobe");
    run.args(["-v", "error", "-select_streams", kind, "-show_entries", "packet=pts_time", "-of", "csv=p=0"]).arg(path);
    let said = String::from_utf8(run.output().unwrap().stdout).unwrap();
    let micros = |text: &str| {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let whole = seconds.trim_start_matches('-').parse::<i64>().ok()? * 1_000_000;
        let part = format!("{fraction:0<6}")[..6].parse::<i64>().ok()?;
        Some(if seconds.starts_with('-') { -whole - part } else { whole + part })
    };
    said.lines().filter_map(|line| micros(line.trim_matches(','))).collect()
}

/// The same from the earliest on.
fn from_zero(times: Vec<i64>) -> Vec<i64> {
    let earliest = times.iter().copied().min().unwrap_or(0);
    times.into_iter().map(|at| at - earliest).collect()
}

#[track_caller]
fn assert_same_times(found: &[i64], expected: &[i64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).max().unwrap();
    assert!(worst <= 1_001, "{what}: {worst} us off: {found:?} {expected:?}");
}

struct Done {
    sandbox: Sandbox,
    vod: Value,
    output: PathBuf,
    source: PathBuf,
}

/// Finishes one file by its name.
#[track_caller]
fn finished(name: &str, bytes: &[u8]) -> Done {
    let sandbox = Sandbox::new();
    let source = sandbox.root().join(name);
    fs::write(&source, bytes).unwrap();
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().pop().unwrap();
    let output = PathBuf::from(vod["filePath"].as_str().unwrap());
    Done { sandbox, vod, output, source }
}

impl Done {
    #[track_caller]
    fn expect_no_defect(&self, what: &str) {
        assert_eq!(self.vod["defects"], serde_json::json!([]), "{what}");
        assert!(self.output == self.source || !self.source.exists(), "{what}: nothing keeps the original");
    }
}

const SOUND: [&str; 4] = ["-f", "lavfi", "-i", "sine=r=48000:d=4"];
const PICTURES: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=4"];

fn made(directory: &Path, name: &str, codecs: &str) -> Vec<u8> {
    let path = directory.join(name);
    let codecs: Vec<&str> = codecs.split(' ').collect();
    ffmpeg(&[&PICTURES[..], &SOUND, &codecs, &[path.to_str().unwrap()]].concat());
    fs::read(path).unwrap()
}

const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p -c:a aac";
const H265: &str = "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3:keyint=25 -c:a aac";

/// Decoding times that begin at the first presentation, or that are those of presentation, as some segmenters write them.
#[test]
fn pictures_of_a_transport_stream_keep_their_times_whatever_its_decoding_times_are() {
    let directory = tempfile::tempdir().unwrap();
    for codecs in [H264, H265] {
        let whole = made(directory.path(), "whole.ts", codecs);
        let mut late = None;
        let begun = with_decoding_times(&whole, |pts, dts| dts + *late.get_or_insert(pts - dts));
        let same = with_decoding_times(&whole, |pts, _| pts);
        let mut last = 0;
        let repeated = with_decoding_times(&whole, |_, dts| {
            last = if dts % 7 < 3 && last > 0 { last } else { dts };
            last
        });
        fs::write(directory.path().join("source.ts"), &whole).unwrap();
        let expected = from_zero(presented(&directory.path().join("source.ts"), "v"));
        for (what, bytes) in [("whole", whole), ("late", begun), ("same", same), ("repeated", repeated)] {
            let done = finished("room1.ts", &bytes);
            assert_same_times(&from_zero(presented(&done.output, "v")), &expected, what);
            let is_kept = done.vod.get("originalPath").is_some_and(|path| !path.is_null());
            assert!(!is_kept, "{what}: {}", done.vod["defects"]);
        }
    }
}

/// Tags of an FLV file.
fn tags(flv: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (13, Vec::new());
    while at + 11 < flv.len() {
        let end = at + 15 + (usize::from(flv[at + 1]) << 16 | usize::from(flv[at + 2]) << 8 | usize::from(flv[at + 3]));
        found.push((at, end));
        at = end;
    }
    found
}

#[test]
fn pictures_of_flv_keep_their_times_whatever_its_decoding_times_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = made(directory.path(), "whole.flv", H264);
    let expected = from_zero(presented(&directory.path().join("whole.flv"), "v"));
    let is_picture = |bytes: &[u8], at: usize| bytes[at] == 9 && bytes[at + 12] == 1;
    // Decoding is said to come later by what the first picture waits; presentation stays.
    for (at, _) in tags(&bytes).into_iter().filter(|(at, _)| is_picture(&bytes, *at)).collect::<Vec<_>>() {
        let time = u32::from_be_bytes([bytes[at + 7], bytes[at + 4], bytes[at + 5], bytes[at + 6]]) + 80;
        let composition = u32::from_be_bytes([0, bytes[at + 13], bytes[at + 14], bytes[at + 15]]).wrapping_sub(80);
        bytes[at + 4..at + 7].copy_from_slice(&time.to_be_bytes()[1..]);
        bytes[at + 13..at + 16].copy_from_slice(&composition.to_be_bytes()[1..]);
    }
    let done = finished("room1.flv", &bytes);
    assert_same_times(&from_zero(presented(&done.output, "v")), &expected, "flv");
    done.expect_no_defect("flv");
}

/// A tag in four carries a time a few milliseconds before the one in front of it.
#[test]
fn times_of_flv_that_go_back_a_little_move_no_picture() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = made(directory.path(), "whole.flv", &H264.replace("-bf 2", "-bf 0"));
    let pictures: Vec<_> =
        tags(&bytes).into_iter().filter(|(at, _)| bytes[*at] == 9 && bytes[at + 12] == 1).map(|tag| tag.0).collect();
    let time = |bytes: &[u8], at: usize| u32::from_be_bytes([0, bytes[at + 4], bytes[at + 5], bytes[at + 6]]);
    for pair in pictures.windows(2).skip(3).step_by(4) {
        let back = time(&bytes, pair[0]) - 7;
        bytes[pair[1] + 4..pair[1] + 7].copy_from_slice(&back.to_be_bytes()[1..]);
    }
    let source = directory.path().join("hit.flv");
    fs::write(&source, &bytes).unwrap();
    let expected = from_zero(presented(&source, "v"));
    for remuxed in [false, true] {
        let mut bytes = bytes.clone();
        if remuxed {
            // What tables do not say: a script that is no metadata.
            let at = tags(&bytes)[60].0;
            let tag = b"\x12\0\0\x0E\0\0\0\0\0\0\0\x02\0\x04onFI\x08\0\0\0\0\0\0\x09\0\0\0\x19";
            bytes.splice(at..at, tag.iter().copied());
        }
        let done = finished("room1.flv", &bytes);
        assert_same_times(&from_zero(presented(&done.output, "v")), &expected, "jitter");
    }
}

/// Screen sharing: the encoder states 25 pictures a second and sends one in five seconds; sound is steady.
#[test]
fn slides_stay_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    // FFmpeg itself refuses what such an encoder would send with reordered pictures as FLV.
    for (name, bf) in [("a.ts", "0"), ("b.ts", "2"), ("a.flv", "0"), ("a.mkv", "0"), ("b.mkv", "2")] {
        let path = directory.path().join(name);
        let video = ["-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=40", "-f", "lavfi", "-i", "sine=r=48000:d=40"];
        let codecs = "-vf select='not(mod(n,125))' -vsync vfr -enc_time_base 1/25 -c:v libx264 -preset veryfast -g 4 \
                      -x264-params force-cfr=1:fps=25 -pix_fmt yuv420p -c:a aac -b:a 64k -bf";
        let codecs: Vec<&str> = codecs.split_whitespace().chain([bf]).collect();
        ffmpeg(&[&video[..], &codecs, &[path.to_str().unwrap()]].concat());
        let expected: Vec<i64> = (0..8).map(|n| n * 5_000_000).collect();
        let done = finished(name, &fs::read(&path).unwrap());
        let mut found = from_zero(presented(&done.output, "v"));
        found.sort_unstable();
        assert_same_times(&found, &expected, &format!("{name} with {bf}"));
    }
}

/// What a second recording in the same file is joined to: the end of the first.
#[test]
fn recordings_behind_one_another_in_one_file_are_one() {
    let directory = tempfile::tempdir().unwrap();
    let vp8 = "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis";
    for (name, codecs) in [
        ("twice.flv", H264),
        ("twice.mkv", H264),
        ("twice.ts", H264),
        ("hevc.mkv", H265),
        ("hevc.ts", H265),
        ("twice.webm", vp8),
    ] {
        let once = made(directory.path(), name, codecs);
        let whole = directory.path().join(name);
        let (pictures, sound) = (from_zero(presented(&whole, "v")), from_zero(presented(&whole, "a")));
        let done = finished(name, &once.repeat(2));
        for (kind, once) in [("v", pictures), ("a", sound)] {
            let found = presented(&done.output, kind);
            assert_eq!(found.len(), once.len() * 2, "{name} {kind}: {}", done.vod["defects"]);
            for half in found.chunks(once.len()) {
                assert_same_times(&from_zero(half.to_vec()), &once, &format!("{name} {kind}"));
            }
            let begin = found[once.len()..].iter().min().unwrap() - found.iter().min().unwrap();
            assert!((3_950_000..4_200_000).contains(&begin), "{name} {kind}: {begin}");
        }
        let duration = done.vod["duration"].as_i64().unwrap();
        assert!((7900..8300).contains(&duration), "{name}: {duration}");
        assert!(
            done.sandbox.root().join(name) == done.output || !done.source.exists(),
            "{name}: {}",
            done.vod["defects"]
        );
    }
}

/// A second recording that is coded in another way stays in the original, and is said.
#[test]
fn recordings_that_are_not_alike_are_not_joined_and_the_original_stays() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["two.flv", "two.mkv", "two.ts"] {
        let first = made(directory.path(), name, H264);
        let second = made(directory.path(), name, &format!("-s 320x240 {H264}"));
        let bytes = [first, second].concat();
        let done = finished(name, &bytes);
        assert_eq!(fs::read(&done.source).unwrap(), bytes, "{name}");
        assert_eq!(done.vod["originalPath"], done.source.to_str().unwrap(), "{name}");
        assert_ne!(done.vod["defects"], serde_json::json!([]), "{name}");
    }
}

/// The camera is switched on late: ten seconds of sound come before the first picture.
#[test]
fn sound_before_the_first_picture_is_kept_alike_in_every_container() {
    let directory = tempfile::tempdir().unwrap();
    let sources = ["-f", "lavfi", "-i", "sine=r=48000:d=14", "-itsoffset", "10"];
    for (name, order, codecs) in [
        ("late.mp4", "1 0", "-c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p -c:a aac"),
        ("late.flv", "1 0", "-c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p -c:a aac"),
        ("bf.flv", "0 1", "-c:v libx264 -preset ultrafast -bf 2 -pix_fmt yuv420p -c:a aac"),
        ("late.mkv", "1 0", "-c:v libx264 -preset ultrafast -bf 2 -pix_fmt yuv420p -c:a libopus"),
        ("late.ts", "1 0", "-c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p -c:a aac"),
        ("mp2.ts", "0 1", "-c:v libx264 -preset ultrafast -bf 2 -pix_fmt yuv420p -c:a mp2"),
        ("late.webm", "1 0", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis"),
    ] {
        let path = directory.path().join(name);
        let maps: Vec<&str> = order.split(' ').flat_map(|input| ["-map", input]).collect();
        let codecs: Vec<&str> = codecs.split(' ').collect();
        ffmpeg(&[&sources[..], &PICTURES, &maps, &codecs, &["-g", "25", path.to_str().unwrap()]].concat());
        let (sound, pictures) = (presented(&path, "a"), presented(&path, "v"));
        let done = finished(name, &fs::read(&path).unwrap());
        let duration = done.vod["duration"].as_i64().unwrap();
        assert!((13_900..14_200).contains(&duration), "{name}: {duration}");
        let (found, shown) = (presented(&done.output, "a"), presented(&done.output, "v"));
        assert_eq!((found.len(), shown.len()), (sound.len(), pictures.len()), "{name}: {}", done.vod["defects"]);
        let begin = found.iter().min().unwrap();
        assert!(begin.abs() < 60_000, "{name}: sound begins at {begin}");
        let apart = |sound: &[i64], pictures: &[i64]| pictures.iter().min().unwrap() - sound.iter().min().unwrap();
        let off = apart(&found, &shown) - apart(&sound, &pictures);
        assert!(off.abs() <= 2000, "{name}: {off} us");
        done.expect_no_defect(name);
    }
}

/// A recording that is cut from a running broadcast begins in the middle of a group of pictures.
#[test]
fn pictures_in_front_of_the_first_keyframe_cost_no_sound() {
    let directory = tempfile::tempdir().unwrap();
    let whole = made(directory.path(), "whole.ts", H264);
    let from = whole.len() * 2 / 5 / 188 * 188;
    let cut = [&whole[..188 * 3], &whole[from..]].concat();
    let source = directory.path().join("cut.ts");
    fs::write(&source, &cut).unwrap();
    let sound = presented(&source, "a");
    let done = finished("room1.ts", &cut);
    assert_eq!(presented(&done.output, "a").len(), sound.len(), "{}", done.vod["defects"]);
    let left_out = done.vod["defects"].as_array().unwrap().iter().filter(|d| d["kind"] == "leading_packets_dropped");
    assert_eq!(left_out.map(|d| d["track"].as_u64()).collect::<Vec<_>>(), [Some(1)], "{}", done.vod["defects"]);
    assert!(packets(&done.output).iter().any(|packet| packet.contains("codec_type=video")));
}
