//! From a complete file to the catalogue: steps 3 to 5 of a journey, in the order that lets each be cut or fail alone.

use std::path::Path;
use std::sync::PoisonError;

use tracing::{info, warn};

use super::clearing::clear_source;
use super::context::PipelineContext;
use super::error::PipelineError;
use super::fencing::NextStep;
use super::leaving;
use super::position::Position;
use super::queueing;
use super::removing::Removing;
use super::roots;
use super::sidecars;
use super::teaching;
use crate::catalog::JournalKey;
use crate::durable::{self, FileError, RenameOutcome, ReplaceOutcome, SecondName};
use crate::finish::{FinishError, Finished};
use crate::recording::journey::Step;
use crate::recording::name::printable;
use crate::recording::{Fingerprint, VodRecord};
use crate::salvage::Reference;

/// Journal, rename, catalogue, clear the source: steps 3 to 5.
pub(super) fn publish(
    ctx: &PipelineContext,
    mut position: Position,
    finished: Finished,
) -> Result<VodRecord, PipelineError> {
    for warning in &finished.warnings {
        warn!(path = %printable(&finished.record.file_path), warning, "finished with warnings");
    }
    let Finished { written_path, written, record, removes_source, teaches, .. } = finished;
    let next = NextStep::Publish { path: &record.file_path, vod_id: &record.vod_id, size_bytes: written.size_bytes };
    let may = roots::may_change_soon(&ctx.roots, &record.root, &ctx.stop);
    if let Err(error) = may.and_then(|()| ctx.fences.require(&record.source_path, &next)) {
        if written_path != record.file_path {
            durable::remove_own(&written_path)?;
        }
        return Err(error);
    }
    if written_path != record.file_path {
        let step = Step::Publishing {
            written_path: written_path.clone(),
            written,
            record: Box::new(record.clone()),
            removes_source,
        };
        if record.file_path == record.source_path {
            // What its writer never made durable must not be lost before its place is taken: then neither name were whole.
            durable::sync_file(&record.source_path)?;
        }
        if let Err(error) = position.advance(&ctx.journaling, step) {
            // Nothing knows of it: it is made again.
            durable::remove_own(&written_path)?;
            return Err(error.into());
        }
        match appear(&ctx.removing, &written_path, &written, &record) {
            // It has its name: what failed afterwards is done again, and not the file.
            Ok(Some(named)) => named.durably()?,
            Ok(None) => {
                durable::remove_own(&written_path)?;
                return Err(FinishError::Changed { path: record.source_path }.into());
            }
            Err(error) => {
                durable::remove_own(&written_path)?;
                return Err(error);
            }
        }
    }
    commit(ctx, &position.key, record, removes_source, teaches)
}

/// Gives the complete file its final name. Only the source itself is ever replaced, and only as it was compared: `None` where it
/// was changed since, or is open for writing.
pub(super) fn appear(
    ctx: &Removing,
    written_path: &Path,
    written: &Fingerprint,
    record: &VodRecord,
) -> Result<Option<RenameOutcome>, PipelineError> {
    let source = &record.source_path;
    if record.file_path != *source || !stands(source, &record.source)? {
        return Ok(Some(durable::publish(written_path, &record.file_path, written)?));
    }
    let _no_put_back = ctx.asides.read().unwrap_or_else(PoisonError::into_inner);
    let proven = (&record.source, record.source_changed_ns);
    match durable::replace_source((written_path, written), source, proven, SecondName::Given)? {
        ReplaceOutcome::Replaced(named) => Ok(Some(named)),
        ReplaceOutcome::Kept(_) => Ok(None),
        ReplaceOutcome::Aside { path: aside, seen, named } => {
            leaving::remember(ctx, source, Some(&aside), seen, None)?;
            Ok(Some(named))
        }
    }
}

pub(super) fn commit(
    ctx: &PipelineContext,
    key: &JournalKey,
    mut record: VodRecord,
    removes_source: bool,
    teaches: Option<Reference>,
) -> Result<VodRecord, PipelineError> {
    // What took the place of its source has nothing left to remove.
    let removes_source = removes_source && record.source_path != record.file_path;
    record.preview_file_path = queueing::preview_of(&ctx.delivering, &record);
    // Before its delivery is queued: what is delivered is the file as it is then.
    sidecars::write(&ctx.delivering, &record);
    let deliveries = queueing::deliveries_for(&ctx.delivering, &record)?;
    ctx.catalog.commit_vod(key, &record, &deliveries, removes_source, ctx.clock.now_ms())?;
    ctx.delivering.courier_notify.notify();
    ctx.pictures.ask(&record.vod_id, ctx.clock.now());
    teaching::remember(&ctx.journaling, &record, teaches);
    info!(
        vod_id = record.vod_id,
        path = %printable(&record.file_path),
        stream = record.stream_id,
        duration_ms = record.duration,
        outcome = record.outcome.name(),
        defects = record.defects.len(),
        "finished and catalogued",
    );
    if removes_source {
        ctx.fences.require(&record.source_path, &NextStep::RemoveSource)?;
        clear_source(&ctx.removing, key, &record)?;
    }
    Ok(record)
}

/// Whether a file is there as it was; an error where nobody can tell.
pub(super) fn stands(path: &Path, expected: &Fingerprint) -> Result<bool, FileError> {
    match durable::fingerprint(path) {
        Err(error) if error.is_missing() => Ok(false),
        other => other.map(|now| now == *expected),
    }
}
