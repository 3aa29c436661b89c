//! `stsc`: how many samples each chunk holds (ISO/IEC 14496-12 §8.7.4).

use crate::isobmff::cursor::ChildBox;
use crate::isobmff::encode::{full_boxed, put_table};
use crate::isobmff::error::DefectLog;

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

pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> Vec<ChunkRun> {
    let Some((_, count, cursor)) = super::open(table, notes, |_| 12) else { return Vec::new() };
    let run = |[first_chunk, samples_per_chunk, description_index]: [u32; 3]| ChunkRun {
        first_chunk,
        samples_per_chunk,
        description_index,
    };
    cursor.entries(count).map(run).collect()
}

pub(in super::super) fn write(out: &mut Vec<u8>, runs: &[ChunkRun]) {
    full_boxed(out, *b"stsc", 0, 0, |out| {
        put_table(out, runs.iter().map(|run| [run.first_chunk, run.samples_per_chunk, run.description_index]));
    });
}
