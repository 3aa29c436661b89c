//! What this node is doing, and nobody else's business: the journal of recordings under way, the names they have reserved, the
//! delivery queue, uploads that are open, and what was learned about streams.
//!
//! It is kept here for ever. What other nodes may share is in [`Shared`](super::SharedCatalog).

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};

use super::error::Result;
use super::inner::CatalogInner;
use super::log::Appender;
use super::store::{Database, Tx, TxAbort};
use crate::durable::PartialOwner;

/// The node-local part of an open catalogue.
#[derive(Debug, Clone)]
pub struct NodeCatalog(pub(super) Arc<CatalogInner>);

impl NodeCatalog {
    /// An error once the database has failed in this process: only another process can use it again.
    pub fn require_works(&self) -> Result<()> {
        self.store().refuse_after_failure()
    }

    /// Does something, once, when the database fails; what waits for the database then may wait for good.
    pub fn when_failed(&self, then: impl Fn() + Send + Sync + 'static) {
        let _ = self.store().when_failed.set(Box::new(then));
    }

    /// In whose name files are written aside.
    pub fn owner(&self) -> &PartialOwner {
        self.0.lock.owner()
    }

    /// Whether the database opened as an earlier state of itself and was not rebuilt since: nothing may be freed on what it
    /// says.
    pub fn is_behind(&self) -> bool {
        self.0.behind.is_set()
    }

    /// Takes the mark away: the catalogue was rebuilt.
    pub fn caught_up(&self) -> Result<()> {
        self.0.behind.clear()
    }

    pub(super) fn store(&self) -> &Database {
        &self.0.store
    }

    pub(super) fn in_flight(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.in_flight()
    }

    /// A transaction that may append to the event log. Durable with the next flush.
    pub(super) fn logged<A>(
        &self,
        now_ms: i64,
        change: impl Fn(&Tx<'_>, &Appender<'_>) -> std::result::Result<A, TxAbort>,
    ) -> Result<A> {
        self.0.logged(now_ms, change)
    }
}
