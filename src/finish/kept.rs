//! A file that stays as it is only gets its final name; where its rest is not proven and it would have to be renamed, a copy
//! gets it.

use std::path::{Path, PathBuf};

use super::closer::look_closer;
use super::describe::{Description, describe};
use super::identity::start_of;
use super::work::{
    FinishAttempt, FinishJob, FinishPhase, Nameable, SealedFile, Unnamed, WrittenFile, partial_with_room, seal, watch,
    without_repeats,
};
use super::{FinishError, Inspection, NameRequest};
use crate::durable;
use crate::media::MediaError;
use crate::recording::journey::StartTime;
use crate::recording::{Container, Defect, Outcome};

/// A file that waits for its name.
struct KeptFile<'a> {
    attempt: FinishAttempt<'a>,
    description: Description,
    defects: Vec<Defect>,
    start: StartTime,
}

/// The file stays as it is, because no other container takes what is in it. Whatever else is wrong with it is named.
pub(super) fn keep_as_is<'a>(
    attempt: FinishAttempt<'a>,
    inspection: &Inspection,
    container: Container,
    reason: Defect,
) -> Result<FinishPhase<'a>, FinishError> {
    let work = attempt.work;
    let read = |bytes| work.progress.set(bytes, inspection.size_bytes);
    let description = describe(work.settled.path(), container, &watch(&work, &read))?;
    require_packets(&work, &description)?;
    let defects = without_repeats(inspection.defects.iter().cloned().chain([reason]));
    kept(attempt, inspection, description, defects)
}

/// A file without a packet is none.
pub(super) fn require_packets(work: &FinishJob<'_>, description: &Description) -> Result<(), FinishError> {
    if description.tracks.iter().all(|t| t.packets == 0) {
        return Err(MediaError::unfinishable(work.settled.path(), Defect::NoPackets).into());
    }
    Ok(())
}

/// A file of which all is known but its name.
pub(super) fn kept<'a>(
    attempt: FinishAttempt<'a>,
    inspection: &Inspection,
    mut description: Description,
    defects: Vec<Defect>,
) -> Result<FinishPhase<'a>, FinishError> {
    let (work, container) = (attempt.work, description.container);
    let source = work.settled.path();
    let read = |bytes| work.progress.set(bytes, inspection.size_bytes);
    let closer = look_closer(source, container, inspection.movie(), work.validation(), watch(&work, &read))?;
    closer.tell(&mut description);
    let start = start_of(work.settled.candidate(), description.created_ms, description.duration_ms);
    let name_request = NameRequest { extension: extension_of(source, container), start_ms: start.0, may_be_own: true };
    let said = defects.clone();
    Ok(Unnamed::phase(name_request, &said, KeptFile { attempt, description, defects, start }))
}

impl<'a> Nameable<'a> for KeptFile<'a> {
    fn named(self: Box<Self>, final_path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        let Self { attempt, description, defects, start } = *self;
        let work = &attempt.work;
        let source = work.settled.path();
        let SealedFile { path, fingerprint, warnings } = if final_path == source || work.settled.evidence().is_strong()
        {
            durable::create_directories(final_path.parent().unwrap_or(Path::new("/")))?;
            work.cpu_permit.lend(|| durable::sync_file(source))?;
            let fingerprint = work.settled.candidate().fingerprint;
            SealedFile { path: source.to_owned(), fingerprint, warnings: Vec::new() }
        } else {
            copy_whole(work, &final_path)?
        };
        attempt.conclude(WrittenFile {
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
}

/// A kept file keeps its extension where that already stands for its container (`.m4a`, `.m4v`).
pub(super) fn extension_of(source: &Path, container: Container) -> &'static str {
    const KEPT: [&str; 8] = ["m4a", "m4v", "mka", "m2ts", "mts", "oga", "opus", "ogv"];
    let name = source.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let known = KEPT.into_iter().find(|e| name.split('.').skip(1).any(|part| part == *e));
    known.filter(|e| Container::from_extension(e) == Some(container)).unwrap_or(container.extension())
}

fn copy_whole(work: &FinishJob<'_>, final_path: &Path) -> Result<SealedFile, FinishError> {
    let size_bytes = work.settled.candidate().fingerprint.size_bytes;
    let partial = partial_with_room(work, final_path, size_bytes)?;
    durable::copy_ranges(work.settled.path(), partial.path(), &[], std::slice::from_ref(&(0..size_bytes)))?;
    seal(work, partial)
}
