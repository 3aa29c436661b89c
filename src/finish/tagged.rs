//! A recording of tags, looked through: there are tables over them, or it goes into another container, and what that leaves out
//! is named.

use super::container::finished_container;
use super::indexing::{self, IndexOutcome, IndexedRecording};
use super::work::{FinishJob, watch};
use super::{ByteRecovery, FinishError, Inspection, ValidationLevel, splice};
use crate::media::{self, MediaError};
use crate::recording::name::printable;
use crate::recording::{Container, Defect};

/// What a look at the packets came to.
pub(super) enum TagInspection {
    /// There are tables over all of them.
    Indexed(Box<IndexedRecording>),
    /// They go into this container.
    Remux(Container),
    /// There was nothing to look at.
    NotAsked,
}

/// Makes tables over the packets; what is not as its beginning promised is remuxed, into what it fits in then.
pub(super) fn look(
    work: &FinishJob<'_>,
    inspection: &mut Inspection,
    container: Container,
) -> Result<TagInspection, FinishError> {
    // A decoder reads everything, and numbers the tracks of what it reads: of the finished file, which a remux looks at.
    if work.options.validate == ValidationLevel::Decode {
        return look_before_remux(work, inspection, container);
    }
    let source = work.settled.path();
    let size_bytes = inspection.size_bytes;
    let read = |bytes| work.progress.set(bytes, size_bytes);
    let watch = watch(work, &read);
    let found = indexing::index(source, &|bytes| watch.tick(bytes).is_ok())?;
    if work.stop.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(MediaError::Cancelled.into());
    }
    match found {
        IndexOutcome::Done(indexed) => Ok(TagInspection::Indexed(indexed)),
        IndexOutcome::Unsound => {
            name_unsound(work, inspection)?;
            probe_anew(work, inspection)
        }
        IndexOutcome::NotSo => probe_anew(work, inspection),
    }
}

/// Of FLV whose tags do not follow one another to the end, the source stays, since libavformat passes over what is between them
/// without a word.
pub(super) fn look_before_remux(
    work: &FinishJob<'_>,
    inspection: &mut Inspection,
    container: Container,
) -> Result<TagInspection, FinishError> {
    if inspection.container == Some(Container::Flv) {
        name_unsound(work, inspection)?;
    }
    Ok(TagInspection::Remux(container))
}

/// The first tags promised other tracks than there are: all of them are looked at before the container is chosen.
fn probe_anew(work: &FinishJob<'_>, inspection: &mut Inspection) -> Result<TagInspection, FinishError> {
    let from = inspection.container.unwrap_or(Container::Flv);
    inspection.is_indexable = false;
    inspection.probe = Some(media::probe(work.settled.path(), from)?);
    Ok(TagInspection::Remux(finished_container(from, &inspection.codecs(), work.options, media::fits)))
}

/// Where tags do not follow one another, another recording may begin; or a splice in place may have been cut, which is taken
/// back; else it is damage. A cut at the end is named by the remux.
fn name_unsound(work: &FinishJob<'_>, inspection: &mut Inspection) -> Result<(), FinishError> {
    let source = work.settled.path();
    let tags = indexing::follow_tags(source)?;
    inspection.recordings = tags.recordings;
    let Some(at) = tags.unsound_at else { return Ok(()) };
    if work.settled.evidence().is_strong() && splice::put_back_by_bytes(source)? == ByteRecovery::PutBack {
        tracing::info!(path = %printable(source), "interrupted splice rolled back; the recording is processed again");
        return Err(FinishError::Changed { path: source.to_owned() });
    }
    if indexing::ends_whole(source)? {
        let missing = format!("the data from byte {at}, where tags do not follow one another");
        inspection.defects.push(Defect::Truncated { missing });
    }
    Ok(())
}
