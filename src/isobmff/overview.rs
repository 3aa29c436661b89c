//! What the sample tables of a track look like: how many entries each has, for people who want to see what a writer did.

use super::tables::stsz::SampleSizes;
use super::track::Track;

/// The tables of one track in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOverview {
    /// Entries of `stts` (ISO/IEC 14496-12 §8.6.1.2): 1 where every sample lasts equally long.
    pub time_runs: usize,
    /// Entries of `ctts` (§8.6.1.3), if there is one.
    pub composition_runs: Option<usize>,
    /// Entries of `stss` (§8.6.2); `None`: every sample is a sync sample.
    pub sync_samples: Option<usize>,
    /// Entries of `stsc` (§8.7.4).
    pub chunk_runs: usize,
    /// Entries of `stco` or `co64` (§8.7.5).
    pub chunks: usize,
    /// The size of all samples in bytes, if they have one and the same (§8.7.3).
    pub constant_size_bytes: Option<u32>,
    /// Entries of `elst` (§8.6.6).
    pub edits: usize,
    /// Entries of `stsd` (§8.5.2).
    pub descriptions: usize,
    /// Whether its samples lie in another file (§8.7.2).
    pub is_external: bool,
}

impl Track {
    /// Its tables in numbers.
    pub fn overview(&self) -> TableOverview {
        let tables = &self.tables;
        TableOverview {
            time_runs: tables.durations.as_slice().len(),
            composition_runs: tables.compositions.as_ref().map(|runs| runs.as_slice().len()),
            sync_samples: tables.sync.as_ref().map(Vec::len),
            chunk_runs: tables.chunk_runs.len(),
            chunks: tables.chunk_offsets.len(),
            constant_size_bytes: match tables.sizes {
                SampleSizes::Constant { size_bytes, .. } => Some(size_bytes),
                SampleSizes::List(_) => None,
            },
            edits: self.edits.len(),
            descriptions: self.descriptions.entries().len(),
            is_external: self.is_external(),
        }
    }
}
