//! FLV through the real program: what is not sound keeps its original, and what is not what its beginning promised finds the
//! container that it fits in; and what a recording says of itself comes along.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Sandbox;
use crate::support::recordings::{ffmpeg, made, packets};

/// Begin and end of each tag, the length behind it included.
fn tags(flv: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (13, Vec::new());
    while at + 11 < flv.len() {
        let body = usize::from(flv[at + 1]) << 16 | usize::from(flv[at + 2]) << 8 | usize::from(flv[at + 3]);
        found.push((at, at + 15 + body));
        at += 15 + body;
    }
    found
}

fn tag(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
    let (length, time) = (u32::try_from(body.len()).unwrap(), time_ms.to_be_bytes());
    let head = [&[kind][..], &length.to_be_bytes()[1..], &[time[1], time[2], time[3], time[0], 0, 0, 0]].concat();
    [&head, body, &(length + 11).to_be_bytes()[..]].concat()
}

fn put(sandbox: &Sandbox, name: &str, bytes: &[u8]) -> PathBuf {
    let path = sandbox.put(&made("flv", 2), name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn an_flv_that_is_damaged_or_holds_other_data_keeps_its_original() {
    let whole = fs::read(made("flv", 2)).unwrap();
    let all = tags(&whole);
    let (_, middle) = all[all.len() / 2];
    let mut length = whole.clone();
    length[middle - 1] ^= 4;
    let mut zeros = whole.clone();
    zeros[middle - 2000..middle + 2000].fill(0);
    let data = [&whole[..middle], &tag(18, 1000, b"\x02\0\x04onFI\x08\0\0\0\0\0\0\x09"), &whole[middle..]].concat();
    for (what, bytes) in [("a length", length), ("zeros", zeros), ("data", data)] {
        let sandbox = Sandbox::new();
        let source = put(&sandbox, "room1.flv", &bytes);
        sandbox.process().expect_code(0);
        let vod = sandbox.vods().pop().unwrap();
        assert_eq!(fs::read(&source).unwrap(), bytes, "{what}");
        assert_eq!(vod["originalPath"], source.to_str().unwrap(), "{what}");
        assert!(!vod["defects"].as_array().unwrap().is_empty(), "{what}");
        assert_eq!(vod["outcome"], "remuxed", "{what}");
    }
    let sandbox = Sandbox::new();
    let source = put(&sandbox, "room1.flv", &whole);
    sandbox.process().expect_code(0);
    assert!(!source.exists() && sandbox.vods()[0]["outcome"] == "spliced");
}

/// A live stream's recorder writes metadata again whenever the publisher does; libavformat makes a track of that.
#[test]
fn metadata_that_comes_again_is_no_track() {
    let whole = fs::read(made("flv", 2)).unwrap();
    let all = tags(&whole);
    let (begin, end) = all[0];
    let again = tag(18, 1000, &whole[begin + 11..end - 4]);
    let (_, middle) = all[all.len() / 2];
    let twice = [&whole[..middle], &again, &whole[middle..]].concat();
    // With a second configuration behind it the tables are not enough.
    let (from, to) = all[1];
    let mut other = whole[from..to].to_vec();
    other[4..7].copy_from_slice(&1000_u32.to_be_bytes()[1..]);
    other[11 + 5 + 3] ^= 1;
    assert_eq!((other[0], other[12]), (9, 0), "the configuration of the pictures");
    let changed = [&whole[..middle], &again, &other, &whole[middle..]].concat();
    for (bytes, outcome) in [(twice, "spliced"), (changed, "remuxed")] {
        let sandbox = Sandbox::new();
        let source = put(&sandbox, "room1.flv", &bytes);
        sandbox.process().expect_code(0);
        let vod = sandbox.vods().pop().unwrap();
        assert_eq!(vod["outcome"], outcome, "{vod}");
        assert!(!vod["defects"].to_string().contains("track_left_out"), "{vod}");
        assert_eq!(vod["tracks"].as_array().unwrap().len(), 2, "{vod}");
        assert_eq!(source.exists(), outcome == "remuxed", "{vod}");
    }
}

#[test]
fn the_time_of_the_recording_comes_along_however_it_is_finished() {
    let when = "2024-03-04T14:30:15.000000Z";
    let directory = tempfile::tempdir().unwrap();
    let flv = directory.path().join("room1.flv");
    let created = format!("creation_time={when}");
    ffmpeg(&["-i", made("flv", 2).to_str().unwrap(), "-c", "copy", "-metadata", &created, flv.to_str().unwrap()]);
    for (validate, outcome) in [("structure", "spliced"), ("decode", "remuxed")] {
        let sandbox = Sandbox::with_config(|dir| {
            crate::support::standard_config(dir, &format!("[finish]\nvalidate = \"{validate}\""))
        });
        sandbox.put(&flv, "room1.flv");
        sandbox.process().expect_code(0);
        let vod = sandbox.vods().pop().unwrap();
        assert_eq!((&vod["outcome"], &vod["startTime"]), (&outcome.into(), &1_709_562_615_000_i64.into()), "{vod}");
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-show_entries", "format_tags=creation_time", "-of", "csv=p=0"]);
        let said = probe.arg(vod["filePath"].as_str().unwrap()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), when, "{outcome}");
    }
}

/// Sound for longer than a beginning is looked at, and then pictures that no MP4 carries.
#[test]
fn a_track_that_turns_up_late_decides_the_container_too() {
    let sound = fs::read(made("flv", 12)).unwrap();
    let sound: Vec<u8> = tags(&sound)
        .into_iter()
        .filter(|(at, _)| sound[*at] == 8)
        .flat_map(|(at, end)| sound[at..end].to_vec())
        .collect();
    let old = fs::read(made("flv-h263", 1)).unwrap();
    let pictures: Vec<u8> = tags(&old)
        .into_iter()
        .filter(|(at, _)| old[*at] == 9)
        .flat_map(|(at, end)| {
            let mut tag = old[at..end].to_vec();
            // Twelve seconds later.
            let time = u32::from_be_bytes([0, tag[4], tag[5], tag[6]]) + 12_000;
            tag[4..7].copy_from_slice(&time.to_be_bytes()[1..]);
            tag
        })
        .collect();
    let sandbox = Sandbox::new();
    put(&sandbox, "room1.flv", &[&old[..13], &sound, &pictures].concat());
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().pop().unwrap();
    assert_eq!((vod["container"].as_str(), vod["outcome"].as_str()), (Some("matroska"), Some("remuxed")), "{vod}");
    assert!(packets(&sandbox.root().join("room1.mkv")).iter().any(|packet| packet.contains("video")));
}

/// What ffprobe reads of what a file says of itself, without what every MP4 says.
fn said(path: &Path) -> Vec<String> {
    let run = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "format_tags", "-of", "default=nw=1"])
        .arg(path)
        .output()
        .unwrap();
    let own = ["TAG:major_brand=", "TAG:minor_version=", "TAG:compatible_brands=", "TAG:creation_time="];
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    text.lines().filter(|line| !own.iter().any(|own| line.starts_with(own))).map(str::to_owned).collect()
}

/// What the finished file says, and what FFmpeg's copy does.
fn said_by_both(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let sandbox = Sandbox::new();
    let source = put(&sandbox, "room1.flv", bytes);
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("copy.mp4");
    ffmpeg(&["-i", source.to_str().unwrap(), "-c", "copy", "-fflags", "+bitexact", copy.to_str().unwrap()]);
    sandbox.process().expect_code(0);
    assert_eq!(sandbox.vods()[0]["outcome"], "spliced");
    (said(&sandbox.root().join("room1.mp4")), said(&copy))
}

#[test]
fn what_a_recording_says_of_itself_is_what_a_copy_says() {
    let directory = tempfile::tempdir().unwrap();
    let flv = directory.path().join("x.flv");
    let tags = "title=Un t\u{ed}tulo|comment=a comment|artist=me|album_artist=us|composer=c|album=a|date=2026-03-04|genre=g|\
                copyright=(c)|grouping=gr|lyrics=la|description=d|synopsis=s|show=sh|episode_id=e|network=n|keywords=k|\
                encoding_tool=OBS|episode_sort=5|season_number=6|media_type=9|hd_video=2|gapless_playback=1|compilation=1|\
                track=3/7|disc=2|tmpo=120|location=+52.5000-004.2500/|creationdate=yesterday|server=nginx";
    let source = made("flv", 2);
    let mut arguments = vec!["-i", source.to_str().unwrap(), "-c", "copy"];
    arguments.extend(tags.split('|').flat_map(|tag| ["-metadata", tag]));
    arguments.push(flv.to_str().unwrap());
    ffmpeg(&arguments);
    let (ours, theirs) = said_by_both(&fs::read(&flv).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 28, "{ours:?}");
    let (ours, theirs) = said_by_both(&fs::read(&source).unwrap());
    assert_eq!((ours, theirs), (Vec::new(), Vec::new()), "nothing but the encoder's own");
}

/// `onMetaData` as no well-behaved encoder writes it, in place of the one in front of a recording.
#[test]
fn odd_metadata_is_carried_as_a_copy_does_and_broken_metadata_costs_only_itself() {
    let whole = fs::read(made("flv", 2)).unwrap();
    let behind = &whole[tags(&whole)[0].1..];
    let with = |values: &[u8]| {
        let script = [&b"\x02\0\x0AonMetaData"[..], values].concat();
        [&whole[..13], &tag(18, 0, &script), behind].concat()
    };
    let member = |name: &str, value: &[u8]| [&[0, u8::try_from(name.len()).unwrap()], name.as_bytes(), value].concat();
    let odd = [
        member("title", &[&[0][..], &2.5_f64.to_be_bytes()].concat()),
        member("comment", &[1, 1]),
        member("date", &[&[11][..], &1.6e12_f64.to_be_bytes(), &[0, 60]].concat()),
        member("Artist", b"\x02\0\x03a\0b"),
        member("nested", &[&[3][..], &member("album", b"\x02\0\x04deep"), &[0, 0, 9]].concat()),
        member("list", &[&[10, 0, 0, 0, 1, 3][..], &member("lyrics", b"\x02\0\x02in"), &[0, 0, 9]].concat()),
        member("show", b"\x02\0\x05first"),
        member("SHOW", b"\x02\0\x06second"),
        member("genre", b"\x02\0\x01x"),
        member("genre", b"\x02\0\0"),
        member("network", &[5]),
        member("track", &[&[0][..], &4_f64.to_be_bytes()].concat()),
    ];
    let (ours, theirs) = said_by_both(&with(&[&[3][..], &odd.concat(), &[0, 0, 9]].concat()));
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 8, "{ours:?}");

    let latin = member("title", b"\x02\0\x03\xE9t\xE9");
    let (ours, _) = said_by_both(&with(&[&[3][..], &latin, &[0, 0, 9]].concat()));
    assert_eq!(ours, ["TAG:title=\u{fffd}t\u{fffd}"]);
    let (ours, _) = said_by_both(&with(&[3, 0, 1, b'x'].repeat(20_000)));
    assert_eq!(ours, Vec::<String>::new());
}
