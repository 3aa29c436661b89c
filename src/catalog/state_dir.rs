//! The state directory itself: made for its owner alone, and refused where another user could write it.
//!
//! Whoever can write it can replace what this program believes: that an object was proven, that a file may be freed. Modes are
//! set explicitly and not through the umask of the process, which would also change those of finished recordings.

use std::fs::{self, DirBuilder, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt as _, PermissionsExt};
use std::path::Path;

use super::error::{CatalogError, Result, UntrustedReason};
use crate::durable;

const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// Group and others may write.
const WRITABLE: u32 = 0o022;
/// Group and others may do anything at all.
const SHARED: u32 = 0o077;

/// Who may do what in a state directory that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateDirAccess {
    /// Its owner alone.
    Private,
    /// Others may read or list it; its mode.
    Readable(u32),
}

/// Creates a state directory (mode 0700) where it is missing, and says who may use it.
pub fn prepare_state_dir(state_dir: &Path) -> Result<StateDirAccess> {
    create(state_dir)?;
    match trust(state_dir)? {
        Ok(access) => Ok(access),
        Err(why) => Err(CatalogError::Distrusted { path: state_dir.to_owned(), why }),
    }
}

pub(super) fn create(directory: &Path) -> Result<()> {
    let created = DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(directory);
    created.map_err(on("create the state directory", directory))
}

/// Whether nobody else can write a state directory.
pub(super) fn trust(state_dir: &Path) -> Result<std::result::Result<StateDirAccess, UntrustedReason>> {
    let metadata = fs::metadata(state_dir).map_err(on("read", state_dir))?;
    Ok(judge(metadata.uid(), metadata.mode() & 0o7777, rustix::process::geteuid().as_raw()))
}

fn judge(owner: u32, mode: u32, user: u32) -> std::result::Result<StateDirAccess, UntrustedReason> {
    if owner != user {
        return Err(UntrustedReason::Foreign { owner, user });
    }
    match mode & SHARED {
        0 => Ok(StateDirAccess::Private),
        shared if shared & WRITABLE == 0 => Ok(StateDirAccess::Readable(mode)),
        _ => Err(UntrustedReason::Writable(mode)),
    }
}

/// Takes a directory and what lies in it away from group and others: the database makes its files as the umask says.
pub(super) fn make_private(directory: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(directory).map_err(on("read", directory))?;
    restrict(directory, &metadata).map_err(on("change the mode of", directory))?;
    for entry in fs::read_dir(directory).map_err(on("read", directory))? {
        let path = entry.map_err(on("read", directory))?.path();
        // Temporary files of the database vanish.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        match restrict(&path, &metadata) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(on("change the mode of", &path)(e)),
            _ => {}
        }
    }
    Ok(())
}

fn restrict(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let wanted = match metadata.file_type() {
        kind if kind.is_dir() => PRIVATE_DIRECTORY,
        kind if kind.is_file() => PRIVATE_FILE,
        _ => return Ok(()),
    };
    if metadata.mode() & SHARED == 0 { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(wanted)) }
}

/// An error of the operating system about something in a state directory.
pub(super) fn on(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CatalogError {
    let path = path.to_owned();
    move |source| CatalogError::StateDirectory { verb, path, source }
}

/// Writes a file aside and renames it: it is there whole or not at all, also after a power cut.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&aside);
    let written = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&aside, path)).map_err(on("write", path))?;
    durable::sync_parent(path).map_err(|e| on("sync", &e.path.clone())(e.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_may_write_a_state_directory() {
        for mode in [0o700, 0o500, 0o2700, 0o1700] {
            assert_eq!(judge(7, mode, 7), Ok(StateDirAccess::Private), "{mode:o}");
        }
        for mode in [0o755, 0o750, 0o711, 0o705] {
            assert_eq!(judge(7, mode, 7), Ok(StateDirAccess::Readable(mode)), "{mode:o}");
        }
        for mode in [0o777, 0o770, 0o720, 0o702, 0o1777, 0o2775] {
            assert_eq!(judge(7, mode, 7), Err(UntrustedReason::Writable(mode)), "{mode:o}");
        }
        assert_eq!(judge(8, 0o700, 7), Err(UntrustedReason::Foreign { owner: 8, user: 7 }));
        assert_eq!(judge(8, 0o755, 0), Err(UntrustedReason::Foreign { owner: 8, user: 0 }));
    }
}
