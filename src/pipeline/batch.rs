//! `process` and `recover`: everything in some paths to its end, once; ends when nothing is due now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use tracing::{info, warn};

use super::context::PipelineContext;
use super::delivering::Delivering;
use super::engine::Engine;
use super::error::PipelineError;
use super::finding::{self, InputPath};
use super::freeing;
use super::leaving;
use super::outcome::{JourneyOutcome, ended_before};
use super::pictures;
use super::pool::Urgency;
use super::queueing;
use super::shared;
use super::teaching;
use crate::catalog::{CatalogError, JournalKey, KnownFile};
use crate::discover::{Mode, Problem, SettleOutcome, Settled, Unit, WaitReason};
use crate::durable;
use crate::fault::chain;
use crate::finish::{self, ByteRecovery};
use crate::fleet::Fleet;
use crate::recording::journey::Candidate;
use crate::recording::name::printable;
use crate::recording::{Delivery, Shard, VodRecord};
use crate::stop::{self, Stop, Stopped};

/// What is to be taken to its end.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Files and directories.
    pub places: Vec<InputPath>,
    /// `Process`, or `Recover` for temporary names at once.
    pub mode: Mode,
    /// Whether to stay until everything is delivered.
    pub wait: bool,
    /// Whether to take what was quarantined, left out or failed before.
    pub again: bool,
    /// The part of what lies there that is taken.
    pub part: BatchPart,
    /// Whether nothing else works here: then it also ends what is left of earlier runs, as far as that is due.
    pub is_alone: bool,
    /// The wish that this batch ends. What it has queued by then goes on without it.
    pub stop: Stop,
}

/// How much of what lies in the places is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchPart {
    /// All of it.
    Whole,
    /// A part by its names; other processes take the others.
    Shard(Shard),
    /// Each place is one item that the fleet's database has given to this process, as it gives others in the same roots to other
    /// processes. Of a unit its playlist stands for all of it.
    Item,
}

impl BatchPart {
    const fn shard(self) -> Option<Shard> {
        match self {
            Self::Shard(shard) => Some(shard),
            Self::Whole | Self::Item => None,
        }
    }
}

/// Is told each recording's end as it comes.
pub type OutcomeSink<'a> = &'a mut dyn FnMut(PathBuf, JourneyOutcome);

/// What there is to say at the end.
#[derive(Debug, Default)]
pub struct BatchReport {
    /// Recordings that are still being written, or whose rest is not proven.
    pub not_settled: Vec<(PathBuf, WaitReason)>,
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

/// Recordings without codec parameters that are kept for a second attempt; more are told at once.
const MOST_LACKING: usize = 10_000;

/// How a recording ended.
struct RecordingEnd {
    path: PathBuf,
    outcome: JourneyOutcome,
    /// The attempt that ended so; none where it had ended before this run.
    attempt: Option<Attempt>,
}

/// A recording that was submitted.
struct Attempt {
    candidate: Candidate,
    /// How much had been learned about codec parameters by then.
    lessons: u64,
}

/// Takes everything to its end; `hear` is told each recording's end as it comes.
pub fn run(engine: &Engine, batch: &Batch, hear: OutcomeSink<'_>) -> Result<BatchReport, PipelineError> {
    let ctx = engine.pipeline();
    if let Some(place) = batch.places.iter().find(|place| place.root.shared)
        && !ctx.fleet.as_ref().is_some_and(Fleet::has_begun)
    {
        return Err(PipelineError::SharedNeedsDaemon { root: place.root.path.clone() });
    }
    let roots = batch.places.iter().map(|place| place.root.path.as_path());
    match batch.part {
        BatchPart::Item => ctx.own_beside_others(roots)?,
        BatchPart::Whole | BatchPart::Shard(_) => ctx.own_shard(roots, batch.part.shard())?,
    }
    engine.couriers().begin()?;
    engine.studio().begin();
    if batch.is_alone {
        ctx.announcer.begin()?;
    }
    let find = || stop::stoppable(&batch.stop, || finding::find(&ctx.discovering, &batch.places, batch.part.shard()));
    let mut found = find().map_err(|Stopped| PipelineError::Stopped)??;
    if !found.asides.is_empty() {
        leaving::put_back(&ctx.removing, &found.asides);
        found = find().map_err(|Stopped| PipelineError::Stopped)??;
    }
    if batch.part == BatchPart::Item {
        found.units.retain(|(unit, _)| batch.places.iter().any(|place| place.path == unit.playlist));
    }
    let mut report = BatchReport { problems: found.problems, unhandled: found.unhandled, ..BatchReport::default() };
    report.not_settled.extend(found.waiting.into_iter().map(|path| (path, WaitReason::Temporary)));
    let (say, heard) = unbounded();
    let mut run =
        BatchRun { engine, batch, say: Some(say), waiting: Vec::new(), lacking: Vec::new(), is_second_look: false };
    run.submit_all(found.candidates, &mut report)?;
    let mut vods = run.listen(&heard, hear, &mut report);
    vods.extend(run.look_at_what_lacked_parameters(hear, &mut report));
    let own = BatchDeliveries { units: queue_units(&ctx.delivering, &found.units, &mut report)?, vods };
    ctx.delivering.courier_notify.notify();
    own.take_pictures(ctx, batch)?;
    deliver(engine, batch, &own, batch.wait)?;
    tell_what_is_due(ctx, batch)?;
    own.free(ctx, batch);
    // Files that were touched since their delivery are compared with their copies, and freed by that.
    deliver(engine, batch, &own, false)?;
    tell_what_is_due(ctx, batch)?;
    report.undelivered = own.undelivered(&ctx.delivering)?;
    Ok(report)
}

/// Has endpoints told what they can be told now: they may be what keeps a file from being freed, and nobody else will tell them.
fn tell_what_is_due(ctx: &PipelineContext, batch: &Batch) -> Result<(), CatalogError> {
    if batch.is_alone { ctx.announcer.wait_until_tried(&batch.stop) } else { Ok(()) }
}

struct BatchRun<'a> {
    engine: &'a Engine,
    batch: &'a Batch,
    /// Gone when nothing more will be submitted.
    say: Option<Sender<RecordingEnd>>,
    waiting: Vec<Candidate>,
    /// Those that lack codec parameters, which what ends after them may teach.
    lacking: Vec<RecordingEnd>,
    /// Whether nothing is kept for a second attempt any more.
    is_second_look: bool,
}

impl BatchRun<'_> {
    fn pipeline(&self) -> &PipelineContext {
        self.engine.pipeline()
    }

    fn submit_all(&mut self, candidates: Vec<Candidate>, report: &mut BatchReport) -> Result<(), CatalogError> {
        for candidate in candidates {
            if self.batch.stop.is_requested() {
                break;
            }
            let known = self.pipeline().catalog.knows(&candidate.path, &candidate.fingerprint)?;
            if self.batch.again
                && self.is_to_be_taken_again(&candidate, &known)?
                && shared::may_be_tried_again(&self.pipeline().journaling, &candidate)
            {
                self.pipeline().catalog.forget(&JournalKey::of(&candidate.path, &candidate.fingerprint))?;
            }
            self.consider(candidate, report);
        }
        self.end_if_nothing_waits();
        Ok(())
    }

    /// Whether `--again` forgets what is known of a file. Not of a kept original whose finished file stands, or is freed
    /// because the stores hold it: taken again it would give the same recording a second time.
    fn is_to_be_taken_again(&self, candidate: &Candidate, known: &KnownFile) -> Result<bool, CatalogError> {
        if matches!(known, KnownFile::UnderWay) {
            return Ok(false);
        }
        let record = known.vod_id().map(|id| self.pipeline().catalog.shared().vod(id)).transpose()?.flatten();
        let stands = |r: &VodRecord| {
            r.freed_at.is_some() || durable::fingerprint(&r.file_path).is_ok_and(|f| f == r.fingerprint)
        };
        // What is told of a finished file beside its original was found in that, and would be lost with the record.
        let has_original =
            |r: &VodRecord| r.original_path.as_ref().is_some_and(|path| *path != r.file_path && path.exists());
        let is_itself = |r: &VodRecord| r.file_path == candidate.path && !has_original(r);
        Ok(record.is_none_or(|record| is_itself(&record) || !stands(&record)))
    }

    /// Submits a candidate that is settled, or keeps it for later.
    fn consider(&mut self, candidate: Candidate, report: &mut BatchReport) {
        if let Some(ended) = self.already_ended(&candidate) {
            return self.tell(candidate.path, ended);
        }
        match self.pipeline().settler().settle(candidate.clone(), None, self.batch.mode, self.pipeline().clock.now_ms())
        {
            SettleOutcome::Settled(settled) => match self.put_back(&settled) {
                Some(candidate) => self.waiting.push(candidate),
                None => self.submit(settled),
            },
            SettleOutcome::Wait { reason: WaitReason::Quiet | WaitReason::Settle, .. } => self.waiting.push(candidate),
            SettleOutcome::Changed(now) => self.waiting.push(now),
            SettleOutcome::Wait { reason, .. } => report.not_settled.push((candidate.path, reason)),
            SettleOutcome::Gone | SettleOutcome::InUnit => {}
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
            Ok(ByteRecovery::PutBack) => {
                warn!(path = %printable(path), "interrupted splice in place rolled back, detected from the file contents alone");
                let fingerprint = durable::fingerprint(path).ok()?;
                Some(Candidate { fingerprint, ..settled.candidate().clone() })
            }
            Ok(ByteRecovery::Unclear) => {
                warn!(path = %printable(path), "a splice in place may have been interrupted; the file contents do not show where");
                None
            }
            // Whatever keeps it from being read now is said when it is finished.
            Ok(ByteRecovery::NotHalfDone) | Err(_) => None,
        }
    }

    /// What the catalogue knows by path and fingerprint is not even opened again; what failed is tried again.
    fn already_ended(&self, candidate: &Candidate) -> Option<JourneyOutcome> {
        let known = self.pipeline().catalog.knows(&candidate.path, &candidate.fingerprint).ok()?;
        let is_new = matches!(known, KnownFile::Unknown | KnownFile::Failed { .. } | KnownFile::UnderWay);
        (!is_new).then(|| ended_before(&self.pipeline().journaling, &candidate.path, &candidate.fingerprint, &known))
    }

    fn tell(&self, path: PathBuf, ended: JourneyOutcome) {
        if let Some(say) = &self.say {
            let _ = say.send(RecordingEnd { path, outcome: ended, attempt: None });
        }
    }

    /// Has a recording taken to its end; what cannot be taken now is asked for again later.
    fn submit(&mut self, settled: Settled) {
        let Some(say) = self.say.clone() else { return };
        let candidate = settled.candidate().clone();
        let (attempted, lessons) = (candidate.clone(), self.pipeline().journaling.waiting.lessons());
        let hear = move |path: &Path, ended: &JourneyOutcome| {
            let attempt = Some(Attempt { candidate: attempted, lessons });
            drop(say.send(RecordingEnd { path: path.to_owned(), outcome: ended.clone(), attempt }));
        };
        if !self.engine.submit(settled, Urgency::Asked, Some(Box::new(hear))) {
            self.waiting.push(candidate);
        }
    }

    /// Hears ends until the last, and looks again at those whose rest is not proven yet. Returns the ids of their records.
    fn listen(
        &mut self,
        heard: &Receiver<RecordingEnd>,
        hear: OutcomeSink<'_>,
        report: &mut BatchReport,
    ) -> Vec<String> {
        let mut vods = Vec::new();
        loop {
            match heard.recv_timeout(TICK) {
                Ok(end) if self.may_still_learn(&end) => self.lacking.push(end),
                Ok(end) => {
                    vods.extend(vod_of(&end.outcome).map(str::to_owned));
                    hear(end.path, end.outcome);
                }
                Err(RecvTimeoutError::Disconnected) => return vods,
                Err(RecvTimeoutError::Timeout) if self.batch.stop.is_requested() => {
                    if self.batch.part != BatchPart::Item {
                        return vods;
                    }
                    // Whoever gave it the item learns how it ended: the journey heeds the stop itself, and may be past that.
                    self.waiting.clear();
                    self.say = None;
                }
                Err(RecvTimeoutError::Timeout) => self.look_again(report),
            }
        }
    }

    /// Whether what ends later may teach what this one lacks. Of one item among many, nothing else ends here; in a shared root all
    /// nodes leave alone what one has quarantined.
    fn may_still_learn(&self, end: &RecordingEnd) -> bool {
        !self.is_second_look
            && self.batch.part != BatchPart::Item
            && end.attempt.is_some()
            && end.outcome.lacks_parameters()
            && self.lacking.len() < MOST_LACKING
            && !self.pipeline().roots.is_shared(&end.path)
    }

    /// Attempts once more what lacked codec parameters when some were learned since: what comes out should not depend on which
    /// recording of a run ends first. Tells the ends of all of them; returns the ids of their records.
    fn look_at_what_lacked_parameters(&mut self, hear: OutcomeSink<'_>, report: &mut BatchReport) -> Vec<String> {
        self.is_second_look = true;
        let (say, heard) = unbounded();
        self.say = Some(say);
        let lessons = self.pipeline().journaling.waiting.lessons();
        let mut first_ends = BTreeMap::new();
        for RecordingEnd { path, outcome, attempt } in std::mem::take(&mut self.lacking) {
            match attempt {
                Some(attempt) if attempt.lessons < lessons && self.begins_again(&attempt.candidate) => {
                    first_ends.insert(path, outcome);
                    self.consider(attempt.candidate, report);
                }
                _ => hear(path, outcome),
            }
        }
        self.end_if_nothing_waits();
        let mut hear_again = |path: PathBuf, outcome: JourneyOutcome| {
            first_ends.remove(&path);
            hear(path, outcome);
        };
        let vods = self.listen(&heard, &mut hear_again, report);
        // Stopped, gone, or taken by somebody else meanwhile: what is known of it is how it ended first.
        for (path, outcome) in first_ends {
            hear(path, outcome);
        }
        vods
    }

    /// Has a quarantined recording due now; `false` where it stays as it is.
    fn begins_again(&self, candidate: &Candidate) -> bool {
        if self.batch.stop.is_requested() {
            return false;
        }
        let (path, key) = (printable(&candidate.path), JournalKey::of(&candidate.path, &candidate.fingerprint));
        match teaching::begin_again(&self.pipeline().journaling, &key) {
            Ok(Some(_)) => info!(path = %path, "retrying: codec parameters were learned since"),
            // A recording of its stream, or somebody else, had it begin already.
            Ok(None) => {}
            Err(error) => {
                warn!(path = %path, error = chain(&error), "cannot try a recording again with the codec parameters that were learned since");
                return false;
            }
        }
        true
    }

    fn look_again(&mut self, report: &mut BatchReport) {
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
fn queue_units(
    ctx: &Delivering,
    units: &[(Unit, String)],
    report: &mut BatchReport,
) -> Result<Vec<String>, CatalogError> {
    let mut assets = Vec::new();
    for (unit, stream_id) in units {
        let deliveries = queueing::deliveries_for_unit(ctx, unit, stream_id);
        report.units += usize::from(ctx.catalog.enqueue(&deliveries)? > 0);
        assets.extend(deliveries.into_iter().next().map(|delivery| delivery.asset.id));
    }
    Ok(assets)
}

fn vod_of(ended: &JourneyOutcome) -> Option<&str> {
    match ended {
        JourneyOutcome::Finished { vod } => Some(&vod.vod_id),
        JourneyOutcome::AlreadyFinished { vod_id } | JourneyOutcome::Postponed { vod_id, .. } => vod_id.as_deref(),
        JourneyOutcome::Quarantined { .. } | JourneyOutcome::LeftOut | JourneyOutcome::Failed { .. } => None,
    }
}

/// What a batch was asked to deliver, and nothing that others queue meanwhile.
struct BatchDeliveries {
    /// Ids of records.
    vods: Vec<String>,
    /// Ids of the assets of units.
    units: Vec<String>,
}

impl BatchDeliveries {
    fn undelivered(&self, ctx: &Delivering) -> Result<Vec<Delivery>, CatalogError> {
        let mut pending = Vec::new();
        for vod_id in &self.vods {
            pending.extend(ctx.catalog.deliveries_of_vod(vod_id)?.into_iter().filter(Delivery::is_pending));
        }
        for asset_id in &self.units {
            pending.extend(ctx.catalog.pending_for(asset_id)?);
        }
        Ok(pending)
    }

    /// Waits for the pictures, which nobody else makes where no daemon runs; also those that an earlier run had not come to.
    fn take_pictures(&self, ctx: &PipelineContext, batch: &Batch) -> Result<(), CatalogError> {
        for vod_id in &self.vods {
            if batch.again {
                pictures::forget_failure(ctx, vod_id)?;
            }
            ctx.pictures.ask(vod_id, ctx.clock.now());
        }
        if batch.is_alone {
            ctx.pictures.wait_until_done(&batch.stop);
        }
        Ok(())
    }

    fn free(&self, ctx: &PipelineContext, batch: &Batch) {
        // Of one item among many, all of the catalogue is not looked at.
        if batch.is_alone && batch.part != BatchPart::Item {
            freeing::free_what_is_due(ctx);
        } else {
            self.vods.iter().for_each(|vod_id| freeing::free_if_due(ctx, vod_id));
        }
    }
}

fn deliver(engine: &Engine, batch: &Batch, own: &BatchDeliveries, wait: bool) -> Result<(), CatalogError> {
    let (ctx, couriers) = (&engine.pipeline().delivering, engine.couriers());
    let mut left = own.undelivered(ctx)?;
    couriers.wait_for(&left, &batch.stop)?;
    while wait && !left.is_empty() && !batch.stop.is_requested() {
        std::thread::sleep(TICK);
        left = still_pending(ctx, left)?;
        couriers.wait_for(&left, &batch.stop)?;
    }
    if batch.is_alone { couriers.wait_until_nothing_is_due(&batch.stop) } else { Ok(()) }
}

fn still_pending(ctx: &Delivering, deliveries: Vec<Delivery>) -> Result<Vec<Delivery>, CatalogError> {
    let now = |delivery: Delivery| ctx.catalog.delivery(&delivery.id).map(|now| now.filter(Delivery::is_pending));
    deliveries.into_iter().filter_map(|delivery| now(delivery).transpose()).collect()
}
