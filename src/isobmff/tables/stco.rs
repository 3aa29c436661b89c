//! `stco` and `co64`: where each chunk begins, in bytes from the start of the file (ISO/IEC 14496-12 §8.7.5).

use crate::isobmff::cursor::ChildBox;
use crate::isobmff::encode::{full_boxed, put_table, version_for};
use crate::isobmff::error::DefectLog;

pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> Vec<u64> {
    let is_wide = table.fourcc.0 == *b"co64";
    let entry_bytes = if is_wide { 8 } else { 4 };
    let Some((_, count, cursor)) = super::open(table, notes, |_| entry_bytes) else { return Vec::new() };
    if is_wide {
        let offset = |[high, low]: [u32; 2]| u64::from(high) << 32 | u64::from(low);
        return cursor.entries(count).map(offset).collect();
    }
    cursor.entries(count).map(|[offset]| u64::from(offset)).collect()
}

/// Writes `stco`, or `co64` where an offset does not fit into 32 bits.
pub(in super::super) fn write(out: &mut Vec<u8>, offsets: &[u64]) {
    if version_for(offsets) == 0 { write_narrow(out, offsets) } else { write_wide(out, offsets) }
}

fn write_narrow(out: &mut Vec<u8>, offsets: &[u64]) {
    full_boxed(out, *b"stco", 0, 0, |out| {
        put_table(out, offsets.iter().map(|offset| [u32::try_from(*offset).unwrap_or(u32::MAX)]));
    });
}

fn words(offset: u64) -> [u32; 2] {
    [offset >> 32, offset & u64::from(u32::MAX)].map(|word| u32::try_from(word).unwrap_or(u32::MAX))
}

/// Writes `co64` whatever the offsets are.
pub(in super::super) fn write_wide(out: &mut Vec<u8>, offsets: &[u64]) {
    full_boxed(out, *b"co64", 0, 0, |out| {
        put_table(out, offsets.iter().map(|offset| words(*offset)));
    });
}
