//! Every sample of finished files as `ffprobe` sees it, and what the verdict says of them.

use std::path::Path;
use std::process::Command;

use super::{fixture, made, read};
use crate::isobmff::{FileShape, Movie, check_packets, first_payload_digests, payload_digests, validate};
use crate::recording::Defect;

/// (pts, dts, size, pos, is keyframe) of a track's packets on the media timeline.
type Packet = (i64, i64, u32, u64, bool);

pub(super) fn probed(path: &Path, track: usize) -> Vec<Packet> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-ignore_editlist", "1", "-of", "csv=p=0", "-select_streams", &track.to_string()])
        .args(["-show_entries", "packet=pts,dts,size,pos,flags"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(packet).collect()
}

fn packet(line: &str) -> Packet {
    let fields: Vec<_> = line.split(',').collect();
    let number = |at: usize| fields[at].parse::<i64>().unwrap();
    (number(0), number(1), fields[2].parse().unwrap(), fields[3].parse().unwrap(), fields[4].starts_with('K'))
}

pub(super) fn ours(movie: &Movie, track: usize) -> Vec<Packet> {
    movie.tracks[track].samples().map(|s| (s.pts, s.dts, s.size_bytes, s.offset, s.is_sync)).collect()
}

fn assert_same_packets(path: &Path) {
    let (_, _, movie) = read(path);
    for track in 0..movie.tracks.len() {
        assert_eq!(ours(&movie, track), probed(path, track), "{} track {track}", path.display());
    }
}

#[test]
fn every_sample_of_a_finished_file_is_where_ffprobe_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_same_packets(&fixture());
    let all = ["-map", "0:v", "-map", "1:a", "-map", "2:a"];
    assert_same_packets(&made(dir.path(), "last.mp4", &all));
    assert_same_packets(&made(dir.path(), "first.mp4", &[&all[..], &["-movflags", "+faststart"]].concat()));
    assert_same_packets(&made(dir.path(), "quicktime.mov", &all));
    assert_same_packets(&made(dir.path(), "sound.m4a", &["-map", "1:a"]));
}

#[test]
fn a_sound_file_has_a_clean_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let path = made(dir.path(), "last.mp4", &["-map", "0:v", "-map", "1:a", "-map", "2:a"]);
    let (_, layout, movie) = read(&path);
    assert_eq!(layout.shape(), FileShape::HeaderLast);
    let verdict = validate(&movie, &layout);
    assert_eq!(verdict.defects, []);
    let video = &verdict.tracks[0];
    assert_eq!((&video.codec[..], video.packets, video.width, video.height), ("h264", 100, Some(160), Some(120)));
    assert_eq!((video.duration_ms, video.frame_rate, video.keyframe_interval_ms), (4000, Some(25.0), Some(1000)));
    assert_eq!((video.start_ms, verdict.duration_ms), (0, 4000));
    let audio = &verdict.tracks[2];
    assert_eq!((&audio.codec[..], audio.sample_rate_hz, audio.channels), ("aac", Some(44_100), Some(1)));
    assert!(verdict.start_skew_ms == Some(0) && verdict.end_skew_ms.unwrap().abs() < 25, "{verdict:?}");
}

#[test]
fn the_fixture_has_a_clean_verdict_and_payloads() {
    let (mut file, layout, movie) = read(&fixture());
    let verdict = validate(&movie, &layout);
    assert_eq!(verdict.defects, []);
    let firsts = first_payload_digests(&mut file, &movie).unwrap();
    assert_eq!(firsts.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [901, 1431]);
    assert_ne!(firsts[0].1, firsts[1].1);
    assert_eq!(payload_digests(&mut file, &movie).unwrap().len(), 2);
}

#[test]
fn a_file_cut_behind_its_header_says_how_many_samples_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = made(dir.path(), "first.mp4", &["-map", "0:v", "-map", "1:a", "-movflags", "+faststart"]);
    let bytes = std::fs::read(&path).unwrap();
    let cut = bytes.len() * 2 / 3;
    std::fs::write(&path, &bytes[..cut]).unwrap();
    let (_, layout, movie) = read(&path);
    let defects = validate(&movie, &layout).defects;
    assert!(matches!(defects[0], Defect::Truncated { .. }), "{defects:?}");
    for (number, track) in (1..).zip(&movie.tracks) {
        let is_lost = |s: &crate::isobmff::Sample| s.offset + u64::from(s.size_bytes) > cut as u64;
        let samples = track.samples().filter(is_lost).count() as u64;
        assert!(samples > 0 && defects.contains(&Defect::SamplesOutside { track: number, samples }), "{defects:?}");
    }
}

#[test]
fn damage_inside_a_picture_breaks_its_chain_and_is_counted() {
    let (mut file, _, movie) = read(&fixture());
    assert_eq!(check_packets(&mut file, &movie).unwrap().defects, []);
    let mut bytes = std::fs::read(fixture()).unwrap();
    let video = movie.tracks.iter().position(|t| t.codec() == "h264").unwrap();
    let hurt: Vec<_> = movie.tracks[video].samples().skip(100).take(3).collect();
    for sample in &hurt {
        bytes[usize::try_from(sample.offset).unwrap()] ^= 0x40;
    }
    let checked = check_packets(&mut std::io::Cursor::new(bytes), &movie).unwrap();
    let track = u32::try_from(video + 1).unwrap();
    assert_eq!(checked.defects, [Defect::Undecodable { track, errors: 3 }]);
    let whole = payload_digests(&mut file, &movie).unwrap();
    assert_ne!(checked.digests[video], whole[video]);
    assert_eq!(checked.digests[1 - video], whole[1 - video]);
}
