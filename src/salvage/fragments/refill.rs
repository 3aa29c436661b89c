//! Samples that were found in the media of a hit fragment, put between those of its neighbours.

use std::io::{Read, Seek};
use std::ops::Range;

use crate::isobmff::{IsoError, Movie, NewSample, Sample, TableBuilder, Track};
use crate::recording::TrackKind;
use crate::salvage::clock::{flicks, ticks};
use crate::salvage::reference::Reference;
use crate::salvage::source::Source;
use crate::salvage::timeline::timeline;
use crate::salvage::walk::{AudioFrame, Frame, Hypothesis, WalkResult, walk};

/// So far before a stretch a walk may begin.
const MOST_BEFORE_BYTES: u64 = 64 << 20;

/// A sample that was found: where it lies, and by how many ticks it is shown after it is decoded.
#[derive(Debug, Clone, Copy)]
struct FoundSample {
    offset: u64,
    size_bytes: u32,
    composition: i64,
    is_sync: bool,
}

/// Whether a stretch holds samples of the tables already: then the header behind it was hit, or a size that lies.
pub fn is_known(movie: &Movie, stretch: &Range<u64>) -> bool {
    let mut samples = movie.tracks.iter().flat_map(|track| track.samples());
    samples.any(|sample| sample.offset < stretch.end && sample.offset + u64::from(sample.size_bytes) > stretch.start)
}

/// Walks a stretch. The order of pictures is told by those since the last one that decoding can begin at, so it begins there.
pub fn walk_stretch<R: Read + Seek>(
    source: &mut Source<R>,
    movie: &Movie,
    stretch: &Range<u64>,
    reference: &Reference,
) -> WalkResult {
    if reference.opaque().next().is_some() {
        return WalkResult::unread(stretch);
    }
    let pictures = movie.tracks.iter().filter(|track| track.kind() == TrackKind::Video);
    let sync = pictures.flat_map(|track| track.samples()).filter(|s| s.is_sync && s.offset < stretch.start);
    let before = sync.map(|sample| sample.offset).max().filter(|at| stretch.start - at <= MOST_BEFORE_BYTES);
    let mut walked = walk(source, before.unwrap_or(stretch.start)..stretch.end, &reference.hypothesis());
    walked.gaps.retain(|gap| gap.range.end > stretch.start);
    walked.gaps.iter_mut().for_each(|gap| gap.range.start = gap.range.start.max(stretch.start));
    walked
}

/// Whether a walk found anything in a stretch.
pub fn is_found_in(walked: &WalkResult, stretch: &Range<u64>) -> bool {
    let pictures = walked.frames.iter().map(Frame::offset);
    pictures.chain(walked.audio.iter().flatten().map(|frame| frame.offset)).any(|at| at >= stretch.start)
}

/// Puts what a walk over a stretch found in it into the tables of its tracks.
pub fn refill(
    mut movie: Movie,
    walked: &WalkResult,
    stretch: &Range<u64>,
    reference: &Reference,
) -> Result<Movie, IsoError> {
    let mut audio = walked.audio.iter();
    let mut early: Vec<i64> = vec![0; movie.tracks.len()];
    for (index, known) in reference.tracks.iter().enumerate() {
        let Some(track) = movie.tracks.get_mut(index) else { continue };
        let found = match known.track.kind() {
            TrackKind::Video => pictures(walked, reference, track.timescale()),
            TrackKind::Audio => sounds(audio.next().map_or(&[][..], Vec::as_slice)),
            _ => Vec::new(),
        };
        let found: Vec<FoundSample> = found.into_iter().filter(|found| found.offset >= stretch.start).collect();
        let nominal = i64::from(known.pace.duration.max(1));
        let before = insert(track, &found, stretch.start, nominal)?;
        early[index] = flicks(before.unsigned_abs(), u64::from(track.timescale()));
    }
    // What was found before the first samples of the file begins at the same time on all tracks, or as late as it must.
    let most = early.iter().copied().max().unwrap_or(0);
    let late = |(track, early): (&Track, &i64)| ticks(most - early, track.timescale()).unsigned_abs();
    let starts: Vec<u64> = movie.tracks.iter().zip(&early).map(late).collect();
    movie.start_at(&starts);
    Ok(movie)
}

fn pictures(walked: &WalkResult, reference: &Reference, timescale: u32) -> Vec<FoundSample> {
    let alone = WalkResult { audio: Vec::new(), ..walked.clone() };
    let hypothesis = Hypothesis { audio: Vec::new(), ..reference.hypothesis() };
    let line = timeline(&alone, &hypothesis, &reference.expected());
    let times = line.decoding.iter().zip(&line.presentation);
    let found = walked.frames.iter().zip(times).map(|(frame, (decoded, shown))| FoundSample {
        offset: frame.offset(),
        size_bytes: frame.size_bytes,
        composition: ticks(shown - decoded, timescale),
        is_sync: frame.is_sync(),
    });
    found.collect()
}

fn sounds(frames: &[AudioFrame]) -> Vec<FoundSample> {
    let found = |frame: &AudioFrame| FoundSample {
        offset: frame.offset,
        size_bytes: frame.size_bytes,
        composition: 0,
        is_sync: true,
    };
    frames.iter().map(found).collect()
}

/// A sample with its decoding time.
type PlacedSample = (i64, NewSample);

/// Inserts found samples in front of those that lie behind `at`; says how much earlier the track begins now.
fn insert(track: &mut Track, found: &[FoundSample], at: u64, nominal: i64) -> Result<i64, IsoError> {
    if found.is_empty() {
        return Ok(0);
    }
    let samples: Vec<Sample> = track.samples().collect();
    let place = samples.iter().position(|sample| sample.offset >= at).unwrap_or(samples.len());
    let (before, behind) = samples.split_at(place);
    let count = i64::try_from(found.len()).unwrap_or(i64::MAX / nominal.max(1));
    let next = behind.first().map(|sample| sample.dts);
    let start = before.last().map_or_else(|| next.unwrap_or(0) - count * nominal, |last| last.dts + nominal);
    let step = match next {
        // Time that the neighbours leave is shared out; what is missing stays a gap behind the last one.
        Some(next) if start + count * nominal > next + nominal / 2 => ((next - start) / count).max(0),
        _ => nominal,
    };
    let new = (0..).zip(found).map(|(number, found)| (start + number * step, sample_of(found)));
    let early = (-start).max(0);
    let kept = |sample: &Sample| (sample.dts, NewSample::of(sample));
    let all: Vec<PlacedSample> = before.iter().map(kept).chain(new).chain(behind.iter().map(kept)).collect();
    let last = samples.last().filter(|_| !behind.is_empty()).map_or(nominal, |sample| i64::from(sample.duration));
    let mut builder = TableBuilder::default();
    for (index, (dts, sample)) in all.iter().enumerate() {
        let end = all.get(index + 1).map_or(dts + last, |(next, _)| *next);
        builder.push(NewSample { duration: u32::try_from(end - dts).unwrap_or(0), ..*sample })?;
    }
    track.tables = builder.finish();
    Ok(if before.is_empty() { early } else { 0 })
}

fn sample_of(found: &FoundSample) -> NewSample {
    NewSample {
        offset: found.offset,
        size_bytes: found.size_bytes,
        duration: 0,
        composition: i32::try_from(found.composition).unwrap_or(0),
        is_sync: found.is_sync,
        description_index: 1,
        dependency: 0,
    }
}
