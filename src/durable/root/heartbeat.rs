//! Who owns a root where the file system has no locks: the owner keeps touching a file, and a file that nobody touches any more
//! is taken away.
//!
//! Times of different machines are never compared: what counts is whether the file changes while it is looked at. An owner that
//! stands still for longer than [`STALE`] loses the root without knowing it; what it still does then is bounded by partials of
//! its own name, by names that are never replaced, and by sources that are looked at again before they go.

use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, renameat_with, unlinkat};

use super::{RootError, owner_of};
use crate::durable::beneath::OpenDirectory;
use crate::durable::{FileError, PartialOwner, random_id};

/// The file in the root.
const ALIVE_FILE: &str = ".aftercast-alive";
/// How often it is touched.
const BEAT: Duration = Duration::from_secs(2);
/// A file that has not changed for so long belongs to nobody.
const STALE: Duration = Duration::from_secs(20);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The file, touched until this is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat {
    root: PathBuf,
    inode: u64,
    ends: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Becomes the owner, or finds one that is alive.
    pub(super) fn take(root: &Path, owner: &PartialOwner) -> Result<Self, RootError> {
        let failed = FileError::on("own", root);
        match Self::try_take(root, owner) {
            Ok(Some(alive)) => Ok(alive),
            Ok(None) => Err(RootError::InUse { root: root.to_owned(), owner: owner_of(root).map(Box::new) }),
            Err(error) => Err(failed(error).into()),
        }
    }

    fn try_take(root: &Path, owner: &PartialOwner) -> io::Result<Option<Self>> {
        loop {
            match create(root, owner) {
                Ok(file) => return Self::keep(root, file).map(Some),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) => {}
            }
            let seen = state(root)?;
            let is_own = std::fs::read_to_string(root.join(ALIVE_FILE)).is_ok_and(|text| text.trim() == owner.id());
            // The state directory's lock is held: whoever wrote its id there before has ended.
            if !is_own && changes(root, seen)? {
                return Ok(None);
            }
            take_away(root, seen)?;
        }
    }

    fn keep(root: &Path, file: File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        let (ends, ended) = channel::<()>();
        let beat = move || {
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
            }
        };
        let thread = std::thread::Builder::new().name("root-owner".into()).spawn(beat)?;
        Ok(Self { root: root.to_owned(), inode, ends: Some(ends), thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.ends.take());
        let _ = self.thread.take().map(JoinHandle::join);
        // Perhaps it was taken away meanwhile, and another's stands there.
        if let Ok(seen) = state(&self.root)
            && seen.0 == self.inode
        {
            let _ = take_away(&self.root, seen);
        }
    }
}

/// Whether somebody keeps touching the file of a root.
pub(super) fn is_alive(root: &Path) -> bool {
    state(root).and_then(|seen| changes(root, seen)).unwrap_or(false)
}

/// Inode and modification time of the file.
type TouchStamp = (u64, i64, i64);

fn state(root: &Path) -> io::Result<TouchStamp> {
    let metadata = OpenDirectory::open(root)?.metadata(ALIVE_FILE.as_ref())?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Whether the file changes while it is looked at. One that is gone belongs to nobody.
fn changes(root: &Path, seen: TouchStamp) -> io::Result<bool> {
    let until = Instant::now() + STALE;
    while Instant::now() < until {
        match state(root) {
            Ok(now) if now != seen => return Ok(true),
            Ok(_) => std::thread::sleep(LOOK_AGAIN_AFTER),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn create(root: &Path, owner: &PartialOwner) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let mut file = OpenDirectory::open(root)?.open_file(ALIVE_FILE.as_ref(), flags, Mode::from_raw_mode(0o644))?;
    writeln!(file, "{}", owner.id())?;
    file.sync_all()?;
    Ok(file)
}

/// Takes the file away if it is still the one that was seen: two that find it stale at once must not remove each other's.
fn take_away(root: &Path, seen: TouchStamp) -> io::Result<()> {
    let directory = OpenDirectory::open(root)?;
    let aside = format!("{ALIVE_FILE}-{}", random_id());
    match renameat_with(&directory, ALIVE_FILE, &directory, &aside, RenameFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        other => other?,
    }
    let moved = directory.metadata(aside.as_ref())?;
    if (moved.ino(), moved.mtime(), moved.mtime_nsec()) == seen {
        return Ok(unlinkat(&directory, &aside, AtFlags::empty())?);
    }
    // Somebody was quicker. Its own file goes back, unless a third one stands there already.
    renameat_with(&directory, &aside, &directory, ALIVE_FILE, RenameFlags::NOREPLACE)
        .or_else(|_| unlinkat(&directory, &aside, AtFlags::empty()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_sees_that_the_first_is_alive() {
        let dir = tempfile::tempdir().unwrap();
        let first = Heartbeat::take(dir.path(), &PartialOwner::new("first")).unwrap();
        assert!(is_alive(dir.path()));
        assert!(matches!(Heartbeat::take(dir.path(), &PartialOwner::new("second")), Err(RootError::InUse { .. })));
        drop(first);
        assert!(!is_alive(dir.path()));
        Heartbeat::take(dir.path(), &PartialOwner::new("second")).unwrap();
    }

    #[test]
    fn what_a_killed_owner_left_is_taken_away_by_its_own_successor_at_once_and_by_others_when_it_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        std::mem::forget(create(dir.path(), &PartialOwner::new("killed")).unwrap());
        drop(Heartbeat::take(dir.path(), &PartialOwner::new("killed")).unwrap());
        std::mem::forget(create(dir.path(), &PartialOwner::new("killed")).unwrap());
        drop(Heartbeat::take(dir.path(), &PartialOwner::new("other")).unwrap());
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_file_that_is_not_the_one_that_was_seen_is_not_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let (inode, seconds, nanoseconds) = {
            create(dir.path(), &PartialOwner::new("first")).unwrap();
            state(dir.path()).unwrap()
        };
        take_away(dir.path(), (inode, seconds, nanoseconds + 1)).unwrap();
        assert_eq!(state(dir.path()).unwrap().0, inode);
    }
}
