//! Runs of packets without a length made into packets: how many lie in a run is told by the clock, where they meet by
//! what they begin with and how large they are.
//!
//! Assumes that a run lies between two pictures and that the writer put samples in the order of their decoding times.

use super::element::Sound;
use super::nal::CodecParameters;
use super::source::Source;
use super::timeline::ExpectedTiming;
use super::walk::{AudioFrame, AudioTrack, WalkResult};
use std::io::{Read, Seek};

/// Smallest packet of PCM samples that a writer hands over.
const LEAST_PCM_SAMPLES: u64 = 64;
/// One run of PCM in so many may be shorter than a packet.
const ODD_RUNS_IN: usize = 50;
/// After so many rounds the length of a packet fits all runs.
const PCM_ROUNDS: u32 = 3;
/// Largest Opus packet (RFC 6716 §3.4, R5) of one frame, and smallest of several bytes.
const OPUS_BYTES: std::ops::RangeInclusive<usize> = 2..=1275;
/// One packet in so many must begin with a byte for it to be one that packets begin with.
const RARE: u32 = 200;
/// Packets around a run that tell how large one is.
const NEAR: usize = 40;
/// Ways to cut a run that are followed at once.
const PATHS: usize = 64;
/// For so many places each byte of a run may be paid for; where that is not enough, packets are equally long.
const LOOKS_PER_BYTE: usize = 32;
/// How unlikely a step of size by a factor of e is, in nats.
const STEP_NATS: f64 = 8.0;
/// No step of size counts more than this, in natural logarithms.
const MOST_UNLIKE: f64 = 1.0;
/// Most packets of one run that are told apart.
const MOST_IN_RUN: i64 = 4096;

/// Splits the runs of an unframed track into packets and says with which duration of them pictures are timed.
pub fn split<R: Read + Seek>(
    source: &mut Source<R>,
    walked: &mut WalkResult,
    (index, track): (usize, &mut AudioTrack),
    expected: &ExpectedTiming,
) {
    let runs = std::mem::take(&mut walked.audio[index]);
    let mut packets = Packets::with_capacity(runs.len());
    match track.sound {
        Sound::Pcm { block_bytes } => pcm(&runs, block_bytes.max(1), track, &mut packets),
        Sound::Opus => opus(source, walked, &runs, track, expected, &mut packets),
        _ => packets.all.clone_from(&runs),
    }
    drop(runs);
    if index == 0 {
        walked.frames.iter_mut().for_each(|frame| frame.audio_before = packets.before(frame.audio_before));
    }
    for gap in &mut walked.gaps {
        gap.audio_before[index] = packets.before(gap.audio_before[index]);
    }
    walked.audio[index] = packets.all;
}

/// The packets of all runs.
#[derive(Debug, Default)]
struct Packets {
    all: Vec<AudioFrame>,
    /// By run: how many packets there are up to its end.
    ends: Vec<u32>,
}

impl Packets {
    fn with_capacity(runs: usize) -> Self {
        Self { all: Vec::with_capacity(runs), ends: Vec::with_capacity(runs) }
    }

    fn end_run(&mut self) {
        self.ends.push(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
    }

    /// How many packets lie in the first runs.
    fn before(&self, runs: u32) -> u32 {
        let last = (runs as usize).min(self.ends.len());
        last.checked_sub(1).map_or(0, |last| self.ends[last])
    }
}

/// PCM: how long the packets are that writers hand over is told by the runs. Resampled sound comes in packets that differ by a
/// sample, and each is cut where the shares of its run lie.
fn pcm(runs: &[AudioFrame], block_bytes: u32, track: &mut AudioTrack, packets: &mut Packets) {
    let blocks = |run: &AudioFrame| u64::from(run.size_bytes / block_bytes);
    let inner = runs.split_last().map_or(runs, |(_, inner)| if inner.is_empty() { runs } else { inner });
    let (each, of) = packet_blocks(inner.iter().map(blocks).filter(|count| *count > 0).collect());
    let duration = i128::from(track.duration) * i128::from(each) / i128::from(of.max(1));
    track.duration = i64::try_from(duration).unwrap_or(i64::MAX);
    for run in runs {
        let (all, count) = (blocks(run), shares(blocks(run), (each, of)));
        let at = |share: u64| all * share / count * u64::from(block_bytes);
        let packet = |share| AudioFrame {
            offset: run.offset + at(share),
            size_bytes: u32::try_from(at(share + 1) - at(share)).unwrap_or(u32::MAX),
        };
        packets.all.extend((0..count).filter(|_| all > 0).map(packet));
        packets.end_run();
    }
}

/// Mean length of a packet as a fraction: so many blocks in so many packets. Most runs that are short are one packet.
fn packet_blocks(mut runs: Vec<u64>) -> (u64, u64) {
    let common = runs.iter().copied().fold(0, greatest_common_divisor);
    if common >= LEAST_PCM_SAMPLES {
        return (common, 1);
    }
    runs.sort_unstable();
    // A few runs are shorter: of some a part was lost.
    let Some(short) = runs.get(runs.len() / ODD_RUNS_IN).copied() else { return (1, 1) };
    let mut mean = (short.max(1), 1);
    for _ in 0..PCM_ROUNDS {
        let regular = runs.iter().filter(|run| **run * 4 >= short * 3);
        mean = regular.fold((0, 0), |(blocks, packets), run| (blocks + run, packets + shares(*run, mean)));
    }
    mean
}

/// How many packets of a mean length so many blocks are, to the nearest; at least one.
fn shares(blocks: u64, (each, of): (u64, u64)) -> u64 {
    let halves = blocks.saturating_mul(2 * of.max(1));
    (halves.saturating_add(each) / (2 * each).max(1)).max(1)
}

const fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn opus<R: Read + Seek>(
    source: &mut Source<R>,
    walked: &WalkResult,
    runs: &[AudioFrame],
    track: &mut AudioTrack,
    expected: &ExpectedTiming,
    packets: &mut Packets,
) {
    let mut counted = ByteCounts::default();
    for run in runs {
        counted.count(source, run);
    }
    let habits = counted.habits();
    if let Some(duration) = counted.most_common_duration() {
        track.duration = duration;
    }
    let counts = counts(walked, runs, track, expected);
    let mut last = typical_size(runs, &counts, 0);
    let mut content = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let typical = typical_size(runs, &counts, index);
        let count = usize::from(counts[index]);
        content.clear();
        if count > 1 {
            content.extend_from_slice(bytes_of(source, run));
        }
        let mut at = 0;
        for end in cuts(&content, run.size_bytes as usize, count, (last, typical), &habits) {
            let size_bytes = u32::try_from(end - at).unwrap_or(u32::MAX);
            packets.all.push(AudioFrame { offset: run.offset + at as u64, size_bytes });
            last = as_size(end - at);
            at = end;
        }
        packets.end_run();
    }
}

fn bytes_of<'a, R: Read + Seek>(source: &'a mut Source<R>, run: &AudioFrame) -> &'a [u8] {
    let wanted = run.size_bytes as usize;
    let bytes = source.at(run.offset, wanted);
    &bytes[..bytes.len().min(wanted)]
}

/// What packets of a stream begin and end with: every run begins with the beginning of one and ends with the end of one.
struct PacketHabits {
    /// By byte: whether packets begin with it (RFC 6716 §3.1).
    begins: [bool; 256],
    /// By byte: how unlikely the range coder begins with it, in nats.
    second: [f64; 256],
    /// By byte: how unlikely a packet ends with it, in nats.
    last: [f64; 256],
}

/// With which bytes runs begin and end, counted.
#[derive(Debug)]
struct ByteCounts {
    runs: u32,
    first: [u32; 256],
    second: [u32; 256],
    last: [u32; 256],
}

impl Default for ByteCounts {
    fn default() -> Self {
        Self { runs: 0, first: [0; 256], second: [0; 256], last: [0; 256] }
    }
}

impl ByteCounts {
    fn count<R: Read + Seek>(&mut self, source: &mut Source<R>, run: &AudioFrame) {
        let Some(behind) = run.size_bytes.checked_sub(1) else { return };
        self.take(source.at(run.offset, run.size_bytes.min(2) as usize).iter().take(run.size_bytes as usize));
        if let Some(byte) = source.at(run.offset + u64::from(behind), 1).first() {
            self.last[usize::from(*byte)] += 1;
        }
    }

    fn take<'a>(&mut self, mut bytes: impl Iterator<Item = &'a u8>) {
        self.runs = self.runs.saturating_add(1);
        for counts in [&mut self.first, &mut self.second] {
            if let Some(byte) = bytes.next() {
                counts[usize::from(*byte)] += 1;
            }
        }
    }

    fn habits(&self) -> PacketHabits {
        let unlikely = |count: u32| -((f64::from(count) + 0.25) / (f64::from(self.runs) + 64.0)).ln();
        PacketHabits {
            begins: self.first.map(|count| count > 0 && count.saturating_mul(RARE) >= self.runs),
            second: self.second.map(unlikely),
            last: self.last.map(unlikely),
        }
    }

    fn most_common_duration(&self) -> Option<i64> {
        let mut counts = std::collections::BTreeMap::new();
        for (first, count) in (0..=u8::MAX).zip(self.first).filter(|(_, count)| *count > 0) {
            if let Some(duration) = duration_of(first) {
                *counts.entry(duration).or_insert(0_u32) += count;
            }
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(duration, _)| duration)
    }
}

impl PacketHabits {
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

/// How many packets each run holds: as many as are due up to the picture behind it; where the distance of pictures is
/// not known or pictures are missing, as many as its size suggests.
fn counts(walked: &WalkResult, runs: &[AudioFrame], track: &AudioTrack, expected: &ExpectedTiming) -> Vec<u16> {
    let all_bytes = runs.iter().map(|run| i64::from(run.size_bytes)).sum::<i64>();
    let all_runs = i64::try_from(runs.len()).unwrap_or(1).max(1);
    let by_clock = by_clock(walked, runs, track, expected);
    let until = walked.gaps.first().map_or(usize::MAX, |gap| gap.frames_before);
    let counted: i64 = by_clock.iter().copied().map(i64::from).sum();
    let mean_packet = (all_bytes / if counted > 0 { counted } else { all_runs }).max(1);
    let by_size = |run: &AudioFrame| ((i64::from(run.size_bytes) + mean_packet / 2) / mean_packet).max(1);
    let place = |run: usize| walked.frames.partition_point(|frame| frame.audio_before as usize <= run);
    let chosen = runs.iter().enumerate().map(|(index, run)| {
        let clocked = by_clock.get(index).copied().map(i64::from).filter(|_| place(index) <= until);
        u16::try_from(clocked.unwrap_or_else(|| by_size(run)).clamp(1, MOST_IN_RUN)).unwrap_or(1)
    });
    chosen.collect()
}

fn by_clock(walked: &WalkResult, runs: &[AudioFrame], track: &AudioTrack, expected: &ExpectedTiming) -> Vec<u32> {
    let Some(distance) = expected.durations.first().copied().filter(|d| *d > 0 && expected.grid.is_none()) else {
        return Vec::new();
    };
    let lag = expected.lag.or_else(|| walked.parameters.as_ref().and_then(CodecParameters::reorder).map(i64::from));
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
        counts.push(u32::try_from(here).unwrap_or(u32::MAX));
    }
    counts
}

/// The usual size of a packet around a run.
fn typical_size(runs: &[AudioFrame], counts: &[u16], index: usize) -> f64 {
    let near = index.saturating_sub(NEAR)..(index + NEAR).min(runs.len());
    let bytes: f64 = runs[near.clone()].iter().map(|run| f64::from(run.size_bytes)).sum();
    let packets: u32 = counts[near].iter().map(|count| u32::from(*count)).sum();
    bytes / f64::from(packets.max(1))
}

/// Where the packets of a run of a length end: at places where one may begin, each as near as possible to the size of
/// the one before it; `last` is that of the packet before the run. The bytes are of no interest if it is one packet.
fn cuts(run: &[u8], bytes: usize, count: usize, (last, typical): (f64, f64), habits: &PacketHabits) -> Vec<usize> {
    let whole = vec![bytes];
    if count < 2 || run.len() < bytes || bytes < count * OPUS_BYTES.start() {
        return whole;
    }
    let mut places: Vec<usize> = (1..bytes).filter(|at| habits.begins[usize::from(run[*at])]).collect();
    places.push(bytes);
    let near = places.len() * OPUS_BYTES.end() / bytes.max(*OPUS_BYTES.end()) + 1;
    let paths = (bytes * LOOKS_PER_BYTE / (count * near)).min(PATHS);
    if paths == 0 {
        return (1..=count).map(|packet| bytes * packet / count).collect();
    }
    let mut steps: Vec<PathStep> = Vec::with_capacity(count * paths + 1);
    steps.push(PathStep { cost: 0.0, last, end: 0, before: 0 });
    let mut ahead = 0..1;
    for packet in 1..=count {
        let left = count - packet;
        let mut next: Vec<PathStep> = Vec::new();
        for before in ahead.clone() {
            let step = steps[before];
            let from = places.partition_point(|place| *place < step.end + OPUS_BYTES.start());
            let within = places[from..].iter().take_while(|place| **place <= step.end + OPUS_BYTES.end());
            let fits = |end: &&usize| {
                let rest = bytes - **end;
                rest >= left * OPUS_BYTES.start() && rest <= left * OPUS_BYTES.end()
            };
            next.extend(within.filter(fits).map(|end| step.to(*end, before, typical, habits.cost(run, *end))));
        }
        next.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        next.truncate(paths);
        ahead = steps.len()..steps.len() + next.len();
        steps.append(&mut next);
    }
    let best = ahead.clone().next().filter(|_| !ahead.is_empty());
    best.map_or(whole, |best| way_to(&steps, best, count))
}

/// The ends of the packets on the way to a step.
fn way_to(steps: &[PathStep], last: usize, count: usize) -> Vec<usize> {
    let mut ends = vec![0; count];
    let mut at = last;
    for end in ends.iter_mut().rev() {
        (*end, at) = (steps[at].end, steps[at].before);
    }
    ends
}

/// A packet on a way to cut a run.
#[derive(Debug, Clone, Copy)]
struct PathStep {
    cost: f64,
    last: f64,
    end: usize,
    /// The step before it.
    before: usize,
}

impl PathStep {
    fn to(&self, end: usize, before: usize, typical: f64, cut: f64) -> Self {
        let size = as_size(end - self.end);
        let unlikely = unlike(size, self.last) + unlike(size, typical) / 4.0;
        Self { cost: self.cost + unlikely * STEP_NATS + cut, last: size, end, before }
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
        let mut counted = ByteCounts::default();
        let mut source = Source::new(std::io::Cursor::new(run.clone()), 610);
        counted.count(&mut source, &AudioFrame { offset: 0, size_bytes: 610 });
        let habits = counted.habits();
        assert_eq!(cuts(&run, 610, 3, (200.0, 200.0), &habits), [195, 410, 610]);
        assert_eq!(cuts(&run, 610, 1, (200.0, 200.0), &habits), [610]);
    }

    #[test]
    fn a_run_that_may_be_cut_anywhere_is_cut_soon() {
        let habits = PacketHabits { begins: [true; 256], second: [0.0; 256], last: [0.0; 256] };
        let run = vec![9_u8; 60_000];
        let ends = cuts(&run, 60_000, 4000, (15.0, 15.0), &habits);
        assert_eq!((ends.len(), ends[0], ends[3999]), (4000, 15, 60_000));
        assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(cuts(&run[..5], 5, 9, (15.0, 15.0), &habits), [5], "more packets than bytes");
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
    fn packets_of_resampled_sound_differ_by_a_sample_and_are_as_many_as_were_written() {
        // 1024 samples at 48 kHz are 170 or 171 at 8 kHz; between two pictures at 25 a second lie one or two packets.
        let ends: Vec<u32> = (0..=600_u32).map(|packet| packet * 1024 / 6).collect();
        let due = |picture: u32| ends.partition_point(|end| *end <= picture * 320);
        let places: Vec<usize> = (1..300).map(due).collect();
        let run =
            |from: usize, to: usize| AudioFrame { offset: u64::from(ends[from]), size_bytes: ends[to] - ends[from] };
        let mut runs: Vec<AudioFrame> = places.windows(2).map(|pair| run(pair[0], pair[1])).collect();
        // One was hit, and what is left of it is short.
        runs[40].size_bytes = 9;
        let block = super::super::clock::FLICKS / 8000;
        let mut track = AudioTrack { sound: Sound::Pcm { block_bytes: 1 }, start: 0, duration: block };
        let mut packets = Packets::default();
        pcm(&runs, 1, &mut track, &mut packets);
        let mean = super::super::clock::flicks(1024, 48_000);
        assert!((track.duration - mean).abs() < block / 4, "{} of {mean}", track.duration);
        for (index, pair) in places.windows(2).enumerate().filter(|(index, _)| *index != 40) {
            let before = packets.before(u32::try_from(index).unwrap());
            let behind = packets.before(u32::try_from(index + 1).unwrap());
            assert_eq!((behind - before) as usize, pair[1] - pair[0], "run {index}");
        }
        let bytes: u32 = packets.all.iter().map(|packet| packet.size_bytes).sum();
        assert_eq!(bytes, runs.iter().map(|run| run.size_bytes).sum::<u32>(), "every sample is in a packet");
        assert!(packets.all.iter().all(|packet| [9, 170, 171].contains(&packet.size_bytes)));
    }

    #[test]
    fn runs_of_samples_are_packets_of_their_common_length() {
        let run = |samples: u32| AudioFrame { offset: 0, size_bytes: samples * 4 };
        let mut track = AudioTrack { sound: Sound::Pcm { block_bytes: 4 }, start: 0, duration: 10 };
        let mut packets = Packets::default();
        pcm(&[run(2048), run(1024), run(3072), run(500)], 4, &mut track, &mut packets);
        assert_eq!(packets.ends, [2, 3, 6, 7]);
        assert_eq!([0, 1, 2, 9].map(|runs| packets.before(runs)), [0, 2, 3, 7]);
        assert_eq!(track.duration, 10_240);
    }
}
