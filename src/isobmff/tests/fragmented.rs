//! Fragmented files become progressive: the same samples, at the same times, in the same places.

use std::path::Path;

use super::probe::{ours, probed};
use super::{applied, framehash, ftyp, made, opened};
use crate::isobmff::fragment::{self, FragmentedMovie};
use crate::isobmff::{FileShape, FrontPlan, Movie, end_of_data, first_difference, payload_digests, validate};
use crate::recording::Defect;

const TRACKS: [&str; 6] = ["-map", "0:v", "-map", "1:a", "-map", "2:a"];

/// Layouts of fragments that recorders write.
const LAYOUTS: [(&str, &[&str]); 7] = [
    ("keyframe", &["-movflags", "frag_keyframe"]),
    ("empty_moov", &["-movflags", "frag_keyframe+empty_moov"]),
    ("default_base", &["-movflags", "frag_keyframe+empty_moov+default_base_moof"]),
    ("delay_moov", &["-movflags", "frag_keyframe+delay_moov+default_base_moof"]),
    ("every_second", &["-movflags", "empty_moov+default_base_moof", "-frag_duration", "1000000"]),
    ("negative", &["-movflags", "frag_keyframe+empty_moov+negative_cts_offsets"]),
    ("late", &["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-output_ts_offset", "100"]),
];

fn assembled(path: &Path) -> FragmentedMovie {
    let (mut file, layout) = opened(path);
    assert_eq!(layout.shape(), FileShape::Fragmented);
    let movie = Movie::read(&mut file, &layout).unwrap();
    let found = fragment::read(&mut file, &layout, movie).unwrap();
    let in_passing = fragment::top_level(&mut file, layout.len).unwrap();
    assert_eq!(in_passing, (layout, Some(found.clone())), "read in passing");
    found
}

fn fragmented(dir: &Path, name: &str, options: &[&str]) -> std::path::PathBuf {
    made(dir, &format!("{name}.mp4"), &[&TRACKS[..], options].concat())
}

/// Packets with both times counted from the first packet's: FFmpeg shifts one of them where offsets are negative.
fn from_zero(packets: Vec<(i64, i64, u32, u64, bool)>) -> Vec<(i64, i64, u32, u64, bool)> {
    let (pts0, dts0) = (packets[0].0, packets[0].1);
    packets.into_iter().map(|(pts, dts, size, pos, key)| (pts - pts0, dts - dts0, size, pos, key)).collect()
}

#[test]
fn every_sample_of_every_layout_is_where_ffprobe_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    for (name, options) in LAYOUTS {
        let path = fragmented(dir.path(), name, options);
        let movie = assembled(&path).movie;
        assert_eq!(movie.defects, [], "{name}");
        for track in 0..movie.tracks.len() {
            assert_eq!(from_zero(ours(&movie, track)), from_zero(probed(&path, track)), "{name} track {track}");
        }
    }
}

/// Stream, size and payload digest of each packet, without its times.
fn payload_lines(path: &Path) -> Vec<String> {
    let hash = framehash(path);
    let lines = hash.lines().filter(|line| !line.starts_with('#'));
    let mut payloads: Vec<_> = lines
        .map(|line| {
            let fields: Vec<_> = line.split(',').map(str::trim).collect();
            format!("{} {} {}", fields[0], fields[4], fields[5])
        })
        .collect();
    payloads.sort_by_key(|line| line.split(' ').next().map(str::to_owned));
    payloads
}

#[test]
fn a_progressive_header_gives_players_the_same_packets() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new.mp4");
    for (name, options) in LAYOUTS {
        let old = fragmented(dir.path(), name, options);
        let (mut file, layout) = opened(&old);
        let FragmentedMovie { movie, .. } = assembled(&old);
        let plan = FrontPlan::spanning(&movie, &movie.to_ftyp(&ftyp(&old, &layout)), layout.len, 4096).unwrap();
        applied(&plan, &old, &new);
        assert_eq!(payload_lines(&new), payload_lines(&old), "{name}");
        let (mut again_file, again_layout, again) = super::read(&new);
        assert_eq!(again_layout.shape(), FileShape::HeaderFirst);
        assert_eq!(validate(&again, &again_layout).defects, [], "{name}");
        let digests = payload_digests(&mut again_file, &again).unwrap();
        assert_eq!(digests, payload_digests(&mut file, &movie).unwrap());
        let front = plan.header.len() as u64;
        assert_eq!(first_difference(&movie, &again, &|offset| offset + front), None, "{name}");
    }
}

#[test]
fn presentation_keeps_its_length_and_starts_at_zero() {
    let dir = tempfile::tempdir().unwrap();
    for (name, options) in LAYOUTS {
        let path = fragmented(dir.path(), name, options);
        let (_, layout) = opened(&path);
        let movie = assembled(&path).movie;
        let verdict = validate(&movie, &layout);
        assert_eq!(verdict.defects, [], "{name}");
        assert!((3900..=4150).contains(&verdict.duration_ms), "{name}: {}", verdict.duration_ms);
        assert!(verdict.start_skew_ms.unwrap().abs() <= 100, "{name}: {:?}", verdict.start_skew_ms);
        assert!(verdict.tracks.iter().any(|track| track.start_ms == 0), "{name}");
    }
}

#[test]
fn a_torn_fragment_keeps_its_whole_samples_and_counts_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fragmented(dir.path(), "whole", &["-movflags", "frag_keyframe+empty_moov+default_base_moof"]);
    let bytes = std::fs::read(&whole).unwrap();
    let samples = |movie: &Movie| movie.tracks.iter().map(|t| t.samples().count()).sum::<usize>();
    let all = assembled(&whole).movie;
    let (_, layout) = opened(&whole);
    let moof = *layout.all(b"moof").last().unwrap();
    for cut in [moof.offset + 3, moof.offset + 40, moof.end(), moof.end() + 8, moof.end() + 1000] {
        let cut_bytes = usize::try_from(cut).unwrap();
        let path = dir.path().join("torn.mp4");
        std::fs::write(&path, &bytes[..cut_bytes]).unwrap();
        let torn = assembled(&path);
        let expected =
            all.tracks.iter().flat_map(|t| t.samples()).filter(|s| s.offset + u64::from(s.size_bytes) <= cut);
        assert_eq!(samples(&torn.movie), expected.count());
        assert!(torn.whole_bytes <= cut);
        let (_, layout) = opened(&path);
        let defects = validate(&torn.movie, &layout).defects;
        let is_said = defects.iter().any(|d| matches!(d, Defect::Truncated { .. } | Defect::Malformed { .. }));
        assert!(is_said, "{cut}: {defects:?}");
        assert!(!defects.iter().any(|d| matches!(d, Defect::SamplesOutside { .. })), "{cut}: {defects:?}");
    }
}

#[test]
fn zeros_that_a_crash_left_are_no_samples() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fragmented(dir.path(), "whole", &["-movflags", "frag_keyframe+empty_moov+default_base_moof"]);
    let mut bytes = std::fs::read(&whole).unwrap();
    let (_, layout) = opened(&whole);
    let cut = usize::try_from(layout.all(b"moof").last().unwrap().end()).unwrap() + 1000;
    bytes[cut..].fill(0);
    let data = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let mut reader = std::io::Cursor::new(&bytes);
    assert_eq!(end_of_data(&mut reader, bytes.len() as u64).unwrap(), data);
    let layout = crate::isobmff::top_level(&mut reader, data).unwrap();
    let movie = Movie::read(&mut reader, &layout).unwrap();
    let found = fragment::read(&mut reader, &layout, movie).unwrap();
    assert!(found.movie.defects.iter().any(|d| matches!(d, Defect::Truncated { .. })));
    assert!(found.movie.tracks.iter().flat_map(|t| t.samples()).all(|s| s.offset + u64::from(s.size_bytes) <= data));
}

#[test]
fn boxes_that_mean_nothing_any_more_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let dash = fragmented(dir.path(), "dash", &["-movflags", "frag_keyframe+empty_moov+dash+global_sidx"]);
    let left_behind: Vec<_> = assembled(&dash).left_behind.into_iter().map(|fourcc| fourcc.0).collect();
    assert_eq!(left_behind, [*b"sidx", *b"mfra"]);
}

#[test]
fn a_file_that_stops_before_its_first_fragment_has_no_packets() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fragmented(dir.path(), "whole", &["-movflags", "frag_keyframe+empty_moov"]);
    let (_, layout) = opened(&whole);
    let init = usize::try_from(layout.first(b"moov").unwrap().end()).unwrap();
    let path = dir.path().join("init.mp4");
    std::fs::write(&path, &std::fs::read(&whole).unwrap()[..init]).unwrap();
    let (_, layout) = opened(&path);
    assert!(validate(&assembled(&path).movie, &layout).defects.contains(&Defect::NoPackets));
}

#[test]
fn encrypted_fragments_stay_fragmented() {
    let dir = tempfile::tempdir().unwrap();
    let key = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb"];
    let kid = ["-encryption_kid", "a7e61c373e219033c21091fa607bf3b8", "-movflags", "frag_keyframe+empty_moov"];
    let path = fragmented(dir.path(), "cenc", &[&key[..], &kid[..]].concat());
    let fragmented = assembled(&path);
    assert!(fragmented.stays_fragmented.is_some() && fragmented.movie.is_encrypted());
}
