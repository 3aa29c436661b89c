//! Couriers carry what is due to the targets. Finishing and cataloguing never wait for them (promise 5).

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{error, info, warn};

use super::error::PipelineError;
use super::house::{House, now_ms};
use crate::catalog::{CatalogError, next_try_ms};
use crate::deliver::DeliverError;
use crate::fault::{Class, Fault, chain};
use crate::recording::{Delivery, RemoteObject};

/// Uploads at once when the configuration does not say.
const DEFAULT_COURIERS: usize = 4;
/// How long a courier sleeps at most before it looks at the queue again.
const LONGEST_NAP: Duration = Duration::from_secs(5);

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
    closed: bool,
}

impl Carried {
    /// A target that waits is left alone; one that has just waited is tried with one delivery.
    fn may_try(&self, target: &str) -> bool {
        let is_tried = || self.in_flight.iter().any(|id| id.rsplit('@').next() == Some(target));
        !(self.paused.contains_key(target) || self.faults_in_a_row.contains_key(target) && is_tried())
    }
}

impl Bell {
    /// Something may be due now.
    pub fn ring(&self) {
        self.rung.notify_all();
    }

    /// No courier takes anything more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ring();
    }

    /// Forgets that targets wait, after a reload or when an operator asks for a retry.
    pub fn resume_targets(&self) {
        let mut carried = self.lock();
        carried.paused.clear();
        carried.faults_in_a_row.clear();
        drop(carried);
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
    /// Starts them; there are none where there is no target.
    pub fn start(house: &Arc<House>) -> Self {
        let settings = house.settings();
        let wanted = match settings.deliver.concurrency {
            _ if settings.deliver.targets.is_empty() => 0,
            0 => DEFAULT_COURIERS,
            n => n,
        };
        let spawn = |n: usize| {
            let house = Arc::clone(house);
            let thread = std::thread::Builder::new().name(format!("courier-{n}")).spawn(move || {
                if n == 0 {
                    abort_stale(&house);
                }
                carry_all(&house);
            });
            thread.ok()
        };
        Self { house: Arc::clone(house), threads: Mutex::new((0..wanted).filter_map(spawn).collect()) }
    }

    /// Waits until nothing is due now and nothing is under way.
    pub fn wait_until_nothing_is_due(&self) -> Result<(), CatalogError> {
        if self.lock().is_empty() {
            return Ok(());
        }
        let mut carried = self.house.bell.lock();
        while !self.house.stop.is_requested() {
            let due = self.house.catalog.due(now_ms(), usize::MAX)?;
            let waits = |d: &Delivery| carried.paused.get(&d.target).is_some_and(|until| *until > now_ms());
            if carried.in_flight.is_empty() && due.iter().all(waits) {
                break;
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
    let mut limit = carried.in_flight.len() + 64;
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
    let outcome = upload(house, delivery).map_err(PipelineError::from).and_then(|objects| {
        house.catalog.delivered(&delivery.id, &objects, now_ms())?;
        house.targets().forget(&delivery.asset.id, &objects, &house.catalog)?;
        Ok(())
    });
    match outcome {
        Ok(()) => {
            house.bell.lock().faults_in_a_row.remove(&delivery.target);
            info!(delivery = delivery.id, attempt, "Delivered.");
            if let Some(vod_id) = &delivery.asset.vod_id {
                super::freeing::free_if_due(house, vod_id);
            }
        }
        Err(error) => note_failure(house, delivery, attempt, &error),
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
    let progress = |sent| meter.add(sent);
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
    if class == Class::Environment {
        pause(house, delivery, &message);
    } else {
        warn!(delivery = delivery.id, error = message, due_ms = due, "Not delivered; the local file stays.");
    }
    if let Err(error) = house.catalog.delivery_failed(&delivery.id, class, &message, due) {
        warn!(delivery = delivery.id, error = chain(&error), "The failure could not be journalled.");
    }
}

/// A fault of the surroundings would meet every recording alike: the target waits, longer each time, and it is said once.
fn pause(house: &House, delivery: &Delivery, message: &str) {
    let mut carried = house.bell.lock();
    let in_a_row = carried.faults_in_a_row.entry(delivery.target.clone()).or_default();
    *in_a_row = in_a_row.saturating_add(1);
    let is_news = *in_a_row == 1;
    let until = next_try_ms(*in_a_row, Class::Environment, now_ms(), jitter()).unwrap_or_else(|| now_ms() + 60_000);
    carried.paused.insert(delivery.target.clone(), until);
    drop(carried);
    if is_news {
        warn!(target_name = delivery.target, error = message, "The target cannot be used; everything stays queued.");
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

    #[test]
    fn what_is_overdue_since_for_ever_is_due_now() {
        assert_eq!(until(i64::MIN, 1_772_634_615_000), Duration::ZERO);
        assert_eq!(until(1_500, 1_000), Duration::from_millis(500));
    }
}
