//! The header of an MP4 to its front, by the first way that can be gone: in place, or beside the source.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::closer::{Closer, look_closer};
use super::describe::{Description, describe, describe_read};
use super::identity::start_of;
use super::indexing::Indexed;
use super::keep::extension_of;
use super::produce::{Work, Written, partial_with_room, record_of, seal, source_may_go, watch};
use super::sameness::{self, Payloads};
use super::splice::{self, LARGEST_BLOCK_BYTES, LEAST_DIRECT_BYTES, Performed, Prepared, Proven, Situation};
use super::{FinishError, Inspection, Iso, Validate, Wish};
use crate::durable;
use crate::isobmff::Movie;
use crate::recording::journey::Start;
use crate::recording::name::printable;
use crate::recording::{Container, Defect, Outcome, SalvageReport, SpliceMethod, StartSource};

/// One header on its way to the front.
pub(super) struct Front<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) iso: &'a Iso,
    pub(super) movie: &'a Movie,
    pub(super) container: Container,
    pub(super) final_path: PathBuf,
    pub(super) start: Start,
    pub(super) defects: &'a [Defect],
    pub(super) closer: Closer,
    /// The duration that the source claims, milliseconds.
    pub(super) declared_ms: Option<i64>,
    /// What was found and what was not, where the movie was rebuilt from the media.
    pub(super) salvage: Option<SalvageReport>,
}

/// Finishes an MP4 by its header alone.
pub(super) fn front(work: &Work<'_>, inspection: &Inspection, container: Container) -> Result<Written, FinishError> {
    let changed = || FinishError::Changed { path: work.settled.path().to_owned() };
    let header = inspection.header().ok_or_else(changed)?;
    front_of(work, inspection, header, (container, &inspection.defects))
}

/// Finishes a file of another container by sample tables over its packets.
pub(super) fn indexed_front(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
    indexed: Indexed,
) -> Result<Written, FinishError> {
    let Indexed { iso, mut movie, defects } = indexed;
    let start = start_of(work.settled.candidate(), inspection.created_ms(), iso.verdict.duration_ms);
    let is_told = start.1 != StartSource::Mtime;
    if let Some(created_ms) = inspection.created_ms().or(is_told.then_some(start.0)) {
        movie.header.set_created_ms(created_ms);
    }
    let defects: Vec<_> = inspection.defects.iter().cloned().chain(defects).collect();
    front_of(work, inspection, (&iso, &movie), (container, &defects))
}

fn front_of(
    work: &Work<'_>,
    inspection: &Inspection,
    (iso, movie): (&Iso, &Movie),
    (container, defects): (Container, &[Defect]),
) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let start = start_of(work.settled.candidate(), inspection.created_ms(), iso.verdict.duration_ms);
    let may_be_own = source_may_go(work, defects);
    let wish = Wish { extension: extension_of(source, container), start_ms: start.0, may_be_own };
    let final_path = (work.choose_path)(&wish)?;
    let read = |bytes| (work.progress)(bytes, inspection.size_bytes);
    let from = inspection.container.unwrap_or(container);
    let closer = look_closer((source, from), Some(movie), work.options.validate, watch(work, &read))?;
    let declared_ms = inspection.declared_ms();
    let job = Front { work, iso, movie, container, final_path, start, defects, closer, declared_ms, salvage: None };
    job.carry_out(&splice::ways(work.options.splice, &job.situation()?))
}

impl Front<'_> {
    /// Goes the first of the ways that can be gone.
    pub(super) fn carry_out(&self, ways: &[SpliceMethod]) -> Result<Written, FinishError> {
        for way in ways {
            let written = match way {
                SpliceMethod::InsertRange => self.in_place()?,
                way => self.aside(*way)?,
            };
            if let Some(written) = written {
                return Ok(written);
            }
        }
        Err(FinishError::Changed { path: self.source().to_owned() })
    }

    fn source(&self) -> &Path {
        self.work.settled.path()
    }

    /// What the choice of a way depends on.
    pub(super) fn situation(&self) -> Result<Situation, FinishError> {
        let source = self.source();
        let settled = self.work.settled;
        let metadata = durable::metadata(source)?;
        let (free_bytes, size_bytes) = (durable::free_bytes(source)?, settled.candidate().fingerprint.size_bytes);
        Ok(Situation {
            is_temporary: settled.candidate().is_temporary,
            evidence: settled.evidence(),
            may_be_used_again: self.iso.layout.boxes.is_empty() && settled.candidate().facts.start_ms.is_none(),
            size_bytes,
            links: metadata.nlink(),
            keeps_original: self.work.options.keep_original,
            leaves_something_out: self.defects.iter().any(Defect::leaves_something_out),
            has_room: free_bytes >= size_bytes,
            is_copied_through_cache: size_bytes >= LEAST_DIRECT_BYTES && splice::is_local_disk(source)?,
        })
    }

    /// Where the file stands; `None` if it cannot be done there, and then nothing is changed.
    fn in_place(&self) -> Result<Option<Written>, FinishError> {
        if self.iso.is_rebuilt && self.salvage.is_none() || !self.is_on_one_device()? {
            return Ok(None);
        }
        let before = &self.work.settled.candidate().fingerprint;
        let parts = (self.iso, self.movie);
        let mut block_bytes = 512;
        while block_bytes <= LARGEST_BLOCK_BYTES {
            let prepared = splice::prepare(self.source(), before, parts, (self.container, block_bytes))?;
            let Some(prepared) = prepared else { return Ok(None) };
            let written = self.written_in_place(&prepared);
            (self.work.remember)(&prepared.intent, &record_of(self.work, &written))?;
            match self.work.wait_for_disk(|| prepared.perform())? {
                Performed::Done => return Ok(Some(written)),
                Performed::Aside(why) => {
                    tracing::debug!(path = %printable(self.source()), why, "Not finished in place.");
                    return Ok(None);
                }
                Performed::OtherBlock => block_bytes = prepared.next_block_bytes(),
            }
        }
        Ok(None)
    }

    /// A rename does not lead from one file system to another.
    fn is_on_one_device(&self) -> Result<bool, FinishError> {
        let directory = self.final_path.parent().unwrap_or(Path::new("/"));
        durable::create_directories(directory)?;
        let device = durable::metadata(directory)?.dev();
        Ok(device == self.work.settled.candidate().fingerprint.device)
    }

    fn written_in_place(&self, prepared: &Prepared) -> Written {
        let mut description = prepared.description.clone();
        self.complete(&mut description);
        Written {
            path: self.source().to_owned(),
            fingerprint: prepared.intent.after,
            undo: Some(prepared.undo.clone()),
            ..self.written(description, SpliceMethod::InsertRange)
        }
    }

    fn aside(&self, way: SpliceMethod) -> Result<Option<Written>, FinishError> {
        let make = |needed_bytes| partial_with_room(self.work, &self.final_path, needed_bytes);
        let size_bytes = self.work.settled.candidate().fingerprint.size_bytes;
        let copied = |bytes| (self.work.progress)(bytes, size_bytes);
        let source_goes = source_may_go(self.work, self.defects);
        let partial = splice::put_aside(
            way,
            self.source(),
            (self.iso, self.movie),
            &make,
            (source_goes, watch(self.work, &copied)),
        )?;
        let Some((partial, proven)) = partial else { return Ok(None) };
        let is_asked_for = self.work.options.validate != Validate::Structure;
        let payloads = if is_asked_for || proven == Proven::Nothing { Payloads::All } else { Payloads::Spread };
        sameness::compare(self.source(), self.movie, partial.path(), payloads)?;
        let mut description = self.describe(partial.path())?;
        self.complete(&mut description);
        let (path, fingerprint, warnings) = seal(self.work, partial)?;
        Ok(Some(Written { path, fingerprint, warnings, ..self.written(description, way) }))
    }

    /// What a partial holds that was compared with the source.
    fn describe(&self, partial: &Path) -> Result<Description, FinishError> {
        if self.iso.describes_moved() {
            return describe_read(self.source(), (self.iso, self.movie), self.container);
        }
        describe(partial, self.container, &watch(self.work, &|_| ()))
    }

    fn complete(&self, description: &mut Description) {
        description.declared_ms = self.declared_ms;
        self.closer.tell(description);
    }

    fn written(&self, description: Description, way: SpliceMethod) -> Written {
        Written {
            path: PathBuf::new(),
            fingerprint: self.work.settled.candidate().fingerprint,
            final_path: self.final_path.clone(),
            description,
            defects: self.defects.to_vec(),
            start: self.start,
            outcome: if self.salvage.is_some() { Outcome::Salvaged } else { Outcome::Spliced },
            splice: Some(way),
            undo: None,
            salvage: self.salvage.clone().map(Box::new),
            warnings: Vec::new(),
        }
    }
}
