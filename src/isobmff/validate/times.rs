//! When samples are due: tables of equal length, sync samples in order, no jumps, durations as declared.

use super::MeasuredTrack;
use crate::isobmff::error::MAX_NOTES;
use crate::isobmff::timeline;
use crate::isobmff::track::{Track, rescaled, saturating_i64};
use crate::recording::{Defect, TrackKind, TrackSpan};

/// How far a declared duration may be off before it is a defect, milliseconds.
pub const DURATION_TOLERANCE_MS: i64 = 1000;
/// A sample that lasts longer than this is a jump in the timeline, milliseconds.
pub const GAP_MS: i64 = 1000;

/// Defects of one track's time tables.
pub(super) fn defects(measured: &MeasuredTrack<'_>, number: u32) -> Vec<Defect> {
    let track = measured.track;
    let tables = &track.tables;
    let malformed = |detail: String| Defect::Malformed { offset: None, detail: format!("track {number}: {detail}") };
    let mut defects = Vec::new();
    let samples = tables.count();
    let timed = tables.durations.count();
    if timed != samples {
        defects.push(malformed(format!("`stts` times {timed} samples of {samples} (§8.6.1.2)")));
    }
    if let Some(composed) =
        tables.compositions.as_ref().map(super::super::tables::runs::ValueRuns::count).filter(|count| *count != samples)
    {
        defects.push(malformed(format!("`ctts` composes {composed} samples of {samples} (§8.6.1.3)")));
    }
    if let Some(sync) = &tables.sync {
        let is_outside = |number: &u32| *number == 0 || u64::from(*number) > samples;
        if sync.windows(2).any(|pair| pair[0] >= pair[1]) {
            defects.push(malformed("`stss` is not in ascending order (§8.6.2)".into()));
        } else if sync.iter().any(is_outside) {
            defects.push(malformed("`stss` names a sample that does not exist (§8.6.2)".into()));
        }
    }
    defects.extend(media_duration(measured, number));
    defects.extend(gaps(track, number));
    defects
}

/// `mdhd` against `stts`; a writer that does not know leaves 0.
fn media_duration(MeasuredTrack { track, extent, .. }: &MeasuredTrack<'_>, number: u32) -> Option<Defect> {
    let declared = ms(track, saturating_i64(track.media.duration));
    let measured = ms(track, extent.as_ref()?.end_dts);
    let is_off = track.media.duration > 0 && (declared - measured).abs() > DURATION_TOLERANCE_MS;
    let detail = format!("track {number}: `mdhd` says {declared} ms, `stts` {measured} ms (§8.4.2)");
    is_off.then_some(Defect::Malformed { offset: None, detail })
}

/// Where a track lies on the decoding timeline, from which the places of gaps count.
pub(super) fn span(MeasuredTrack { track, extent, .. }: &MeasuredTrack<'_>, number: u32) -> Option<TrackSpan> {
    let to_ms = ms(track, extent.as_ref()?.end_dts);
    let packets = track.tables.count();
    Some(TrackSpan { track: number, kind: track.kind(), packets, origin_ms: 0, from_ms: 0, to_ms })
}

fn gaps(track: &Track, number: u32) -> Vec<Defect> {
    if !matches!(track.kind(), TrackKind::Video | TrackKind::Audio) {
        return Vec::new();
    }
    let least = GAP_MS.saturating_mul(i64::from(track.timescale())) / 1000;
    let found = timeline::gaps(&track.tables, least, MAX_NOTES).into_iter();
    found
        .map(|gap| Defect::TimestampGap { track: number, at_ms: ms(track, gap.at), length_ms: ms(track, gap.length) })
        .collect()
}

/// `mvhd` against the samples.
pub(super) fn duration_mismatch(declared_ms: Option<i64>, measured_ms: i64) -> Option<Defect> {
    let declared_ms = declared_ms?;
    let is_off = (declared_ms - measured_ms).abs() > DURATION_TOLERANCE_MS;
    is_off.then_some(Defect::DurationMismatch { declared_ms, measured_ms })
}

/// Ticks of a track as milliseconds, rounded to nearest.
pub(super) fn ms(track: &Track, ticks: i64) -> i64 {
    let magnitude = saturating_i64(rescaled(ticks.unsigned_abs(), 1000, u64::from(track.timescale())));
    if ticks < 0 { -magnitude } else { magnitude }
}
