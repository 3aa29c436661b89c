//! What a record says of a track.

use super::MeasuredTrack;
use super::times::ms;
use crate::isobmff::timeline;
use crate::isobmff::track::Track;
use crate::recording::{TrackKind, TrackSummary};

/// Summary of one track; its digest is not filled in.
pub(super) fn track(measured: &MeasuredTrack<'_>, movie_timescale: u32) -> TrackSummary {
    let track = measured.track;
    let tables = &track.tables;
    let extent = measured.extent.unwrap_or_default();
    let kind = track.kind();
    let dimensions = track.entry().and_then(|e| e.dimensions).filter(|_| kind == TrackKind::Video);
    let interval = timeline::longest_sync_interval(tables).filter(|_| kind == TrackKind::Video);
    TrackSummary {
        kind,
        codec: track.codec(),
        packets: tables.count(),
        bytes: tables.sizes.sum(0..tables.count()),
        duration_ms: ms(track, extent.end_pts.saturating_sub(extent.first_pts)),
        start_ms: start_ms(measured, movie_timescale).unwrap_or(0),
        width: dimensions.map(|(width, _)| u32::from(width)),
        height: dimensions.map(|(_, height)| u32::from(height)),
        frame_rate: frame_rate(track, extent.end_dts).filter(|_| kind == TrackKind::Video),
        keyframe_interval_ms: interval.map(|ticks| ms(track, ticks)),
        sample_rate_hz: track.entry().and_then(|e| e.sample_rate_hz),
        channels: track.entry().and_then(|e| e.channels),
        language: track.media.language(),
        digest: None,
    }
}

/// Mean samples per second.
fn frame_rate(track: &Track, ticks: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a mean for people to read")]
    let rate = track.tables.count() as f64 * f64::from(track.timescale()) / ticks as f64;
    (ticks > 0).then_some((rate * 1000.0).round() / 1000.0)
}

/// When the first sample is presented, milliseconds; what an edit list cuts off does not count below 0.
pub(super) fn start_ms(MeasuredTrack { track, extent, .. }: &MeasuredTrack<'_>, movie_timescale: u32) -> Option<i64> {
    let extent = extent.as_ref()?;
    Some(ms(track, extent.first_pts.saturating_add(track.presentation_shift(movie_timescale))).max(0))
}

/// When the last sample ends, milliseconds.
pub(super) fn end_ms(MeasuredTrack { track, extent, .. }: &MeasuredTrack<'_>, movie_timescale: u32) -> Option<i64> {
    let extent = extent.as_ref()?;
    Some(ms(track, extent.end_pts.saturating_add(track.presentation_shift(movie_timescale))).max(0))
}
