//! The samples of one file that a span needs.
//!
//! Pictures are taken from the keyframe before the span, so that they can be decoded, everything else from the moment at which that
//! keyframe is decoded: a player that does not heed edit lists shows more than was asked for, but pictures and sound together.
//! Everything is taken up to the first sample that is decoded at the end of the span.

use super::error::ClipError;
use super::indexed::{IndexedFile, PresentableTrack};
use crate::isobmff::{Sample, SampleTime};
use crate::memory;
use crate::recording::TrackKind;

/// Bytes that a sample of a clip takes while the clip is made.
const MEMORY_BYTES_PER_SAMPLE: u64 = 160;
/// The part of this process's memory that samples of a clip may take.
const MEMORY_PARTS: u64 = 8;
const MOST_MEMORY_BYTES: u64 = 2 << 30;
/// Keyframes that are looked at for the one that is shown in time. No codec shows more pictures than these between the decoding of
/// one and its presentation.
const MOST_REORDERED: usize = 64;

/// What of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRange {
    /// From this presentation time on, milliseconds; not negative.
    pub from_ms: i64,
    /// The first presentation time that is not wanted, milliseconds.
    pub to_ms: i64,
    /// Whether samples before may be taken to decode the first one. If not, the first picture is the first keyframe of the span.
    pub may_precede: bool,
}

/// Samples of one lane in decoding order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Which lane of the file.
    pub lane: usize,
    /// As the tables have them.
    pub samples: Vec<Sample>,
}

/// Cuts a file; lanes without samples in the span are left out.
pub fn cut(file: &IndexedFile, wanted: CutRange, budget: &mut SampleBudget) -> Result<Vec<Cut>, ClipError> {
    let anchor = file.lanes.iter().find(|lane| is_video(lane)).and_then(|lane| Anchor::of(lane, wanted));
    let mut cuts = Vec::new();
    for (index, lane) in file.lanes.iter().enumerate() {
        let Some(first) = first_sample(lane, wanted, anchor) else { continue };
        let numbers = first..end_of(lane, wanted);
        if !numbers.is_empty() {
            budget.take(numbers.end - numbers.start)?;
            let samples = file.samples(index, numbers)?;
            cuts.push(Cut { lane: index, samples });
        }
    }
    Ok(cuts)
}

fn is_video(lane: &PresentableTrack) -> bool {
    lane.track.kind() == TrackKind::Video
}

/// When the first picture is decoded: ticks on the clock of the presentation, and how many of them are a second.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: i64,
    timescale: u32,
}

impl Anchor {
    fn of(lane: &PresentableTrack, wanted: CutRange) -> Option<Self> {
        let first = keyframe(lane, wanted)?;
        let sample = lane.samples.time_of(first)?;
        let at = if wanted.may_precede { lane.decoded_at(&sample) } else { lane.shown_at(&sample) };
        Some(Self { at, timescale: lane.track.timescale() })
    }

    fn ticks_of(self, lane: &PresentableTrack) -> i64 {
        let ticks = i128::from(self.at) * i128::from(lane.track.timescale());
        i64::try_from(ticks.div_euclid(i128::from(self.timescale))).unwrap_or(i64::MAX)
    }
}

/// Number of the first sample that is taken.
fn first_sample(lane: &PresentableTrack, wanted: CutRange, anchor: Option<Anchor>) -> Option<u64> {
    if wanted.from_ms <= 0 && wanted.may_precede {
        return Some(0);
    }
    if is_video(lane) {
        return keyframe(lane, wanted);
    }
    let from = lane.ticks(wanted.from_ms);
    let from = match anchor {
        Some(anchor) if wanted.may_precede => anchor.ticks_of(lane).min(from),
        Some(anchor) if wanted.from_ms > 0 => anchor.ticks_of(lane).max(from),
        _ => from,
    };
    let samples = &lane.samples;
    let number = samples.last_decoded_by(from.saturating_sub(lane.shift));
    let ends_before = |sample: &SampleTime| lane.shown_at(sample).saturating_add(i64::from(sample.duration)) <= from;
    // Sound that is there for the decoder only is not presented.
    let skipped = !wanted.may_precede && samples.time_of(number).is_some_and(|sample| ends_before(&sample));
    Some(number + u64::from(skipped)).filter(|number| *number < samples.count())
}

/// Number of the keyframe that the pictures begin with.
fn keyframe(lane: &PresentableTrack, wanted: CutRange) -> Option<u64> {
    let from = lane.ticks(wanted.from_ms);
    let decoded = lane.samples.last_decoded_by(from.saturating_sub(lane.decoding_shift()));
    if wanted.may_precede { Some(keyframe_before(lane, from, decoded)) } else { keyframe_from(lane, from, decoded) }
}

/// A keyframe is shown after it is decoded, so one that is decoded in time may be shown too late.
fn keyframe_before(lane: &PresentableTrack, from: i64, decoded: u64) -> u64 {
    let samples = &lane.samples;
    let before = |last: &u64| last.checked_sub(1).and_then(|number| samples.sync_until(number));
    let candidates = std::iter::successors(samples.sync_until(decoded), before).take(MOST_REORDERED);
    let mut earliest = samples.sync_from(0).unwrap_or(0);
    for number in candidates {
        earliest = number;
        if samples.time_of(number).is_some_and(|sample| lane.shown_at(&sample) <= from) {
            break;
        }
    }
    earliest
}

fn keyframe_from(lane: &PresentableTrack, from: i64, decoded: u64) -> Option<u64> {
    let samples = &lane.samples;
    let first = samples.sync_until(decoded).unwrap_or(0);
    let behind = |last: &u64| samples.sync_from(last + 1);
    let mut candidates = std::iter::successors(samples.sync_from(first), behind).take(MOST_REORDERED);
    candidates.find(|number| samples.time_of(*number).is_some_and(|sample| lane.shown_at(&sample) >= from))
}

/// Number behind the last sample that is decoded before the end of the span.
fn end_of(lane: &PresentableTrack, wanted: CutRange) -> u64 {
    let to = lane.ticks_up(wanted.to_ms).min(lane.limit);
    let last = lane.samples.last_decoded_by(to.saturating_sub(lane.decoding_shift()).saturating_sub(1));
    // The first one is the answer even if it is decoded later.
    let is_before = |sample: SampleTime| lane.decoded_at(&sample) < to;
    last + u64::from(lane.samples.time_of(last).is_some_and(is_before))
}

/// How many samples may still be taken.
#[derive(Debug)]
pub struct SampleBudget {
    taken: u64,
    limit: u64,
}

impl SampleBudget {
    /// As many as this process has memory for.
    pub fn of_process() -> Self {
        let limit = memory::share(MEMORY_PARTS, MOST_MEMORY_BYTES) / MEMORY_BYTES_PER_SAMPLE;
        Self { taken: 0, limit }
    }

    /// Takes so many; an error if there are not as many left.
    pub fn take(&mut self, samples: u64) -> Result<(), ClipError> {
        self.taken = self.taken.saturating_add(samples);
        if self.taken > self.limit {
            return Err(ClipError::Limit { what: "samples", found: self.taken, limit: self.limit });
        }
        Ok(())
    }
}
