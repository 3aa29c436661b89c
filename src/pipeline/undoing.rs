//! `recover --undo`: a header that was put in front of a recording in place is taken back.

use std::path::Path;

use tracing::info;

use super::error::PipelineError;
use super::house::{House, now_ms};
use crate::finish::{self, Undone};
use crate::recording::journey::{Candidate, NameFacts};
use crate::recording::{Fingerprint, VodRecord};

/// Takes back the splice of the VoD at a path. The file is what it was, the VoD is no more, and the recording is left out
/// until it is given to `process --again`. `None`: no VoD is at that path.
pub fn undo(house: &House, path: &Path) -> Result<Option<Undone>, PipelineError> {
    let Some(vod) = house.catalog.vod_at_path(path)? else { return Ok(None) };
    let Some(spliced) = &vod.splice_undo else { return Ok(Some(Undone::NotSpliced)) };
    // Before the file changes: a running watch must not take it for a new recording.
    house.catalog.leave_out(&[as_it_was(&vod, path, spliced.len)], now_ms())?;
    let undone = finish::undo(&vod)?;
    if matches!(undone, Undone::AsBefore | Undone::SameMedia) {
        house.catalog.delete_vod(&vod.vod_id)?;
        info!(vod_id = vod.vod_id, path = %path.display(), "A splice in place was undone.");
    }
    Ok(Some(undone))
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
