//! The only way files are created, published, renamed and freed: write aside → sync → rename without replacing →
//! sync the directory.
//!
//! Assumes that one process works in a directory under our partial names (the state directory's lock sees to it).
//! It must not decide anything: what is published, kept or freed is decided elsewhere and handed in.
//!
//! Every operation passes the counting seam [`step`], by which the kill test stops the process after its n-th
//! operation; in release builds the seam is empty.

mod advice;
mod ahead;
mod block;
mod direct;
mod extents;
mod give_up;
#[cfg(test)]
pub(crate) mod image;
mod in_place;
mod lease;
mod seam;
mod share;

use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::fault::{Class, Fault};
use crate::recording::Fingerprint;

pub use advice::{ask_for, begin_to_store, store_ahead};
pub use ahead::{AheadReader, ReadAhead};
pub use direct::{Copied, copy_ranges_direct};
pub use extents::{Extents, MAX_EXTENTS};
pub use give_up::{GivenUp, Keeping, Wanted, aside_path, give_up, is_aside, put_back, remove_aside, seen};
#[cfg(test)]
pub(crate) use in_place::tape;
pub use in_place::{InPlace, Operation};
pub use lease::{NoLease, ReadLease, leases_count_on};
#[cfg(test)]
pub(crate) use seam::recorder;
pub use seam::step;
pub(crate) use seam::{Event, tell};
pub use share::{copy_ranges, copy_ranges_in_kernel, overwrite, share_behind};

/// Every partial of ours begins with this; such names are never candidates.
pub const PARTIAL_PREFIX: &str = ".aftercast-";
const PARTIAL_SUFFIX: &str = ".partial";

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
                "The recording is safe where it is. Free space on its file system; it is tried again by itself.".into(),
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
        let path = path.to_owned();
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

/// A file of ours that is being written aside, in the directory of its final name.
///
/// Dropped before [`Partial::seal`], it is removed; a killed process leaves it to [`remove_partials`].
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    sealed: bool,
}

/// The name under which the file that becomes `final_path` is written.
pub fn partial_path(final_path: &Path) -> PathBuf {
    let mut name = OsString::from(PARTIAL_PREFIX);
    name.push(final_path.file_name().unwrap_or_default());
    name.push(PARTIAL_SUFFIX);
    final_path.with_file_name(name)
}

/// Whether a file name is one of our partials.
pub fn is_partial(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(PARTIAL_PREFIX.as_bytes()) && name.ends_with(PARTIAL_SUFFIX.as_bytes())
}

impl Partial {
    /// Creates an empty partial for a final name, replacing one that an earlier attempt left behind.
    pub fn create(final_path: &Path) -> Result<Self> {
        let path = partial_path(final_path);
        remove_if_there(&path)?;
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        created.map_err(FileError::on("create", &path))?;
        tell(Event::Created(&path));
        step("partial created");
        Ok(Self { path, sealed: false })
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the owner, mode and time of the file it comes from where that is allowed, and makes it durable.
    ///
    /// What could not be kept of the owner is returned in words, for one warning.
    #[track_caller]
    pub fn seal(mut self, like: &Metadata) -> Result<Sealed> {
        let file =
            OpenOptions::new().read(true).write(true).open(&self.path).map_err(FileError::on("open", &self.path))?;
        let not_kept = keep_attributes(&file, like);
        file.sync_all().map_err(FileError::on("sync", &self.path))?;
        tell(Event::Synced(&self.path));
        step("partial synced");
        let written = file.metadata().map_err(FileError::on("read the state of", &self.path))?;
        self.sealed = true;
        Ok(Sealed { path: std::mem::take(&mut self.path), fingerprint: Fingerprint::of(&written), not_kept })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.sealed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A complete, synced file under its partial name.
#[derive(Debug)]
pub struct Sealed {
    /// Where it stands.
    pub path: PathBuf,
    /// Its fingerprint, which the rename does not change.
    pub fingerprint: Fingerprint,
    /// Attributes of the source that could not be kept, in words.
    pub not_kept: Option<String>,
}

/// Keeps owner, group, mode and mtime; where the owner is not allowed, the group; never an error.
fn keep_attributes(file: &File, like: &Metadata) -> Option<String> {
    use std::os::unix::fs::fchown;
    let owner = fchown(file, Some(like.uid()), Some(like.gid()));
    let group = owner.as_ref().err().map(|_| fchown(file, None, Some(like.gid())));
    // A mode without the group it was meant for could open the file to strangers: drop the group's bits then.
    let keeps_group = !matches!(group, Some(Err(_)));
    let mode = if keeps_group { like.mode() & 0o7777 } else { like.mode() & 0o7707 };
    let mode = file.set_permissions(Permissions::from_mode(mode));
    let times = like.modified().and_then(|mtime| file.set_times(FileTimes::new().set_modified(mtime)));
    let mut not_kept = Vec::new();
    not_kept.extend(owner.is_err().then_some(if keeps_group { "owner" } else { "owner and group" }));
    not_kept.extend(mode.is_err().then_some("mode"));
    not_kept.extend(times.is_err().then_some("modification time"));
    (!not_kept.is_empty()).then(|| not_kept.join(", "))
}

/// Makes a file durable as it is now.
#[track_caller]
pub fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(FileError::on("sync", path))?;
    tell(Event::Synced(path));
    step("file synced");
    Ok(())
}

/// Renames without ever replacing; both directories are durable afterwards.
///
/// Uses `renameat2(RENAME_NOREPLACE)`; on file systems without it a hard link and unlink, which do not replace either.
pub fn rename_no_replace(from: &Path, to: &Path) -> Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_and_unlink(from, to),
        other => other.map_err(|e| FileError { verb: "rename to", path: to.to_owned(), source: e.into() }),
    }?;
    tell(Event::Renamed(from, to));
    step("renamed");
    sync_parent(to)?;
    if from.parent() == to.parent() { Ok(()) } else { sync_parent(from) }
}

/// Puts a complete, synced file in place of the file it was made from; the directory is durable afterwards.
///
/// The caller has compared the two and journalled what is about to happen: the old content is gone with this.
pub fn replace(from: &Path, source: &Path) -> Result<()> {
    fs::rename(from, source).map_err(FileError::on("rename to", source))?;
    tell(Event::Renamed(from, source));
    step("renamed over the source");
    sync_parent(source)
}

fn link_and_unlink(from: &Path, to: &Path) -> Result<()> {
    fs::hard_link(from, to).map_err(FileError::on("link to", to))?;
    fs::remove_file(from).map_err(FileError::on("remove", from))
}

/// Creates a directory and its missing parents, with the owner and mode of the nearest parent that exists.
pub fn create_directories(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    create_directories(parent)?;
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        other => other.map_err(FileError::on("create directory", path))?,
    }
    if let Ok(like) = fs::metadata(parent) {
        let _ = std::os::unix::fs::chown(path, Some(like.uid()), Some(like.gid()));
        let _ = fs::set_permissions(path, Permissions::from_mode(like.mode() & 0o7777));
    }
    tell(Event::DirectoryCreated(path));
    step("directory created");
    sync_parent(path)
}

/// Removes a file for good; its absence is a success.
pub fn remove(path: &Path) -> Result<()> {
    if remove_if_there(path)? {
        tell(Event::Removed(path));
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
    match fs::remove_file(path) {
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
    match File::open(parent).and_then(|d| d.sync_all()) {
        // Some network file systems cannot sync a directory; there is nothing more to be done there.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::NOTSUP)) => {}
        other => other.map_err(FileError::on("sync directory", parent))?,
    }
    tell(Event::DirectorySynced(parent));
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
    let metadata = fs::symlink_metadata(path).map_err(FileError::on("read the state of", path))?;
    Ok(Fingerprint::of(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_that_is_not_sealed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Partial::create(&dir.path().join("x.mp4")).unwrap();
        assert!(is_partial(partial.path().file_name().unwrap()));
        drop(partial);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

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
    fn a_sealed_partial_has_the_mode_and_time_of_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("x.flv");
        fs::write(&source, "x").unwrap();
        fs::set_permissions(&source, Permissions::from_mode(0o640)).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        File::options().write(true).open(&source).unwrap().set_modified(long_ago).unwrap();

        let sealed = Partial::create(&dir.path().join("x.mp4")).unwrap().seal(&fs::metadata(&source).unwrap()).unwrap();
        let to = dir.path().join("x.mp4");
        rename_no_replace(&sealed.path, &to).unwrap();

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
