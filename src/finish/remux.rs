//! The packets of a recording into a container, in one pass; the result is reopened and compared packet by packet.
//!
//! An MP4 is written in fragments, and the one header that says what they say is inserted in front of our own partial: so
//! the media is written once and the muxer's memory does not grow with the recording. Where the file system inserts no
//! blocks, libavformat moves the media itself.

use std::path::{Path, PathBuf};

use super::closer::look_closer;
use super::decide::is_complete;
use super::describe::{Description, describe, of_reading};
use super::identity::start_of;
use super::kept::keep_as_is;
use super::work::{
    FinishAttempt, FinishJob, FinishPhase, Nameable, SealedFile, Unnamed, WrittenFile, partial_with_room, seal,
    source_may_go, watch, without_repeats,
};
use super::{FinishError, Inspection, NameRequest, SpliceMode, ValidationLevel, splice};
use crate::durable::{self, Partial};
use crate::fault::chain;
use crate::media::{
    self, HeaderPlacement, MediaError, MediaReading, OutputStart, PassControl, Remux, Remuxed, TrackReading,
};
use crate::recording::journey::StartTime;
use crate::recording::name::printable;
use crate::recording::{Container, Defect, Outcome, SpliceMethod, StartSource, TrackKind};
use crate::threads::{alongside, at_lower_priority};

/// A recording whose packets go into a container, as soon as there is a name.
struct PendingRemux<'a> {
    attempt: FinishAttempt<'a>,
    inspection: Inspection,
    to: Container,
    /// The containers that are tried if this one takes something else than it was given, or nothing.
    others: Vec<Container>,
    /// Why the first did not take it.
    refused: Option<String>,
    begins: OutputStart,
    /// Holds the packets of the source and can be read, where the source cannot.
    whole: Option<Partial>,
}

/// Finishes a recording by writing its packets into another container; into the next that may carry them where FFmpeg writes
/// something else than it was given, or nothing. What no container carries is kept in its own.
pub(super) fn remux(attempt: FinishAttempt<'_>, inspection: Inspection, container: Container) -> FinishPhase<'_> {
    // A transport stream without its head was damaged there, and did not begin where its packets do.
    let begins = if inspection.is_headless { OutputStart::AtFirstPacket } else { OutputStart::AtKeyframe };
    let own = inspection.container.unwrap_or(container);
    let others = others(container, own, is_complete(&inspection));
    PendingRemux { attempt, inspection, to: container, others, refused: None, begins, whole: None }.phase()
}

/// The same with the packets read from a file of ours, from its first packet on; into this container or none.
pub(super) fn remux_whole(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    container: Container,
    whole: Partial,
) -> FinishPhase<'_> {
    let (begins, whole) = (OutputStart::AtFirstPacket, Some(whole));
    PendingRemux { attempt, inspection, to: container, others: Vec::new(), refused: None, begins, whole }.phase()
}

/// The containers to try next, best first. A file that is complete in its own need not be written into that again.
fn others(wanted: Container, own: Container, is_complete: bool) -> Vec<Container> {
    let mut others = Vec::new();
    for other in [Some(Container::Matroska), (!is_complete).then_some(own)].into_iter().flatten() {
        if other != wanted && !others.contains(&other) {
            others.push(other);
        }
    }
    others
}

/// Whether another container may take what this one did not.
const fn is_refusal(error: &FinishError) -> bool {
    matches!(
        error,
        FinishError::NotTheSame { .. } | FinishError::Media(MediaError::DoesNotFit { .. } | MediaError::Refused { .. })
    )
}

impl<'a> PendingRemux<'a> {
    fn phase(self) -> FinishPhase<'a> {
        let (name_request, said) = (self.name_request(), self.inspection.defects.clone());
        Unnamed::phase(name_request, &said, self)
    }

    fn name_request(&self) -> NameRequest {
        let may_be_own = source_may_go(&self.attempt.work, &self.inspection.defects);
        NameRequest { extension: self.to.extension(), start_ms: self.declared_start().0, may_be_own }
    }

    fn declared_start(&self) -> StartTime {
        let (candidate, inspection) = (self.attempt.work.settled.candidate(), &self.inspection);
        start_of(candidate, inspection.created_ms(), inspection.declared_ms().unwrap_or(0))
    }

    fn source(&self) -> &'a Path {
        self.attempt.work.settled.path()
    }

    fn go_on(self, path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        match self.write(&path) {
            Ok((partial, written)) => self.end(partial, written, path),
            // What was made whole again is nowhere else.
            Err(error) if is_refusal(&error) && self.whole.is_none() => self.refused_by(&error),
            Err(error) => Err(error),
        }
    }

    fn end(self, partial: Partial, written: WrittenFile, path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        let name_request = self.name_request();
        let is_own = path == self.source();
        let unsealed = Box::new(UnsealedFile { attempt: self.attempt, partial, written });
        if is_own && !source_may_go(&unsealed.attempt.work, &unsealed.written.defects) {
            // Only the packets told that something is missing: the source stays, the finished file gets another name.
            let said = unsealed.written.defects.clone();
            return Ok(Unnamed::phase(NameRequest { may_be_own: false, ..name_request }, &said, *unsealed));
        }
        unsealed.named(path)
    }

    fn refused_by(mut self, error: &FinishError) -> Result<FinishPhase<'a>, FinishError> {
        let path = printable(self.source());
        tracing::warn!(%path, to = self.to.extension(), error = chain(error), "cannot convert to this container");
        let reason = self.refused.take().unwrap_or_else(|| chain(error));
        if self.others.is_empty() {
            let own = self.inspection.container.unwrap_or(self.to);
            return keep_as_is(self.attempt, &self.inspection, own, Defect::NotConverted { reason });
        }
        let to = self.others.remove(0);
        Ok(Self { to, refused: Some(reason), ..self }.phase())
    }

    /// The packets in a partial beside the final name, compared with their source.
    fn write(&self, final_path: &Path) -> Result<(Partial, WrittenFile), FinishError> {
        let (work, inspection, container) = (&self.attempt.work, &self.inspection, self.to);
        let from = inspection.container.unwrap_or(container);
        let start = self.declared_start();
        let partial = partial_with_room(work, final_path, inspection.size_bytes)?;
        let created_ms = (start.1 != StartSource::Mtime).then_some(start.0);
        // The finished file is read once more, and is about as long as its source.
        let (size_bytes, both_bytes) = (inspection.size_bytes, inspection.size_bytes.saturating_mul(2));
        let (first, second) = (
            |bytes: u64| work.progress.set(bytes, both_bytes),
            |bytes: u64| work.progress.set(size_bytes.saturating_add(bytes), both_bytes),
        );
        let read_from = self.whole.as_ref().map_or(self.source(), Partial::path);
        let request = Remux {
            created_ms,
            begins: self.begins,
            recordings: &inspection.recordings,
            watch: watch(work, &first),
            ..Remux::new(read_from, from, partial.path(), container)
        };
        // What stands in a header beside the tracks is written by the muxer alone, and not into fragments.
        let has_extras = inspection.probe.as_ref().is_none_or(media::Probe::has_extras);
        let RemuxOutput { remuxed, reading, differences, splice } =
            write(work, &request, has_extras, watch(work, &second))?;
        let mut description = describe_output(partial.path(), container, &reading)?;
        description.declared_ms = remuxed.source.declared_ms;
        // Said of the source, with the length that it has there.
        description.defects.retain(|defect| !matches!(defect, Defect::TimestampGap { .. }));
        look_closer_at_output(work, partial.path(), container, &mut description)?;
        let start = start_of(work.settled.candidate(), remuxed.source.created_ms, description.duration_ms);
        let defects = without_repeats(inspection.defects.iter().chain(&remuxed.defects).chain(&differences).cloned());
        let written = WrittenFile {
            path: PathBuf::new(),
            fingerprint: work.settled.candidate().fingerprint,
            final_path: final_path.to_owned(),
            description,
            defects,
            start,
            outcome: if self.whole.is_some() { Outcome::Salvaged } else { Outcome::Remuxed },
            splice,
            undo: None,
            salvage: None,
            warnings: Vec::new(),
        };
        Ok((partial, written))
    }
}

impl<'a> Nameable<'a> for PendingRemux<'a> {
    fn named(self: Box<Self>, path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        let nice = if self.whole.is_some() { self.attempt.work.options.background_nice } else { 0 };
        at_lower_priority(nice, || self.go_on(path))
    }
}

/// A file that is written and compared, and not yet durable.
struct UnsealedFile<'a> {
    attempt: FinishAttempt<'a>,
    partial: Partial,
    written: WrittenFile,
}

impl<'a> Nameable<'a> for UnsealedFile<'a> {
    fn named(self: Box<Self>, final_path: PathBuf) -> Result<FinishPhase<'a>, FinishError> {
        let Self { attempt, partial, written } = *self;
        let SealedFile { path, fingerprint, warnings } = seal(&attempt.work, partial)?;
        attempt.conclude(WrittenFile { path, fingerprint, final_path, warnings, ..written })
    }
}

/// A written and compared file, its header in front.
struct RemuxOutput {
    remuxed: Remuxed,
    reading: MediaReading,
    /// What differs from the source although nothing says why.
    differences: Vec<Defect>,
    splice: Option<SpliceMethod>,
}

fn write(
    work: &FinishJob<'_>,
    request: &Remux<'_>,
    has_extras: bool,
    second: PassControl<'_>,
) -> Result<RemuxOutput, FinishError> {
    let may_insert = !has_extras && matches!(work.options.splice, SpliceMode::Auto | SpliceMode::InsertRange);
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
    Ok(RemuxOutput { remuxed, reading, differences, splice: None })
}

/// In fragments, and one header in front of them all. The muxer then remembers no packet, and the media is written once.
/// `None`: the file system does not insert here after all, or one header cannot say what the fragments say.
fn write_fragments(
    work: &FinishJob<'_>,
    request: &Remux<'_>,
    second: PassControl<'_>,
) -> Result<Option<RemuxOutput>, FinishError> {
    let remuxed = media::remux(&Remux { header: HeaderPlacement::Fragments, ..*request })?;
    let Some(own) = splice::own_fragments(request.output)? else { return Ok(None) };
    // While its pages are still in memory, they are compared and on their way to the disk.
    let read = || media::read_by_tables(request.output, request.to, &own.movie, second);
    let (reading, ()) = alongside(read, || durable::store_ahead(request.output));
    let reading = reading?;
    compare(request, &remuxed, &reading)?;
    if has_more_keyframes(&remuxed, &reading) {
        return Ok(None);
    }
    let differences = media::differences(&remuxed, &reading);
    if !differences.is_empty() {
        tracing::warn!(path = %printable(request.source), ?differences, "the output differs from the source; writing without fragments");
        return Ok(None);
    }
    let is_in_front = work.cpu_permit.lend(|| splice::put_in_front_of_own(request.output, &own))?;
    Ok(is_in_front.then_some(RemuxOutput { remuxed, reading, differences, splice: Some(SpliceMethod::InsertRange) }))
}

/// The first fragment lies in the header, and the muxer lists no keyframes there if it has none, which says that all of its pictures
/// are keyframes (ISO/IEC 14496-12 §8.6.2.1): a recording that lost its beginning may have seconds of them.
fn has_more_keyframes(remuxed: &Remuxed, reading: &MediaReading) -> bool {
    let keyframes = |tracks: &[TrackReading]| -> u64 {
        tracks.iter().filter(|track| track.kind == TrackKind::Video).map(|track| track.keyframes).sum()
    };
    keyframes(&reading.tracks) > keyframes(&remuxed.tracks_written)
}

fn compare(request: &Remux<'_>, remuxed: &Remuxed, reading: &MediaReading) -> Result<(), FinishError> {
    let path = || request.source.to_owned();
    media::compare(remuxed, reading).map_err(|m| FinishError::NotTheSame { path: path(), detail: m.to_string() })
}

/// The description of a written file must be the one that a rebuild of the catalogue would make.
fn describe_output(path: &Path, container: Container, reading: &MediaReading) -> Result<Description, FinishError> {
    if container.is_iso() {
        describe(path, container, &PassControl { cancel: None, progress: None })
    } else {
        Ok(of_reading(container, reading))
    }
}

fn look_closer_at_output(
    work: &FinishJob<'_>,
    path: &Path,
    container: Container,
    description: &mut Description,
) -> Result<(), FinishError> {
    if work.options.validate == ValidationLevel::Structure {
        return Ok(());
    }
    // Of other containers there is no header to look at, and their packets were just read.
    let inspection = container.is_iso().then(|| super::inspect(path)).transpose()?;
    let movie = inspection.as_ref().and_then(Inspection::movie);
    look_closer(path, container, movie, work.validation(), watch(work, &|_| ()))?.tell(description);
    Ok(())
}
