//! What a recording needs: a pure decision on what the headers told.

use super::container::finished_container;
use super::{FinishOptions, Inspection};
use crate::isobmff::FileShape;
use crate::media;
use crate::recording::{Container, Defect};

/// What is done to finish a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishAction {
    /// It is complete; it gets its final name.
    Keep,
    /// Its header goes to the front; the media stays as it is.
    Front,
    /// Sample tables over its packets go to the front; the media stays as it is.
    Index,
    /// Its packets go into a container.
    Remux,
    /// Its writer died before it wrote the header: the sample tables are rebuilt from the media.
    Salvage,
    /// It stays where it is.
    Quarantine(Vec<Defect>),
}

impl FinishAction {
    /// The word for plans and reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Front => "move header to front",
            Self::Index => "move sample tables to front",
            Self::Remux => "remux",
            Self::Salvage => "salvage",
            Self::Quarantine(_) => "quarantine",
        }
    }
}

/// A decision, and the container of the finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishPlan {
    /// What is done.
    pub action: FinishAction,
    /// Container of the finished file; of a quarantined one its own, if it is known.
    pub container: Container,
}

/// Decides what a recording needs. What dry runs print is what runs apply.
pub fn decide(inspection: &Inspection, options: &FinishOptions) -> FinishPlan {
    let source = inspection.container.unwrap_or(Container::Mp4);
    if inspection.is_hit || is_salvageable(inspection) {
        return FinishPlan { action: FinishAction::Salvage, container: source };
    }
    if inspection.is_hopeless() {
        let action = FinishAction::Quarantine(inspection.defects.clone());
        return FinishPlan { action, container: source };
    }
    let container = finished_container(source, &inspection.codecs(), options, media::fits);
    let action = match inspection.shape() {
        // A server that reads its fragments again would find none in what was made of them.
        Some(FileShape::Fragmented) if options.keeps_fragments => FinishAction::Keep,
        Some(shape) => iso_action(inspection, shape),
        None if container == source && (source.is_kept() || is_complete(inspection)) => FinishAction::Keep,
        None if container == Container::Mp4 && inspection.is_indexable => FinishAction::Index,
        None => FinishAction::Remux,
    };
    FinishPlan { action, container }
}

/// Whether nothing is wrong but that the header is missing, and there is media.
fn is_salvageable(inspection: &Inspection) -> bool {
    let has_media = inspection.iso.as_ref().is_some_and(|iso| {
        iso.layout.shape() == FileShape::NoMovieHeader
            && iso.layout.first(b"mdat").is_some()
            && iso.layout.first(b"moof").is_none()
    });
    has_media && inspection.defects.iter().all(|d| !d.is_fatal() || *d == Defect::NoMovieHeader)
}

fn iso_action(inspection: &Inspection, shape: FileShape) -> FinishAction {
    let Some(iso) = inspection.iso.as_ref().filter(|iso| iso.movie.is_some()) else { return FinishAction::Remux };
    // Media that no table lists comes along with the media that one does.
    let is_missing = |d: &Defect| d.leaves_something_out() && !matches!(d, Defect::Unexplained { .. });
    let is_sound = !inspection.defects.iter().any(is_missing);
    match shape {
        // Encrypted media cannot be checked or moved, and some fragments say more than one header can: they play as
        // they are.
        _ if inspection.defects.contains(&Defect::Encrypted) || iso.stays_fragmented.is_some() => FinishAction::Keep,
        FileShape::HeaderFirst if is_sound && !iso.is_rebuilt => FinishAction::Keep,
        // A header that was put together names what is there, and others would not find it.
        FileShape::HeaderFirst | FileShape::HeaderLast if is_sound || iso.is_rebuilt => FinishAction::Front,
        // What is torn or outside is not in these tables, so what they name is whole.
        FileShape::Fragmented => FinishAction::Front,
        _ => FinishAction::Remux,
    }
}

/// Whether a file that is not ISO base media is what its writer closes in order: whole, and with a duration, which
/// FLV, Matroska and WebM get together with their index. MPEG-TS has neither to begin with.
pub(super) fn is_complete(inspection: &Inspection) -> bool {
    let is_whole =
        !inspection.defects.iter().any(|d| matches!(d, Defect::Truncated { .. })) && inspection.recordings.is_empty();
    let is_closed = inspection.container == Some(Container::MpegTs)
        || inspection.probe.as_ref().is_some_and(|p| p.declared_ms.is_some_and(|ms| ms > 0));
    is_whole && is_closed
}
