//! Records of VoDs in a transaction: written together with the rows by which they are found. A row is made from its record alone.

use super::index;
use super::store::{Tx, TxAbort};
use super::tree::TreeId;
use crate::recording::VodRecord;

/// Adds a record, or brings the one of the same id and path up to date; says how it stands and whether it is new.
pub(super) fn add_vod(tx: &Tx<'_>, record: &VodRecord) -> Result<(VodRecord, bool), TxAbort> {
    index::known_rows(record).into_iter().try_for_each(|row| put_row(tx, row))?;
    let old = tx.read::<VodRecord>(TreeId::Vods, &record.vod_id)?;
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
        pictures: if new.pictures.is_empty() { old.pictures.clone() } else { new.pictures.clone() },
        original_path: new.original_path.clone().or_else(|| old.original_path.clone()),
        ..new.clone()
    }
}

/// Writes a row, unless it is there: most changes of a record change none of its rows.
pub(super) fn put_row(tx: &Tx<'_>, row: index::IndexRow) -> Result<(), TxAbort> {
    if tx.get(row.tree, &row.key)?.is_some_and(|there| *there == *row.value) {
        return Ok(());
    }
    tx.put(row.tree, row.key, row.value)
}

/// Writes a record with its index rows in place of the old one.
pub(super) fn write_vod(tx: &Tx<'_>, old: Option<&VodRecord>, new: &VodRecord) -> Result<(), TxAbort> {
    let new_rows = index::rows(new);
    for row in old.into_iter().flat_map(index::rows).filter(|row| !new_rows.contains(row)) {
        tx.remove(row.tree, row.key)?;
    }
    new_rows.into_iter().try_for_each(|row| put_row(tx, row))?;
    tx.write(TreeId::Vods, &new.vod_id, new)
}
