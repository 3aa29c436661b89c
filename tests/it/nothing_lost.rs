//! What an MP4 holds is in the finished file, or it is named and the original stays.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::boxes::{self, fragments, media_first, retimed};
use crate::support::recordings::{decode_errors, duration_s, ffmpeg, made, packets};
use crate::support::{House, tree};

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
    house: House,
    vod: Value,
    file: PathBuf,
}

impl Done {
    /// Processes a file of these bytes.
    fn of(bytes: &[u8]) -> Self {
        let house = House::new();
        fs::create_dir_all(house.root()).unwrap();
        fs::write(house.root().join("room.mp4"), bytes).unwrap();
        house.process().expect_code(0);
        let vods = house.vods();
        assert_eq!(vods.len(), 1, "{vods:?}");
        let vod = vods[0].clone();
        let file = PathBuf::from(vod["filePath"].as_str().unwrap());
        Self { house, vod, file }
    }

    fn defects(&self) -> &[Value] {
        self.vod["defects"].as_array().unwrap()
    }

    fn kinds(&self) -> Vec<&str> {
        self.defects().iter().map(|defect| defect["kind"].as_str().unwrap()).collect()
    }

    /// Whether the file that was given is still there, to the last byte.
    fn keeps(&self, bytes: &[u8]) -> bool {
        tree(&self.house.root()).keys().any(|name| fs::read(self.house.root().join(name)).unwrap() == bytes)
    }

    /// Sizes and payloads of one kind of packet, in order.
    fn payloads(&self, kind: &str) -> Vec<String> {
        payloads(&self.file, kind)
    }
}

fn payloads(path: &Path, kind: &str) -> Vec<String> {
    let is_it = |line: &&String| line.starts_with(&format!("codec_type={kind}"));
    let payload =
        |line: &String| line.split('|').filter(|f| f.starts_with("size=") || f.starts_with("data_hash=")).collect();
    packets(path).iter().filter(is_it).map(payload).collect()
}

/// Decoding times of one kind of packet, milliseconds.
fn times(path: &Path, kind: &str) -> Vec<i64> {
    let is_it = |line: &&String| line.starts_with(&format!("codec_type={kind}"));
    let time = |line: &String| {
        let field = line.split('|').find_map(|f| f.strip_prefix("dts_time=")).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds")]
        let ms = (field.parse::<f64>().unwrap() * 1000.0).round() as i64;
        ms
    };
    packets(path).iter().filter(is_it).map(time).collect()
}

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
        let clocks: [(&str, fn(u64, u64) -> u64); 4] = [
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
