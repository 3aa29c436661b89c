//! Couriers carry what is due to the targets. Finishing and cataloguing never wait for them (promise 5).

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::error::PipelineError;
use super::house::{House, now_ms};
use crate::catalog::{CatalogError, next_try_ms};
use crate::deliver::{self, DeliverError};
use crate::fault::{Class, Fault, chain};
use crate::recording::{Delivery, RemoteObject};

/// Uploads at once to each target when the configuration does not say.
const DEFAULT_COURIERS: usize = 4;
/// How long a courier sleeps at most before it looks at the queue again.
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// So many deliveries in a row without an answer, and the target is taken to be out of reach: it waits as a whole.
const SILENCES: u32 = 4;

/// Wakes sleeping couriers, and whoever waits for them to have nothing to do.
#[derive(Debug, Default)]
pub struct Bell {
    carried: Mutex<Carried>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Carried {
    in_flight: HashSet<String>,
    /// Targets that wait after a fault of their surroundings, each with the time of its next try.
    paused: HashMap<String, i64>,
    /// How often in a row a target's surroundings were at fault: the pauses grow, and one delivery at a time tries.
    faults_in_a_row: HashMap<String, u32>,
    /// Targets that were said to be out of use; that they are in use again is said as well.
    out_of_use: HashSet<String>,
    /// How many deliveries in a row a target answered nothing of.
    silences_in_a_row: HashMap<String, u32>,
    /// How many couriers one target may keep busy, so that one that has come to a standstill leaves some to the others.
    at_once: usize,
    closed: bool,
}

impl Carried {
    /// A target that waits is left alone; one that has just waited is tried with one delivery.
    fn may_try(&self, target: &str) -> bool {
        let busy = self.in_flight.iter().filter(|id| id.rsplit('@').next() == Some(target)).count();
        let most = if self.faults_in_a_row.contains_key(target) { 1 } else { self.at_once };
        !self.paused.contains_key(target) && busy < most
    }

    /// A target's surroundings were at fault; the time of its next try, and whether that is news. What was on the way when
    /// the first one failed tells nothing new.
    fn pause(&mut self, target: &str, class: Class, now_ms: i64, jitter: u64) -> (i64, bool) {
        if let Some(until) = self.paused.get(target).filter(|until| **until > now_ms) {
            return (*until, false);
        }
        let in_a_row = self.faults_in_a_row.entry(target.to_owned()).or_default();
        *in_a_row = in_a_row.saturating_add(1);
        let until = next_try_ms(*in_a_row, class, now_ms, jitter);
        let (until, is_news) = (until.unwrap_or_else(|| now_ms.saturating_add(60_000)), *in_a_row == 1);
        self.paused.insert(target.to_owned(), until);
        self.out_of_use.insert(target.to_owned());
        (until, is_news)
    }

    /// Nothing was heard of a target: whether it waits now, and then whether that is news. A single recording may be unlucky,
    /// a few in a row are not.
    fn silence(&mut self, target: &str, now_ms: i64, jitter: u64) -> Option<bool> {
        let in_a_row = self.silences_in_a_row.entry(target.to_owned()).or_default();
        *in_a_row = in_a_row.saturating_add(1);
        (*in_a_row >= SILENCES).then(|| self.pause(target, Class::Transient, now_ms, jitter).1)
    }

    /// A target took a delivery; whether that is news.
    fn success(&mut self, target: &str) -> bool {
        self.silences_in_a_row.remove(target);
        self.faults_in_a_row.remove(target);
        self.out_of_use.remove(target)
    }

    /// No target waits any more, and what is still wrong with one is news again.
    fn resume(&mut self) {
        self.paused.clear();
        self.faults_in_a_row.clear();
        self.silences_in_a_row.clear();
    }
}

/// Couriers in all, and how many of them one target may keep busy. Without a target they wait for a reload that brings one.
fn shares(concurrency: usize, targets: usize) -> (usize, usize) {
    let targets = targets.max(1);
    match concurrency {
        0 => (DEFAULT_COURIERS * targets, DEFAULT_COURIERS),
        n => (n, n.saturating_sub(targets - 1).max(1)),
    }
}

impl Bell {
    /// Shares the couriers among the targets of these settings.
    pub fn share(&self, settings: &deliver::Options) {
        self.lock().at_once = shares(settings.concurrency, settings.targets.len()).1;
    }

    /// Something may be due now.
    pub fn ring(&self) {
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

    /// Starts them, once; whatever is due now is carried from here on.
    pub fn begin(&self) {
        let mut threads = self.lock();
        if !threads.is_empty() {
            return;
        }
        let settings = self.house.settings();
        let (wanted, _) = shares(settings.deliver.concurrency, settings.deliver.targets.len());
        self.house.bell.share(&settings.deliver);
        let spawn = |n: usize| {
            let house = Arc::clone(&self.house);
            let thread = std::thread::Builder::new().name(format!("courier-{n}")).spawn(move || {
                if n == 0 {
                    // The others carry already: a target that failed meanwhile waits, and that was said.
                    house.bring_back();
                    abort_stale(&house);
                }
                carry_all(&house);
            });
            thread.ok()
        };
        threads.extend((0..wanted).filter_map(spawn));
    }

    /// Waits until nothing is due now and nothing is under way.
    pub fn wait_until_nothing_is_due(&self) -> Result<(), CatalogError> {
        if self.lock().is_empty() {
            return Ok(());
        }
        let mut carried = self.house.bell.lock();
        while !self.house.stop.is_requested() {
            // The whole queue is read only when nobody carries anything.
            if carried.in_flight.is_empty() {
                let due = self.house.catalog.due(now_ms(), usize::MAX)?;
                let waits = |d: &Delivery| carried.paused.get(&d.target).is_some_and(|until| *until > now_ms());
                if due.iter().all(waits) {
                    break;
                }
            }
            carried = nap(&self.house.bell, carried, Duration::from_millis(200));
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

fn nap<'a>(bell: &'a Bell, carried: MutexGuard<'a, Carried>, longest: Duration) -> MutexGuard<'a, Carried> {
    let woken = bell.rung.wait_timeout(carried, longest);
    woken.map_or_else(|e| e.into_inner().0, |(guard, _)| guard)
}

/// Uploads that the last process left and nobody will continue are given up; finishing does not wait for it.
fn abort_stale(house: &House) {
    let awaits = |asset: &str, target: &str| {
        house.catalog.delivery(&Delivery::id_of(asset, target)).map_or(true, |d| d.is_some_and(|d| d.is_pending()))
    };
    match house.targets().abort_stale(&house.catalog, &awaits) {
        Ok(0) => {}
        Ok(count) => info!(count, "Gave up uploads that nobody will continue."),
        Err(error) => warn!(error = chain(&error), "The uploads of the last process cannot be read."),
    }
}

fn carry_all(house: &House) {
    while let Some(delivery) = take(house) {
        // A courier that dies would leave the others with its share, and after the last one nothing is delivered any more.
        if catch_unwind(AssertUnwindSafe(|| carry(house, &delivery))).is_err() {
            error!(delivery = delivery.id, "A courier panicked; please report it. The delivery is tried again later.");
            let due = next_try_ms(delivery.attempts.saturating_add(1), Class::Environment, now_ms(), jitter());
            let _ = house.catalog.delivery_failed(&delivery.id, Class::Environment, "the program failed", due);
        }
        house.bell.lock().in_flight.remove(&delivery.id);
        house.bell.ring();
    }
}

/// Takes the most urgent due delivery that nobody carries; `None` when the couriers are to stop.
fn take(house: &House) -> Option<Delivery> {
    let mut carried = house.bell.lock();
    loop {
        if carried.closed || house.stop.is_requested() {
            return None;
        }
        let now = now_ms();
        carried.paused.retain(|_, until| *until > now);
        match first_free(house, &carried, now) {
            Ok(Some(delivery)) => {
                carried.in_flight.insert(delivery.id.clone());
                return Some(delivery);
            }
            Ok(None) if carried.in_flight.is_empty() => house.targets().rest(),
            Ok(None) => {}
            Err(error) => warn!(error = chain(&error), "The delivery queue cannot be read."),
        }
        let next = house.catalog.next_due_ms().ok().flatten().map_or(LONGEST_NAP, |due| until(due, now));
        carried = nap(&house.bell, carried, next.clamp(Duration::from_millis(20), LONGEST_NAP));
    }
}

/// The most urgent due delivery that nobody carries and whose target does not wait; looks further only if it must.
fn first_free(house: &House, carried: &Carried, now: i64) -> Result<Option<Delivery>, CatalogError> {
    let is_free = |d: &Delivery| !carried.in_flight.contains(&d.id) && carried.may_try(&d.target);
    // Each is read and decoded: nearly always the first will do.
    let mut limit = carried.in_flight.len() + 1;
    loop {
        let due = house.catalog.due(now, limit)?;
        let is_all = due.len() < limit;
        match due.into_iter().find(is_free) {
            None if !is_all => limit = limit.saturating_mul(16),
            found => return Ok(found),
        }
    }
}

fn until(due_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0))
}

fn carry(house: &House, delivery: &Delivery) {
    match house.catalog.begin_delivery(&delivery.id) {
        Ok(Some(attempt)) => attempt_delivery(house, delivery, attempt),
        Ok(None) => {}
        Err(error) => warn!(delivery = delivery.id, error = chain(&error), "The attempt could not be journalled."),
    }
}

fn attempt_delivery(house: &House, delivery: &Delivery, attempt: u32) {
    let begun = Instant::now();
    let outcome = upload(house, delivery).map_err(PipelineError::from).and_then(|objects| {
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
                info!(target_name = delivery.target, "The target can be used again.");
            }
            info!(delivery = delivery.id, attempt, "Delivered.");
            if let Some(vod_id) = &delivery.asset.vod_id {
                super::freeing::free_if_due(house, vod_id);
            }
        }
        Err(error) => note_failure(house, delivery, attempt, &error),
    }
}

/// The VoD was deleted while its file was on the way: nobody would ever delete these objects.
fn take_back(house: &House, delivery: &Delivery, objects: &[RemoteObject]) {
    for object in objects {
        match house.targets().remove(&delivery.asset.id, object) {
            Ok(_) => info!(url = object.url, "Taken back: its VoD was deleted meanwhile."),
            Err(error) => warn!(url = object.url, error = chain(&error), "Its VoD was deleted, the object stays."),
        }
    }
}

fn upload(house: &House, delivery: &Delivery) -> Result<Vec<RemoteObject>, DeliverError> {
    let settings = house.settings();
    let zone = &settings.finish.time_zone;
    let date = crate::recording::name::format_time(delivery.asset.start_ms, zone, "%Y-%m-%d").unwrap_or_default();
    let files = &delivery.asset.files;
    // An HLS unit is called by its playlist, which comes last.
    let name = files.last().map_or(std::path::Path::new(""), |file| file.path.as_path());
    let meter = house.meters.begin("send", name, files.iter().map(|file| file.fingerprint.size_bytes).sum());
    let progress = |sent| {
        meter.add(sent);
        // A line that breaks again and again is slow, and not silent.
        house.bell.lock().silences_in_a_row.remove(&delivery.target);
    };
    house.targets().upload(&delivery.target, &delivery.asset, &date, house.stop.flag(), &progress, &house.catalog)
}

fn note_failure(house: &House, delivery: &Delivery, attempt: u32, error: &PipelineError) {
    let class = error.class();
    if class == Class::Cancelled {
        let _ = house.catalog.delivery_failed(&delivery.id, Class::Transient, "stopped", Some(now_ms()));
        return;
    }
    let said = chain(error);
    let message = error.hint().map_or_else(|| said.clone(), |hint| format!("{said}. {hint}"));
    let due = next_try_ms(attempt, class, now_ms(), jitter());
    let is_said = match error {
        PipelineError::Deliver(error) if error.is_of_the_target() => {
            let (_, is_news) = house.bell.lock().pause(&delivery.target, class, now_ms(), jitter());
            Some((is_news, "The target cannot be used; everything stays queued."))
        }
        PipelineError::Deliver(error) if error.is_silence() => {
            let waits = house.bell.lock().silence(&delivery.target, now_ms(), jitter());
            waits.map(|is_news| (is_news, "The target does not answer; everything stays queued."))
        }
        _ => {
            house.bell.lock().silences_in_a_row.remove(&delivery.target);
            None
        }
    };
    // What would meet every recording alike is said once.
    match is_said {
        Some((true, words)) => warn!(target_name = delivery.target, error = message, "{words}"),
        Some((false, _)) => {}
        None => warn!(delivery = delivery.id, error = message, due_ms = due, "Not delivered; the local file stays."),
    }
    if let Err(error) = house.catalog.delivery_failed(&delivery.id, class, &message, due) {
        warn!(delivery = delivery.id, error = chain(&error), "The failure could not be journalled.");
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

    #[test]
    fn a_pause_grows_with_each_try_and_not_with_what_was_on_the_way_when_it_began() {
        let mut carried = Carried { at_once: 4, ..Carried::default() };
        let steps = |carried: &mut Carried, now| {
            let (until, is_news) = carried.pause("a", Class::Environment, now, 0);
            assert_eq!(carried.pause("a", Class::Environment, now, 1), (until, false), "three more fail alike");
            assert!(!carried.may_try("a") && carried.may_try("b"));
            carried.paused.retain(|_, until| *until > now + 3_600_000);
            (until - now, is_news)
        };
        let waits: Vec<_> = (0..7).map(|n| steps(&mut carried, n * 10_000_000)).collect();
        assert_eq!(waits.iter().map(|w| w.1).collect::<Vec<_>>(), [true, false, false, false, false, false, false]);
        for (n, (wait, _)) in waits.iter().enumerate() {
            let most = (30_000 << n).min(900_000);
            assert!((most / 2..=most).contains(wait), "{n}: {wait}");
        }
        assert!(carried.may_try("a"), "one after the pause");
        carried.in_flight.insert("x@a".into());
        assert!(!carried.may_try("a"), "and no other until it has come back");
    }

    #[test]
    fn a_target_at_a_standstill_leaves_couriers_to_the_others() {
        assert_eq!([shares(0, 0), shares(0, 1), shares(0, 2)], [(4, 4), (4, 4), (8, 4)]);
        assert_eq!([shares(4, 2), shares(1, 3), shares(6, 1)], [(4, 3), (1, 1), (6, 6)]);
        let mut carried = Carried { at_once: 2, ..Carried::default() };
        carried.in_flight.extend(["x@a".to_owned(), "y@a".to_owned()]);
        assert!(!carried.may_try("a") && carried.may_try("b"));
    }

    #[test]
    fn a_few_silences_in_a_row_and_nothing_less_make_a_target_wait_and_each_after_that_longer() {
        let mut carried = Carried { at_once: 4, ..Carried::default() };
        for _ in 0..5 {
            let heard: Vec<_> = (1..SILENCES).map(|_| carried.silence("a", 0, 0)).collect();
            assert_eq!(heard, [None; SILENCES as usize - 1]);
            assert!(!carried.success("a") && carried.may_try("a"), "one success in between");
        }
        let heard: Vec<_> = (0..SILENCES).map(|_| carried.silence("a", 0, 0)).collect();
        assert_eq!(heard, [None, None, None, Some(true)]);
        assert!(!carried.may_try("a") && carried.may_try("b"));
        let mut last = carried.paused["a"];
        for n in 1..5 {
            let now = n * 1_000_000;
            carried.paused.retain(|_, until| *until > now);
            assert_eq!(carried.silence("a", now, 0), Some(false), "the one that tried says nothing new");
            let wait = carried.paused["a"] - now;
            assert!(wait > last, "{wait} after {last}");
            last = wait;
        }
        carried.paused.clear();
        carried.in_flight.insert("x@a".into());
        assert!(!carried.may_try("a"), "one at a time until one arrives");
        assert!(carried.success("a") && carried.may_try("a"));
    }

    #[test]
    fn the_end_of_a_fault_is_said_also_after_a_resume_and_once() {
        let mut carried = Carried { at_once: 4, ..Carried::default() };
        assert!(!carried.success("a"), "nothing was wrong");
        assert!(carried.pause("a", Class::Environment, 0, 0).1);
        carried.resume();
        assert!(carried.may_try("a") && carried.may_try("b"));
        assert!(carried.pause("a", Class::Environment, 0, 0).1, "who asked for another try hears what is still wrong");
        carried.resume();
        assert_eq!([carried.success("b"), carried.success("a"), carried.success("a")], [false, true, false]);
    }

    #[test]
    fn a_start_brings_back_what_failed_and_lets_a_target_that_waits_wait() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { state_dir: dir.path().join("state"), ..Settings::default() };
        let house = House::open(settings, Stop::default(), Opening::default()).unwrap();
        house.bell.lock().pause("a", Class::Environment, now_ms(), 0);
        house.bring_back();
        assert!(house.target_waits_until("a").is_some(), "a courier that was faster has said so");
        house.resume_targets();
        assert!(house.target_waits_until("a").is_none());
    }

    #[test]
    fn what_is_overdue_since_for_ever_is_due_now() {
        assert_eq!(until(i64::MIN, 1_772_634_615_000), Duration::ZERO);
        assert_eq!(until(1_500, 1_000), Duration::from_millis(500));
    }
}
