//! Whether a header holds: every sample inside the media, tables that agree with each other, times that make sense.
//!
//! Reads no media. The cost follows the bytes of the tables and not the counts that they claim, so a hostile header is
//! judged as fast as a sound one of its size.

mod places;
mod summary;
mod times;

use super::boxes::{FileShape, Layout};
use super::movie::Movie;
use super::timeline::{self, TrackExtent};
use super::track::Track;
use crate::recording::{Defect, TrackKind, TrackSpan, TrackSummary, drop_still_pictures};
pub(super) use times::DURATION_TOLERANCE_MS;

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ValidationResult {
    /// What is wrong, most general first.
    pub defects: Vec<Defect>,
    /// The tracks in file order; digests are not filled in.
    pub tracks: Vec<TrackSummary>,
    /// When the last sample of all tracks ends, milliseconds from the start of the presentation.
    pub duration_ms: i64,
    /// How much later (+) or earlier (−) than the picture the sound begins, milliseconds, if there are both.
    pub start_skew_ms: Option<i64>,
    /// How much later (+) or earlier (−) than the picture the sound ends, milliseconds, if there are both.
    pub end_skew_ms: Option<i64>,
}

/// Judges a movie against the file it was read from.
pub fn validate(movie: &Movie, layout: &Layout) -> ValidationResult {
    let media = layout.media_ranges();
    let mut defects = movie.defects.clone();
    defects.extend(file_defects(layout));
    defects.extend(movie_defects(movie));
    let measured: Vec<MeasuredTrack<'_>> = movie.tracks.iter().map(MeasuredTrack::new).collect();
    for (number, track) in (1..).zip(&measured) {
        defects.extend(places::defects(track, number, &media));
        defects.extend(times::defects(track, number));
    }
    let spans: Vec<TrackSpan> = (1..).zip(&measured).filter_map(|(number, track)| times::span(track, number)).collect();
    drop_still_pictures(&mut defects, &spans);
    let timescale = movie.header.timescale;
    let duration_ms = measured.iter().filter_map(|t| summary::end_ms(t, timescale)).max().unwrap_or(0);
    defects.extend(times::duration_mismatch(movie.declared_duration_ms(), duration_ms));
    let skew = |time: fn(&MeasuredTrack<'_>, u32) -> Option<i64>| skew(&measured, |track| time(track, timescale));
    ValidationResult {
        start_skew_ms: skew(summary::start_ms),
        end_skew_ms: skew(summary::end_ms),
        tracks: measured.iter().map(|track| summary::track(track, timescale)).collect(),
        defects,
        duration_ms,
    }
}

/// A track with what is asked for more than once and costs a walk over its tables.
struct MeasuredTrack<'a> {
    track: &'a Track,
    /// Samples that lie in a chunk.
    placed: u64,
    /// Chunks that hold a sample or may.
    chunks: usize,
    /// Beginning and end, if there are samples.
    extent: Option<TrackExtent>,
}

impl<'a> MeasuredTrack<'a> {
    fn new(track: &'a Track) -> Self {
        let (chunks, placed) = track.tables.used();
        Self { track, placed, chunks, extent: timeline::extent(&track.tables, placed) }
    }
}

/// Sound minus picture, each by its first track with samples.
fn skew(measured: &[MeasuredTrack<'_>], time: impl Fn(&MeasuredTrack<'_>) -> Option<i64>) -> Option<i64> {
    let of = |kind| measured.iter().filter(|m| m.track.kind() == kind).find_map(&time);
    Some(of(TrackKind::Audio)? - of(TrackKind::Video)?)
}

/// What the top level shows by itself.
pub fn file_defects(layout: &Layout) -> Vec<Defect> {
    let mut defects = match layout.shape() {
        FileShape::Empty => vec![Defect::Empty],
        FileShape::NotMedia => vec![Defect::NotMedia],
        FileShape::NoMovieHeader => vec![Defect::NoMovieHeader],
        FileShape::HeaderFirst | FileShape::HeaderLast | FileShape::Fragmented => Vec::new(),
    };
    if let Some(torn) = layout.torn().filter(|b| !b.is(b"free") && !b.is(b"skip")) {
        let missing = format!("{} of {} bytes of `{}`", layout.missing_bytes(), torn.size_bytes, torn.fourcc);
        defects.push(Defect::Truncated { missing });
    }
    if let Some(at) = layout.garbage_at.filter(|_| !layout.boxes.is_empty()) {
        let detail = format!("{} bytes that are not a box (ISO/IEC 14496-12 §4.2)", layout.len - at);
        defects.push(Defect::Malformed { offset: Some(at), detail });
    }
    defects
}

fn movie_defects(movie: &Movie) -> Vec<Defect> {
    let mut defects = Vec::new();
    if movie.is_encrypted() {
        defects.push(Defect::Encrypted);
    }
    if movie.tracks.iter().all(|t| t.samples().next().is_none()) {
        defects.push(Defect::NoPackets);
        return defects;
    }
    for (number, track) in (1..).zip(&movie.tracks) {
        if track.tables.count() == 0 {
            defects.push(Defect::EmptyTrack { track: number, codec: track.codec() });
        } else if track.kind() == TrackKind::Video && track.tables.sync.as_ref().is_some_and(Vec::is_empty) {
            defects.push(Defect::NoKeyframe);
        }
    }
    defects
}

#[cfg(test)]
mod tests;
