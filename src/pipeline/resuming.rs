//! Carries a recording on from whatever step the journal holds: forward where anything of it stands, from the beginning only
//! where nothing does.

use std::path::Path;

use tracing::{info, warn};

use super::clearing::clear_source;
use super::concluding::{conclude, quarantine};
use super::context::PipelineContext;
use super::error::PipelineError;
use super::journaling::Journaling;
use super::leaving;
use super::position::Position;
use super::publishing::{appear, commit, publish, stands};
use super::roots;
use super::shared;
use crate::catalog::{CatalogError, JournalEntry, JournalKey};
use crate::discover::Settled;
use crate::durable::{self, FileError};
use crate::fault::chain;
use crate::finish::{self, Finished, SpliceRecovery};
use crate::recording::journey::{Stage, Step};
use crate::recording::name::printable;
use crate::recording::{Defect, Fingerprint, SpliceIntent, VodRecord};

/// Carries on with everything the journal says was under way when the last process ended.
///
/// Recordings that must begin again are returned; the others are at their end already.
pub fn resume(ctx: &PipelineContext) -> Result<Vec<Settled>, CatalogError> {
    let mut again = Vec::new();
    for (key, entry) in ctx.catalog.open_entries()?.items {
        if ctx.roots.is_shared(entry.settled.path()) && !matches!(entry.step, Step::Catalogued { .. }) {
            // Another node may have taken it over: it is asked for first, until the database answers. No scan finds it again if it
            // was replaced where it stood.
            ctx.journaling.postponed.ask_first(key, entry, ctx.clock.now_ms());
            continue;
        }
        match resume_one(ctx, &key, &entry) {
            Ok(true) => {}
            Ok(false) => again.push(entry.settled),
            Err(error) => drop(conclude(&ctx.journaling, &key, &entry.settled, entry.attempts, Err(error))),
        }
    }
    Ok(again)
}

/// Clears up what the last process of a worker left half done: a recording that is published is taken to its end; of any other what was
/// made so far is removed, as another node may have the recording by now.
pub fn clear_up(ctx: &PipelineContext) -> Result<(), CatalogError> {
    for (key, entry) in ctx.catalog.open_entries()?.items {
        if let Err(error) = clear_up_one(ctx, &key, &entry) {
            warn!(path = %printable(entry.settled.path()), error = chain(&error), "interrupted recording not cleared up");
        }
    }
    Ok(())
}

fn clear_up_one(ctx: &PipelineContext, key: &JournalKey, entry: &JournalEntry) -> Result<(), PipelineError> {
    match &entry.step {
        Step::Splicing { .. } | Step::Catalogued { .. } => resume_one(ctx, key, entry).map(drop),
        Step::Publishing { written, record, .. } if stands(&record.file_path, written)? => {
            resume_one(ctx, key, entry).map(drop)
        }
        step => {
            if let Step::Publishing { written_path, .. } = step {
                durable::remove_own(written_path)?;
            }
            if !begin_again(&ctx.journaling, key, entry)? {
                ctx.catalog.forget(key)?;
            }
            Ok(())
        }
    }
}

/// Returns whether the recording is at its end; `false` means that it has to begin again.
pub(super) fn resume_one(ctx: &PipelineContext, key: &JournalKey, entry: &JournalEntry) -> Result<bool, PipelineError> {
    roots::require(&ctx.roots, &entry.settled.candidate().root)?;
    if matches!(entry.step, Step::Publishing { .. }) {
        shared::require_claim(ctx, key, entry.settled.path())?;
    }
    if let Some(claim) = ctx.roots.shared.held(key).filter(|_| matches!(entry.step, Step::Publishing { .. })) {
        return match shared::resume(ctx, key, entry, &claim)? {
            Some(_) => Ok(true),
            None => begin_again(&ctx.journaling, key, entry),
        };
    }
    match &entry.step {
        Step::Splicing { intent, record } => resume_splice(ctx, key, entry, intent, record),
        Step::Publishing { written_path, written, record, removes_source } => {
            let mut removes_source = *removes_source;
            if stands(&record.file_path, written)? {
                removes_source |= give_up_old_name(written_path, written, record)?;
                if written_path != &record.file_path && record.file_path == record.source_path {
                    leaving::end_replacement(&ctx.removing, &record.source_path, &record.source)?;
                }
            } else if stands(written_path, written)? {
                match appear(&ctx.removing, written_path, written, record) {
                    Ok(Some(named)) => named.durably()?,
                    Ok(None) => return begin_again(&ctx.journaling, key, entry),
                    Err(PipelineError::File(error)) if error.is_taken() => {
                        return begin_again(&ctx.journaling, key, entry);
                    }
                    Err(error) => return Err(error),
                }
            } else {
                return begin_again(&ctx.journaling, key, entry);
            }
            commit(ctx, key, (**record).clone(), removes_source, None).map(|_| true)
        }
        Step::Catalogued { vod_id, removes_source } => {
            let record = ctx.catalog.shared().vod(vod_id)?;
            match record {
                Some(record) if *removes_source => clear_source(&ctx.removing, key, &record)?,
                _ => ctx.catalog.advance(
                    key,
                    Stage::Catalogued,
                    Step::Done { vod_id: vod_id.clone() },
                    ctx.clock.now_ms(),
                )?,
            }
            Ok(true)
        }
        _ => begin_again(&ctx.journaling, key, entry),
    }
}

/// The cut may have left the file under both names: the new one was durable, or linked, before the old one was given up.
/// Says whether the old one is that of the source and stays for now.
fn give_up_old_name(written_path: &Path, written: &Fingerprint, record: &VodRecord) -> Result<bool, FileError> {
    let mut stays = false;
    if written_path != record.file_path && stands(written_path, written)? {
        match durable::remove(written_path) {
            // Linked under its final name, and nobody may take the old one away: a source to be removed like any other.
            Err(_) if written_path == record.source_path => stays = true,
            other => other?,
        }
    }
    // The last process may have ended between the rename and its sync, or the sync itself failed.
    durable::sync_parent(&record.file_path).map(|()| stays)
}

/// A splice in place that was cut is completed where its header is durable, and taken back where it is not.
fn resume_splice(
    ctx: &PipelineContext,
    key: &JournalKey,
    entry: &JournalEntry,
    intent: &SpliceIntent,
    record: &VodRecord,
) -> Result<bool, PipelineError> {
    let (path, position) = (&intent.path, Position { key: *key, stage: entry.stage() });
    match finish::recover(intent)? {
        SpliceRecovery::Finished => {
            info!(path = %printable(path), "interrupted splice in place completed");
            let (written_path, written) = (path.clone(), intent.after);
            let record = record.clone();
            let finished =
                Finished { written_path, written, record, removes_source: false, warnings: Vec::new(), teaches: None };
            publish(ctx, position, finished).map(|_| true)
        }
        SpliceRecovery::AsBefore => {
            info!(path = %printable(path), "interrupted splice in place rolled back");
            begin_again(&ctx.journaling, key, entry)
        }
        SpliceRecovery::Gone => begin_again(&ctx.journaling, key, entry),
        SpliceRecovery::Unclear(why) => {
            let detail = format!("a splice in place was interrupted and cannot be rolled back automatically: {why}");
            quarantine(&ctx.journaling, position, &entry.settled, vec![Defect::Malformed { offset: None, detail }]);
            Ok(true)
        }
    }
}

/// Removes what the cut attempt wrote aside. The reserved name stays promised, so that the same one is used again; unless
/// the source is gone or has changed: what is there now is another recording, and the scan finds it.
fn begin_again(ctx: &Journaling, key: &JournalKey, entry: &JournalEntry) -> Result<bool, PipelineError> {
    // Beside the reserved name, or beside the source where another name was reserved at the last moment.
    let names = ctx.catalog.reserved_by(key)?.into_iter().chain([entry.settled.path().to_owned()]);
    for name in names {
        durable::remove_partials(&name, ctx.catalog.owner())?;
    }
    ctx.catalog.advance(key, entry.stage(), Step::Begun, ctx.clock.now_ms())?;
    if !stands(entry.settled.path(), &entry.settled.candidate().fingerprint)? {
        ctx.catalog.forget(key)?;
        return Ok(true);
    }
    Ok(false)
}
