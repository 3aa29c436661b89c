//! A progressive copy of a fragmented MP4 that stays as it is, for those who get it elsewhere.
//!
//! The copy is compared with its source like every finished file. It is ours and short-lived: it goes when it is dropped. The
//! source is only read.

use std::path::{Path, PathBuf};

use super::phases::prepare;
use super::unjournalled::{finish_beside, settled_as_given};
use super::work::{Conclusion, FinishJob};
use super::{FinishError, FinishOptions, inspect};
use crate::cpu_permits::CpuPermit;
use crate::durable::{self, PartialOwner};
use crate::isobmff::FileShape;
use crate::progress::Progress;
use crate::recording::Fingerprint;
use crate::stop::Stop;

/// A file of ours beside its source.
#[derive(Debug)]
pub struct ProgressiveCopy {
    /// Where it is.
    pub path: PathBuf,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

impl Drop for ProgressiveCopy {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_own(&self.path) {
            tracing::warn!(error = crate::fault::chain(&error), "cannot remove a temporary copy");
        }
    }
}

/// Makes the copy beside the source; `None` if the source is not a fragmented MP4. `purpose` tells copies apart that are made
/// of one source at the same time.
pub fn progressive_copy(
    source: &Path,
    purpose: &str,
    owner: &PartialOwner,
    stop: &Stop,
    now_ms: i64,
) -> Result<Option<ProgressiveCopy>, FinishError> {
    if !matches!(inspect(source)?.shape(), Some(FileShape::Fragmented)) {
        return Ok(None);
    }
    let settled = settled_as_given(source)?;
    let to = source.with_extension(format!("{purpose}.mp4"));
    let work = FinishJob {
        settled: &settled,
        options: &FinishOptions { keep_original: true, keeps_fragments: false, ..FinishOptions::default() },
        stop: stop.flag(),
        now_ms,
        progress: &Progress::default(),
        cpu_permit: &CpuPermit::alone(),
        owner,
        // It validates no packets.
        decoder: None,
    };
    match finish_beside(prepare(work)?, &[], &to)? {
        Conclusion::Finished(made) if made.written_path != source => {
            Ok(Some(ProgressiveCopy { path: made.written_path.clone(), fingerprint: made.written }))
        }
        // Encrypted fragments stay fragments, and what cannot be finished is delivered as it is.
        Conclusion::Finished(_) | Conclusion::Quarantined(_) => Ok(None),
    }
}
