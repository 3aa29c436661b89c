//! Couriers carry what is due to the targets. Finishing and cataloguing never wait for them (promise 5).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::context::PipelineContext;
use super::converting::converted;
use super::delivering::Delivering;
use super::error::PipelineError;
use super::pauses::{CourierState, FailureReport, LONGEST_NAP, TargetFailure};
use super::remembering::{Asking, FleetLedger, holders_elsewhere};
use super::roots;
use crate::catalog::{CatalogError, DueFilter, NextDue, next_try_ms};
use crate::deliver::{DeliverError, Ledger};
use crate::fault::{Class, Fault, chain};
use crate::recording::name::printable;
use crate::recording::{Asset, Delivery, RemoteObject};
use crate::stop::Stop;

/// When a delivery of a paused root is looked at again if nobody sees before that the root is not paused any more.
const HELD_MS: i64 = 600_000;
/// How often it is looked whether the couriers are done.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The threads that carry.
#[derive(Debug)]
pub struct Couriers {
    ctx: Arc<PipelineContext>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Couriers {
    /// None yet: a command that only looks must send nothing.
    pub fn of(ctx: &Arc<PipelineContext>) -> Self {
        Self { ctx: Arc::clone(ctx), threads: Mutex::default() }
    }

    /// Starts them, once; whatever is due now is carried from here on. An error if one cannot be started.
    pub fn begin(&self) -> Result<(), PipelineError> {
        if self.lock().is_empty() { self.start_lacking() } else { Ok(()) }
    }

    /// Starts those that new settings ask for besides, if any have begun; those that are too many end by themselves.
    pub fn adjust(&self) -> Result<(), PipelineError> {
        if self.lock().is_empty() { Ok(()) } else { self.start_lacking() }
    }

    fn start_lacking(&self) -> Result<(), PipelineError> {
        let mut threads = self.lock();
        threads.retain(|thread| !thread.is_finished());
        let is_first = threads.is_empty();
        let lacking = self.ctx.delivering.courier_notify.share(&self.ctx.settings().deliver);
        let started = start(lacking, &mut threads, |n| {
            let (ctx, comes_first) = (Arc::clone(&self.ctx), is_first && n == 0);
            self.ctx.delivering.courier_notify.lock().running += 1;
            let thread = std::thread::Builder::new().name("courier".to_owned()).spawn(move || {
                if comes_first {
                    // The others carry already: a target that failed meanwhile waits, and that was said.
                    ctx.delivering.bring_back();
                    abort_stale(&ctx.delivering);
                }
                carry_all(&ctx);
            });
            thread.inspect_err(|_| self.ctx.delivering.courier_notify.lock().running -= 1)
        });
        started.map_err(PipelineError::Couriers)
    }

    /// Waits until nothing is due now and nothing is under way, or a stop is requested.
    pub fn wait_until_nothing_is_due(&self, stop: &Stop) -> Result<(), CatalogError> {
        self.wait_while(stop, |ctx, now| {
            let is_due = matches!(next_free(ctx, &ctx.courier_notify.at(now), now)?, NextDue::Due(_));
            Ok(is_due || !ctx.courier_notify.lock().in_flight.is_empty())
        })
    }

    /// Waits until none of these is due now or under way, as they are in the queue by then.
    pub fn wait_for(&self, deliveries: &[Delivery], stop: &Stop) -> Result<(), CatalogError> {
        let is_busy = |ctx: &Delivering, delivery: &Delivery, now: i64| {
            // The queue first: whoever has ended one has written there how.
            let due_ms = ctx.catalog.delivery(&delivery.id)?.and_then(|delivery| delivery.state.due_ms());
            let state = ctx.courier_notify.at(now);
            let is_due = due_ms.is_some_and(|due_ms| due_ms <= now) && !state.paused.contains_key(&delivery.target);
            Ok::<_, CatalogError>(is_due || state.in_flight.contains(&delivery.id))
        };
        let mut left = deliveries.iter().peekable();
        self.wait_while(stop, |ctx, now| {
            while let Some(delivery) = left.peek() {
                if is_busy(ctx, delivery, now)? {
                    return Ok(true);
                }
                left.next();
            }
            Ok(false)
        })
    }

    fn wait_while(
        &self,
        stop: &Stop,
        mut is_busy: impl FnMut(&Delivering, i64) -> Result<bool, CatalogError>,
    ) -> Result<(), CatalogError> {
        let (has_begun, ctx) = (!self.lock().is_empty(), &self.ctx.delivering);
        while has_begun && !stop.is_requested() && is_busy(ctx, ctx.clock.now_ms())? {
            drop(ctx.courier_notify.nap(ctx.courier_notify.lock(), LOOK_AGAIN));
        }
        Ok(())
    }

    /// Lets what is under way end (it looks at the wish to stop) and joins the threads.
    pub fn join(&self) {
        self.ctx.delivering.courier_notify.close();
        for thread in std::mem::take(&mut *self.lock()) {
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts threads, as many as there can be; an error if one of them cannot.
fn start(
    count: usize,
    threads: &mut Vec<JoinHandle<()>>,
    one: impl FnMut(usize) -> io::Result<JoinHandle<()>>,
) -> io::Result<()> {
    (0..count).map(one).try_for_each(|thread| thread.map(|thread| threads.push(thread)))
}

/// Uploads that the last process left and nobody will continue are given up; finishing does not wait for it.
fn abort_stale(ctx: &Delivering) {
    let settings = ctx.config.settings();
    if !settings.watch.roots.iter().all(|root| roots::is_available(&ctx.roots, &root.path)) {
        // Their sources are not gone: the next start looks again.
        return;
    }
    let awaits = |asset: &str, target: &str| {
        ctx.catalog.delivery(&Delivery::id_of(asset, target)).map_or(true, |d| d.is_some_and(|d| d.is_pending()))
    };
    match ctx.config.targets().abort_stale(&ctx.catalog, &awaits) {
        Ok(0) => {}
        Ok(count) => info!(count, "gave up abandoned uploads"),
        Err(error) => warn!(error = chain(&error), "cannot read the uploads of the last process"),
    }
}

fn carry_all(ctx: &PipelineContext) {
    while let Some(delivery) = take(&ctx.delivering) {
        // A courier that dies would leave the others with its share, and after the last one nothing is delivered any more.
        if catch_unwind(AssertUnwindSafe(|| carry(ctx, &delivery))).is_err() {
            error!(delivery = delivery.id, "courier panicked, please report it; the delivery is retried later");
            let (tries, now) = (delivery.attempts.saturating_add(1), ctx.clock.now_ms());
            let due = next_try_ms(tries, Class::Environment, now, jitter(now));
            let _ = ctx.catalog.delivery_failed(&delivery.id, Class::Environment, "internal error", due, now);
        }
        ctx.delivering.courier_notify.lock().in_flight.remove(&delivery.id);
        ctx.delivering.courier_notify.notify();
    }
}

/// Takes the most urgent due delivery that nobody carries; `None` when the couriers are to stop.
fn take(ctx: &Delivering) -> Option<Delivery> {
    loop {
        let now = ctx.clock.now_ms();
        let_go(ctx, now);
        let seen = ctx.courier_notify.enter(now, ctx.stop.is_requested())?;
        let next = match next_free(ctx, &seen, now) {
            Ok(NextDue::Due(delivery)) if ctx.courier_notify.lock().take(&delivery) => return Some(*delivery),
            // Another courier was faster.
            Ok(NextDue::Due(_)) => continue,
            Ok(NextDue::At(due_ms)) => Some(due_ms),
            Ok(NextDue::Nothing) => None,
            Err(error) => {
                warn!(error = chain(&error), "cannot read the delivery queue");
                None
            }
        };
        if seen.in_flight.is_empty() {
            ctx.config.targets().rest();
        }
        let state = ctx.courier_notify.lock();
        // What was queued or ended since the queue was looked at has notified already.
        if state.notifications == seen.notifications {
            let nap_for = state.nap(next, now);
            drop(ctx.courier_notify.nap(state, nap_for));
        }
    }
}

/// The most urgent due delivery that nobody carries and whose target does not wait, else when there is one. The couriers must not be
/// locked meanwhile: a stop needs it, and a catalogue may hang.
fn next_free(ctx: &Delivering, state: &CourierState, now: i64) -> Result<NextDue, CatalogError> {
    let is_free = |id: &str| !state.in_flight.contains(id);
    ctx.catalog.next_due(now, &DueFilter { may_try: &|target| state.may_try(target), is_free: &is_free })
}

fn carry(ctx: &PipelineContext, delivery: &Delivery) {
    if let Some(refusal) = roots::passing_refusal(&ctx.delivering.roots, &delivery.asset.root) {
        return hold(&ctx.delivering, delivery, &chain(&refusal));
    }
    match ctx.catalog.begin_delivery(&delivery.id, ctx.clock.now_ms()) {
        Ok(Some(attempt)) => attempt_delivery(ctx, delivery, attempt),
        Ok(None) => {}
        Err(error) => warn!(delivery = delivery.id, error = chain(&error), "attempt not recorded"),
    }
}

/// Leaves a delivery until its root may be changed again; that it is paused was said for the root. It is no try of the delivery: those that
/// follow would come later and later, although nothing is wrong with it or with its target.
fn hold(ctx: &Delivering, delivery: &Delivery, why: &str) {
    let now = ctx.clock.now_ms();
    let due_ms = now.saturating_add(HELD_MS);
    if let Err(error) = ctx.catalog.delivery_stopped(&delivery.id, (Class::Environment, why), due_ms, now) {
        warn!(delivery = delivery.id, error = chain(&error), "why it waits is not recorded");
        // It is due still, and the next look would come to the same end.
        drop(ctx.courier_notify.nap(ctx.courier_notify.lock(), LONGEST_NAP));
    }
    ctx.courier_notify.hold(delivery);
}

/// Deliveries whose roots are not paused any more are due.
fn let_go(ctx: &Delivering, now: i64) {
    // Asking about a root may read in it, which may take long: not while others wait for a lock.
    let is_open = |root: &PathBuf| roots::passing_refusal(&ctx.roots, root).is_none();
    for root in ctx.courier_notify.held_roots().into_iter().filter(is_open) {
        let held = ctx.courier_notify.let_go(&root);
        if let Err(error) = ctx.catalog.bring_some_back(&held, now) {
            warn!(root = %printable(&root), error = chain(&error), "deliveries of a root that was paused are tried later");
        }
    }
}

fn attempt_delivery(ctx: &PipelineContext, delivery: &Delivery, attempt: u32) {
    let begun = ctx.clock.now();
    let outcome = upload(&ctx.delivering, delivery).and_then(|objects| {
        match ctx.catalog.delivered(&delivery.id, &objects, ctx.clock.now_ms()) {
            Err(CatalogError::NoSuchDelivery { .. }) => take_back(&ctx.delivering, delivery, &objects),
            other => other?,
        }
        ctx.targets().forget(&delivery.asset.id, &objects, &ctx.catalog)?;
        // The store may have confirmed the first of them right after the beginning.
        for object in &objects {
            ctx.delivering.answers.note(
                object,
                begun,
                ctx.clock.now(),
                object.checksum_compared || object.etag.is_some(),
            );
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {
            if ctx.delivering.courier_notify.lock().success(&delivery.target) {
                info!(target_name = delivery.target, "target available again");
            }
            info!(delivery = delivery.id, attempt, "delivered");
            if let Some(vod_id) = &delivery.asset.vod_id {
                super::freeing::free_if_due(ctx, vod_id);
                super::sidecars::clear_if_freed(&ctx.catalog, vod_id);
            }
        }
        Err(error) => note_failure(&ctx.delivering, delivery, attempt, &error),
    }
}

/// The VoD was deleted while its file was on the way: nobody would ever delete these objects. What another node has, too, stays.
fn take_back(ctx: &Delivering, delivery: &Delivery, objects: &[RemoteObject]) {
    let targets = ctx.config.targets();
    let asset = delivery.asset.id.as_str();
    let keyed = objects.iter().map(|object| (asset, object));
    let elsewhere =
        holders_elsewhere(ctx.fleet.as_ref(), &targets, keyed, Asking::BeforeRemoval).unwrap_or_else(|error| {
            warn!(
                delivery = delivery.id,
                error = chain(&error),
                "objects of a deleted VoD stay: another node may have them"
            );
            Vec::new()
        });
    let mut gone = Vec::new();
    for (object, holder) in objects.iter().zip(elsewhere) {
        if holder.is_some() {
            gone.extend(targets.shared_place(object));
            continue;
        }
        match targets.remove(asset, object) {
            Ok(_) => {
                gone.extend(targets.shared_place(object));
                info!(url = object.url, "object removed: its VoD was deleted during the upload");
            }
            Err(error) => {
                warn!(url = object.url, error = chain(&error), "object of a deleted VoD could not be removed");
            }
        }
    }
    if let Some(fleet) = ctx.fleet.as_ref().filter(|_| !gone.is_empty())
        && let Err(error) = fleet.end_removal(&gone)
    {
        debug!(asset, error = chain(&error), "keys of removed objects are free later");
    }
}

fn upload(ctx: &Delivering, delivery: &Delivery) -> Result<Vec<RemoteObject>, PipelineError> {
    roots::may_change(&ctx.roots, &delivery.asset.root)?;
    let converted = converted(ctx, delivery)?;
    let asset = converted.as_ref().map_or(&delivery.asset, |converted| &converted.asset);
    let objects = send(ctx, delivery, asset)?;
    match &converted {
        Some(converted) => converted.proven(objects),
        None => Ok(objects),
    }
}

fn send(ctx: &Delivering, delivery: &Delivery, asset: &Asset) -> Result<Vec<RemoteObject>, DeliverError> {
    let config = ctx.config.snapshot();
    let zone = &config.settings.finish.time_zone;
    let date = crate::recording::name::format_time(asset.start_ms, zone, "%Y-%m-%d").unwrap_or_default();
    let files = &asset.files;
    // An HLS unit is called by its playlist, which comes last.
    let name = files.last().map_or(Path::new(""), |file| file.path.as_path());
    let meter = ctx.meters.begin("send", name, files.iter().map(|file| file.fingerprint.size_bytes).sum());
    let progress = |sent| {
        meter.add(sent);
        ctx.courier_notify.lock().progressed(&delivery.target);
    };
    let upload =
        |ledger: &dyn Ledger| config.targets.upload(&delivery.target, asset, &date, &ctx.stop, &progress, ledger);
    match &ctx.fleet {
        Some(fleet) => upload(&FleetLedger::new(&ctx.catalog, fleet)),
        None => upload(&ctx.catalog),
    }
}

fn note_failure(ctx: &Delivering, delivery: &Delivery, attempt: u32, error: &PipelineError) {
    let now = ctx.clock.now_ms();
    if let PipelineError::Refused(refusal) = error
        && refusal.is_passing()
    {
        return hold(ctx, delivery, &chain(refusal));
    }
    if matches!(error, PipelineError::Deliver(DeliverError::Source(_)))
        && let Err(error) = roots::require(&ctx.roots, &delivery.asset.root)
    {
        // Said once for the root; its deliveries wait until it is back.
        let due = next_try_ms(attempt, error.class(), now, jitter(now));
        let noted = ctx.catalog.delivery_failed(&delivery.id, error.class(), &chain(&error), due, now);
        return noted.unwrap_or_else(|error| warn!(error = chain(&error), "failure not recorded"));
    }
    let class = error.class();
    if class == Class::Cancelled {
        let _ = ctx.catalog.delivery_stopped(&delivery.id, (Class::Transient, "stopped"), now, now);
        return;
    }
    let said = chain(error);
    let message = error.hint().map_or_else(|| said.clone(), |hint| format!("{said}. {hint}"));
    let due = next_try_ms(attempt, class, now, jitter(now));
    say_failure(ctx, delivery, error, class, &message);
    let journalled = ctx.catalog.delivery_failed(&delivery.id, class, &message, due, now);
    let is_paused = ctx.courier_notify.paused_until(&delivery.target).is_some();
    let told = || ctx.catalog.target_paused(&delivery.target, class, &message, now);
    if let Err(error) = journalled.and_then(|()| if is_paused { told() } else { Ok(()) }) {
        warn!(delivery = delivery.id, error = chain(&error), "failure not recorded");
    }
}

/// What would meet every recording alike is said once, makes its target wait, and is counted from then on.
fn say_failure(ctx: &Delivering, delivery: &Delivery, error: &PipelineError, class: Class, message: &str) {
    let target = delivery.target.as_str();
    let (now, mut state) = (ctx.clock.now_ms(), ctx.courier_notify.lock());
    let alike = match error {
        PipelineError::Deliver(error) if error.is_of_the_target() => {
            if state.fault(target, class, now, jitter(now)) {
                warn!(target_name = target, error = message, "target cannot be used; deliveries stay queued");
            }
            return;
        }
        PipelineError::Deliver(error) if error.is_silence() => Some((TargetFailure::Silence, error)),
        PipelineError::Deliver(error) if error.is_of_the_store() => Some((TargetFailure::Error, error)),
        _ => None,
    };
    let say = alike.map_or(FailureReport::This, |(how, error)| {
        let ask_again = error.ask_again_after().and_then(|wait| i64::try_from(wait.as_millis()).ok());
        state.failed(target, how, ask_again.map(|wait_ms| now.saturating_add(wait_ms)), now, jitter(now))
    });
    let words = match alike {
        None => {
            state.failed_alone(target);
            ""
        }
        Some((TargetFailure::Silence, _)) => "target does not answer; deliveries stay queued",
        Some((TargetFailure::Error, _)) => "target answers with errors; deliveries stay queued",
    };
    match say {
        FailureReport::This => warn!(delivery = delivery.id, error = message, "not delivered; local file kept"),
        FailureReport::Waits => warn!(target_name = target, error = message, "{words}"),
        FailureReport::Count(failed) => {
            let words = "target still fails; deliveries stay queued";
            warn!(target_name = target, failed, error = message, "{words}");
        }
        FailureReport::Nothing => {}
    }
}

fn jitter(now_ms: i64) -> u64 {
    static COUNT: AtomicI64 = AtomicI64::new(0);
    let count = COUNT.fetch_add(0x9E37_79B9, Ordering::Relaxed);
    now_ms.wrapping_add(count).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::DeliverOptions;
    use crate::pipeline::handles::Handles;
    use crate::pipeline::{OpeningOptions, PipelineSettings, Stop};

    fn open(dir: &Path) -> Arc<PipelineContext> {
        let settings = PipelineSettings { state_dir: dir.join("state"), ..PipelineSettings::default() };
        Arc::new(PipelineContext::open(settings, Stop::default(), OpeningOptions::default()).unwrap())
    }

    #[test]
    fn a_start_brings_back_what_failed_and_lets_a_target_that_waits_wait() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = open(dir.path());
        ctx.delivering.courier_notify.lock().fault("a", Class::Environment, ctx.clock.now_ms(), 0);
        ctx.delivering.bring_back();
        assert!(ctx.delivering.target_waits_until("a").is_some(), "a courier that was faster has said so");
        ctx.resume_targets();
        assert!(ctx.delivering.target_waits_until("a").is_none());
    }

    #[test]
    fn what_is_overdue_at_a_target_that_waits_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = open(dir.path());
        ctx.catalog.enqueue(&[waiting("x", "dead", 1), waiting("y", "dead", 2), waiting("z", "alive", 900)]).unwrap();
        let mut state = CourierState::default();
        state.at_once = 4;
        state.paused.insert("dead".into(), i64::MAX);
        assert_eq!(next_free(&ctx.delivering, &state, 800).unwrap(), NextDue::At(900));
        state.resume();
        assert!(
            matches!(next_free(&ctx.delivering, &state, 800).unwrap(), NextDue::Due(delivery) if delivery.asset.id == "y")
        );
    }

    #[test]
    fn a_delivery_is_due_when_its_time_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let handles = Handles::for_test(dir.path());
        let (ctx, clock) = (Delivering::of(&handles, &Arc::default()), &handles.clock);
        ctx.courier_notify.lock().at_once = 4;
        let due_ms = clock.now_ms() + 900;
        ctx.catalog.enqueue(&[waiting("x", "a", due_ms)]).unwrap();
        let next = || next_free(&ctx, &ctx.courier_notify.at(clock.now_ms()), clock.now_ms()).unwrap();
        assert_eq!(next(), NextDue::At(due_ms));
        clock.advance(Duration::from_millis(899));
        assert_eq!(next(), NextDue::At(due_ms));
        clock.advance(Duration::from_millis(1));
        assert!(matches!(next(), NextDue::Due(_)));
    }

    #[test]
    fn a_target_that_failed_waits_until_its_time_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let handles = Handles::for_test(dir.path());
        let (ctx, clock) = (Delivering::of(&handles, &Arc::default()), &handles.clock);
        ctx.courier_notify.lock().fault("a", Class::Environment, clock.now_ms(), 0);
        let until_ms = ctx.target_waits_until("a").unwrap();
        clock.advance(Duration::from_millis(u64::try_from(until_ms - clock.now_ms()).unwrap() - 1));
        assert_eq!(ctx.target_waits_until("a"), Some(until_ms));
        clock.advance(Duration::from_millis(1));
        assert_eq!(ctx.target_waits_until("a"), None);
    }

    fn waiting(asset: &str, target: &str, at_ms: i64) -> Delivery {
        let asset = Asset {
            id: asset.into(),
            kind: crate::recording::Kind::Recording,
            vod_id: None,
            stream_id: asset.into(),
            root: "/srv".into(),
            start_ms: 0,
            duration_ms: None,
            salvaged: false,
            files: Vec::new(),
        };
        Delivery {
            id: Delivery::id_of(&asset.id, target),
            asset,
            target: target.into(),
            state: crate::recording::DeliveryState::Waiting { due_ms: at_ms, last_fault: None },
            attempts: 0,
            queued_ms: at_ms,
        }
    }

    #[test]
    fn a_courier_that_cannot_be_started_is_an_error_and_the_others_are_known() {
        let no_thread = || io::Error::from_raw_os_error(11);
        let mut threads = Vec::new();
        let some = |n| if n < 2 { Ok(std::thread::spawn(|| ())) } else { Err(no_thread()) };
        assert_eq!(start(3, &mut threads, some).unwrap_err().raw_os_error(), Some(11));
        assert_eq!(threads.len(), 2);
        assert!(start(2, &mut threads, some).is_ok() && start(0, &mut threads, |_| Err(no_thread())).is_ok());
        assert_eq!(threads.len(), 4);
    }

    #[test]
    fn a_reload_starts_couriers_that_are_lacking_and_ends_those_that_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = open(dir.path());
        let couriers = Couriers::of(&ctx);
        let running = |concurrency| {
            let settings = (*ctx.settings()).clone();
            let deliver = DeliverOptions { concurrency, ..settings.deliver };
            ctx.reload(PipelineSettings { deliver, ..settings }).unwrap();
            couriers.adjust().unwrap();
            let running = || couriers.lock().iter().filter(|thread| !thread.is_finished()).count();
            while ctx.delivering.courier_notify.lock().running != running() || running() > concurrency {
                std::thread::yield_now();
            }
            running()
        };
        assert_eq!(running(3), 0, "none has begun");
        couriers.begin().unwrap();
        assert_eq!([running(3), running(7), running(2), running(5)], [3, 7, 2, 5]);
        couriers.join();
    }
}
