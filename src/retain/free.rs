//! Frees what a permit allows: the one place where a delivered recording leaves the disk.
//!
//! Each file's fingerprint is read once more right before it is removed; a file that changed in between stays. It must
//! not be called before the record with the proof is flushed, and the caller journals `freed_at` afterwards: a crash
//! between the two leaves a record whose file is not there, never the other way round.

use std::path::{Path, PathBuf};

use super::permit::Permit;
use crate::durable::{self, FileError};
use crate::fault::{Class, Fault};
use crate::recording::Fingerprint;
use crate::recording::name::printable;

/// What was freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// Id of the VoD.
    pub vod_id: String,
    /// Files removed.
    pub paths: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
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
    /// The operating system refused.
    #[error("a delivered recording cannot be freed")]
    File(#[source] FileError),
}

impl Fault for FreeError {
    fn class(&self) -> Class {
        match self {
            Self::Changed { .. } => Class::Transient,
            Self::File(source) => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Changed { .. } => Some("It stays; it is looked at again as a new recording.".into()),
            Self::File(source) => source.hint(),
        }
    }
}

/// Removes the companions, then the finished file. A companion that changed or is gone is left alone.
#[expect(clippy::needless_pass_by_value, reason = "a permit is used up by freeing")]
pub fn free(permit: Permit) -> Result<Freed, FreeError> {
    let mut freed = Freed { vod_id: permit.vod_id().to_owned(), paths: Vec::new(), bytes: 0 };
    // First of all the finished file must be what was proven, or nothing goes.
    let finished = permit.path();
    is_same(finished, permit.fingerprint())?;
    for (path, promised) in permit.files() {
        match is_same(path, promised) {
            Ok(()) => {}
            Err(_) if path != finished => continue,
            Err(error) => return Err(error),
        }
        durable::remove(path).map_err(FreeError::File)?;
        freed.bytes += promised.size_bytes;
        freed.paths.push(path.to_owned());
    }
    Ok(freed)
}

fn is_same(path: &Path, promised: Fingerprint) -> Result<(), FreeError> {
    let now = durable::fingerprint(path).map_err(FreeError::File)?;
    if now == promised { Ok(()) } else { Err(FreeError::Changed { path: path.to_owned() }) }
}
