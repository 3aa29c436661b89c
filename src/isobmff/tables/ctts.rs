//! `ctts`: from decoding to composition time (ISO/IEC 14496-12 §8.6.1.3).
//!
//! Version 0 is unsigned by the standard, but QuickTime and many recorders write negative offsets into it; like every
//! player, the reader takes both versions as signed.

use super::runs::{ValueRun, ValueRuns};
use crate::isobmff::cursor::ChildBox;
use crate::isobmff::encode::{full_boxed, put_table};
use crate::isobmff::error::DefectLog;

/// Composition offsets in units of the track's timescale.
pub type CompositionOffsets = ValueRuns<i32>;

pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> CompositionOffsets {
    let Some((_, count, cursor)) = super::open(table, notes, |_| 8) else { return ValueRuns::default() };
    let entry = |[count, value]: [u32; 2]| ValueRun { count, value: value.cast_signed() };
    ValueRuns::new(cursor.entries(count).map(entry).collect())
}

/// Whether the table needs version 1, and its file a brand of `iso4` or later.
pub fn has_negative(offsets: &CompositionOffsets) -> bool {
    offsets.as_slice().iter().any(|run| run.value < 0)
}

pub(in super::super) fn write(out: &mut Vec<u8>, offsets: &CompositionOffsets) {
    full_boxed(out, *b"ctts", u8::from(has_negative(offsets)), 0, |out| {
        put_table(out, offsets.as_slice().iter().map(|run| [run.count, run.value.cast_unsigned()]));
    });
}
