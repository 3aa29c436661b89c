//! `trex`: what the samples of a track's fragments are unless a fragment says otherwise (ISO/IEC 14496-12 §8.8.3).

use crate::isobmff::cursor::{ByteCursor, ChildBox, children_of};
use crate::isobmff::encode::{boxed, full_boxed, put_u32, put_wide, version_for};
use crate::isobmff::error::DefectLog;
use crate::isobmff::movie::MAX_TRACKS;

/// Defaults of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct FragmentDefaults {
    pub(in super::super) track_id: u32,
    pub(in super::super) description_index: u32,
    pub(in super::super) duration: u32,
    pub(in super::super) size_bytes: u32,
    pub(in super::super) flags: u32,
}

/// Reads the `trex` boxes in `mvex`.
pub(in super::super) fn read(mvex: &ChildBox<'_>, notes: &mut DefectLog) -> Vec<FragmentDefaults> {
    let mut defaults = Vec::new();
    for trex in children_of(mvex).filter(|b| b.fourcc.0 == *b"trex").take(MAX_TRACKS) {
        match read_one(trex.body) {
            Some(found) => defaults.push(found),
            None => notes.malformed(trex.offset, "`trex` is too short (§8.8.3)"),
        }
    }
    defaults
}

fn read_one(body: &[u8]) -> Option<FragmentDefaults> {
    let mut cursor = ByteCursor::new(body);
    cursor.full()?;
    Some(FragmentDefaults {
        track_id: cursor.u32()?,
        description_index: cursor.u32()?,
        duration: cursor.u32()?,
        size_bytes: cursor.u32()?,
        flags: cursor.u32()?,
    })
}

/// Writes `mvex` (§8.8.1): how long all fragments are together, in ticks of the movie, and a `trex` for each track that says nothing but
/// that the first description counts.
pub(in super::super) fn write(out: &mut Vec<u8>, duration: u64, track_ids: impl Iterator<Item = u32>) {
    boxed(out, *b"mvex", |out| {
        let version = version_for(&[duration]);
        full_boxed(out, *b"mehd", version, 0, |out| put_wide(out, version, duration));
        for id in track_ids {
            full_boxed(out, *b"trex", 0, 0, |out| [id, 1, 0, 0, 0].into_iter().for_each(|field| put_u32(out, field)));
        }
    });
}
