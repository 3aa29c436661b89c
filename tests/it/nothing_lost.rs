//! What an MP4 holds is in the finished file, or it is named and the original stays.

use std::fs;
use std::path::{Path, PathBuf};

use aftercast::isobmff::{Movie, TableBuilder};
use serde_json::Value;

use crate::support::boxes::{self, at_path, fragments, media_first, number, retimed, set_number};
use crate::support::recordings::{decode_errors, duration_s, ffmpeg, made, packets};
use crate::support::{Sandbox, tree};

/// A fragmented recording of 8 s in fragments of 1 s, whose `trun`s count from their `moof`.
fn fragmented(dir: &Path, flags: &str) -> Vec<u8> {
    let path = dir.join("fragmented.mp4");
    let from = made("mp4", 8);
    let flags = format!("frag_keyframe+empty_moov+default_base_moof{flags}");
    ffmpeg(&["-i", from.to_str().unwrap(), "-c", "copy", "-movflags", &flags, path.to_str().unwrap()]);
    fs::read(path).unwrap()
}

/// What became of the only recording: its record, and the finished file.
struct Done {
    sandbox: Sandbox,
    vod: Value,
    file: PathBuf,
}

impl Done {
    /// Processes a file of these bytes.
    fn of(bytes: &[u8]) -> Self {
        let sandbox = Sandbox::new();
        fs::create_dir_all(sandbox.root()).unwrap();
        fs::write(sandbox.root().join("room.mp4"), bytes).unwrap();
        sandbox.process().expect_code(0);
        let vods = sandbox.vods();
        assert_eq!(vods.len(), 1, "{vods:?}");
        let vod = vods[0].clone();
        let file = PathBuf::from(vod["filePath"].as_str().unwrap());
        Self { sandbox, vod, file }
    }

    fn defects(&self) -> &[Value] {
        self.vod["defects"].as_array().unwrap()
    }

    fn kinds(&self) -> Vec<&str> {
        self.defects().iter().map(|defect| defect["kind"].as_str().unwrap()).collect()
    }

    /// Whether the file that was given is still there, to the last byte.
    fn keeps(&self, bytes: &[u8]) -> bool {
        tree(&self.sandbox.root()).keys().any(|name| fs::read(self.sandbox.root().join(name)).unwrap() == bytes)
    }

    /// Sizes and payloads of one kind of packet, in order.
    fn payloads(&self, kind: &str) -> Vec<String> {
        payloads(&self.file, kind)
    }
}

fn payloads(path: &Path, kind: &str) -> Vec<String> {
    let is_it = |line: &&String| line.starts_with(&format!("codec_type={kind}"));
    let is_payload = |field: &&str| field.starts_with("size=") || field.starts_with("data_hash=");
    let payload =
        |line: &String| line.split('|').filter(is_payload).fold(String::new(), |all, field| all + field + "|");
    packets(path).iter().filter(is_it).map(payload).collect()
}

/// Whether two lists of payloads are the same; ffprobe shows no digest of a packet with side data, the first of a file.
fn is_same(ours: &[String], theirs: &[String]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.starts_with(b) || b.starts_with(a))
}

/// Decoding times of one kind of packet, milliseconds.
fn times(path: &Path, kind: &str) -> Vec<i64> {
    stamps(path, kind, "dts_time=")
}

fn stamps(path: &Path, kind: &str, name: &str) -> Vec<i64> {
    let is_it = |line: &&String| line.starts_with(&format!("codec_type={kind}"));
    let time = |line: &String| {
        let field = line.split('|').find_map(|f| f.strip_prefix(name)).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds")]
        let ms = (field.parse::<f64>().unwrap() * 1000.0).round() as i64;
        ms
    };
    packets(path).iter().filter(is_it).map(time).collect()
}

/// Ticks per second and a time, to what another clock says.
type OtherClock = fn(u64, u64) -> u64;

const TICKS: [u64; 3] = [0, 15_360, 48_000];

/// The recording with its clock changed: `change` gets the number of the fragment, ticks per second and the time.
fn with_clock(bytes: &[u8], change: impl Fn(usize, u64, u64) -> u64) -> Vec<u8> {
    let (head, parts) = fragments(bytes);
    let ticks = |track: u64| TICKS[usize::try_from(track).unwrap()];
    let parts = parts.iter().enumerate();
    let parts = parts.map(|(number, part)| retimed(part, |track, at| change(number, ticks(track), at)));
    [head].into_iter().chain(parts).flatten().collect()
}

#[test]
fn a_clock_that_is_set_inside_a_fragmented_recording_is_joined() {
    let dir = tempfile::tempdir().unwrap();
    for flags in ["", "+separate_moof"] {
        let whole = fragmented(dir.path(), flags);
        let straight = Done::of(&with_clock(&whole, |_, _, at| at));
        let half = fragments(&whole).1.len() / 2;
        let clocks: [(&str, OtherClock); 4] = [
            ("an hour back", |clock, at| at + 3600 * clock),
            ("half a second back", |clock, at| at + clock / 2),
            ("ten years on", |clock, at| at + 315_000_000 * clock),
            ("a fraction back", |clock, at| at + 7 * clock + clock / 3),
        ];
        for (what, other) in clocks {
            let is_first = |number| (number < half) != (what == "ten years on");
            let bytes = with_clock(&whole, |number, clock, at| if is_first(number) { other(clock, at) } else { at });
            let done = Done::of(&bytes);
            for kind in ["video", "audio"] {
                assert_eq!(done.payloads(kind), straight.payloads(kind), "{what} {flags}");
                let (times, expected) = (times(&done.file, kind), times(&straight.file, kind));
                let distances = times.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                assert!(distances.max().unwrap() <= 25, "{what} {flags} {kind}: {times:?}");
            }
            assert!((duration_s(&done.file) - duration_s(&straight.file)).abs() < 0.05, "{what} {flags}");
            assert!(done.kinds().iter().all(|kind| *kind == "timestamp_gap"), "{what}: {:?}", done.defects());
            assert_eq!(done.defects().len(), 2, "{what}: {:?}", done.defects());
        }
    }
}

#[test]
fn fragments_that_overlap_by_less_than_a_millisecond_are_no_defect() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fragmented(dir.path(), "");
    let bytes = with_clock(&whole, |number, clock, at| at.saturating_sub(number as u64 * clock / 3000));
    assert_eq!(Done::of(&bytes).defects(), &[] as &[Value]);
}

/// The payloads of both kinds of packets of the whole recording.
fn whole_payloads(bytes: &[u8]) -> [Vec<String>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("whole.mp4");
    fs::write(&path, bytes).unwrap();
    ["video", "audio"].map(|kind| payloads(&path, kind))
}

#[test]
fn media_of_a_fragment_without_its_header_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fragmented(dir.path(), "");
    let (head, parts) = fragments(&whole);
    let killed: Vec<u8> = {
        let turned: Vec<_> = parts.iter().map(|part| media_first(part)).collect();
        let last = turned.len() - 1;
        let parts = turned
            .iter()
            .enumerate()
            .flat_map(|(n, (mdat, moof))| [&mdat[..], if n < last { &moof[..] } else { &[] }].concat());
        head.iter().copied().chain(parts).collect()
    };
    let without_header = |number: usize| {
        let parts = parts.iter().enumerate().flat_map(|(n, part)| {
            let mut part = part.clone();
            if n == number {
                part[4..8].copy_from_slice(b"free");
            }
            part
        });
        head.iter().copied().chain(parts).collect::<Vec<u8>>()
    };
    for (what, bytes) in [
        ("media first, killed", killed),
        ("the last without header", without_header(parts.len() - 1)),
        ("one without header", without_header(3)),
    ] {
        let done = Done::of(&bytes);
        assert_eq!(done.vod["outcome"], "salvaged", "{what}");
        // It takes the place of the original where that one goes.
        let name = if done.keeps(&bytes) { "room_1.mp4" } else { "room.mp4" };
        assert_eq!(done.file.file_name().unwrap(), name, "{what}");
        assert_eq!(["video", "audio"].map(|kind| done.payloads(kind)), whole_payloads(&whole), "{what}");
        assert_eq!(decode_errors(&done.file), "", "{what}");
        assert!((duration_s(&done.file) - 8.0).abs() < 0.15, "{what}: {}", duration_s(&done.file));
    }
}

/// A recording whose header is in front and names only the samples in the first half of its media, which is not closed.
fn with_open_tail(recipe: &str, dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let front = dir.join("front.mp4");
    let from = made(recipe, 8);
    ffmpeg(&["-i", from.to_str().unwrap(), "-c", "copy", "-movflags", "+faststart", front.to_str().unwrap()]);
    let whole = fs::read(front).unwrap();
    let all = boxes::top(&whole);
    let moov = all.iter().find(|b| b.is(*b"moov")).unwrap().range.clone();
    let mdat = all.iter().find(|b| b.is(*b"mdat")).unwrap().range.clone();
    let mut movie = Movie::from_moov(whole[moov.clone()].to_vec()).unwrap();
    for track in &mut movie.tracks {
        let half = (mdat.start + mdat.len() / 2) as u64;
        track.tables = TableBuilder::resume(&track.tables, half).unwrap().0.finish();
        track.edits.iter_mut().for_each(|edit| edit.segment_duration = 0);
    }
    movie.settle_durations();
    let mut bytes = whole[..moov.start].to_vec();
    bytes.extend(movie.to_moov(0).unwrap());
    let rest = mdat.start - bytes.len();
    bytes.extend(u32::try_from(rest).unwrap().to_be_bytes());
    bytes.extend(b"free");
    bytes.resize(mdat.start, 0);
    bytes.extend([0; 4]);
    bytes.extend(&whole[mdat.start + 4..]);
    (whole, bytes)
}

#[test]
fn what_was_written_behind_a_header_in_front_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    for recipe in ["mp4", "mp4-h265", "mp4-ac3"] {
        let (whole, bytes) = with_open_tail(recipe, dir.path());
        let done = Done::of(&bytes);
        assert_eq!((&done.vod["outcome"], done.defects()), (&"salvaged".into(), &[] as &[Value]), "{recipe}");
        assert_eq!(["video", "audio"].map(|kind| done.payloads(kind)), whole_payloads(&whole), "{recipe}");
        assert_eq!(decode_errors(&done.file), "", "{recipe}");
        assert!((duration_s(&done.file) - 8.0).abs() < 0.15, "{recipe}: {}", duration_s(&done.file));
        // The last sample is cut: what is there of it is named, and the file stays.
        let cut = &bytes[..bytes.len() - 700];
        let done = Done::of(cut);
        assert_eq!(done.kinds(), ["unexplained"], "{recipe}: {:?}", done.defects());
        let (at, missing) =
            (done.defects()[0]["offset"].as_u64().unwrap(), done.defects()[0]["bytes"].as_u64().unwrap());
        assert!(at + missing <= cut.len() as u64 && at > bytes.len() as u64 / 2, "{recipe}: {:?}", done.defects());
        assert!(done.keeps(cut), "{recipe}");
    }
}

#[test]
fn media_that_no_table_lists_and_no_walk_reads_is_named_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (_, tail) = with_open_tail("mp4-vp9", dir.path());
    let plain = fs::read(made("mp4", 2)).unwrap();
    // Each byte of it follows from its place; no more than by chance does it look like media.
    let noise: Vec<u8> = (0..50_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1] | 1).collect();
    let more = [&plain[..], &50_008_u32.to_be_bytes(), b"mdat", &noise].concat();
    let path = dir.path().join("vp9.mp4");
    let flags = ["-movflags", "empty_moov+default_base_moof", "-frag_duration", "1000000"];
    let from = made("mp4-vp9", 8);
    ffmpeg(&[&["-i", from.to_str().unwrap(), "-c", "copy"], &flags[..], &[path.to_str().unwrap()]].concat());
    let (head, mut parts) = fragments(&fs::read(path).unwrap());
    parts.last_mut().unwrap()[4..8].copy_from_slice(b"free");
    let fragmented = [head, parts.concat()].concat();
    for (what, bytes, at, least) in [
        ("behind a header in front", &tail, tail.len() / 3, 10_000),
        ("an mdat of its own", &more, plain.len() + 8, 50_000),
        ("a fragment without header", &fragmented, fragmented.len() / 2, 100),
    ] {
        let done = Done::of(bytes);
        assert_eq!(done.kinds(), ["unexplained"], "{what}: {:?}", done.defects());
        let defect = &done.defects()[0];
        assert!(defect["offset"].as_u64().unwrap() >= at as u64, "{what}: {defect}");
        assert!(defect["bytes"].as_u64().unwrap() >= least, "{what}: {defect}");
        assert!(done.keeps(bytes), "{what}");
        assert_ne!(done.vod["outcome"], "salvaged", "{what}");
    }
}

#[test]
fn every_byte_of_what_recorders_write_is_listed() {
    for recipe in ["mp4", "mp4-faststart", "mp4-fragmented", "mp4-mp3", "mov-pcm", "mp4-vp9", "mp4-mpeg4"] {
        let done = Done::of(&fs::read(made(recipe, 2)).unwrap());
        assert_eq!(done.defects(), &[] as &[Value], "{recipe}");
        // And so is what was made of it.
        let again = Done::of(&fs::read(&done.file).unwrap());
        assert_eq!((&again.vod["outcome"], again.defects()), (&"kept".into(), &[] as &[Value]), "{recipe}");
    }
}

#[test]
fn recordings_behind_one_another_become_one() {
    for (what, recipes) in [
        ("header last", &["mp4", "mp4"][..]),
        ("header first, three of them", &["mp4-faststart", "mp4-faststart", "mp4-faststart"]),
        ("fragmented, with offsets from the beginning of each", &["mp4-fragmented", "mp4-fragmented"]),
        ("finished and fragmented", &["mp4", "mp4-fragmented"]),
        ("H.265", &["mp4-h265", "mp4-h265"]),
        ("PCM", &["mov-pcm", "mov-pcm"]),
    ] {
        let parts: Vec<PathBuf> = (2..).zip(recipes).map(|(seconds, recipe)| made(recipe, seconds)).collect();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| fs::read(part).unwrap()).collect();
        let done = Done::of(&bytes);
        for kind in ["video", "audio"] {
            let expected: Vec<String> = parts.iter().flat_map(|part| payloads(part, kind)).collect();
            assert!(is_same(&done.payloads(kind), &expected), "{what} {kind}: {:?} {expected:?}", done.payloads(kind));
        }
        for kind in ["video", "audio"] {
            let times = times(&done.file, kind);
            assert!(times.is_sorted_by(|a, b| a < b), "{what} {kind}: {times:?}");
        }
        let distance = |path: &Path, at: [usize; 2]| {
            let shown = |n: usize| stamps(path, ["video", "audio"][n], "pts_time=")[at[n]];
            shown(0) - shown(1)
        };
        let seam = ["video", "audio"].map(|kind| payloads(&parts[0], kind).len());
        let (ours, theirs) = (distance(&done.file, seam), distance(&parts[1], [0, 0]));
        assert!((ours - theirs).abs() <= 2, "{what}: sound is {ours} ms from the pictures, was {theirs} ms");
        assert_eq!(decode_errors(&done.file), "", "{what}");
        let expected: f64 = parts.iter().map(|part| duration_s(part)).sum();
        assert!((duration_s(&done.file) - expected).abs() < 0.2, "{what}: {}", duration_s(&done.file));
        let said = done.defects().iter().filter(|d| d["detail"].as_str().is_some_and(|s| s.contains("joined"))).count();
        assert_eq!(said, parts.len() - 1, "{what}: {:?}", done.defects());
        assert!(!done.keeps(&bytes), "{what}: nothing was left out");
    }
}

#[test]
fn a_recording_behind_one_of_other_parameters_stays_in_the_original() {
    for recipes in [["mp4", "mp4-h265"], ["mp4-fragmented", "mp4-vp9"], ["mp4-faststart", "mp4-mp3"]] {
        let parts = recipes.map(|recipe| made(recipe, 2));
        let bytes = parts.each_ref().map(|part| fs::read(part).unwrap()).concat();
        let done = Done::of(&bytes);
        assert_eq!(done.payloads("video"), payloads(&parts[0], "video"), "{recipes:?}");
        assert_eq!(done.kinds(), ["malformed", "unexplained"], "{:?}", done.defects());
        let second = fs::metadata(&parts[0]).unwrap().len();
        assert_eq!(done.defects()[0]["offset"], second, "{recipes:?}");
        assert!(done.keeps(&bytes), "{recipes:?}");
    }
}

#[test]
fn text_behind_a_recording_is_no_torn_box() {
    let dir = tempfile::tempdir().unwrap();
    let text = b"connection closed by peer\n".repeat(40);
    for (what, whole) in [
        ("header last", fs::read(made("mp4", 2)).unwrap()),
        ("header first", fs::read(made("mp4-faststart", 2)).unwrap()),
        ("fragmented", fragmented(dir.path(), "")),
    ] {
        let bytes = [&whole[..], &text].concat();
        let done = Done::of(&bytes);
        assert_eq!(["video", "audio"].map(|kind| done.payloads(kind)), whole_payloads(&whole), "{what}");
        assert_eq!(done.kinds(), ["malformed"], "{what}: {:?}", done.defects());
        assert!(
            done.defects()[0]["detail"].as_str().unwrap().starts_with("1040 bytes"),
            "{what}: {:?}",
            done.defects()
        );
        assert_eq!(done.vod["outcome"], if what == "header first" { "kept" } else { "spliced" }, "{what}");
        assert_eq!(tree(&done.sandbox.root()).len(), 1, "{what}: no second file");
    }
}

#[test]
fn durations_that_the_samples_refute_are_right_in_the_new_header() {
    let whole = fs::read(made("mp4", 8)).unwrap();
    let durations = |bytes: &[u8]| -> Vec<u64> {
        ["moov/trak/mdia/mdhd", "moov/trak/edts/elst", "moov/trak/tkhd", "moov/mvhd"]
            .iter()
            .flat_map(|path| at_path(bytes, 0..bytes.len(), path))
            .map(|b| {
                let more = match &b.kind {
                    b"elst" => 8,
                    b"tkhd" => 20,
                    _ => 16,
                };
                number(bytes, b.body().start + more, 4)
            })
            .collect()
    };
    let sound = durations(&whole);
    let mut browser = whole.clone();
    for mdhd in at_path(&whole, 0..whole.len(), "moov/trak/mdia/mdhd") {
        set_number(&mut browser, mdhd.body().start + 16, 4, 4000);
    }
    let mut all = browser.clone();
    for (path, more) in [("moov/trak/edts/elst", 8), ("moov/trak/tkhd", 20), ("moov/mvhd", 16)] {
        for found in at_path(&whole, 0..whole.len(), path) {
            set_number(&mut all, found.body().start + more, 4, 160);
        }
    }
    let mut movie_only = whole.clone();
    let mvhd = at_path(&whole, 0..whole.len(), "moov/mvhd").remove(0);
    set_number(&mut movie_only, mvhd.body().start + 16, 4, 60_000);
    for (what, bytes) in [("mdhd", browser), ("all of them", all), ("mvhd", movie_only)] {
        let done = Done::of(&bytes);
        let now = durations(&fs::read(&done.file).unwrap());
        // A tick of the movie is a millisecond, and edits are rounded to it.
        assert!(
            now.len() == sound.len() && now.iter().zip(&sound).all(|(a, b)| a.abs_diff(*b) <= 30),
            "{what}: {now:?} {sound:?}"
        );
        assert_eq!((now[0], now[1]), (sound[0], sound[1]), "{what}");
        assert_eq!(done.vod["outcome"], "spliced", "{what}");
        assert_eq!(["video", "audio"].map(|kind| done.payloads(kind)), whole_payloads(&whole), "{what}");
    }
}

#[test]
fn a_recording_behind_a_short_one_keeps_its_times_in_other_containers() {
    let parts = [2, 3].map(|seconds| made("ts", seconds));
    let bytes = parts.each_ref().map(|part| fs::read(part).unwrap()).concat();
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.root()).unwrap();
    fs::write(sandbox.root().join("room.ts"), &bytes).unwrap();
    sandbox.process().expect_code(0);
    let vod = sandbox.vods().remove(0);
    let file = PathBuf::from(vod["filePath"].as_str().unwrap());
    assert!((duration_s(&file) - 5.0).abs() < 0.2, "{vod}");
    for (kind, usual) in [("video", 67), ("audio", 21)] {
        let times = times(&file, kind);
        let expected: usize = parts.iter().map(|part| payloads(part, kind).len()).sum();
        assert_eq!(times.len(), expected, "{kind}");
        let short = times.windows(2).filter(|pair| pair[1] - pair[0] < usual / 2).count();
        assert!(short <= 2, "{kind}: {times:?}");
    }
    let defects = vod["defects"].as_array().unwrap();
    assert!(defects.iter().filter(|defect| defect["kind"] == "timestamp_gap").count() <= 2, "{defects:?}");
}
