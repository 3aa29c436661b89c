//! A read lease: while it is held, whoever opens the file for writing waits, and it is had only if nobody has it open so.
//!
//! `fcntl(F_SETLEASE, F_RDLCK)` is refused with `EAGAIN` while the file is open for writing anywhere on this machine, in
//! any container, or mapped shared and writable. It is granted to the file's owner and to `CAP_LEASE`.
//!
//! Assumes that the writer is on this machine: a lease counts on ext4, XFS, Btrfs and tmpfs only. It must not be held for
//! long: the kernel makes an opener wait, up to 45 s.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRefused {
    /// A process has the file open for writing.
    Held,
    /// The file belongs to another user and this process lacks `CAP_LEASE`.
    NotOwner,
    /// The file system is none on which a lease proves anything (network, FUSE, overlay …).
    FileSystem,
    /// Something else.
    Other,
}

/// Magic number of `statfs(2)` of ext4, and of ext2 and ext3.
pub const EXT4: u64 = 0xEF53;
/// Magic number of XFS.
pub const XFS: u64 = 0x5846_5342;
/// Magic number of Btrfs.
pub const BTRFS: u64 = 0x9123_683E;
/// Magic number of tmpfs.
pub const TMPFS: u64 = 0x0102_1994;

/// Whether leases on a file system of that magic number prove anything.
pub fn leases_count_on(magic: u64) -> bool {
    [EXT4, XFS, BTRFS, TMPFS].contains(&magic)
}

/// `F_SETSIG` of `<asm-generic/fcntl.h>`, which the libc crate does not name.
pub const F_SETSIG: libc::c_int = 10;

/// A read lease on an open file, given back when dropped.
#[derive(Debug)]
pub struct ReadLease<'a>(&'a File);

impl<'a> ReadLease<'a> {
    /// Takes the lease on a file that is open for reading.
    ///
    /// Until it is given back another process may open the file for writing. The kernel then holds that process back and
    /// tells us by a signal, `SIGIO` unless another is chosen, which would end this process. `SIGURG` is chosen because it
    /// is ignored unless a handler is installed; nothing needs to be done about it.
    pub fn take(file: &'a File) -> Result<Self, LeaseRefused> {
        let magic = rustix::fs::fstatfs(file).map(|s| super::magic_number(s.f_type));
        if !magic.is_ok_and(leases_count_on) {
            return Err(LeaseRefused::FileSystem);
        }
        let taken = lease_control(file, F_SETSIG, libc::SIGURG)
            .and_then(|_| lease_control(file, libc::F_SETLEASE, libc::F_RDLCK));
        taken.map(|_| Self(file)).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::AGAIN) => LeaseRefused::Held,
            Some(Errno::ACCESS | Errno::PERM) => LeaseRefused::NotOwner,
            _ => LeaseRefused::Other,
        })
    }

    /// Whether a process waits to write the file: the kernel has begun to break the lease.
    pub fn is_broken(&self) -> bool {
        lease_control(self.0, libc::F_GETLEASE, 0).ok() != Some(libc::F_RDLCK)
    }
}

impl Drop for ReadLease<'_> {
    fn drop(&mut self) {
        // Closing the file gives it back as well, so a failure here leaves nothing behind.
        let _ = lease_control(self.0, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// `fcntl(2)` with one of `F_SETSIG`, `F_SETLEASE` and `F_GETLEASE`.
#[expect(unsafe_code, reason = "no safe wrapper offers F_SETLEASE")]
pub fn lease_control(file: &File, command: libc::c_int, value: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the file is open for the whole call because it is borrowed; F_SETSIG, F_SETLEASE and F_GETLEASE take an
    // int argument or none and touch no memory of this process.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, value) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
