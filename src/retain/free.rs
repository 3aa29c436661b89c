//! Frees what a permit allows: the one place where a delivered recording leaves the disk.
//!
//! Each file is compared once more and moved aside before it is removed ([`durable::give_up`]); one that changed or is being
//! written stays. It must not be called before the record with the proof is flushed, and the caller journals `freed_at`
//! afterwards: a crash between the two leaves a record whose file is not there, never the other way round.

use std::path::{Path, PathBuf};

use super::permit::Permit;
use crate::durable::{self, FileError, KeptBecause, RemovalOutcome};
use crate::fault::{Class, Fault};
use crate::recording::FileVersion;
use crate::recording::name::printable;

/// What was freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreedVod {
    /// Id of the VoD.
    pub vod_id: String,
    /// Files removed.
    pub paths: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// Files that have to wait aside, because nobody can say whether they are being written.
    pub aside: Vec<AsideFile>,
}

/// A file that waits aside to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideFile {
    /// Its own name.
    pub path: PathBuf,
    /// Its name aside.
    pub aside: PathBuf,
    /// What it must be still.
    pub seen: FileVersion,
    /// Whether it is the finished file itself.
    pub is_finished: bool,
}

/// A file that was not freed.
#[derive(Debug, thiserror::Error)]
pub enum FreeError {
    /// It is not the file any more that the permit was granted for.
    #[error("`{}` changed after the permit was granted", printable(path))]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// A process writes it.
    #[error("`{}` is open for writing", printable(path))]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("a delivered recording cannot be freed")]
    File(#[source] FileError),
}

impl Fault for FreeError {
    fn class(&self) -> Class {
        match self {
            Self::Changed { .. } | Self::InUse { .. } => Class::Transient,
            Self::File(source) => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Changed { .. } => Some("It is kept and processed again as a new recording.".into()),
            Self::InUse { .. } => Some("It is kept until no process writes it.".into()),
            Self::File(source) => source.hint(),
        }
    }
}

/// Removes the companions, then the finished file. A companion that changed, is in use or is gone is left alone.
#[expect(clippy::needless_pass_by_value, reason = "a permit is used up by freeing")]
pub fn free(permit: Permit) -> Result<FreedVod, FreeError> {
    let mut freed = FreedVod { vod_id: permit.vod_id().to_owned(), paths: Vec::new(), bytes: 0, aside: Vec::new() };
    // First of all the finished file must be what was proven, or nothing goes.
    let finished = permit.path();
    if durable::seen(finished).map_err(FreeError::File)? != permit.seen() {
        return Err(FreeError::Changed { path: finished.to_owned() });
    }
    for (path, seen) in permit.files() {
        let is_finished = path == finished;
        match (durable::give_up(path, &seen), is_finished) {
            (Ok(RemovalOutcome::Removed), _) => {
                freed.bytes += seen.fingerprint.size_bytes;
                freed.paths.push(path.to_owned());
            }
            (Ok(RemovalOutcome::Aside { path: aside, seen }), _) => {
                freed.aside.push(AsideFile { path: path.to_owned(), aside, seen, is_finished });
            }
            (Ok(kept), true) => return Err(why(path, &kept)),
            (Err(error), true) => return Err(FreeError::File(error)),
            (Ok(RemovalOutcome::Missing | RemovalOutcome::Kept { .. }) | Err(_), false) => {}
        }
    }
    Ok(freed)
}

fn why(path: &Path, kept: &RemovalOutcome) -> FreeError {
    let path = path.to_owned();
    match kept {
        RemovalOutcome::Kept { why: KeptBecause::InUse, .. } => FreeError::InUse { path },
        _ => FreeError::Changed { path },
    }
}
