//! The VoD index: records, the journal of recordings under way, the delivery queue, and what must be remembered between
//! starts.
//!
//! Assumes that one process owns the state directory (a lock sees to it) and that callers pass the time. It never opens
//! a recording and never decides what happens to one: it remembers, and it promises that what it says was remembered
//! is on the disk (promises 4 and 6).
//!
//! ```text
//! begin ─▶ reserve_name ─▶ advance(Publishing) ─▶ commit_vod ─▶ advance(Done)
//!   │                                                  ╰─▶ due ─▶ begin_delivery ─▶ delivered | delivery_failed
//!   ╰▶ Known · Interrupted (continue it) · KillsTheProcess (quarantine it)
//! ```
//!
//! Three rules hold at every moment, also after SIGKILL or power loss, and [`Catalog::check`] verifies the last two:
//!
//! 1. A method that promises durability returns only after the write is on the disk; nothing later overtakes it.
//! 2. A VoD, its index rows, its queued deliveries and the journal's word that it is catalogued appear together.
//! 3. Index rows are made from records alone: losing or doubling one loses nothing.

mod behind;
mod check;
mod commit;
mod compact;
mod counter;
mod due;
mod ended;
mod entry;
mod error;
mod index;
mod journal;
mod known;
mod ledger;
mod lock;
mod names;
mod outbox;
mod packing;
mod pruning;
mod queue;
mod rebuild;
mod retry;
#[cfg(test)]
pub(crate) mod room;
mod shared_flush;
mod state_dir;
mod store;
#[cfg(test)]
mod tests;
mod upgrade;
mod vods;

use crate::recording::name::printable;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use check::Checked;
pub use commit::Committed;
pub use due::{Among, Next};
pub use entry::{Entry, JOURNAL_VERSION};
pub use error::{CatalogError, StorageError};
pub use index::{JournalKey, NotAKey};
pub use journal::Begun;
pub use known::Known;
pub use outbox::Event;
pub use queue::{DeliveryFilter, Retry};
pub use rebuild::Merged;
pub use retry::next_try_ms;
pub use state_dir::{Access, Distrust, prepare_state_dir};
pub use vods::{Cursor, Listing, Page};

use behind::Behind;
use compact::Limits;
use counter::FlushCounter;
use ended::EndedAttempts;
use lock::StateLock;
use store::Store;

use crate::durable::{Named, Owner};

/// Result of a catalogue operation.
pub type Result<T> = std::result::Result<T, CatalogError>;

/// The open catalogue; clones are handles on the same one, for any number of threads.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

/// Declared in the order in which it is closed: the lock is given back last.
#[derive(Debug)]
struct Inner {
    store: Store,
    /// Deliveries begun and not ended in this process.
    in_flight: Mutex<HashSet<String>>,
    ended: EndedAttempts,
    behind: Behind,
    lock: StateLock,
}

/// Directory of the database in a state directory.
fn database_path(state_dir: &Path) -> PathBuf {
    state_dir.join("catalog")
}

impl Catalog {
    /// Opens the catalogue of a state directory, creating both where they are missing, and owns the directory until the
    /// last handle is dropped.
    ///
    /// Attempts that the last process did not live to end are counted here (promise 6).
    pub fn open(state_dir: &Path) -> Result<Self> {
        let lock = StateLock::take(state_dir)?;
        Self::open_locked(state_dir, lock, None)
    }

    /// The same, and compacts a database that has grown far beyond what it holds, unless the process is to stop. That takes
    /// some seconds with tens of thousands of recordings, half a minute at most.
    pub fn open_compacted(state_dir: &Path, is_stopped: &dyn Fn() -> bool) -> Result<Self> {
        Self::open_within(state_dir, Limits::of_a_start(is_stopped))
    }

    fn open_within(state_dir: &Path, limits: Limits<'_>) -> Result<Self> {
        let lock = StateLock::take(state_dir)?;
        Self::open_locked(state_dir, lock, Some(limits))
    }

    /// Opens the catalogue; one that is damaged is first moved aside, to the path returned, and replaced by an empty one.
    /// For `catalog rebuild` only.
    pub fn open_or_set_aside(state_dir: &Path, now_ms: i64) -> Result<(Self, Option<PathBuf>)> {
        let path = database_path(state_dir);
        match Self::open(state_dir) {
            Err(CatalogError::Damaged { .. }) => {}
            other => return Ok((other?, None)),
        }
        let lock = StateLock::take(state_dir)?;
        let aside = state_dir.join(format!("catalog.damaged-{now_ms}"));
        let moved = crate::durable::rename_no_replace(&path, &aside).and_then(Named::durably);
        moved.map_err(|e| CatalogError::StateDirectory { verb: "move aside", path: e.path, source: e.source })?;
        tracing::warn!(aside = %printable(&aside), "Damaged catalogue moved aside.");
        Ok((Self::open_locked(state_dir, lock, None)?, Some(aside)))
    }

    fn open_locked(state_dir: &Path, lock: StateLock, compaction: Option<Limits<'_>>) -> Result<Self> {
        let counted = FlushCounter::read(state_dir)?;
        let mut store = Store::open(&database_path(state_dir))?;
        // What says that something is missing is on the disk before anything is written that would hide it.
        let behind = Behind::open(state_dir, counted, store.flushes()?)?;
        // A database that has lost something is left as it is; a leftover may be the whole one.
        if !behind.is_set() {
            compact::remove_leftover(state_dir)?;
            store = match compaction {
                Some(limits) => compact::compact(state_dir, store, limits)?,
                None => store,
            };
        }
        store.count_flushes(FlushCounter::open(state_dir, counted, store.flushes()?)?);
        let (ended, noted) = EndedAttempts::open(state_dir)?;
        let catalog = Self(Arc::new(Inner { store, in_flight: Mutex::default(), ended, behind, lock }));
        catalog.count_deaths(&noted)?;
        Ok(catalog)
    }

    /// An error once the database has failed in this process: only another process can use it again.
    pub fn require_works(&self) -> Result<()> {
        self.store().refuse_after_failure()
    }

    /// Does something, once, when the database fails; what waits for the database then may wait for good.
    pub fn when_failed(&self, then: impl Fn() + Send + Sync + 'static) {
        let _ = self.store().when_failed.set(Box::new(then));
    }

    /// In whose name files are written aside.
    pub fn owner(&self) -> &Owner {
        self.0.lock.owner()
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn in_flight(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
