//! The words of finishing: the work that is given, the phases that it goes through, and what comes of it.
//!
//! Values go down and values come back. Between two phases the pipeline does what is not this room's: it reserves a name
//! ([`Unnamed`]) or journals a change ([`PendingChange`]), and hands that on to the next.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::closer::Validation;
use super::describe::Description;
use super::identity::{FinishedFile, Provenance, record_of_finished};
use super::{FinishError, FinishOptions, NameRequest};
use crate::cpu_permits::CpuPermit;
use crate::discover::Settled;
use crate::durable::{self, Partial, PartialOwner};
use crate::media::PassControl;
use crate::progress::Progress;
use crate::recording::journey::StartTime;
use crate::recording::{
    Defect, FileVersion, Fingerprint, Outcome, SalvageReport, SpliceIntent, SpliceMethod, SpliceUndo, VodRecord,
};
use crate::salvage::Reference;

/// One recording to finish.
#[derive(Debug, Clone, Copy)]
pub struct FinishJob<'a> {
    /// The recording.
    pub settled: &'a Settled,
    /// Settings.
    pub options: &'a FinishOptions,
    /// Looked at while packets are read; set, the work ends with `Cancelled`.
    pub stop: &'a AtomicBool,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Counts the bytes that are read and written, about once per packet.
    pub progress: &'a Progress,
    /// The right to compute, lent to another recording while this one waits for the disk. Held when a phase begins, and when it
    /// has ended well.
    pub cpu_permit: &'a CpuPermit<'a>,
    /// In whose name files are written aside.
    pub owner: &'a PartialOwner,
    /// The program that is started to decode (`media::apart`); without it this process decodes.
    pub decoder: Option<&'a Path>,
}

impl<'a> FinishJob<'a> {
    /// How closely the recording is looked at.
    pub(super) const fn validation(&self) -> Validation<'a> {
        Validation { level: self.options.validate, decoder: self.decoder }
    }
}

/// Where a recording stands between two phases.
#[derive(Debug)]
pub enum FinishPhase<'a> {
    /// It is known what it needs; what is written next wants a final name.
    Unnamed(Unnamed<'a>),
    /// It is about to be changed where it stands.
    Change(Box<PendingChange<'a>>),
    /// It came to its end here.
    Ended(Conclusion),
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

/// A recording that is prepared and has no final name.
pub struct Unnamed<'a> {
    name_request: NameRequest,
    /// Said of it so far, should the next phase find it hopeless.
    defects: Vec<Defect>,
    next: Box<dyn Nameable<'a> + 'a>,
}

/// What is done once there is a final name.
pub(super) trait Nameable<'a>: Send {
    /// Goes on under this name.
    fn named(self: Box<Self>, path: PathBuf) -> Result<FinishPhase<'a>, FinishError>;
}

/// A recording that is prepared to be changed where it stands. Nothing is changed before [`PendingChange::perform`].
pub struct PendingChange<'a> {
    /// What is about to be done to the source, and how to take it back.
    pub intent: SpliceIntent,
    /// The record that follows from it.
    pub record: VodRecord,
    defects: Vec<Defect>,
    next: Box<dyn Performable<'a> + 'a>,
}

/// What is done once intent and record are durable.
pub(super) trait Performable<'a>: Send {
    /// Changes the source, or finds that it has to be done in another way.
    fn perform(self: Box<Self>) -> Result<FinishPhase<'a>, FinishError>;
}

impl<'a> Unnamed<'a> {
    pub(super) fn phase(
        name_request: NameRequest,
        defects: &[Defect],
        next: impl Nameable<'a> + 'a,
    ) -> FinishPhase<'a> {
        FinishPhase::Unnamed(Self { name_request, defects: defects.to_vec(), next: Box::new(next) })
    }

    /// What the finished file wants to be called.
    pub const fn name_request(&self) -> &NameRequest {
        &self.name_request
    }

    /// Writes the finished file under a name of ours beside `path`, which the caller has reserved.
    pub fn named(self, path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        let Self { defects, next, .. } = self;
        next.named(path).or_else(|error| hopeless(error, &defects))
    }
}

impl<'a> PendingChange<'a> {
    pub(super) fn phase(
        intent: SpliceIntent,
        record: VodRecord,
        defects: &[Defect],
        next: impl Performable<'a> + 'a,
    ) -> FinishPhase<'a> {
        FinishPhase::Change(Box::new(Self { intent, record, defects: defects.to_vec(), next: Box::new(next) }))
    }

    /// Does it. Intent and record are durable in the journal.
    pub fn perform(self) -> Result<FinishPhase<'a>, FinishError> {
        let Self { defects, next, .. } = self;
        next.perform().or_else(|error| hopeless(error, &defects))
    }
}

impl std::fmt::Debug for Unnamed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unnamed").field("wish", &self.name_request).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PendingChange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingChange").field("intent", &self.intent).finish_non_exhaustive()
    }
}

/// A recording of which nothing can be made, with what was said of it before; any other error stays one.
pub(super) fn hopeless<'a>(error: FinishError, defects: &[Defect]) -> Result<FinishPhase<'a>, FinishError> {
    match error {
        FinishError::Media(error) if error.defects().iter().any(Defect::is_fatal) => {
            let all = without_repeats(defects.iter().chain(error.defects()).cloned());
            Ok(FinishPhase::Ended(Conclusion::Quarantined(all)))
        }
        other => Err(other),
    }
}

/// One attempt on a recording: what every phase of it knows.
#[derive(Debug, Clone)]
pub(super) struct FinishAttempt<'a> {
    pub(super) work: FinishJob<'a>,
    /// The source when it began.
    pub(super) before: FileVersion,
    /// Whether the source was about to be changed where it stands. Taken back it has another change time.
    pub(super) is_ours: bool,
    /// What its own header tells about others of its stream.
    pub(super) teaches: Option<Reference>,
}

/// What was written, before it has a record.
#[derive(Debug)]
pub(super) struct WrittenFile {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
    pub(super) final_path: PathBuf,
    pub(super) description: Description,
    pub(super) defects: Vec<Defect>,
    pub(super) start: StartTime,
    pub(super) outcome: Outcome,
    pub(super) splice: Option<SpliceMethod>,
    pub(super) undo: Option<SpliceUndo>,
    pub(super) salvage: Option<Box<SalvageReport>>,
    pub(super) warnings: Vec<String>,
}

impl<'a> FinishAttempt<'a> {
    /// The end of an attempt that has written something, if the source is still what was read.
    pub(super) fn conclude(self, written: WrittenFile) -> Result<FinishPhase<'a>, FinishError> {
        let changed_ns = match self.assert_unchanged(&written) {
            Ok(changed_ns) => changed_ns,
            Err(error) => {
                durable::remove_own(&written.path)?;
                return Err(error);
            }
        };
        let record = VodRecord { source_changed_ns: changed_ns, ..record_of(&self.work, &written) };
        let finished = Finished {
            record,
            removes_source: removes_source(&self.work, &written),
            written_path: written.path,
            written: written.fingerprint,
            warnings: written.warnings,
            teaches: self.teaches,
        };
        Ok(FinishPhase::Ended(Conclusion::Finished(Box::new(finished))))
    }

    /// Somebody who wrote to the source while it was worked on is still recording, also where its modification time was put
    /// back. Gives the change time of a source that is a file of its own, so that it is removed only as it was read.
    fn assert_unchanged(&self, written: &WrittenFile) -> Result<Option<i64>, FinishError> {
        let settled = self.work.settled;
        let now = durable::seen(settled.path())?;
        let is_source = written.path == settled.path();
        let expected = if is_source { written.fingerprint } else { settled.candidate().fingerprint };
        let is_touched = now.changed_ns != self.before.changed_ns && !is_source && !self.is_ours;
        if now.fingerprint != expected || is_touched {
            return Err(FinishError::Changed { path: settled.path().to_owned() });
        }
        Ok((!is_source).then_some(now.changed_ns))
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

fn removes_source(work: &FinishJob<'_>, written: &WrittenFile) -> bool {
    written.path != work.settled.path() && source_may_go(work, &written.defects)
}

/// The record that goes into the catalogue.
pub(super) fn record_of(work: &FinishJob<'_>, written: &WrittenFile) -> VodRecord {
    let is_source = written.path == work.settled.path();
    let provenance = Provenance {
        outcome: written.outcome,
        splice: written.splice,
        undo: written.undo.clone(),
        salvage: written.salvage.clone(),
        keeps_original: !is_source && !removes_source(work, written),
    };
    let made = FinishedFile {
        path: written.final_path.clone(),
        evidence: work.settled.evidence(),
        description: written.description.clone(),
        defects: written.defects.clone(),
        start: written.start,
        fingerprint: written.fingerprint,
        provenance,
    };
    record_of_finished(work.settled.candidate(), made, work.now_ms)
}

/// Whether a finished file with these defects may take the place of its source (promise 7).
pub(super) fn source_may_go(work: &FinishJob<'_>, defects: &[Defect]) -> bool {
    let lacks_something = defects.iter().any(Defect::leaves_something_out);
    !lacks_something && work.settled.evidence().is_strong() && !work.options.keep_original
}

pub(super) fn watch<'a>(work: &FinishJob<'a>, progress: &'a dyn Fn(u64)) -> PassControl<'a> {
    PassControl { cancel: Some(work.stop), progress: Some(progress) }
}

/// Makes the directory and the partial, after a look at the free space.
pub(super) fn partial_with_room(
    work: &FinishJob<'_>,
    final_path: &Path,
    needed_bytes: u64,
) -> Result<Partial, FinishError> {
    let directory = final_path.parent().unwrap_or(Path::new("/"));
    durable::create_directories(directory)?;
    let free_bytes = durable::free_bytes(directory)?;
    if free_bytes < needed_bytes {
        return Err(FinishError::NoSpace { path: work.settled.path().to_owned(), needed_bytes, free_bytes });
    }
    Ok(Partial::create(final_path, work.owner)?)
}

/// A file of ours that is complete and durable.
pub(super) struct SealedFile {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
    pub(super) warnings: Vec<String>,
}

pub(super) fn seal(work: &FinishJob<'_>, partial: Partial) -> Result<SealedFile, FinishError> {
    let source = work.settled.path();
    let like = durable::metadata(source)?;
    let sealed = work.cpu_permit.lend(|| partial.seal(&like))?;
    let warnings = sealed.not_kept.map(|what| format!("the {what} of the original could not be preserved")).into_iter();
    Ok(SealedFile { path: sealed.path, fingerprint: sealed.fingerprint, warnings: warnings.collect() })
}
