//! The sample tables of a track (ISO/IEC 14496-12 §8.6, §8.7), one file each, in the compact form that they have on disk.
//!
//! A reader takes a table's entries as far as its bytes go: a count that the bytes do not back is noted and clipped, so
//! no table allocates more than its box is long. Tables are not checked against each other here.

pub mod ctts;
pub mod elst;
pub mod runs;
pub mod sdtp;
pub mod stco;
pub mod stsc;
pub mod stss;
pub mod stsz;
pub mod stts;

use super::cursor::{ByteCursor, ChildBox};
use super::error::DefectLog;

/// Begins a table: version, and a cursor at the first entry with the number of entries that bytes are there for.
///
/// `entry_bytes` may depend on the version.
pub(super) fn open<'a>(
    table: &ChildBox<'a>,
    notes: &mut DefectLog,
    entry_bytes: impl Fn(u8) -> usize,
) -> Option<(u8, usize, ByteCursor<'a>)> {
    let mut cursor = ByteCursor::new(table.body);
    let (Some((version, _)), Some(count)) = (cursor.full(), cursor.u32()) else {
        notes.malformed(table.offset, format!("`{}` is shorter than its own header", table.fourcc));
        return None;
    };
    let count = backed(table, notes, count, cursor.remaining() / entry_bytes(version));
    Some((version, count, cursor))
}

/// The smaller of what a table declares and what its bytes can hold; the difference is noted.
pub(super) fn backed(table: &ChildBox<'_>, notes: &mut DefectLog, declared: u32, possible: usize) -> usize {
    let declared = usize::try_from(declared).unwrap_or(usize::MAX);
    if declared > possible {
        let detail = format!("`{}` declares {declared} entries, its bytes hold {possible}", table.fourcc);
        notes.malformed(table.offset, detail);
    }
    declared.min(possible)
}

#[cfg(test)]
mod tests;
