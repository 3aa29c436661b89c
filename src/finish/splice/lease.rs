//! An exclusive lease: while it is held, whoever opens the file waits until it is given back.
//!
//! `fcntl(F_SETLEASE, F_WRLCK)` is granted to the file's owner and to `CAP_LEASE`, if no other open file description
//! of the file exists on this machine. The kernel waits `lease-break-time` (45 s) for us, so the work under a lease is
//! kept short. It must not be relied on against other machines: file systems they can write are not spliced in place.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::durable::{F_SETSIG, lease_control};

/// A process that is being started has, for an instant, copies of everything that is open here.
const TRIES: u32 = 20;
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// An exclusive lease on an open file, given back when dropped.
#[derive(Debug)]
pub(super) struct ExclusiveLease<'a> {
    file: &'a File,
    since: Instant,
}

impl<'a> ExclusiveLease<'a> {
    /// Takes the lease; `None` if others have the file open, or if this process may not have a lease on it.
    pub(super) fn take(file: &'a File) -> Option<Self> {
        // SIGURG is ignored unless a handler is installed; SIGIO, the default, would end this process.
        lease_control(file, F_SETSIG, libc::SIGURG).ok()?;
        for _ in 0..TRIES {
            match lease_control(file, libc::F_SETLEASE, libc::F_WRLCK) {
                Ok(_) => return Some(Self { file, since: Instant::now() }),
                Err(e) if Errno::from_io_error(&e) == Some(Errno::AGAIN) => std::thread::sleep(AGAIN_AFTER),
                Err(_) => return None,
            }
        }
        None
    }

    /// Whether somebody waits for the file: the kernel has begun to break the lease.
    pub(super) fn is_broken(&self) -> bool {
        lease_control(self.file, libc::F_GETLEASE, 0).ok() != Some(libc::F_WRLCK)
    }

    /// How long it has been held.
    pub(super) fn held(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for ExclusiveLease<'_> {
    fn drop(&mut self) {
        // Closing the file gives it back as well, so a failure here leaves nothing behind.
        let _ = lease_control(self.file, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_has_no_exclusive_lease_and_whoever_opens_it_breaks_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "x").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let other = File::open(&path).unwrap();
        assert!(ExclusiveLease::take(&file).is_none());
        drop(other);
        let Some(lease) = ExclusiveLease::take(&file) else {
            eprintln!("skipped: no leases on the file system of {}", dir.path().display());
            return;
        };
        assert!(!lease.is_broken());
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::RDONLY;
        assert_eq!(rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap_err(), Errno::WOULDBLOCK);
        assert!(lease.is_broken());
        drop(lease);
        File::open(&path).unwrap();
    }
}
