//! What libavformat makes of the same recording is the measure.

mod aspect;

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::isobmff::{Track, top_level};
use crate::media::{self, Remux};

/// Recordings as encoders send them: arguments for FFmpeg.
const RECIPES: [(&str, &[&str]); 5] = [
    ("b-pictures", &["-c:v", "libx264", "-bf", "2", "-g", "30", "-pix_fmt", "yuv420p", "-c:a", "aac"]),
    (
        "44.1 kHz, mono",
        &["-c:v", "libx264", "-bf", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ar", "44100", "-ac", "1"],
    ),
    ("pictures alone", &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-an"]),
    ("sound alone", &["-vn", "-c:a", "aac"]),
    (
        "variable",
        &[
            "-vf",
            "select='not(eq(mod(n\\,3)\\,1))'",
            "-vsync",
            "vfr",
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
        ],
    ),
];

fn made(directory: &Path, arguments: &[&str]) -> PathBuf {
    let path = directory.join("x.flv");
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=4"])
        .args(["-f", "lavfi", "-i", "sine=f=440:b=2:r=48000:d=4"])
        .args(arguments)
        .arg(&path)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    path
}

fn indexed(path: &Path, name: &str) -> IndexedRecording {
    match index(path, &|_| true).unwrap() {
        IndexOutcome::Done(indexed) => *indexed,
        other => panic!("{name}: {other:?}"),
    }
}

fn movie_of(path: &Path) -> Movie {
    let mut file = File::open(path).unwrap();
    let layout = top_level(&mut file, std::fs::metadata(path).unwrap().len()).unwrap();
    Movie::read(&mut BufReader::new(file), &layout).unwrap()
}

/// Size, decoding and presentation time and whether it is a keyframe, of each sample.
fn said(track: &Track, movie: &Movie) -> Vec<(u32, i64, i64, bool)> {
    let shift = track.presentation_shift(movie.header.timescale);
    track.samples().map(|s| (s.size_bytes, s.dts + shift, s.pts + shift, s.is_sync)).collect()
}

/// Compares the tables over a recording with those that a remux of it has.
fn assert_like_a_remux(source: &Path, name: &str) {
    let output = source.with_extension("mp4");
    File::create(&output).unwrap();
    let remuxed = media::remux(&Remux::new(source, Container::Flv, &output, Container::Mp4)).unwrap();
    let (theirs, ours) = (movie_of(&output), indexed(source, name));
    assert_eq!(ours.defects, remuxed.defects, "{name}");
    let ours = ours.movie;
    assert_eq!(ours.tracks.len(), theirs.tracks.len(), "{name}");
    let digests = |path: &Path, movie: &Movie| {
        isobmff::payload_digests(&mut BufReader::new(File::open(path).unwrap()), movie).unwrap()
    };
    assert_eq!(digests(source, &ours), digests(&output, &theirs), "{name}");
    for (a, b) in ours.tracks.iter().zip(&theirs.tracks) {
        assert_eq!((a.kind(), a.codec(), a.timescale()), (b.kind(), b.codec(), b.timescale()), "{name}");
        let entry = |track: &Track| track.entry().map(|e| (e.dimensions, e.sample_rate_hz, e.channels));
        assert_eq!(entry(a), entry(b), "{name}");
        let (a, b) = (said(a, &ours), said(b, &theirs));
        assert!(a.len() > 50 && a.len() == b.len(), "{name}: {} and {}", a.len(), b.len());
        // Milliseconds are no whole number of ticks at 44.1 kHz; from where they are rounded is a muxer's own choice.
        for (number, (a, b)) in a.iter().zip(&b).enumerate() {
            assert_eq!((a.0, a.3), (b.0, b.3), "{name}: sample {number}");
            assert!((a.1 - b.1).abs() <= 1 && (a.2 - b.2).abs() <= 1, "{name}: sample {number}: {a:?} and {b:?}");
        }
    }
}

#[test]
fn the_tables_say_what_a_remux_says() {
    let directory = tempfile::tempdir().unwrap();
    for (name, arguments) in RECIPES {
        assert_like_a_remux(&made(directory.path(), arguments), name);
    }
}

#[test]
fn a_time_that_does_not_rise_is_repaired_as_a_remux_repairs_it() {
    let directory = tempfile::tempdir().unwrap();
    let source = made(directory.path(), RECIPES[0].1);
    let whole = std::fs::read(&source).unwrap();
    for kind in [8, 9] {
        let of_kind: Vec<usize> =
            tags_of(&whole).into_iter().map(|(at, _)| at).filter(|at| whole[*at] == kind).collect();
        let mut bytes = whole.clone();
        for number in [20, 30, 31] {
            bytes.copy_within(of_kind[number - 1] + 4..of_kind[number - 1] + 8, of_kind[number] + 4);
        }
        std::fs::write(&source, bytes).unwrap();
        assert_eq!(indexed(&source, "repaired").defects.len(), 1);
        assert_like_a_remux(&source, &format!("tags of kind {kind}"));
    }
}

#[test]
fn its_beginning_tells_what_libavformat_tells() {
    let directory = tempfile::tempdir().unwrap();
    for (name, arguments) in RECIPES {
        let source = made(directory.path(), arguments);
        let ours = looks_indexable(&source, &File::open(&source).unwrap(), Container::Flv).unwrap().expect(name);
        let theirs = media::probe(&source, Container::Flv).unwrap();
        let facts = |probe: &Probe| {
            let tracks = probe.tracks.iter();
            tracks
                .map(|t| (t.kind, t.codec.clone(), t.width, t.height, t.sample_rate_hz, t.channels))
                .collect::<Vec<_>>()
        };
        let (mut a, mut b) = (facts(&ours), facts(&theirs));
        a.sort_by_key(|t| t.1.clone());
        b.sort_by_key(|t| t.1.clone());
        assert_eq!((a, ours.declared_ms), (b, theirs.declared_ms), "{name}");
    }
}

/// Recordings that a remux has to look at: what it would leave out, repair or join.
#[test]
fn what_tables_cannot_say_as_it_is_is_left_to_a_remux() {
    let directory = tempfile::tempdir().unwrap();
    let (_, arguments) = RECIPES[0];
    let source = made(directory.path(), arguments);
    let whole = std::fs::read(&source).unwrap();
    let tags = tags_of(&whole);
    let first_picture = tags.iter().position(|(at, _)| whole[*at] == 9 && whole[at + 12] == 1).unwrap();
    let second_picture =
        tags.iter().skip(first_picture + 1).position(|(at, _)| whole[*at] == 9).unwrap() + first_picture + 1;
    let is_taken =
        |bytes: &[u8]| matches!(tables_over_flv(Cursor::new(bytes), bytes.len() as u64).unwrap(), Tables::Of(..));
    let without = |gone: usize| {
        let (at, end) = tags[gone];
        [&whole[..at], &whole[end..]].concat()
    };
    let changed = |at: usize, to: u8| {
        let mut bytes = whole.clone();
        assert_ne!(bytes[at], to);
        bytes[at] = to;
        bytes
    };
    assert!(is_taken(&whole));
    assert!(!is_taken(&without(first_picture)), "it begins with no keyframe");
    assert!(!is_taken(&whole[..whole.len() - 9]), "the last tag is cut");
    let (at, _) = tags[second_picture];
    assert!(!is_taken(&changed(at + 4, 0x7F)), "a time that leaps, and goes back");
    assert!(!is_taken(&changed(at + 13, 0x80)), "shown before it is decoded");
    assert!(!is_taken(&changed(at + 11, 0x22)), "another codec");
    let (from, to) = tags[1];
    let mut other = whole[from..to].to_vec();
    let within = other.len() - 6;
    other[within] ^= 1;
    assert!(is_taken(&[&whole[..to], &whole[from..to], &whole[to..]].concat()), "the same configuration again");
    assert!(!is_taken(&[&whole[..to], &other, &whole[to..]].concat()), "a second configuration");
}

/// Tables take memory by the packet; there is a remux for files of nothing but tiny ones.
#[test]
fn a_flood_of_packets_is_left_to_a_remux() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(made(directory.path(), RECIPES[3].1)).unwrap();
    let media = tags_of(&bytes).into_iter().filter(|(at, _)| bytes[*at] != 18).count() as u64;
    let taken =
        |most| matches!(flv::index(Cursor::new(&bytes), bytes.len() as u64, most, &|_| true).unwrap(), Tables::Of(..));
    assert!(taken(media) && !taken(media - 1), "{media}");
}

fn is_taken(bytes: &[u8]) -> bool {
    matches!(tables_over_flv(Cursor::new(bytes), bytes.len() as u64).unwrap(), Tables::Of(..))
}

/// A file of its header and some of the tags of another, in their order.
fn with_tags(bytes: &[u8], keep: impl Fn(usize, &[u8]) -> bool) -> Vec<u8> {
    let tags = tags_of(bytes).into_iter().map(|(at, end)| &bytes[at..end]).enumerate();
    let kept = tags.filter(|(number, tag)| keep(*number, tag)).flat_map(|(_, tag)| tag.iter().copied());
    bytes[..13].iter().copied().chain(kept).collect()
}

fn is_picture(tag: &[u8]) -> bool {
    tag[0] == 9 && tag[12] == 1
}

#[test]
fn how_long_a_single_picture_lasts_is_left_to_a_remux() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(made(directory.path(), RECIPES[0].1)).unwrap();
    let first = tags_of(&whole).iter().position(|(at, end)| is_picture(&whole[*at..*end])).unwrap();
    assert!(!is_taken(&with_tags(&whole, |number, tag| !is_picture(tag) || number == first)));
}

#[test]
fn the_last_picture_does_not_last_as_long_as_the_pause_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let source = made(directory.path(), RECIPES[2].1);
    let mut bytes = std::fs::read(&source).unwrap();
    let (last, _) = *tags_of(&bytes).iter().rfind(|(at, end)| is_picture(&bytes[*at..*end])).unwrap();
    // 3 × 65,536 ms later.
    bytes[last + 4] += 3;
    std::fs::write(&source, bytes).unwrap();
    let track = indexed(&source, "paused").movie.tracks.remove(0);
    let samples: Vec<_> = track.samples().collect();
    let usual = samples[1].dts - samples[0].dts;
    let (paused, last) = (&samples[samples.len() - 2], &samples[samples.len() - 1]);
    assert!(last.dts - paused.dts > 190 * 16_000, "{last:?}");
    assert!((i64::from(last.duration) - usual).abs() <= 16, "{last:?}, usual {usual}");
}

#[test]
fn broken_metadata_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(made(directory.path(), RECIPES[3].1)).unwrap();
    let behind = &whole[tags_of(&whole)[0].1..];
    let deep = [3, 0, 1, b'x'].repeat(20_000);
    for broken in [&b""[..], b"\x03\0", b"\x03\0\x05titl", b"\x0A\xFF\xFF\xFF\xFF", b"\x99", &deep] {
        let script = [&b"\x02\0\x0AonMetaData"[..], broken].concat();
        let length = u32::try_from(script.len()).unwrap().to_be_bytes();
        let tag = [&[18][..], &length[1..], &[0; 7], &script].concat();
        let trailer = u32::try_from(tag.len()).unwrap().to_be_bytes();
        let what = broken[..broken.len().min(8)].escape_ascii();
        assert!(is_taken(&[&whole[..13], &tag, &trailer, behind].concat()), "{what}");
    }
}

/// Begin and end of each tag, the length behind it included.
fn tags_of(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut tags) = (13, Vec::new());
    while at + 11 < bytes.len() {
        let end =
            at + 15 + (usize::from(bytes[at + 1]) << 16 | usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]));
        tags.push((at, end));
        at = end;
    }
    tags
}
