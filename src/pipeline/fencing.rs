//! Who is asked before a step that cannot be undone, or that leaves something if it is cut: for recordings that more than one node could work on.
//!
//! Without a fence a recording is this process's alone. With one, the answer comes from the database that gave it to this process; no
//! answer forbids the step.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::PipelineError;
use crate::durable::PartialOwner;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep<'a> {
    /// The finished file is written aside.
    Write {
        /// The name that it is to get.
        path: &'a Path,
        /// In whose name it is written.
        owner: &'a PartialOwner,
    },
    /// The finished file gets its final name and is catalogued.
    Publish {
        /// The final name.
        path: &'a Path,
        /// The id of its record.
        vod_id: &'a str,
        /// Its size.
        size_bytes: u64,
    },
    /// The source is removed.
    RemoveSource,
}

/// Says whether a step may be taken; else why not.
type Fence = Arc<dyn Fn(&NextStep<'_>) -> Result<(), String> + Send + Sync>;

/// The fences of recordings, by their paths.
#[derive(Clone, Default)]
pub struct Fences(Arc<Mutex<HashMap<PathBuf, Fence>>>);

impl fmt::Debug for Fences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

/// A fence stands as long as this lives.
#[derive(Debug)]
pub struct FenceGuard {
    fences: Fences,
    path: PathBuf,
}

impl Drop for FenceGuard {
    fn drop(&mut self) {
        self.fences.lock().remove(&self.path);
    }
}

impl Fences {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Fence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has someone asked before each step with a recording.
    #[must_use]
    pub fn put(
        &self,
        path: &Path,
        may: impl Fn(&NextStep<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> FenceGuard {
        self.lock().insert(path.to_owned(), Arc::new(may));
        FenceGuard { fences: self.clone(), path: path.to_owned() }
    }

    /// An error unless a step may be taken. The fence of a directory stands around everything in it.
    pub(super) fn require(&self, path: &Path, next: &NextStep<'_>) -> Result<(), PipelineError> {
        // Asked without the lock: the answer may take its time.
        let fence = {
            let fences = self.lock();
            path.ancestors().find_map(|above| fences.get(above).cloned())
        };
        match fence.map(|may| may(next)) {
            Some(Err(why)) => Err(PipelineError::NotOurs { path: path.to_owned(), why }),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_forbidden_as_long_as_the_fence_stands() {
        let (fences, path) = (Fences::default(), Path::new("/recordings/x.flv"));
        let next = NextStep::RemoveSource;
        assert!(fences.require(path, &next).is_ok());
        let fence = fences.put(path, |_| Err("another node has it".to_owned()));
        let refused = fences.require(path, &next).unwrap_err();
        assert!(refused.to_string().contains("another node has it"), "{refused}");
        assert!(fences.require(Path::new("/recordings/y.flv"), &next).is_ok());
        drop(fence);
        assert!(fences.require(path, &next).is_ok());
        let _around = fences.put(Path::new("/recordings"), |_| Err("another node has it".to_owned()));
        assert!(fences.require(path, &next).is_err());
        assert!(fences.require(Path::new("/elsewhere/x.flv"), &next).is_ok());
    }
}
