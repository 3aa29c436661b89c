//! How many VoDs there are: counted once, then followed.
//!
//! The tree has to be read to count it, which takes as long as the first view of a large library may. What is counted beside writers is
//! remembered only if it is exact: no transaction was under way at its beginning or at its end, and none in between added or removed a
//! VoD.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::CatalogError;

/// The number.
#[derive(Debug, Default)]
pub(super) struct VodCount(Mutex<CountState>);

#[derive(Debug, Default)]
struct CountState {
    known: Option<usize>,
    /// Transactions under way.
    under_way: usize,
    /// Transactions that changed the number.
    changes: u64,
}

/// A transaction that may change the number.
#[derive(Debug)]
pub(super) struct CountedTransaction<'a> {
    count: &'a VodCount,
    /// VoDs that it added, less those that it removed.
    pub added: isize,
}

impl VodCount {
    /// Begins a transaction. What it adds is set before it is dropped.
    pub(super) fn begin(&self) -> CountedTransaction<'_> {
        self.state().under_way += 1;
        CountedTransaction { count: self, added: 0 }
    }

    /// The number; if it is not known, what `count` finds. `None` if that is stopped.
    pub(super) fn get(
        &self,
        count: impl FnOnce() -> Result<Option<usize>, CatalogError>,
    ) -> Result<Option<usize>, CatalogError> {
        let before = {
            let state = self.state();
            if state.known.is_some() {
                return Ok(state.known);
            }
            (state.under_way, state.changes)
        };
        let counted = count()?;
        let mut state = self.state();
        if before == (0, state.changes) && state.under_way == 0 {
            state.known = state.known.or(counted);
        }
        Ok(counted)
    }

    fn state(&self) -> MutexGuard<'_, CountState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CountedTransaction<'_> {
    fn drop(&mut self) {
        let mut state = self.count.state();
        state.under_way -= 1;
        if self.added != 0 {
            state.changes += 1;
            state.known = state.known.and_then(|known| known.checked_add_signed(self.added));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(count: &VodCount) -> Option<usize> {
        count.get(|| Ok(None)).unwrap()
    }

    fn change(count: &VodCount, added: isize) {
        count.begin().added = added;
    }

    #[test]
    fn what_was_counted_is_followed() {
        let count = VodCount::default();
        assert_eq!(count.get(|| Ok(Some(3))).unwrap(), Some(3));
        change(&count, 2);
        change(&count, -1);
        change(&count, 0);
        assert_eq!(known(&count), Some(4));
        change(&count, -5);
        assert_eq!(known(&count), None, "a number that cannot be is counted again");
    }

    #[test]
    fn what_was_counted_beside_a_change_is_not_remembered() {
        let count = VodCount::default();
        let early = count.begin();
        assert_eq!(count.get(|| Ok(Some(1))).unwrap(), Some(1));
        assert_eq!(known(&count), None, "one was under way at the beginning");
        drop(early);
        let meanwhile = || {
            change(&count, 1);
            Ok(Some(1))
        };
        count.get(meanwhile).unwrap();
        assert_eq!(known(&count), None, "one came in between");
        let mut late = None;
        let begins = || {
            late = Some(count.begin());
            Ok(Some(1))
        };
        count.get(begins).unwrap();
        assert_eq!(known(&count), None, "one is under way at the end");
        drop(late);
        count.get(|| Ok(Some(2))).unwrap();
        assert_eq!(known(&count), Some(2));
    }
}
