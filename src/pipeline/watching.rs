//! The daemon's loop: events are hints, the scan is the truth, and what finishes now overtakes the backlog.

mod gathered;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tracing::{debug, error, info, warn};

use super::active_config::PipelineSettings;
use super::context::PipelineContext;
use super::engine::Engine;
use super::error::PipelineError;
use super::existing::FirstScan;
use super::finding::{FoundInputs, Item, RootReader};
use super::freeing::FreeingThread;
use super::growing::Awaited;
use super::learning::LearningThread;
use super::leaving;
use super::orders::Control;
use super::pool::Urgency;
use super::queueing;
use super::rescans::ScannedRoot;
use super::roots;
use super::views;
use crate::catalog::JournalKey;
use crate::discover::{DiscoverError, Mode, Problem, RootWatcher, SeenEvent, SettleOutcome, Unit, WatchEvent};
use crate::fault::{Fault, chain};
use crate::fleet;
use crate::recording::journey::Candidate;
use crate::recording::name::printable;
use crate::stop;
use gathered::ScanResult;

/// Longest time until the wish to stop is seen.
const TICK: Duration = Duration::from_millis(200);
/// How often a file that changes under our eyes is looked at again before it has to wait for the next event.
const LOOKS: usize = 3;
/// When a recording that was written again while it is worked on is looked at again, milliseconds.
const LOOK_AGAIN_MS: i64 = 200;

/// Recordings of a backlog that are taken from one scan; the next scans find the others.
const MOST_AT_ONCE: usize = 8_192;
/// A backlog that was longer is not looked at again before this time.
const MORE_AFTER: Duration = Duration::from_secs(5);

/// Watches until a stop is asked for. `ready` is told when the first scan is done and events are heard.
/// An error if the catalogue has failed.
pub fn watch(engine: &Engine, control: &Receiver<Control>, ready: &dyn Fn()) -> Result<(), PipelineError> {
    let settings = engine.pipeline().settings();
    engine.pipeline().own(settings.watch.roots.iter().map(|root| root.path.as_path()))?;
    let mut watcher = Watcher::start(engine, &settings)?;
    engine.couriers().begin()?;
    engine.pipeline().announcer.begin()?;
    match &engine.pipeline().fleet {
        Some(fleet) => fleet.begin(),
        None => fleet::leave(engine.pipeline().catalog.shared()),
    }
    engine.studio().begin();
    engine.pipeline().pictures.sweep();
    engine.resume()?;
    let mut views = views::ViewCheckThread::default();
    let mut learning = LearningThread::begin(engine.pipeline());
    engine.pipeline().discovering.unsettled.begin();
    // A scan that a stop cut short has nothing to take back.
    let _ended = stop::stoppable(&engine.pipeline().stop, || {
        watcher.rescan(None);
        engine.pipeline().discovering.rescans.open();
        ready();
        views = views::ViewCheckThread::begin(engine.pipeline());
        while !engine.pipeline().stop.is_requested() {
            watcher.turn(control);
        }
    });
    engine.pipeline().discovering.rescans.close();
    info!("shutting down; finishing current steps");
    watcher.freeing.join();
    views.join();
    learning.join();
    Ok(engine.pipeline().catalog.require_works()?)
}

struct Pending {
    candidate: Candidate,
    seen: Option<SeenEvent>,
    urgency: Urgency,
    due_ms: i64,
}

struct Watcher<'a> {
    engine: &'a Engine,
    readers: Vec<RootReader>,
    watch: RootWatcher,
    events: Receiver<WatchEvent>,
    pending: HashMap<PathBuf, Pending>,
    due: BTreeSet<(i64, PathBuf)>,
    next_rescan: Instant,
    /// When every root was scanned last.
    scanned: Instant,
    /// Whether the last scan found more than is done next.
    has_more: bool,
    told: BTreeSet<String>,
    freeing: FreeingThread,
}

impl<'a> Watcher<'a> {
    fn start(engine: &'a Engine, settings: &PipelineSettings) -> Result<Self, PipelineError> {
        if settings.watch.roots.is_empty() {
            return Err(PipelineError::NoRoots);
        }
        // Watched first, scanned afterwards: what appears in between is seen twice and taken once.
        let (watch, events) = RootWatcher::start(&settings.watch.roots, &settings.watch)?;
        let now = engine.pipeline().clock.now();
        let readers = readers(settings)?;
        for reader in &readers {
            reader.tell(&engine.pipeline().discovering);
        }
        Ok(Self {
            engine,
            readers,
            watch,
            events,
            pending: HashMap::new(),
            due: BTreeSet::new(),
            next_rescan: now + settings.watch.rescan,
            scanned: now,
            has_more: false,
            told: BTreeSet::new(),
            freeing: FreeingThread::default(),
        })
    }

    fn pipeline(&self) -> &PipelineContext {
        self.engine.pipeline()
    }

    fn now_ms(&self) -> i64 {
        self.pipeline().clock.now_ms()
    }

    fn turn(&mut self, control: &Receiver<Control>) {
        while let Ok(order) = control.try_recv() {
            self.obey(order);
        }
        match self.events.recv_timeout(self.nap()) {
            Ok(event) => {
                self.hear(event);
                while let Ok(event) = self.events.try_recv() {
                    self.hear(event);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(self.nap()),
        }
        let reopened = self.pipeline().roots.reopened();
        if !reopened.is_empty() {
            self.rescan_roots(Some(&reopened));
        }
        let engine = self.engine;
        engine.pipeline().discovering.rescans.answer(|wanted| self.rescan_roots(wanted));
        for path in self.pipeline().journaling.waiting.woken() {
            self.look_at(&path, None);
        }
        for settled in self.pipeline().journaling.postponed.due(self.now_ms()) {
            self.engine.submit(settled, Urgency::Backlog, None);
        }
        self.look_at_what_is_due();
        if self.wants_more() {
            self.rescan(None);
        }
        if self.pipeline().clock.now() >= self.next_rescan {
            self.watch.retry();
            self.rescan(None);
            self.freeing.begin(self.engine.pipeline());
        }
    }

    /// Until something is due, at most a tick.
    fn nap(&self) -> Duration {
        let due = self.due.first().map_or(TICK, |(due_ms, _)| {
            Duration::from_millis(u64::try_from(due_ms.saturating_sub(self.now_ms())).unwrap_or(0))
        });
        due.min(TICK)
    }

    fn obey(&mut self, order: Control) {
        let Control::Reload { settings, then } = order;
        if let Err(error) = self.reload(*settings, then) {
            warn!(error = chain(&error), "cannot apply the new configuration; the old one stays in force");
        }
    }

    fn reload(&mut self, settings: PipelineSettings, then: impl FnOnce()) -> Result<(), PipelineError> {
        let is_elsewhere = settings.watch != self.pipeline().settings().watch;
        // What may fail comes first: until here the former configuration is in force.
        let fresh = is_elsewhere.then(|| Watcher::start(self.engine, &settings)).transpose()?;
        self.pipeline().reload(settings)?;
        then();
        if let Err(error) = self.engine.adjust() {
            error!(error = chain(&error), hint = error.hint(), "not enough threads for the new settings");
        }
        self.pipeline().resume_targets();
        if let Some(fresh) = fresh {
            let pending = std::mem::take(&mut self.pending);
            let due = std::mem::take(&mut self.due);
            let freeing = std::mem::take(&mut self.freeing);
            *self = Watcher { pending, due, freeing, ..fresh };
            self.rescan(None);
        }
        info!("configuration reloaded");
        Ok(())
    }

    fn hear(&mut self, event: WatchEvent) {
        debug!(?event, "file system event");
        match event {
            WatchEvent::Closed(path) => self.look_at(&path, Some(SeenEvent::Closed { at_ms: self.now_ms() })),
            WatchEvent::Renamed { to } => self.look_at(&to, Some(SeenEvent::Renamed { at_ms: self.now_ms() })),
            WatchEvent::Changed(path) => self.look_at(&path, None),
            WatchEvent::Removed(path) => self.forget(&path),
            WatchEvent::Rescan { directory, reason } => {
                let scanned = directory.as_deref().map(printable).unwrap_or_default();
                debug!(directory = scanned, reason, "rescanning");
                self.rescan(directory.as_deref());
            }
            WatchEvent::Problem(problem) => self.tell(&problem),
        }
    }

    /// A temporary that is gone lets its final name be taken.
    fn forget(&mut self, path: &Path) {
        if let Some(gone) = self.pending.remove(path) {
            self.due.remove(&(gone.due_ms, path.to_owned()));
        }
        self.pipeline().settler().forget(path);
        self.pipeline().discovering.unsettled.end(path, self.now_ms());
        let name = path.as_os_str().to_string_lossy().into_owned();
        let settings = self.pipeline().settings();
        for suffix in &settings.watch.temporary_suffixes {
            if let Some(last) = name.strip_suffix(suffix.as_str()) {
                self.look_at(Path::new(last), None);
            }
        }
    }

    fn tell(&mut self, problem: &Problem) {
        let words = chain(problem);
        if self.told.insert(words.clone()) {
            warn!(error = words, hint = problem.hint(), "cannot read or watch a path");
        }
    }

    fn reader_of(&self, path: &Path) -> Option<&RootReader> {
        let holds = self.readers.iter().filter(|r| path.starts_with(&r.root().path));
        holds.max_by_key(|r| r.root().path.components().count())
    }

    fn is_there(&self, reader: &RootReader) -> bool {
        roots::is_available(&self.pipeline().roots, &reader.root().path)
    }

    fn look_at(&mut self, path: &Path, seen: Option<SeenEvent>) {
        let mut found = FoundInputs::default();
        if let Some(reader) = self.reader_of(path).filter(|reader| self.is_there(reader)) {
            reader.find(&self.pipeline().discovering, path, &mut found);
        }
        let urgency = if seen.is_some() { Urgency::Live } else { Urgency::Backlog };
        self.take(found, seen, urgency);
    }

    /// Whether a root is ours. One that was not there at the start, or is another directory by now, is taken here.
    fn owns(&mut self, root: &Path) -> bool {
        match self.engine.pipeline().own(std::iter::once(root)) {
            Ok(()) => true,
            Err(error) => {
                if self.told.insert(chain(&error)) {
                    error!(error = chain(&error), hint = error.hint(), "root not watched");
                }
                false
            }
        }
    }

    /// Scans a directory, or every root. A place that cannot be read is told once.
    fn rescan(&mut self, directory: Option<&Path>) {
        let Some(directory) = directory else {
            self.rescan_roots(None);
            return;
        };
        let mut gathered = ScanResult::new();
        if let Some(reader) = self.reader_of(directory).filter(|reader| self.is_there(reader)) {
            self.gather(reader, directory, &mut gathered);
        }
        self.take_gathered(gathered, false);
    }

    /// Scans every root, or some; tells what there is in each.
    fn rescan_roots(&mut self, wanted: Option<&BTreeSet<PathBuf>>) -> Vec<ScannedRoot> {
        let mut gathered = ScanResult::new();
        let roots = self.readers.iter().map(|reader| reader.root().path.clone());
        let roots: Vec<_> = roots.filter(|root| wanted.is_none_or(|wanted| wanted.contains(root))).collect();
        for root in &roots {
            self.pipeline().look_at_root(root);
        }
        let owned: Vec<_> =
            roots.iter().map(|root| roots::is_available(&self.pipeline().roots, root) && self.owns(root)).collect();
        let mut scanned = Vec::new();
        for (root, is_available) in roots.into_iter().zip(owned) {
            let before = gathered.problems.len();
            let reader = self.readers.iter().find(|reader| reader.root().path == root);
            if let Some(reader) = reader.filter(|_| is_available) {
                self.gather(reader, &root, &mut gathered);
            }
            let problems = gathered.problems[before..].iter().map(|problem| chain(problem)).collect();
            let counted = std::mem::take(&mut gathered.counted);
            scanned.push(ScannedRoot { root, is_available, problems, ..counted });
        }
        let is_all = wanted.is_none();
        debug!(roots = scanned.len(), "{}", if is_all { "all roots scanned" } else { "roots scanned" });
        if is_all {
            self.scanned = self.pipeline().clock.now();
            self.next_rescan = self.scanned + self.pipeline().settings().watch.rescan;
        }
        self.take_gathered(gathered, is_all);
        scanned
    }

    fn take_gathered(&mut self, gathered: ScanResult, is_all: bool) {
        let ScanResult { newest, asides, problems, .. } = gathered;
        self.has_more = newest.is_cut() || (self.has_more && !is_all);
        for problem in &problems {
            self.tell(problem);
        }
        leaving::put_back(&self.pipeline().removing, &asides);
        for candidate in newest.into_sorted() {
            self.consider(candidate, None, Urgency::Backlog);
        }
    }

    /// Holds what there is to do below a directory, and of that no more than is done next. Units are queued as they are found.
    fn gather(&self, reader: &RootReader, directory: &Path, gathered: &mut ScanResult) {
        let ctx = &self.pipeline().discovering;
        let is_whole = directory == reader.root().path;
        let mut first = is_whole.then(|| FirstScan::of(ctx, directory)).flatten();
        let mut held_units = Vec::new();
        reader.visit(ctx, directory, &mut |item| match item {
            Item::Candidate(candidate) => {
                gathered.counted.recordings += 1;
                let is_taken = first.as_mut().is_none_or(|first| first.takes(&candidate));
                if is_taken && !self.engine.holds(&candidate.path) && self.may_be_taken(&candidate) {
                    gathered.counted.taken += 1;
                    gathered.newest.add(candidate);
                }
            }
            Item::Unit(unit, stream_id) => {
                gathered.counted.units += 1;
                match &first {
                    None => self.queue_unit(&unit, &stream_id),
                    Some(first) => held_units.extend(first.takes_unit(&unit).then_some((unit, stream_id))),
                }
            }
            Item::Aside(path) => gathered.asides.push(path),
            Item::Problem(problem) => gathered.problems.push(problem),
            Item::Waiting(_) => gathered.counted.waiting += 1,
            Item::Unhandled(_) => gathered.counted.unhandled += 1,
        });
        if let Some(first) = first {
            first.end();
        }
        // Nothing of a first scan is touched before it was said what there is.
        for (unit, stream_id) in &held_units {
            self.queue_unit(unit, stream_id);
        }
    }

    fn take(&mut self, found: FoundInputs, seen: Option<SeenEvent>, urgency: Urgency) {
        for problem in &found.problems {
            self.tell(problem);
        }
        leaving::put_back(&self.pipeline().removing, &found.asides);
        for candidate in found.candidates {
            self.consider(candidate, seen, urgency);
        }
        for (unit, stream_id) in found.units {
            self.queue_unit(&unit, &stream_id);
        }
    }

    /// Whether so little is left of a backlog that was too long that the next part of it may be looked for.
    fn wants_more(&self) -> bool {
        let since = self.pipeline().clock.now().saturating_duration_since(self.scanned);
        self.has_more && since >= MORE_AFTER && self.engine.pool().load().0 + self.pending.len() < MOST_AT_ONCE / 2
    }

    /// Queues a unit for delivery. In a shared root the node beside the ingest server does it: units are not asked for one by one.
    fn queue_unit(&self, unit: &Unit, stream_id: &str) {
        let is_of_other = |reader: &RootReader| self.pipeline().roots.is_first_elsewhere(reader.root());
        if self.reader_of(&unit.playlist).is_some_and(is_of_other) {
            return;
        }
        let deliveries = queueing::deliveries_for_unit(&self.pipeline().delivering, unit, stream_id);
        match self.pipeline().catalog.enqueue(&deliveries) {
            Ok(0) => {}
            Ok(_) => {
                info!(playlist = %printable(&unit.playlist), files = unit.files.len(), "unit queued for delivery");
                self.pipeline().delivering.courier_notify.notify();
            }
            Err(error) => warn!(error = chain(&error), "cannot queue a unit"),
        }
    }

    /// Submits a candidate that is settled, remembers one that is not, leaves alone what is known or under way.
    fn consider(&mut self, candidate: Candidate, seen: Option<SeenEvent>, urgency: Urgency) {
        if self.engine.holds(&candidate.path) {
            // Written again while it is worked on, perhaps after its last byte was read: nothing else would tell of it.
            if seen.is_some() {
                self.wait(candidate, seen, urgency, self.now_ms().saturating_add(LOOK_AGAIN_MS));
            }
            return;
        }
        if !self.may_be_taken(&candidate) {
            self.pipeline().discovering.unsettled.end(&candidate.path, self.now_ms());
            return;
        }
        let known = self.pending.remove(&candidate.path);
        if let Some(known) = &known {
            self.due.remove(&(known.due_ms, candidate.path.clone()));
        }
        let seen = seen.or(known.as_ref().and_then(|k| k.seen));
        let urgency = known.map_or(urgency, |k| urgency.max(k.urgency));
        let (mut candidate, path) = (candidate.clone(), candidate.path);
        for _look in 0..LOOKS {
            match self.pipeline().settler().settle(candidate.clone(), seen, Mode::Watch, self.now_ms()) {
                SettleOutcome::Settled(settled) => {
                    self.pipeline().discovering.unsettled.settle(settled.candidate(), self.now_ms());
                    self.engine.submit(settled, urgency, None);
                    return;
                }
                SettleOutcome::Wait { until_ms, reason } => {
                    self.pipeline().discovering.unsettled.wait(Awaited {
                        candidate: candidate.clone(),
                        reason,
                        until_ms,
                    });
                    self.wait(candidate, seen, urgency, until_ms);
                    return;
                }
                SettleOutcome::Changed(now) => candidate = now,
                SettleOutcome::Gone | SettleOutcome::InUnit => {
                    self.pipeline().discovering.unsettled.end(&path, self.now_ms());
                    return;
                }
            }
        }
        self.pipeline().discovering.unsettled.put(&candidate);
    }

    /// Considers a candidate again later, in place of what was to be considered under its path.
    fn wait(&mut self, candidate: Candidate, seen: Option<SeenEvent>, urgency: Urgency, due_ms: i64) {
        let path = candidate.path.clone();
        self.pipeline().discovering.unsettled.put(&candidate);
        if let Some(before) = self.pending.insert(path.clone(), Pending { candidate, seen, urgency, due_ms }) {
            self.due.remove(&(before.due_ms, path.clone()));
        }
        self.due.insert((due_ms, path));
    }

    fn may_be_taken(&self, candidate: &Candidate) -> bool {
        let key = JournalKey::of(&candidate.path, &candidate.fingerprint);
        let is_elsewhere = self.pipeline().roots.shared.is_elsewhere(&key);
        if is_elsewhere || self.pipeline().journaling.postponed.waits(&key, self.now_ms()) {
            return false;
        }
        match self.pipeline().catalog.knows(&candidate.path, &candidate.fingerprint) {
            Ok(known) => known.may_be_taken(self.now_ms()),
            Err(error) => {
                warn!(error = chain(&error), "cannot read the catalogue; the recording waits");
                false
            }
        }
    }

    fn look_at_what_is_due(&mut self) {
        let now = self.now_ms();
        while let Some((due_ms, path)) = self.due.first().cloned().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due_ms, path.clone()));
            if let Some(Pending { candidate, seen, urgency, .. }) = self.pending.remove(&path) {
                self.consider(candidate, seen, urgency);
            }
        }
    }
}

fn readers(settings: &PipelineSettings) -> Result<Vec<RootReader>, DiscoverError> {
    settings.watch.roots.iter().map(|root| RootReader::new(settings, root)).collect()
}

#[cfg(test)]
mod tests;
