//! The packets of a recording into a container, in one pass; the result is reopened and compared packet by packet.
//!
//! An MP4 is written in fragments, and the one header that says what they say is inserted in front of our own partial: so
//! the media is written once and the muxer's memory does not grow with the recording. Where the file system inserts no
//! blocks, libavformat moves the media itself.

use std::path::Path;

use super::closer::look_closer;
use super::decide::is_complete;
use super::describe::{Description, describe, of_reading};
use super::identity::start_of;
use super::keep::keep_as_is;
use super::produce::{Work, Written, partial_with_room, seal, source_may_go, watch, without_repeats};
use super::{FinishError, Inspection, Splice, Validate, Wish, splice};
use crate::durable;
use crate::fault::chain;
use crate::media::{self, Begins, Header, MediaError, Reading, Remux, Remuxed, Watch};
use crate::recording::name::printable;
use crate::recording::{Container, Defect, Outcome, SpliceMethod, StartSource};
use crate::threads::alongside;

/// Finishes a recording by writing its packets into another container; into the next that may carry them where FFmpeg writes
/// something else than it was given, or nothing. What no container carries is kept in its own.
pub(super) fn remux(work: &Work<'_>, inspection: &Inspection, container: Container) -> Result<Written, FinishError> {
    // A transport stream without its head was damaged there, and did not begin where its packets do.
    let begins = if inspection.is_headless { Begins::AtFirstPacket } else { Begins::AtKeyframe };
    let own = inspection.container.unwrap_or(container);
    let mut refused = None;
    for to in containers(container, own, is_complete(inspection)) {
        match remux_from(work, inspection, to, (work.settled.path(), begins)) {
            Err(error) if is_refusal(&error) => {
                let path = printable(work.settled.path());
                tracing::warn!(%path, to = to.extension(), error = chain(&error), "cannot convert to this container");
                refused.get_or_insert_with(|| chain(&error));
            }
            other => return other,
        }
    }
    let reason = refused.unwrap_or_default();
    keep_as_is(work, inspection, own, Defect::NotConverted { reason })
}

/// The containers to try, best first. A file that is complete in its own need not be written into that again.
fn containers(wanted: Container, own: Container, is_complete: bool) -> Vec<Container> {
    let mut containers = vec![wanted];
    let others = [Some(Container::Matroska), (!is_complete).then_some(own)];
    for other in others.into_iter().flatten() {
        if !containers.contains(&other) {
            containers.push(other);
        }
    }
    containers
}

/// Whether another container may take what this one did not.
const fn is_refusal(error: &FinishError) -> bool {
    matches!(
        error,
        FinishError::NotTheSame { .. } | FinishError::Media(MediaError::DoesNotFit { .. } | MediaError::Refused { .. })
    )
}

/// The same with the packets read from another file, which holds those of the source and can be read; and from its
/// first packet on, if that is wanted.
pub(super) fn remux_from(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
    (read_from, begins): (&Path, Begins),
) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let from = inspection.container.unwrap_or(container);
    let start = start_of(work.settled.candidate(), inspection.created_ms(), inspection.declared_ms().unwrap_or(0));
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
    let request = Remux {
        created_ms,
        begins,
        recordings: &inspection.recordings,
        watch: watch(work, &first),
        ..Remux::new(read_from, from, partial.path(), container)
    };
    // What stands in a header beside the tracks is written by the muxer alone, and not into fragments.
    let has_extras = inspection.probe.as_ref().is_none_or(media::Probe::has_extras);
    let Output { remuxed, reading, differences, splice } = write(work, &request, has_extras, watch(work, &second))?;
    let mut description = describe_output(partial.path(), container, &reading)?;
    description.declared_ms = remuxed.source.declared_ms;
    // Said of the source, with the length that it has there.
    description.defects.retain(|defect| !matches!(defect, Defect::TimestampGap { .. }));
    look_closer_at_output(work, (partial.path(), container), &mut description)?;
    let start = start_of(work.settled.candidate(), remuxed.source.created_ms, description.duration_ms);
    let defects = without_repeats(inspection.defects.iter().chain(&remuxed.defects).chain(&differences).cloned());
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
    /// What differs from the source although nothing says why.
    differences: Vec<Defect>,
    splice: Option<SpliceMethod>,
}

fn write(work: &Work<'_>, request: &Remux<'_>, has_extras: bool, second: Watch<'_>) -> Result<Output, FinishError> {
    let may_insert = !has_extras && matches!(work.options.splice, Splice::Auto | Splice::InsertRange);
    if may_insert && request.to == Container::Mp4 && splice::can_insert(request.output) {
        match write_fragments(work, request, second) {
            Ok(Some(output)) => return Ok(output),
            Ok(None) => {}
            Err(error @ FinishError::NotTheSame { .. }) => {
                tracing::warn!(error = chain(&error), "retrying with a different method");
            }
            Err(error) => return Err(error),
        }
    }
    let remuxed = media::remux(request)?;
    let reading = media::read(request.output, request.to, second)?;
    compare(request, &remuxed, &reading)?;
    let differences = media::differences(&remuxed, &reading);
    Ok(Output { remuxed, reading, differences, splice: None })
}

/// In fragments, and one header in front of them all. The muxer then remembers no packet, and the media is written once.
/// `None`: the file system does not insert here after all, or one header cannot say what the fragments say.
fn write_fragments(work: &Work<'_>, request: &Remux<'_>, second: Watch<'_>) -> Result<Option<Output>, FinishError> {
    let remuxed = media::remux(&Remux { header: Header::Fragments, ..*request })?;
    let Some(own) = splice::own_fragments(request.output)? else { return Ok(None) };
    // While its pages are still in memory, they are compared and on their way to the disk.
    let read = || media::read_by_tables(request.output, request.to, &own.movie, second);
    let (reading, ()) = alongside(read, || durable::store_ahead(request.output));
    let reading = reading?;
    compare(request, &remuxed, &reading)?;
    let differences = media::differences(&remuxed, &reading);
    if !differences.is_empty() {
        tracing::warn!(path = %printable(request.source), ?differences, "the output differs from the source; writing without fragments");
        return Ok(None);
    }
    let is_in_front = work.wait_for_disk(|| splice::put_in_front_of_own(request.output, &own))?;
    Ok(is_in_front.then_some(Output { remuxed, reading, differences, splice: Some(SpliceMethod::InsertRange) }))
}

fn compare(request: &Remux<'_>, remuxed: &Remuxed, reading: &Reading) -> Result<(), FinishError> {
    let path = || request.source.to_owned();
    media::compare(remuxed, reading).map_err(|m| FinishError::NotTheSame { path: path(), detail: m.to_string() })
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
    // Of other containers there is no header to look at, and their packets were just read.
    let inspection = container.is_iso().then(|| super::inspect(path)).transpose()?;
    let movie = inspection.as_ref().and_then(Inspection::movie);
    look_closer((path, container), movie, work.options.validate, watch(work, &|_| ()))?.tell(description);
    Ok(())
}
