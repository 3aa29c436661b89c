//! The wish to stop, and how work over media heeds it.
//!
//! Long loops over what lies on a disk call [`check`]. Between the start of [`stoppable`] and its end, on its thread and on those
//! that [`StopHandle`] is passed on to, a requested stop unwinds from there, without an error that a tolerant reader of damaged media
//! could take for the end of a file. What is on the way back is what a panic would drop: unnamed partials vanish, locks are given
//! back. The panic hook is not called.
//!
//! It must not be called within a callback of FFmpeg (unwinding does not cross C), nor between a change of a file and what makes
//! that change whole: those steps are short and end by themselves.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// The wish to stop: work in progress looks at it and ends at its next safe point, or waits for it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    is_requested: AtomicBool,
    told: Notify,
    parts: Mutex<Vec<Weak<StopState>>>,
}

impl StopState {
    fn request(&self) {
        self.is_requested.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
        let parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        parts.iter().filter_map(Weak::upgrade).for_each(|part| part.request());
    }
}

/// The work ended because a stop was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// What a thread heeds, to be passed on to another that works for it.
#[derive(Debug, Clone, Default)]
pub struct StopHandle(Option<Stop>);

thread_local! {
    static HEEDED: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

impl Stop {
    /// Asks everything to stop.
    pub fn request(&self) {
        self.0.request();
    }

    /// The wish to stop a part of the work: it can be requested alone, and a request to stop the whole reaches it.
    #[must_use]
    pub fn part(&self) -> Self {
        let part = Self::default();
        let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|known| known.strong_count() > 0);
        parts.push(Arc::downgrade(&part.0));
        // The flag is set before the parts are taken: a request meets the part there, or is seen here.
        if self.is_requested() {
            part.request();
        }
        drop(parts);
        part
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.is_requested.load(Ordering::SeqCst)
    }

    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        // Before the flag is looked at: from here on no request is missed.
        let told = self.0.told.notified();
        if !self.is_requested() {
            told.await;
        }
    }

    /// The flag itself, for work that polls it.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.is_requested
    }
}

impl StopHandle {
    /// What this thread heeds now.
    pub fn of_this_thread() -> Self {
        Self(HEEDED.with_borrow(Clone::clone))
    }

    /// Does work on this thread that heeds the same. A stop unwinds out of it, for the thread that waits for this one.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        let _before = PreviousStop(HEEDED.replace(self.0));
        work()
    }
}

/// What was heeded before, which is heeded again when this is dropped.
struct PreviousStop(Option<Stop>);

impl Drop for PreviousStop {
    fn drop(&mut self) {
        HEEDED.set(self.0.take());
    }
}

/// Does work whose calls of [`check`] heed a stop.
pub fn stoppable<T>(stop: &Stop, work: impl FnOnce() -> T) -> Result<T, Stopped> {
    let heed = StopHandle(Some(stop.clone()));
    match catch_unwind(AssertUnwindSafe(|| heed.during(work))) {
        Ok(done) => Ok(done),
        Err(thrown) if thrown.is::<Stopped>() => Err(Stopped),
        Err(panic) => resume_unwind(panic),
    }
}

/// Ends the work of [`stoppable`] if a stop was requested; does nothing outside of it.
///
/// A check costs a few nanoseconds. It belongs where a loop reads its next block, not at every byte.
pub fn check() {
    // What is dropped on the way out of a panic may come here, and a second one would abort the process.
    if is_wanted() && !std::thread::panicking() {
        resume_unwind(Box::new(Stopped));
    }
}

/// Whether [`check`] would end the work: for threads that nobody asks how they ended.
pub fn is_wanted() -> bool {
    HEEDED.with_borrow(|heeded| heeded.as_ref().is_some_and(Stop::is_requested))
}

/// Lets the rest of the work of [`stoppable`] come to its end: from here on it must not be cut.
pub fn ignore_from_here() {
    HEEDED.set(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_only_work_that_heeds_a_requested_stop() {
        check();
        let stop = Stop::default();
        assert_eq!(stoppable(&stop, || (check(), 1).1), Ok(1));
        stop.request();
        check();
        assert_eq!(stoppable(&stop, || (check(), 1).1), Err(Stopped));
        assert_eq!(stoppable(&stop, || stoppable(&Stop::default(), check)), Ok(Ok(())), "the innermost is heeded");
        check();
    }

    #[test]
    fn a_thread_that_works_for_another_heeds_the_same_and_both_end() {
        let stop = Stop::default();
        let ended = stoppable(&stop, || {
            crate::threads::alongside(
                || (),
                || {
                    stop.request();
                    check();
                    unreachable!("the thread heeds what its scope heeds");
                },
            )
        });
        assert_eq!(ended, Err(Stopped));
    }

    #[test]
    fn a_part_is_stopped_alone_and_with_the_whole() {
        let whole = Stop::default();
        let (one, other) = (whole.part(), whole.part());
        one.request();
        assert_eq!([one.is_requested(), other.is_requested(), whole.is_requested()], [true, false, false]);
        whole.request();
        assert!(other.is_requested());
        assert!(whole.part().is_requested(), "a part that begins afterwards, too");
    }

    #[test]
    fn a_stop_is_waited_for() {
        let runtime = crate::runtime::Runtime::start().unwrap();
        let stop = Stop::default();
        let waiting: Vec<_> = (0..3).map(|_| stop.clone()).collect();
        let tasks = waiting.into_iter().map(|stop| runtime.handle().spawn(async move { stop.requested().await }));
        let tasks: Vec<_> = tasks.collect();
        stop.request();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        runtime.block_on(stop.requested());
    }

    #[test]
    #[should_panic(expected = "a fault")]
    fn a_panic_stays_a_panic() {
        let _ = stoppable(&Stop::default(), || panic!("a fault"));
    }

    #[test]
    fn what_is_dropped_on_the_way_out_may_look_too() {
        struct Looks;
        impl Drop for Looks {
            fn drop(&mut self) {
                check();
            }
        }
        let stop = Stop::default();
        stop.request();
        let work = || {
            let _looks = Looks;
            check();
        };
        assert_eq!(stoppable(&stop, work), Err(Stopped));
    }
}
