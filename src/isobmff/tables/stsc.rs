//! `stsc`: how many samples each chunk holds (ISO/IEC 14496-12 §8.7.4).

use crate::isobmff::cursor::Child;
use crate::isobmff::encode::{full_boxed, put_count, put_u32};
use crate::isobmff::error::Notes;

/// Consecutive chunks with the same number of samples and the same sample description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRun {
    /// Number of the first chunk of the run, starting at 1; the run ends where the next one begins.
    pub first_chunk: u32,
    /// Samples in each chunk.
    pub samples_per_chunk: u32,
    /// Which entry of `stsd` describes them, starting at 1.
    pub description_index: u32,
}

pub(in super::super) fn read(table: &Child<'_>, notes: &mut Notes) -> Vec<ChunkRun> {
    let Some((_, count, mut cursor)) = super::open(table, notes, |_| 12) else { return Vec::new() };
    let entry = |_| {
        Some(ChunkRun {
            first_chunk: cursor.u32()?,
            samples_per_chunk: cursor.u32()?,
            description_index: cursor.u32()?,
        })
    };
    (0..count).map_while(entry).collect()
}

pub(in super::super) fn write(out: &mut Vec<u8>, runs: &[ChunkRun]) {
    full_boxed(out, *b"stsc", 0, 0, |out| {
        put_count(out, runs.len());
        for run in runs {
            put_u32(out, run.first_chunk);
            put_u32(out, run.samples_per_chunk);
            put_u32(out, run.description_index);
        }
    });
}
