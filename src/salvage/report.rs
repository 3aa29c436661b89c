//! What a salvage says about itself: everything that is in the result, and everything that is not. It goes into the
//! record of the finished file.

use std::ops::Range;

use super::attempt;
use super::reference::Origin;
use crate::isobmff::Movie;
pub use crate::recording::Confidence;
pub use crate::recording::{SalvageGap as GapReport, SalvageReport as Report, SalvagedTrack as TrackReport};

/// Most gaps that are listed one by one.
pub const MAX_LISTED_GAPS: usize = 100;

/// That of a movie whose times its own headers declare; `gaps` are what no sample explains, in file order.
pub fn with_declared_times(
    movie: &Movie,
    (source, confidence): (Origin, Confidence),
    media_bytes: u64,
    gaps: &[Range<u64>],
) -> Report {
    let listed = gaps.iter().take(MAX_LISTED_GAPS).map(|gap| GapReport {
        offset: gap.start,
        bytes: gap.end - gap.start,
        lost_pictures: 0,
        lost_audio: 0,
        is_ambiguous: false,
        doubt_ms: 0,
    });
    Report {
        source,
        confidence,
        tracks: movie.tracks.iter().map(attempt::track_report).collect(),
        media_bytes,
        unexplained_bytes: gaps.iter().map(|gap| gap.end - gap.start).sum(),
        zero_tail_bytes: 0,
        gaps: listed.collect(),
        gap_count: gaps.len(),
        frame_rate: "declared".to_owned(),
        guessed_pictures: 0,
        decode_errors: None,
    }
}
