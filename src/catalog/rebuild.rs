//! Putting back what was made again from the files on disk (`catalog rebuild`).
//!
//! Assumes the records were made as a finished recording's are, so that their ids are the old ones. What the catalogue still
//! knows wins: remote copies and deliveries cannot be read from a disk.

use super::error::{CatalogError, Result};
use super::opened::Catalog;
use super::records::add_vod;
use super::tree::TreeId;
use crate::recording::VodRecord;

const BATCH: usize = 100;

/// What a rebuild changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MergeCounts {
    /// VoDs that were missing.
    pub added: usize,
    /// VoDs that were there; their records stay as they are.
    pub kept: usize,
    /// VoDs whose stored record could not be read and was replaced.
    pub replaced: usize,
}

impl Catalog {
    /// Adds the records that are missing; durable on return. Of records there already, only the index rows are made again.
    pub fn merge_rebuilt(&self, records: &[VodRecord]) -> Result<MergeCounts> {
        let mut merged = MergeCounts::default();
        let mut mergeable = Vec::with_capacity(records.len());
        let records: Vec<_> = records.iter().cloned().map(|record| self.with_notes(record)).collect();
        for record in &records {
            match self.shared().vod(&record.vod_id) {
                Ok(None) => merged.added += 1,
                Ok(Some(_)) => merged.kept += 1,
                Err(CatalogError::NewerRow { .. }) => {
                    merged.kept += 1;
                    continue;
                }
                Err(CatalogError::Unreadable { .. }) => {
                    self.store().transact(|tx| tx.remove(TreeId::Vods, &record.vod_id))?;
                    merged.replaced += 1;
                }
                Err(other) => return Err(other),
            }
            mergeable.push(record);
        }
        for batch in mergeable.chunks(BATCH) {
            self.store().transact(|tx| {
                batch.iter().try_for_each(|record| {
                    let known = tx.read::<VodRecord>(TreeId::Vods, &record.vod_id)?;
                    add_vod(tx, known.as_ref().unwrap_or(record)).map(drop)
                })
            })?;
        }
        self.store().flush("catalogue rebuilt")?;
        Ok(merged)
    }
}
