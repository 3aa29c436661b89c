//! Whether the indices agree with what they index, and making them agree again.
//!
//! Only derived rows are ever written here: records, entries and deliveries are read and left alone.

use std::collections::HashSet;

use super::index::{self, JournalKey};
use super::store::{In, decode};
use super::{Catalog, CatalogError, Entry, Result, due, names};
use crate::recording::journey::Step;
use crate::recording::{Delivery, VodRecord};

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
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

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.unreadable.is_empty() && self.missing_rows == 0 && self.dangling_rows == 0
    }
}

/// A row with its value.
type Row = (In, Vec<u8>, Vec<u8>);

/// The rows that should be there.
type Expected = Vec<Row>;

impl Catalog {
    /// Compares every index with what it indexes; with `repair` writes what is missing and removes what belongs to nothing.
    /// Meant for a catalogue nobody else is using at the moment.
    pub fn check(&self, repair: bool) -> Result<Checked> {
        let mut checked = Checked::default();
        let expected = self.expected_rows(&mut checked)?;
        let missing = self.missing(&expected)?;
        // A value that cannot be read may be what a row belongs to: then rows are only added.
        let dangling = if checked.unreadable.is_empty() { self.dangling(&expected)? } else { Vec::new() };
        checked.missing_rows = missing.len();
        checked.dangling_rows = dangling.len();
        if repair && !(missing.is_empty() && dangling.is_empty()) {
            self.store().transact(|tx| {
                missing.iter().try_for_each(|(tree, key, value)| tx.put(*tree, key, value.as_slice()))?;
                dangling.iter().try_for_each(|(tree, key)| tx.remove(*tree, key))
            })?;
            self.store().flush("indices repaired")?;
        }
        Ok(checked)
    }

    fn expected_rows(&self, checked: &mut Checked) -> Result<Expected> {
        let mut expected = Expected::new();
        for row in self.store().prefix(In::Vods, b"")? {
            let (key, value) = row?;
            match decode::<VodRecord>(In::Vods, &key, &value) {
                Ok(vod) => {
                    checked.vods += 1;
                    expected.extend(index::rows(&vod).into_iter().map(|row| (row.tree, row.key, row.value)));
                    expected.extend(index::known_rows(&vod).into_iter().map(|row| (row.tree, row.key, row.value)));
                }
                Err(unreadable) => checked.unreadable.push(unreadable),
            }
        }
        for row in self.store().prefix(In::Deliveries, b"")? {
            let (key, value) = row?;
            match decode::<Delivery>(In::Deliveries, &key, &value) {
                Ok(delivery) => {
                    checked.deliveries += 1;
                    self.expect_in_queue(&delivery, &mut expected)?;
                }
                Err(unreadable) => checked.unreadable.push(unreadable),
            }
        }
        Ok(expected)
    }

    /// A waiting delivery has one row: at its time, or at the front.
    fn expect_in_queue(&self, delivery: &Delivery, expected: &mut Expected) -> Result<()> {
        let Some(row) = due::due_row(delivery) else { return Ok(()) };
        let front = due::front_row(delivery);
        let is_at_front = self.store().get(In::ByDue, &front)?.is_some();
        expected.push((In::ByDue, if is_at_front { front } else { row }, Vec::new()));
        Ok(())
    }

    fn missing(&self, expected: &Expected) -> Result<Vec<Row>> {
        let mut missing = Vec::new();
        for (tree, key, value) in expected {
            let stored = self.store().get(*tree, key)?;
            // Two VoDs may claim the same file; either answer is right.
            let is_there = stored.is_some_and(|stored| *tree == In::Known || *stored == **value);
            if !is_there {
                missing.push((*tree, key.clone(), value.clone()));
            }
        }
        Ok(missing)
    }

    fn dangling(&self, expected: &Expected) -> Result<Vec<(In, Vec<u8>)>> {
        let there = expected.iter().map(|(tree, key, _)| (tree.name(), key.clone())).collect::<HashSet<_>>();
        let mut dangling = self.stale_names()?;
        for tree in [In::ByStream, In::ByCreated, In::ByPath, In::Unfreed, In::ByDue] {
            for row in self.store().prefix(tree, b"")? {
                let row = (tree.name(), row?.0.to_vec());
                if !there.contains(&row) {
                    dangling.push((tree, row.1));
                }
            }
        }
        Ok(dangling)
    }

    /// Reserved names of recordings that are no longer under way.
    fn stale_names(&self) -> Result<Vec<(In, Vec<u8>)>> {
        let mut stale = Vec::new();
        for row in self.store().prefix(In::Names, b"p")? {
            let (name, key) = row?;
            let key = JournalKey::from_stored(&key);
            let entry = key.map(|key| self.entry(&key)).transpose()?.flatten();
            if !entry.is_some_and(|entry: Entry| needs_name(&entry.step)) {
                stale.push((In::Names, name.to_vec()));
                stale.extend(key.map(|key| (In::Names, names::by_key(key))));
            }
        }
        Ok(stale)
    }
}

const fn needs_name(step: &Step) -> bool {
    matches!(step, Step::Begun | Step::Splicing { .. } | Step::Publishing { .. } | Step::Failed { .. })
}
