//! The roots that this process owns: no other one finishes what lies in them meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::durable::{self, PartialOwner, RootError, RootLock, RootOwner, RootPart, foreign_owner};
use crate::recording::name::printable;

/// How long a root is waited for that another process owns: a command beside the daemon's start ends soon.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Who wants roots, and how much of each.
#[derive(Debug)]
pub struct RootClaim<'a> {
    /// In whose name files are written there.
    pub owner: &'a PartialOwner,
    /// The state directory.
    pub state_dir: &'a Path,
    /// The part of each root, if not the whole.
    pub part: Option<RootPart>,
}

impl RootClaim<'_> {
    fn take(&self, root: &Path) -> Result<RootLock, RootError> {
        match &self.part {
            Some(part) => RootLock::take_part(root, self.owner, part),
            None => RootLock::take(root, self.owner, self.state_dir),
        }
    }
}

/// The roots that are owned, for as long as this lives.
#[derive(Debug, Default)]
pub struct OwnedRoots {
    locks: Mutex<HashMap<PathBuf, RootLock>>,
    /// Roots that are shared with other nodes.
    shared: Mutex<BTreeSet<PathBuf>>,
}

impl OwnedRoots {
    /// Owns these roots, too. All of them or, where another process has one, none that was not owned before.
    ///
    /// A root that is not there is owned when it appears; nothing can be finished in it before.
    pub fn own<'a>(
        &self,
        roots: impl Iterator<Item = &'a Path>,
        claim: &RootClaim<'_>,
        is_configured: &dyn Fn(&Path) -> bool,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), RootError> {
        let mut new = HashMap::new();
        let mut held = self.lock();
        let is_owned =
            |root: &Path, held: &HashMap<PathBuf, RootLock>| held.get(root).is_some_and(|lock| lock.is_of(root));
        for root in roots.filter(|root| !is_owned(root, &held)).collect::<BTreeSet<_>>() {
            // What was owned is another directory by now, or gone: its lock must not keep that from being unmounted.
            held.remove(root);
            if let Some(mut lock) = own_one(root, claim, is_stopped)? {
                if !is_configured(root) {
                    lock.leave_as_it_was();
                }
                new.insert(root.to_owned(), lock);
            }
        }
        held.extend(new);
        Ok(())
    }

    /// Takes part in a root that several nodes share. It is not locked; its file says so from here on.
    pub fn share(&self, root: &Path) -> Result<(), RootError> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |root: &Path| durable::owner_of(root).is_some_and(|says| says.is_shared);
        if shared.contains(root) && is_known(root) {
            return Ok(());
        }
        // Held by this process as its own until a reload.
        self.lock().remove(root);
        if !root.is_dir() {
            // The scan says so; `share` is asked again before the next one.
            return Ok(());
        }
        if !is_known(root) {
            RootLock::probe(root)?;
        }
        if !durable::are_links_exclusive(root)? {
            return Err(RootError::UnsafeLinks { root: root.to_owned() });
        }
        durable::declare_shared(root)?;
        shared.insert(root.to_owned());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, RootLock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn own_one(root: &Path, claim: &RootClaim<'_>, is_stopped: &dyn Fn() -> bool) -> Result<Option<RootLock>, RootError> {
    let deadline = Instant::now() + PATIENCE;
    let mut is_said = false;
    loop {
        match claim.take(root) {
            Ok(lock) => {
                if !lock.is_by_kernel() {
                    info!(root = %printable(root), "file system without locks: ownership is kept by a file");
                }
                return Ok(Some(lock));
            }
            Err(RootError::File(error)) => {
                // The scan says what is wrong with it; `own` is asked again before the next one.
                tracing::debug!(root = %printable(root), error = crate::fault::chain(&error), "root not owned");
                return Ok(None);
            }
            Err(shared @ RootError::Shared { .. }) => return Err(shared),
            Err(in_use) if Instant::now() >= deadline || is_stopped() => return Err(in_use),
            Err(_) if !std::mem::replace(&mut is_said, true) => {
                warn!(root = %printable(root), "root in use by another aftercast; waiting for it");
            }
            Err(_) => std::thread::sleep(AGAIN_AFTER),
        }
    }
}

/// Tells which directories belong to others, each looked at once.
#[derive(Debug)]
pub struct ForeignRoots<'a> {
    root: &'a Path,
    owner: &'a PartialOwner,
    known: HashMap<PathBuf, Option<RootOwner>>,
}

impl<'a> ForeignRoots<'a> {
    /// For directories below a root of ours.
    pub fn new(root: &'a Path, owner: &'a PartialOwner) -> Self {
        Self { root, owner, known: HashMap::new() }
    }

    /// Who owns the directory of a file, or one between it and the root.
    pub fn owner_of(&mut self, path: &Path) -> Option<RootOwner> {
        let directory =
            path.parent().filter(|directory| *directory != self.root && directory.starts_with(self.root))?;
        if let Some(known) = self.known.get(directory) {
            return known.clone();
        }
        let found = foreign_owner(directory, self.owner).or_else(|| self.owner_of(directory));
        self.known.insert(directory.to_owned(), found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_named_twice_is_owned_once() {
        let dir = tempfile::tempdir().unwrap();
        let owned = OwnedRoots::default();
        let roots = [dir.path(), dir.path()].into_iter();
        let name = PartialOwner::new("one");
        let claim = RootClaim { owner: &name, state_dir: Path::new("/var/lib/state"), part: None };
        owned.own(roots, &claim, &|_| true, &|| false).unwrap();
        assert!(RootLock::probe(dir.path()).is_err(), "it is ours");
    }
}
