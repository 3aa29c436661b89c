//! Times for what the walk found: decoding and presentation times of every picture, and where audio frames are missing.
//!
//! Assumes that samples lie in file order. Times are in flicks on the clock of the recording, whose zero is where its
//! presentation begins if it was written like the reference says.

use super::clock::{self, AudioBeat, Segment};
use super::loss::{self, AudioLead, GapFacts, GapLoss};
use super::order::PictureOrder;
use super::report::MOST_CUT_PACKETS;
use super::rhythm::{KeyframeHint, KeyframeRhythm};
use super::walk::{Hypothesis, MediaGap, WalkResult};

/// Pictures whose mean distance stands for that of the next ones, where it varies.
const RECENT: usize = 33;

/// Between two key pictures with more gaps the rhythm says nothing.
const MOST_GAPS_BETWEEN: usize = 64;

/// What is known of the pictures' timing beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedTiming {
    /// Distances of pictures that are likely, best first.
    pub durations: Vec<i64>,
    /// When the first picture was decoded in the reference.
    pub start: Option<i64>,
    /// By how many pictures presentation lags behind decoding.
    pub lag: Option<i64>,
    /// Grid of a variable rate.
    pub grid: Option<i64>,
}

/// How the times of the pictures were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrameRate {
    /// There are no pictures.
    #[default]
    None,
    /// One distance satisfies nearly all pictures.
    Proven,
    /// One distance is assumed: there is no sound to prove it, or the writer collects runs.
    Declared,
    /// Each picture lies within the bounds that the sound gives it.
    Variable,
}

/// The times of all samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SampleTimes {
    /// Decoding times by picture.
    pub decoding: Vec<i64>,
    /// Presentation times by picture.
    pub presentation: Vec<i64>,
    /// Duration of the last picture.
    pub last_duration: i64,
    /// By gap, in file order: what it swallowed.
    pub lost: Vec<GapLoss>,
    /// How the pictures were timed.
    pub rate: FrameRate,
    /// Pictures at the end that are shown at a time that nothing tells.
    pub guessed: u64,
    /// Whether presentation follows the pictures' own order counts.
    pub is_ordered: bool,
}

/// Times what a walk found.
pub fn timeline(walked: &WalkResult, hypothesis: &Hypothesis, expected: &ExpectedTiming) -> SampleTimes {
    TimelineBuilder::new(walked, hypothesis, expected).make()
}

struct TimelineBuilder<'a> {
    walked: &'a WalkResult,
    expected: &'a ExpectedTiming,
    beat: Option<AudioBeat>,
    order: PictureOrder,
    rhythm: Option<KeyframeRhythm>,
    /// By segment: the picture that it begins with.
    starts: Vec<usize>,
    segments: Vec<Segment>,
    duration: Option<i64>,
    is_chunked: bool,
    lag: i64,
}

impl<'a> TimelineBuilder<'a> {
    fn new(walked: &'a WalkResult, hypothesis: &Hypothesis, expected: &'a ExpectedTiming) -> Self {
        let gaps: Vec<usize> = walked.gaps.iter().map(|gap| gap.frames_before).collect();
        let period = walked.parameters.as_ref().map_or(0, super::nal::CodecParameters::order_period);
        let order = PictureOrder::of(&walked.frames, period, &gaps);
        let rhythm = KeyframeRhythm::of(&walked.frames, &gaps);
        let has_sound = walked.audio.first().is_some_and(|track| track.len() > 1);
        let beat = hypothesis.audio.first().filter(|_| has_sound);
        let beat = beat.map(|track| AudioBeat { start: track.start, duration: track.duration });
        let (starts, segments) = segments(walked, &gaps);
        let is_chunked = clock::is_chunked(&segments);
        let declared = expected.durations.first().copied();
        let duration = match beat {
            Some(_) if is_chunked => declared.or(Some(clock::flicks(1, 25))),
            Some(beat) => clock::constant_duration(&segments, &beat, &expected.durations),
            None => declared.or(Some(clock::flicks(1, 25))),
        };
        let lag = order.lag.max(expected.lag.unwrap_or(0));
        Self { walked, expected, beat, order, rhythm, starts, segments, duration, is_chunked, lag }
    }

    fn make(self) -> SampleTimes {
        if self.walked.frames.is_empty() {
            return SampleTimes { lost: self.audio_only(), ..SampleTimes::default() };
        }
        match self.duration {
            Some(duration) => self.constant(duration),
            None => self.variable(),
        }
    }

    fn audio_only(&self) -> Vec<GapLoss> {
        let sound = self.walked.audio.first();
        let typical = sound.map_or(0, |frames| mean(frames.iter().map(|f| f.size_bytes)));
        let facts = |gap: &MediaGap| GapFacts {
            gap_bytes: bytes_of(gap),
            picture_bytes: 0,
            audio_bytes: typical,
            next_due: 0,
            duration: None,
            beat: self.beat,
            behind: Segment::default(),
            by_order: None,
            rest: None,
            key_bytes: 0,
            other_bytes: 0,
            keys: 0,
            is_reset: true,
            is_chunked: false,
            lead: None,
        };
        self.walked
            .gaps
            .iter()
            .map(|gap| if self.is_last(gap) { self.lost_at_end(gap) } else { loss::estimate(&facts(gap)) })
            .collect()
    }

    /// Whether nothing follows a gap.
    fn is_last(&self, gap: &MediaGap) -> bool {
        let has_audio =
            self.walked.audio.iter().zip(&gap.audio_before).any(|(track, before)| track.len() > *before as usize);
        gap.frames_before >= self.walked.frames.len() && !has_audio
    }

    /// The end of a file cuts one packet. What is longer was media of which nothing is known, and held as many packets as as many
    /// bytes of the rest.
    fn lost_at_end(&self, gap: &MediaGap) -> GapLoss {
        let pictures = || self.walked.frames.iter().map(|frame| frame.size_bytes);
        let sounds = || self.walked.audio.iter().flatten().map(|frame| frame.size_bytes);
        let bytes = i128::from(bytes_of(gap));
        let largest = pictures().chain(sounds()).max().unwrap_or(0);
        if bytes <= i128::from(MOST_CUT_PACKETS) * i128::from(largest) {
            return GapLoss::default();
        }
        let total: i128 = pictures().chain(sounds()).map(i128::from).sum();
        let share = |count: usize| {
            let count = i128::try_from(count).unwrap_or(0);
            i64::try_from((count * bytes + total / 2).checked_div(total).unwrap_or(0)).unwrap_or(i64::MAX)
        };
        let (pictures, audio) = (share(self.walked.frames.len()), share(self.walked.audio.first().map_or(0, Vec::len)));
        let by_sound = self.beat.map_or(1, |beat| audio.saturating_mul(beat.duration));
        let doubt = self.duration.map_or(by_sound, |duration| pictures.saturating_mul(duration));
        GapLoss { pictures, audio, doubt: doubt.max(1) }
    }

    fn start(&self, duration: i64) -> i64 {
        let by_lag = -self.lag * duration;
        let wanted: Vec<i64> = self.expected.start.into_iter().chain([by_lag, 0]).collect();
        let proven = match (self.beat, self.segments.first()) {
            (Some(beat), Some(segment)) if !self.is_chunked && self.starts[0] == 0 => {
                segment.start(&beat, duration, &wanted)
            }
            _ => None,
        };
        proven.unwrap_or(wanted[0])
    }

    fn constant(&self, duration: i64) -> SampleTimes {
        let frames = &self.walked.frames;
        let start = self.start(duration);
        let mut run = TimelineAccount { lost_pictures: 0, lost_audio: 0, base: 0, next_gap: 0, lost: Vec::new() };
        let (mut decoding, mut presentation) = (Vec::with_capacity(frames.len()), Vec::with_capacity(frames.len()));
        let mut is_ordered = true;
        for (index, number) in (0..frames.len()).zip(0_i64..) {
            self.pass_gaps(index, start, duration, &mut run);
            let place = number + run.lost_pictures;
            if self.order.begins[index] {
                let least = self.order.place(index).unwrap_or(0);
                run.base = place - least.min(0);
            }
            decoding.push(start + place * duration);
            let shown = self.order.place(index).map(|own| run.base + own);
            is_ordered &= shown.is_some();
            presentation.push(start + (shown.unwrap_or(place) + self.lag).max(place) * duration);
        }
        self.pass_gaps(frames.len(), start, duration, &mut run);
        let rate = if self.beat.is_some() && !self.is_chunked { FrameRate::Proven } else { FrameRate::Declared };
        SampleTimes { decoding, presentation, last_duration: duration, lost: run.lost, rate, guessed: 0, is_ordered }
    }

    /// Accounts for the gaps in front of a picture.
    fn pass_gaps(&self, index: usize, start: i64, duration: i64, run: &mut TimelineAccount) {
        while let Some(gap) = self.walked.gaps.get(run.next_gap).filter(|gap| gap.frames_before <= index) {
            run.next_gap += 1;
            let lost =
                if self.is_last(gap) { self.lost_at_end(gap) } else { self.lost_in(gap, start, Some(duration), run) };
            run.lost.push(lost);
            run.lost_pictures += lost.pictures;
            run.lost_audio += lost.audio;
            self.anchor(gap.frames_before, lost, run);
        }
    }

    /// Places the sequence behind a gap so that output lags as it does elsewhere, where its own counts say otherwise.
    fn anchor(&self, index: usize, lost: GapLoss, run: &mut TimelineAccount) {
        if self.order.begins.get(index).is_none_or(|begins| *begins) {
            return;
        }
        if let Some(by_order) = self.by_order(index, run.lost_pictures - lost.pictures, run.base) {
            run.base += lost.pictures - by_order;
        }
    }

    /// How many pictures are missing before a picture by the order of those that follow it.
    ///
    /// Wherever all pictures up to the latest place are decoded, that place says how many there must have been. It is
    /// so at the end of a sequence, and behind each run of B-pictures.
    fn by_order(&self, index: usize, lost_before: i64, base: i64) -> Option<i64> {
        const COMPARED: usize = 36;
        let number = i64::try_from(index).ok()?;
        let begins = &self.order.begins;
        let next_gap = self.walked.gaps.partition_point(|gap| gap.frames_before <= index);
        let next_gap = self.walked.gaps.get(next_gap).map_or(begins.len(), |gap| gap.frames_before);
        let until = (index + COMPARED).min(begins.len()).min(next_gap);
        let next_sequence = (index + 1..until.max(index + 1)).find(|next| begins[*next]);
        let until = next_sequence.unwrap_or(until);
        let before = (0..index)
            .rev()
            .take(COMPARED)
            .scan(false, |is_over, at| (!std::mem::replace(is_over, begins[at])).then_some(self.order.place(at)));
        let mut latest = before.flatten().max().unwrap_or(i64::MIN);
        let missing: Vec<i64> = (number + lost_before..)
            .zip(self.order.places.get(index..until)?)
            .filter_map(|(place, own)| {
                latest = latest.max(i64::from((*own)?));
                Some(base + latest - place)
            })
            .collect();
        match next_sequence {
            Some(_) => missing.last().copied(),
            // A reference that was lost is missed only when the next one is there.
            None => missing[missing.len() / 2..].iter().min().copied(),
        }
    }

    fn lost_in(&self, gap: &MediaGap, start: i64, duration: Option<i64>, run: &TimelineAccount) -> GapLoss {
        let index = gap.frames_before;
        let number = i64::try_from(index).unwrap_or(i64::MAX);
        let begins = self.order.begins.get(index).copied().unwrap_or(true);
        let by_order = if begins { None } else { self.by_order(index, run.lost_pictures, run.base) };
        let behind = self.starts.binary_search(&index).ok();
        let behind = behind.map_or_else(Segment::default, |at| self.segments[at].first(loss::BEHIND));
        let beat = self.beat.map(|beat| AudioBeat { start: beat.start + run.lost_audio * beat.duration, ..beat });
        let frames = &self.walked.frames;
        let first = index.saturating_sub(60);
        let near = &frames[first..(index + 60).min(frames.len())];
        let heard = self.walked.audio.first().map_or(&[][..], |track| {
            let at = gap.audio_before.first().map_or(0, |count| *count as usize);
            &track[at.saturating_sub(60)..(at + 60).min(track.len())]
        });
        let sizes = |is_key: bool| -> Vec<u32> {
            near.iter().filter(|frame| frame.is_sync() == is_key).map(|frame| frame.size_bytes).collect()
        };
        let rest = self.rest(index, run);
        let (keys, others) = (sizes(true), sizes(false));
        let is_told_apart = !keys.is_empty() && !others.is_empty();
        let all = mean(near.iter().map(|f| f.size_bytes));
        let other_bytes = if is_told_apart { mean(others.iter().copied()) } else { 0 };
        loss::estimate(&GapFacts {
            gap_bytes: bytes_of(gap),
            picture_bytes: if rest.is_some() && is_told_apart { other_bytes } else { all },
            audio_bytes: mean(heard.iter().map(|f| f.size_bytes)),
            next_due: start + (number + run.lost_pictures) * duration.unwrap_or(0),
            duration,
            beat,
            behind,
            by_order: by_order.map(|lost| (lost, self.order.period)),
            rest,
            key_bytes: if is_told_apart { mean(keys.iter().copied()) } else { all },
            other_bytes,
            keys: 0,
            is_reset: near.iter().zip(&self.order.begins[first..]).all(|(frame, begins)| *begins || !frame.is_sync()),
            is_chunked: self.is_chunked,
            lead: self.lead(index, start, duration, run),
        })
    }

    /// By how much the sound was ahead where runs of pictures began before a gap, if there was a rule in it.
    fn lead(&self, index: usize, start: i64, duration: Option<i64>, run: &TimelineAccount) -> Option<AudioLead> {
        const RUNS: usize = 12;
        const FEW: usize = 3;
        let (beat, duration) = self.beat.zip(duration).filter(|_| self.is_chunked)?;
        let frames = &self.walked.frames;
        let earlier = run.lost.len().checked_sub(1).and_then(|last| self.walked.gaps.get(last));
        let from = earlier.map_or(0, |gap| gap.frames_before);
        let begins = |at: &usize| frames[*at].audio_before != frames[*at - 1].audio_before;
        let starts = (from + 1..index).rev().take(RUNS * loss::BEHIND).filter(begins).take(RUNS);
        let leads = starts.map(|at| {
            let heard = i64::from(frames[at].audio_before) + run.lost_audio;
            let number = i64::try_from(at).unwrap_or(0);
            let due = start + (number + run.lost_pictures) * duration;
            (number - i64::try_from(index).unwrap_or(0), beat.start + heard * beat.duration - due)
        });
        let leads: Vec<(i64, i64)> = leads.collect();
        let (last, first) = leads.first().zip(leads.last()).filter(|_| leads.len() >= FEW)?;
        let slope = (last.1 - first.1) / (last.0 - first.0);
        let rests = || leads.iter().map(|(number, lead)| lead - slope * number);
        let (from, to) = rests().min().zip(rests().max())?;
        (to - from <= 2 * (duration + beat.duration)).then_some(AudioLead { from, to, slope })
    }

    /// What the rhythm of key pictures says of the gap that comes next.
    fn rest(&self, index: usize, run: &TimelineAccount) -> Option<KeyframeHint> {
        let gaps = &self.walked.gaps;
        let next_gap = gaps.get(run.next_gap).map(|gap| gap.frames_before);
        let lost_since = |picture: usize| {
            let earlier = gaps.iter().zip(&run.lost).rev().take_while(|(gap, _)| gap.frames_before > picture);
            let sum = earlier.take(MOST_GAPS_BETWEEN).fold((0, 0), |(n, sum), (_, lost)| (n + 1, sum + lost.pictures));
            (sum.0 < MOST_GAPS_BETWEEN).then_some(sum.1)
        };
        self.rhythm?.rest(&self.walked.frames, index, next_gap, lost_since)
    }

    fn variable(&self) -> SampleTimes {
        let mut run = TimelineAccount { lost_pictures: 0, lost_audio: 0, base: 0, next_gap: 0, lost: Vec::new() };
        let mut audio_before = Vec::with_capacity(self.walked.frames.len());
        for (index, frame) in self.walked.frames.iter().enumerate() {
            while let Some(gap) = self.walked.gaps.get(run.next_gap).filter(|gap| gap.frames_before <= index) {
                run.next_gap += 1;
                let lost = if self.is_last(gap) { self.lost_at_end(gap) } else { self.lost_in(gap, 0, None, &run) };
                run.lost_audio += lost.audio;
                run.lost.push(lost);
            }
            audio_before.push(u32::try_from(i64::from(frame.audio_before) + run.lost_audio).unwrap_or(u32::MAX));
        }
        run.lost.resize(self.walked.gaps.len(), GapLoss::default());
        let whole = Segment { audio_before };
        let beat = self.beat.unwrap_or(AudioBeat { start: 0, duration: clock::FLICKS });
        let typical = self.expected.durations.first().copied().unwrap_or(clock::flicks(1, 25));
        let origin = self.expected.start.unwrap_or(-self.lag * typical);
        let decoding = clock::variable(&whole, &beat, origin, self.expected.grid);
        let (presentation, guessed) = self.shown(&decoding);
        let is_ordered = self.order.places.iter().all(Option::is_some);
        let (lost, rate) = (run.lost, FrameRate::Variable);
        SampleTimes { decoding, presentation, last_duration: typical, lost, rate, guessed, is_ordered }
    }

    /// An encoder decodes each picture when the picture so many places before it in output order is shown. With how many are
    /// shown when none of these is decoded.
    fn shown(&self, decoding: &[i64]) -> (Vec<i64>, u64) {
        let count = i64::try_from(decoding.len()).unwrap_or(i64::MAX);
        let recent = &decoding[decoding.len().saturating_sub(RECENT)..];
        let steps = i64::try_from(recent.len().saturating_sub(1)).unwrap_or(1).max(1);
        // What is shown behind the last decoding time is due as far apart as the last pictures were.
        let distance = recent.last().zip(recent.first()).map_or(0, |(last, first)| (last - first) / steps);
        let (mut base, mut guessed) = (0, 0);
        let mut out = Vec::with_capacity(decoding.len());
        for (index, number) in (0..decoding.len()).zip(0_i64..) {
            base = if self.order.begins[index] { number } else { base };
            let place = self.order.place(index).map_or(number, |own| base + own) + self.lag;
            let place = place.clamp(number, number + 64);
            let inside = usize::try_from(place.min(count - 1)).ok().and_then(|at| decoding.get(at)).copied();
            let beyond = (place - (count - 1)).max(0);
            guessed += u64::from(beyond > 0);
            out.push(inside.unwrap_or(decoding[index]) + beyond * distance);
        }
        (out, guessed)
    }
}

/// Where the account stands.
struct TimelineAccount {
    lost_pictures: i64,
    lost_audio: i64,
    base: i64,
    next_gap: usize,
    lost: Vec<GapLoss>,
}

/// The stretches without a gap: the picture that each begins with, and its pictures.
fn segments(walked: &WalkResult, gaps: &[usize]) -> (Vec<usize>, Vec<Segment>) {
    let mut starts: Vec<usize> =
        [0].into_iter().chain(gaps.iter().copied()).filter(|at| *at < walked.frames.len()).collect();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([walked.frames.len()]);
    let segments = starts.iter().zip(ends).map(|(from, to)| Segment::of(&walked.frames[*from..to])).collect();
    (starts, segments)
}

fn bytes_of(gap: &MediaGap) -> i64 {
    i64::try_from(gap.range.end - gap.range.start + gap.hidden_bytes).unwrap_or(i64::MAX / 4)
}

fn mean(sizes: impl ExactSizeIterator<Item = u32>) -> i64 {
    let count = i64::try_from(sizes.len()).unwrap_or(1).max(1);
    sizes.map(i64::from).sum::<i64>() / count
}
