//! Asks the kernel whether any process has a file open for writing, by a read lease that is given back at once.
//!
//! `fcntl(F_SETLEASE, F_RDLCK)` is refused with `EAGAIN` while the file is open for writing anywhere on this machine,
//! in any container, or mapped shared and writable. It is granted to the file's owner and to `CAP_LEASE`.
//!
//! Assumes that the writer is on this machine: the answer counts on ext4, XFS, Btrfs and tmpfs only. It must not keep
//! the lease: whoever opens the file for writing meanwhile would wait.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// The lease was granted: no process has the file open for writing.
    Free,
    /// A process has it open for writing.
    Held,
    /// The question cannot be asked here.
    Unavailable(Unavailable),
}

/// Why the kernel cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unavailable {
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

/// Magic numbers of `statfs(2)` on which leases count.
const EXT4: u64 = 0xEF53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683E;
const TMPFS: u64 = 0x0102_1994;

/// Magic numbers of file systems whose changes may come from other machines or are not notified.
const REMOTE: [u64; 13] = [
    0x6969,      // NFS
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x517B,      // SMB
    0x6573_5546, // FUSE: sshfs, s3fs, GlusterFS, …
    0x00C3_6400, // Ceph
    0x5346_414F, // AFS
    0x0102_1997, // 9P
    0x0161_1970, // GFS2
    0x7461_636F, // OCFS2
    0x0BD0_0BD0, // Lustre
    0x4750_4653, // GPFS
    0x6265_6572, // BeeGFS
];

/// Whether leases on a file system of that magic number prove anything.
pub(super) fn counts_on(magic: u64) -> bool {
    [EXT4, XFS, BTRFS, TMPFS].contains(&magic)
}

/// Whether a file system of that magic number may be changed by another machine.
pub(super) fn is_remote(magic: u64) -> bool {
    REMOTE.contains(&magic)
}

/// The magic number of a path's file system, 0 where it cannot be asked.
pub(super) fn magic_of(path: &Path) -> u64 {
    rustix::fs::statfs(path).map_or(0, |s| magic_number(s.f_type))
}

/// `f_type` is signed or not, 32 or 64 bits wide, by platform; its low 32 bits are the number.
#[expect(clippy::cast_sign_loss, reason = "only the low 32 bits count")]
fn magic_number(f_type: rustix::fs::FsWord) -> u64 {
    (f_type as u64) & 0xFFFF_FFFF
}

/// Asks whether any process has a file open for writing.
pub fn probe(path: &Path) -> Lease {
    // O_NONBLOCK: a file under another process's write lease would make us wait, a FIFO for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::WOULDBLOCK) => return Lease::Held,
        Err(Errno::NOENT) => return Lease::Unavailable(Unavailable::Gone),
        Err(Errno::ACCESS | Errno::PERM) => return Lease::Unavailable(Unavailable::NoAccess),
        Err(_) => return Lease::Unavailable(Unavailable::Other),
    };
    let counts = rustix::fs::fstatfs(&file).is_ok_and(|s| counts_on(magic_number(s.f_type)));
    if counts { ask(&file) } else { Lease::Unavailable(Unavailable::FileSystem) }
}

fn ask(file: &File) -> Lease {
    match take_and_give_back(file) {
        Ok(()) => Lease::Free,
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => Lease::Held,
            Some(Errno::ACCESS | Errno::PERM) => Lease::Unavailable(Unavailable::NotOwner),
            _ => Lease::Unavailable(Unavailable::Other),
        },
    }
}

/// `F_SETSIG` of `<asm-generic/fcntl.h>`, which the libc crate does not name.
const F_SETSIG: libc::c_int = 10;

/// Takes a read lease and gives it back.
///
/// Between the two calls another process may open the file for writing. The kernel then holds that process back until
/// the second call and tells us by a signal, `SIGIO` unless another is chosen, which would end this process. `SIGURG`
/// is chosen because it is ignored unless a handler is installed; nothing needs to be done about it.
#[expect(unsafe_code, reason = "no safe wrapper offers F_SETLEASE")]
fn take_and_give_back(file: &File) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let set = |command: libc::c_int, value: libc::c_int| {
        // SAFETY: `fd` is open for the whole call because `file` is borrowed; F_SETSIG and F_SETLEASE take an int
        // argument and touch no memory of this process.
        let answer = unsafe { libc::fcntl(fd, command, value) };
        if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    set(F_SETSIG, libc::SIGURG)?;
    set(libc::F_SETLEASE, libc::F_RDLCK)?;
    // Closing the file would give it back as well, so a failure here leaves nothing behind.
    set(libc::F_SETLEASE, libc::F_UNLCK)
}

/// For tests: waits until no process has a file open for writing.
///
/// A test that starts a process meanwhile hands it, from fork to exec, every file that other tests have open.
#[cfg(test)]
pub(super) fn until_free(path: &Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while probe(path) == Lease::Held {
        assert!(std::time::Instant::now() < deadline, "{} stays open for writing", path.display());
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(probe(&path), Lease::Held);
        drop(writer);
        until_free(&path);
        assert_eq!(probe(&path), Lease::Free);
        let _reader = File::open(&path).unwrap();
        assert_eq!(probe(&path), Lease::Free, "readers do not count");
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
            assert!(!matches!(probe(&path), Lease::Unavailable(_)));
        }
        opener.join().unwrap();
        assert!(began.elapsed().as_secs() < 40);
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probe(&dir.path().join("none")), Lease::Unavailable(Unavailable::Gone));
        assert!(matches!(probe(Path::new("/proc/version")), Lease::Unavailable(Unavailable::FileSystem)));
        let link = dir.path().join("link.mp4");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(probe(&link), Lease::Unavailable(Unavailable::Other));
    }

    #[test]
    fn network_file_systems_are_told() {
        assert!(is_remote(0x6969) && is_remote(0x6573_5546) && !is_remote(EXT4));
        assert!(counts_on(XFS) && !counts_on(0x794C_7630));
        assert_eq!(magic_of(Path::new("/nowhere/at/all")), 0);
    }
}
