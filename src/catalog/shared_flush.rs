//! One flush serves every thread that waits for one: recordings under way at the same time share the disk's slowest
//! operation.
//!
//! A flush may serve only those who asked before it began: what they wrote is certain to be in it. Who comes while one
//! runs waits for the next. Must not be used for anything that is not the same for all who ask.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets one thread flush for all that wait.
#[derive(Debug, Default)]
pub(super) struct SharedFlush {
    state: Mutex<FlushState>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct FlushState {
    /// Flushes that have begun, successful or not.
    begun: u64,
    /// The last one that ended well; everything asked for before it began is durable.
    done: u64,
    is_running: bool,
    /// Threads that wait for another's flush.
    waiting: usize,
}

impl SharedFlush {
    /// Returns once a flush that began after this call has ended well, or with this thread's own failure.
    pub(super) fn run<E>(&self, flush: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.lock();
        let wanted = state.begun + 1;
        while state.is_running && state.done < wanted {
            state.waiting += 1;
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        if state.done >= wanted {
            return Ok(());
        }
        state.is_running = true;
        state.begun += 1;
        let mine = FlushGuard { shared: self, number: state.begun, is_good: false };
        drop(state);
        mine.end_after(flush)
    }

    fn lock(&self) -> MutexGuard<'_, FlushState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flush under way; those who wait are woken however it ends.
struct FlushGuard<'a> {
    shared: &'a SharedFlush,
    number: u64,
    is_good: bool,
}

impl FlushGuard<'_> {
    fn end_after<E>(mut self, flush: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let ended = flush();
        self.is_good = ended.is_ok();
        ended
    }
}

impl Drop for FlushGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_running = false;
        if self.is_good {
            state.done = self.number;
        }
        self.shared.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    /// Every thread writes, asks, and then finds its write among what a flush has covered.
    #[test]
    fn what_was_written_before_asking_is_flushed_on_return() {
        let (written, flushed) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = SharedFlush::default();
        let flush = || {
            let covered = written.load(Ordering::SeqCst);
            thread::yield_now();
            flushed.fetch_max(covered, Ordering::SeqCst);
            Ok::<(), ()>(())
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        shared.run(flush).unwrap();
                        assert!(flushed.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
    }

    #[test]
    fn those_who_wait_share_the_next_flush_and_not_the_one_under_way() {
        let shared = SharedFlush::default();
        let flushes = AtomicU64::new(0);
        let count = || {
            flushes.fetch_add(1, Ordering::SeqCst);
            Ok::<(), ()>(())
        };
        thread::scope(|scope| {
            let under_way = || {
                for _ in 0..4 {
                    scope.spawn(|| shared.run(count).unwrap());
                }
                while shared.lock().waiting < 4 {
                    thread::yield_now();
                }
                count()
            };
            shared.run(under_way).unwrap();
        });
        assert_eq!(flushes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_failure_is_told_to_the_one_who_flushed_and_the_next_tries_for_itself() {
        let shared = SharedFlush::default();
        assert_eq!(shared.run(|| Err("disk")), Err("disk"));
        assert_eq!(shared.run(|| Ok::<(), &str>(())), Ok(()));
    }
}
