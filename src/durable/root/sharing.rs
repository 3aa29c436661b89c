//! A root that several nodes work on at once: its file, made once by whichever node comes first, and whether its file system lets
//! nodes exclude each other by hard links.
//!
//! No lock of the file system is taken: on network file systems two nodes can both get one.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, linkat, unlinkat};
use rustix::io::Errno;

use super::{ROOT_FILE, RootError, RootOwner, owner_of, write};
use crate::durable::beneath::OpenDirectory;
use crate::durable::{FileError, PARTIAL_PREFIX, declare_root, random_id};

/// How long a file is waited for that another node is writing.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Makes sure that a root has a file, and that it says that the root is shared. Says what the file says.
pub fn declare_shared(root: &Path) -> Result<RootOwner, RootError> {
    declare_root(root);
    declare(root).map_err(|error| FileError::on("write", &root.join(ROOT_FILE))(error).into())
}

fn declare(root: &Path) -> io::Result<RootOwner> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match owner_of(root) {
            Some(owner) if owner.is_shared => return Ok(owner),
            Some(owner) => {
                let shared = RootOwner { is_shared: true, node_id: None, owner_epoch: None, ..owner };
                write(root, &shared)?;
            }
            None => match create(root) {
                Err(Errno::EXIST) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN_AFTER),
                Err(Errno::EXIST) => return Err(io::Error::other("it is not a file of aftercast")),
                other => other?,
            },
        }
    }
}

/// Makes the file of a root, whole under its name from the beginning; an error if there is one.
fn create(root: &Path) -> Result<(), Errno> {
    let as_errno = |error: &io::Error| Errno::from_io_error(error).unwrap_or(Errno::IO);
    let says = RootOwner { root_id: random_id(), is_shared: true, ..RootOwner::default() };
    let directory = OpenDirectory::open(root).map_err(|error| as_errno(&error))?;
    let aside = scratch_name();
    let text = format!("{}\n", serde_json::to_string(&says).unwrap_or_default());
    let made = write_new(&directory, &aside, text.as_bytes()).map_err(|error| as_errno(&error));
    let linked = made.and_then(|()| linkat(&directory, &aside, &directory, ROOT_FILE, AtFlags::empty()));
    let _ = unlinkat(&directory, &aside, AtFlags::empty());
    linked
}

/// Whether of two hard links to one name the second is refused, and both are counted: nodes publish finished files in a shared
/// root by that.
pub fn are_links_exclusive(root: &Path) -> Result<bool, RootError> {
    probe_links(root).map_err(|error| FileError::on("test hard links in", root)(error).into())
}

fn probe_links(root: &Path) -> io::Result<bool> {
    let directory = OpenDirectory::open(root)?;
    let [first, second, name] = [scratch_name(), scratch_name(), scratch_name()];
    let probe = || {
        write_new(&directory, &first, b"1")?;
        write_new(&directory, &second, b"2")?;
        match linkat(&directory, &first, &directory, &name, AtFlags::empty()) {
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::MLINK) => return Ok(false),
            other => other?,
        }
        let again = linkat(&directory, &second, &directory, &name, AtFlags::empty());
        let (own, linked) = (directory.metadata(first.as_ref())?, directory.metadata(name.as_ref())?);
        Ok(again == Err(Errno::EXIST) && own.ino() == linked.ino() && own.nlink() == 2)
    };
    let probed = probe();
    for name in [&first, &second, &name] {
        let _ = unlinkat(&directory, name, AtFlags::empty());
    }
    probed
}

/// A name that no other process uses, and that is never a candidate.
fn scratch_name() -> String {
    format!("{PARTIAL_PREFIX}{}-probe.partial", random_id())
}

fn write_new(directory: &OpenDirectory, name: &str, contents: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = directory.open_file(name.as_ref(), flags, Mode::from_raw_mode(0o644))?;
    io::Write::write_all(&mut file, contents)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{RootLock, RootPart};
    use super::*;
    use crate::durable::PartialOwner;

    #[test]
    fn nodes_that_come_at_once_find_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let nodes: Vec<_> = (0..8).map(|_| scope.spawn(|| declare_shared(dir.path()).unwrap().root_id)).collect();
            nodes.into_iter().map(|node| node.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_shared_root_keeps_its_id_and_is_not_locked_by_whoever_does_not_know_it() {
        let dir = tempfile::tempdir().unwrap();
        let owner = PartialOwner::new("one");
        let lock = RootLock::take(dir.path(), &owner, Path::new("/var/lib/state")).unwrap();
        drop(lock);
        let before = owner_of(dir.path()).unwrap().root_id;
        assert_eq!(declare_shared(dir.path()).unwrap().root_id, before);
        let refused = RootLock::take(dir.path(), &owner, Path::new("/var/lib/state")).unwrap_err();
        assert!(matches!(refused, RootError::Shared { .. }), "{refused:?}");
        let refused = RootLock::take_part(dir.path(), &owner, &RootPart::Shard("1/2".parse().unwrap())).unwrap_err();
        assert!(matches!(refused, RootError::Shared { .. }), "{refused:?}");
    }

    #[test]
    fn hard_links_are_tested_and_nothing_of_the_test_is_left() {
        let dir = tempfile::tempdir().unwrap();
        assert!(are_links_exclusive(dir.path()).unwrap());
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
