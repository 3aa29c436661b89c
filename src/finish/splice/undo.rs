//! A finished splice in place taken back: the old `moov` where it was, the inserted blocks out, the old length again.
//!
//! The same rule as on the way there: what is needed is written and durable before the blocks go. Until then both
//! headers are in the file and it plays; a cut while the blocks go is told by the file's bytes.

use std::io::BufReader;

use serde::{Deserialize, Serialize};

use super::in_place::read_movie;
use super::lease::ExclusiveLease;
use super::prepare::PlanMismatch;
use crate::durable::{InPlaceEditor, InPlaceOp};
use crate::finish::FinishError;
use crate::isobmff;
use crate::recording::{Retirement, SpliceUndo, VodRecord};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Undone")]
pub enum UndoOutcome {
    /// The file is what it was, byte for byte.
    AsBefore,
    /// The same media and samples under the old length's header, but its tables are wider than they were.
    SameMedia,
    /// The record does not say that a header was put in front of the file in place.
    NotSpliced,
    /// The file is not the one of the record any more, has other names, or is open: nothing was changed.
    Refused,
}

/// Takes back the splice that a record tells of.
pub fn undo(record: &VodRecord) -> Result<UndoOutcome, FinishError> {
    let Some(undo) = &record.splice_undo else { return Ok(UndoOutcome::NotSpliced) };
    let open = InPlaceEditor::open(&record.file_path)?;
    let Some(_lease) = ExclusiveLease::take(open.file()) else { return Ok(UndoOutcome::Refused) };
    let (now, links) = open.state()?;
    if now.same_inode(&record.fingerprint) && now.size_bytes == undo.len && undo.retirement == Retirement::Nothing {
        // Cut after it was done and before anybody heard of it.
        open.perform(InPlaceOp::SetModified { ns: record.fingerprint.mtime_ns })?;
        open.perform(InPlaceOp::Sync)?;
        return Ok(UndoOutcome::AsBefore);
    }
    if (now, links) != (record.fingerprint, 1) {
        return Ok(UndoOutcome::Refused);
    }
    let is_same = bring_back_header(&open, undo)?;
    open.perform(InPlaceOp::Collapse { at: 0, bytes: undo.inserted_bytes })?;
    open.perform(InPlaceOp::SetModified { ns: record.fingerprint.mtime_ns })?;
    open.perform(InPlaceOp::Sync)?;
    Ok(if is_same && open.state()?.0.size_bytes == undo.len { UndoOutcome::AsBefore } else { UndoOutcome::SameMedia })
}

/// Puts the old `moov` back to its place, still behind the inserted blocks; says whether it is the same to the byte.
fn bring_back_header(open: &InPlaceEditor, undo: &SpliceUndo) -> Result<bool, FinishError> {
    let is_same = match undo.retirement {
        Retirement::Nothing => return Ok(true),
        Retirement::Free { at } => {
            open.perform(InPlaceOp::Write { at, bytes: b"moov" })?;
            true
        }
        Retirement::Truncate { len } => {
            let moov = old_header(open, undo).map_err(|e| e.on(open.path()))?;
            open.perform(InPlaceOp::Write { at: len, bytes: &moov })?;
            undo.moov_digest.as_deref() == Some(blake3::hash(&moov).to_hex().as_str())
        }
    };
    open.perform(InPlaceOp::Sync)?;
    Ok(is_same)
}

/// The header in front with every offset moved back.
fn old_header(open: &InPlaceEditor, undo: &SpliceUndo) -> Result<Vec<u8>, PlanMismatch> {
    let movie = read_movie(&mut BufReader::new(open.file()))?;
    Ok(isobmff::relocated(movie.raw(), &|offset| offset.saturating_sub(undo.inserted_bytes))?)
}
