//! Files of ours that tell whether two directories are one: placed in one of them and looked for in the other.
//!
//! A name holds the id of its state directory and random digits. No cache can know it from before, and what a killed process
//! left is cleared away by its successor ([`remove_probes`]). It begins as a partial's does and is never a candidate.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};

use super::beneath::{OpenDirectory, open_directory};
use super::{FileError, FileEvent, PARTIAL_PREFIX, PartialOwner, Result, declare_root, random_id, tell};

const PROBE_BYTES: &[u8] = b"aftercast looks whether a target shows this directory; this file can be deleted\n";
/// Directories that are looked into at most: a root of a year has one a stream and day.
const DIRECTORIES_MAX: usize = 20_000;
/// Entries that are read at most.
const ENTRIES_MAX: usize = 1_000_000;

/// A name that nothing has.
pub fn probe_name(owner: &PartialOwner) -> String {
    format!("{}{}", own_prefix(owner), random_id())
}

fn own_prefix(owner: &PartialOwner) -> String {
    format!("{PARTIAL_PREFIX}probe-{}-", owner.id())
}

/// A small file in a directory, removed with this.
#[derive(Debug)]
pub struct ProbeFile {
    path: PathBuf,
}

impl ProbeFile {
    /// Places it; what an earlier process of this owner left there is removed.
    pub fn place(directory: &Path, owner: &PartialOwner) -> Result<Self> {
        remove_probes(directory, owner);
        let path = directory.join(probe_name(owner));
        let write = || {
            let (directory, name) = OpenDirectory::of(&path)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mut file = directory.open_file(name, flags, Mode::from_raw_mode(0o644))?;
            file.write_all(PROBE_BYTES)
        };
        let probe = Self { path: path.clone() };
        write().map_err(FileError::on("create", &path))?;
        tell(FileEvent::Created(&path));
        Ok(probe)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        if super::unlink(&self.path).is_ok() {
            tell(FileEvent::Removed(&self.path));
        }
    }
}

/// Removes the probes of this owner from a directory.
pub fn remove_probes(directory: &Path, owner: &PartialOwner) {
    let prefix = own_prefix(owner);
    let Ok(entries) = open_directory(directory, OFlags::RDONLY).and_then(|fd| Ok(Dir::new(fd)?)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_bytes();
        if name.starts_with(prefix.as_bytes()) {
            let _ = super::unlink(&directory.join(OsStr::from_bytes(name)));
        }
    }
}

/// Looks for a name in a directory and everything below it, the nearest first; links are not followed. The name is asked for
/// in each directory: a list of names may be an old one. `is_over` ends the search, as do more directories than a root has.
pub fn find_beneath(root: &Path, name: &str, is_over: &dyn Fn() -> bool) -> Option<PathBuf> {
    declare_root(root);
    let mut open = VecDeque::from([root.to_owned()]);
    let (mut directories, mut entries) = (1, 0);
    while let Some(directory) = open.pop_front().filter(|_| !is_over()) {
        let path = directory.join(name);
        if super::metadata(&path).is_ok() {
            return Some(path);
        }
        let Ok(listing) = open_directory(&directory, OFlags::RDONLY).and_then(|fd| Ok(Dir::new(fd)?)) else { continue };
        for entry in listing.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX || directories >= DIRECTORIES_MAX {
                break;
            }
            let below = directory.join(OsStr::from_bytes(entry.file_name().to_bytes()));
            if is_directory(&entry, &below) {
                directories += 1;
                open.push_back(below);
            }
        }
    }
    None
}

fn is_directory(entry: &rustix::fs::DirEntry, path: &Path) -> bool {
    let name = entry.file_name().to_bytes();
    match entry.file_type() {
        _ if name == b"." || name == b".." => false,
        // Some file systems do not say it in the list.
        FileType::Unknown => super::metadata(path).is_ok_and(|found| found.is_dir()),
        kind => kind == FileType::Directory,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_probe_is_found_at_any_depth_and_goes_with_its_owner() {
        let (dir, owner) = (tempfile::tempdir().unwrap(), PartialOwner::new("a"));
        let deep = dir.path().join("live/room1/2026");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        let probe = ProbeFile::place(&deep, &owner).unwrap();
        let name = probe.name().to_owned();
        assert!(!super::super::is_partial(OsStr::new(&name)) && name.starts_with(PARTIAL_PREFIX));
        assert_eq!(find_beneath(dir.path(), &name, &|| false), Some(deep.join(&name)));
        assert_eq!(find_beneath(dir.path(), &name, &|| true), None);
        assert_eq!(find_beneath(&dir.path().join("empty"), &name, &|| false), None);
        drop(probe);
        assert_eq!(find_beneath(dir.path(), &name, &|| false), None);
    }

    #[test]
    fn a_link_out_of_the_root_is_not_followed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let probe = ProbeFile::place(outside.path(), &PartialOwner::new("a")).unwrap();
        assert_eq!(find_beneath(dir.path(), probe.name(), &|| false), None);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_by_its_successor_and_by_nobody_else() {
        let (dir, owner) = (tempfile::tempdir().unwrap(), PartialOwner::new("a"));
        std::mem::forget(ProbeFile::place(dir.path(), &owner).unwrap());
        fs::write(dir.path().join("x.mp4"), "x").unwrap();
        drop(ProbeFile::place(dir.path(), &PartialOwner::new("b")).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        drop(ProbeFile::place(dir.path(), &owner).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
