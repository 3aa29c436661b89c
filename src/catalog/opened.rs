//! The open catalogue: its two parts over one database, and how they come to be open.
//!
//! Transitions that change both parts at once are in `commit`.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::cached_search::LazyVodIndex;
use super::compact::{self, CompactionLimits};
use super::counter::FlushCounter;
use super::ended::EndedAttempts;
use super::error::{CatalogError, Result};
use super::inner::CatalogInner;
use super::layout::database_path;
use super::lock::StateLock;
use super::log::LogState;
use super::node::NodeCatalog;
use super::shared::SharedCatalog;
use super::stale_mark::StaleMark;
use super::upgrade;
use crate::durable::RenameOutcome;
use crate::recording::name::printable;

/// The open catalogue; clones are handles on the same one, for any number of threads.
#[derive(Debug, Clone)]
pub struct Catalog {
    node: NodeCatalog,
    shared: SharedCatalog,
}

/// Most of what is asked of a catalogue is about the work of this node.
impl Deref for Catalog {
    type Target = NodeCatalog;

    fn deref(&self) -> &NodeCatalog {
        &self.node
    }
}

impl Catalog {
    /// The part that other nodes may share: VoD records and events.
    pub const fn shared(&self) -> &SharedCatalog {
        &self.shared
    }

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
        Self::open_within(state_dir, CompactionLimits::of_a_start(is_stopped))
    }

    pub(super) fn open_within(state_dir: &Path, limits: CompactionLimits<'_>) -> Result<Self> {
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
        let moved = crate::durable::rename_no_replace(&path, &aside).and_then(RenameOutcome::durably);
        moved.map_err(|e| CatalogError::StateDirectory { verb: "move aside", path: e.path, source: e.source })?;
        tracing::warn!(aside = %printable(&aside), "damaged catalogue moved aside");
        Ok((Self::open_locked(state_dir, lock, None)?, Some(aside)))
    }

    fn open_locked(state_dir: &Path, lock: StateLock, compaction: Option<CompactionLimits<'_>>) -> Result<Self> {
        let counted = FlushCounter::read(state_dir)?;
        let mut store = upgrade::open(&database_path(state_dir))?;
        // What says that something is missing is on the disk before anything is written that would hide it.
        let behind = StaleMark::open(state_dir, counted, store.flushes()?)?;
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
        let inner = Arc::new(CatalogInner {
            store,
            in_flight: Mutex::default(),
            ended,
            behind,
            log: LogState::default(),
            selecting: LazyVodIndex::default(),
            lock,
            state_dir: state_dir.to_owned(),
        });
        let catalog = Self { shared: SharedCatalog(Arc::clone(&inner)), node: NodeCatalog(inner) };
        catalog.count_deaths(&noted)?;
        Ok(catalog)
    }
}
