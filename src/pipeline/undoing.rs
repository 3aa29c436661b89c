//! `recover --undo`: a header that was put in front of a recording in place is taken back.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::error::PipelineError;
use super::journaling::Journaling;
use super::sidecars::remove_sidecar;
use crate::durable;
use crate::fault::chain;
use crate::finish::{self, UndoOutcome};
use crate::recording::journey::{Candidate, NameFacts};
use crate::recording::name::printable;
use crate::recording::{Container, Fingerprint, VodRecord};

/// What became of it, and where the file stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Taken")]
pub struct UndoResult {
    /// What became of it.
    pub undone: UndoOutcome,
    /// The path it was given under, or the source's own where its bytes are again those of another container.
    pub path: PathBuf,
}

/// Takes back the splice of the VoD at a path. The file is what it was, the VoD is no more, and the recording is left out
/// until it is given to `process --again`. `None`: no VoD is at that path.
pub fn undo(ctx: &Journaling, path: &Path) -> Result<Option<UndoResult>, PipelineError> {
    let Some(vod) = ctx.catalog.shared().vod_at_path(path)? else { return Ok(None) };
    let stays = |undone| Some(UndoResult { undone, path: path.to_owned() });
    let Some(spliced) = &vod.splice_undo else { return Ok(stays(UndoOutcome::NotSpliced)) };
    // Before the file changes: a running watch must not take it for a new recording, under either name.
    let names = [path, &vod.source_path].map(|path| as_it_was(&vod, path, spliced.len));
    ctx.catalog.leave_out(&names, ctx.clock.now_ms())?;
    // Cut when it had its old name again and was still in the catalogue.
    let is_renamed = !path.exists() && durable::fingerprint(&vod.source_path).is_ok_and(|now| is_it(&vod, &now));
    let undone = if is_renamed { UndoOutcome::AsBefore } else { finish::undo(&vod)? };
    if !matches!(undone, UndoOutcome::AsBefore | UndoOutcome::SameMedia) {
        return Ok(stays(undone));
    }
    let path = if is_renamed { vod.source_path.clone() } else { under_own_name(&vod, path) };
    ctx.catalog.undone(&vod.vod_id, ctx.clock.now_ms())?;
    remove_sidecar(&vod);
    info!(vod_id = vod.vod_id, path = %printable(&path), "splice in place undone");
    Ok(Some(UndoResult { undone, path }))
}

/// Whether a file is the one of a VoD before its header was put in front.
fn is_it(vod: &VodRecord, now: &Fingerprint) -> bool {
    now.same_inode(&vod.fingerprint) && vod.splice_undo.as_ref().is_some_and(|undo| undo.len == now.size_bytes)
}

/// Gives a file that is FLV again its old name, so that its name says what it is; where that name is taken, it keeps the
/// one it has.
fn under_own_name(vod: &VodRecord, path: &Path) -> PathBuf {
    let source = &vod.source_path;
    if Container::from_name(source).is_none_or(Container::is_iso) {
        return path.to_owned();
    }
    match durable::rename_no_replace(path, source) {
        Ok(named) => {
            if let Err(error) = named.durably() {
                warn!(path = %printable(source), error = chain(&error), "renamed, but not synced; a power failure may restore the previous name");
            }
            source.clone()
        }
        Err(error) => {
            warn!(path = %printable(path), error = chain(&error), "cannot restore the original name; the current name is kept");
            path.to_owned()
        }
    }
}

fn as_it_was(vod: &VodRecord, path: &Path, size_bytes: u64) -> Candidate {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Candidate {
        path: path.to_owned(),
        root: vod.root.clone(),
        server: vod.server.clone(),
        is_temporary: false,
        facts: NameFacts { stream_id: vod.stream_id.clone(), stem, ..NameFacts::default() },
        fingerprint: Fingerprint { size_bytes, ..vod.fingerprint },
    }
}
