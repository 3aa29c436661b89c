//! What an object needs, as far as its headers tell. Reads ranges, writes nothing.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::error::Result;
use super::inside::InsidePlan;
use super::item::{ItemWay, Transferred};
use super::naming::{complete_key, finished_key};
use super::reader::RangeReader;
use super::run::ArchiveJob;
use crate::deliver::{PinnedObject, ServerCopy};
use crate::finish::{self, BodyForm, FinishError, HEAD_BYTES, PlanElsewhere};
use crate::recording::{Container, Defect};

/// What is done about an object.
#[derive(Debug)]
pub enum Judgement {
    /// Nothing: it is complete.
    Complete,
    /// Nothing: it cannot be finished.
    Quarantined,
    /// The store makes the finished object of it.
    Inside(InsidePlan, ItemWay),
    /// Its media has to be read.
    Whole,
}

/// A judgement, what is wrong with the object, and what it took to find that.
#[derive(Debug)]
pub struct Judged {
    /// What is done.
    pub judgement: Judgement,
    /// What is wrong with it, as far as headers tell.
    pub defects: Vec<Defect>,
    /// What went over the line.
    pub used: Transferred,
}

/// Looks at an object's headers.
pub fn judge(job: &ArchiveJob<'_>, object: &PinnedObject, is_temporary: bool) -> Result<Judged> {
    if object.size_bytes == 0 {
        let used = Transferred::default();
        return Ok(Judged { judgement: Judgement::Quarantined, defects: vec![Defect::Empty], used });
    }
    let mut reader = RangeReader::new(job.targets, object);
    let judged = by_headers(job, object, is_temporary, &mut reader);
    let (requests, read_bytes) = reader.used();
    let used = Transferred { read_bytes, sent_bytes: 0, requests };
    match judged {
        Ok((judgement, defects)) => Ok(Judged { judgement, defects, used }),
        Err(error) => match reader.failure() {
            Some(failure) => Err(failure),
            None if reader.is_scattered() => Ok(Judged { judgement: Judgement::Whole, defects: Vec::new(), used }),
            None => Err(error),
        },
    }
}

fn by_headers(
    job: &ArchiveJob<'_>,
    object: &PinnedObject,
    is_temporary: bool,
    reader: &mut RangeReader<'_>,
) -> Result<(Judgement, Vec<Defect>)> {
    let (name, key) = (Path::new(&object.key), &object.key);
    let mut head = Vec::new();
    let failed = |source| FinishError::from(crate::durable::FileError { verb: "read", path: name.to_owned(), source });
    reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(failed)?;
    reader.seek(SeekFrom::Start(0)).map_err(failed)?;
    let copies = job.targets.copies(job.url)?;
    let Some(inspection) = finish::inspect_headers(name, &head, reader, object.size_bytes)? else {
        let is_kept = Container::sniff_named(&head, name).filter(|container| container.is_kept());
        return Ok(match is_kept {
            Some(container) => (kept(job, object, (is_temporary, copies), container), Vec::new()),
            None => (Judgement::Whole, Vec::new()),
        });
    };
    let body = if copies.is_some_and(|copies| !copies.takes_ranges()) { BodyForm::WholeFile } else { BodyForm::Ranges };
    let planned = finish::plan_elsewhere(name, reader, &inspection, (job.finish, body))?;
    let judgement = match (planned, copies) {
        (PlanElsewhere::Keep(container), _) => kept(job, object, (is_temporary, copies), container),
        (PlanElsewhere::Front(front, container), Some(copies)) => {
            let key = finished_key(job.rules, key, container);
            let plan = InsidePlan { header: Bytes::from(front.header), ranges: front.body_ranges, key, copies };
            Judgement::Inside(plan, ItemWay::InBucket)
        }
        (PlanElsewhere::Front(..), None) | (PlanElsewhere::Whole, _) => Judgement::Whole,
    };
    Ok((judgement, inspection.defects))
}

/// A complete recording gets its final name, and that only if it does not have it.
fn kept(
    job: &ArchiveJob<'_>,
    object: &PinnedObject,
    (is_temporary, copies): (bool, Option<ServerCopy>),
    container: Container,
) -> Judgement {
    let copies = match (is_temporary, copies) {
        (false, _) => return Judgement::Complete,
        (true, None) => return Judgement::Whole,
        (true, Some(copies)) => copies,
    };
    let key = complete_key(job.rules, &object.key, container);
    let ranges = std::iter::once(0..object.size_bytes).collect();
    Judgement::Inside(InsidePlan { header: Bytes::new(), ranges, key, copies }, ItemWay::Rename)
}
