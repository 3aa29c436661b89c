//! Produces the finished file of one recording, aside, compared and durable; the source is only read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::decide::{Action, decide};
use super::describe::{Description, describe, of_reading};
use super::identity::{Made, Making, record_of_finished, start_of};
use super::inspect::header_error;
use super::{FinishError, Inspection, Iso, Options, Wish, inspect, salvaging, sameness};
use crate::durable::{self, FileError, Partial};
use crate::isobmff::{self, FrontPlan, Layout, Movie, Shape};
use crate::media::{self, MediaError, Remux, Watch};
use crate::recording::journey::{Settled, Start};
use crate::recording::{Container, Defect, Fingerprint, Outcome, SpliceMethod, StartSource, VodRecord};
use crate::salvage::Reference;

/// Chooses and reserves the final path.
pub type ChoosePath<'a> = dyn Fn(&Wish<'_>) -> Result<PathBuf, FinishError> + 'a;

/// Sound recordings of the same stream, asked for only if a recording needs them.
pub type References<'a> = dyn Fn() -> Vec<Reference> + 'a;

/// No file type box that means something is longer.
const LARGEST_FTYP_BYTES: u64 = 1 << 16;

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
    /// Says how the stream is coded, for a recording that does not say it itself.
    pub references: &'a References<'a>,
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
}

/// What was written aside, before it has a record.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
    pub(super) final_path: PathBuf,
    pub(super) description: Description,
    pub(super) defects: Vec<Defect>,
    pub(super) start: Start,
    pub(super) outcome: Outcome,
    pub(super) splice: Option<SpliceMethod>,
    pub(super) warnings: Vec<String>,
}

/// Finishes one recording as far as its final name.
pub fn finish(work: &Work<'_>) -> Result<Conclusion, FinishError> {
    let source = work.settled.path();
    let inspection = inspect(source)?;
    let plan = decide(&inspection, work.options);
    let made = match plan.action {
        Action::Quarantine(defects) => return Ok(Conclusion::Quarantined(defects)),
        Action::Keep => keep(work, &inspection, plan.container),
        Action::Front => front(work, &inspection, plan.container),
        Action::Remux => remux(work, &inspection, plan.container),
        Action::Salvage => match salvaging::salvage(work, &inspection, plan.container)? {
            Ok(written) => Ok(*written),
            Err(defects) => return Ok(Conclusion::Quarantined(defects)),
        },
    };
    match made {
        Err(FinishError::Media(error)) if error.defects().iter().any(Defect::is_fatal) => {
            let defects = inspection.defects.iter().chain(error.defects()).cloned();
            Ok(Conclusion::Quarantined(without_repeats(defects)))
        }
        Err(error) => Err(error),
        Ok(written) => {
            assert_unchanged(work)?;
            Ok(Conclusion::Finished(Box::new(conclude(work, written))))
        }
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

/// Somebody who wrote to the source while it was worked on is still recording.
fn assert_unchanged(work: &Work<'_>) -> Result<(), FinishError> {
    let now = durable::fingerprint(work.settled.path())?;
    if now == work.settled.candidate.fingerprint {
        Ok(())
    } else {
        Err(FinishError::Changed { path: work.settled.path().to_owned() })
    }
}

fn conclude(work: &Work<'_>, written: Written) -> Finished {
    let is_source = written.path == work.settled.path();
    let removes_source = !is_source && source_may_go(work, &written.defects);
    let making =
        Making { outcome: written.outcome, splice: written.splice, keeps_original: !is_source && !removes_source };
    let made = Made {
        path: written.final_path,
        description: written.description,
        defects: written.defects,
        start: written.start,
        fingerprint: written.fingerprint,
        making,
    };
    let record = record_of_finished(work.settled, made, work.now_ms);
    Finished {
        written_path: written.path,
        written: written.fingerprint,
        record,
        removes_source,
        warnings: written.warnings,
    }
}

/// Whether a finished file with these defects may take the place of its source (promise 7).
fn source_may_go(work: &Work<'_>, defects: &[Defect]) -> bool {
    let lacks_something = defects.iter().any(Defect::leaves_something_out);
    !lacks_something && work.settled.evidence.is_strong() && !work.options.keep_original
}

pub(super) fn watch<'a>(work: &Work<'a>) -> Watch<'a> {
    Watch { cancel: Some(work.stop), progress: None }
}

/// The file is complete. Where its rest is not proven and it would have to be renamed, a copy gets the final name.
fn keep(work: &Work<'_>, inspection: &Inspection, container: Container) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let description = describe(source, container, &watch(work))?;
    if description.tracks.iter().all(|t| t.packets == 0) {
        return Err(MediaError::Unfinishable { path: source.to_owned(), defects: vec![Defect::NoPackets] }.into());
    }
    if description.defects.iter().any(Defect::leaves_something_out) && !container.is_iso() {
        // Only the packets told that it is not whole after all.
        return remux(work, inspection, container);
    }
    let start = start_of(work.settled, description.created_ms, description.duration_ms);
    let final_path =
        (work.choose_path)(&Wish { extension: extension_of(source, container), start_ms: start.0, may_be_own: true })?;
    let (path, fingerprint, warnings) = if final_path == source || work.settled.evidence.is_strong() {
        durable::sync_file(source)?;
        (source.to_owned(), work.settled.candidate.fingerprint, Vec::new())
    } else {
        copy_whole(work, &final_path)?
    };
    Ok(Written {
        path,
        fingerprint,
        final_path,
        description,
        defects: inspection.defects.clone(),
        start,
        outcome: Outcome::Kept,
        splice: None,
        warnings,
    })
}

/// A kept file keeps its extension where that already stands for its container (`.m4a`, `.m4v`).
pub(super) fn extension_of(source: &Path, container: Container) -> &'static str {
    const KEPT: [&str; 4] = ["m4a", "m4v", "mka", "m2ts"];
    let name = source.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let known = KEPT.into_iter().find(|e| name.split('.').skip(1).any(|part| part == *e));
    known.filter(|e| Container::from_extension(e) == Some(container)).unwrap_or(container.extension())
}

fn copy_whole(work: &Work<'_>, final_path: &Path) -> Result<(PathBuf, Fingerprint, Vec<String>), FinishError> {
    let size_bytes = work.settled.candidate.fingerprint.size_bytes;
    let partial = partial_with_room(work, final_path, size_bytes)?;
    durable::copy_ranges(work.settled.path(), partial.path(), &[], std::slice::from_ref(&(0..size_bytes)))?;
    seal(work, partial)
}

/// Makes the directory and the partial, after a look at the free space.
pub(super) fn partial_with_room(work: &Work<'_>, final_path: &Path, needed_bytes: u64) -> Result<Partial, FinishError> {
    let directory = final_path.parent().unwrap_or(Path::new("/"));
    durable::create_directories(directory)?;
    let free_bytes = durable::free_bytes(directory)?;
    if free_bytes < needed_bytes {
        return Err(FinishError::NoSpace { path: work.settled.path().to_owned(), needed_bytes, free_bytes });
    }
    Ok(Partial::create(final_path)?)
}

pub(super) fn seal(work: &Work<'_>, partial: Partial) -> Result<(PathBuf, Fingerprint, Vec<String>), FinishError> {
    let source = work.settled.path();
    let like = fs::metadata(source).map_err(FileError::on("read the state of", source))?;
    let sealed = partial.seal(&like)?;
    let warnings = sealed.not_kept.map(|what| format!("the {what} of the original could not be kept")).into_iter();
    Ok((sealed.path, sealed.fingerprint, warnings.collect()))
}

/// The header goes to the front of a copy that the kernel makes; every sample is compared afterwards.
fn front(work: &Work<'_>, inspection: &Inspection, container: Container) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let parts = inspection.iso.as_ref().and_then(|iso| Some((iso, iso.movie.as_ref()?)));
    let (iso, movie) = parts.ok_or_else(|| FinishError::Changed { path: source.to_owned() })?;
    let duration_ms = isobmff::validate(movie, &iso.layout).duration_ms;
    let start = start_of(work.settled, movie.created_ms(), duration_ms);
    let may_be_own = source_may_go(work, &inspection.defects);
    let wish = Wish { extension: extension_of(source, container), start_ms: start.0, may_be_own };
    let final_path = (work.choose_path)(&wish)?;
    let plan = front_plan(source, iso, movie)?;
    let partial = partial_with_room(work, &final_path, plan.len())?;
    durable::copy_ranges(source, partial.path(), &plan.header, &plan.body_ranges)?;
    sameness::compare(source, movie, partial.path())?;
    let mut description = describe(partial.path(), container, &watch(work))?;
    description.declared_ms = movie.declared_duration_ms();
    let (path, fingerprint, warnings) = seal(work, partial)?;
    Ok(Written {
        path,
        fingerprint,
        final_path,
        description,
        defects: inspection.defects.clone(),
        start,
        outcome: Outcome::Spliced,
        splice: Some(SpliceMethod::CopyRange),
        warnings,
    })
}

/// The plan of the new file: the same movie header with its offsets moved, or one written from all fragments, and
/// every byte of media behind it.
fn front_plan(source: &Path, iso: &Iso, movie: &Movie) -> Result<FrontPlan, FinishError> {
    let file = File::open(source).map_err(FileError::on("open", source))?;
    let ftyp = file_type(&file, &iso.layout).map_err(FileError::on("read", source))?;
    let plan = if iso.layout.shape() == Shape::Fragmented {
        FrontPlan::spanning(movie, &movie.to_ftyp(&ftyp), iso.whole_bytes, 1)
    } else {
        FrontPlan::compact(&iso.layout, movie, &ftyp, 1)
    };
    plan.map_err(|e| header_error(source, e))
}

/// The file type box as it stands; empty where there is none (old QuickTime).
pub(super) fn file_type(file: &File, layout: &Layout) -> io::Result<Vec<u8>> {
    let Some(ftyp) = layout.first(b"ftyp").filter(|b| b.size_bytes <= LARGEST_FTYP_BYTES) else {
        return Ok(Vec::new());
    };
    let mut bytes = vec![0; usize::try_from(ftyp.size_bytes).unwrap_or(0)];
    file.read_exact_at(&mut bytes, ftyp.offset)?;
    Ok(bytes)
}

/// The packets go into a container in one pass; the result is reopened and compared packet by packet.
fn remux(work: &Work<'_>, inspection: &Inspection, container: Container) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let from = inspection.container.unwrap_or(container);
    let probe = inspection.probe.as_ref();
    let start =
        start_of(work.settled, probe.and_then(|p| p.created_ms), probe.and_then(|p| p.declared_ms).unwrap_or(0));
    let may_be_own = source_may_go(work, &inspection.defects);
    let wish = Wish { extension: container.extension(), start_ms: start.0, may_be_own };
    let mut final_path = (work.choose_path)(&wish)?;
    let partial = partial_with_room(work, &final_path, inspection.size_bytes)?;
    let created_ms = (start.1 != StartSource::Mtime).then_some(start.0);
    let request = Remux { created_ms, watch: watch(work), ..Remux::new(source, from, partial.path(), container) };
    let remuxed = media::remux(&request)?;
    let reading = media::read(partial.path(), container, watch(work))?;
    media::compare(&remuxed, &reading)
        .map_err(|m| FinishError::NotTheSame { path: source.to_owned(), detail: m.to_string() })?;
    let mut description = describe_output(partial.path(), container, &reading)?;
    description.declared_ms = remuxed.source.declared_ms;
    let start = start_of(work.settled, remuxed.source.created_ms, description.duration_ms);
    let defects = without_repeats(inspection.defects.iter().chain(&remuxed.defects).cloned());
    if final_path == source && !source_may_go(work, &defects) {
        // Only the packets told that something is missing: the source stays, the finished file gets another name.
        final_path = (work.choose_path)(&Wish { may_be_own: false, ..wish })?;
    }
    let (path, fingerprint, warnings) = seal(work, partial)?;
    Ok(Written {
        path,
        fingerprint,
        final_path,
        description,
        defects,
        start,
        outcome: Outcome::Remuxed,
        splice: None,
        warnings,
    })
}

/// The description of a written file must be the one that a rebuild of the catalogue would make.
fn describe_output(path: &Path, container: Container, reading: &media::Reading) -> Result<Description, FinishError> {
    if container.is_iso() {
        describe(path, container, &Watch { cancel: None, progress: None })
    } else {
        Ok(of_reading(container, reading))
    }
}
