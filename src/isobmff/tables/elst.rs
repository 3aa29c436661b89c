//! `elst`: how the media timeline is presented (ISO/IEC 14496-12 §8.6.6).

use crate::isobmff::cursor::ChildBox;
use crate::isobmff::encode::{boxed, full_boxed, put_count, put_u32, put_u64, put_wide, version_for};
use crate::isobmff::error::DefectLog;

/// Normal speed, 16.16 fixed point.
pub const RATE_ONE: u32 = 0x0001_0000;

/// One entry of an edit list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// How long it lasts, in units of the movie's timescale; 0 in a fragmented file means "to the end".
    pub segment_duration: u64,
    /// Where in the media it begins, in units of the track's timescale; `None` is an empty edit (stored as −1).
    pub media_time: Option<u64>,
    /// Speed, 16.16 fixed point as stored.
    pub rate: u32,
}

impl Edit {
    /// Nothing is presented for `segment_duration`.
    pub const fn empty(segment_duration: u64) -> Self {
        Self { segment_duration, media_time: None, rate: RATE_ONE }
    }

    /// The media from `media_time` on, at normal speed.
    pub const fn media(segment_duration: u64, media_time: u64) -> Self {
        Self { segment_duration, media_time: Some(media_time), rate: RATE_ONE }
    }
}

pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> Vec<Edit> {
    let entry_bytes = |version| if version == 0 { 12 } else { 20 };
    let Some((version, count, mut cursor)) = super::open(table, notes, entry_bytes) else { return Vec::new() };
    let is_none = |time: u64| if version == 0 { time == u64::from(u32::MAX) } else { time == u64::MAX };
    let entry = |_| {
        let segment_duration = cursor.wide(version)?;
        let media_time = Some(cursor.wide(version)?).filter(|time| !is_none(*time));
        Some(Edit { segment_duration, media_time, rate: cursor.u32()? })
    };
    (0..count).map_while(entry).collect()
}

/// Writes `edts` with its `elst`; nothing for an empty list.
pub(in super::super) fn write(out: &mut Vec<u8>, edits: &[Edit]) {
    if edits.is_empty() {
        return;
    }
    // The media time is signed and the largest 32-bit value is −1, so version 0 holds one bit less.
    let doubled: Vec<u64> = edits.iter().filter_map(|e| e.media_time).map(|time| time.saturating_mul(2)).collect();
    let durations: Vec<u64> = edits.iter().map(|e| e.segment_duration).collect();
    let version = version_for(&doubled).max(version_for(&durations));
    boxed(out, *b"edts", |out| {
        full_boxed(out, *b"elst", version, 0, |out| {
            put_count(out, edits.len());
            for edit in edits {
                write_entry(out, version, edit);
            }
        });
    });
}

fn write_entry(out: &mut Vec<u8>, version: u8, edit: &Edit) {
    put_wide(out, version, edit.segment_duration);
    match (edit.media_time, version) {
        (Some(time), _) => put_wide(out, version, time),
        (None, 0) => put_u32(out, u32::MAX),
        (None, _) => put_u64(out, u64::MAX),
    }
    put_u32(out, edit.rate);
}
