//! Entries of the journal that are done, a few at a time, for whoever knows which of them prevent nothing any more.
//!
//! It must not look at the disk: what an entry prevents is decided elsewhere.

use std::ops::Bound;

use super::entry::JournalEntry;
use super::error::Result;
use super::index::JournalKey;
use super::node::NodeCatalog;
use super::rows::decode;
use super::tree::TreeId;
use crate::recording::journey::Stage;

impl NodeCatalog {
    /// Of so many entries from a place in the journal on, and on from its beginning, those that are done. A place is any key;
    /// what cannot be read is passed over.
    pub fn done_entries(&self, from: &JournalKey, most: usize) -> Result<Vec<(JournalKey, JournalEntry)>> {
        let at = from.stored().into_bytes();
        let behind = self.store().range(TreeId::Journal, (Bound::Included(at.clone()), Bound::Unbounded))?;
        let before = self.store().range(TreeId::Journal, (Bound::Unbounded, Bound::Excluded(at)))?;
        let mut done = Vec::new();
        for row in behind.chain(before).take(most) {
            let (key, value) = row?;
            let Ok(entry) = decode::<JournalEntry>(TreeId::Journal, &key, &value) else { continue };
            done.extend(JournalKey::from_stored(&key).filter(|_| entry.stage() == Stage::Done).map(|key| (key, entry)));
        }
        Ok(done)
    }

    /// Drops entries that are done; others stay. Rows by which the files of a VoD are known stay, too. Not flushed: what comes
    /// back is dropped again.
    pub fn drop_done(&self, keys: &[JournalKey]) -> Result<()> {
        self.store().transact(|tx| {
            keys.iter().try_for_each(|key| {
                let entry = tx.read::<JournalEntry>(TreeId::Journal, key.stored())?;
                let is_done = entry.is_some_and(|entry| entry.stage() == Stage::Done);
                if is_done { tx.remove(TreeId::Journal, key.stored()) } else { Ok(()) }
            })
        })?;
        crate::durable::step("journal pruned");
        Ok(())
    }
}
