//! Removes a recording for good only if it still is the file that was proven, whoever writes it meanwhile.
//!
//! 1. A read lease is asked for: a file that a process has open for writing is not touched at all.
//! 2. Fingerprint and change time (`ctime`, which nobody can set back) are compared on the open file.
//! 3. The file is renamed aside, in its directory, so that nobody opens it by its name any more.
//! 4. It is looked at there once more: the file that was compared, and no process waiting to write it.
//! 5. It is unlinked, or put back under its name without replacing anything.
//!
//! A rename changes the change time of the file itself on most file systems. So it is compared before, and between the
//! comparison and the end the lease stands for it. Where no lease can be had (network file systems, files of another owner
//! without `CAP_LEASE`), the file stays aside and the caller comes back: [`remove_aside`].
//!
//! A cut leaves the file under its name, under its name aside, or not at all. The name aside tells where it belongs:
//! [`put_back`].

mod replacing;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::beneath::OpenDirectory;
use super::lease::{LeaseRefused, ReadLease};
use super::{FileError, FileEvent, PARTIAL_PREFIX, Result, rename_names, step, sync_parent, tell};
use crate::recording::name::numbered;
use crate::recording::{FileVersion, Fingerprint};

pub use replacing::{ReplaceOutcome, SecondName, replace_source};

const ASIDE_SUFFIX: &str = ".aside";
/// Longest file name on nearly all file systems, bytes.
const NAME_MAX_BYTES: usize = 255;
/// Numbered names tried for a file whose own name was taken while it was aside.
const NUMBERS_MAX: u32 = 1_000;

/// What became of a file that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalOutcome {
    /// It is gone, durably.
    Removed,
    /// It was not there.
    Missing,
    /// It stays.
    Kept {
        /// Why.
        why: KeptBecause,
        /// Under which name.
        path: PathBuf,
    },
    /// Nobody can say whether it is being written. It waits aside, unchanged so far.
    Aside {
        /// Its name aside.
        path: PathBuf,
        /// What it has to be still when the caller comes back.
        seen: FileVersion,
    },
}

/// Why a file stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptBecause {
    /// It is not what was proven.
    Changed,
    /// A process has it open for writing, or is opening it.
    InUse,
}

/// What a file aside must be to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedFile {
    /// Length and modification time, after a cut: the last process had compared the rest. Without a lease it waits.
    Content(Fingerprint),
    /// All of it, after it has waited.
    All(FileVersion),
}

/// The name that a file has while it is decided whether it goes. The same for the same name, so that it is found again.
pub fn aside_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let mut aside = OsString::from(PARTIAL_PREFIX);
    if PARTIAL_PREFIX.len() + name.len() + ASIDE_SUFFIX.len() <= NAME_MAX_BYTES {
        aside.push(name);
    } else {
        // Too long to be told back; whoever knows the file's name finds it all the same.
        aside.push(&blake3::hash(name.as_encoded_bytes()).to_hex()[..32]);
    }
    aside.push(ASIDE_SUFFIX);
    path.with_file_name(aside)
}

/// Whether a file name is one that [`give_up`] gives.
pub fn is_aside(name: &OsStr) -> bool {
    original_name(name).is_some()
}

/// The name that a file aside had before, as far as its name tells.
pub fn original_path(aside: &Path) -> Option<PathBuf> {
    aside.file_name().and_then(original_name).map(|name| aside.with_file_name(name))
}

fn original_name(name: &OsStr) -> Option<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    let inner = name.as_bytes().strip_prefix(PARTIAL_PREFIX.as_bytes())?.strip_suffix(ASIDE_SUFFIX.as_bytes())?;
    (!inner.is_empty()).then(|| OsStr::from_bytes(inner))
}

/// What a path is now, symbolic links not followed.
pub fn seen(path: &Path) -> Result<FileVersion> {
    super::metadata(path).map(|metadata| FileVersion::of(&metadata))
}

/// Removes a file if it is what was proven and no process writes it.
#[track_caller]
pub fn give_up(path: &Path, proven: &FileVersion) -> Result<RemovalOutcome> {
    let kept = |why| Ok(RemovalOutcome::Kept { why, path: path.to_owned() });
    let file = match open(path)? {
        OpenOutcome::Yes(file) => file,
        OpenOutcome::Missing => return Ok(RemovalOutcome::Missing),
        OpenOutcome::Held => return kept(KeptBecause::InUse),
    };
    // Before the first look: what is compared under the lease stays what it is.
    let lease = ReadLease::take(&file);
    if matches!(lease, Err(LeaseRefused::Held)) {
        return kept(KeptBecause::InUse);
    }
    if seen_of(&file, path)? != *proven {
        return kept(KeptBecause::Changed);
    }
    let aside = aside_path(path);
    rename_names(path, &aside)?.durably()?;
    tell(FileEvent::Renamed(path, &aside));
    step("moved aside");
    let is_it = seen(&aside).is_ok_and(|now| now.fingerprint == proven.fingerprint);
    if !is_it {
        return put_back_to(&aside, path).map(|path| RemovalOutcome::Kept { why: KeptBecause::Changed, path });
    }
    if let Ok(lease) = lease {
        return unlink_or_put_back(&aside, path, &lease);
    }
    sync_parent(&aside)?;
    let seen = seen_of(&file, &aside)?;
    if seen.fingerprint != proven.fingerprint {
        // Written since the comparison by a process that had it open.
        return put_back_to(&aside, path).map(|path| RemovalOutcome::Kept { why: KeptBecause::Changed, path });
    }
    Ok(RemovalOutcome::Aside { seen, path: aside })
}

/// Removes a file that was moved aside before, or puts it back under `path`.
#[track_caller]
pub fn remove_aside(aside: &Path, path: &Path, wanted: ExpectedFile) -> Result<RemovalOutcome> {
    let back = |why| put_back_to(aside, path).map(|path| RemovalOutcome::Kept { why, path });
    let file = match open(aside)? {
        OpenOutcome::Yes(file) => file,
        OpenOutcome::Missing => return Ok(RemovalOutcome::Missing),
        OpenOutcome::Held => return back(KeptBecause::InUse),
    };
    let lease = ReadLease::take(&file);
    let now = seen_of(&file, aside)?;
    let is_it = match wanted {
        ExpectedFile::Content(fingerprint) => now.fingerprint == fingerprint,
        ExpectedFile::All(seen) => now == seen,
    };
    match (lease, wanted) {
        _ if !is_it => back(KeptBecause::Changed),
        (Err(LeaseRefused::Held), _) => back(KeptBecause::InUse),
        (Ok(lease), _) => unlink_or_put_back(aside, path, &lease),
        (Err(_), ExpectedFile::Content(_)) => Ok(RemovalOutcome::Aside { path: aside.to_owned(), seen: now }),
        (Err(_), ExpectedFile::All(_)) => unlink(aside),
    }
}

/// Gives a file that was left aside its name back; where that is taken, the next one with a number. `None` if it is not
/// there, or its name does not say where it belongs.
#[track_caller]
pub fn put_back(aside: &Path) -> Result<Option<PathBuf>> {
    let Some(name) = aside.file_name().and_then(original_name) else { return Ok(None) };
    match end_name_aside(aside, &aside.with_file_name(name)) {
        Err(error) if error.is_missing() => Ok(None),
        other => other,
    }
}

/// Ends a name aside: it goes where the file has its own, too; else the file gets that back, or the next one with a number.
#[track_caller]
fn end_name_aside(aside: &Path, path: &Path) -> Result<Option<PathBuf>> {
    if replacing::is_same_file(aside, path) {
        unlink_name(aside)?;
        return sync_parent(path).map(|()| None);
    }
    put_back_to(aside, path).map(Some)
}

/// A process that found the name before it was given up is held back by the lease, and gets the file with its name.
#[track_caller]
fn unlink_or_put_back(aside: &Path, path: &Path, lease: &ReadLease<'_>) -> Result<RemovalOutcome> {
    if lease.is_broken() {
        return put_back_to(aside, path).map(|path| RemovalOutcome::Kept { why: KeptBecause::InUse, path });
    }
    unlink(aside)
}

#[track_caller]
fn unlink(aside: &Path) -> Result<RemovalOutcome> {
    unlink_name(aside)?;
    sync_parent(aside)?;
    Ok(RemovalOutcome::Removed)
}

#[track_caller]
fn unlink_name(aside: &Path) -> Result<()> {
    super::unlink(aside).map_err(FileError::on("remove", aside))?;
    tell(FileEvent::Removed(aside));
    step("removed");
    Ok(())
}

#[track_caller]
fn put_back_to(aside: &Path, path: &Path) -> Result<PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    for n in 0..NUMBERS_MAX {
        let to = if n == 0 { path.to_owned() } else { path.with_file_name(numbered(&stem, &extension, n)) };
        match rename_names(aside, &to) {
            Err(error) if error.is_taken() => {}
            Err(error) => return Err(error),
            Ok(named) => {
                named.durably()?;
                tell(FileEvent::Renamed(aside, &to));
                step("put back");
                sync_parent(&to)?;
                return Ok(to);
            }
        }
    }
    Err(FileError::on("put back", aside)(io::ErrorKind::AlreadyExists.into()))
}

enum OpenOutcome {
    Yes(File),
    Missing,
    /// Under another process's write lease.
    Held,
}

fn open(path: &Path) -> Result<OpenOutcome> {
    // O_NONBLOCK: a file under another process's write lease would make us wait, a FIFO for ever.
    let opened = OpenDirectory::of(path)
        .and_then(|(directory, name)| directory.open_file(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()));
    match opened {
        Ok(file) => Ok(OpenOutcome::Yes(file)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Ok(OpenOutcome::Missing),
            Some(Errno::WOULDBLOCK) => Ok(OpenOutcome::Held),
            _ => Err(FileError::on("open", path)(error)),
        },
    }
}

fn seen_of(file: &File, path: &Path) -> Result<FileVersion> {
    let metadata = file.metadata().map_err(FileError::on("read the metadata of", path))?;
    Ok(FileVersion::of(&metadata))
}

#[cfg(test)]
mod tests;
