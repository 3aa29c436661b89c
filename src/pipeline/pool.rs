//! One rayon pool for media work; the queue before it is ordered, bounded, and holds each recording once.
//!
//! What finishes now overtakes the backlog: a free thread takes the most urgent recording at that moment, not the
//! one that was queued first. A recording that is queued carries with it everybody who asked for it. What does not fit into the
//! queue is not lost: the next scan finds it again.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::error::PipelineError;
use super::outcome::JourneyOutcome;
use crate::cpu_permits::{CpuPermit, CpuPermits};
use crate::discover::Settled;
use crate::fault::{Fault as _, chain};
use crate::memory;
use crate::recording::Fingerprint;
use crate::threads;

/// How urgent a recording is; the greater is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Found by a scan.
    Backlog,
    /// Somebody waits for it.
    Asked,
    /// Its end was seen just now.
    Live,
}

/// Recordings that wait at most; the scan finds the others again.
pub const MOST_WAITING: usize = 65_536;

/// Hears how a recording's journey ended; dropped unheard where none begins. It must not wait.
pub type OutcomeListener = Box<dyn FnOnce(&Path, &JourneyOutcome) + Send>;

/// Takes a recording to its end; `None` if its journey did not begin.
type JobFn = dyn Fn(&Settled, &CpuPermit<'_>) -> Option<JourneyOutcome> + Send + Sync;

type JobRank = (Urgency, i64, PathBuf);

/// A recording that waits.
struct Job {
    rank: JobRank,
    settled: Settled,
    listeners: Vec<OutcomeListener>,
}

/// A recording that is worked on.
struct RunningJob {
    fingerprint: Fingerprint,
    listeners: Vec<OutcomeListener>,
}

#[derive(Default)]
struct JobQueue {
    ranks: BTreeSet<JobRank>,
    waiting: HashMap<PathBuf, Job>,
    working: HashMap<PathBuf, RunningJob>,
    is_closed: bool,
}

/// The pool and its queue.
pub struct Pool {
    threads: RwLock<Arc<rayon::ThreadPool>>,
    cpu_permits: Arc<CpuPermits>,
    queue: Arc<(Mutex<JobQueue>, Condvar)>,
    work: Arc<JobFn>,
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

fn lock(queue: &Mutex<JobQueue>) -> MutexGuard<'_, JobQueue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn threads(jobs: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(under_way(jobs, memory::limit_bytes()))
        .thread_name(|n| format!("finish-{n}"))
        .panic_handler(|_| {
            tracing::error!("finishing thread panicked; the recording is retried at the next scan");
        })
        .build()
}

impl Pool {
    /// Starts the threads, which do this work; a backlog is worked on at a priority lower by `background_nice`.
    pub fn start<W>(jobs: usize, background_nice: u8, work: W) -> Result<Self, rayon::ThreadPoolBuildError>
    where
        W: Fn(&Settled, &CpuPermit<'_>) -> Option<JourneyOutcome> + Send + Sync + 'static,
    {
        Ok(Self {
            background_nice: background_nice.into(),
            threads: RwLock::new(Arc::new(threads(jobs)?)),
            cpu_permits: Arc::new(CpuPermits::new(threads_for(jobs))),
            queue: Arc::default(),
            work: Arc::new(work),
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
        self.cpu_permits.resize(threads_for(jobs));
        Ok(())
    }

    fn threads(&self) -> Arc<rayon::ThreadPool> {
        Arc::clone(&self.threads.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queues a recording; if it is queued or worked on already, who asks now hears how that ends. The work begins with a permit to compute.
    ///
    /// False if nothing will be heard: another state of the file is worked on, or the queue is full or closed.
    pub fn submit(&self, settled: Settled, urgency: Urgency, listener: Option<OutcomeListener>) -> bool {
        match lock(&self.queue.0).insert(settled, urgency, listener) {
            EnqueueResult::New => {}
            EnqueueResult::Joined => return true,
            EnqueueResult::None => return false,
        }
        let (queue, cpu_permits, work) =
            (Arc::clone(&self.queue), Arc::clone(&self.cpu_permits), Arc::clone(&self.work));
        let background_nice = self.background_nice.load(Ordering::Relaxed);
        self.threads().spawn(move || {
            let cpu_permit = cpu_permits.acquire();
            let Some((settled, urgency)) = lock(&queue.0).take_most_urgent() else { return };
            let mut working = RunningGuard { queue: &queue, path: settled.path().to_owned(), ended: Some(panicked()) };
            let nice = if urgency == Urgency::Live { 0 } else { background_nice };
            working.ended = threads::at_lower_priority(nice, || work(&settled, &cpu_permit));
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
        queue.waiting.contains_key(path) || queue.working.contains_key(path)
    }
}

/// Where a recording is after it was asked for.
enum EnqueueResult {
    /// At a place of its own in the queue.
    New,
    /// Where it was already.
    Joined,
    /// Nowhere.
    None,
}

impl JobQueue {
    fn insert(&mut self, settled: Settled, urgency: Urgency, listener: Option<OutcomeListener>) -> EnqueueResult {
        let (path, fingerprint) = (settled.path().to_owned(), settled.candidate().fingerprint);
        if let Some(in_hand) = self.working.get_mut(&path).filter(|in_hand| in_hand.fingerprint == fingerprint) {
            in_hand.listeners.extend(listener);
            return EnqueueResult::Joined;
        }
        if self.is_closed || self.working.contains_key(&path) {
            return EnqueueResult::None;
        }
        let rank = (urgency, fingerprint.mtime_ns, path.clone());
        if let Some(job) = self.waiting.get_mut(&path) {
            // Its urgency may only rise; the task that will take it is already spawned.
            self.ranks.remove(&job.rank);
            let rank = rank.max(job.rank.clone());
            self.ranks.insert(rank.clone());
            (job.rank, job.settled) = (rank, settled);
            job.listeners.extend(listener);
            return EnqueueResult::Joined;
        }
        if self.waiting.len() >= MOST_WAITING {
            return EnqueueResult::None;
        }
        self.ranks.insert(rank.clone());
        self.waiting.insert(path, Job { rank, settled, listeners: listener.into_iter().collect() });
        EnqueueResult::New
    }

    fn take_most_urgent(&mut self) -> Option<(Settled, Urgency)> {
        let (urgency, _, path) = self.ranks.pop_last()?;
        let Job { settled, listeners, .. } = self.waiting.remove(&path)?;
        self.working.insert(path, RunningJob { fingerprint: settled.candidate().fingerprint, listeners });
        Some((settled, urgency))
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.working.is_empty()
    }
}

/// How a journey ended that panicked.
fn panicked() -> JourneyOutcome {
    let error = PipelineError::Panicked;
    JourneyOutcome::Failed { class: error.class(), message: chain(&error), hint: error.hint() }
}

/// Takes the recording out of the set of those worked on and tells its listeners, also when the work panics.
struct RunningGuard<'a> {
    queue: &'a Arc<(Mutex<JobQueue>, Condvar)>,
    path: PathBuf,
    ended: Option<JourneyOutcome>,
}

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        let done = lock(&self.queue.0).working.remove(&self.path);
        for listener in done.into_iter().flat_map(|done| done.listeners) {
            if let Some(ended) = &self.ended {
                listener(&self.path, ended);
            }
        }
        self.queue.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::journey::{Candidate, NameFacts};
    use crossbeam_channel::{Receiver, Sender, unbounded};

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

    /// A pool of one whose first recording is held until `release` is dropped, with the paths that it has worked on.
    struct HeldPool {
        pool: Pool,
        release: Sender<()>,
        order: Receiver<PathBuf>,
    }

    fn held(jobs: usize) -> HeldPool {
        let (release, until_released) = unbounded::<()>();
        let (said, order) = unbounded();
        let work = move |settled: &Settled, _: &CpuPermit<'_>| {
            if settled.path() == Path::new("/held") {
                assert!(until_released.recv().is_err());
            }
            // Not every test looks at the order.
            let _ = said.send(settled.path().to_owned());
            Some(JourneyOutcome::AlreadyFinished { vod_id: Some(settled.path().display().to_string()) })
        };
        let pool = Pool::start(jobs, 0, work).unwrap();
        assert!(pool.submit(settled("/held", 0), Urgency::Backlog, None));
        while pool.load() != (0, 1) {
            std::thread::yield_now();
        }
        HeldPool { pool, release, order }
    }

    fn told(to: &Sender<PathBuf>) -> OutcomeListener {
        let to = to.clone();
        let tell = move |path: &Path, ended: &JourneyOutcome| {
            assert!(matches!(ended, JourneyOutcome::AlreadyFinished { vod_id: Some(id) } if Path::new(id) == path));
            to.send(path.to_owned()).unwrap();
        };
        Box::new(tell)
    }

    #[test]
    fn what_finishes_now_overtakes_what_is_asked_for_that_the_backlog_and_the_newest_comes_first() {
        let HeldPool { pool, release, order } = held(1);
        for (name, mtime, urgency) in [
            ("/old", 1, Urgency::Backlog),
            ("/newer", 2, Urgency::Backlog),
            ("/asked", 0, Urgency::Asked),
            ("/live", 0, Urgency::Live),
        ] {
            pool.submit(settled(name, mtime), urgency, None);
        }
        drop(release);
        pool.wait_until_idle();
        let order: Vec<PathBuf> = order.try_iter().collect();
        assert_eq!(order, ["/held", "/live", "/asked", "/newer", "/old"].map(PathBuf::from));
    }

    #[test]
    fn who_asks_hears_of_what_was_asked_for_and_of_nothing_else() {
        let HeldPool { pool, release, .. } = held(1);
        let (to, heard) = unbounded();
        let (to_another, another_heard) = unbounded();
        (0..9).for_each(|n| assert!(pool.submit(settled(&format!("/other{n}"), n), Urgency::Live, None)));
        for (name, to) in [("/other5", &to), ("/mine", &to), ("/held", &to), ("/mine", &to_another)] {
            assert!(pool.submit(settled(name, 0), Urgency::Asked, Some(told(to))));
        }
        drop((release, to, to_another));
        let mut heard: Vec<PathBuf> = heard.iter().collect();
        heard.sort();
        assert_eq!(heard, ["/held", "/mine", "/other5"].map(PathBuf::from));
        assert_eq!(another_heard.iter().collect::<Vec<_>>(), [PathBuf::from("/mine")]);
    }

    #[test]
    fn another_state_of_what_is_worked_on_is_refused_and_nothing_is_taken_after_the_end() {
        let HeldPool { pool, release, .. } = held(2);
        let (to, heard) = unbounded();
        assert!(!pool.submit(settled("/held", 1), Urgency::Live, Some(told(&to))));
        assert!(pool.submit(settled("/held", 0), Urgency::Live, Some(told(&to))));
        pool.close();
        assert!(!pool.submit(settled("/late", 0), Urgency::Live, Some(told(&to))));
        drop((release, to));
        assert_eq!(heard.iter().collect::<Vec<_>>(), [PathBuf::from("/held")]);
    }

    #[test]
    fn a_backlog_is_worked_on_at_a_lower_priority_and_what_ends_now_is_not() {
        let (said, heard) = unbounded();
        let work = move |_: &Settled, _: &CpuPermit<'_>| {
            said.send(rustix::process::getpriority_process(None).unwrap()).unwrap();
            None
        };
        let pool = Pool::start(1, 5, work).unwrap();
        for (name, urgency) in [("/old", Urgency::Backlog), ("/live", Urgency::Live), ("/older", Urgency::Backlog)] {
            pool.submit(settled(name, 0), urgency, None);
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
        let HeldPool { pool, release, order } = held(2);
        assert!(pool.submit(settled("/held", 0), Urgency::Live, None));
        assert!(pool.holds(Path::new("/held")));
        assert_eq!(pool.load(), (0, 1));
        drop(release);
        pool.wait_until_idle();
        assert!(!pool.holds(Path::new("/held")));
        assert_eq!(order.try_iter().count(), 1);
    }

    #[test]
    fn a_change_of_jobs_holds_for_what_begins_afterwards() {
        let (release, until_released) = unbounded::<()>();
        let (begun, has_begun) = unbounded();
        let work = move |_: &Settled, _: &CpuPermit<'_>| {
            begun.send(()).unwrap();
            assert!(until_released.recv().is_err());
            None
        };
        let pool = Pool::start(1, 0, work).unwrap();
        let submit = |n: i64| assert!(pool.submit(settled(&format!("/{n}"), n), Urgency::Backlog, None));
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
    fn a_panic_is_told_as_a_failure_and_does_not_keep_the_recording_locked() {
        let pool = rayon_quiet(|_, _| panic!("expected by this test"));
        let (to, heard) = unbounded();
        let tell =
            move |_: &Path, ended: &JourneyOutcome| to.send(matches!(ended, JourneyOutcome::Failed { .. })).unwrap();
        pool.submit(settled("/x", 0), Urgency::Backlog, Some(Box::new(tell)));
        assert_eq!(heard.iter().collect::<Vec<_>>(), [true]);
        pool.wait_until_idle();
        assert!(!pool.holds(Path::new("/x")));
    }

    /// A pool whose panics are swallowed instead of aborting the test process.
    fn rayon_quiet(work: impl Fn(&Settled, &CpuPermit<'_>) -> Option<JourneyOutcome> + Send + Sync + 'static) -> Pool {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(1).panic_handler(|_| ()).build().unwrap();
        let (threads, cpu_permits) = (RwLock::new(Arc::new(threads)), Arc::new(CpuPermits::new(1)));
        Pool { threads, cpu_permits, queue: Arc::default(), work: Arc::new(work), background_nice: 0.into() }
    }
}
