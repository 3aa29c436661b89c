//! The lock on the state directory: one process owns it, to the end (promise 8).
//!
//! Assumes that `flock` works where the state directory lies. The lock belongs to the open file, so the kernel takes
//! it back however the process ends; the process id inside is only there to be named in a message.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::CatalogError;
use super::error::UntrustedReason;
use super::layout::lock_path;
use super::state_dir;
use crate::durable::{self, PartialOwner};

/// The file that holds the id of a state directory.
const ID_FILE: &str = "id";
const ID_DIGITS: usize = 16;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
    owner: PartialOwner,
}

impl StateLock {
    /// Creates the state directory (mode 0700) where it is missing, and takes its lock without waiting.
    pub(super) fn take(state_dir: &Path) -> Result<Self, CatalogError> {
        let on = |verb, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| CatalogError::StateDirectory { verb, path, source }
        };
        state_dir::create(state_dir)?;
        let path = lock_path(state_dir);
        if let Err(why) = state_dir::trust(state_dir)? {
            return Err(distrusted(state_dir, &path, why));
        }
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(on("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(CatalogError::InUse { path: state_dir.to_owned(), pid: owner(&mut file) });
            }
            Err(errno) => return Err(on("lock", &path)(errno.into())),
        }
        write_owner(&mut file).map_err(on("write", &path))?;
        let path = state_dir.join(ID_FILE);
        let owner = state_id(&path).map_err(on("read or write", &path))?;
        Ok(Self { _file: file, owner })
    }

    /// In whose name this state directory writes.
    pub(super) const fn owner(&self) -> &PartialOwner {
        &self.owner
    }
}

/// A directory that is not used. One of another user may be used through the process that has it, if its lock can be read.
fn distrusted(state_dir: &Path, lock: &Path, why: UntrustedReason) -> CatalogError {
    let path = state_dir.to_owned();
    let held = |mut file: File| {
        let is_held = flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
        is_held.then(|| owner(&mut file))
    };
    match File::open(lock).ok().filter(|_| matches!(why, UntrustedReason::Foreign { .. })).and_then(held) {
        Some(pid) => CatalogError::InUse { path, pid },
        None => CatalogError::Distrusted { path, why },
    }
}

/// The id of a state directory, made once. It names what this directory's owner writes in roots, so that a second owner of the
/// same root never takes it for its own.
fn state_id(path: &Path) -> io::Result<PartialOwner> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut text = String::new();
    Read::by_ref(&mut file).take(64).read_to_string(&mut text)?;
    let id = text.trim();
    if id.len() == ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(PartialOwner::new(id));
    }
    // New, or cut while it was written: nothing that bears the old one can be told any more.
    let id = durable::random_id();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    durable::tell(durable::FileEvent::Synced(path));
    Ok(PartialOwner::new(&id))
}

fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}
