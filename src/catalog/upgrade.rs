//! Databases of earlier versions of the program: what their rows become.
//!
//! Every step can be cut anywhere and is repeated at the next start: the version is written last.

use super::error::Result;
use super::{log, waiting};
use std::path::Path;

use super::index::{self, due_key, from_ordered};
use super::rows::decode;
use super::store::{Database, SCHEMA_VERSION};
use super::tree::TreeId;
use crate::recording::VodRecord;

/// Rows moved in one transaction.
const BATCH: usize = 1_000;
/// The first version whose `by_due` has the rows of each target together.
const QUEUE_BY_TARGET: u32 = 2;
/// The first version that has `events`; before it `outbox` had events in other words, which nothing read.
const EVENT_LOG: u32 = 5;

/// Opens the database in a directory, or makes a new one, as this program writes it.
pub(super) fn open(path: &Path) -> Result<Database> {
    let store = Database::open(path)?;
    let found = store.schema()?;
    upgrade(&store, found)?;
    Ok(store)
}

/// Brings a database up to the version of this program.
fn upgrade(store: &Database, found: u32) -> Result<()> {
    if found < QUEUE_BY_TARGET {
        queue_by_target(store)?;
    }
    if found < EVENT_LOG {
        log::begin_anew(store)?;
        store.drop_former("outbox")?;
        waiting::build(store)?;
        records_by_object(store)?;
    }
    if found < SCHEMA_VERSION { store.write_schema() } else { Ok(()) }
}

/// `by_due` had the due time first. Such keys begin with a byte that no target's name begins with.
fn queue_by_target(store: &Database) -> Result<()> {
    loop {
        let former = |key: &sled::IVec| key.first().is_none_or(|byte| !(b' '..=b'~').contains(byte));
        let rows = store.prefix(TreeId::ByDue, b"")?.map(|row| row.map(|(key, _)| key));
        let keys = rows.filter(|key| key.as_ref().map_or(true, former)).take(BATCH).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Ok(());
        }
        store.transact(|tx| {
            keys.iter().try_for_each(|key| {
                tx.remove(TreeId::ByDue, key)?;
                former_row(key).map_or(Ok(()), |row| tx.put(TreeId::ByDue, row, b""))
            })
        })?;
    }
}

/// Makes the rows of `by_object`.
fn records_by_object(store: &Database) -> Result<()> {
    let mut records = store.prefix(TreeId::Vods, b"")?;
    loop {
        let page = records.by_ref().take(BATCH).collect::<Result<Vec<_>>>()?;
        if page.is_empty() {
            return Ok(());
        }
        // What cannot be read is said when it is listed.
        let read = page.iter().filter_map(|(key, value)| decode::<VodRecord>(TreeId::Vods, key, value).ok());
        let rows =
            read.flat_map(|vod| index::rows(&vod)).filter(|row| row.tree == TreeId::ByObject).collect::<Vec<_>>();
        store.transact(|tx| rows.iter().try_for_each(|row| tx.put(row.tree, &row.key, row.value.as_slice())))?;
    }
}

/// The row for one that was: due time (8) · newest first (8) · delivery id, which ends with the target's name.
fn former_row(key: &[u8]) -> Option<Vec<u8>> {
    let id = std::str::from_utf8(key.get(16..)?).ok()?;
    let (_, target) = id.rsplit_once('@')?;
    let queued = from_ordered(&key[8..16].iter().map(|byte| !byte).collect::<Vec<_>>())?;
    Some(due_key(target, from_ordered(key)?, queued, id))
}

/// A row as the version before [`QUEUE_BY_TARGET`] wrote it.
#[cfg(test)]
pub(super) fn former_due_key(due_ms: i64, queued_ms: i64, delivery_id: &str) -> Vec<u8> {
    use super::index::ordered;
    [&ordered(due_ms)[..], &ordered(queued_ms).map(|byte| !byte), delivery_id.as_bytes()].concat()
}
