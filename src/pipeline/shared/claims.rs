//! Which recordings in shared roots this node holds, and which others have finished.

use std::collections::{HashMap, HashSet};
use std::path::{Component, PathBuf};
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
        let published = self.lease.published.as_ref()?;
        // What is read in the database names no file outside the root.
        let is_below = published.path.components().all(|component| matches!(component, Component::Normal(_)));
        (is_below && published.path.file_name().is_some()).then(|| self.root.join(&published.path))
    }

    /// What is to be told as begun before the recording is worked on; `None` where that is over.
    pub fn to_begin(&self) -> Option<&SharedLease> {
        (!self.is_done).then_some(&self.lease)
    }

    /// In whose name the holder before may have left files aside.
    pub(super) fn former_owner(&self) -> Option<PartialOwner> {
        self.lease.former_token.map(owner_of)
    }

    /// In whose name files are written aside: nobody else has the token.
    pub fn owner(&self) -> PartialOwner {
        owner_of(self.lease.token)
    }
}

/// In whose name the holder of a token writes.
fn owner_of(token: i64) -> PartialOwner {
    PartialOwner::new(&format!("t{token}"))
}

#[derive(Debug, Default)]
struct ClaimState {
    held: HashMap<JournalKey, HeldClaim>,
    elsewhere: HashSet<JournalKey>,
    /// Quarantined for all nodes, and said to be.
    quarantined: HashSet<JournalKey>,
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

    /// Gives up the claim with this token; a later one on the same recording stays.
    pub(super) fn release(&self, key: &JournalKey, token: i64) -> Option<HeldClaim> {
        let mut state = self.lock();
        let is_it = state.held.get(key).is_some_and(|claim| claim.lease.token == token);
        is_it.then(|| state.held.remove(key)).flatten()
    }

    /// Notes that a recording is quarantined for all nodes; says whether that is news. It is asked for again: a person may
    /// have let all nodes try it again.
    pub(super) fn note_quarantined(&self, key: JournalKey) -> bool {
        let mut state = self.lock();
        if state.quarantined.len() >= MOST_ELSEWHERE {
            state.quarantined.clear();
        }
        state.quarantined.insert(key)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fleet::{SharedItem, SharedResult};
    use crate::recording::Fingerprint;

    fn claim(token: i64, published: &str) -> HeldClaim {
        let published = Some(SharedResult { path: published.into(), digest: "0".to_owned() });
        let fingerprint = Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 };
        let item = SharedItem { root_id: "1".to_owned(), path: "x.flv".into(), fingerprint };
        let lease = SharedLease { item, token, attempt: 1, former_token: None, published };
        HeldClaim { lease, root: "/srv/live".into(), is_done: false }
    }

    #[test]
    fn a_result_that_is_no_name_below_the_root_is_none() {
        assert_eq!(claim(1, "a/x.mp4").published_path(), Some("/srv/live/a/x.mp4".into()));
        for outside in ["../x.mp4", "/etc/x.mp4", "a/../../x.mp4", "./x.mp4", ""] {
            assert_eq!(claim(1, outside).published_path(), None, "{outside}");
        }
    }

    #[test]
    fn the_end_of_a_former_claim_does_not_give_up_the_later_one() {
        let fingerprint = Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 };
        let (claims, key) = (SharedClaims::default(), JournalKey::of(Path::new("/srv/live/x.flv"), &fingerprint));
        claims.hold(key, claim(1, "x.mp4"));
        claims.hold(key, claim(2, "x.mp4"));
        assert_eq!(claims.release(&key, 1), None);
        assert_eq!(claims.held(&key).map(|claim| claim.lease.token), Some(2));
        assert!(claims.release(&key, 2).is_some() && claims.held(&key).is_none());
    }
}
