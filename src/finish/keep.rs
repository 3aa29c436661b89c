//! A file that is complete: it only gets its final name.

use super::describe::describe_inspected;
use super::kept::{kept, require_packets};
use super::remux::remux;
use super::work::{FinishAttempt, FinishPhase, watch};
use super::{FinishError, Inspection};
use crate::recording::{Container, Defect};

/// The file is complete.
pub(super) fn keep(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    container: Container,
) -> Result<FinishPhase<'_>, FinishError> {
    let work = attempt.work;
    let read = |bytes| work.progress.set(bytes, inspection.size_bytes);
    let description = describe_inspected(work.settled.path(), &inspection, container, &watch(&work, &read))?;
    require_packets(&work, &description)?;
    let is_rewritten = !container.is_iso() && !container.is_kept();
    if is_rewritten && description.defects.iter().any(Defect::leaves_something_out) {
        // Only the packets told that it is not whole after all.
        return Ok(remux(attempt, inspection, container));
    }
    let defects = inspection.defects.clone();
    kept(attempt, &inspection, description, defects)
}
