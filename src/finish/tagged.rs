//! A recording of tags on its way: by tables over them, or where these cannot be made, by a remux that says what it left out.

use super::container::finished_container;
use super::front::indexed_front;
use super::indexing::{self, Indexing};
use super::produce::{Work, Written, watch};
use super::remux::remux;
use super::{ByBytes, FinishError, Inspection, Validate, splice};
use crate::media::{self, MediaError};
use crate::recording::name::printable;
use crate::recording::{Container, Defect};

/// Finishes by tables over the packets; what is not as its beginning promised is remuxed, into what it fits in then.
pub(super) fn index_or_remux(
    work: &Work<'_>,
    inspection: &mut Inspection,
    container: Container,
) -> Result<Written, FinishError> {
    // A decoder reads everything, and numbers the tracks of what it reads: of the finished file, which a remux looks at.
    if work.options.validate == Validate::Decode {
        return remux_named(work, inspection, container);
    }
    let source = work.settled.path();
    let read = |bytes| (work.progress)(bytes, inspection.size_bytes);
    let watch = watch(work, &read);
    let found = indexing::index(source, &|bytes| watch.tick(bytes).is_ok())?;
    if work.stop.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(MediaError::Cancelled.into());
    }
    match found {
        Indexing::Done(indexed) => indexed_front(work, inspection, container, *indexed),
        Indexing::Unsound => {
            name_unsound(work, inspection)?;
            remux_anew(work, inspection)
        }
        Indexing::NotSo => remux_anew(work, inspection),
    }
}

/// Remuxes; of FLV whose tags do not follow one another to the end, the source stays, since libavformat passes over what
/// is between them without a word.
pub(super) fn remux_named(
    work: &Work<'_>,
    inspection: &mut Inspection,
    container: Container,
) -> Result<Written, FinishError> {
    if inspection.container == Some(Container::Flv) {
        name_unsound(work, inspection)?;
    }
    remux(work, inspection, container)
}

/// The first tags promised other tracks than there are: all of them are looked at before the container is chosen.
fn remux_anew(work: &Work<'_>, inspection: &mut Inspection) -> Result<Written, FinishError> {
    let from = inspection.container.unwrap_or(Container::Flv);
    inspection.is_indexable = false;
    inspection.probe = Some(media::probe(work.settled.path(), from)?);
    let container = finished_container(from, &inspection.codecs(), work.options, media::fits);
    remux(work, inspection, container)
}

/// Where tags do not follow one another, another recording may begin; or a splice in place may have been cut, which is taken
/// back; else it is damage. A cut at the end is named by the remux.
fn name_unsound(work: &Work<'_>, inspection: &mut Inspection) -> Result<(), FinishError> {
    let source = work.settled.path();
    let tags = indexing::follow_tags(source)?;
    inspection.recordings = tags.recordings;
    let Some(at) = tags.unsound_at else { return Ok(()) };
    if work.settled.evidence().is_strong() && splice::put_back_by_bytes(source)? == ByBytes::PutBack {
        tracing::info!(path = %printable(source), "A splice that was cut was taken back; the recording is taken again.");
        return Err(FinishError::Changed { path: source.to_owned() });
    }
    if indexing::ends_whole(source)? {
        let missing = format!("what stood behind byte {at}, where tags do not follow one another");
        inspection.defects.push(Defect::Truncated { missing });
    }
    Ok(())
}
