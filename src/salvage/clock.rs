//! The interleave clock: when pictures are due, told from the audio frames that the writer put between them.
//!
//! A muxer writes samples in the order of their decoding times. A picture behind `j` audio frames is due no earlier than
//! frame `j − 1` and no later than frame `j`. One distance that satisfies all pictures is a proof of a constant frame
//! rate; where none does, each picture is placed within its bounds. Times are in flicks (1/705 600 000 s), which hold
//! every usual frame and sampling rate exactly.

use super::walk::Frame;

/// Flicks in a second.
pub const FLICKS: i64 = 705_600_000;
/// Writers round to milliseconds; a picture that misses its bounds by this much does not contradict a rate.
const TOLERANCE: i64 = FLICKS / 1000 * 3 / 2;
/// How many in a hundred pictures may contradict a constant rate.
const VIOLATIONS_PERCENT: usize = 2;
/// Frame durations that encoders use, units and units per second.
const USUAL: [(u32, u32); 13] = [
    (1, 25),
    (1, 30),
    (1001, 30_000),
    (1, 24),
    (1001, 24_000),
    (1, 50),
    (1, 60),
    (1001, 60_000),
    (1, 15),
    (1, 20),
    (1, 10),
    (2, 25),
    (1, 5),
];

/// Units and units per second in flicks; 0 for no rate.
pub fn flicks(units: u64, per_second: u64) -> i64 {
    let product = u128::from(units) * u128::from(FLICKS.unsigned_abs());
    let per_second = u128::from(per_second).max(1);
    i64::try_from((product + per_second / 2) / per_second).unwrap_or(i64::MAX)
}

/// Flicks in ticks of a timescale, to the nearest.
pub fn ticks(flicks: i64, timescale: u32) -> i64 {
    let product = i128::from(flicks) * i128::from(timescale);
    let half = i128::from(FLICKS) / 2;
    i64::try_from((product + half).div_euclid(i128::from(FLICKS))).unwrap_or(0)
}

/// The audio track that the pictures are timed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioBeat {
    /// When its first frame is due.
    pub start: i64,
    /// How long a frame lasts.
    pub duration: i64,
}

impl AudioBeat {
    /// The bounds of a picture that `before` frames were written before.
    pub fn bounds(&self, before: i64) -> (i64, i64) {
        let high = self.start + before * self.duration;
        (if before == 0 { i64::MIN / 4 } else { high - self.duration }, high)
    }
}

/// Pictures with nothing missing between them: numbers from 0, each with the audio frames before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// Audio frames before each picture, those of the whole file.
    pub audio_before: Vec<u32>,
}

impl Segment {
    /// Of pictures that follow one another.
    pub fn of(frames: &[Frame]) -> Self {
        Self { audio_before: frames.iter().map(|frame| frame.audio_before).collect() }
    }

    /// The same of its first `count` pictures.
    pub fn first(&self, count: usize) -> Self {
        Self { audio_before: self.audio_before.iter().copied().take(count).collect() }
    }

    /// When the first picture is due if pictures are `duration` apart: the bounds that nearly all pictures allow.
    fn start_bounds(&self, beat: &AudioBeat, duration: i64) -> Option<(i64, i64)> {
        let spare = self.audio_before.len() / 200;
        let bounds = |pick: fn((i64, i64)) -> i64| {
            let pictures = (0..).zip(&self.audio_before);
            let mut all: Vec<i64> =
                pictures.map(|(index, n)| pick(beat.bounds(i64::from(*n))) - index * duration).collect();
            all.len().checked_sub(spare + 1).map(|last| (*all.select_nth_unstable(last).1, all))
        };
        let low = bounds(|(low, _)| low)?.0;
        let mut highs = bounds(|(_, high)| high)?.1;
        Some((low, *highs.select_nth_unstable(spare).1))
    }

    /// Pictures that contradict a start and a distance.
    fn violations(&self, beat: &AudioBeat, start: i64, duration: i64) -> usize {
        let misses = |(index, before): (i64, &u32)| {
            let (low, high) = beat.bounds(i64::from(*before));
            let due = start + index * duration;
            due < low - TOLERANCE || due > high + TOLERANCE
        };
        (0..).zip(&self.audio_before).filter(|picture| misses(*picture)).count()
    }

    /// The start that the bounds allow, one of the `wanted` if possible; `None` if they allow none.
    pub fn start(&self, beat: &AudioBeat, duration: i64, wanted: &[i64]) -> Option<i64> {
        let allowed = self.audio_before.len() * VIOLATIONS_PERCENT / 100;
        let (low, high) = self.start_bounds(beat, duration)?;
        let middle = if low < i64::MIN / 8 { high } else { low.midpoint(high) };
        wanted.iter().copied().chain([middle]).find(|start| self.violations(beat, *start, duration) <= allowed)
    }
}

/// The constant distance of pictures, if the segments prove one: the declared durations first, then the usual ones.
pub fn constant_duration(segments: &[Segment], beat: &AudioBeat, declared: &[i64]) -> Option<i64> {
    let usual = USUAL.iter().map(|(units, rate)| flicks(u64::from(*units), u64::from(*rate)));
    let is_proven = |duration: &i64| {
        let long = segments.iter().filter(|s| s.audio_before.len() >= 4);
        let pictures: usize = long.clone().map(|s| s.audio_before.len()).sum();
        let contradicted: usize =
            long.filter(|s| s.start(beat, *duration, &[]).is_none()).map(|s| s.audio_before.len()).sum();
        *duration > 0 && pictures > 0 && contradicted * 20 <= pictures
    };
    declared.iter().copied().chain(usual).find(is_proven)
}

/// Whether the writer collects runs of samples before it writes them, so that the order proves little.
pub fn is_chunked(segments: &[Segment]) -> bool {
    let runs: usize =
        segments.iter().map(|s| s.audio_before.windows(2).filter(|pair| pair[0] != pair[1]).count()).sum();
    let heard = |s: &Segment| Some(i64::from(*s.audio_before.last()?) - i64::from(*s.audio_before.first()?));
    let audio: i64 = segments.iter().filter_map(heard).sum();
    let pictures: usize = segments.iter().map(|s| s.audio_before.len()).sum();
    runs > 1 && audio / i64::try_from(runs).unwrap_or(i64::MAX) >= 6 && pictures / runs >= 3
}

/// Decoding times within the bounds, on a grid where that decides them, else in the middle; never going back.
pub fn variable(segment: &Segment, beat: &AudioBeat, origin: i64, grid: Option<i64>) -> Vec<i64> {
    let mut last = i64::MIN;
    let mut times = Vec::with_capacity(segment.audio_before.len());
    for before in &segment.audio_before {
        let (low, high) = beat.bounds(i64::from(*before));
        let earliest = low.max(last.saturating_add(grid.unwrap_or(1)));
        let on_grid = grid.filter(|g| *g > 0).map(|g| {
            let steps = (earliest - TOLERANCE - origin).div_euclid(g) + 1;
            origin + steps.max(0) * g
        });
        let middle = earliest.max(if low < i64::MIN / 8 { high.min(origin) } else { low.midpoint(high) });
        let time = on_grid
            .filter(|time| *time <= high + TOLERANCE && *time > last)
            .unwrap_or(middle.max(last.saturating_add(1)));
        last = time;
        times.push(time);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interleaves pictures at `times` with frames of the beat, ties first.
    fn segment(beat: &AudioBeat, times: &[i64]) -> Segment {
        let before = |due: &i64| ((due - beat.start) + beat.duration - 1).div_euclid(beat.duration).max(0);
        Segment { audio_before: times.iter().map(|due| u32::try_from(before(due)).unwrap()).collect() }
    }

    fn beat() -> AudioBeat {
        AudioBeat { start: -flicks(1024, 48_000), duration: flicks(1024, 48_000) }
    }

    #[test]
    fn a_constant_rate_is_proven_and_told_from_others() {
        for (units, rate) in [(1, 25), (1001, 30_000), (1, 60)] {
            let duration = flicks(units, rate);
            let times: Vec<i64> = (-2..400).map(|n| n * duration).collect();
            let segment = segment(&beat(), &times);
            assert_eq!(constant_duration(std::slice::from_ref(&segment), &beat(), &[]), Some(duration));
            assert_eq!(segment.start(&beat(), duration, &[-2 * duration]), Some(-2 * duration));
        }
    }

    #[test]
    fn variable_times_on_a_grid_are_found_exactly() {
        let grid = flicks(1, 30);
        let times: Vec<i64> = (0..300).filter(|n| n % 5 != 3 && n % 7 != 1).map(|n| n * grid).collect();
        let segment = segment(&beat(), &times);
        assert_eq!(constant_duration(std::slice::from_ref(&segment), &beat(), &[grid]), None);
        assert_eq!(variable(&segment, &beat(), 0, Some(grid)), times);
    }

    #[test]
    fn flicks_are_exact_for_usual_rates() {
        assert_eq!(flicks(1001, 30_000) * 30_000, 1001 * FLICKS);
        assert_eq!(flicks(1024, 44_100) * 44_100, 1024 * FLICKS);
        assert_eq!((ticks(FLICKS / 25, 12_800), ticks(-FLICKS, 1000)), (512, -1000));
    }
}
