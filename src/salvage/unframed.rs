//! Runs of packets without a length made into packets: how many lie in a run is told by the clock, where they meet by
//! what they begin with and how large they are.
//!
//! Assumes that a run lies between two pictures and that the writer put samples in the order of their decoding times.

use super::element::Sound;
use super::nal::Parameters;
use super::source::Source;
use super::timeline::Expected;
use super::walk::{AudioFrame, AudioTrack, Walked};
use std::io::{Read, Seek};

/// Smallest packet of PCM samples that a writer hands over.
const LEAST_PCM_SAMPLES: u64 = 64;
/// Largest Opus packet (RFC 6716 §3.4, R5) of one frame, and smallest of several bytes.
const OPUS_BYTES: std::ops::RangeInclusive<usize> = 2..=1275;
/// One packet in so many must begin with a byte for it to be one that packets begin with.
const RARE: u32 = 200;
/// Packets around a run that tell how large one is.
const NEAR: usize = 40;
/// Ways to cut a run that are followed at once.
const PATHS: usize = 64;
/// How unlikely a step of size by a factor of e is, in nats.
const STEP_NATS: f64 = 8.0;
/// No step of size counts more than this, in natural logarithms.
const MOST_UNLIKE: f64 = 1.0;
/// Most packets of one run that are told apart.
const MOST_IN_RUN: i64 = 4096;

/// Splits the runs of an unframed track into packets and says with which duration of them pictures are timed.
pub fn split<R: Read + Seek>(
    source: &mut Source<R>,
    walked: &mut Walked,
    (index, track): (usize, &mut AudioTrack),
    expected: &Expected,
) {
    let runs = std::mem::take(&mut walked.audio[index]);
    let packets = match track.sound {
        Sound::Pcm { block_bytes } => pcm(&runs, block_bytes.max(1), track),
        Sound::Opus => opus(source, walked, &runs, track, expected),
        _ => runs.iter().map(|run| vec![*run]).collect(),
    };
    let mut before = Vec::with_capacity(packets.len() + 1);
    before.push(0_usize);
    for of_run in &packets {
        before.push(before[before.len() - 1] + of_run.len());
    }
    let count = |runs: usize| before[runs.min(before.len() - 1)];
    if index == 0 {
        for frame in &mut walked.frames {
            let runs = usize::try_from(frame.audio_before).unwrap_or(usize::MAX);
            frame.audio_before = u32::try_from(count(runs)).unwrap_or(u32::MAX);
        }
    }
    for gap in &mut walked.gaps {
        gap.audio_before[index] = count(gap.audio_before[index]);
    }
    walked.audio[index] = packets.into_iter().flatten().collect();
}

/// PCM: writers hand over packets of equal length, so the greatest common divisor of the runs is theirs.
fn pcm(runs: &[AudioFrame], block_bytes: u32, track: &mut AudioTrack) -> Vec<Vec<AudioFrame>> {
    let blocks = |run: &AudioFrame| u64::from(run.size_bytes / block_bytes);
    let inner = runs.split_last().map_or(runs, |(_, inner)| if inner.is_empty() { runs } else { inner });
    let common = inner.iter().map(blocks).fold(0, greatest_common_divisor);
    let least = inner.iter().map(blocks).filter(|count| *count > 0).min().unwrap_or(1);
    let each = if common >= LEAST_PCM_SAMPLES { common } else { least.max(1) };
    let each = u32::try_from(each).unwrap_or(u32::MAX / block_bytes);
    track.duration = track.duration.saturating_mul(i64::from(each));
    let bytes = each.saturating_mul(block_bytes);
    let split = |run: &AudioFrame| {
        let whole = run.size_bytes - run.size_bytes % block_bytes;
        let pieces = (0..whole).step_by(bytes as usize);
        pieces.map(|at| AudioFrame { offset: run.offset + u64::from(at), size_bytes: bytes.min(whole - at) }).collect()
    };
    runs.iter().map(split).collect()
}

const fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn opus<R: Read + Seek>(
    source: &mut Source<R>,
    walked: &Walked,
    runs: &[AudioFrame],
    track: &mut AudioTrack,
    expected: &Expected,
) -> Vec<Vec<AudioFrame>> {
    let bytes: Vec<Vec<u8>> = runs.iter().map(|run| bytes_of(source, run)).collect();
    let habits = Habits::of(&bytes);
    if let Some(duration) = most_common_duration(&bytes) {
        track.duration = duration;
    }
    let counts = counts(walked, runs, track, expected);
    let typical = typical_sizes(runs, &counts);
    let mut last = typical.first().copied().unwrap_or(1.0);
    let split = |(index, (run, content)): (usize, (&AudioFrame, &Vec<u8>))| {
        let ends = cuts(content, counts[index], (last, typical[index]), &habits);
        let mut at = 0;
        let mut packets = Vec::with_capacity(ends.len());
        for end in ends {
            let size_bytes = u32::try_from(end - at).unwrap_or(u32::MAX);
            packets.push(AudioFrame { offset: run.offset + at as u64, size_bytes });
            last = as_size(end - at);
            at = end;
        }
        packets
    };
    runs.iter().zip(&bytes).enumerate().map(split).collect()
}

fn bytes_of<R: Read + Seek>(source: &mut Source<R>, run: &AudioFrame) -> Vec<u8> {
    let wanted = run.size_bytes as usize;
    let bytes = source.at(run.offset, wanted);
    bytes[..bytes.len().min(wanted)].to_vec()
}

/// What packets of a stream begin and end with: every run begins with the beginning of one and ends with the end of one.
struct Habits {
    /// By byte: whether packets begin with it (RFC 6716 §3.1).
    begins: [bool; 256],
    /// By byte: how unlikely the range coder begins with it, in nats.
    second: [f64; 256],
    /// By byte: how unlikely a packet ends with it, in nats.
    last: [f64; 256],
}

impl Habits {
    fn of(runs: &[Vec<u8>]) -> Self {
        let count = |pick: fn(&Vec<u8>) -> Option<&u8>| {
            let mut counts = [0_u32; 256];
            runs.iter().filter_map(pick).for_each(|byte| counts[usize::from(*byte)] += 1);
            counts
        };
        let total = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let unlikely = |count: u32| -((f64::from(count) + 0.25) / (f64::from(total) + 64.0)).ln();
        Self {
            begins: count(|run| run.first()).map(|count| count > 0 && count.saturating_mul(RARE) >= total),
            second: count(|run| run.get(1)).map(unlikely),
            last: count(|run| run.last()).map(unlikely),
        }
    }

    /// The cost of a cut in front of a place.
    fn cost(&self, run: &[u8], at: usize) -> f64 {
        let of = |table: &[f64; 256], at: usize| run.get(at).map_or(0.0, |byte| table[usize::from(*byte)]);
        of(&self.second, at + 1) + of(&self.last, at - 1)
    }
}

/// Duration of a packet in flicks, as its first byte says it (RFC 6716 §3.1); `None` for a code 3 packet.
fn duration_of(first: u8) -> Option<i64> {
    let config = first >> 3;
    let per_frame_us: i64 = match config {
        0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        12..=15 => [10_000, 20_000][usize::from(config % 2)],
        _ => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => return None,
    };
    Some(per_frame_us * frames * (super::clock::FLICKS / 100_000) / 10)
}

fn most_common_duration(runs: &[Vec<u8>]) -> Option<i64> {
    let mut counts = std::collections::BTreeMap::new();
    for duration in runs.iter().filter_map(|run| duration_of(*run.first()?)) {
        *counts.entry(duration).or_insert(0_usize) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(duration, _)| duration)
}

/// How many packets each run holds: as many as are due up to the picture behind it; where the distance of pictures is
/// not known or pictures are missing, as many as its size suggests.
fn counts(walked: &Walked, runs: &[AudioFrame], track: &AudioTrack, expected: &Expected) -> Vec<i64> {
    let all_bytes = runs.iter().map(|run| i64::from(run.size_bytes)).sum::<i64>();
    let all_runs = i64::try_from(runs.len()).unwrap_or(1).max(1);
    let by_clock = by_clock(walked, runs, track, expected);
    let until = walked.gaps.first().map_or(usize::MAX, |gap| gap.frames_before);
    let counted: i64 = by_clock.iter().sum();
    let mean_packet = (all_bytes / if counted > 0 { counted } else { all_runs }).max(1);
    let by_size = |run: &AudioFrame| ((i64::from(run.size_bytes) + mean_packet / 2) / mean_packet).max(1);
    let place = |run: usize| walked.frames.partition_point(|frame| frame.audio_before as usize <= run);
    let chosen = runs.iter().enumerate().map(|(index, run)| {
        let clocked = by_clock.get(index).copied().filter(|_| place(index) <= until);
        clocked.unwrap_or_else(|| by_size(run)).clamp(1, MOST_IN_RUN)
    });
    chosen.collect()
}

fn by_clock(walked: &Walked, runs: &[AudioFrame], track: &AudioTrack, expected: &Expected) -> Vec<i64> {
    let Some(distance) = expected.durations.first().copied().filter(|d| *d > 0 && expected.grid.is_none()) else {
        return Vec::new();
    };
    let lag = expected.lag.or_else(|| walked.parameters.as_ref().and_then(Parameters::reorder).map(i64::from));
    let start = expected.start.unwrap_or(-lag.unwrap_or(0) * distance);
    let mut taken = 0;
    let mut counts = Vec::with_capacity(runs.len());
    for run in 0..runs.len() {
        let picture = walked.frames.partition_point(|frame| frame.audio_before as usize <= run);
        if picture >= walked.frames.len() {
            break;
        }
        let due = start + i64::try_from(picture).unwrap_or(i64::MAX / 2) * distance;
        // Frames that are due before the picture; on a tie the picture comes first.
        let before = (due - track.start + track.duration - 1).div_euclid(track.duration.max(1));
        let here = (before - taken).max(1);
        taken += here;
        counts.push(here);
    }
    counts
}

/// By run: the usual size of a packet around it.
fn typical_sizes(runs: &[AudioFrame], counts: &[i64]) -> Vec<f64> {
    let mut typical = Vec::with_capacity(runs.len());
    for index in 0..runs.len() {
        let near = index.saturating_sub(NEAR)..(index + NEAR).min(runs.len());
        let bytes: i64 = runs[near.clone()].iter().map(|run| i64::from(run.size_bytes)).sum();
        let packets: i64 = counts[near].iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "sizes of a few packets")]
        typical.push(bytes as f64 / packets.max(1) as f64);
    }
    typical
}

/// Where the packets of a run end: at places where one may begin, each as near as possible to the size of the one
/// before it; `last` is that of the packet before the run.
fn cuts(run: &[u8], count: i64, (last, typical): (f64, f64), habits: &Habits) -> Vec<usize> {
    let whole = vec![run.len()];
    let Some(count) = usize::try_from(count).ok().filter(|count| *count > 1) else { return whole };
    let mut places: Vec<usize> = (1..run.len()).filter(|at| habits.begins[usize::from(run[*at])]).collect();
    places.push(run.len());
    let mut paths = vec![Path { cost: 0.0, last, ends: Vec::new() }];
    for packet in 1..=count {
        let mut longer: Vec<Path> = Vec::new();
        for path in &paths {
            let at = path.ends.last().copied().unwrap_or(0);
            let left = count - packet;
            let fits = |end: usize| {
                let rest = run.len() - end;
                OPUS_BYTES.contains(&(end - at)) && rest >= left * OPUS_BYTES.start() && rest <= left * OPUS_BYTES.end()
            };
            let ends = places.iter().copied().filter(|end| *end > at && fits(*end));
            longer.extend(ends.map(|end| path.with((end, end - at), typical, habits.cost(run, end))));
        }
        longer.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        longer.truncate(PATHS);
        paths = longer;
    }
    paths.into_iter().find(|path| path.ends.last() == Some(&run.len())).map_or(whole, |path| path.ends)
}

/// A way to cut a run as far as it goes.
struct Path {
    cost: f64,
    last: f64,
    ends: Vec<usize>,
}

impl Path {
    fn with(&self, (end, size): (usize, usize), typical: f64, cut: f64) -> Self {
        let size = as_size(size);
        let steps = unlike(size, self.last) + unlike(size, typical) / 4.0;
        let ends = self.ends.iter().copied().chain([end]).collect();
        Self { cost: self.cost + steps * STEP_NATS + cut, last: size, ends }
    }
}

/// How unlike two sizes are; silence is as small as it can be and comes at once, so that large steps cost little more.
fn unlike(size: f64, other: f64) -> f64 {
    (size.max(1.0).ln() - other.max(1.0).ln()).abs().min(MOST_UNLIKE)
}

#[expect(clippy::cast_precision_loss, reason = "a packet has at most a few thousand bytes")]
const fn as_size(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_where_packets_of_the_usual_size_may_begin() {
        let mut run = vec![7_u8; 610];
        for at in [0, 30, 195, 410] {
            run[at] = 0xFC;
        }
        let habits = Habits::of(&[run.clone()]);
        assert_eq!(cuts(&run, 3, (200.0, 200.0), &habits), [195, 410, 610]);
        assert_eq!(cuts(&run, 1, (200.0, 200.0), &habits), [610]);
    }

    #[test]
    fn the_first_byte_says_how_long_a_packet_lasts() {
        let second = super::super::clock::FLICKS;
        assert_eq!(
            (duration_of(0xFC), duration_of(0xE0), duration_of(0x0B)),
            (Some(second / 50), Some(second / 400), None)
        );
        assert_eq!(duration_of(0x08), Some(second / 50));
    }

    #[test]
    fn runs_of_samples_are_packets_of_their_common_length() {
        let run = |samples: u32| AudioFrame { offset: 0, size_bytes: samples * 4 };
        let mut track = AudioTrack { sound: Sound::Pcm { block_bytes: 4 }, start: 0, duration: 10 };
        let packets = pcm(&[run(2048), run(1024), run(3072), run(500)], 4, &mut track);
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 3, 1]);
        assert_eq!(track.duration, 10_240);
    }
}
