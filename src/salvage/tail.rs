//! Media behind the last sample that a header in front names: its writer renews the header now and then, and died between.
//!
//! The samples that the header names stay as they are. What lies behind them is walked with their own parameters and put at the
//! end of their tracks.

use std::io::{Read, Seek};
use std::ops::Range;

use super::fragments::refill::{is_found_in, refill, walk_stretch};
use super::reference::{Origin, Reference};
use super::report::{Confidence, GapReport, MAX_LISTED_GAPS, Report};
use super::source::Source;
use super::walk::Walked;
use super::{SalvageError, Salvaged, Verdict, attempt, trimmed};
use crate::isobmff::{self, Layout, Movie};

/// Whether all pictures and sound of a movie are of codecs whose packets can be told in the media.
pub fn is_walked(movie: &Movie) -> bool {
    let reference = Reference::of(movie, Origin::Media);
    !reference.tracks.is_empty() && reference.opaque().next().is_none()
}

/// Whether the writer of a file had not closed its media, and the last of these gaps is behind all samples.
pub fn has_open_tail(layout: &Layout, gaps: &[Range<u64>]) -> bool {
    let is_open = layout.boxes.last().is_some_and(|b| b.is(b"mdat") && (b.is_open_ended || b.end() > layout.len));
    is_open && gaps.last().is_some_and(|gap| gap.end == layout.len)
}

/// Adds the samples that lie behind those that the movie header of a file names.
pub fn salvage<R: Read + Seek>(mut reader: R, layout: &Layout) -> Result<Salvaged, SalvageError> {
    let movie = Movie::read(&mut reader, layout)?;
    let mut gaps = isobmff::unexplained(&mut reader, layout, &movie)?;
    let open = gaps.pop_if(|_| true).filter(|gap| has_open_tail(layout, std::slice::from_ref(gap)));
    let Some(open) = open else { return Ok(super::nothing(&(0..0))) };
    let tail = open.start..trimmed(&mut reader, &open)?;
    let reference = Reference::of(&movie, Origin::Media);
    let mut source = Source::new(&mut reader, layout.len);
    let walked = walk_stretch(&mut source, &movie, &tail, &reference);
    source.finish().map_err(SalvageError::Read)?;
    if !is_found_in(&walked, &tail) {
        return Ok(super::nothing(&tail));
    }
    let mut movie = refill(movie, &walked, &tail, &reference)?;
    movie.settle_durations();
    gaps.extend(walked.gaps.iter().map(|gap| gap.range.clone()));
    let report = Report { zero_tail_bytes: open.end - tail.end, ..report(&movie, &walked, &gaps) };
    Ok(Salvaged { movie, whole_bytes: tail.end, report, verdict: Verdict::Playable })
}

fn report(movie: &Movie, walked: &Walked, gaps: &[Range<u64>]) -> Report {
    let listed = gaps.iter().take(MAX_LISTED_GAPS).map(|gap| GapReport {
        offset: gap.start,
        bytes: gap.end - gap.start,
        lost_pictures: 0,
        lost_audio: 0,
        is_ambiguous: false,
        doubt_ms: 0,
    });
    Report {
        source: Origin::Media,
        confidence: Confidence::Medium,
        tracks: movie.tracks.iter().map(attempt::track_report).collect(),
        media_bytes: walked.total_bytes,
        unexplained_bytes: gaps.iter().map(|gap| gap.end - gap.start).sum(),
        zero_tail_bytes: 0,
        gaps: listed.collect(),
        gap_count: gaps.len(),
        frame_rate: "declared".to_owned(),
        guessed_pictures: 0,
        decode_errors: None,
    }
}
