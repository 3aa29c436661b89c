//! Which VoD records were changed since somebody looked: what an index in memory has to read again. Pure.
//!
//! Writers only note ids, and never wait for the index. Who never asks costs a number; who has stopped asking is forgotten once more
//! was changed than is worth keeping.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Changed records that are remembered at most, about 5 MB.
const MOST: usize = 50_000;

/// The ids of changed records.
pub(super) type IdSet = HashSet<Box<[u8]>>;

/// What was changed.
#[derive(Debug, Default)]
pub(super) struct ChangedIds {
    changes: AtomicU64,
    /// Ids since the last [`ChangedIds::take`]; nothing as long as nobody wants to know, or after too many.
    ids: Mutex<Option<IdSet>>,
}

impl ChangedIds {
    /// Notes committed changes.
    pub(super) fn note(&self, ids: impl Iterator<Item = Box<[u8]>>) {
        let mut noted = self.ids();
        if let Some(known) = &mut *noted {
            known.extend(ids);
            if known.len() > MOST {
                *noted = None;
            }
        }
        drop(noted);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// A number that is another one after every change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Forgets what was noted and notes every change from now on.
    pub(super) fn begin(&self) {
        *self.ids() = Some(IdSet::new());
    }

    /// What was noted since the last call; `None` if it is not known: all has to be read.
    pub(super) fn take(&self) -> Option<IdSet> {
        self.ids().as_mut().map(std::mem::take)
    }

    /// Whether it is known that nothing was noted since the last call of [`ChangedIds::take`].
    pub(super) fn is_unchanged(&self) -> bool {
        self.ids().as_ref().is_some_and(HashSet::is_empty)
    }

    fn ids(&self) -> MutexGuard<'_, Option<IdSet>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(touched: &ChangedIds, ids: std::ops::Range<u32>) {
        touched.note(ids.map(|id| Box::from(id.to_be_bytes())));
    }

    #[test]
    fn changes_are_noted_once_each_from_the_beginning_on() {
        let touched = ChangedIds::default();
        note(&touched, 0..3);
        assert_eq!((touched.take(), touched.changes()), (None, 1), "nobody wanted to know");
        touched.begin();
        note(&touched, 0..3);
        note(&touched, 2..4);
        assert!(!touched.is_unchanged());
        assert_eq!(touched.take().map(|ids| ids.len()), Some(4));
        assert!(touched.is_unchanged());
        assert_eq!((touched.take(), touched.changes()), (Some(IdSet::new()), 3));
    }

    #[test]
    fn who_has_stopped_asking_is_forgotten() {
        let touched = ChangedIds::default();
        touched.begin();
        note(&touched, 0..u32::try_from(MOST).unwrap());
        note(&touched, 0..1);
        assert!(touched.take().is_some_and(|ids| ids.len() == MOST));
        note(&touched, 0..u32::try_from(MOST).unwrap() + 1);
        assert_eq!((touched.take(), touched.is_unchanged()), (None, false));
    }
}
