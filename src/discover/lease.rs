//! Asks the kernel whether any process has a file open for writing, by a [`ReadLease`] that is given back at once.
//!
//! It must not keep the lease: whoever opens the file for writing meanwhile would wait.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::durable::{self, LeaseRefused, ReadLease, leases_count_on};

/// The kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// The lease was granted: no process has the file open for writing.
    Free,
    /// A process has it open for writing.
    Held,
    /// The question cannot be asked here.
    Unavailable(LeaseUnavailable),
}

/// Why the kernel cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseUnavailable {
    /// The file belongs to another user and this process lacks `CAP_LEASE`.
    NotOwner,
    /// The file may not be opened for reading.
    NoAccess,
    /// The file system is none on which a lease proves anything (network, FUSE, overlay …).
    FileSystem,
    /// The file is gone.
    Gone,
    /// Something else.
    Other,
}

/// Magic numbers of file systems that only this machine changes and on which changes are notified, besides those on which leases
/// count. Any other counts as a network file system: there are more of those than a list could hold, and taking one for local costs a recording, while
/// the reverse costs a wait.
const LOCAL: [u64; 12] = [
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
    0xCA45_1A4E, // bcachefs
    0x794C_7630, // overlayfs, as in containers
    0x3153_464A, // JFS
    0x5265_4973, // ReiserFS
    0x0000_3434, // NILFS2
    0x7366_746E, // NTFS (ntfs3)
    0x2011_BAB0, // exFAT
    0x0000_4D44, // FAT
    0x1501_3346, // UDF
    0x8584_58F6, // ramfs, as in rescue systems
];

/// Whether a file system of that magic number may be changed by another machine, or is not known not to be. One that cannot
/// be asked is none: what is missing now may come back as a local disk.
pub(super) fn is_remote(magic: u64) -> bool {
    magic != NOT_ASKED && !leases_count_on(magic) && !LOCAL.contains(&magic)
}

/// Whether a path lies on a file system that may be changed by another machine; such a
/// root is polled.
pub fn is_on_network(path: &Path) -> bool {
    is_remote(magic_of(path))
}

/// In place of the magic number of a file system that cannot be asked.
const NOT_ASKED: u64 = 0;

/// The magic number of a path's file system, [`NOT_ASKED`] where it cannot be asked.
pub(super) fn magic_of(path: &Path) -> u64 {
    durable::file_system(path).unwrap_or(NOT_ASKED)
}

/// Asks whether any process has a file open for writing.
pub fn probe(path: &Path) -> LeaseState {
    // O_NONBLOCK: a file under another process's write lease would make us wait, a FIFO for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::WOULDBLOCK) => return LeaseState::Held,
        Err(Errno::NOENT) => return LeaseState::Unavailable(LeaseUnavailable::Gone),
        Err(Errno::ACCESS | Errno::PERM) => return LeaseState::Unavailable(LeaseUnavailable::NoAccess),
        Err(_) => return LeaseState::Unavailable(LeaseUnavailable::Other),
    };
    match ReadLease::take(&file) {
        Ok(_) => LeaseState::Free,
        Err(LeaseRefused::Held) => LeaseState::Held,
        Err(LeaseRefused::NotOwner) => LeaseState::Unavailable(LeaseUnavailable::NotOwner),
        Err(LeaseRefused::FileSystem) => LeaseState::Unavailable(LeaseUnavailable::FileSystem),
        Err(LeaseRefused::Other) => LeaseState::Unavailable(LeaseUnavailable::Other),
    }
}

/// For tests: waits until no process has a file open for writing.
///
/// A test that starts a process meanwhile hands it, from fork to exec, every file that other tests have open.
#[cfg(test)]
pub(super) fn until_free(path: &Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while probe(path) == LeaseState::Held {
        assert!(std::time::Instant::now() < deadline, "{} stays open for writing", path.display());
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{BTRFS, EXT4, TMPFS, XFS, leases_count_on as counts_on};
    use std::io::Write;

    /// A directory where leases count, or `None` on machines that have none.
    fn directory() -> Option<tempfile::TempDir> {
        let dir = tempfile::tempdir().unwrap();
        counts_on(magic_of(dir.path())).then_some(dir)
    }

    #[test]
    fn a_file_open_for_writing_is_held_and_free_after_its_close() {
        let Some(dir) = directory() else { return };
        let path = dir.path().join("x.mp4");
        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(probe(&path), LeaseState::Held);
        drop(writer);
        until_free(&path);
        assert_eq!(probe(&path), LeaseState::Free);
        let _reader = File::open(&path).unwrap();
        assert_eq!(probe(&path), LeaseState::Free, "readers do not count");
        assert!(File::options().append(true).open(&path).is_ok(), "nothing is left behind");
    }

    #[test]
    fn whoever_opens_the_file_meanwhile_neither_ends_this_process_nor_waits_for_long() {
        let Some(dir) = directory() else { return };
        let path = dir.path().join("x.mp4");
        std::fs::write(&path, "x").unwrap();
        // The kernel holds back an opener for `lease-break-time`, 45 s by default, if a lease is not given back.
        let opener = std::thread::spawn({
            let path = path.clone();
            move || (0..3000).for_each(|_| drop(File::options().append(true).open(&path).unwrap()))
        });
        let began = std::time::Instant::now();
        while !opener.is_finished() {
            assert!(!matches!(probe(&path), LeaseState::Unavailable(_)));
        }
        opener.join().unwrap();
        assert!(began.elapsed().as_secs() < 40);
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probe(&dir.path().join("none")), LeaseState::Unavailable(LeaseUnavailable::Gone));
        assert!(matches!(probe(Path::new("/proc/version")), LeaseState::Unavailable(LeaseUnavailable::FileSystem)));
        let link = dir.path().join("link.mp4");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(probe(&link), LeaseState::Unavailable(LeaseUnavailable::Other));
    }

    #[test]
    fn only_file_systems_that_are_known_to_be_local_count_as_such() {
        for local in [EXT4, XFS, BTRFS, TMPFS, 0x794C_7630] {
            assert!(!is_remote(local), "{local:x}");
        }
        // NFS and FUSE; VirtualBox's shared folders, OrangeFS, Coda; one that nobody has written yet.
        for other in [0x6969, 0x6573_5546, 0x786F_4256, 0x2003_0528, 0x7375_7245, 0x0123_4567] {
            assert!(is_remote(other), "{other:x}");
        }
        assert!(!is_remote(magic_of(Path::new("/nowhere/at/all"))), "a disk that is not mounted yet is tried again");
        assert!(is_on_network(Path::new("/proc")), "not known to be a disk");
        assert!(counts_on(XFS) && !counts_on(0x794C_7630));
        assert_eq!(magic_of(Path::new("/nowhere/at/all")), 0);
    }
}
