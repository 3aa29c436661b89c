//! `stco` and `co64`: where each chunk begins, in bytes from the start of the file (ISO/IEC 14496-12 §8.7.5).

use crate::isobmff::cursor::Child;
use crate::isobmff::encode::{full_boxed, put_count, put_u64, put_wide, version_for};
use crate::isobmff::error::Notes;

pub(in super::super) fn read(table: &Child<'_>, notes: &mut Notes) -> Vec<u64> {
    let is_wide = table.fourcc.0 == *b"co64";
    let entry_bytes = if is_wide { 8 } else { 4 };
    let Some((_, count, mut cursor)) = super::open(table, notes, |_| entry_bytes) else { return Vec::new() };
    (0..count).map_while(|_| cursor.wide(u8::from(is_wide))).collect()
}

/// Writes `stco`, or `co64` where an offset does not fit into 32 bits.
pub(in super::super) fn write(out: &mut Vec<u8>, offsets: &[u64]) {
    if version_for(offsets) == 0 { write_narrow(out, offsets) } else { write_wide(out, offsets) }
}

fn write_narrow(out: &mut Vec<u8>, offsets: &[u64]) {
    full_boxed(out, *b"stco", 0, 0, |out| {
        put_count(out, offsets.len());
        for offset in offsets {
            put_wide(out, 0, *offset);
        }
    });
}

/// Writes `co64` whatever the offsets are.
pub(in super::super) fn write_wide(out: &mut Vec<u8>, offsets: &[u64]) {
    full_boxed(out, *b"co64", 0, 0, |out| {
        put_count(out, offsets.len());
        for offset in offsets {
            put_u64(out, *offset);
        }
    });
}
