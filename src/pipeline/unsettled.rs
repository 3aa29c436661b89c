//! Recordings that the daemon has seen and does not take yet: what it waits for at each, for whoever asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::discover::Waiting;
use crate::recording::journey::Candidate;

/// A recording that is not taken yet.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// As it was seen last.
    pub candidate: Candidate,
    /// What is waited for.
    pub reason: Waiting,
    /// When it is looked at again, milliseconds since the Unix epoch.
    pub until_ms: i64,
}

/// All of them, by path.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<BTreeMap<PathBuf, Awaited>>);

impl Unsettled {
    /// One is waited for, or for another reason than before.
    pub(super) fn set(&self, awaited: Awaited) {
        self.lock().insert(awaited.candidate.path.clone(), awaited);
    }

    /// It is taken, or gone.
    pub(super) fn remove(&self, path: &Path) {
        self.lock().remove(path);
    }

    /// Those that come after a path, at most so many, in the order of paths.
    pub fn page(&self, limit: usize) -> Vec<Awaited> {
        self.lock().values().take(limit).cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Awaited>> {
        // The map is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
