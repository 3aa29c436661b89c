//! The packets of a recording into a container, in one pass; the result is reopened and compared packet by packet.
//!
//! The index of an MP4 is written last and then inserted in front of our own partial, so that the media is written
//! once; where the file system inserts no blocks, libavformat moves the media itself.

use std::path::Path;

use super::closer::look_closer;
use super::describe::{Description, describe, of_reading};
use super::identity::start_of;
use super::produce::{Work, Written, partial_with_room, seal, source_may_go, watch, without_repeats};
use super::{FinishError, Inspection, Splice, Validate, Wish, splice};
use crate::media::{self, Header, Reading, Remux, Remuxed, Watch};
use crate::recording::{Container, Outcome, SpliceMethod, StartSource};

/// Finishes a recording by writing its packets into another container.
pub(super) fn remux(work: &Work<'_>, inspection: &Inspection, container: Container) -> Result<Written, FinishError> {
    remux_from(work, inspection, container, work.settled.path())
}

/// The same with the packets read from another file, which holds those of the source and can be read.
pub(super) fn remux_from(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
    read_from: &Path,
) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let from = inspection.container.unwrap_or(container);
    let start = start_of(work.settled, inspection.created_ms(), inspection.declared_ms().unwrap_or(0));
    let may_be_own = source_may_go(work, &inspection.defects);
    let wish = Wish { extension: container.extension(), start_ms: start.0, may_be_own };
    let mut final_path = (work.choose_path)(&wish)?;
    let partial = partial_with_room(work, &final_path, inspection.size_bytes)?;
    let created_ms = (start.1 != StartSource::Mtime).then_some(start.0);
    // The finished file is read once more, and is about as long as its source.
    let (size_bytes, both_bytes) = (inspection.size_bytes, inspection.size_bytes.saturating_mul(2));
    let (first, second) = (
        |bytes: u64| (work.progress)(bytes, both_bytes),
        |bytes: u64| (work.progress)(size_bytes.saturating_add(bytes), both_bytes),
    );
    let request =
        Remux { created_ms, watch: watch(work, &first), ..Remux::new(read_from, from, partial.path(), container) };
    let Output { remuxed, reading, splice } = write(work, &request, watch(work, &second))?;
    let mut description = describe_output(partial.path(), container, &reading)?;
    description.declared_ms = remuxed.source.declared_ms;
    look_closer_at_output(work, (partial.path(), container), &mut description)?;
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
        splice,
        undo: None,
        salvage: None,
        warnings,
    })
}

/// A written and compared file, its header in front.
struct Output {
    remuxed: Remuxed,
    reading: Reading,
    splice: Option<SpliceMethod>,
}

fn write(work: &Work<'_>, request: &Remux<'_>, second: Watch<'_>) -> Result<Output, FinishError> {
    let may_insert = matches!(work.options.splice, Splice::Auto | Splice::InsertRange);
    if may_insert && request.to.is_iso() && splice::can_insert(request.output) {
        // Compared before the blocks are inserted: while its pages are still in memory.
        let (remuxed, reading) = write_and_compare(&Remux { header: Header::Last, ..*request }, second)?;
        if work.wait_for_disk(|| splice::put_in_front_of_own(request.output))? {
            return Ok(Output { remuxed, reading, splice: Some(SpliceMethod::InsertRange) });
        }
    }
    let (remuxed, reading) = write_and_compare(request, second)?;
    Ok(Output { remuxed, reading, splice: None })
}

fn write_and_compare(request: &Remux<'_>, second: Watch<'_>) -> Result<(Remuxed, Reading), FinishError> {
    let remuxed = media::remux(request)?;
    let reading = media::read(request.output, request.to, second)?;
    let path = || request.source.to_owned();
    media::compare(&remuxed, &reading).map_err(|m| FinishError::NotTheSame { path: path(), detail: m.to_string() })?;
    Ok((remuxed, reading))
}

/// The description of a written file must be the one that a rebuild of the catalogue would make.
fn describe_output(path: &Path, container: Container, reading: &Reading) -> Result<Description, FinishError> {
    if container.is_iso() {
        describe(path, container, &Watch { cancel: None, progress: None })
    } else {
        Ok(of_reading(container, reading))
    }
}

fn look_closer_at_output(
    work: &Work<'_>,
    (path, container): (&Path, Container),
    description: &mut Description,
) -> Result<(), FinishError> {
    if work.options.validate == Validate::Structure {
        return Ok(());
    }
    let inspection = super::inspect(path)?;
    let movie = inspection.iso.as_ref().and_then(|iso| iso.movie.as_ref());
    look_closer((path, container), movie, work.options.validate, watch(work, &|_| ()))?.tell(description);
    Ok(())
}
