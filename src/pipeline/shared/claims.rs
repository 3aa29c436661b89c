//! Which recordings in shared roots this node holds, and which others have finished.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::catalog::JournalKey;
use crate::durable::PartialOwner;
use crate::fleet::SharedLease;

/// Recordings of others that are remembered at most; then all are asked for again.
const MOST_ELSEWHERE: usize = 1_000_000;

/// A recording that this node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldClaim {
    /// The right to it.
    pub(super) lease: SharedLease,
    /// Its root.
    pub(super) root: PathBuf,
    /// Whether the database has accepted it as finished; what is left to be done is this node's own business.
    pub(super) is_done: bool,
}

impl HeldClaim {
    /// Where the holder before was about to publish it.
    pub fn published_path(&self) -> Option<PathBuf> {
        self.lease.published.as_ref().map(|published| self.root.join(&published.path))
    }

    /// In whose name files are written aside: nobody else has the token.
    pub fn owner(&self) -> PartialOwner {
        owner_of(self.lease.token)
    }
}

/// In whose name the holder of a token writes.
pub(super) fn owner_of(token: i64) -> PartialOwner {
    PartialOwner::new(&format!("t{token}"))
}

#[derive(Debug, Default)]
struct ClaimState {
    held: HashMap<JournalKey, HeldClaim>,
    elsewhere: HashSet<JournalKey>,
}

/// What this node holds and what it need not ask for again.
#[derive(Debug, Default)]
pub struct SharedClaims(Mutex<ClaimState>);

impl SharedClaims {
    fn lock(&self) -> MutexGuard<'_, ClaimState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(&self, key: JournalKey, claim: HeldClaim) {
        self.lock().held.insert(key, claim);
    }

    /// The claim on a recording, if it lies in a shared root and is this node's.
    pub fn held(&self, key: &JournalKey) -> Option<HeldClaim> {
        self.lock().held.get(key).cloned()
    }

    pub(super) fn release(&self, key: &JournalKey) -> Option<HeldClaim> {
        self.lock().held.remove(key)
    }

    /// Remembers that no node has to do anything about a file any more.
    pub(super) fn note_elsewhere(&self, key: JournalKey) {
        let mut state = self.lock();
        if state.elsewhere.len() >= MOST_ELSEWHERE {
            state.elsewhere.clear();
        }
        state.elsewhere.insert(key);
    }

    /// Whether nothing is to be done about a file, because another node has done it.
    pub fn is_elsewhere(&self, key: &JournalKey) -> bool {
        self.lock().elsewhere.contains(key)
    }
}
