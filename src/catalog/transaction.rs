//! What a change of the database sees: all trees inside one transaction.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Serialize;
use sled::IVec;
use sled::transaction::{ConflictableTransactionError, TransactionalTree};

use super::error::CatalogError;
use super::rows::{StoredValue, decode, encode};
use super::tree::TreeId;

/// What ends a transaction without a result.
pub(super) type TxAbort = ConflictableTransactionError<CatalogError>;

/// Ends a transaction: nothing of it is written.
pub(super) fn stop(error: CatalogError) -> TxAbort {
    ConflictableTransactionError::Abort(error)
}

/// Id of a record that is changed, and whether it was there before.
pub(super) type ChangedRecord = (Box<[u8]>, bool);

/// All trees inside one transaction. Everything a transaction needs is read through it; the trees themselves would wait
/// for the transaction to end.
pub(super) struct Tx<'a> {
    pub(super) trees: &'a [TransactionalTree],
    /// Ids of the records that it has changed, and whether each was there before.
    pub(super) vods: &'a RefCell<Vec<ChangedRecord>>,
}

impl Tx<'_> {
    pub(super) fn get(&self, tree: TreeId, key: impl AsRef<[u8]>) -> Result<Option<IVec>, TxAbort> {
        Ok(self.trees[tree as usize].get(key)?)
    }

    pub(super) fn put(&self, tree: TreeId, key: impl AsRef<[u8]>, value: impl Into<IVec>) -> Result<(), TxAbort> {
        self.note(tree, key.as_ref())?;
        self.trees[tree as usize].insert(IVec::from(key.as_ref()), value)?;
        Ok(())
    }

    pub(super) fn remove(&self, tree: TreeId, key: impl AsRef<[u8]>) -> Result<(), TxAbort> {
        self.note(tree, key.as_ref())?;
        self.trees[tree as usize].remove(IVec::from(key.as_ref()))?;
        Ok(())
    }

    fn note(&self, tree: TreeId, key: &[u8]) -> Result<(), TxAbort> {
        if tree == TreeId::Vods {
            let was_there = self.get(tree, key)?.is_some();
            self.vods.borrow_mut().push((key.into(), was_there));
        }
        Ok(())
    }

    /// VoDs that it added, less those that it removed.
    pub(super) fn added(&self) -> Result<isize, TxAbort> {
        let mut first = HashMap::new();
        for (id, was_there) in self.vods.borrow().iter() {
            first.entry(id.clone()).or_insert(*was_there);
        }
        first.into_iter().try_fold(0, |added, (id, was_there)| {
            Ok(added + isize::from(self.get(TreeId::Vods, id)?.is_some()) - isize::from(was_there))
        })
    }

    pub(super) fn read<T: StoredValue>(&self, tree: TreeId, key: impl AsRef<[u8]>) -> Result<Option<T>, TxAbort> {
        let value = self.get(tree, key.as_ref())?;
        value.map(|value| decode(tree, key.as_ref(), &value)).transpose().map_err(stop)
    }

    pub(super) fn write(&self, tree: TreeId, key: impl AsRef<[u8]>, value: &impl Serialize) -> Result<(), TxAbort> {
        let value = encode(tree, key.as_ref(), value).map_err(stop)?;
        self.put(tree, key, value)
    }
}
