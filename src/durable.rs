//! The only way files are created, published, renamed and freed: write aside → sync → rename without replacing →
//! sync the directory.
//!
//! Names below a root are reached beneath its descriptor ([`declare_root`]), partials by their own ([`Partial`]).
//! It must not decide anything: what is published, kept or freed is decided elsewhere and handed in.
//!
//! Every operation passes the counting seam [`step`], by which the kill test stops the process after its n-th
//! operation; in release builds the seam is empty.

mod advice;
mod ahead;
mod beneath;
mod block;
mod direct;
mod extents;
mod give_up;
#[cfg(test)]
pub(crate) mod image;
mod in_place;
mod lease;
mod new_file;
mod partial;
mod probe;
mod root;
mod seam;
mod share;

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::fault::{Class, Fault};
use crate::recording::Fingerprint;

pub use advice::{ask_for, begin_to_store, store_ahead};
pub use ahead::{ReadAhead, ReadAheadReader};
use beneath::{OpenDirectory, is_descriptor, open_directory, open_regular};
pub use beneath::{declare_root, metadata, open_to_read};
pub use direct::{CopyOutcome, copy_ranges_direct};
pub use extents::{Extents, MAX_EXTENTS};
pub use give_up::{
    ExpectedFile, KeptBecause, RemovalOutcome, ReplaceOutcome, SecondName, aside_path, give_up, is_aside,
    original_path, put_back, remove_aside, replace_source, seen,
};
#[cfg(test)]
pub(crate) use in_place::tape;
pub use in_place::{InPlaceEditor, InPlaceOp};
pub use lease::{BTRFS, EXT4, F_SETSIG, LeaseRefused, ReadLease, TMPFS, XFS, lease_control, leases_count_on};
pub use new_file::{NewFile, create_new, holds, replace_known};
pub use partial::{
    PARTIAL_PREFIX, Partial, PartialOwner, SealedPartial, is_partial, random_id, remove_all_partials, remove_partials,
};
pub use probe::{ProbeFile, find_beneath, probe_name, remove_probes};
pub use root::{
    ROOT_FILE, RootError, RootLock, RootOwner, RootPart, are_links_exclusive, declare_shared, foreign_owner, note_node,
    owner_of, restore_owner, root_id,
};
#[cfg(test)]
pub(crate) use seam::recorder;
pub use seam::step;
pub(crate) use seam::{FileEvent, tell};
pub use share::{copy_ranges, copy_ranges_in_kernel, overwrite, share_behind};

/// A file operation that failed, with its path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} `{}`", crate::recording::name::printable(path))]
pub struct FileError {
    /// What was tried, to be read after "cannot".
    pub verb: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl Fault for FileError {
    fn class(&self) -> Class {
        Class::of_io(&self.source)
    }

    fn hint(&self) -> Option<String> {
        let path = crate::recording::name::printable(&self.path);
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => Some(format!(
                "Nothing was changed. Give the user that runs aftercast access: `usermod -aG GROUP USER` with the group of \
                 `{path}`, or `setfacl -R -m u:USER:rwX` on its directory."
            )),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                "The recording is safe where it is. Free space on its file system; it is retried automatically.".into(),
            ),
            io::ErrorKind::ReadOnlyFilesystem => {
                Some("The recording is safe where it is. The file system is mounted read-only.".into())
            }
            _ => None,
        }
    }
}

impl FileError {
    /// For `map_err`: attaches what was tried and the path.
    pub fn on(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        // A file that has no name yet is called as the kernel calls it: by its directory and number.
        let named = is_descriptor(path).then(|| std::fs::read_link(path).ok()).flatten();
        let path = named.unwrap_or_else(|| path.to_owned());
        move |source| Self { verb, path, source }
    }

    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the target name is taken.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }
}

/// Result of an operation on a file.
pub type Result<T> = std::result::Result<T, FileError>;

/// Makes a file durable as it is now.
#[track_caller]
pub fn sync_file(path: &Path) -> Result<()> {
    open_to_read(path)?.sync_all().map_err(FileError::on("sync", path))?;
    tell(FileEvent::Synced(path));
    step("file synced");
    Ok(())
}

/// What a rename came to, once the file has its new name.
#[derive(Debug)]
#[must_use = "a name that is not durable may be lost with the power"]
pub enum RenameOutcome {
    /// The name is durable, and the old one given up.
    Durably,
    /// What comes after the rename failed: a sync of a directory, or giving up the old name on a file system that renames by
    /// linking. The file has its name all the same: only that is to be done again, never the file.
    NotDurably(FileError),
}

impl RenameOutcome {
    /// As a result, for those who can do nothing without a durable name.
    pub fn durably(self) -> Result<()> {
        match self {
            Self::Durably => Ok(()),
            Self::NotDurably(error) => Err(error),
        }
    }

    /// Does what comes next if all before it was done.
    fn then(self, next: impl FnOnce() -> Result<()>) -> Self {
        match self.durably().and_then(|()| next()) {
            Ok(()) => Self::Durably,
            Err(error) => Self::NotDurably(error),
        }
    }
}

/// Renames without ever replacing. An error means that the file has not got the name.
///
/// Uses `renameat2(RENAME_NOREPLACE)`; on file systems without it a hard link and unlink, which do not replace either.
pub fn rename_no_replace(from: &Path, to: &Path) -> Result<RenameOutcome> {
    Ok(renamed(rename_names(from, to)?, from, to))
}

fn renamed(named: RenameOutcome, from: &Path, to: &Path) -> RenameOutcome {
    tell(FileEvent::Renamed(from, to));
    step("renamed");
    let named = named.then(|| sync_parent(to));
    if from.parent() == to.parent() { named } else { named.then(|| sync_parent(from)) }
}

/// Gives a complete, synced file its final name, without replacing: exactly the file that was written, or an error.
///
/// Whoever may write in the directory can put another file in the place of a name at any moment. Looked at before, that is
/// refused; looked at afterwards, the name is given up again.
pub fn publish(from: &Path, to: &Path, written: &Fingerprint) -> Result<RenameOutcome> {
    require_same(from, written)?;
    let named = rename_names(from, to)?;
    if let Err(error) = require_same(to, written) {
        let _ = rename_names(to, from);
        return Err(error);
    }
    Ok(renamed(named, from, to))
}

/// Gives a complete, synced file its final name where several nodes share the directory: by a hard link, which never replaces on any
/// network file system. The file keeps its former name, too.
pub fn publish_by_link(from: &Path, to: &Path, written: &Fingerprint) -> Result<RenameOutcome> {
    require_same(from, written)?;
    link(from, to)?;
    if let Err(error) = require_same(to, written) {
        let _ = unlink(to);
        return Err(error);
    }
    tell(FileEvent::Created(to));
    step("linked");
    Ok(RenameOutcome::Durably.then(|| sync_parent(to)))
}

fn rename_names(from: &Path, to: &Path) -> Result<RenameOutcome> {
    let failed = |error: io::Error| FileError { verb: "rename to", path: to.to_owned(), source: error };
    let (old, old_name) = OpenDirectory::of(from).map_err(FileError::on("rename", from))?;
    let (new, new_name) = OpenDirectory::of(to).map_err(failed)?;
    match rustix::fs::renameat_with(&old, old_name, &new, new_name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_and_unlink(from, to),
        other => other.map(|()| RenameOutcome::Durably).map_err(|e| failed(e.into())),
    }
}

/// Whether a name still stands for a file as it was written. Its number alone would not tell: that of a removed file is given out
/// again at once.
fn require_same(path: &Path, written: &Fingerprint) -> Result<()> {
    let now = metadata(path)?;
    if now.is_file() && Fingerprint::of(&now) == *written {
        return Ok(());
    }
    let source = io::Error::other("it was replaced by another file");
    Err(FileError { verb: "publish", path: path.to_owned(), source })
}

/// Puts a complete, synced file in place of another of ours. What a recorder wrote is replaced by [`replace_source`] only.
pub fn replace(from: &Path, to: &Path, written: &Fingerprint) -> Result<RenameOutcome> {
    rename_over(from, to, written)?;
    Ok(RenameOutcome::Durably.then(|| sync_parent(to)))
}

/// Takes over a name; nothing is durable yet.
#[track_caller]
fn rename_over(from: &Path, source: &Path, written: &Fingerprint) -> Result<()> {
    require_same(from, written)?;
    rename_any(from, source)?;
    require_same(source, written)
}

/// Takes over a name for whatever file it is; nothing is durable yet.
#[track_caller]
fn rename_any(from: &Path, source: &Path) -> Result<()> {
    let (old, old_name) = OpenDirectory::of(from).map_err(FileError::on("rename", from))?;
    let (new, new_name) = OpenDirectory::of(source).map_err(FileError::on("rename to", source))?;
    let renamed = rustix::fs::renameat(&old, old_name, &new, new_name);
    renamed.map_err(|e| FileError::on("rename to", source)(e.into()))?;
    tell(FileEvent::Renamed(from, source));
    step("renamed over the source");
    Ok(())
}

fn link(from: &Path, to: &Path) -> Result<()> {
    let link = || {
        let ((old, old_name), (new, new_name)) = (OpenDirectory::of(from)?, OpenDirectory::of(to)?);
        Ok(rustix::fs::linkat(&old, old_name, &new, new_name, AtFlags::empty())?)
    };
    link().map_err(FileError::on("link to", to))
}

fn link_and_unlink(from: &Path, to: &Path) -> Result<RenameOutcome> {
    link(from, to)?;
    Ok(RenameOutcome::Durably.then(|| unlink(from).map_err(FileError::on("remove", from))))
}

fn unlink(path: &Path) -> io::Result<()> {
    let (directory, name) = OpenDirectory::of(path)?;
    Ok(rustix::fs::unlinkat(&directory, name, AtFlags::empty())?)
}

/// Whether a path is a directory that can be reached without following a link below a root.
fn is_directory(path: &Path) -> bool {
    open_directory(path, OFlags::PATH).is_ok()
}

/// Creates a directory and its missing parents, with the owner and mode of the nearest parent that exists.
pub fn create_directories(path: &Path) -> Result<()> {
    if is_directory(path) {
        return Ok(());
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    create_directories(parent)?;
    let make = || {
        let (directory, name) = OpenDirectory::of(path)?;
        rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o777)).map_err(io::Error::from)
    };
    match make() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_directory(path) => return Ok(()),
        other => other.map_err(FileError::on("create directory", path))?,
    }
    keep_attributes_of_parent(parent, path);
    tell(FileEvent::DirectoryCreated(path));
    step("directory created");
    sync_parent(path)
}

fn keep_attributes_of_parent(parent: &Path, path: &Path) {
    let open = |path: &Path| open_directory(path, OFlags::RDONLY).map(File::from);
    if let (Ok(parent), Ok(made)) = (open(parent), open(path))
        && let Ok(like) = parent.metadata()
    {
        let _ = std::os::unix::fs::fchown(&made, Some(like.uid()), Some(like.gid()));
        let _ = made.set_permissions(std::fs::Permissions::from_mode(like.mode() & 0o7777));
    }
}

/// Removes a file for good; its absence is a success.
pub fn remove(path: &Path) -> Result<()> {
    if remove_if_there(path)? {
        tell(FileEvent::Removed(path));
        step("removed");
        sync_parent(path)?;
    }
    Ok(())
}

/// Removes a file only if it is one of our partials.
pub fn remove_own(path: &Path) -> Result<()> {
    if path.file_name().is_some_and(is_partial) { remove(path) } else { Ok(()) }
}

fn remove_if_there(path: &Path) -> Result<bool> {
    match unlink(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true).map_err(FileError::on("remove", path)),
    }
}

/// Makes the directory entry of a path durable.
#[track_caller]
pub fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    #[cfg(test)]
    recorder::may_sync(parent).map_err(FileError::on("sync directory", parent))?;
    match open_directory(parent, OFlags::RDONLY).and_then(|d| File::from(d).sync_all()) {
        // Some network file systems cannot sync a directory; there is nothing more to be done there.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::NOTSUP)) => {}
        other => other.map_err(FileError::on("sync directory", parent))?,
    }
    tell(FileEvent::DirectorySynced(parent));
    Ok(())
}

/// Bytes that an unprivileged process can still write on the file system of a path.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).map_err(|e| FileError {
        verb: "read the free space of",
        path: path.to_owned(),
        source: e.into(),
    })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The size of the blocks of a path's file system, bytes.
pub fn block_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statfs(path).map_err(|e| FileError::on("read the file system of", path)(e.into()))?;
    Ok(u64::try_from(stat.f_bsize).unwrap_or(0).max(512))
}

/// The magic number of a path's file system.
pub fn file_system(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statfs(path).map_err(|e| FileError::on("read the file system of", path)(e.into()))?;
    Ok(magic_number(stat.f_type))
}

/// `f_type` is signed or not, 32 or 64 bits wide, by platform; its low 32 bits are the number.
#[expect(clippy::cast_sign_loss, reason = "only the low 32 bits count")]
const fn magic_number(f_type: rustix::fs::FsWord) -> u64 {
    (f_type as u64) & 0xFFFF_FFFF
}

/// The fingerprint of a path now, symbolic links not followed.
pub fn fingerprint(path: &Path) -> Result<Fingerprint> {
    metadata(path).map(|metadata| Fingerprint::of(&metadata))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_final_name_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert!(rename_no_replace(&from, &to).unwrap_err().is_taken());
        assert!(link_and_unlink(&from, &to).unwrap_err().is_taken());
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        assert_eq!(fs::read_to_string(&from).unwrap(), "new");
    }

    #[test]
    fn a_rename_whose_directory_cannot_be_synced_has_given_the_name() {
        let dir = tempfile::tempdir().unwrap();
        for (round, give) in
            [rename_no_replace as fn(&Path, &Path) -> Result<RenameOutcome>, publish_as_it_is].iter().enumerate()
        {
            let (from, to) = (dir.path().join("a"), dir.path().join(format!("b{round}")));
            fs::write(&from, "complete").unwrap();
            let named = recorder::refusing_syncs_of(dir.path(), || give(&from, &to)).unwrap();
            assert!(matches!(&named, RenameOutcome::NotDurably(error) if error.verb == "sync directory"), "{named:?}");
            assert!(!from.exists() && fs::read_to_string(&to).unwrap() == "complete");
        }
    }

    fn publish_as_it_is(from: &Path, to: &Path) -> Result<RenameOutcome> {
        publish(from, to, &fingerprint(from)?)
    }

    #[test]
    fn a_sealed_partial_has_the_mode_and_time_of_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("x.flv");
        fs::write(&source, "x").unwrap();
        fs::set_permissions(&source, Permissions::from_mode(0o640)).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        File::options().write(true).open(&source).unwrap().set_modified(long_ago).unwrap();

        let partial = Partial::create(&dir.path().join("x.mp4"), &PartialOwner::of_process()).unwrap();
        let sealed = partial.seal(&fs::metadata(&source).unwrap()).unwrap();
        let to = dir.path().join("x.mp4");
        rename_no_replace(&sealed.path, &to).unwrap().durably().unwrap();

        let metadata = fs::metadata(&to).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o640);
        assert_eq!(metadata.modified().unwrap(), long_ago);
        assert_eq!(Fingerprint::of(&metadata), sealed.fingerprint);
        assert_eq!(sealed.not_kept, None);
    }

    #[test]
    fn removing_what_is_not_there_is_a_success() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("nothing")).unwrap();
    }
}
