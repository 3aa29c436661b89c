//! From a complete file in a shared root to the catalogue. Before each step the database says whether the recording is still this
//! node's; after the last one, nobody else is given it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::claims::HeldClaim;
use crate::catalog::{CatalogError, JournalEntry, JournalKey};
use crate::durable::{self, FileError, ReplaceOutcome, SecondName};
use crate::finish::{FinishError, Finished};
use crate::fleet::Fleet;
use crate::pipeline::context::PipelineContext;
use crate::pipeline::error::PipelineError;
use crate::pipeline::position::Position;
use crate::pipeline::publishing::{commit, stands};
use crate::pipeline::roots;
use crate::recording::journey::{Stage, Step};
use crate::recording::name::printable;
use crate::recording::{Fingerprint, VodRecord};
use crate::salvage::Reference;

/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A complete file on its way to its final name.
struct Complete {
    written_path: PathBuf,
    written: Fingerprint,
    record: VodRecord,
    removes_source: bool,
    teaches: Option<Reference>,
}

/// An error if a path lies in a shared root and its recording is not this node's now.
pub fn require_claim(ctx: &PipelineContext, key: &JournalKey, path: &Path) -> Result<(), PipelineError> {
    if !ctx.roots.is_shared(path) || ctx.roots.shared.held(key).is_some() {
        return Ok(());
    }
    let why = "the fleet database has not given it to this node".to_owned();
    Err(PipelineError::NotOurs { path: path.to_owned(), why })
}

/// Tells the database that a recording is worked on from now on; an error if it is not this node's any more.
pub fn begin(ctx: &PipelineContext, path: &Path, claim: &HeldClaim) -> Result<(), PipelineError> {
    let Some(lease) = claim.to_begin() else { return Ok(()) };
    if fleet_of(ctx, &claim.root)?.begun(lease)? {
        return Ok(());
    }
    Err(PipelineError::NotOurs { path: path.to_owned(), why: "another node has taken it over".to_owned() })
}

/// Journal, note, link, note, catalogue, clear the source. `None` if another node has taken over: then nothing is catalogued here.
pub fn publish(
    ctx: &PipelineContext,
    mut position: Position,
    finished: Finished,
    claim: &HeldClaim,
) -> Result<Option<VodRecord>, PipelineError> {
    for warning in &finished.warnings {
        warn!(path = %printable(&finished.record.file_path), warning, "finished with warnings");
    }
    let Finished { written_path, written, record, removes_source, teaches, .. } = finished;
    if written_path != record.file_path {
        let journalled = Box::new(record.clone());
        let step = Step::Publishing { written_path: written_path.clone(), written, record: journalled, removes_source };
        if let Err(error) = position.advance(&ctx.journaling, step) {
            durable::remove_own(&written_path)?;
            return Err(error.into());
        }
    }
    let complete = Complete { written_path, written, record, removes_source, teaches };
    go_on(ctx, &position.key, complete, claim)
}

/// Carries on what an earlier attempt of this node had complete. `None` if it has to begin again; `Some(false)` if another node has
/// taken over.
pub fn resume(
    ctx: &PipelineContext,
    key: &JournalKey,
    entry: &JournalEntry,
    claim: &HeldClaim,
) -> Result<Option<bool>, PipelineError> {
    let Step::Publishing { written_path, written, record, removes_source } = &entry.step else { return Ok(None) };
    if !stands(&record.file_path, written)? && !stands(written_path, written)? {
        return Ok(None);
    }
    let complete = Complete {
        written_path: written_path.clone(),
        written: *written,
        record: (**record).clone(),
        removes_source: *removes_source,
        teaches: None,
    };
    match go_on(ctx, key, complete, claim) {
        // Its name was taken meanwhile.
        Err(PipelineError::File(error)) if error.is_taken() => Ok(None),
        gone_on => gone_on.map(|record| Some(record.is_some())),
    }
}

fn go_on(
    ctx: &PipelineContext,
    key: &JournalKey,
    mut complete: Complete,
    claim: &HeldClaim,
) -> Result<Option<VodRecord>, PipelineError> {
    roots::may_change(&ctx.roots, &claim.root)?;
    let fleet = fleet_of(ctx, &claim.root)?;
    if !claim.is_done {
        let lease = &claim.lease;
        let stands_at = if stands(&complete.record.file_path, &complete.written)? {
            complete.record.file_path.clone()
        } else {
            complete.written_path.clone()
        };
        let digest = digest_of(&stands_at)?;
        let result = complete.record.file_path.strip_prefix(&claim.root).unwrap_or(&complete.record.file_path);
        if !fleet.publishing(lease, result, &complete.written, &digest)? {
            // If its result was taken for a recording by another node, this one has nothing left to say about it.
            fleet.done_elsewhere(lease)?;
            return lost(ctx, key, &complete, claim);
        }
        if !appear(ctx, &mut complete, &digest, claim)? {
            // The file of the holder before is whole: it is catalogued as it is found.
            fleet.done_elsewhere(lease)?;
            return lost(ctx, key, &complete, claim);
        }
        if !fleet.done(lease, &complete.record.vod_id)? {
            return lost(ctx, key, &complete, claim);
        }
    }
    let Complete { written_path, record, removes_source, teaches, .. } = complete;
    let is_renamed = written_path == record.source_path && written_path != record.file_path;
    durable::remove_own(&written_path)?;
    let record = match durable::seen(&record.source_path) {
        // The link has changed the change time of the source, whose second name it is.
        Ok(now) if is_renamed && now.fingerprint == record.source => {
            VodRecord { source_changed_ns: Some(now.changed_ns), ..record }
        }
        _ => record,
    };
    commit(ctx, key, record, removes_source || is_renamed, teaches).map(Some)
}

fn fleet_of<'a>(ctx: &'a PipelineContext, root: &Path) -> Result<&'a Fleet, PipelineError> {
    ctx.fleet.as_ref().ok_or_else(|| PipelineError::NoFleet { root: root.to_owned() })
}

/// Gives a complete file its final name, by a link, unless it has it. The source itself may be replaced as it was compared: whoever
/// takes over removes this node's partial first. `false` if the holder before has published another file for this recording.
fn appear(
    ctx: &PipelineContext,
    complete: &mut Complete,
    digest: &str,
    claim: &HeldClaim,
) -> Result<bool, PipelineError> {
    let Complete { written_path, written, record, .. } = &mut *complete;
    if *written_path == record.file_path || stands(&record.file_path, written)? {
        return Ok(true);
    }
    roots::may_change(&ctx.roots, &claim.root)?;
    let is_own = record.file_path == record.source_path && stands(&record.source_path, &record.source)?;
    let named = if is_own {
        durable::sync_file(&record.source_path)?;
        let proven = (&record.source, record.source_changed_ns);
        match durable::replace_source((written_path, written), &record.source_path, proven, SecondName::None) {
            Ok(ReplaceOutcome::Kept(_)) => {
                durable::remove_own(written_path)?;
                return Err(FinishError::Changed { path: record.source_path.clone() }.into());
            }
            Ok(ReplaceOutcome::Replaced(named) | ReplaceOutcome::Aside { named, .. }) => Ok(named),
            Err(error) => Err(error),
        }
    } else {
        durable::publish_by_link(written_path, &record.file_path, written)
    };
    match named {
        Err(error) if error.is_taken() && is_published_before(claim, &record.file_path) => {
            let is_same = digest_of(&record.file_path)? == digest;
            if is_same {
                record.fingerprint = durable::fingerprint(&record.file_path)?;
            }
            Ok(is_same)
        }
        Err(error) => {
            durable::remove_own(written_path)?;
            Err(error.into())
        }
        Ok(named) => {
            named.durably()?;
            Ok(true)
        }
    }
}

/// Whether a path has the complete file that the holder before was about to publish for this recording.
pub fn is_published_before(claim: &HeldClaim, path: &Path) -> bool {
    let published = claim.lease.published.as_ref().filter(|_| claim.published_path().as_deref() == Some(path));
    published.is_some_and(|published| digest_of(path).is_ok_and(|digest| digest == published.digest))
}

/// Another node has it. What stands under its final name is that node's; what is aside is removed.
fn lost(
    ctx: &PipelineContext,
    key: &JournalKey,
    complete: &Complete,
    claim: &HeldClaim,
) -> Result<Option<VodRecord>, PipelineError> {
    warn!(
        path = %printable(&complete.record.source_path),
        "another node has taken over this recording; the result of this node is discarded"
    );
    durable::remove_own(&complete.written_path)?;
    forget(ctx, key)?;
    ctx.roots.shared.release(key, claim.lease.token);
    Ok(None)
}

/// Forgets a recording whose result here is discarded: nothing of it is left to be carried on, so that it is new if it is found again.
pub(super) fn forget(ctx: &PipelineContext, key: &JournalKey) -> Result<(), CatalogError> {
    if let Some(from @ Stage::Publishing) = ctx.catalog.entry(key)?.map(|entry| entry.stage()) {
        ctx.catalog.advance(key, from, Step::Begun, ctx.clock.now_ms())?;
    }
    ctx.catalog.forget(key)
}

/// BLAKE3 of a file, hex.
fn digest_of(path: &Path) -> Result<String, FileError> {
    let mut file = durable::open_to_read(path)?;
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut buffer).map_err(FileError::on("read", path))? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&buffer[..read]),
        };
    }
}
