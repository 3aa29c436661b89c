//! `dref`: which file a track's samples lie in (ISO/IEC 14496-12 §8.7.2).

use crate::isobmff::cursor::{ByteCursor, ChildBox, children};

/// Flag of an entry whose data is in the same file.
const SELF_CONTAINED: u32 = 1;
/// Version, flags and entry count in front of the entries.
const HEADER_BYTES: usize = 8;

/// For each entry, whether it means this file.
pub(in super::super) fn read(table: &ChildBox<'_>) -> Vec<bool> {
    let entries = table.body.get(HEADER_BYTES..).unwrap_or_default();
    children(entries, 0)
        .map(|entry| ByteCursor::new(entry.body).full().is_none_or(|(_, flags)| flags & SELF_CONTAINED != 0))
        .collect()
}

/// `dinf` with one self-contained entry.
pub(in super::super) const SELF_CONTAINED_DINF: [u8; 36] =
    *b"\0\0\0\x24dinf\0\0\0\x1Cdref\0\0\0\0\0\0\0\x01\0\0\0\x0Curl \0\0\0\x01";
