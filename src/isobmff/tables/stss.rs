//! `stss`: which samples are sync samples (ISO/IEC 14496-12 §8.6.2). Without the table, all are.

use crate::isobmff::cursor::ChildBox;
use crate::isobmff::encode::{full_boxed, put_table};
use crate::isobmff::error::DefectLog;

/// Sample numbers, starting at 1, in ascending order if the file is sound.
pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> Vec<u32> {
    let Some((_, count, cursor)) = super::open(table, notes, |_| 4) else { return Vec::new() };
    cursor.entries(count).map(|[number]| number).collect()
}

pub(in super::super) fn write(out: &mut Vec<u8>, numbers: &[u32]) {
    full_boxed(out, *b"stss", 0, 0, |out| {
        put_table(out, numbers.iter().map(|number| [*number]));
    });
}
