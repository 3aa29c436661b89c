//! Names below a root are reached through a descriptor of their directory, and no symbolic link below the root is followed.
//!
//! A root belongs to the operator: its own path may lead through links. What lies below it belongs to whoever records, who can
//! put a link in the place of any name at any moment; following one would let him read and write with our rights elsewhere.
//! Roots are declared with [`declare_root`]. Below one, directories are opened with `openat2(RESOLVE_BENEATH |
//! RESOLVE_NO_SYMLINKS)`, component by component where the kernel has no such call, and a name in them only by its own
//! descriptor. Elsewhere (the state directory, a path that a person typed) only the last component is not followed.
//!
//! A path of the form `/proc/self/fd/N` stands for a file of ours that has no name yet ([`Partial`](super::Partial)); it is
//! opened by that descriptor.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::{FileError, Result};

/// The roots of this process. Like the table of mounts they are a fact about paths and not a setting of one caller: they are only
/// ever added, and a path below none of them is treated as before.
static ROOTS: LazyLock<RwLock<HashSet<PathBuf>>> = LazyLock::new(RwLock::default);

/// How long a file is asked for that another process holds a lease on. Ours are given back within seconds.
const LEASE_PATIENCE: Duration = Duration::from_secs(10);
const LEASE_AGAIN_AFTER: Duration = Duration::from_millis(20);
const DESCRIPTORS: &str = "/proc/self/fd/";

/// Declares a directory whose contents belong to others. Its own path may lead through symbolic links, nothing below it.
pub fn declare_root(root: &Path) {
    ROOTS.write().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned());
}

/// The innermost root above a path, and the rest of the path below it.
fn root_above(path: &Path) -> Option<(&Path, &Path)> {
    let roots = ROOTS.read().unwrap_or_else(PoisonError::into_inner);
    let root = path.ancestors().skip(1).find(|above| roots.contains(*above))?;
    Some((root, path.strip_prefix(root).ok()?))
}

/// Whether a path stands for an open file of this process.
pub(super) fn is_descriptor(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(DESCRIPTORS.as_bytes())
}

/// A directory, open for names in it.
#[derive(Debug)]
pub(super) struct OpenDirectory(OwnedFd);

impl OpenDirectory {
    /// Opens the directory that holds a path; also gives the name in it.
    pub(super) fn of(path: &Path) -> io::Result<(Self, &OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Ok((Self::open(parent)?, name))
    }

    /// Opens a directory for names in it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        open_directory(path, OFlags::PATH).map(Self)
    }

    /// Opens a name in it, without following a link.
    pub(super) fn open_file(&self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<File> {
        Ok(openat(&self.0, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY, mode)?.into())
    }

    /// What a name in it stands for, links not followed.
    pub(super) fn metadata(&self, name: &OsStr) -> io::Result<Metadata> {
        self.open_file(name, OFlags::PATH, Mode::empty())?.metadata()
    }
}

impl AsFd for OpenDirectory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens a directory whose path is the operator's down to the root, and beneath that without following anything.
pub(super) fn open_directory(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some((root, rest)) = root_above(path) else { return Ok(openat(CWD, path, flags, Mode::empty())?) };
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&root, rest, flags, Mode::empty(), resolve) {
        // A kernel before 5.6, a filter of system calls that does not know this one, or a rename above us meanwhile.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => open_by_components(root, rest, flags),
        other => Ok(other?),
    }
}

fn open_by_components(root: OwnedFd, rest: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut at = root;
    let mut names = rest.components().peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else { return Err(Errno::XDEV.into()) };
        let is_last = names.peek().is_none();
        let flags = if is_last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        at = openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

/// Opens a regular file for reading: no link below a root is followed, and neither a pipe nor another's lease is waited for
/// without end.
pub fn open_to_read(path: &Path) -> Result<File> {
    open_regular(path, OFlags::RDONLY).map_err(FileError::on("open", path))
}

/// The same for other ways of opening.
pub(super) fn open_regular(path: &Path, flags: OFlags) -> io::Result<File> {
    if is_descriptor(path) {
        return Ok(openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?.into());
    }
    let (directory, name) = OpenDirectory::of(path)?;
    let deadline = Instant::now() + LEASE_PATIENCE;
    let file = loop {
        match directory.open_file(name, flags | OFlags::NONBLOCK, Mode::empty()) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::WOULDBLOCK) && Instant::now() < deadline => {
                std::thread::sleep(LEASE_AGAIN_AFTER);
            }
            other => break other?,
        }
    };
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// What a path stands for now, no link below a root followed, the last component never.
pub fn metadata(path: &Path) -> Result<Metadata> {
    let read = || {
        if is_descriptor(path) {
            return std::fs::metadata(path);
        }
        match OpenDirectory::of(path) {
            Ok((directory, name)) => directory.metadata(name),
            // `/` and paths that end in `..` have no name.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => std::fs::symlink_metadata(path),
            Err(error) => Err(error),
        }
    };
    read().map_err(FileError::on("read the metadata of", path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        declare_root(&root);
        (dir, root)
    }

    #[test]
    fn a_link_below_a_root_is_not_followed_whatever_component_it_is() {
        let (dir, root) = root();
        symlink(dir.path().join("outside"), root.join("a/link")).unwrap();
        symlink(dir.path().join("outside/secret"), root.join("a/b/x.mp4")).unwrap();
        for path in ["a/link/secret", "a/b/x.mp4"] {
            assert!(open_to_read(&root.join(path)).is_err(), "{path}");
        }
        assert!(open_to_read(&root.join("a/../../outside/secret")).is_err());
        assert!(metadata(&root.join("a/link/secret")).is_err());
        assert!(metadata(&root.join("a/b/x.mp4")).unwrap().is_symlink(), "its own state is told");
    }

    #[test]
    fn walking_by_components_refuses_what_the_kernel_call_refuses() {
        let (dir, root) = root();
        symlink(dir.path().join("outside"), root.join("a/link")).unwrap();
        let open = |rest: &str| {
            let root = openat(CWD, &root, OFlags::PATH, Mode::empty()).unwrap();
            open_by_components(root, Path::new(rest), OFlags::PATH | OFlags::DIRECTORY)
        };
        assert!(open("a/b").is_ok());
        assert!(open("a/link").is_err());
        assert!(open("a/../..").is_err());
    }

    #[test]
    fn the_roots_own_path_may_lead_through_a_link() {
        let (dir, root) = root();
        fs::write(root.join("a/x.mp4"), "x").unwrap();
        let link = dir.path().join("link");
        symlink(&root, &link).unwrap();
        declare_root(&link);
        assert!(open_to_read(&link.join("a/x.mp4")).is_ok());
    }

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let (_dir, root) = root();
        rustix::fs::mknodat(CWD, root.join("pipe.mp4"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_to_read(&root.join("pipe.mp4")).is_err());
        assert!(open_to_read(&root.join("a")).is_err());
    }
}
