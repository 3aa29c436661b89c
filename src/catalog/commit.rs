//! The one transaction that makes a finished recording a VoD.
//!
//! Record, index rows, journal step, queued deliveries and event appear together or not at all (promises 4 and 5), and the
//! same commit repeated after a crash changes nothing that a user could see.

use super::index::{self, JournalKey};
use super::store::{In, Stop, Tx};
use super::{Catalog, Result, journal, outbox, queue};
use crate::recording::journey::{Stage, Step};
use crate::recording::{Delivery, VodRecord};

/// What a commit did.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The record as it stands in the catalogue now.
    pub record: VodRecord,
    /// Whether the VoD was not there before.
    pub is_new: bool,
    /// How many deliveries were queued; those already known keep their state.
    pub queued: usize,
}

impl Catalog {
    /// Makes a journalled recording a VoD and queues its deliveries; durable on return.
    ///
    /// The journal goes to [`Step::Catalogued`] if the source is still to be removed, else to [`Step::Done`]; that is refused
    /// for a recording that is not under way. A VoD of this
    /// id that is already there keeps its creation date and its remote copies. If it lies under another path, as the
    /// copy of a file does, it stays as it is and the new file is only remembered as known; the caller sees that in
    /// [`Committed::record`].
    pub fn commit_vod(
        &self,
        key: &JournalKey,
        record: &VodRecord,
        deliveries: &[Delivery],
        removes_source: bool,
        now_ms: i64,
    ) -> Result<Committed> {
        let committed = self.store().transact(|tx| {
            let entry = journal::entry_in(tx, *key)?;
            let vod_id = record.vod_id.clone();
            let to = if removes_source { Step::Catalogued { vod_id, removes_source } } else { Step::Done { vod_id } };
            // A commit that is repeated finds itself done.
            if !matches!(entry.stage(), Stage::Catalogued | Stage::Done) {
                journal::move_in(tx, *key, entry, to, now_ms)?;
            }
            let (record, is_new) = add_vod(tx, record)?;
            let queued = queue::enqueue_in(tx, deliveries)?;
            if is_new {
                outbox::announce_in(tx, &outbox::about_vod("vod_catalogued", &record, now_ms))?;
            }
            Ok(Committed { record, is_new, queued })
        })?;
        self.store().flush("vod catalogued")?;
        Ok(committed)
    }
}

/// Adds a record, or brings the one of the same id and path up to date; says how it stands and whether it is new.
pub(super) fn add_vod(tx: &Tx<'_>, record: &VodRecord) -> std::result::Result<(VodRecord, bool), Stop> {
    index::known_rows(record).into_iter().try_for_each(|row| put_row(tx, row))?;
    let old = tx.read::<VodRecord>(In::Vods, &record.vod_id)?;
    let new = match &old {
        None => record.clone(),
        Some(old) if old.file_path == record.file_path => refreshed(old, record),
        Some(old) => old.clone(),
    };
    write_vod(tx, old.as_ref(), &new)?;
    Ok((new, old.is_none()))
}

/// The same VoD finished again: what is remembered outside the file stays.
fn refreshed(old: &VodRecord, new: &VodRecord) -> VodRecord {
    VodRecord {
        creation_date: old.creation_date,
        remote: old.remote.clone(),
        preview_file_path: new.preview_file_path.clone().or_else(|| old.preview_file_path.clone()),
        original_path: new.original_path.clone().or_else(|| old.original_path.clone()),
        ..new.clone()
    }
}

/// Writes a row, unless it is there: most changes of a record change none of its rows.
pub(super) fn put_row(tx: &Tx<'_>, row: index::Row) -> std::result::Result<(), Stop> {
    if tx.get(row.tree, &row.key)?.is_some_and(|there| *there == *row.value) {
        return Ok(());
    }
    tx.put(row.tree, row.key, row.value)
}

/// Writes a record with its index rows in place of the old one.
pub(super) fn write_vod(tx: &Tx<'_>, old: Option<&VodRecord>, new: &VodRecord) -> std::result::Result<(), Stop> {
    let new_rows = index::rows(new);
    for row in old.into_iter().flat_map(index::rows).filter(|row| !new_rows.contains(row)) {
        tx.remove(row.tree, row.key)?;
    }
    new_rows.into_iter().try_for_each(|row| put_row(tx, row))?;
    tx.write(In::Vods, &new.vod_id, new)
}
