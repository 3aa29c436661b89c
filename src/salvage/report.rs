//! What a salvage says about itself: everything that is in the result, and everything that is not. It goes into the
//! record of the finished file.

use std::ops::Range;
use std::slice;

use super::attempt;
use super::reference::Origin;
use crate::isobmff::Movie;
pub use crate::recording::Confidence;
use crate::recording::TrackKind;
pub use crate::recording::{SalvageGap as GapReport, SalvageReport as Report, SalvagedTrack as TrackReport};

/// Most gaps that are listed one by one.
pub const MAX_LISTED_GAPS: usize = 100;

/// Bytes of so many of the largest packets in a gap are those of packets that were cut; more held as many as as many other bytes.
pub const MOST_CUT_PACKETS: u64 = 2;

/// That of a movie whose times its own headers declare; `gaps` are what no sample explains, in file order.
pub fn with_declared_times(
    movie: &Movie,
    (source, confidence): (Origin, Confidence),
    media_bytes: u64,
    gaps: &[Range<u64>],
) -> Report {
    let density = Density::of(movie);
    let listed = gaps.iter().take(MAX_LISTED_GAPS).map(|gap| {
        let lost = |kind| density.lost(kind, slice::from_ref(gap));
        let (lost_pictures, lost_audio) = (lost(TrackKind::Video), lost(TrackKind::Audio));
        let (offset, bytes, is_ambiguous) = (gap.start, gap.end - gap.start, lost_pictures + lost_audio > 0);
        GapReport { offset, bytes, lost_pictures, lost_audio, is_ambiguous, doubt_ms: 0 }
    });
    let mut tracks: Vec<TrackReport> = movie.tracks.iter().map(attempt::track_report).collect();
    for kind in [TrackKind::Video, TrackKind::Audio] {
        if let Some(first) = tracks.iter_mut().find(|track| track.kind == kind) {
            first.lost = density.lost(kind, gaps);
        }
    }
    Report {
        source,
        confidence,
        tracks,
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

/// How many packets lie in how many bytes.
struct Density {
    bytes: u64,
    largest: u64,
    pictures: u64,
    audio: u64,
}

impl Density {
    fn of(movie: &Movie) -> Self {
        let of_kind = |kind| movie.tracks.iter().filter(move |track| track.kind() == kind);
        let count = |kind| of_kind(kind).next().map_or(0, |track| track.tables.count());
        let sizes = || movie.tracks.iter().flat_map(|track| track.samples()).map(|sample| u64::from(sample.size_bytes));
        Self {
            bytes: sizes().sum(),
            largest: sizes().max().unwrap_or(0),
            pictures: count(TrackKind::Video),
            audio: count(TrackKind::Audio),
        }
    }

    /// Packets of the first track of a kind that gaps held.
    fn lost(&self, kind: TrackKind, gaps: &[Range<u64>]) -> i64 {
        let count = if kind == TrackKind::Video { self.pictures } else { self.audio };
        let long = gaps.iter().map(|gap| gap.end - gap.start).filter(|bytes| *bytes > MOST_CUT_PACKETS * self.largest);
        let lost = (u128::from(count) * u128::from(long.sum::<u64>())).checked_div(u128::from(self.bytes));
        i64::try_from(lost.unwrap_or(0)).unwrap_or(i64::MAX)
    }
}
