//! A file that stays as it is: it is complete, or no other container takes what is in it. It only gets its final name.

use std::path::{Path, PathBuf};

use super::closer::look_closer;
use super::describe::{Description, describe, describe_inspected};
use super::identity::start_of;
use super::produce::{Work, Written, partial_with_room, seal, watch, without_repeats};
use super::remux::remux;
use super::{FinishError, Inspection, Wish};
use crate::durable;
use crate::media::MediaError;
use crate::recording::{Container, Defect, Fingerprint, Outcome};

/// The file is complete.
pub(super) fn keep(work: &Work<'_>, inspection: &Inspection, container: Container) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let read = |bytes| (work.progress)(bytes, inspection.size_bytes);
    let description = describe_inspected(source, inspection, container, &watch(work, &read))?;
    if description.tracks.iter().all(|t| t.packets == 0) {
        return Err(MediaError::unfinishable(source, Defect::NoPackets).into());
    }
    let is_rewritten = !container.is_iso() && !container.is_kept();
    if is_rewritten && description.defects.iter().any(Defect::leaves_something_out) {
        // Only the packets told that it is not whole after all.
        return remux(work, inspection, container);
    }
    kept(work, inspection, container, (description, inspection.defects.clone()))
}

/// The file stays as it is, because no other container takes what is in it. Whatever else is wrong with it is named.
pub(super) fn keep_as_is(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
    reason: Defect,
) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let read = |bytes| (work.progress)(bytes, inspection.size_bytes);
    let description = describe(source, container, &watch(work, &read))?;
    if description.tracks.iter().all(|t| t.packets == 0) {
        return Err(MediaError::unfinishable(source, Defect::NoPackets).into());
    }
    let defects = without_repeats(inspection.defects.iter().cloned().chain([reason]));
    kept(work, inspection, container, (description, defects))
}

/// Gives the file its final name. Where its rest is not proven and it would have to be renamed, a copy gets it.
fn kept(
    work: &Work<'_>,
    inspection: &Inspection,
    container: Container,
    (mut description, defects): (Description, Vec<Defect>),
) -> Result<Written, FinishError> {
    let source = work.settled.path();
    let read = |bytes| (work.progress)(bytes, inspection.size_bytes);
    look_closer((source, container), inspection.movie(), work.options.validate, watch(work, &read))?
        .tell(&mut description);
    let start = start_of(work.settled.candidate(), description.created_ms, description.duration_ms);
    let final_path =
        (work.choose_path)(&Wish { extension: extension_of(source, container), start_ms: start.0, may_be_own: true })?;
    let (path, fingerprint, warnings) = if final_path == source || work.settled.evidence().is_strong() {
        durable::create_directories(final_path.parent().unwrap_or(Path::new("/")))?;
        work.wait_for_disk(|| durable::sync_file(source))?;
        (source.to_owned(), work.settled.candidate().fingerprint, Vec::new())
    } else {
        copy_whole(work, &final_path)?
    };
    Ok(Written {
        path,
        fingerprint,
        final_path,
        description,
        defects,
        start,
        outcome: Outcome::Kept,
        splice: None,
        undo: None,
        salvage: None,
        warnings,
    })
}

/// A kept file keeps its extension where that already stands for its container (`.m4a`, `.m4v`).
pub(super) fn extension_of(source: &Path, container: Container) -> &'static str {
    const KEPT: [&str; 8] = ["m4a", "m4v", "mka", "m2ts", "mts", "oga", "opus", "ogv"];
    let name = source.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let known = KEPT.into_iter().find(|e| name.split('.').skip(1).any(|part| part == *e));
    known.filter(|e| Container::from_extension(e) == Some(container)).unwrap_or(container.extension())
}

fn copy_whole(work: &Work<'_>, final_path: &Path) -> Result<(PathBuf, Fingerprint, Vec<String>), FinishError> {
    let size_bytes = work.settled.candidate().fingerprint.size_bytes;
    let partial = partial_with_room(work, final_path, size_bytes)?;
    durable::copy_ranges(work.settled.path(), partial.path(), &[], std::slice::from_ref(&(0..size_bytes)))?;
    seal(work, partial)
}
