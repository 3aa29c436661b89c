//! A root that several processes share out by their recordings' names: each owns its part, and no process the whole.
//!
//! All of them hold the lock of the root's directory together, which keeps out whoever wants the whole. A file in the root for each
//! part, `.aftercast-shard-I-of-N`, is locked by its process and goes with it: the same part is not worked on twice, and neither
//! are parts of two different splits, which overlap.
//!
//! Where a file system has no locks the scheduler alone sees to that. Two processes with one part then do work twice, and
//! nothing is lost: partials have names of their own, and no name is ever replaced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, unlinkat};

use super::{LockOutcome, RootError, lock};
use crate::durable::beneath::OpenDirectory;
use crate::durable::{FileError, PARTIAL_PREFIX};
use crate::fault::chain;
use crate::recording::name::printable;
use crate::recording::{Fingerprint, Shard};

/// What stands for the number of parts where a database shares a root out.
const OF_BATCH: &str = "batch";
/// How such a part is called.
const BATCH_WORDS: &str = "a batch";

/// The part of a root that a process works on beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootPart {
    /// By the names of what lies there.
    Shard(Shard),
    /// What the fleet's database gives to the process of this state directory.
    Batch {
        /// Id of the state directory.
        state_id: String,
    },
}

impl RootPart {
    fn number(&self) -> String {
        match self {
            Self::Shard(shard) => shard.number().to_string(),
            Self::Batch { state_id } => state_id.clone(),
        }
    }

    fn count(&self) -> String {
        match self {
            Self::Shard(shard) => shard.count().to_string(),
            Self::Batch { .. } => OF_BATCH.to_owned(),
        }
    }
}

impl std::fmt::Display for RootPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shard(shard) => write!(f, "shard {shard}"),
            Self::Batch { .. } => f.write_str(BATCH_WORDS),
        }
    }
}

/// The file of a part, locked until this is dropped.
#[derive(Debug)]
pub(super) struct ShardLock {
    root: PathBuf,
    name: OsString,
    /// Locked as long as it is open.
    _file: File,
}

impl ShardLock {
    /// Takes a part of a root. `None` where the file system has no locks or the root cannot be written.
    pub(super) fn take(root: &Path, part: &RootPart) -> Result<Option<Self>, RootError> {
        let name = OsString::from(format!("{}{}-of-{}", prefix(), part.number(), part.count()));
        let in_use = || RootError::ShardInUse { root: root.to_owned(), part: part.to_string() };
        let taken = match open_locked(root, &name) {
            Ok(Some(file)) => Self { root: root.to_owned(), name, _file: file },
            Ok(None) => return Err(in_use()),
            Err(error) => {
                tracing::debug!(root = %printable(root), error = chain(&error), "part of the root not locked");
                return Ok(None);
            }
        };
        // Looked at when the own one is locked: of two that begin at once, one sees the other.
        match other_split(root, part).map_err(FileError::on("read", root))? {
            Some(other) => Err(RootError::OtherSplit { root: root.to_owned(), part: part.to_string(), other }),
            None => Ok(Some(taken)),
        }
    }
}

impl Drop for ShardLock {
    fn drop(&mut self) {
        // While it is locked: whoever opened it meanwhile sees that it has no name any more.
        let removed = OpenDirectory::open(&self.root).map(|at| unlinkat(&at, &self.name, AtFlags::empty()));
        drop(removed);
    }
}

fn prefix() -> String {
    format!("{PARTIAL_PREFIX}shard-")
}

/// Opens and locks the file of a part; `None` if another process has it locked.
fn open_locked(root: &Path, name: &OsStr) -> io::Result<Option<File>> {
    let directory = OpenDirectory::open(root)?;
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
        let file = directory.open_file(name, flags, Mode::from_raw_mode(0o644))?;
        match lock(&file, FlockOperation::NonBlockingLockExclusive) {
            LockOutcome::Yes => {}
            LockOutcome::No => return Ok(None),
            LockOutcome::NotHere => return Err(io::ErrorKind::Unsupported.into()),
        }
        let held = Fingerprint::of(&file.metadata()?);
        // The one before removed it between opening and locking: that file is nobody's any more.
        if directory.metadata(name).is_ok_and(|now| Fingerprint::of(&now).same_file(&held)) {
            return Ok(Some(file));
        }
    }
}

/// A part of another split that is being worked on.
fn other_split(root: &Path, wanted: &RootPart) -> io::Result<Option<String>> {
    let directory = OpenDirectory::open(root)?;
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name();
        let Some(part) = name.to_str().and_then(|name| name.strip_prefix(&prefix())) else { continue };
        let is_other = part.split_once("-of-").is_some_and(|(_, count)| count != wanted.count());
        let is_held = || {
            let file = directory.open_file(&name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
            file.is_ok_and(|file| matches!(lock(&file, FlockOperation::NonBlockingLockShared), LockOutcome::No))
        };
        if is_other && is_held() {
            let is_batch = part.ends_with(&format!("-of-{OF_BATCH}"));
            return Ok(Some(if is_batch {
                BATCH_WORDS.to_owned()
            } else {
                format!("shard {}", part.replace("-of-", "/"))
            }));
        }
    }
    Ok(None)
}
