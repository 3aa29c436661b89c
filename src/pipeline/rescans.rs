//! Scans that somebody asks the daemon for, beside those that it makes by itself.
//!
//! The daemon's loop alone scans: it knows what waits and what is under way. Whoever wants a scan puts a request here and is answered when it
//! was made; what it found is then on its way like everything else.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recording::name::shown;

/// What a scan of a root found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScannedRoot {
    /// The root.
    #[serde(serialize_with = "shown")]
    #[schemars(with = "PathBuf")]
    pub root: PathBuf,
    /// Whether it is there and ours; what is not is not scanned.
    pub is_available: bool,
    /// Files that may be recordings, also those that are known.
    pub recordings: u64,
    /// Of these, recordings that are taken from here on: new ones, and those to be tried again.
    pub taken: u64,
    /// Final names whose temporary is still written.
    pub waiting: u64,
    /// HLS and DASH units.
    pub units: u64,
    /// Media that nothing is done with.
    pub unhandled: u64,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// A scan that is wanted.
#[derive(Debug)]
pub(super) struct Request {
    root: Option<PathBuf>,
    answer: Sender<Vec<ScannedRoot>>,
}

impl Request {
    /// The one root that is wanted; all if none.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Answers it; nobody may be there any more.
    pub(super) fn end(self, found: Vec<ScannedRoot>) {
        let _ = self.answer.send(found);
    }
}

/// What is wanted; `None` while nobody watches.
#[derive(Debug, Default)]
pub struct Rescans(Mutex<Option<Vec<Request>>>);

impl Rescans {
    /// Asks for a scan of a root, or of all; the answer comes when it is made, or the channel closes with the daemon. `None` if nobody
    /// watches.
    pub fn ask(&self, root: Option<PathBuf>) -> Option<Receiver<Vec<ScannedRoot>>> {
        let (answer, answered) = bounded(1);
        self.lock().as_mut()?.push(Request { root, answer });
        Some(answered)
    }

    /// From now on requests are answered.
    pub(super) fn open(&self) {
        self.lock().get_or_insert_default();
    }

    /// Nobody answers any more.
    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    pub(super) fn next(&self) -> Option<Request> {
        let mut wanted = self.lock();
        let wanted = wanted.as_mut()?;
        (!wanted.is_empty()).then(|| wanted.remove(0))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Request>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
