//! `process` and `recover`: everything in some paths to its end, once; ends when nothing is due now.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::engine::Engine;
use super::finding::{self, Place, Settling};
use super::freeing;
use super::house::{House, now_ms};
use super::journey::{self, Ended};
use super::pool::Urgency;
use super::queueing;
use crate::catalog::{CatalogError, DeliveryFilter, JournalKey, Known};
use crate::discover::{Mode, Problem, Waiting};
use crate::recording::Delivery;
use crate::recording::journey::{Candidate, Settled};

/// What is to be taken to its end.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Files and directories.
    pub places: Vec<Place>,
    /// `Process`, or `Recover` for temporary names at once.
    pub mode: Mode,
    /// Whether to stay until everything is delivered.
    pub wait: bool,
    /// Whether to take what was quarantined, left out or failed before.
    pub again: bool,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Report {
    /// Each recording and how its journey ended.
    pub ended: Vec<(PathBuf, Ended)>,
    /// Recordings that are still being written, or whose rest is not proven.
    pub not_settled: Vec<(PathBuf, Waiting)>,
    /// Places that could not be read.
    pub problems: Vec<Problem>,
    /// What could not be delivered yet.
    pub undelivered: Vec<Delivery>,
    /// Files that were freed at the end.
    pub freed: usize,
}

/// How long a batch waits between two looks at what may settle or be delivered.
const TICK: Duration = Duration::from_millis(100);

/// Takes everything to its end; `hear` is told each recording's end as it comes.
pub fn run(engine: &Engine, batch: &Batch, hear: &dyn Fn(&Path, &Ended)) -> Result<Report, CatalogError> {
    let house = engine.house();
    let found = finding::find(house, &batch.places)?;
    let mut report = Report { problems: found.problems, ..Report::default() };
    let (say, heard) = unbounded();
    let waiting = submit_all(engine, batch, found.candidates, &say)?;
    wait_for_settling(engine, batch, waiting, &say, &mut report)?;
    drop(say);
    collect(engine, &heard, hear, &mut report);
    for (unit, stream_id) in &found.units {
        house.catalog.enqueue(&queueing::deliveries_for_unit(house, unit, stream_id))?;
    }
    house.bell.ring();
    deliver(engine, batch.wait)?;
    report.freed = freeing::free_what_is_due(house);
    report.undelivered = undelivered(house)?;
    Ok(report)
}

type Said = (PathBuf, Ended);

/// Submits what is settled; returns what is not.
fn submit_all(
    engine: &Engine,
    batch: &Batch,
    candidates: Vec<Candidate>,
    say: &Sender<Said>,
) -> Result<Vec<Candidate>, CatalogError> {
    let mut waiting = Vec::new();
    for candidate in candidates {
        if engine.house().stop.is_requested() {
            break;
        }
        if batch.again {
            engine.house().catalog.forget(&JournalKey::of(&candidate.path, &candidate.fingerprint))?;
        }
        if let Some(candidate) = submit_if_settled(engine, batch, candidate, say).0 {
            waiting.push(candidate);
        }
    }
    Ok(waiting)
}

/// Submits a candidate if it is settled; gives it back, with the reason, if not.
fn submit_if_settled(
    engine: &Engine,
    batch: &Batch,
    candidate: Candidate,
    say: &Sender<Said>,
) -> (Option<Candidate>, Option<Waiting>) {
    let house = engine.house();
    if let Some(ended) = already_ended(engine, &candidate) {
        let _ = say.send((candidate.path, ended));
        return (None, None);
    }
    match finding::settle(&house.settings(), candidate, None, batch.mode) {
        Settling::Settled(settled) => {
            submit(engine, settled, say);
            (None, None)
        }
        Settling::Wait { candidate, reason, .. } => (Some(candidate), Some(reason)),
        Settling::Gone => (None, None),
    }
}

/// What the catalogue knows by path and fingerprint is not even opened again; what failed is tried again.
fn already_ended(engine: &Engine, candidate: &Candidate) -> Option<Ended> {
    let house = engine.house();
    let known = house.catalog.knows(&candidate.path, &candidate.fingerprint).ok()?;
    let is_new = matches!(known, Known::Unknown | Known::Failed { .. } | Known::UnderWay);
    (!is_new).then(|| journey::ended_before(house, &candidate.path, &candidate.fingerprint, &known))
}

fn submit(engine: &Engine, settled: Settled, say: &Sender<Said>) {
    let path = settled.candidate.path.clone();
    let then = say.clone();
    let is_taken = engine.submit(settled.clone(), Urgency::Backlog, move |path, ended| drop(then.send((path, ended))));
    if !is_taken {
        // The daemon's own scan has it already: its end is ours.
        while engine.pool().holds(&path) && !engine.house().stop.is_requested() {
            std::thread::sleep(TICK);
        }
        let _ = say.send((path, journey::travel(engine.house(), &settled)));
    }
}

/// Waits for those whose rest is not proven yet, as long as their reason says that waiting helps.
fn wait_for_settling(
    engine: &Engine,
    batch: &Batch,
    waiting: Vec<Candidate>,
    say: &Sender<Said>,
    report: &mut Report,
) -> Result<(), CatalogError> {
    let mut waiting = waiting;
    while !waiting.is_empty() && !engine.house().stop.is_requested() {
        let mut still = Vec::new();
        for candidate in waiting {
            let path = candidate.path.clone();
            match submit_if_settled(engine, batch, candidate, say) {
                (Some(candidate), Some(reason)) if reason.ends_by_itself() => still.push(candidate),
                (Some(_), Some(reason)) => report.not_settled.push((path, reason)),
                _ => {}
            }
        }
        waiting = still;
        if !waiting.is_empty() {
            std::thread::sleep(TICK);
        }
    }
    Ok(())
}

fn collect(engine: &Engine, heard: &Receiver<Said>, hear: &dyn Fn(&Path, &Ended), report: &mut Report) {
    while let Some((path, ended)) = next(engine, heard) {
        hear(&path, &ended);
        report.ended.push((path, ended));
    }
    report.ended.sort_by(|a, b| a.0.cmp(&b.0));
}

fn next(engine: &Engine, heard: &Receiver<Said>) -> Option<Said> {
    loop {
        match heard.recv_timeout(TICK) {
            Ok(said) => return Some(said),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return None,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) if engine.house().stop.is_requested() => {
                return heard.try_recv().ok();
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
        }
    }
}

fn deliver(engine: &Engine, wait: bool) -> Result<(), CatalogError> {
    let house = engine.house();
    engine.couriers().wait_until_nothing_is_due()?;
    while wait && !house.stop.is_requested() && !undelivered(house)?.is_empty() {
        let nap = house.catalog.next_due_ms()?.map_or(1000, |due| (due - now_ms()).clamp(20, 1000));
        std::thread::sleep(Duration::from_millis(nap.unsigned_abs()));
        engine.couriers().wait_until_nothing_is_due()?;
    }
    Ok(())
}

fn undelivered(house: &House) -> Result<Vec<Delivery>, CatalogError> {
    let filter = DeliveryFilter { pending_only: true, ..DeliveryFilter::default() };
    Ok(house.catalog.deliveries(&filter)?.items)
}
