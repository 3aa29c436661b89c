//! Marks of records that a replica of the catalogue has not been told about: which ones, and with which revision.
//!
//! A mark is written in the transaction that changes the record, so that none is forgotten, whoever changes it and whether the
//! replica can be reached or not. There is at most one for each record: a replica that is away costs a row for each record that
//! was changed meanwhile. Nothing is marked as long as there is no replica.

use std::ops::Bound;

use super::error::{CatalogError, Result};
use super::log::number;
use super::shared::SharedCatalog;
use super::store::{LAST_REVISION_KEY, REPLICATED_KEY};
use super::tree::TreeId;
use crate::recording::VodRecord;

/// Records that are marked in one transaction.
const BATCH: usize = 1_000;

/// A record that a replica is to be told about.
#[derive(Debug)]
pub struct MarkedVod {
    /// Id of the VoD.
    pub vod_id: String,
    /// Revision of the record; later changes have greater ones.
    pub revision: u64,
    /// The record as it is now, `None` if it was deleted, or why it cannot be read.
    pub record: std::result::Result<Option<VodRecord>, CatalogError>,
}

impl SharedCatalog {
    /// From now on every record that changes is marked, also by other processes that open the catalogue later. Writes nothing where
    /// that is so already.
    pub fn begin_replica(&self) -> Result<()> {
        if self.has_replica()? {
            return Ok(());
        }
        self.store().transact(|tx| tx.put(TreeId::Meta, REPLICATED_KEY, b"yes"))?;
        self.store().mark_changes(true);
        self.store().flush("replica begun")
    }

    /// Whether records that change are marked.
    pub fn has_replica(&self) -> Result<bool> {
        Ok(self.store().get(TreeId::Meta, REPLICATED_KEY)?.is_some())
    }

    /// From now on no record is marked, and no mark is left.
    pub fn end_replica(&self) -> Result<()> {
        self.store().mark_changes(false);
        self.store().transact(|tx| tx.remove(TreeId::Meta, REPLICATED_KEY))?;
        loop {
            let rows = self.store().prefix(TreeId::Replica, b"")?.take(BATCH).collect::<Result<Vec<_>>>()?;
            if rows.is_empty() {
                return Ok(());
            }
            self.store().transact(|tx| rows.iter().try_for_each(|(id, _)| tx.remove(TreeId::Replica, id)))?;
        }
    }

    /// Revision of the last change that was marked.
    pub fn last_revision(&self) -> Result<u64> {
        self.store().number(LAST_REVISION_KEY)
    }

    /// Marks every record. All of these marks have greater revisions than the one returned.
    pub fn mark_all(&self) -> Result<u64> {
        let before = self.last_revision()?;
        let mut records = self.store().prefix(TreeId::Vods, b"")?.map(|row| row.map(|(id, _)| Box::<[u8]>::from(&*id)));
        loop {
            let ids = records.by_ref().take(BATCH).collect::<Result<Vec<_>>>()?;
            if ids.is_empty() {
                return Ok(before);
            }
            self.store().transact(|tx| tx.mark(&ids))?;
        }
    }

    /// Marked records behind an id in the order of ids, at most so many. What is read is durable: a power cut takes back no change that a replica was told about.
    pub fn marked(&self, after: &str, limit: usize) -> Result<Vec<MarkedVod>> {
        let bounds = (Bound::Excluded(after.as_bytes().to_vec()), Bound::Unbounded);
        let rows = self.store().range(TreeId::Replica, bounds)?.take(limit).collect::<Result<Vec<_>>>()?;
        let mut marked = Vec::with_capacity(rows.len());
        for (id, revision) in rows {
            let record = match self.store().read::<VodRecord>(TreeId::Vods, &id) {
                Err(error @ (CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. })) => Err(error),
                read => Ok(read?),
            };
            let vod_id = String::from_utf8_lossy(&id).into_owned();
            marked.push(MarkedVod { vod_id, revision: number(&revision).unwrap_or(0), record });
        }
        // A record may be newer than its mark; so is then the last revision.
        if !marked.is_empty() && self.store().durable_revision() < self.last_revision()? {
            self.store().flush("changes read")?;
        }
        Ok(marked)
    }

    /// Removes marks of which a replica was told, except those of records that have changed since. Not flushed: what a crash
    /// brings back is told again, under the same revision.
    pub fn unmark(&self, told: &[(String, u64)]) -> Result<()> {
        self.store().transact(|tx| {
            for (id, revision) in told {
                if tx.get(TreeId::Replica, id)?.and_then(|mark| number(&mark)) == Some(*revision) {
                    tx.remove(TreeId::Replica, id)?;
                }
            }
            Ok(())
        })
    }

    /// How many records are marked. Reads keys only, but all of them.
    pub fn count_marked(&self) -> Result<u64> {
        self.store().prefix(TreeId::Replica, b"")?.try_fold(0, |count, row| row.map(|_| count + 1))
    }
}
