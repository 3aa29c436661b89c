//! Removes a source whose every packet the durable, compared, catalogued file holds; only if it is still that source.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use tracing::warn;

use super::error::PipelineError;
use super::leaving;
use super::removing::Removing;
use crate::catalog::JournalKey;
use crate::durable::{self, FileError, KeptBecause, RemovalOutcome};
use crate::recording::journey::{Stage, Step};
use crate::recording::name::printable;
use crate::recording::{FileVersion, VodRecord};

/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Step 5 of a journey: the source goes, and the journal says that nothing is left to do.
pub(super) fn clear_source(ctx: &Removing, key: &JournalKey, record: &VodRecord) -> Result<(), PipelineError> {
    // Equal as an older version journalled it.
    if record.source_path != record.file_path {
        remove(ctx, record)?;
    }
    ctx.catalog.advance(key, Stage::Catalogued, Step::Done { vod_id: record.vod_id.clone() }, ctx.clock.now_ms())?;
    Ok(())
}

fn remove(ctx: &Removing, record: &VodRecord) -> Result<(), PipelineError> {
    let path = &record.source_path;
    let Some(changed_ns) = record.source_changed_ns else {
        if durable::seen(path).is_ok() {
            stays(path, "source kept: an older version did not record its change time; remove it if it is not needed");
        }
        return Ok(());
    };
    match give_up(ctx, path, &FileVersion { fingerprint: record.source, changed_ns })? {
        RemovalOutcome::Removed | RemovalOutcome::Missing | RemovalOutcome::Aside { .. } => {}
        RemovalOutcome::Kept { why: KeptBecause::Changed, path } => {
            stays(&path, "source kept: it changed after it was finished");
        }
        RemovalOutcome::Kept { why: KeptBecause::InUse, path } => {
            stays(&path, "source kept for now: it is open for writing");
        }
    }
    Ok(())
}

/// What keeps a source from being removed (an attribute, an owner, a mode) cannot be taken away without changing its change
/// time. So its digest is noted when the removal fails, and stands for the change time afterwards.
fn give_up(ctx: &Removing, path: &Path, seen: &FileVersion) -> Result<RemovalOutcome, PipelineError> {
    let row = row_of(path);
    let given_up = match leaving::give_up(ctx, path, seen) {
        Err(error) => {
            note_digest(ctx, path, seen, &row)?;
            return Err(error);
        }
        Ok(given_up) => given_up,
    };
    let is_touched = matches!(&given_up, RemovalOutcome::Kept { why: KeptBecause::Changed, path: at } if at == path);
    let Some(noted) = ctx.catalog.ledger(&row)? else { return Ok(given_up) };
    let given_up = match durable::seen(path) {
        Ok(now) if is_touched && now.fingerprint == seen.fingerprint && is_the_same(ctx, path, &noted)? => {
            // Read between two looks: what is removed is what was read.
            leaving::give_up(ctx, path, &now)?
        }
        _ => given_up,
    };
    ctx.catalog.remove_ledger(&row)?;
    Ok(given_up)
}

fn is_the_same(ctx: &Removing, path: &Path, noted: &Value) -> Result<bool, PipelineError> {
    Ok(digest(ctx, path)?.is_some_and(|digest| noted.as_str() == Some(&digest)))
}

fn row_of(path: &Path) -> String {
    format!("digest/{}", blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex())
}

/// Notes what a source holds that is still as it was finished.
fn note_digest(ctx: &Removing, path: &Path, seen: &FileVersion, row: &str) -> Result<(), PipelineError> {
    let is_as_finished = || durable::seen(path).is_ok_and(|now| now == *seen);
    if ctx.catalog.ledger(row)?.is_some() || !is_as_finished() {
        return Ok(());
    }
    let digest = digest(ctx, path)?;
    if is_as_finished()
        && let Some(digest) = digest
    {
        ctx.catalog.put_ledger(row, &digest.into())?;
    }
    Ok(())
}

/// BLAKE3 of a file; `None` if the work is to stop.
fn digest(ctx: &Removing, path: &Path) -> Result<Option<String>, PipelineError> {
    let mut file = durable::open_to_read(path)?;
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; CHUNK_BYTES]);
    while !ctx.stop.is_requested() {
        match file.read(&mut buffer).map_err(FileError::on("read", path))? {
            0 => return Ok(Some(hasher.finalize().to_hex().to_string())),
            read => hasher.update(&buffer[..read]),
        };
    }
    Ok(None)
}

fn stays(path: &Path, why: &str) {
    warn!(path = %printable(path), "{why}");
}
