//! The lock on the state directory: one process owns it, to the end (promise 8).
//!
//! Assumes that `flock` works where the state directory lies. The lock belongs to the open file, so the kernel takes
//! it back however the process ends; the process id inside is only there to be named in a message.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::CatalogError;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

/// The lock file of a state directory.
pub(super) fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

impl StateLock {
    /// Creates the state directory (mode 0700) where it is missing, and takes its lock without waiting.
    pub(super) fn take(state_dir: &Path) -> Result<Self, CatalogError> {
        let on = |verb, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| CatalogError::StateDirectory { verb, path, source }
        };
        let created = DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
        created.map_err(on("create the state directory", state_dir))?;
        let path = lock_path(state_dir);
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
        Ok(Self { _file: file })
    }
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
