//! Couriers carry what is due to the targets. Finishing and cataloguing never wait for them (promise 5).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::converting::converted;
use super::error::PipelineError;
use super::house::{House, now_ms};
use super::pauses::{Alike, Carried, Say, shares};
use super::roots;
use crate::catalog::{Among, CatalogError, Next, next_try_ms};
use crate::deliver::{self, DeliverError};
use crate::fault::{Class, Fault, chain};
use crate::recording::{Asset, Delivery, RemoteObject};
use crate::stop::Stop;

/// How often it is looked whether the couriers are done.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Wakes sleeping couriers, and whoever waits for them to have nothing to do.
#[derive(Debug, Default)]
pub struct Bell {
    carried: Mutex<Carried>,
    rung: Condvar,
}

impl Bell {
    /// Shares the couriers among the targets of these settings; those that are too many end. Returns how many are lacking.
    pub fn share(&self, settings: &deliver::Options) -> usize {
        let mut carried = self.lock();
        (carried.wanted, carried.at_once) = shares(settings.concurrency, settings.targets.len());
        carried.rings = carried.rings.wrapping_add(1);
        self.rung.notify_all();
        carried.wanted.saturating_sub(carried.running)
    }

    /// Something may be due now.
    pub fn ring(&self) {
        let mut carried = self.lock();
        carried.rings = carried.rings.wrapping_add(1);
        self.rung.notify_all();
    }

    /// No courier takes anything more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ring();
    }

    /// Until when a target waits, milliseconds since the Unix epoch.
    pub fn paused_until(&self, target: &str) -> Option<i64> {
        self.lock().paused.get(target).copied()
    }

    /// Forgets that targets wait, after a reload or when an operator asks for a retry.
    pub fn resume_targets(&self) {
        self.lock().resume();
        self.ring();
    }

    /// How things stand now.
    fn at(&self, now_ms: i64) -> Carried {
        let mut carried = self.lock();
        carried.end_pauses(now_ms);
        carried.clone()
    }

    /// The same for a courier; `None` if it is to end.
    fn enter(&self, now_ms: i64, is_stopped: bool) -> Option<Carried> {
        let mut carried = self.lock();
        if carried.closed || is_stopped || carried.running > carried.wanted {
            carried.running = carried.running.saturating_sub(1);
            return None;
        }
        drop(carried);
        Some(self.at(now_ms))
    }

    fn lock(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads that carry.
#[derive(Debug)]
pub struct Couriers {
    house: Arc<House>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Couriers {
    /// None yet: a command that only looks must send nothing.
    pub fn of(house: &Arc<House>) -> Self {
        Self { house: Arc::clone(house), threads: Mutex::default() }
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
        let lacking = self.house.bell.share(&self.house.settings().deliver);
        let started = start(lacking, &mut threads, |n| {
            let (house, comes_first) = (Arc::clone(&self.house), is_first && n == 0);
            self.house.bell.lock().running += 1;
            let thread = std::thread::Builder::new().name("courier".to_owned()).spawn(move || {
                if comes_first {
                    // The others carry already: a target that failed meanwhile waits, and that was said.
                    house.bring_back();
                    abort_stale(&house);
                }
                carry_all(&house);
            });
            thread.inspect_err(|_| self.house.bell.lock().running -= 1)
        });
        started.map_err(PipelineError::Couriers)
    }

    /// Waits until nothing is due now and nothing is under way, or a stop is requested.
    pub fn wait_until_nothing_is_due(&self, stop: &Stop) -> Result<(), CatalogError> {
        self.wait_while(stop, |house, now| {
            let is_due = matches!(next_free(house, &house.bell.at(now), now)?, Next::Due(_));
            Ok(is_due || !house.bell.lock().in_flight.is_empty())
        })
    }

    /// Waits until none of these is due now or under way, as they are in the queue by then.
    pub fn wait_for(&self, deliveries: &[Delivery], stop: &Stop) -> Result<(), CatalogError> {
        let is_busy = |house: &House, delivery: &Delivery, now: i64| {
            // The queue first: whoever has ended one has written there how.
            let due_ms = house.catalog.delivery(&delivery.id)?.and_then(|delivery| delivery.state.due_ms());
            let carried = house.bell.at(now);
            let is_due = due_ms.is_some_and(|due_ms| due_ms <= now) && !carried.paused.contains_key(&delivery.target);
            Ok::<_, CatalogError>(is_due || carried.in_flight.contains(&delivery.id))
        };
        let mut left = deliveries.iter().peekable();
        self.wait_while(stop, |house, now| {
            while let Some(delivery) = left.peek() {
                if is_busy(house, delivery, now)? {
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
        mut is_busy: impl FnMut(&House, i64) -> Result<bool, CatalogError>,
    ) -> Result<(), CatalogError> {
        let (has_begun, bell) = (!self.lock().is_empty(), &self.house.bell);
        while has_begun && !stop.is_requested() && is_busy(&self.house, now_ms())? {
            drop(nap(bell, bell.lock(), LOOK_AGAIN));
        }
        Ok(())
    }

    /// Lets what is under way end (it looks at the wish to stop) and joins the threads.
    pub fn join(&self) {
        self.house.bell.close();
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

fn nap<'a>(bell: &'a Bell, carried: MutexGuard<'a, Carried>, longest: Duration) -> MutexGuard<'a, Carried> {
    let woken = bell.rung.wait_timeout(carried, longest);
    woken.map_or_else(|e| e.into_inner().0, |(guard, _)| guard)
}

/// Uploads that the last process left and nobody will continue are given up; finishing does not wait for it.
fn abort_stale(house: &House) {
    let settings = house.settings();
    if !settings.watch.roots.iter().all(|root| roots::is_available(house, &root.path)) {
        // Their sources are not gone: the next start looks again.
        return;
    }
    let awaits = |asset: &str, target: &str| {
        house.catalog.delivery(&Delivery::id_of(asset, target)).map_or(true, |d| d.is_some_and(|d| d.is_pending()))
    };
    match house.targets().abort_stale(&house.catalog, &awaits) {
        Ok(0) => {}
        Ok(count) => info!(count, "gave up abandoned uploads"),
        Err(error) => warn!(error = chain(&error), "cannot read the uploads of the last process"),
    }
}

fn carry_all(house: &House) {
    while let Some(delivery) = take(house) {
        // A courier that dies would leave the others with its share, and after the last one nothing is delivered any more.
        if catch_unwind(AssertUnwindSafe(|| carry(house, &delivery))).is_err() {
            error!(delivery = delivery.id, "courier panicked, please report it; the delivery is retried later");
            let due = next_try_ms(delivery.attempts.saturating_add(1), Class::Environment, now_ms(), jitter());
            let _ = house.catalog.delivery_failed(&delivery.id, Class::Environment, "internal error", due, now_ms());
        }
        house.bell.lock().in_flight.remove(&delivery.id);
        house.bell.ring();
    }
}

/// Takes the most urgent due delivery that nobody carries; `None` when the couriers are to stop.
fn take(house: &House) -> Option<Delivery> {
    loop {
        let now = now_ms();
        let seen = house.bell.enter(now, house.stop.is_requested())?;
        let next = match next_free(house, &seen, now) {
            Ok(Next::Due(delivery)) if house.bell.lock().take(&delivery) => return Some(*delivery),
            // Another courier was faster.
            Ok(Next::Due(_)) => continue,
            Ok(Next::At(due_ms)) => Some(due_ms),
            Ok(Next::Nothing) => None,
            Err(error) => {
                warn!(error = chain(&error), "cannot read the delivery queue");
                None
            }
        };
        if seen.in_flight.is_empty() {
            house.targets().rest();
        }
        let carried = house.bell.lock();
        // What was queued or ended since the queue was looked at has rung already.
        if carried.rings == seen.rings {
            let nap_for = carried.nap(next, now);
            drop(nap(&house.bell, carried, nap_for));
        }
    }
}

/// The most urgent due delivery that nobody carries and whose target does not wait, else when there is one. The bell must not be
/// locked meanwhile: a stop needs it, and a catalogue may hang.
fn next_free(house: &House, carried: &Carried, now: i64) -> Result<Next, CatalogError> {
    let is_free = |id: &str| !carried.in_flight.contains(id);
    house.catalog.next_due(now, &Among { may_try: &|target| carried.may_try(target), is_free: &is_free })
}

fn carry(house: &House, delivery: &Delivery) {
    match house.catalog.begin_delivery(&delivery.id, now_ms()) {
        Ok(Some(attempt)) => attempt_delivery(house, delivery, attempt),
        Ok(None) => {}
        Err(error) => warn!(delivery = delivery.id, error = chain(&error), "attempt not recorded"),
    }
}

fn attempt_delivery(house: &House, delivery: &Delivery, attempt: u32) {
    let begun = Instant::now();
    let outcome = upload(house, delivery).and_then(|objects| {
        match house.catalog.delivered(&delivery.id, &objects, now_ms()) {
            Err(CatalogError::NoSuchDelivery { .. }) => take_back(house, delivery, &objects),
            other => other?,
        }
        house.targets().forget(&delivery.asset.id, &objects, &house.catalog)?;
        // The store may have confirmed the first of them right after the beginning.
        for object in &objects {
            house.answers.note(object, begun, object.checksum_compared || object.etag.is_some());
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {
            if house.bell.lock().success(&delivery.target) {
                info!(target_name = delivery.target, "target available again");
            }
            info!(delivery = delivery.id, attempt, "delivered");
            if let Some(vod_id) = &delivery.asset.vod_id {
                super::freeing::free_if_due(house, vod_id);
                super::sidecars::clear_if_freed(house, vod_id);
            }
        }
        Err(error) => note_failure(house, delivery, attempt, &error),
    }
}

/// The VoD was deleted while its file was on the way: nobody would ever delete these objects.
fn take_back(house: &House, delivery: &Delivery, objects: &[RemoteObject]) {
    for object in objects {
        match house.targets().remove(&delivery.asset.id, object) {
            Ok(_) => info!(url = object.url, "object removed: its VoD was deleted during the upload"),
            Err(error) => {
                warn!(url = object.url, error = chain(&error), "object of a deleted VoD could not be removed");
            }
        }
    }
}

fn upload(house: &House, delivery: &Delivery) -> Result<Vec<RemoteObject>, PipelineError> {
    let converted = converted(house, delivery)?;
    let asset = converted.as_ref().map_or(&delivery.asset, |converted| &converted.asset);
    let objects = send(house, delivery, asset)?;
    match &converted {
        Some(converted) => converted.proven(objects),
        None => Ok(objects),
    }
}

fn send(house: &House, delivery: &Delivery, asset: &Asset) -> Result<Vec<RemoteObject>, DeliverError> {
    let settings = house.settings();
    let zone = &settings.finish.time_zone;
    let date = crate::recording::name::format_time(asset.start_ms, zone, "%Y-%m-%d").unwrap_or_default();
    let files = &asset.files;
    // An HLS unit is called by its playlist, which comes last.
    let name = files.last().map_or(std::path::Path::new(""), |file| file.path.as_path());
    let meter = house.meters.begin("send", name, files.iter().map(|file| file.fingerprint.size_bytes).sum());
    let progress = |sent| {
        meter.add(sent);
        house.bell.lock().progressed(&delivery.target);
    };
    house.targets().upload(&delivery.target, asset, &date, &house.stop, &progress, &house.catalog)
}

fn note_failure(house: &House, delivery: &Delivery, attempt: u32, error: &PipelineError) {
    if matches!(error, PipelineError::Deliver(DeliverError::Source(_)))
        && let Err(error) = roots::require(house, &delivery.asset.root)
    {
        // Said once for the root; its deliveries wait until it is back.
        let due = next_try_ms(attempt, error.class(), now_ms(), jitter());
        let noted = house.catalog.delivery_failed(&delivery.id, error.class(), &chain(&error), due, now_ms());
        return noted.unwrap_or_else(|error| warn!(error = chain(&error), "failure not recorded"));
    }
    let class = error.class();
    if class == Class::Cancelled {
        let _ = house.catalog.delivery_stopped(&delivery.id, now_ms());
        return;
    }
    let said = chain(error);
    let message = error.hint().map_or_else(|| said.clone(), |hint| format!("{said}. {hint}"));
    let due = next_try_ms(attempt, class, now_ms(), jitter());
    say_failure(house, delivery, error, class, &message);
    let journalled = house.catalog.delivery_failed(&delivery.id, class, &message, due, now_ms());
    let is_paused = house.bell.paused_until(&delivery.target).is_some();
    let told = || house.catalog.target_paused(&delivery.target, class, &message, now_ms());
    if let Err(error) = journalled.and_then(|()| if is_paused { told() } else { Ok(()) }) {
        warn!(delivery = delivery.id, error = chain(&error), "failure not recorded");
    }
}

/// What would meet every recording alike is said once, makes its target wait, and is counted from then on.
fn say_failure(house: &House, delivery: &Delivery, error: &PipelineError, class: Class, message: &str) {
    let target = delivery.target.as_str();
    let (now, mut carried) = (now_ms(), house.bell.lock());
    let alike = match error {
        PipelineError::Deliver(error) if error.is_of_the_target() => {
            if carried.fault(target, class, now, jitter()) {
                warn!(target_name = target, error = message, "target cannot be used; deliveries stay queued");
            }
            return;
        }
        PipelineError::Deliver(error) if error.is_silence() => Some((Alike::Silence, error)),
        PipelineError::Deliver(error) if error.is_of_the_store() => Some((Alike::Error, error)),
        _ => None,
    };
    let say = alike.map_or(Say::This, |(how, error)| {
        let ask_again = error.ask_again_after().and_then(|wait| i64::try_from(wait.as_millis()).ok());
        carried.failed(target, how, ask_again.map(|wait_ms| now.saturating_add(wait_ms)), now, jitter())
    });
    let words = match alike {
        None => {
            carried.failed_alone(target);
            ""
        }
        Some((Alike::Silence, _)) => "target does not answer; deliveries stay queued",
        Some((Alike::Error, _)) => "target answers with errors; deliveries stay queued",
    };
    match say {
        Say::This => warn!(delivery = delivery.id, error = message, "not delivered; local file kept"),
        Say::Waits => warn!(target_name = target, error = message, "{words}"),
        Say::Count(failed) => {
            let words = "target still fails; deliveries stay queued";
            warn!(target_name = target, failed, error = message, "{words}");
        }
        Say::Nothing => {}
    }
}

fn jitter() -> u64 {
    static COUNT: AtomicI64 = AtomicI64::new(0);
    let count = COUNT.fetch_add(0x9E37_79B9, Ordering::Relaxed);
    now_ms().wrapping_add(count).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Opening, Settings, Stop};

    fn open(dir: &std::path::Path) -> Arc<House> {
        let settings = Settings { state_dir: dir.join("state"), ..Settings::default() };
        Arc::new(House::open(settings, Stop::default(), Opening::default()).unwrap())
    }

    #[test]
    fn a_start_brings_back_what_failed_and_lets_a_target_that_waits_wait() {
        let dir = tempfile::tempdir().unwrap();
        let house = open(dir.path());
        house.bell.lock().fault("a", Class::Environment, now_ms(), 0);
        house.bring_back();
        assert!(house.target_waits_until("a").is_some(), "a courier that was faster has said so");
        house.resume_targets();
        assert!(house.target_waits_until("a").is_none());
    }

    #[test]
    fn what_is_overdue_at_a_target_that_waits_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let house = open(dir.path());
        house.catalog.enqueue(&[waiting("x", "dead", 1), waiting("y", "dead", 2), waiting("z", "alive", 900)]).unwrap();
        let mut carried = Carried::default();
        carried.at_once = 4;
        carried.paused.insert("dead".into(), i64::MAX);
        assert_eq!(next_free(&house, &carried, 800).unwrap(), Next::At(900));
        carried.resume();
        assert!(matches!(next_free(&house, &carried, 800).unwrap(), Next::Due(delivery) if delivery.asset.id == "y"));
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
        let house = open(dir.path());
        let couriers = Couriers::of(&house);
        let running = |concurrency| {
            let settings = (*house.settings()).clone();
            let deliver = deliver::Options { concurrency, ..settings.deliver };
            house.reload(Settings { deliver, ..settings }).unwrap();
            couriers.adjust().unwrap();
            let running = || couriers.lock().iter().filter(|thread| !thread.is_finished()).count();
            while house.bell.lock().running != running() || running() > concurrency {
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
