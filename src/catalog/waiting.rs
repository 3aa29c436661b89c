//! Which quarantined recordings wait for a sound one of their stream: an index of the journal, so that nobody reads all of it.
//!
//! A row is written and removed in the transaction of its entry.

use std::ops::Bound;

use super::entry::JournalEntry;
use super::error::Result;
use super::index::{JournalKey, stream_prefix};
use super::node::NodeCatalog;
use super::rows::decode;
use super::store::{Database, Tx, TxAbort};
use super::tree::TreeId;

/// Entries looked at in one transaction.
const BATCH: usize = 500;

impl NodeCatalog {
    /// Streams of which recordings wait for parameters, those after one in the order of their names; at most so many.
    pub fn waiting_streams(&self, after: Option<&str>, most: usize) -> Result<Vec<String>> {
        let mut streams: Vec<String> = Vec::new();
        let mut from = after.map_or(Bound::Unbounded, |stream| Bound::Included(behind(stream)));
        while streams.len() < most {
            let mut rows = self.store().range(TreeId::Waiting, (from, Bound::Unbounded))?;
            let Some((key, _)) = rows.next().transpose()? else { break };
            let stream = String::from_utf8_lossy(key.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
            from = Bound::Included(behind(&stream));
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Recordings of a stream that wait for its parameters, at most so many, those after a key in the order of their keys.
    pub fn waiting_for(&self, stream_id: &str, after: Option<&JournalKey>, most: usize) -> Result<Vec<JournalKey>> {
        let first = stream_prefix(stream_id);
        let from = after.map_or(Bound::Included(first.clone()), |key| Bound::Excluded(row(stream_id, *key)));
        let end = Bound::Excluded([stream_id.as_bytes(), &[1]].concat());
        let rows = self.store().range(TreeId::Waiting, (from, end))?.take(most);
        let read = |(key, _): (sled::IVec, sled::IVec)| JournalKey::from_stored(key.get(first.len()..)?);
        rows.filter_map(|found| found.map(read).transpose()).collect()
    }
}

/// Behind every row of a stream.
fn behind(stream_id: &str) -> Vec<u8> {
    [stream_id.as_bytes(), &[1]].concat()
}

/// Key of an entry in the index.
pub(super) fn row(stream_id: &str, key: JournalKey) -> Vec<u8> {
    [&stream_prefix(stream_id)[..], key.stored().as_bytes()].concat()
}

/// Brings the row of an entry up to date.
pub(super) fn note_in(tx: &Tx<'_>, key: JournalKey, entry: &JournalEntry) -> std::result::Result<(), TxAbort> {
    let row = row(&entry.settled.candidate().facts.stream_id, key);
    match (tx.get(TreeId::Waiting, &row)?.is_some(), entry.step.lacks_parameters()) {
        (false, true) => tx.put(TreeId::Waiting, row, b""),
        (true, false) => tx.remove(TreeId::Waiting, row),
        _ => Ok(()),
    }
}

/// Removes the row of an entry that is about to go.
pub(super) fn forget_in(tx: &Tx<'_>, key: JournalKey, entry: &JournalEntry) -> std::result::Result<(), TxAbort> {
    if !entry.step.lacks_parameters() {
        return Ok(());
    }
    tx.remove(TreeId::Waiting, row(&entry.settled.candidate().facts.stream_id, key))
}

/// Makes the index of a database that has none.
pub(super) fn build(store: &Database) -> Result<()> {
    let mut rows = store.prefix(TreeId::Journal, b"")?;
    loop {
        let page = rows.by_ref().take(BATCH).collect::<Result<Vec<_>>>()?;
        if page.is_empty() {
            return Ok(());
        }
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            // What cannot be read is said when it is listed.
            let entry = decode::<JournalEntry>(TreeId::Journal, key, value).ok()?;
            if !entry.step.lacks_parameters() {
                return None;
            }
            Some(row(&entry.settled.candidate().facts.stream_id, JournalKey::from_stored(key)?))
        };
        let found = page.iter().filter_map(read).collect::<Vec<_>>();
        store.transact(|tx| found.iter().try_for_each(|row| tx.put(TreeId::Waiting, row, b"")))?;
    }
}
