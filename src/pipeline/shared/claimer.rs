//! Asks for recordings in shared roots, one after the other, and tells how their journeys ended.
//!
//! No more are held than are worked on soon: the other nodes take the rest.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{debug, warn};

use super::claims::HeldClaim;
use super::publishing;
use crate::catalog::JournalKey;
use crate::discover::Settled;
use crate::durable;
use crate::fault::{Class, chain};
use crate::fleet::{Fleet, SharedClaim, SharedItem, SharedLease};
use crate::pipeline::context::PipelineContext;
use crate::pipeline::journaling::Journaling;
use crate::pipeline::outcome::JourneyOutcome;
use crate::pipeline::pool::{OutcomeListener, Pool, Urgency, threads_for};
use crate::recording::journey::{Candidate, Step};
use crate::recording::name::printable;

/// Recordings that wait at most; the scan finds the others again.
const MOST_WAITING: usize = 8_192;
/// Recordings that are held for each that computes.
const HELD_PER_TURN: usize = 2;

/// A recording that is wanted.
struct Wish {
    settled: Settled,
    urgency: Urgency,
    listener: Option<OutcomeListener>,
}

/// A journey that has ended, or has not begun.
struct Ended {
    key: JournalKey,
    /// The claim under which it was begun.
    token: i64,
    path: PathBuf,
    outcome: Option<JourneyOutcome>,
}

#[derive(Default)]
struct WishQueue {
    wishes: VecDeque<Wish>,
    paths: HashSet<PathBuf>,
    ended: VecDeque<Ended>,
    under_way: usize,
    is_closed: bool,
}

type Shared = Arc<(Mutex<WishQueue>, Condvar)>;

fn lock(queue: &Shared) -> MutexGuard<'_, WishQueue> {
    queue.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that asks, which begins with the first wish.
pub(in crate::pipeline) struct Claimer {
    ctx: Arc<PipelineContext>,
    pool: Arc<Pool>,
    queue: Shared,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Claimer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claimer").finish_non_exhaustive()
    }
}

impl Claimer {
    pub fn of(ctx: &Arc<PipelineContext>, pool: &Arc<Pool>) -> Self {
        Self { ctx: Arc::clone(ctx), pool: Arc::clone(pool), queue: Shared::default(), thread: Mutex::default() }
    }

    /// Wants a recording; says whether it waits to be asked for.
    pub fn want(&self, settled: Settled, urgency: Urgency, listener: Option<OutcomeListener>) -> bool {
        let mut queue = lock(&self.queue);
        let is_full = queue.wishes.len() >= MOST_WAITING && urgency == Urgency::Backlog;
        if queue.is_closed || is_full || !queue.paths.insert(settled.path().to_owned()) {
            return false;
        }
        let wish = Wish { settled, urgency, listener };
        if urgency == Urgency::Backlog {
            queue.wishes.push_back(wish);
        } else {
            queue.wishes.push_front(wish);
        }
        drop(queue);
        self.queue.1.notify_all();
        self.begin()
    }

    /// Whether a path waits to be asked for.
    pub fn holds(&self, path: &Path) -> bool {
        lock(&self.queue).paths.contains(path)
    }

    fn begin(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return true;
        }
        let (ctx, pool, queue) = (Arc::clone(&self.ctx), Arc::clone(&self.pool), Arc::clone(&self.queue));
        let begun = std::thread::Builder::new().name("shared".into()).spawn(move || work(&ctx, &pool, &queue));
        match begun {
            Ok(begun) => *thread = Some(begun),
            Err(error) => {
                warn!(error = chain(&error), "cannot start a thread for shared roots; retrying at the next scan");
                lock(&self.queue).paths.clear();
                lock(&self.queue).wishes.clear();
            }
        }
        thread.is_some()
    }

    /// Takes no more wishes.
    pub fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.is_closed = true;
        queue.wishes.clear();
        drop(queue);
        self.queue.1.notify_all();
    }

    /// Tells how what was under way has ended, and ends. Nothing may be under way any more.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

enum Task {
    Ask(Box<Wish>),
    Tell(Box<Ended>),
}

fn work(ctx: &Arc<PipelineContext>, pool: &Pool, queue: &Shared) {
    while let Some(task) = next(ctx, queue) {
        match task {
            Task::Ask(wish) => {
                let path = wish.settled.path().to_owned();
                ask(ctx, pool, queue, *wish);
                lock(queue).paths.remove(&path);
            }
            Task::Tell(ended) => tell(ctx, &ended),
        }
    }
}

fn next(ctx: &PipelineContext, queue: &Shared) -> Option<Task> {
    let mut state = lock(queue);
    loop {
        if let Some(ended) = state.ended.pop_front() {
            return Some(Task::Tell(Box::new(ended)));
        }
        if state.is_closed && state.under_way == 0 {
            return None;
        }
        let most = threads_for(ctx.settings().finish.jobs) * HELD_PER_TURN;
        if !state.is_closed
            && state.under_way < most
            && let Some(wish) = state.wishes.pop_front()
        {
            return Some(Task::Ask(Box::new(wish)));
        }
        state = queue.1.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Asks for a recording and hands it to the pool where it is given.
fn ask(ctx: &Arc<PipelineContext>, pool: &Pool, queue: &Shared, wish: Wish) {
    let candidate = wish.settled.candidate();
    let key = JournalKey::of(&candidate.path, &candidate.fingerprint);
    let Some((fleet, item)) = item_of(ctx.fleet.as_ref(), candidate) else { return };
    if pool.holds(&candidate.path) {
        return;
    }
    let name = printable(&candidate.path);
    let lease = match fleet.claim(&item) {
        Ok(SharedClaim::Ours(lease)) => (lease, false),
        Ok(SharedClaim::DoneHere(lease)) if is_half_done(ctx, &key) => (lease, true),
        Ok(SharedClaim::Later) => return debug!(path = %name, "another node works on it, or goes first"),
        Ok(SharedClaim::Done | SharedClaim::DoneHere(_)) => {
            ctx.roots.shared.note_elsewhere(key);
            return end_elsewhere(ctx, key, wish, &JourneyOutcome::AlreadyFinished { vod_id: None });
        }
        Ok(SharedClaim::Quarantined) => {
            if ctx.roots.shared.note_quarantined(key) {
                warn!(path = %name, "quarantined for all nodes; the file stays in place and is never deleted");
            }
            return end_elsewhere(ctx, key, wish, &JourneyOutcome::Quarantined { defects: Vec::new() });
        }
        Err(error) => return debug!(path = %name, error = chain(&error), "cannot ask for a recording in a shared root"),
    };
    submit(ctx, pool, queue, key, lease, wish);
}

fn item_of<'a>(fleet: Option<&'a Fleet>, candidate: &Candidate) -> Option<(&'a Fleet, SharedItem)> {
    let fleet = fleet?;
    let root = fleet.shared_root(&candidate.path)?;
    let path = candidate.path.strip_prefix(&root.path).ok()?.to_owned();
    Some((fleet, SharedItem { root_id: root.root_id, path, fingerprint: candidate.fingerprint }))
}

/// Whether a recording that may be quarantined can be tried again. Of one in a shared root all nodes are told so; `false` where
/// the database cannot be asked.
pub fn may_be_tried_again(ctx: &Journaling, candidate: &Candidate) -> bool {
    if !ctx.roots.is_shared(&candidate.path) {
        return true;
    }
    let Some((fleet, item)) = item_of(ctx.fleet.as_ref(), candidate) else { return false };
    let told = fleet.reopen(&item);
    told.inspect_err(|error| {
        let path = printable(&candidate.path);
        warn!(path = %path, error = chain(error), "cannot try a quarantined recording of a shared root again");
    })
    .is_ok()
}

/// Whether this node has it complete, and something is left to be done.
fn is_half_done(ctx: &PipelineContext, key: &JournalKey) -> bool {
    let entry = ctx.catalog.entry(key).ok().flatten();
    entry.is_some_and(|entry| matches!(entry.step, Step::Publishing { .. } | Step::Catalogued { .. }))
}

/// Nothing is to be done about it here any more.
fn end_elsewhere(ctx: &PipelineContext, key: JournalKey, wish: Wish, ended: &JourneyOutcome) {
    let is_own = |step: &Step| matches!(step, Step::Done { .. } | Step::Quarantined { .. });
    let begun = ctx.catalog.entry(&key).ok().flatten().filter(|entry| !is_own(&entry.step));
    if let Some(Step::Publishing { written_path, .. }) = begun.as_ref().map(|entry| &entry.step)
        && let Err(error) = durable::remove_own(written_path)
    {
        debug!(path = %printable(written_path), error = chain(&error), "cannot remove what another node has finished");
    }
    if begun.is_some()
        && let Err(error) = publishing::forget(ctx, &key)
    {
        warn!(error = chain(&error), "cannot forget a recording that another node has finished");
        return;
    }
    ctx.journaling.postponed.end(&key);
    if let Some(listener) = wish.listener {
        listener(wish.settled.path(), ended);
    }
}

fn submit(
    ctx: &Arc<PipelineContext>,
    pool: &Pool,
    queue: &Shared,
    key: JournalKey,
    (lease, is_done): (SharedLease, bool),
    wish: Wish,
) {
    let path = wish.settled.path().to_owned();
    let root = wish.settled.candidate().root.clone();
    let token = lease.token;
    let claim = HeldClaim { lease, root, is_done };
    if !is_half_done(ctx, &key) {
        [Some(path.clone()), claim.published_path()].iter().flatten().for_each(|beside| clear_former(&claim, beside));
    }
    ctx.roots.shared.hold(key, claim);
    let mut guard = EndGuard { queue: Arc::clone(queue), ended: Some(Ended { key, token, path, outcome: None }) };
    lock(queue).under_way += 1;
    let listener = wish.listener;
    let heard = move |path: &Path, outcome: &JourneyOutcome| {
        guard.ended.as_mut().into_iter().for_each(|ended| ended.outcome = Some(outcome.clone()));
        if let Some(listener) = listener {
            listener(path, outcome);
        }
    };
    // What is not taken drops the listener, and is given back by that.
    pool.submit(wish.settled, wish.urgency, Some(Box::new(heard)));
}

/// Says that a journey has ended, however it did.
struct EndGuard {
    queue: Shared,
    ended: Option<Ended>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.under_way = queue.under_way.saturating_sub(1);
        queue.ended.extend(self.ended.take());
        drop(queue);
        self.queue.1.notify_all();
    }
}

/// Removes what the holder before has left aside in the directory of a file. It can publish it no more.
pub fn clear_former(claim: &HeldClaim, beside: &Path) {
    let Some((directory, owner)) = beside.parent().zip(claim.former_owner()) else { return };
    if let Err(error) = durable::remove_all_partials(directory, &owner) {
        debug!(directory = %printable(directory), error = chain(&error), "cannot remove partials of another node");
    }
}

/// Tells the database how a journey ended. If it cannot be told, the claim holds until this node's next start.
fn tell(ctx: &PipelineContext, ended: &Ended) {
    if matches!(ended.outcome, Some(JourneyOutcome::Postponed { .. })) {
        return;
    }
    let (Some(claim), Some(fleet)) = (ctx.roots.shared.release(&ended.key, ended.token), &ctx.fleet) else { return };
    let lease = &claim.lease;
    let told = match &ended.outcome {
        Some(JourneyOutcome::Finished { .. } | JourneyOutcome::Postponed { .. }) => return,
        Some(JourneyOutcome::AlreadyFinished { vod_id }) => fleet.done(lease, vod_id.as_deref().unwrap_or_default()),
        Some(JourneyOutcome::Quarantined { defects }) => {
            let reasons: Vec<_> = defects.iter().map(ToString::to_string).collect();
            fleet.quarantine(lease, &reasons.join("; "))
        }
        Some(JourneyOutcome::LeftOut) => fleet.give_back(lease, pause(Class::Permanent), "left out"),
        Some(JourneyOutcome::Failed { class, message, .. }) => fleet.give_back(lease, pause(*class), message),
        None => fleet.give_back(lease, Duration::ZERO, "not begun"),
    };
    if let Err(error) = told {
        debug!(path = %printable(&ended.path), error = chain(&error), "cannot tell the fleet database how a recording ended");
    }
}

/// How long a recording that failed is left alone by all nodes.
const fn pause(class: Class) -> Duration {
    match class {
        Class::Cancelled => Duration::ZERO,
        Class::Transient => Duration::from_secs(1),
        Class::Environment => Duration::from_secs(30),
        Class::Permanent => Duration::from_secs(3_600),
    }
}
