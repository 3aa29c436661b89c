//! Scans that somebody asks the daemon for, beside those that it makes by itself.
//!
//! The daemon's loop alone scans: it knows what waits and what is under way. Whoever wants a scan puts a request here and is answered when it
//! was made; what it found is then on its way like everything else. All that is asked for meanwhile is one scan: requests do not keep the loop
//! from what else it has to do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recording::name::shown;
use crate::stop::Stop;

/// Requests that wait at most.
const MOST_REQUESTS: usize = 256;

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
struct Request {
    /// The one root that is wanted; all if none.
    root: Option<PathBuf>,
    answer: Sender<Vec<ScannedRoot>>,
    /// Requested when nobody waits for the answer any more.
    stop: Stop,
}

impl Request {
    fn is_wanted(&self) -> bool {
        !self.stop.is_requested()
    }

    /// Answers it with what it asked for; nobody may be there any more.
    fn end(&self, found: &[ScannedRoot]) {
        let is_asked_for = |root: &PathBuf| self.root.as_ref().is_none_or(|wanted| wanted == root);
        let found = found.iter().filter(|scanned| is_asked_for(&scanned.root)).cloned().collect();
        let _ = self.answer.send(found);
    }
}

/// Why a scan cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescanRefusal {
    /// Nobody watches.
    NotWatched,
    /// Too many wait for one.
    TooMany,
}

/// What is wanted; `None` while nobody watches.
#[derive(Debug, Default)]
pub struct Rescans(Mutex<Option<Vec<Request>>>);

impl Rescans {
    /// Asks for a scan of a root, or of all; the answer comes when it is made, or the channel closes with the daemon. Who does not wait for
    /// it any more requests the stop.
    pub fn ask(&self, root: Option<PathBuf>, stop: &Stop) -> Result<Receiver<Vec<ScannedRoot>>, RescanRefusal> {
        let mut waiting = self.lock();
        let waiting = waiting.as_mut().ok_or(RescanRefusal::NotWatched)?;
        if waiting.len() >= MOST_REQUESTS {
            waiting.retain(Request::is_wanted);
        }
        if waiting.len() >= MOST_REQUESTS {
            return Err(RescanRefusal::TooMany);
        }
        let (answer, answered) = bounded(1);
        waiting.push(Request { root, answer, stop: stop.clone() });
        Ok(answered)
    }

    /// From now on requests are answered.
    pub(super) fn open(&self) {
        self.lock().get_or_insert_default();
    }

    /// Nobody answers any more.
    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    /// Answers all who wait now by one scan of the roots that they want, of every root if that is `None`. Nothing is scanned for those who
    /// do not wait any more.
    pub(super) fn answer(&self, scan: impl FnOnce(Option<&BTreeSet<PathBuf>>) -> Vec<ScannedRoot>) {
        let mut waiting = self.lock().as_mut().map(std::mem::take).unwrap_or_default();
        waiting.retain(Request::is_wanted);
        if waiting.is_empty() {
            return;
        }
        let wanted: Option<BTreeSet<PathBuf>> = waiting.iter().map(|request| request.root.clone()).collect();
        let found = scan(wanted.as_ref());
        for request in &waiting {
            request.end(&found);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Request>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(roots: &[&str]) -> Vec<ScannedRoot> {
        roots.iter().map(|root| ScannedRoot { root: (*root).into(), ..ScannedRoot::default() }).collect()
    }

    fn open() -> Rescans {
        let rescans = Rescans::default();
        rescans.open();
        rescans
    }

    #[test]
    fn all_who_wait_are_answered_by_one_scan_of_what_they_want() {
        let (rescans, stop) = (open(), Stop::default());
        let ask = |root: Option<&str>| rescans.ask(root.map(PathBuf::from), &stop).unwrap();
        let (one, same, other) = (ask(Some("/a")), ask(Some("/a")), ask(Some("/b")));
        let mut scans = 0;
        rescans.answer(|wanted| {
            scans += 1;
            assert_eq!(wanted, Some(&BTreeSet::from([PathBuf::from("/a"), PathBuf::from("/b")])));
            scanned(&["/a", "/b"])
        });
        assert_eq!(
            [one, same, other].map(|answered| answered.try_recv().unwrap()),
            [["/a"], ["/a"], ["/b"]].map(|r| scanned(&r))
        );
        let (all, one) = (ask(None), ask(Some("/b")));
        rescans.answer(|wanted| {
            scans += 1;
            assert_eq!(wanted, None, "every root");
            scanned(&["/a", "/b"])
        });
        assert_eq!((all.try_recv().unwrap(), one.try_recv().unwrap()), (scanned(&["/a", "/b"]), scanned(&["/b"])));
        rescans.answer(|_| unreachable!("nobody waits"));
        assert_eq!(scans, 2);
    }

    #[test]
    fn nothing_is_scanned_for_who_has_gone_and_those_who_wait_are_bounded() {
        let (rescans, whole) = (open(), Stop::default());
        let gone = whole.part();
        let answered: Vec<_> = (0..MOST_REQUESTS).map(|_| rescans.ask(None, &gone).unwrap()).collect();
        assert_eq!(rescans.ask(None, &whole).unwrap_err(), RescanRefusal::TooMany);
        gone.request();
        let one = rescans.ask(Some("/a".into()), &whole).unwrap();
        rescans.answer(|wanted| {
            assert_eq!(wanted, Some(&BTreeSet::from([PathBuf::from("/a")])));
            scanned(&["/a"])
        });
        assert_eq!(one.try_recv().unwrap(), scanned(&["/a"]));
        assert!(answered.iter().all(|answered| answered.try_recv().is_err()));
        let _nobody = rescans.ask(None, &gone).unwrap();
        rescans.answer(|_| unreachable!("nobody waits"));
        rescans.close();
        assert_eq!(rescans.ask(None, &whole).unwrap_err(), RescanRefusal::NotWatched);
    }
}
