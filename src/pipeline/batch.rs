//! `process` and `recover`: everything in some paths to its end, once; ends when nothing is due now.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use tracing::warn;

use super::ended::{Ended, ended_before};
use super::engine::Engine;
use super::error::PipelineError;
use super::finding::{self, Place};
use super::freeing;
use super::house::{House, now_ms};
use super::leaving;
use super::pictures;
use super::pool::Urgency;
use super::queueing;
use crate::catalog::{CatalogError, JournalKey, Known};
use crate::discover::{Mode, Problem, Settled, Settling, Unit, Waiting};
use crate::durable;
use crate::finish::{self, ByBytes};
use crate::recording::journey::Candidate;
use crate::recording::name::printable;
use crate::recording::{Delivery, VodRecord};
use crate::stop::{self, Stop, Stopped};

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
    /// Whether nothing else works here: then it also ends what is left of earlier runs, as far as that is due.
    pub is_alone: bool,
    /// The wish that this batch ends. What it has queued by then goes on without it.
    pub stop: Stop,
}

/// Is told each recording's end as it comes.
pub type Hear<'a> = &'a mut dyn FnMut(PathBuf, Ended);

/// What there is to say at the end.
#[derive(Debug, Default)]
pub struct Report {
    /// Recordings that are still being written, or whose rest is not proven.
    pub not_settled: Vec<(PathBuf, Waiting)>,
    /// HLS and DASH units that were queued for delivery.
    pub units: usize,
    /// Media that nothing is done with, and files that were named and are no recordings.
    pub unhandled: Vec<PathBuf>,
    /// Places that could not be read.
    pub problems: Vec<Problem>,
    /// What of these recordings and units could not be delivered yet.
    pub undelivered: Vec<Delivery>,
}

/// How long a batch waits between two looks at what may settle or be delivered.
const TICK: Duration = Duration::from_millis(100);

type Said = (PathBuf, Ended);

/// Takes everything to its end; `hear` is told each recording's end as it comes.
pub fn run(engine: &Engine, batch: &Batch, hear: Hear<'_>) -> Result<Report, PipelineError> {
    let house = engine.house();
    house.own(batch.places.iter().map(|place| place.root.path.as_path()))?;
    engine.couriers().begin()?;
    engine.studio().begin();
    if batch.is_alone {
        house.announcer.begin()?;
    }
    let find = || stop::heeding(&batch.stop, || finding::find(house, &batch.places));
    let mut found = find().map_err(|Stopped| PipelineError::Stopped)??;
    if !found.asides.is_empty() {
        leaving::put_back(house, &found.asides);
        found = find().map_err(|Stopped| PipelineError::Stopped)??;
    }
    let mut report = Report { problems: found.problems, unhandled: found.unhandled, ..Report::default() };
    report.not_settled.extend(found.waiting.into_iter().map(|path| (path, Waiting::Temporary)));
    let (say, heard) = unbounded();
    let mut run = Run { engine, batch, say: Some(say), waiting: Vec::new() };
    run.submit_all(found.candidates, &mut report)?;
    let vods = run.listen(&heard, hear, &mut report);
    let own = Own { units: queue_units(house, &found.units, &mut report)?, vods };
    house.bell.ring();
    own.take_pictures(house, batch)?;
    deliver(engine, batch, &own, batch.wait)?;
    tell_what_is_due(house, batch)?;
    own.free(house, batch);
    // Files that were touched since their delivery are compared with their copies, and freed by that.
    deliver(engine, batch, &own, false)?;
    tell_what_is_due(house, batch)?;
    report.undelivered = own.undelivered(house)?;
    Ok(report)
}

/// Has endpoints told what they can be told now: they may be what keeps a file from being freed, and nobody else will tell them.
fn tell_what_is_due(house: &House, batch: &Batch) -> Result<(), CatalogError> {
    if batch.is_alone { house.announcer.wait_until_tried(&batch.stop) } else { Ok(()) }
}

struct Run<'a> {
    engine: &'a Engine,
    batch: &'a Batch,
    /// Gone when nothing more will be submitted.
    say: Option<Sender<Said>>,
    waiting: Vec<Candidate>,
}

impl Run<'_> {
    fn house(&self) -> &House {
        self.engine.house()
    }

    fn submit_all(&mut self, candidates: Vec<Candidate>, report: &mut Report) -> Result<(), CatalogError> {
        for candidate in candidates {
            if self.batch.stop.is_requested() {
                break;
            }
            let known = self.house().catalog.knows(&candidate.path, &candidate.fingerprint)?;
            if self.batch.again && self.is_to_be_taken_again(&candidate, &known)? {
                self.house().catalog.forget(&JournalKey::of(&candidate.path, &candidate.fingerprint))?;
            }
            self.consider(candidate, report);
        }
        self.end_if_nothing_waits();
        Ok(())
    }

    /// Whether `--again` forgets what is known of a file. Not of a kept original whose finished file stands, or is freed
    /// because the stores hold it: taken again it would give the same recording a second time.
    fn is_to_be_taken_again(&self, candidate: &Candidate, known: &Known) -> Result<bool, CatalogError> {
        if matches!(known, Known::UnderWay) {
            return Ok(false);
        }
        let record = known.vod_id().map(|id| self.house().catalog.shared().vod(id)).transpose()?.flatten();
        let stands = |r: &VodRecord| {
            r.freed_at.is_some() || durable::fingerprint(&r.file_path).is_ok_and(|f| f == r.fingerprint)
        };
        Ok(record.is_none_or(|record| record.file_path == candidate.path || !stands(&record)))
    }

    /// Submits a candidate that is settled, or keeps it for later.
    fn consider(&mut self, candidate: Candidate, report: &mut Report) {
        if let Some(ended) = self.already_ended(&candidate) {
            return self.tell(candidate.path, ended);
        }
        match self.house().settler().settle(candidate.clone(), None, self.batch.mode, now_ms()) {
            Settling::Settled(settled) => match self.put_back(&settled) {
                Some(candidate) => self.waiting.push(candidate),
                None => self.submit(settled),
            },
            Settling::Wait { reason: Waiting::Quiet | Waiting::Settle, .. } => self.waiting.push(candidate),
            Settling::Changed(now) => self.waiting.push(now),
            Settling::Wait { reason, .. } => report.not_settled.push((candidate.path, reason)),
            Settling::Gone | Settling::InUnit => {}
        }
    }

    /// `recover` also mends a splice in place that was cut and of which the journal knows nothing; the recording is then
    /// what it was, and looked at again.
    fn put_back(&self, settled: &Settled) -> Option<Candidate> {
        if self.batch.mode != Mode::Recover || !settled.evidence().is_strong() {
            return None;
        }
        let path = settled.path();
        match finish::put_back_by_bytes(path) {
            Ok(ByBytes::PutBack) => {
                warn!(path = %printable(path), "interrupted splice in place rolled back, detected from the file contents alone");
                let fingerprint = durable::fingerprint(path).ok()?;
                Some(Candidate { fingerprint, ..settled.candidate().clone() })
            }
            Ok(ByBytes::Unclear) => {
                warn!(path = %printable(path), "a splice in place may have been interrupted; the file contents do not show where");
                None
            }
            // Whatever keeps it from being read now is said when it is finished.
            Ok(ByBytes::NotHalfDone) | Err(_) => None,
        }
    }

    /// What the catalogue knows by path and fingerprint is not even opened again; what failed is tried again.
    fn already_ended(&self, candidate: &Candidate) -> Option<Ended> {
        let known = self.house().catalog.knows(&candidate.path, &candidate.fingerprint).ok()?;
        let is_new = matches!(known, Known::Unknown | Known::Failed { .. } | Known::UnderWay);
        (!is_new).then(|| ended_before(self.house(), &candidate.path, &candidate.fingerprint, &known))
    }

    fn tell(&self, path: PathBuf, ended: Ended) {
        if let Some(say) = &self.say {
            let _ = say.send((path, ended));
        }
    }

    /// Has a recording taken to its end; what cannot be taken now is asked for again later.
    fn submit(&mut self, settled: Settled) {
        let Some(say) = self.say.clone() else { return };
        let candidate = settled.candidate().clone();
        let hear = move |path: &Path, ended: &Ended| drop(say.send((path.to_owned(), ended.clone())));
        if !self.engine.submit(settled, Urgency::Asked, Some(Box::new(hear))) {
            self.waiting.push(candidate);
        }
    }

    /// Hears ends until the last, and looks again at those whose rest is not proven yet. Returns the ids of their records.
    fn listen(&mut self, heard: &Receiver<Said>, hear: Hear<'_>, report: &mut Report) -> Vec<String> {
        let mut vods = Vec::new();
        loop {
            match heard.recv_timeout(TICK) {
                Ok((path, ended)) => {
                    vods.extend(vod_of(&ended).map(str::to_owned));
                    hear(path, ended);
                }
                Err(RecvTimeoutError::Disconnected) => return vods,
                Err(RecvTimeoutError::Timeout) if self.batch.stop.is_requested() => return vods,
                Err(RecvTimeoutError::Timeout) => self.look_again(report),
            }
        }
    }

    fn look_again(&mut self, report: &mut Report) {
        for candidate in std::mem::take(&mut self.waiting) {
            self.consider(candidate, report);
        }
        self.end_if_nothing_waits();
    }

    fn end_if_nothing_waits(&mut self) {
        if self.waiting.is_empty() {
            self.say = None;
        }
    }
}

/// Queues the units; returns the ids of their assets.
fn queue_units(house: &House, units: &[(Unit, String)], report: &mut Report) -> Result<Vec<String>, CatalogError> {
    let mut assets = Vec::new();
    for (unit, stream_id) in units {
        let deliveries = queueing::deliveries_for_unit(house, unit, stream_id);
        report.units += usize::from(house.catalog.enqueue(&deliveries)? > 0);
        assets.extend(deliveries.into_iter().next().map(|delivery| delivery.asset.id));
    }
    Ok(assets)
}

fn vod_of(ended: &Ended) -> Option<&str> {
    match ended {
        Ended::Finished { vod } => Some(&vod.vod_id),
        Ended::AlreadyFinished { vod_id } | Ended::Postponed { vod_id, .. } => vod_id.as_deref(),
        Ended::Quarantined { .. } | Ended::LeftOut | Ended::Failed { .. } => None,
    }
}

/// What a batch was asked to deliver, and nothing that others queue meanwhile.
struct Own {
    /// Ids of records.
    vods: Vec<String>,
    /// Ids of the assets of units.
    units: Vec<String>,
}

impl Own {
    fn undelivered(&self, house: &House) -> Result<Vec<Delivery>, CatalogError> {
        let mut pending = Vec::new();
        for vod_id in &self.vods {
            pending.extend(house.catalog.deliveries_of_vod(vod_id)?.into_iter().filter(Delivery::is_pending));
        }
        for asset_id in &self.units {
            pending.extend(house.catalog.pending_for(asset_id)?);
        }
        Ok(pending)
    }

    /// Waits for the pictures, which nobody else makes where no daemon runs; also those that an earlier run had not come to.
    fn take_pictures(&self, house: &House, batch: &Batch) -> Result<(), CatalogError> {
        for vod_id in &self.vods {
            if batch.again {
                pictures::forget_failure(house, vod_id)?;
            }
            house.pictures.ask(vod_id);
        }
        if batch.is_alone {
            house.pictures.wait_until_done(&batch.stop);
        }
        Ok(())
    }

    fn free(&self, house: &House, batch: &Batch) {
        if batch.is_alone {
            freeing::free_what_is_due(house);
        } else {
            self.vods.iter().for_each(|vod_id| freeing::free_if_due(house, vod_id));
        }
    }
}

fn deliver(engine: &Engine, batch: &Batch, own: &Own, wait: bool) -> Result<(), CatalogError> {
    let (house, couriers) = (engine.house(), engine.couriers());
    let mut left = own.undelivered(house)?;
    couriers.wait_for(&left, &batch.stop)?;
    while wait && !left.is_empty() && !batch.stop.is_requested() {
        std::thread::sleep(TICK);
        left = still_pending(house, left)?;
        couriers.wait_for(&left, &batch.stop)?;
    }
    if batch.is_alone { couriers.wait_until_nothing_is_due(&batch.stop) } else { Ok(()) }
}

fn still_pending(house: &House, deliveries: Vec<Delivery>) -> Result<Vec<Delivery>, CatalogError> {
    let now = |delivery: Delivery| house.catalog.delivery(&delivery.id).map(|now| now.filter(Delivery::is_pending));
    deliveries.into_iter().filter_map(|delivery| now(delivery).transpose()).collect()
}
