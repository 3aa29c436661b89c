//! One rayon pool for media work; the queue before it is ordered, bounded, and holds each recording once.
//!
//! What finishes now overtakes the backlog: a free thread takes the most urgent recording at that moment, not the
//! one that was queued first. What does not fit into the queue is not lost: the next scan finds it again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::turns::{Turn, Turns};
use crate::discover::Settled;
use crate::memory;
use crate::threads;

/// How urgent a recording is; the greater is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Found by a scan.
    Backlog,
    /// Its end was seen just now.
    Live,
}

/// Recordings that wait at most; the scan finds the others again.
pub const MOST_WAITING: usize = 65_536;

type Rank = (Urgency, i64, PathBuf);

#[derive(Debug, Default)]
struct Queue {
    ranks: BTreeSet<Rank>,
    waiting: HashMap<PathBuf, (Rank, Settled)>,
    working: HashSet<PathBuf>,
    is_closed: bool,
}

/// The pool and its queue.
pub struct Pool {
    threads: RwLock<Arc<rayon::ThreadPool>>,
    turns: Arc<Turns>,
    queue: Arc<(Mutex<Queue>, Condvar)>,
    background_nice: AtomicU8,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads().current_num_threads()).finish_non_exhaustive()
    }
}

/// Recordings under way for each that computes; the others wait for the disk.
const UNDER_WAY_PER_TURN: usize = 4;
/// Memory that a recording under way may need beside its sample tables: what is read ahead, written behind and held for order.
const BYTES_UNDER_WAY: u64 = 64 << 20;

/// Recordings that compute at once for a setting of `jobs`: 0 leaves one core to the ingest server.
pub fn threads_for(jobs: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if jobs == 0 { cores.saturating_sub(1).max(1) } else { jobs }
}

/// Recordings under way for a setting of `jobs`, in so much memory.
fn under_way(jobs: usize, memory_bytes: u64) -> usize {
    let room = usize::try_from(memory_bytes / BYTES_UNDER_WAY).unwrap_or(usize::MAX);
    (threads_for(jobs) * UNDER_WAY_PER_TURN).min(room.max(1))
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn threads(jobs: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(under_way(jobs, memory::limit_bytes()))
        .thread_name(|n| format!("finish-{n}"))
        .panic_handler(|_| {
            tracing::error!("A finishing thread panicked; the recording is tried again at the next scan.");
        })
        .build()
}

impl Pool {
    /// Starts the threads; a backlog is worked on at a priority lower by `background_nice`.
    pub fn start(jobs: usize, background_nice: u8) -> Result<Self, rayon::ThreadPoolBuildError> {
        Ok(Self {
            background_nice: background_nice.into(),
            threads: RwLock::new(Arc::new(threads(jobs)?)),
            turns: Arc::new(Turns::new(threads_for(jobs))),
            queue: Arc::default(),
        })
    }

    /// Lets another number of recordings compute at once from now on. What is queued or under way keeps its threads, which end
    /// after it where new ones are needed.
    pub fn resize(&self, jobs: usize, background_nice: u8) -> Result<(), rayon::ThreadPoolBuildError> {
        self.background_nice.store(background_nice, Ordering::Relaxed);
        if self.threads().current_num_threads() < under_way(jobs, memory::limit_bytes()) {
            let more = Arc::new(threads(jobs)?);
            *self.threads.write().unwrap_or_else(PoisonError::into_inner) = more;
        }
        self.turns.resize(threads_for(jobs));
        Ok(())
    }

    fn threads(&self) -> Arc<rayon::ThreadPool> {
        Arc::clone(&self.threads.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a turn, for work that does not come from the queue.
    pub fn turn(&self) -> Turn<'_> {
        self.turns.enter()
    }

    /// Queues a recording unless it is queued or worked on already; says whether it was taken. The work begins with a
    /// turn.
    pub fn submit<F>(&self, settled: Settled, urgency: Urgency, work: F) -> bool
    where
        F: FnOnce(Settled, &Turn<'_>) + Send + 'static,
    {
        if !lock(&self.queue.0).insert(settled, urgency) {
            return false;
        }
        let (queue, turns) = (Arc::clone(&self.queue), Arc::clone(&self.turns));
        let background_nice = self.background_nice.load(Ordering::Relaxed);
        self.threads().spawn(move || {
            let turn = turns.enter();
            let Some((settled, urgency)) = lock(&queue.0).take_most_urgent() else { return };
            let _working = Working { queue: &queue, path: settled.path().to_owned() };
            let nice = if urgency == Urgency::Live { 0 } else { background_nice };
            threads::at_lower_priority(nice, || work(settled, &turn));
        });
        true
    }

    /// Waits until nothing is queued or worked on.
    pub fn wait_until_idle(&self) {
        let mut queue = lock(&self.queue.0);
        while !queue.is_idle() {
            queue = self.queue.1.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing more from the queue; what is being worked on goes on.
    pub fn close(&self) {
        let mut queue = lock(&self.queue.0);
        queue.is_closed = true;
        queue.ranks.clear();
        queue.waiting.clear();
        self.queue.1.notify_all();
    }

    /// Recordings that wait and recordings that are worked on.
    pub fn load(&self) -> (usize, usize) {
        let queue = lock(&self.queue.0);
        (queue.waiting.len(), queue.working.len())
    }

    /// Whether a path waits or is worked on.
    pub fn holds(&self, path: &Path) -> bool {
        let queue = lock(&self.queue.0);
        queue.waiting.contains_key(path) || queue.working.contains(path)
    }
}

impl Queue {
    fn insert(&mut self, settled: Settled, urgency: Urgency) -> bool {
        let path = settled.path().to_owned();
        if self.is_closed || self.working.contains(&path) || self.waiting.len() >= MOST_WAITING {
            return false;
        }
        let rank = (urgency, settled.candidate().fingerprint.mtime_ns, path.clone());
        if let Some((old, _)) = self.waiting.get(&path) {
            // Already queued: only its urgency may rise, the task that will take it is already spawned.
            let old = old.clone();
            self.ranks.remove(&old);
            let rank = rank.max(old);
            self.ranks.insert(rank.clone());
            self.waiting.insert(path, (rank, settled));
            return false;
        }
        self.ranks.insert(rank.clone());
        self.waiting.insert(path, (rank, settled));
        true
    }

    fn take_most_urgent(&mut self) -> Option<(Settled, Urgency)> {
        let (urgency, _, path) = self.ranks.pop_last()?;
        let (_, settled) = self.waiting.remove(&path)?;
        self.working.insert(path);
        Some((settled, urgency))
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.working.is_empty()
    }
}

/// Takes the recording out of the set of those worked on, also when the work panics.
struct Working<'a> {
    queue: &'a Arc<(Mutex<Queue>, Condvar)>,
    path: PathBuf,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        lock(&self.queue.0).working.remove(&self.path);
        self.queue.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Fingerprint;
    use crate::recording::journey::{Candidate, NameFacts};
    use crossbeam_channel::unbounded;

    fn settled(name: &str, mtime_ns: i64) -> Settled {
        let candidate = Candidate {
            path: name.into(),
            root: "/".into(),
            server: "auto".into(),
            is_temporary: false,
            facts: NameFacts::default(),
            fingerprint: Fingerprint { device: 0, inode: 0, size_bytes: 0, mtime_ns },
        };
        Settled::for_test(candidate)
    }

    #[test]
    fn what_finishes_now_overtakes_the_backlog_and_the_newest_comes_first() {
        let pool = Pool::start(1, 0).unwrap();
        let (release, until_released) = unbounded::<()>();
        let (said, heard) = unbounded();
        pool.submit(settled("/first", 0), Urgency::Backlog, move |_, _| assert!(until_released.recv().is_err()));
        while pool.load() != (0, 1) {
            std::thread::yield_now();
        }
        for (name, mtime, urgency) in
            [("/old", 1, Urgency::Backlog), ("/newer", 2, Urgency::Backlog), ("/live", 0, Urgency::Live)]
        {
            let said = said.clone();
            pool.submit(settled(name, mtime), urgency, move |s, _| said.send(s.path().to_owned()).unwrap());
        }
        drop(release);
        pool.wait_until_idle();
        let order: Vec<PathBuf> = heard.try_iter().collect();
        assert_eq!(order, [PathBuf::from("/live"), "/newer".into(), "/old".into()]);
    }

    #[test]
    fn a_backlog_is_worked_on_at_a_lower_priority_and_what_ends_now_is_not() {
        let pool = Pool::start(1, 5).unwrap();
        let (said, heard) = unbounded();
        for (name, urgency) in [("/old", Urgency::Backlog), ("/live", Urgency::Live), ("/older", Urgency::Backlog)] {
            let said = said.clone();
            pool.submit(settled(name, 0), urgency, move |_, _| {
                said.send(rustix::process::getpriority_process(None).unwrap()).unwrap();
            });
            pool.wait_until_idle();
        }
        let usual = rustix::process::getpriority_process(None).unwrap();
        let lower = (usual + 5).min(19);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [lower, usual, lower]);
    }

    #[test]
    fn little_memory_has_few_under_way_and_always_one() {
        for (memory_bytes, expected) in [(u64::MAX, 8), (256 << 20, 4), (100 << 20, 1), (1 << 20, 1)] {
            assert_eq!(under_way(2, memory_bytes), expected);
        }
    }

    #[test]
    fn a_recording_is_queued_once_and_worked_on_once() {
        let pool = Pool::start(2, 0).unwrap();
        let (release, until_released) = unbounded::<()>();
        assert!(pool.submit(settled("/x", 0), Urgency::Backlog, move |_, _| assert!(until_released.recv().is_err())));
        while pool.load() != (0, 1) {
            std::thread::yield_now();
        }
        assert!(!pool.submit(settled("/x", 0), Urgency::Live, |_, _| unreachable!()));
        assert!(pool.holds(Path::new("/x")));
        drop(release);
        pool.wait_until_idle();
        assert!(!pool.holds(Path::new("/x")));
    }

    #[test]
    fn a_change_of_jobs_holds_for_what_begins_afterwards() {
        let pool = Pool::start(1, 0).unwrap();
        let (release, until_released) = unbounded::<()>();
        let (begun, has_begun) = unbounded();
        let submit = |n: i64| {
            let (begun, until_released) = (begun.clone(), until_released.clone());
            pool.submit(settled(&format!("/{n}"), n), Urgency::Backlog, move |_, _| {
                begun.send(()).unwrap();
                assert!(until_released.recv().is_err());
            });
        };
        (0..9).for_each(submit);
        has_begun.recv().unwrap();
        assert_eq!(pool.load(), (8, 1));
        // More than the threads that there were.
        pool.resize(6, 0).unwrap();
        (9..12).for_each(submit);
        (0..5).for_each(|_| has_begun.recv().unwrap());
        assert_eq!(pool.load(), (6, 6));
        pool.resize(2, 0).unwrap();
        drop(release);
        pool.wait_until_idle();
        assert_eq!(pool.load(), (0, 0));
    }

    #[test]
    fn a_panic_does_not_keep_the_recording_locked() {
        let pool = rayon_quiet(1);
        pool.submit(settled("/x", 0), Urgency::Backlog, |_, _| panic!("expected by this test"));
        pool.wait_until_idle();
        assert!(!pool.holds(Path::new("/x")));
    }

    /// A pool whose panics are swallowed instead of aborting the test process.
    fn rayon_quiet(jobs: usize) -> Pool {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(jobs).panic_handler(|_| ()).build().unwrap();
        let (threads, turns) = (RwLock::new(Arc::new(threads)), Arc::new(Turns::new(jobs)));
        Pool { threads, turns, queue: Arc::default(), background_nice: 0.into() }
    }
}
