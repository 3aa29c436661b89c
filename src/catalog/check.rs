//! Whether the indices agree with what they index, and making them agree again.
//!
//! Only derived rows are ever written here: records, entries and deliveries are read and left alone. One of them is looked at
//! after the other, so that a check needs no more memory for a million than for one.

use super::entry::JournalEntry;
use super::error::{CatalogError, Result};
use super::index::{self, DueKey, JournalKey};
use super::opened::Catalog;
use super::rows::{StoredValue, decode};
use super::tree::TreeId;
use super::{due, names, waiting};
use crate::recording::journey::Step;
use crate::recording::{Delivery, VodRecord};

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckResult {
    /// VoDs that were read.
    pub vods: usize,
    /// Deliveries that were read.
    pub deliveries: usize,
    /// Values that cannot be read; they are left alone.
    pub unreadable: Vec<CatalogError>,
    /// Index rows that should be there and are not.
    pub missing_rows: usize,
    /// Index rows and reserved names that belong to nothing.
    pub dangling_rows: usize,
}

impl CheckResult {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.unreadable.is_empty() && self.missing_rows == 0 && self.dangling_rows == 0
    }
}

/// A row that is to be there with this value, or not at all.
type RowRepair = (TreeId, Vec<u8>, Option<Vec<u8>>);

/// Repairs written in one transaction.
const BATCH: usize = 500;

/// What is found is counted, and repaired where that is wanted.
struct CatalogChecker<'a> {
    catalog: &'a Catalog,
    repairs: bool,
    waiting: Vec<RowRepair>,
    found: CheckResult,
}

impl Catalog {
    /// Compares every index with what it indexes; with `repair` writes what is missing and removes what belongs to nothing.
    /// Meant for a catalogue nobody else is using at the moment.
    pub fn check(&self, repair: bool) -> Result<CheckResult> {
        let mut check =
            CatalogChecker { catalog: self, repairs: repair, waiting: Vec::new(), found: CheckResult::default() };
        check.records()?;
        check.deliveries()?;
        check.entries()?;
        // A value that cannot be read may be what a row belongs to: then rows are only added.
        if check.found.unreadable.is_empty() {
            check.rows()?;
            check.names()?;
        }
        check.end()
    }
}

impl CatalogChecker<'_> {
    fn records(&mut self) -> Result<()> {
        self.each(TreeId::Vods, |check, vod: &VodRecord, _| {
            check.found.vods += 1;
            for row in index::rows(vod).into_iter().chain(index::known_rows(vod)) {
                let stored = check.catalog.store().get(row.tree, &row.key)?;
                // Two VoDs may claim the same file; either answer is right.
                if stored.is_none_or(|stored| row.tree != TreeId::Known && *stored != *row.value) {
                    check.miss(row.tree, row.key, row.value)?;
                }
            }
            Ok(())
        })
    }

    /// A waiting delivery has one row: at its time, or at the front.
    fn deliveries(&mut self) -> Result<()> {
        self.each(TreeId::Deliveries, |check, delivery: &Delivery, _| {
            check.found.deliveries += 1;
            let Some(row) = due::due_row(delivery) else { return Ok(()) };
            let store = check.catalog.store();
            let is_there = store.get(TreeId::ByDue, due::front_row(delivery))?.is_some()
                || store.get(TreeId::ByDue, &row)?.is_some();
            if is_there { Ok(()) } else { check.miss(TreeId::ByDue, row, Vec::new()) }
        })
    }

    fn entries(&mut self) -> Result<()> {
        self.each(TreeId::Journal, |check, entry: &JournalEntry, key| {
            let Some(key) = JournalKey::from_stored(key).filter(|_| entry.step.lacks_parameters()) else {
                return Ok(());
            };
            let row = waiting::row(&entry.settled.candidate().facts.stream_id, key);
            let is_there = check.catalog.store().get(TreeId::Waiting, &row)?.is_some();
            if is_there { Ok(()) } else { check.miss(TreeId::Waiting, row, Vec::new()) }
        })
    }

    /// Rows that lead to nothing that has them.
    fn rows(&mut self) -> Result<()> {
        let store = self.catalog.store();
        for tree in [TreeId::ByStream, TreeId::ByCreated, TreeId::ByPath, TreeId::ByObject, TreeId::Unfreed] {
            for row in store.prefix(tree, b"")? {
                let (key, id) = row?;
                let vod = store.read::<VodRecord>(TreeId::Vods, &id)?;
                let is_its = |vod: VodRecord| index::rows(&vod).iter().any(|row| row.tree == tree && row.key == *key);
                if !vod.is_some_and(is_its) {
                    self.drop(tree, key.to_vec())?;
                }
            }
        }
        for row in store.prefix(TreeId::ByDue, b"")? {
            let (key, _) = row?;
            let delivery =
                DueKey::read(&key).map(|row| store.read::<Delivery>(TreeId::Deliveries, row.id)).transpose()?;
            if !self.is_due_row(&key, delivery.flatten().as_ref())? {
                self.drop(TreeId::ByDue, key.to_vec())?;
            }
        }
        for row in store.prefix(TreeId::Waiting, b"")? {
            let (key, _) = row?;
            let stored = key.iter().position(|byte| *byte == 0).and_then(|at| JournalKey::from_stored(&key[at + 1..]));
            let entry = stored.map(|key| self.catalog.entry(&key)).transpose()?.flatten();
            let entry = entry.filter(|entry| entry.step.lacks_parameters());
            let is_its =
                |(entry, of): (JournalEntry, _)| waiting::row(&entry.settled.candidate().facts.stream_id, of) == *key;
            if !entry.zip(stored).is_some_and(is_its) {
                self.drop(TreeId::Waiting, key.to_vec())?;
            }
        }
        Ok(())
    }

    /// Whether a row of the queue is the one of its delivery: at the front, or at its time if it is not at the front.
    fn is_due_row(&self, key: &[u8], delivery: Option<&Delivery>) -> Result<bool> {
        let Some((delivery, row)) = delivery.and_then(|delivery| Some((delivery, due::due_row(delivery)?))) else {
            return Ok(false);
        };
        let front = due::front_row(delivery);
        Ok(key == front || (key == row && self.catalog.store().get(TreeId::ByDue, &front)?.is_none()))
    }

    /// Reserved names of recordings that are no longer under way.
    fn names(&mut self) -> Result<()> {
        for row in self.catalog.store().prefix(TreeId::Names, b"p")? {
            let (name, key) = row?;
            let key = JournalKey::from_stored(&key);
            let entry = key.map(|key| self.catalog.entry(&key)).transpose()?.flatten();
            if !entry.is_some_and(|entry: JournalEntry| needs_name(&entry.step)) {
                self.drop(TreeId::Names, name.to_vec())?;
                key.map_or(Ok(()), |key| self.drop(TreeId::Names, names::by_key(key)))?;
            }
        }
        Ok(())
    }

    fn each<T: StoredValue>(&mut self, tree: TreeId, look: impl Fn(&mut Self, &T, &[u8]) -> Result<()>) -> Result<()> {
        for row in self.catalog.store().prefix(tree, b"")? {
            let (key, value) = row?;
            match decode::<T>(tree, &key, &value) {
                Ok(read) => look(self, &read, &key)?,
                Err(unreadable) => self.found.unreadable.push(unreadable),
            }
        }
        Ok(())
    }

    fn miss(&mut self, tree: TreeId, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.found.missing_rows += 1;
        self.repair((tree, key, Some(value)))
    }

    fn drop(&mut self, tree: TreeId, key: Vec<u8>) -> Result<()> {
        self.found.dangling_rows += 1;
        self.repair((tree, key, None))
    }

    fn repair(&mut self, repair: RowRepair) -> Result<()> {
        self.waiting.extend(self.repairs.then_some(repair));
        if self.waiting.len() < BATCH { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<()> {
        let repairs = std::mem::take(&mut self.waiting);
        self.catalog.store().transact(|tx| {
            repairs.iter().try_for_each(|(tree, key, value)| match value {
                Some(value) => tx.put(*tree, key, value.as_slice()),
                None => tx.remove(*tree, key),
            })
        })
    }

    fn end(mut self) -> Result<CheckResult> {
        if self.repairs && self.found.missing_rows + self.found.dangling_rows > 0 {
            self.write()?;
            self.catalog.store().flush("indices repaired")?;
        }
        Ok(self.found)
    }
}

const fn needs_name(step: &Step) -> bool {
    matches!(step, Step::Begun | Step::Splicing { .. } | Step::Publishing { .. } | Step::Failed { .. })
}
