//! What can be done about a file that is not here: its headers are read a range at a time, and what follows is planned.
//!
//! The plan is the one that is made of a local file that is copied, where ranges of it can be copied elsewhere. Nothing is read but headers, and nothing is written.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::decide::{FinishAction, decide};
use super::inspect::Inspection;
use super::salvaging::taught_by;
use super::splice::{compact_plan_of, file_type_by, wrapping_plan_of};
use super::{FinishError, FinishOptions};
use crate::durable::FileError;
use crate::fault::{Class, Fault};
use crate::isobmff::{self, FileShape, FrontPlan, Movie};
use crate::recording::Container;
use crate::salvage::{Origin, Reference};

/// What can stand behind a new header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// Ranges of the old file.
    Ranges,
    /// All of it.
    WholeFile,
}

/// What a file elsewhere needs.
#[derive(Debug)]
pub enum PlanElsewhere {
    /// It is complete.
    Keep(Container),
    /// A new header in front of ranges of it makes the finished file.
    Front(Box<FrontPlan>, Container),
    /// Its media has to be read.
    Whole,
}

/// Plans what is done about a file by its headers. `name` is its path, for messages.
pub fn plan_elsewhere<R: Read + Seek>(
    name: &Path,
    reader: &mut R,
    inspection: &Inspection,
    (options, body): (&FinishOptions, BodyForm),
) -> Result<PlanElsewhere, FinishError> {
    let plan = decide(inspection, options);
    match plan.action {
        FinishAction::Keep => Ok(PlanElsewhere::Keep(plan.container)),
        // What else is to be known of media is known when it is read.
        FinishAction::Front if options.validate == super::ValidationLevel::Structure => {
            let Some(header) = inspection.header() else { return Ok(PlanElsewhere::Whole) };
            let ftyp = file_type_by(&header.iso.layout, |bytes, offset| {
                reader.seek(SeekFrom::Start(offset))?;
                reader.read_exact(bytes)
            });
            let ftyp = ftyp.map_err(FileError::on("read", name))?;
            let front = match body {
                BodyForm::Ranges => compact_plan_of(name, header, &ftyp),
                BodyForm::WholeFile => wrapping_plan_of(name, header, &ftyp),
            };
            match front {
                Ok(front) => Ok(PlanElsewhere::Front(Box::new(front), plan.container)),
                // Locally it is kept or remuxed then.
                Err(error) if error.class() == Class::Permanent => Ok(PlanElsewhere::Whole),
                Err(error) => Err(error),
            }
        }
        FinishAction::Front
        | FinishAction::Index
        | FinishAction::Remux
        | FinishAction::Salvage
        | FinishAction::Quarantine(_) => Ok(PlanElsewhere::Whole),
    }
}

/// What the header of a sound MP4 elsewhere tells about others of its stream.
pub fn reference_elsewhere<R: Read + Seek>(reader: &mut R, size_bytes: u64) -> Option<Reference> {
    let layout = isobmff::top_level(reader, size_bytes).ok()?;
    // The fragments of a fragmented file lie all over it.
    let is_short = matches!(layout.shape(), FileShape::HeaderFirst | FileShape::HeaderLast);
    let movie = is_short.then(|| Movie::read(reader, &layout).ok()).flatten()?;
    taught_by(&movie, Origin::Sibling)
}
