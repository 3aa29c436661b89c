//! Who may compute: recordings under way outnumber the cores they may use, so that one computes while others wait for
//! the disk.
//!
//! A recording gets a permit before it is taken from the queue, lends it while it waits for a flush, and gets it back
//! before any new recording gets one. So at most as many compute as there are permits, and what is urgent is never
//! behind recordings that were begun and cannot go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The permits there are.
#[derive(Debug)]
pub struct CpuPermits {
    state: Mutex<PermitState>,
    freed: Condvar,
}

#[derive(Debug)]
struct PermitState {
    most: usize,
    /// Less than none after a change to fewer, until those are given back.
    free: isize,
    /// Recordings that lent their permit and want it back.
    reacquiring: usize,
}

/// A permit; while it is held its recording may compute. Used by one thread at a time.
#[derive(Debug)]
pub struct CpuPermit<'a> {
    /// `None` for one who works alone.
    permits: Option<&'a CpuPermits>,
    is_held: AtomicBool,
}

impl CpuPermits {
    /// As many permits as may compute at once.
    pub fn new(count: usize) -> Self {
        Self {
            state: Mutex::new(PermitState { most: count, free: count.cast_signed(), reacquiring: 0 }),
            freed: Condvar::new(),
        }
    }

    /// Waits for a permit for a new recording.
    pub fn acquire(&self) -> CpuPermit<'_> {
        let mut state = self.lock();
        while state.free <= 0 || state.reacquiring > 0 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= 1;
        CpuPermit { permits: Some(self), is_held: AtomicBool::new(true) }
    }

    /// From now on as many may compute at once; those that compute already go on.
    pub fn resize(&self, count: usize) {
        let mut state = self.lock();
        state.free += count.cast_signed() - state.most.cast_signed();
        state.most = count;
        drop(state);
        self.freed.notify_all();
    }

    fn reacquire(&self) {
        let mut state = self.lock();
        state.reacquiring += 1;
        while state.free <= 0 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.reacquiring -= 1;
        state.free -= 1;
        drop(state);
        // A permit that is left over was kept from new recordings until now.
        self.freed.notify_all();
    }

    fn release(&self) {
        self.lock().free += 1;
        self.freed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, PermitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CpuPermit<'_> {
    /// The permit of one who works alone: nobody else wants to compute.
    pub const fn alone() -> Self {
        Self { permits: None, is_held: AtomicBool::new(true) }
    }

    /// Lends the permit for as long as something waits for the disk.
    pub fn lend<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.pause();
        let waited = wait();
        self.resume();
        waited
    }

    /// Gives it away.
    pub fn pause(&self) {
        if let Some(permits) = self.permits.filter(|_| self.is_held.swap(false, Ordering::Relaxed)) {
            permits.release();
        }
    }

    /// Waits until it is back.
    fn resume(&self) {
        if let Some(permits) = self.permits.filter(|_| !self.is_held.load(Ordering::Relaxed)) {
            permits.reacquire();
            self.is_held.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for CpuPermit<'_> {
    fn drop(&mut self) {
        self.pause();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn never_more_compute_than_there_are_permits() {
        let (permits, computing) = (CpuPermits::new(2), AtomicUsize::new(0));
        let compute = || {
            assert!(computing.fetch_add(1, Ordering::SeqCst) < 2);
            thread::yield_now();
            computing.fetch_sub(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let permit = permits.acquire();
                        compute();
                        permit.lend(thread::yield_now);
                        compute();
                    }
                });
            }
        });
        assert_eq!(permits.lock().free, 2);
    }

    #[test]
    fn who_waits_for_the_disk_is_overtaken_and_comes_back_before_anything_new() {
        let permits = CpuPermits::new(1);
        let first = permits.acquire();
        first.pause();
        let second = permits.acquire();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            // A permit is used by one thread at a time; coming back is asked for by another here.
            scope.spawn(|| {
                permits.reacquire();
                order.lock().unwrap().push("first again");
                permits.release();
            });
            while permits.lock().reacquiring == 0 {
                thread::yield_now();
            }
            scope.spawn(|| {
                let _third = permits.acquire();
                order.lock().unwrap().push("third");
            });
            drop(second);
        });
        assert_eq!(order.into_inner().unwrap(), ["first again", "third"]);
    }

    #[test]
    fn a_permit_is_released_however_its_recording_ends() {
        let permits = CpuPermits::new(1);
        drop(permits.acquire());
        let lent = permits.acquire();
        lent.pause();
        drop(lent);
        let _again = permits.acquire();
        assert_eq!(permits.lock().free, 0);
    }
}
