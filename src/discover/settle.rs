//! Is anybody still writing? Evidence is gathered here and judged by one pure function (design §4).
//!
//! Strong evidence of no writer: its close or rename was seen, a lease was granted, or every process's open files were
//! read. Weak evidence: size and times unchanged. Weak evidence waits `quiet`, always. A temporary name needs, besides
//! no writer, a reason to be called orphaned.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::clock::Clock;
use crate::recording::Fingerprint;
use crate::recording::journey::{Candidate, Evidence};

use super::candidate::NameRules;
use super::hls;
use super::lease::{self, LeaseState, LeaseUnavailable};
use super::options::{RootOptions, Server, WatchOptions};
use super::scan::temporaries_of;
use super::writers::{OpenFiles, ProcessId, ServerState};
use seen_writers::{FileId, SeenWriters};

mod seen_writers;
mod settled;
mod verdict;

pub use settled::Settled;
pub use verdict::{FileProcesses, Mode, SeenEvent, SettleFacts, SettleVerdict, WaitReason, WriterState, judge};

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettleOutcome {
    /// Nobody writes it any more.
    Settled(Settled),
    /// It may still be written, or its time has not come.
    Wait {
        /// When to ask again, milliseconds since the Unix epoch; an event may come earlier.
        until_ms: i64,
        /// What is waited for.
        reason: WaitReason,
    },
    /// It is no longer there, or no longer a file.
    Gone,
    /// It is another file, or has grown, since it was found. Ask again with this one.
    Changed(Candidate),
    /// A playlist has come to name it: it is a segment and no recording.
    InUnit,
}

/// Whether this node has the first right to a shared root now.
struct GoesFirst(Arc<dyn Fn(&Path) -> bool + Send + Sync>);

impl std::fmt::Debug for GoesFirst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoesFirst").finish_non_exhaustive()
    }
}

/// Gathers evidence, remembers what it has seen and said.
#[derive(Debug)]
pub struct Settler {
    options: WatchOptions,
    goes_first: GoesFirst,
    clock: Clock,
    rules: NameRules,
    processes: Mutex<Option<(Instant, Arc<OpenFiles>)>>,
    /// The state of files whose times may be of another clock, and so tell nothing, and its first sight; by digests.
    observed: Mutex<HashMap<u64, (u64, Instant)>>,
    /// Who was seen writing temporary names.
    writers: SeenWriters,
    /// Servers that were seen running, by name, and when last, milliseconds since the Unix epoch.
    servers: Mutex<HashMap<String, i64>>,
    /// Roots for which the missing capability has been named.
    told: Mutex<HashSet<PathBuf>>,
}

/// How long one reading of `/proc` serves. Far below `settle`, so that it is younger than the last change it judges.
const PROCESSES_SERVE: Duration = Duration::from_secs(1);
/// The same for a temporary name that is seen being written for the first time: an earlier reading may not have its
/// writer, which may be killed before the next one.
const PROCESSES_SERVE_NEWS: Duration = Duration::from_millis(100);

/// How far apart the clocks of machines that share a file system may be: two time zones, one taken for the other, are 26 hours apart.
const CLOCKS_APART: Duration = Duration::from_secs(48 * 3_600);
/// Files whose first sight is remembered at most; then all are seen for the first time again.
const MOST_OBSERVED: usize = 1_000_000;

impl Settler {
    /// A settler with these times and temporary suffixes.
    pub fn new(options: &WatchOptions) -> Self {
        Self {
            options: options.clone(),
            goes_first: GoesFirst(Arc::new(|_| true)),
            clock: Clock::default(),
            rules: NameRules::new(&options.temporary_suffixes),
            processes: Mutex::default(),
            observed: Mutex::default(),
            writers: SeenWriters::default(),
            servers: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// How long what was read of processes serves is told by this clock.
    #[must_use]
    pub fn timed_by(self, clock: &Clock) -> Self {
        Self { clock: clock.clone(), ..self }
    }

    /// `first_right` in the settings of a shared root counts only where this says so: two nodes may have it there.
    #[must_use]
    pub fn going_first_where(self, is_first: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        Self { goes_first: GoesFirst(Arc::new(is_first)), ..self }
    }

    /// Decides whether a candidate is settled. `seen` is the last close or rename that was seen of its path.
    pub fn settle(&self, candidate: Candidate, seen: Option<SeenEvent>, mode: Mode, now_ms: i64) -> SettleOutcome {
        let state = match FileState::of(&candidate.path) {
            Ok(Some(state)) => state,
            Ok(None) => return self.gone(&candidate.path),
            Err(_) => return self.wait(now_ms, WaitReason::Unreadable),
        };
        if state.fingerprint != candidate.fingerprint {
            self.see_written(&candidate, state, &[]);
            return SettleOutcome::Changed(Candidate { fingerprint: state.fingerprint, ..candidate });
        }
        let facts = self.gather(&candidate, state, seen, mode, now_ms);
        if self.sharing(&candidate.root).is_none() {
            self.tell_once(&candidate.root, &facts);
        }
        match judge(&facts, &self.options, now_ms, mode) {
            SettleVerdict::Wait { until_ms, reason } => SettleOutcome::Wait { until_ms, reason },
            SettleVerdict::Settled(_) if self.is_segment(&candidate, &facts, now_ms) => SettleOutcome::InUnit,
            SettleVerdict::Settled(evidence) => self.confirm(candidate, evidence),
        }
    }

    /// Forgets who wrote a file that is no longer under this name.
    pub fn forget(&self, path: &Path) {
        self.writers.forget(path);
    }

    fn gone(&self, path: &Path) -> SettleOutcome {
        self.forget(path);
        SettleOutcome::Gone
    }

    /// Looks once more: the evidence was about the file as it was found.
    fn confirm(&self, candidate: Candidate, evidence: Evidence) -> SettleOutcome {
        match FileState::of(&candidate.path) {
            Ok(Some(now)) if now.fingerprint == candidate.fingerprint => {
                self.forget(&candidate.path);
                SettleOutcome::Settled(Settled::new(candidate, evidence))
            }
            Ok(Some(now)) => SettleOutcome::Changed(Candidate { fingerprint: now.fingerprint, ..candidate }),
            Ok(None) | Err(_) => self.gone(&candidate.path),
        }
    }

    /// Servers close a segment before its playlist names it, so that what looked like a recording may have become one
    /// of a unit meanwhile. Old files were judged by the scan.
    fn is_segment(&self, candidate: &Candidate, facts: &SettleFacts, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(facts.unchanged_since_ms);
        let antmedia = [Server::AntMedia, Server::Auto].iter().any(|s| s.name() == candidate.server);
        facts.may_be_segment
            && age_ms < verdict::ms(self.options.orphan_after)
            && hls::is_claimed(&candidate.path, &candidate.root, &self.rules, antmedia, now_ms)
    }

    fn wait(&self, now_ms: i64, reason: WaitReason) -> SettleOutcome {
        SettleOutcome::Wait { until_ms: now_ms.saturating_add(verdict::ms(self.options.quiet)), reason }
    }

    fn gather(
        &self,
        candidate: &Candidate,
        state: FileState,
        seen: Option<SeenEvent>,
        mode: Mode,
        now_ms: i64,
    ) -> SettleFacts {
        let is_remote = lease::is_remote(lease::magic_of(&candidate.path));
        let sharing = self.sharing(&candidate.root);
        let has_other_clock = (is_remote || sharing.is_some()) && mode == Mode::Watch;
        let is_remote = sharing.map_or(is_remote, |beside_writers| !beside_writers);
        let lease = match lease::probe(&candidate.path) {
            // Another node's writer breaks no lease of this one.
            LeaseState::Free if sharing.is_some() => LeaseState::Unavailable(LeaseUnavailable::FileSystem),
            answer => answer,
        };
        // Another machine's writer is invisible to this one's events, processes and kernel.
        let seen = seen.filter(|_| !is_remote);
        let needs_writers = matches!(lease, LeaseState::Unavailable(_));
        let needs_server = candidate.is_temporary && mode != Mode::Recover;
        let is_news = lease == LeaseState::Held && needs_server && !self.writers.know(&candidate.path, state.file());
        let serve = if is_news { PROCESSES_SERVE_NEWS } else { PROCESSES_SERVE };
        let processes = (needs_writers || needs_server).then(|| self.processes(serve));
        let server = processes.as_ref().map_or(ServerState::Unknown, |p| self.server_state(p, candidate, mode, now_ms));
        let writers = processes.as_ref().map_or(&[][..], |p| p.writers_of(&candidate.fingerprint));
        if lease == LeaseState::Held || seen.is_some() || !writers.is_empty() {
            self.see_written(candidate, state, writers);
        }
        SettleFacts {
            is_temporary: candidate.is_temporary,
            may_be_segment: !candidate.is_temporary && hls::may_be_segment(&candidate.path),
            has_live_temporary: !candidate.is_temporary && self.has_live_temporary(&candidate.path, mode, now_ms),
            seen,
            lease,
            processes: processes.map(|p| FileProcesses {
                is_written: p.is_written(&candidate.fingerprint),
                is_complete: p.is_complete() && !is_remote,
            }),
            server: if is_remote { ServerState::Unknown } else { server },
            server_is_named: self.names_server(&candidate.root),
            writer: self.writers.state(&candidate.path, state.file()),
            last_write_ms: candidate.fingerprint.mtime_ms(),
            unchanged_since_ms: self.unchanged_since_ms(&candidate.path, state, now_ms, has_other_clock),
        }
    }

    /// Remembers that a temporary name is being written or was just closed, and by whom as far as that can be seen.
    fn see_written(&self, candidate: &Candidate, state: FileState, by: &[ProcessId]) {
        if candidate.is_temporary {
            let is_news = !by.is_empty() && !self.writers.know(&candidate.path, state.file());
            self.writers.see(&candidate.path, state.file(), by);
            if is_news {
                let path = crate::recording::name::printable(&candidate.path);
                tracing::debug!(%path, processes = by.len(), "temporary file is being written");
            }
        }
    }

    /// Whether the settings say which server writes below a root; else it is only guessed from names.
    fn names_server(&self, root: &Path) -> bool {
        let named = |r: &RootOptions| r.path == root && r.server != Server::Auto && r.template.is_none();
        self.options.roots.iter().any(named)
    }

    /// Of a root that several nodes share, whether all of its writers run on this one; `None` for any other.
    fn sharing(&self, root: &Path) -> Option<bool> {
        let shared = self.options.roots.iter().find(|r| r.path == root && r.shared);
        shared.map(|r| r.first_right && (self.goes_first.0)(root))
    }

    /// A server that runs in another container is invisible to a daemon beside it, so that "none runs" says nothing
    /// there. A person who names paths is believed to see more than the daemon does.
    fn server_state(&self, processes: &OpenFiles, candidate: &Candidate, mode: Mode, now_ms: i64) -> ServerState {
        let state = processes.server(&candidate.server);
        let mut servers = lock(&self.servers);
        match state {
            ServerState::Running { .. } => {
                servers.insert(candidate.server.clone(), now_ms);
                state
            }
            ServerState::NotRunning => match servers.get(&candidate.server) {
                Some(&last_seen_ms) => ServerState::Ended { last_seen_ms },
                None if mode == Mode::Watch && !processes.sees_machine() => ServerState::Unknown,
                None => state,
            },
            ServerState::Ended { .. } | ServerState::Unknown => state,
        }
    }

    /// The open files of all processes as they were at most a second ago.
    pub fn open_files(&self) -> Arc<OpenFiles> {
        self.processes(PROCESSES_SERVE)
    }

    /// All processes as they were at most so long ago.
    fn processes(&self, serve: Duration) -> Arc<OpenFiles> {
        let (now, mut kept) = (self.clock.now(), lock(&self.processes));
        if let Some((_, processes)) = kept.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) < serve) {
            return Arc::clone(processes);
        }
        let processes = Arc::new(OpenFiles::read());
        *kept = Some((self.clock.now(), Arc::clone(&processes)));
        processes
    }

    /// Since when nothing has changed. The change time cannot be set by anybody and so counts beside the modification
    /// time. Where both lie in the future (a clock was wrong), or may be those of another clock, which this one is ahead of, the first
    /// sight of this state stands in; a batch run waits for nobody.
    fn unchanged_since_ms(&self, path: &Path, state: FileState, now_ms: i64, has_other_clock: bool) -> i64 {
        let changed_ms = state.fingerprint.mtime_ms().max(state.ctime_ms);
        let least_ms = if has_other_clock { verdict::ms(CLOCKS_APART) } else { 0 };
        if now_ms.saturating_sub(changed_ms) >= least_ms {
            return changed_ms;
        }
        let (now, mut observed) = (self.clock.now(), lock(&self.observed));
        if observed.len() >= MOST_OBSERVED {
            observed.clear();
        }
        let (file, state) = (digest_of(path), digest_of((state.fingerprint, state.ctime_ms)));
        // It stays when the file is settled: that is asked again while another node has it, which may die.
        let seen = observed.entry(file).or_insert((state, now));
        if seen.0 != state {
            *seen = (state, now);
        }
        let first = seen.1;
        now_ms.saturating_sub(verdict::ms(now.saturating_duration_since(first)))
    }

    /// Whether a temporary of the same name is in use. An old one that nobody writes does not hold up its final name.
    fn has_live_temporary(&self, path: &Path, mode: Mode, now_ms: i64) -> bool {
        temporaries_of(path, self.rules.suffixes()).any(|(temporary, changed_ms)| {
            let age_ms = now_ms.saturating_sub(changed_ms);
            match lease::probe(&temporary) {
                LeaseState::Held => true,
                LeaseState::Free if mode == Mode::Recover => false,
                LeaseState::Unavailable(_) if mode == Mode::Recover => age_ms < verdict::ms(self.options.quiet),
                LeaseState::Free | LeaseState::Unavailable(_) => age_ms < verdict::ms(self.options.orphan_after),
            }
        })
    }

    /// Names, once per root, what would make the evidence strong.
    fn tell_once(&self, root: &Path, facts: &SettleFacts) {
        let LeaseState::Unavailable(why) = facts.lease else { return };
        let is_strong = facts.processes.is_some_and(|p| p.is_complete);
        let Some(remedy) = remedy(why).filter(|_| !is_strong) else { return };
        if lock(&self.told).insert(root.to_owned()) {
            tracing::warn!(
                root = %crate::recording::name::printable(root),
                quiet_s = self.options.quiet.as_secs(),
                remedy,
                "cannot see which processes write here; recordings wait until they are unchanged for `quiet`"
            );
        }
    }
}

/// What would let this process see writers; `None` where nothing is missing.
fn remedy(why: LeaseUnavailable) -> Option<&'static str> {
    match why {
        LeaseUnavailable::NotOwner => Some(
            "Give aftercast CAP_LEASE (`AmbientCapabilities=CAP_LEASE` in its unit) or run it as the recordings' owner.",
        ),
        LeaseUnavailable::NoAccess => {
            Some("Add the user that runs aftercast to the group of the recordings and give the group read permission.")
        }
        LeaseUnavailable::FileSystem => {
            Some("This file system does not support leases. Run aftercast on the machine that records.")
        }
        LeaseUnavailable::Gone | LeaseUnavailable::Other => None,
    }
}

fn digest_of(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A file now: its fingerprint, change time and birth.
#[derive(Debug, Clone, Copy)]
struct FileState {
    fingerprint: Fingerprint,
    ctime_ms: i64,
    /// When it was made, where the file system says so.
    born: Option<SystemTime>,
}

impl FileState {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(Self {
                fingerprint: Fingerprint::of(&found),
                ctime_ms: found.ctime().saturating_mul(1000).saturating_add(found.ctime_nsec() / 1_000_000),
                born: found.created().ok(),
            })),
            Ok(_) => Ok(None),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    const fn file(&self) -> FileId {
        FileId { device: self.fingerprint.device, inode: self.fingerprint.inode, born: self.born }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every value behind these locks is complete at any time, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
