//! `sdtp`: what each sample depends on, one byte per sample (ISO/IEC 14496-12 §8.6.4).

use crate::isobmff::cursor::ChildBox;
use crate::isobmff::encode::full_boxed;
use crate::isobmff::error::DefectLog;

/// `is_leading`, `sample_depends_on`, `sample_is_depended_on`, `sample_has_redundancy`: two bits each.
pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> Vec<u8> {
    let Some(entries) = table.body.get(4..) else {
        notes.malformed(table.offset, "`sdtp` is shorter than its own header");
        return Vec::new();
    };
    entries.to_vec()
}

pub(in super::super) fn write(out: &mut Vec<u8>, entries: &[u8]) {
    full_boxed(out, *b"sdtp", 0, 0, |out| out.extend(entries));
}
