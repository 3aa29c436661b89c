//! The header of an MP4 to its front, by the first way that can be gone: in place, or beside the source.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::closer::{CloserLook, look_closer};
use super::describe::{Description, describe, describe_read};
use super::identity::start_of;
use super::indexing::IndexedRecording;
use super::inspect::IsoHeader;
use super::keep::keep;
use super::kept::extension_of;
use super::remux::remux;
use super::sameness::{self, PayloadScope};
use super::splice::{
    self, AsideWrite, InPlaceOutcome, LARGEST_BLOCK_BYTES, LEAST_DIRECT_BYTES, MediaProof, PreparedSplice,
    SpliceConditions, SpliceRequest,
};
use super::work::{
    FinishAttempt, FinishPhase, Nameable, PendingChange, Performable, SealedFile, Unnamed, WrittenFile,
    partial_with_room, record_of, seal, source_may_go, watch,
};
use super::{FinishError, Inspection, Iso, NameRequest, ValidationLevel};
use crate::durable;
use crate::fault::chain;
use crate::isobmff::{IsoError, Movie};
use crate::recording::journey::StartTime;
use crate::recording::name::printable;
use crate::recording::{Container, Defect, Outcome, SalvageReport, SpliceMethod, StartSource};
use crate::threads::at_lower_priority;

/// The smallest block that is tried: what a disk writes in one piece.
const LEAST_BLOCK_BYTES: u64 = 512;

/// One header on its way to the front.
pub(super) struct HeaderMove<'a> {
    pub(super) attempt: FinishAttempt<'a>,
    pub(super) inspection: Inspection,
    /// What the header is made of, where that is not the inspected one.
    pub(super) rebuilt: Option<Box<RebuiltMovie>>,
    pub(super) container: Container,
    pub(super) start: StartTime,
    pub(super) defects: Vec<Defect>,
    pub(super) closer: CloserLook,
    /// The duration that the source claims, milliseconds.
    pub(super) declared_ms: Option<i64>,
    /// What was found and what was not, where the movie was rebuilt from the media.
    pub(super) salvage: Option<SalvageReport>,
    /// Whether it is kept or remuxed where its header cannot be moved.
    pub(super) falls_back: bool,
}

/// A movie that was put together from the packets, and what stands in for the boxes around it.
pub(super) struct RebuiltMovie {
    pub(super) iso: Iso,
    pub(super) movie: Movie,
}

/// Finishes an MP4 by its header alone. What holds offsets that no header can move (`meta`, `mfra`) stays as it is: it plays, with
/// its header where it was.
pub(super) fn front(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    container: Container,
) -> Result<FinishPhase<'_>, FinishError> {
    let defects = inspection.defects.clone();
    front_of(attempt, inspection, None, container, defects)
}

/// Finishes a file of another container by sample tables over its packets.
pub(super) fn indexed_front(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    container: Container,
    indexed: IndexedRecording,
) -> Result<FinishPhase<'_>, FinishError> {
    let IndexedRecording { iso, mut movie, defects } = indexed;
    let start = start_of(attempt.work.settled.candidate(), inspection.created_ms(), iso.verdict.duration_ms);
    let is_told = start.1 != StartSource::Mtime;
    if let Some(created_ms) = inspection.created_ms().or(is_told.then_some(start.0)) {
        movie.header.set_created_ms(created_ms);
    }
    let defects = inspection.defects.iter().cloned().chain(defects).collect();
    front_of(attempt, inspection, Some(Box::new(RebuiltMovie { iso, movie })), container, defects)
}

fn front_of(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    rebuilt: Option<Box<RebuiltMovie>>,
    container: Container,
    defects: Vec<Defect>,
) -> Result<FinishPhase<'_>, FinishError> {
    let work = attempt.work;
    let source = work.settled.path();
    let changed = || FinishError::Changed { path: source.to_owned() };
    let header =
        rebuilt.as_ref().map(|rebuilt| rebuilt.header()).or_else(|| inspection.header()).ok_or_else(changed)?;
    let start = start_of(work.settled.candidate(), inspection.created_ms(), header.iso.verdict.duration_ms);
    let read = |bytes| work.progress.set(bytes, inspection.size_bytes);
    let from = inspection.container.unwrap_or(container);
    let closer = look_closer(source, from, Some(header.movie), work.validation(), watch(&work, &read))?;
    let (declared_ms, falls_back) = (inspection.declared_ms(), rebuilt.is_none());
    let front = HeaderMove {
        attempt,
        inspection,
        rebuilt,
        container,
        start,
        defects,
        closer,
        declared_ms,
        salvage: None,
        falls_back,
    };
    Ok(front.phase())
}

impl RebuiltMovie {
    const fn header(&self) -> IsoHeader<'_> {
        IsoHeader { iso: &self.iso, movie: &self.movie }
    }
}

impl<'a> HeaderMove<'a> {
    pub(super) fn phase(self) -> FinishPhase<'a> {
        let may_be_own = source_may_go(&self.attempt.work, &self.defects);
        let extension = extension_of(self.source(), self.container);
        let (name_request, said) =
            (NameRequest { extension, start_ms: self.start.0, may_be_own }, self.inspection.defects.clone());
        Unnamed::phase(name_request, &said, self)
    }

    fn source(&self) -> &'a Path {
        self.attempt.work.settled.path()
    }

    fn header(&self) -> Result<IsoHeader<'_>, FinishError> {
        let rebuilt = self.rebuilt.as_ref().map(|rebuilt| rebuilt.header());
        let changed = || FinishError::Changed { path: self.source().to_owned() };
        rebuilt.or_else(|| self.inspection.header()).ok_or_else(changed)
    }

    /// Salvage must not cost a live server its processor.
    fn nice(&self) -> u8 {
        if self.salvage.is_some() { self.attempt.work.options.background_nice } else { 0 }
    }

    fn ways(&self) -> Result<Vec<SpliceMethod>, FinishError> {
        let (situation, options) = (self.situation()?, self.attempt.work.options);
        Ok(match &self.salvage {
            None => splice::ways(options.splice, &situation),
            Some(report) => splice::ways_of_salvage(options, report.source, &situation),
        })
    }

    fn begin(self, final_path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        match self.ways() {
            Ok(ways) => NamedHeaderMove { front: self, final_path, ways, block_bytes: LEAST_BLOCK_BYTES }.go_on(),
            Err(error) => self.fall_back(error),
        }
    }

    fn fall_back(mut self, error: FinishError) -> Result<FinishPhase<'a>, FinishError> {
        match error {
            FinishError::Header { source: unmovable @ IsoError::Unmovable { .. }, .. } if self.falls_back => {
                self.inspection.defects.extend(unmovable.defect());
                keep(self.attempt, self.inspection, self.container)
            }
            // What stands after all is not what the header in front says: FFmpeg reads the file by itself.
            error @ FinishError::NotTheSame { .. } if self.falls_back => {
                tracing::warn!(error = chain(&error), "retrying with a different method");
                Ok(remux(self.attempt, self.inspection, self.container))
            }
            other => Err(other),
        }
    }

    /// What the choice of a way depends on.
    fn situation(&self) -> Result<SpliceConditions, FinishError> {
        let (source, settled) = (self.source(), self.attempt.work.settled);
        let (candidate, header) = (settled.candidate(), self.header()?);
        let metadata = durable::metadata(source)?;
        let (free_bytes, size_bytes) = (durable::free_bytes(source)?, candidate.fingerprint.size_bytes);
        Ok(SpliceConditions {
            is_temporary: candidate.is_temporary,
            evidence: settled.evidence(),
            may_be_used_again: header.iso.layout.boxes.is_empty() && candidate.facts.start_ms.is_none(),
            size_bytes,
            links: metadata.nlink(),
            keeps_original: self.attempt.work.options.keep_original,
            leaves_something_out: self.defects.iter().any(Defect::leaves_something_out),
            has_room: free_bytes >= size_bytes,
            is_copied_through_cache: size_bytes >= LEAST_DIRECT_BYTES && splice::is_local_disk(source)?,
        })
    }

    /// What a partial holds that was compared with the source.
    fn describe(&self, partial: &Path) -> Result<Description, FinishError> {
        let header = self.header()?;
        if header.iso.describes_moved() {
            return describe_read(self.source(), header, self.container);
        }
        describe(partial, self.container, &watch(&self.attempt.work, &|_| ()))
    }

    fn complete(&self, description: &mut Description) {
        description.declared_ms = self.declared_ms;
        self.closer.tell(description);
    }

    fn written(&self, description: Description, way: SpliceMethod, final_path: PathBuf) -> WrittenFile {
        WrittenFile {
            path: PathBuf::new(),
            fingerprint: self.attempt.work.settled.candidate().fingerprint,
            final_path,
            description,
            defects: self.defects.clone(),
            start: self.start,
            outcome: if self.salvage.is_some() { Outcome::Salvaged } else { Outcome::Spliced },
            splice: Some(way),
            undo: None,
            salvage: self.salvage.clone().map(Box::new),
            warnings: Vec::new(),
        }
    }
}

/// One header with a name, and the ways to it that are left.
struct NamedHeaderMove<'a> {
    front: HeaderMove<'a>,
    final_path: PathBuf,
    ways: Vec<SpliceMethod>,
    /// Bytes of the smallest block whose multiples are inserted.
    block_bytes: u64,
}

/// What came of the ways that were tried.
enum MoveOutcome {
    /// A file beside the source.
    Written(Box<WrittenFile>),
    /// A splice in place that waits for its journal entry.
    Prepared(Box<PreparedSplice>, Box<WrittenFile>),
}

impl<'a> NamedHeaderMove<'a> {
    /// Goes the first of the ways that can be gone.
    fn go_on(mut self) -> Result<FinishPhase<'a>, FinishError> {
        match self.try_ways() {
            Ok(MoveOutcome::Written(written)) => self.front.attempt.conclude(*written),
            Ok(MoveOutcome::Prepared(prepared, written)) => {
                let (intent, record) = (prepared.intent.clone(), record_of(&self.front.attempt.work, &written));
                let said = self.front.inspection.defects.clone();
                Ok(PendingChange::phase(intent, record, &said, ReadySplice { going: self, prepared, written }))
            }
            Err(error) => self.front.fall_back(error),
        }
    }

    fn try_ways(&mut self) -> Result<MoveOutcome, FinishError> {
        while !self.ways.is_empty() {
            let tried = match self.ways.remove(0) {
                SpliceMethod::InsertRange => self.in_place()?,
                way => self.aside(way)?.map(|written| MoveOutcome::Written(Box::new(written))),
            };
            if let Some(tried) = tried {
                return Ok(tried);
            }
        }
        Err(FinishError::Changed { path: self.front.source().to_owned() })
    }

    /// Where the file stands; `None` if it cannot be done there, and then nothing is changed.
    fn in_place(&self) -> Result<Option<MoveOutcome>, FinishError> {
        let (front, header) = (&self.front, self.front.header()?);
        let cannot_be_moved = header.iso.is_rebuilt && front.salvage.is_none();
        if self.block_bytes > LARGEST_BLOCK_BYTES || cannot_be_moved || !self.is_on_one_device()? {
            return Ok(None);
        }
        let before = &front.attempt.work.settled.candidate().fingerprint;
        let wanted = SpliceRequest { container: front.container, at_least_block: self.block_bytes };
        let Some(prepared) = splice::prepare(front.source(), before, header, wanted)? else { return Ok(None) };
        let written = self.written_in_place(&prepared);
        Ok(Some(MoveOutcome::Prepared(Box::new(prepared), Box::new(written))))
    }

    /// A rename does not lead from one file system to another.
    fn is_on_one_device(&self) -> Result<bool, FinishError> {
        let directory = self.final_path.parent().unwrap_or(Path::new("/"));
        durable::create_directories(directory)?;
        let device = durable::metadata(directory)?.dev();
        Ok(device == self.front.attempt.work.settled.candidate().fingerprint.device)
    }

    fn written_in_place(&self, prepared: &PreparedSplice) -> WrittenFile {
        let mut description = prepared.description.clone();
        self.front.complete(&mut description);
        WrittenFile {
            path: self.front.source().to_owned(),
            fingerprint: prepared.intent.after,
            undo: Some(prepared.undo.clone()),
            ..self.front.written(description, SpliceMethod::InsertRange, self.final_path.clone())
        }
    }

    fn aside(&self, way: SpliceMethod) -> Result<Option<WrittenFile>, FinishError> {
        let front = &self.front;
        let (work, header) = (&front.attempt.work, front.header()?);
        let make = |needed_bytes| partial_with_room(work, &self.final_path, needed_bytes);
        let size_bytes = work.settled.candidate().fingerprint.size_bytes;
        let copied = |bytes| work.progress.set(bytes, size_bytes);
        let source_goes = source_may_go(work, &front.defects);
        let writing = AsideWrite { make: &make, source_goes, watch: watch(work, &copied) };
        let Some((partial, proven)) = splice::put_aside(way, front.source(), header, &writing)? else {
            return Ok(None);
        };
        let is_asked_for = work.options.validate != ValidationLevel::Structure;
        let payloads =
            if is_asked_for || proven == MediaProof::Nothing { PayloadScope::All } else { PayloadScope::Spread };
        sameness::compare(front.source(), header.movie, partial.path(), payloads)?;
        let mut description = front.describe(partial.path())?;
        front.complete(&mut description);
        let SealedFile { path, fingerprint, warnings } = seal(work, partial)?;
        Ok(Some(WrittenFile {
            path,
            fingerprint,
            warnings,
            ..front.written(description, way, self.final_path.clone())
        }))
    }
}

impl<'a> Nameable<'a> for HeaderMove<'a> {
    fn named(self: Box<Self>, path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        at_lower_priority(self.nice(), || self.begin(path))
    }
}

/// A splice in place that may begin.
struct ReadySplice<'a> {
    going: NamedHeaderMove<'a>,
    prepared: Box<PreparedSplice>,
    written: Box<WrittenFile>,
}

impl<'a> ReadySplice<'a> {
    fn go_on(self) -> Result<FinishPhase<'a>, FinishError> {
        let Self { mut going, prepared, written } = self;
        going.front.attempt.is_ours = true;
        let performed = going.front.attempt.work.cpu_permit.lend(|| prepared.perform());
        let next_block_bytes = prepared.next_block_bytes();
        // What it has open would keep another way from the file.
        drop(prepared);
        match performed {
            Ok(InPlaceOutcome::Done) => going.front.attempt.conclude(*written),
            Ok(InPlaceOutcome::Aside(why)) => {
                tracing::debug!(path = %printable(going.front.source()), why, "not finished in place");
                going.go_on()
            }
            Ok(InPlaceOutcome::OtherBlock) => {
                going.ways.insert(0, SpliceMethod::InsertRange);
                NamedHeaderMove { block_bytes: next_block_bytes, ..going }.go_on()
            }
            Err(error) => going.front.fall_back(error),
        }
    }
}

impl<'a> Performable<'a> for ReadySplice<'a> {
    fn perform(self: Box<Self>) -> Result<FinishPhase<'a>, FinishError> {
        at_lower_priority(self.going.front.nice(), || self.go_on())
    }
}
