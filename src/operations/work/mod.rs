//! A process that takes work from the fleet's database until nothing is left or it is told to stop.
//!
//! ```text
//! claim ─▶ begin ─▶ list a page │ finish an object (bucket) │ process a recording (directory) ─▶ finish · fail · give back
//! ```
//!
//! One item at a time. Whoever fails several times in a row for reasons that are not the items' takes no more work: it would only send
//! every item once around.

mod bucket;
mod directory;
mod outcome;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::{debug, error, info, warn};

use self::bucket::BucketPlace;
use self::directory::DirectoryPlace;
use self::outcome::ItemOutcome;
use super::batch::{BatchKind, is_bucket, needs_database};
use super::{Context, OperationError};
use crate::fault::{Class, Fault as _, chain};
use crate::fleet::{self, Fleet, FleetError, LIST, RunningBatch, SharedWork, WorkFailure, WorkItem, WorkScope};
use crate::pipeline;
use crate::printable::Printable;

/// So many failures in a row that are not the items' own, and a node takes no more work.
const MOST_IN_A_ROW: u32 = 5;
/// Items that are claimed at once.
const MOST_CLAIMED: u32 = 100;
/// What a claim is to last: items that are claimed and not begun are nobody else's.
const CLAIM_LASTS: Duration = Duration::from_secs(2);
/// How often it looks for work where there was none, or asks a database again that did not answer.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How often the wish to stop is looked at meanwhile.
const STEP: Duration = Duration::from_millis(50);
/// How long the end waits until the database has been told of every record.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// The same after it was told to stop.
const TOLD_AFTER_STOP: Duration = Duration::from_secs(10);

/// What a process that takes work is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeWork {
    /// End when no batch has work left, instead of waiting for more.
    pub stop_when_empty: bool,
}

/// An item that came to an end here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkedItem {
    /// Number of its batch.
    pub batch: i64,
    /// Where it lies.
    pub root: String,
    /// The key, or the path below the root.
    pub item: String,
    /// `done`, `failed`, `given back`, or `taken over`: then another node has it, and nothing of the result was kept.
    pub state: &'static str,
    /// How it ended, or why not.
    pub message: String,
}

/// What all of it came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkReport {
    /// Items done.
    pub done: u64,
    /// Items that failed, for now or for good.
    pub failed: u64,
    /// Items that another node has taken over; nothing of the result was kept.
    pub taken_over: u64,
    /// Why this node takes no more work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drained: Option<String>,
    /// Batches that this node could not work on, with why.
    pub skipped: Vec<String>,
    /// Whether it was told to stop.
    pub is_interrupted: bool,
}

/// Where the items of a batch lie, as this node sees it.
enum Place {
    Bucket(Box<BucketPlace>),
    Directory(DirectoryPlace),
}

/// How often a database that refuses is asked before the run ends, and how long after one another.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What a look for work found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Worked,
    /// Others have it, or it is not due yet.
    Waiting,
    Empty,
}

impl TakeWork {
    /// Takes work; `tell` gets each item as it ends.
    pub fn run(&self, context: &Context, tell: &mut dyn FnMut(WorkedItem)) -> Result<WorkReport, OperationError> {
        let ctx = context.pipeline();
        let fleet = ctx.fleet.as_ref().ok_or_else(needs_database)?;
        require_usable(context, fleet)?;
        pipeline::clear_up(ctx)?;
        let needed = fleet.needed();
        fleet.begin();
        let mut worker = Worker {
            context,
            fleet,
            work: fleet.work(),
            places: HashMap::new(),
            claim_size: 1,
            in_a_row: 0,
            report: WorkReport::default(),
            tell,
        };
        worker.enroll();
        worker.run(*self);
        worker.wait_until_told();
        let Worker { mut report, places, .. } = worker;
        report.skipped = places.into_values().filter_map(Result::err).collect();
        report.skipped.sort();
        report.is_interrupted = context.stop().is_requested();
        drop(needed);
        // Nothing is left to be done: the session with the database ends in order.
        ctx.stop.request();
        Ok(report)
    }
}

/// A database that is away is waited for. What only a person can mend ends the run, so that whoever started it hears of it: asked
/// more than once, because a server that begins may refuse at first.
fn require_usable(context: &Context, fleet: &Fleet) -> Result<(), OperationError> {
    let (config, runtime) = (context.config(), &context.pipeline().runtime);
    let mut tries = 1;
    loop {
        match fleet::check(&config.fleet, &config.state_dir, runtime) {
            Ok(_) => return Ok(()),
            Err(error) if !matches!(error.class(), Class::Environment | Class::Permanent) => {
                warn!(error = chain(&error), hint = error.hint(), "the fleet database does not answer; retrying");
                return Ok(());
            }
            Err(error) if tries == TRIES || context.stop().is_requested() => return Err(error.into()),
            Err(_) => tries += 1,
        }
        fleet.pause(TRY_AGAIN, context.stop());
    }
}

struct Worker<'a> {
    context: &'a Context,
    fleet: &'a Fleet,
    work: SharedWork,
    /// Of each batch: where it is, or why this node cannot work on it.
    places: HashMap<i64, Result<Place, String>>,
    claim_size: u32,
    in_a_row: u32,
    report: WorkReport,
    tell: &'a mut dyn FnMut(WorkedItem),
}

impl Worker<'_> {
    fn is_stopped(&self) -> bool {
        self.context.stop().is_requested()
    }

    /// Asks the database until it answers; `None` if it was told to stop before. What is in the way is said by the fleet itself.
    fn insist<T>(&self, ask: impl Fn(&SharedWork) -> Result<T, FleetError>) -> Option<T> {
        loop {
            match ask(&self.work) {
                Ok(answer) => return Some(answer),
                Err(error) => debug!(error = chain(&error), "the fleet database does not answer; asking again"),
            }
            if self.is_stopped() {
                // Once more: what is held is given back now or when the lease ends.
                return ask(&self.work).ok();
            }
            self.fleet.pause(LOOK_AGAIN, self.context.stop());
        }
    }

    fn enroll(&self) {
        if self.insist(SharedWork::enroll).is_some() {
            info!("taking work from the fleet database");
        }
    }

    fn run(&mut self, how: TakeWork) {
        let mut is_said = false;
        while !self.is_stopped() && self.report.drained.is_none() {
            match self.round() {
                Ok(Round::Worked) => is_said = false,
                Ok(Round::Empty) if how.stop_when_empty => break,
                Ok(Round::Empty | Round::Waiting) => self.fleet.pause(LOOK_AGAIN, self.context.stop()),
                Err(error) => {
                    if !std::mem::replace(&mut is_said, true) {
                        let hint = error.hint();
                        warn!(error = chain(&error), hint, "no work can be claimed for now; retrying");
                    }
                    self.fleet.pause(LOOK_AGAIN, self.context.stop());
                }
            }
        }
    }

    /// Claims from the first batch that has something, and works that off.
    fn round(&mut self) -> Result<Round, FleetError> {
        let mut is_waiting = false;
        let running = self.work.running_batches()?;
        self.places.retain(|id, place| place.is_err() || running.iter().any(|batch| batch.batch_id == *id));
        for batch in &running {
            let Some(kind) = self.open(batch) else { continue };
            let items = self.work.claim(WorkScope::Batch(batch.batch_id), self.claim_size)?;
            if !items.is_empty() {
                self.work_off(batch, kind, &items);
                return Ok(Round::Worked);
            }
            match self.work.end_if_done(batch.batch_id) {
                Ok(true) => info!(batch = batch.batch_id, root = %Printable(&batch.root), "batch done"),
                Ok(false) => {
                    is_waiting = true;
                    self.give_back_forgotten(batch.batch_id)?;
                }
                // The other batches have work all the same.
                Err(error) => {
                    is_waiting = true;
                    warn!(batch = batch.batch_id, error = chain(&error), "the batch cannot be ended for now; retrying");
                }
            }
        }
        Ok(if is_waiting { Round::Waiting } else { Round::Empty })
    }

    /// Nothing of a batch is in hand, and it does not end: what this process is said to hold of it has ended here.
    fn give_back_forgotten(&self, batch_id: i64) -> Result<(), FleetError> {
        let items = self.work.give_all_back(batch_id)?;
        if items > 0 {
            warn!(
                batch = batch_id,
                items, "the fleet database has lost results of this node; the items are done again"
            );
        }
        Ok(())
    }

    /// Whether this node can work on a batch; said once if not.
    fn open(&mut self, batch: &RunningBatch) -> Option<BatchKind> {
        let known = self.places.get(&batch.batch_id);
        let is_usable = match known {
            Some(Ok(Place::Directory(place))) => place.is_here(),
            Some(Ok(Place::Bucket(_))) => true,
            Some(Err(_)) | None => false,
        };
        let kind = BatchKind::from_name(&batch.kind);
        if is_usable {
            return kind;
        }
        let opened = match kind {
            None => Err(format!("batch {}: this version does not know `{}`", batch.batch_id, batch.kind)),
            Some(_) if is_bucket(&batch.root) => {
                // Settings and credentials do not change while the process runs.
                if known.is_some() {
                    return None;
                }
                let opened = BucketPlace::open(self.context, &batch.root);
                opened.map(|place| Place::Bucket(Box::new(place))).map_err(|why| format!("{}: {why}", batch.root))
            }
            Some(_) => {
                let live_node = |node: &str| self.insist(|work| work.other_live_node(node));
                DirectoryPlace::open(self.context, batch, live_node).map(Place::Directory)
            }
        };
        if let Err(why) = &opened
            && !matches!(known, Some(Err(before)) if before == why)
        {
            warn!(batch = batch.batch_id, why = %Printable(why), "this node does not work on the batch");
        }
        let is_open = opened.is_ok();
        self.places.insert(batch.batch_id, opened);
        kind.filter(|_| is_open)
    }

    fn work_off(&mut self, batch: &RunningBatch, kind: BatchKind, items: &[WorkItem]) {
        let begun = Instant::now();
        let mut rest = items.iter();
        while let Some(item) = rest.next() {
            let is_over = self.is_stopped() || self.report.drained.is_some();
            if is_over || begun.elapsed() > 4 * CLAIM_LASTS {
                self.give_back([item].into_iter().chain(rest));
                break;
            }
            let intent = self.places.get(&batch.batch_id).and_then(|place| match place {
                Ok(Place::Directory(_)) if item.kind != LIST => Some(directory::in_whose_name(self.context)),
                _ => None,
            });
            match self.insist(|work| work.begin_with(item, intent.as_ref())) {
                Some(true) => self.take(batch, kind, item),
                Some(false) => self.note_taken_over(item),
                None => {}
            }
        }
        self.claim_size = match begun.elapsed() {
            short if short < CLAIM_LASTS / 2 => (self.claim_size * 2).min(MOST_CLAIMED),
            long if long > CLAIM_LASTS => (self.claim_size / 2).max(1),
            _ => self.claim_size,
        };
    }

    fn give_back<'i>(&mut self, items: impl Iterator<Item = &'i WorkItem>) {
        let items: Vec<_> = items.collect();
        if let Err(error) = self.work.give_back(&items, Duration::ZERO) {
            warn!(error = chain(&error), items = items.len(), "work not given back; it is free when the lease ends");
        }
    }

    /// Does what is to be done with one item, and says how it ended.
    fn take(&mut self, batch: &RunningBatch, kind: BatchKind, item: &WorkItem) {
        let Some(Ok(place)) = self.places.get_mut(&batch.batch_id) else { return };
        let (context, work) = (self.context, &self.work);
        let outcome = match place {
            Place::Bucket(place) if item.kind == LIST => place.list(kind, item),
            Place::Bucket(place) => place.take(context, work, kind, item),
            Place::Directory(place) if item.kind == LIST => place.list(kind, item),
            Place::Directory(place) => place.take(context, work, kind, item),
        };
        // What a stop has cut is no failure.
        let outcome = match outcome {
            ItemOutcome::Failed(WorkFailure { class: Class::Cancelled, .. }) => ItemOutcome::Stopped,
            outcome => outcome,
        };
        self.end(kind, item, &outcome);
    }

    fn end(&mut self, kind: BatchKind, item: &WorkItem, outcome: &ItemOutcome) {
        let (state, message, is_accepted) = match outcome {
            ItemOutcome::Page { found, next } => {
                let accepted = self.insist(|work| work.finish_page(item, found, next.as_deref(), kind.page_rules()));
                ("done", format!("listed, {} found", found.len()), accepted)
            }
            ItemOutcome::Done(result) => {
                ("done", result.outcome.clone(), self.insist(|work| work.finish(item, result)))
            }
            ItemOutcome::Failed(failure) => {
                ("failed", failure.message.clone(), self.insist(|work| work.fail(item, failure)))
            }
            ItemOutcome::Later { why, after } => {
                let given_back = self.insist(|work| work.give_back(&[item], *after));
                ("given back", why.clone(), given_back.map(|count| count == 1))
            }
            ItemOutcome::Stopped => {
                let given_back = self.insist(|work| work.give_back(&[item], Duration::ZERO));
                ("given back", "stopped".to_owned(), given_back.map(|count| count == 1))
            }
        };
        match is_accepted {
            Some(true) => self.note(item, state, message),
            // What came of it here says nothing about this node.
            Some(false) => return self.note_taken_over(item),
            None => warn!(item = %Printable(&item.item), "the result could not be stored; the item is done again"),
        }
        self.judge(item, outcome);
    }

    fn note(&mut self, item: &WorkItem, state: &'static str, message: String) {
        match state {
            "done" if item.kind != LIST => self.report.done += 1,
            "failed" => self.report.failed += 1,
            _ => {}
        }
        let (root, name) = (item.root.clone(), item.item.clone());
        (self.tell)(WorkedItem { batch: item.batch_id.unwrap_or_default(), root, item: name, state, message });
    }

    fn note_taken_over(&mut self, item: &WorkItem) {
        self.report.taken_over += 1;
        let message = "another node has it; nothing of the result was kept".to_owned();
        warn!(item = %Printable(&item.item), "item taken over by another node; the result was thrown away");
        self.note(item, "taken over", message);
    }

    /// Counts failures in a row that are not the items' own; too many, and this node takes no more work.
    fn judge(&mut self, item: &WorkItem, outcome: &ItemOutcome) {
        match outcome {
            // It has come back from another try already: it may be the item.
            ItemOutcome::Failed(failure) if failure.class == Class::Environment && item.given_back > 0 => {}
            ItemOutcome::Failed(failure) if matches!(failure.class, Class::Environment | Class::Transient) => {
                self.in_a_row += 1;
                if self.in_a_row >= MOST_IN_A_ROW {
                    let why = format!("{MOST_IN_A_ROW} failures in a row; the last one: {}", failure.message);
                    error!(why = %Printable(&why), "this node takes no more work");
                    self.insist(|work| work.drain(&why));
                    self.report.drained = Some(why);
                }
            }
            ItemOutcome::Later { .. } | ItemOutcome::Stopped => {}
            ItemOutcome::Failed(_) | ItemOutcome::Done(_) | ItemOutcome::Page { .. } => self.in_a_row = 0,
        }
    }

    /// Waits until the database knows every record that was made here: the state directory may be gone afterwards.
    fn wait_until_told(&self) {
        let begun = Instant::now();
        let is_told = || self.fleet.health().is_ok_and(|health| health.waiting_vods == 0 && health.waiting_events == 0);
        while !is_told() {
            let most = if self.is_stopped() { TOLD_AFTER_STOP } else { TOLD_WITHIN };
            if begun.elapsed() > most {
                warn!("the fleet database is not told of every record yet; the next start goes on");
                return;
            }
            std::thread::sleep(STEP);
        }
    }
}
