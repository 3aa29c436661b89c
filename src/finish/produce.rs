//! Produces the finished file of one recording, aside, compared and durable; the source is only read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::decide::{Action, decide};
use super::describe::Description;
use super::front::front;
use super::identity::{Made, Making, record_of_finished};
use super::keep::keep;
use super::remux::remux;
use super::salvaging::taught_by;
use super::tagged::{index_or_remux, remux_named};
use super::{FinishError, Inspection, Options, Wish, inspect, salvaging};
use crate::discover::Settled;
use crate::durable::{self, Owner, Partial};
use crate::fault::chain;
use crate::isobmff::IsoError;
use crate::media::Watch;
use crate::recording::journey::Start;
use crate::recording::{
    Container, Defect, Fingerprint, Outcome, SalvageReport, Seen, SpliceIntent, SpliceMethod, SpliceUndo, VodRecord,
};
use crate::salvage::{Origin, Reference};
use crate::threads;

/// Chooses and reserves the final path.
pub type ChoosePath<'a> = dyn Fn(&Wish<'_>) -> Result<PathBuf, FinishError> + Sync + 'a;

/// The right to compute, which a recording lends to another while it waits for the disk.
pub trait Turn: Sync {
    /// Gives it away.
    fn pause(&self);
    /// Waits until it is back.
    fn resume(&self);
}

/// A turn of one who works alone: nobody else wants to compute.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Turn for Alone {
    fn pause(&self) {}

    fn resume(&self) {}
}

/// Makes durable what is about to be done to the source where it stands, and the record that follows from it.
pub type Remember<'a> = dyn Fn(&SpliceIntent, &VodRecord) -> Result<(), FinishError> + Sync + 'a;

/// Sound recordings of the same stream, asked for only if a recording needs them.
pub type References<'a> = dyn Fn() -> Vec<Reference> + Sync + 'a;

/// One recording to finish.
pub struct Work<'a> {
    /// The recording.
    pub settled: &'a Settled,
    /// Settings.
    pub options: &'a Options,
    /// Looked at while packets are read; set, the work ends with `Cancelled`.
    pub stop: &'a AtomicBool,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Chooses the final path.
    pub choose_path: &'a ChoosePath<'a>,
    /// Called before the source is changed where it stands; if it fails, the source is not changed.
    pub remember: &'a Remember<'a>,
    /// Told how many bytes of how many are read and written, about once per packet.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Held by the caller when the work begins, and when it has ended well.
    pub turn: &'a dyn Turn,
    /// Says how the stream is coded, for a recording that does not say it itself.
    pub references: &'a References<'a>,
    /// In whose name files are written aside.
    pub owner: &'a Owner,
}

impl Work<'_> {
    /// Lets another recording compute while this one only waits for the disk.
    pub(super) fn wait_for_disk<R>(&self, slow: impl FnOnce() -> R) -> R {
        self.turn.pause();
        let done = slow();
        self.turn.resume();
        done
    }
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("settled", &self.settled).finish_non_exhaustive()
    }
}

/// What became of it.
#[derive(Debug)]
pub enum Conclusion {
    /// It is complete and durable under a name that is not final yet.
    Finished(Box<Finished>),
    /// It cannot be finished.
    Quarantined(Vec<Defect>),
}

/// A complete, durable, compared file that waits for its final name (`record.file_path`).
#[derive(Debug)]
pub struct Finished {
    /// Where it stands: our partial, or the source itself where it is only renamed or not touched at all.
    pub written_path: PathBuf,
    /// Its fingerprint, which the rename does not change.
    pub written: Fingerprint,
    /// Its record.
    pub record: VodRecord,
    /// Whether the source holds nothing that the finished file lacks and is to go.
    pub removes_source: bool,
    /// What an operator should know, once.
    pub warnings: Vec<String>,
    /// What it tells about others of its stream, where its movie was at hand; else the finished file does.
    pub teaches: Option<Reference>,
}

/// What was written, before it has a record.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
    pub(super) final_path: PathBuf,
    pub(super) description: Description,
    pub(super) defects: Vec<Defect>,
    pub(super) start: Start,
    pub(super) outcome: Outcome,
    pub(super) splice: Option<SpliceMethod>,
    pub(super) undo: Option<SpliceUndo>,
    pub(super) salvage: Option<Box<SalvageReport>>,
    pub(super) warnings: Vec<String>,
}

/// Finishes one recording as far as its final name.
pub fn finish(work: &Work<'_>) -> Result<Conclusion, FinishError> {
    let source = work.settled.path();
    let before = durable::seen(source)?;
    // Set where the source is about to be changed where it stands. Taken back it has another change time.
    let is_ours = AtomicBool::new(false);
    let remember = |intent: &SpliceIntent, record: &VodRecord| {
        is_ours.store(true, Ordering::Relaxed);
        (work.remember)(intent, record)
    };
    let work = &Work { remember: &remember, ..*work };
    let mut inspection = inspect(source)?;
    let mut plan = decide(&inspection, work.options);
    let salvaged = match plan.action {
        Action::Salvage => Some(salvage_beside_others(work, &inspection, plan.container)?),
        _ => None,
    };
    let salvaged = match (salvaged, inspection.unexplained.take()) {
        (Some(Err(_)), Some(defect)) => {
            // Its own tables are whole, and nothing more is found.
            inspection.is_hit = false;
            inspection.defects.push(defect);
            plan = decide(&inspection, work.options);
            None
        }
        (salvaged, _) => salvaged,
    };
    let is_whole_movie = matches!(plan.action, Action::Keep | Action::Front);
    let teaches = inspection.movie().filter(|_| is_whole_movie).and_then(|movie| taught_by(movie, Origin::Stream));
    let made = match plan.action {
        Action::Quarantine(defects) => return Ok(Conclusion::Quarantined(defects)),
        Action::Keep => keep(work, &inspection, plan.container),
        Action::Front => front_or_keep(work, &mut inspection, plan.container),
        Action::Index => index_or_remux(work, &mut inspection, plan.container),
        Action::Remux => remux_named(work, &mut inspection, plan.container),
        Action::Salvage => match salvaged {
            Some(Ok(written)) => Ok(*written),
            Some(Err(defects)) => return Ok(Conclusion::Quarantined(defects)),
            None => return Ok(Conclusion::Quarantined(inspection.defects)),
        },
    };
    match made {
        Err(FinishError::Media(error)) if error.defects().iter().any(Defect::is_fatal) => {
            let defects = inspection.defects.iter().chain(error.defects()).cloned();
            Ok(Conclusion::Quarantined(without_repeats(defects)))
        }
        Err(error) => Err(error),
        Ok(written) => {
            let changed_ns = match assert_unchanged(work, &written, before, is_ours.load(Ordering::Relaxed)) {
                Ok(changed_ns) => changed_ns,
                Err(error) => {
                    durable::remove_own(&written.path)?;
                    return Err(error);
                }
            };
            let mut finished = conclude(work, written, teaches);
            finished.record.source_changed_ns = changed_ns;
            Ok(Conclusion::Finished(Box::new(finished)))
        }
    }
}

/// To look through all of a crashed recording must not cost a live server its processor.
fn salvage_beside_others(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
) -> Result<Result<Box<Written>, Vec<Defect>>, FinishError> {
    threads::at_lower_priority(work.options.background_nice, || salvaging::salvage(work, inspection, container))
}

/// What holds offsets that no header can move (`meta`, `mfra`) stays as it is: it plays, with its header where it was.
fn front_or_keep(work: &Work<'_>, inspection: &mut Inspection, container: Container) -> Result<Written, FinishError> {
    match front(work, inspection, container) {
        Err(FinishError::Header { source: unmovable @ IsoError::Unmovable { .. }, .. }) => {
            inspection.defects.extend(unmovable.defect());
            keep(work, inspection, container)
        }
        // What stands after all is not what the header in front says: FFmpeg reads the file by itself.
        Err(error @ FinishError::NotTheSame { .. }) => {
            tracing::warn!(error = chain(&error), "retrying with a different method");
            remux(work, inspection, container)
        }
        other => other,
    }
}

pub(super) fn without_repeats(defects: impl Iterator<Item = Defect>) -> Vec<Defect> {
    let mut seen = Vec::new();
    for defect in defects {
        if !seen.contains(&defect) {
            seen.push(defect);
        }
    }
    seen
}

/// Somebody who wrote to the source while it was worked on is still recording, also where its modification time was put
/// back. Gives the change time of a source that is a file of its own, so that it is removed only as it was read.
fn assert_unchanged(
    work: &Work<'_>,
    written: &Written,
    before: Seen,
    is_ours: bool,
) -> Result<Option<i64>, FinishError> {
    let now = durable::seen(work.settled.path())?;
    let is_source = written.path == work.settled.path();
    let expected = if is_source { written.fingerprint } else { work.settled.candidate().fingerprint };
    let is_touched = now.changed_ns != before.changed_ns && !is_source && !is_ours;
    if now.fingerprint != expected || is_touched {
        return Err(FinishError::Changed { path: work.settled.path().to_owned() });
    }
    Ok((!is_source).then_some(now.changed_ns))
}

fn conclude(work: &Work<'_>, written: Written, teaches: Option<Reference>) -> Finished {
    Finished {
        record: record_of(work, &written),
        removes_source: removes_source(work, &written),
        written_path: written.path,
        written: written.fingerprint,
        warnings: written.warnings,
        teaches,
    }
}

fn removes_source(work: &Work<'_>, written: &Written) -> bool {
    written.path != work.settled.path() && source_may_go(work, &written.defects)
}

/// The record that goes into the catalogue.
pub(super) fn record_of(work: &Work<'_>, written: &Written) -> VodRecord {
    let is_source = written.path == work.settled.path();
    let making = Making {
        outcome: written.outcome,
        splice: written.splice,
        undo: written.undo.clone(),
        salvage: written.salvage.clone(),
        keeps_original: !is_source && !removes_source(work, written),
    };
    let made = Made {
        path: written.final_path.clone(),
        evidence: work.settled.evidence(),
        description: written.description.clone(),
        defects: written.defects.clone(),
        start: written.start,
        fingerprint: written.fingerprint,
        making,
    };
    record_of_finished(work.settled.candidate(), made, work.now_ms)
}

/// Whether a finished file with these defects may take the place of its source (promise 7).
pub(super) fn source_may_go(work: &Work<'_>, defects: &[Defect]) -> bool {
    let lacks_something = defects.iter().any(Defect::leaves_something_out);
    !lacks_something && work.settled.evidence().is_strong() && !work.options.keep_original
}

pub(super) fn watch<'a>(work: &Work<'a>, progress: &'a dyn Fn(u64)) -> Watch<'a> {
    Watch { cancel: Some(work.stop), progress: Some(progress) }
}

/// Makes the directory and the partial, after a look at the free space.
pub(super) fn partial_with_room(work: &Work<'_>, final_path: &Path, needed_bytes: u64) -> Result<Partial, FinishError> {
    let directory = final_path.parent().unwrap_or(Path::new("/"));
    durable::create_directories(directory)?;
    let free_bytes = durable::free_bytes(directory)?;
    if free_bytes < needed_bytes {
        return Err(FinishError::NoSpace { path: work.settled.path().to_owned(), needed_bytes, free_bytes });
    }
    Ok(Partial::create(final_path, work.owner)?)
}

pub(super) fn seal(work: &Work<'_>, partial: Partial) -> Result<(PathBuf, Fingerprint, Vec<String>), FinishError> {
    let source = work.settled.path();
    let like = durable::metadata(source)?;
    let sealed = work.wait_for_disk(|| partial.seal(&like))?;
    let warnings = sealed.not_kept.map(|what| format!("the {what} of the original could not be kept")).into_iter();
    Ok((sealed.path, sealed.fingerprint, warnings.collect()))
}
