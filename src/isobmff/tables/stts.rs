//! `stts`: how long each sample lasts on the decoding timeline (ISO/IEC 14496-12 §8.6.1.2).

use super::runs::{ValueRun, ValueRuns};
use crate::isobmff::cursor::ChildBox;
use crate::isobmff::encode::{full_boxed, put_table};
use crate::isobmff::error::DefectLog;

/// Sample durations in units of the track's timescale.
pub type Durations = ValueRuns<u32>;

pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> Durations {
    let Some((_, count, cursor)) = super::open(table, notes, |_| 8) else { return Durations::default() };
    ValueRuns::new(cursor.entries(count).map(|[count, value]| ValueRun { count, value }).collect())
}

pub(in super::super) fn write(out: &mut Vec<u8>, durations: &Durations) {
    full_boxed(out, *b"stts", 0, 0, |out| {
        put_table(out, durations.as_slice().iter().map(|run| [run.count, run.value]));
    });
}
