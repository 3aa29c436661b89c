//! Media behind the last sample that a header in front names: its writer renews the header now and then, and died between.
//!
//! The samples that the header names stay as they are. What lies behind them is walked with their own parameters and put at the
//! end of their tracks.

use std::io::{Read, Seek};
use std::ops::Range;

use super::fragments::refill::{is_found_in, refill, walk_stretch};
use super::reference::{Origin, Reference};
use super::report::{self, Confidence, Report};
use super::source::Source;
use super::{SalvageError, SalvageVerdict, Salvaged, trimmed};
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
    let by = (Origin::Media, Confidence::Medium);
    let report = report::with_declared_times(&movie, by, walked.total_bytes, &gaps);
    let report = Report { zero_tail_bytes: open.end - tail.end, ..report };
    Ok(Salvaged { movie, whole_bytes: tail.end, report, verdict: SalvageVerdict::Playable, found: Some(vec![tail]) })
}
