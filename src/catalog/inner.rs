//! What every part of an open catalogue works on.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cached_search::LazyVodIndex;
use super::ended::EndedAttempts;
use super::error::Result;
use super::lock::StateLock;
use super::log::{Appender, LogState};
use super::stale_mark::StaleMark;
use super::store::{Database, Tx, TxAbort};

/// Declared in the order in which it is closed: the lock is given back last.
#[derive(Debug)]
pub(super) struct CatalogInner {
    pub store: Database,
    /// Deliveries begun and not ended in this process.
    pub in_flight: Mutex<HashSet<String>>,
    pub ended: EndedAttempts,
    pub behind: StaleMark,
    pub log: LogState,
    /// The state directory.
    pub state_dir: PathBuf,
    pub selecting: LazyVodIndex,
    pub lock: StateLock,
}

impl CatalogInner {
    pub(super) fn in_flight(&self) -> MutexGuard<'_, HashSet<String>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction that may append to the event log. Durable with the next flush.
    pub(super) fn logged<A>(
        &self,
        now_ms: i64,
        change: impl Fn(&Tx<'_>, &Appender<'_>) -> std::result::Result<A, TxAbort>,
    ) -> Result<A> {
        let limits = *self.log.limits();
        let (dropped, has_appended) = (Cell::new(0), Cell::new(false));
        let done = self.store.transact(|tx| {
            dropped.set(0);
            has_appended.set(false);
            change(tx, &Appender { tx, limits, now_ms, dropped: &dropped, has_appended: &has_appended })
        })?;
        if has_appended.get() {
            self.store.heard.tell();
        }
        if dropped.get() > 0 {
            self.log.name_the_slowest(&self.store, dropped.get());
        }
        Ok(done)
    }
}
