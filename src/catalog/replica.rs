//! Marks of records that a replica of the catalogue has not been told about: which ones, and with which revision.
//!
//! A mark is written in the transaction that changes the record, so that none is forgotten, whoever changes it and whether the
//! replica can be reached or not. There is at most one for each record: a replica that is away costs a row for each record that
//! was changed meanwhile and is still there, or was told of before. Nothing is marked as long as there is no replica.
//!
//! A mark is a revision, with one byte more as long as the replica cannot know the record: such a mark goes with its record. The byte
//! is taken away before the record is told.

use std::ops::Bound;

use serde_json::Value;
use sled::IVec;

use super::error::{CatalogError, Result};
use super::log::number;
use super::shared::SharedCatalog;
use super::store::{ChangedRecord, LAST_REVISION_KEY, REPLICATED_KEY, Tx, TxAbort};
use super::tree::TreeId;
use crate::recording::VodRecord;

/// Records that are marked in one transaction.
const BATCH: usize = 1_000;
const REVISION_BYTES: usize = size_of::<u64>();
/// Marks that are counted at most.
const MOST_COUNTED: usize = 10_000;

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
        for tree in [TreeId::Replica, TreeId::Taught] {
            loop {
                let rows = self.store().prefix(tree, b"")?.take(BATCH).collect::<Result<Vec<_>>>()?;
                if rows.is_empty() {
                    break;
                }
                self.store().transact(|tx| rows.iter().try_for_each(|(id, _)| tx.remove(tree, id)))?;
            }
        }
        Ok(())
    }

    /// Marks every stream whose codec configuration is remembered.
    pub fn mark_streams(&self) -> Result<()> {
        let mut streams = self.store().prefix(TreeId::Codecs, b"")?.map(|row| row.map(|(stream, _)| stream));
        loop {
            let some = streams.by_ref().take(BATCH).collect::<Result<Vec<_>>>()?;
            if some.is_empty() {
                return Ok(());
            }
            self.store().transact(|tx| some.iter().try_for_each(|stream| tx.put(TreeId::Taught, stream, b"")))?;
        }
    }

    /// Streams whose codec configuration a replica has not been told about, with what is remembered of them; at most so many.
    pub fn marked_streams(&self, most: usize) -> Result<Vec<(String, Option<Value>)>> {
        let rows = self.store().prefix(TreeId::Taught, b"")?.take(most).collect::<Result<Vec<_>>>()?;
        let read = |(stream, _): (IVec, IVec)| {
            let remembered: Result<Option<Value>> = self.store().read(TreeId::Codecs, &stream);
            Ok((String::from_utf8_lossy(&stream).into_owned(), remembered.or_else(unreadable_is_none)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// Removes the marks of streams of which a replica was told, except where something was learned since.
    pub fn unmark_streams(&self, told: &[(String, Option<Value>)]) -> Result<()> {
        self.store().transact(|tx| {
            for (stream, then) in told {
                let now = match tx.read::<Value>(TreeId::Codecs, stream) {
                    Err(TxAbort::Abort(_)) => None,
                    read => read?,
                };
                if now == *then {
                    tx.remove(TreeId::Taught, stream)?;
                }
            }
            Ok(())
        })
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
            let ids = records.by_ref().take(BATCH).map(|id| id.map(|id| (id, true))).collect::<Result<Vec<_>>>()?;
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
        self.count_as_told(&rows)?;
        let mut marked = Vec::with_capacity(rows.len());
        for (id, mark) in rows {
            let record = match self.store().read::<VodRecord>(TreeId::Vods, &id) {
                Err(error @ (CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. })) => Err(error),
                read => Ok(read?),
            };
            let vod_id = String::from_utf8_lossy(&id).into_owned();
            marked.push(MarkedVod { vod_id, revision: revision_of(&mark).unwrap_or(0), record });
        }
        if !marked.is_empty() {
            self.flush_what_was_read()?;
        }
        Ok(marked)
    }

    /// A record with the revision of its mark, to be told beside the marks; 0 if the replica was told of it as it is. What is read is durable.
    pub fn with_revision(&self, vod_id: &str) -> Result<Option<(VodRecord, u64)>> {
        let mark = self.store().get(TreeId::Replica, vod_id)?;
        if let Some(mark) = &mark {
            self.count_as_told(&[(IVec::from(vod_id), mark.clone())])?;
        }
        let Some(record) = self.vod(vod_id)? else { return Ok(None) };
        self.flush_what_was_read()?;
        Ok(Some((record, mark.and_then(|mark| revision_of(&mark)).unwrap_or(0))))
    }

    /// A record may be newer than its mark; so is then the last revision.
    fn flush_what_was_read(&self) -> Result<()> {
        let is_durable = self.store().durable_revision() >= self.last_revision()?;
        if is_durable { Ok(()) } else { self.store().flush("changes read") }
    }

    /// From now on the replica may know every record that is marked: it was told of some without this catalogue having noted that.
    pub fn count_all_as_told(&self) -> Result<()> {
        let mut rows = self.store().prefix(TreeId::Replica, b"")?;
        loop {
            let some = rows.by_ref().take(BATCH).collect::<Result<Vec<_>>>()?;
            if some.is_empty() {
                return Ok(());
            }
            self.count_as_told(&some)?;
        }
    }

    /// From now on the replica may know these records. What a crash takes back of that is known by the batch that the replica has and
    /// that was not noted.
    fn count_as_told(&self, rows: &[(IVec, IVec)]) -> Result<()> {
        let unknown: Vec<_> = rows.iter().filter(|(_, mark)| is_unknown(mark)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        self.store().transact(|tx| {
            for (id, mark) in &unknown {
                if tx.get(TreeId::Replica, id)?.as_ref() == Some(mark) {
                    tx.put(TreeId::Replica, id, &mark[..REVISION_BYTES])?;
                }
            }
            Ok(())
        })
    }

    /// Removes marks of which a replica was told, except those of records that have changed since. Not flushed: what a crash
    /// brings back is told again, under the same revision.
    pub fn unmark(&self, told: &[(String, u64)]) -> Result<()> {
        self.store().transact(|tx| {
            for (id, revision) in told {
                if tx.get(TreeId::Replica, id)?.and_then(|mark| revision_of(&mark)) == Some(*revision) {
                    tx.remove(TreeId::Replica, id)?;
                }
            }
            Ok(())
        })
    }

    /// How many records are marked, up to 10,000: whoever asks often must not read all of them each time.
    pub fn count_marked(&self) -> Result<u64> {
        let marked = self.store().prefix(TreeId::Replica, b"")?.take(MOST_COUNTED);
        marked.into_iter().try_fold(0, |count, row| row.map(|_| count + 1))
    }
}

/// The mark of a record.
fn mark_of(revision: u64, is_unknown: bool) -> Vec<u8> {
    let mut mark = revision.to_be_bytes().to_vec();
    mark.resize(REVISION_BYTES + usize::from(is_unknown), 0);
    mark
}

/// Whether the replica cannot know the record that is marked so.
fn is_unknown(mark: &[u8]) -> bool {
    mark.len() > REVISION_BYTES
}

fn revision_of(mark: &[u8]) -> Option<u64> {
    number(mark.get(..REVISION_BYTES)?)
}

impl Tx<'_> {
    /// Marks records for a replica, each with a revision of its own. One that appeared since the replica was told last is none that it
    /// knows: if it goes again, its mark goes with it.
    pub(super) fn mark(&self, changed: &[ChangedRecord]) -> std::result::Result<(), TxAbort> {
        if changed.is_empty() {
            return Ok(());
        }
        let last = self.get(TreeId::Meta, LAST_REVISION_KEY)?;
        let mut revision = last.and_then(|last| last.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
        for (id, was_there) in changed {
            let is_unknown = self.get(TreeId::Replica, id)?.map_or(!was_there, |mark| is_unknown(&mark));
            if is_unknown && self.get(TreeId::Vods, id)?.is_none() {
                self.remove(TreeId::Replica, id)?;
                continue;
            }
            revision = revision.saturating_add(1);
            self.put(TreeId::Replica, id, mark_of(revision, is_unknown))?;
        }
        self.put(TreeId::Meta, LAST_REVISION_KEY, &revision.to_be_bytes())
    }
}

/// A configuration that cannot be read is as good as none.
fn unreadable_is_none(error: CatalogError) -> Result<Option<Value>> {
    match error {
        CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. } => Ok(None),
        other => Err(other),
    }
}
