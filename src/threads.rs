//! Work on a thread of its own where the system has one to give; else here and now. A service that is allowed few threads
//! is slower for it, and ends no recording with a panic.
//!
//! The priority of a thread can be lowered and, without privileges, not raised again: what runs at a lower one
//! ([`at_lower_priority`]) gets a thread of its own.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use rustix::process::{Pid, getpid, getpriority_process, setpriority_process};

/// What is done beside other work, or was done at once because no thread was there for it.
#[derive(Debug)]
pub enum SpawnedOrInline<'scope, T> {
    /// On a thread of its own.
    There(ScopedJoinHandle<'scope, T>),
    /// Done already.
    Here(T),
}

impl<T> SpawnedOrInline<'_, T> {
    /// Waits for the end of the work; a panic of it goes on here.
    pub fn join(self) -> T {
        match self {
            Self::There(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Self::Here(done) => done,
        }
    }
}

/// Does the second piece of work on a thread of its own while the first is done on this one.
pub fn alongside<A, B: Send>(here: impl FnOnce() -> A, there: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let other = spawn_or_run(scope, there);
        (here(), other.join())
    })
}

/// Does work beside what comes next in the scope. It must be able to end without what comes next.
pub fn spawn_or_run<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> SpawnedOrInline<'scope, T> {
    beside_with(Builder::new(), scope, work)
}

fn beside_with<'scope, T: Send + 'scope>(
    builder: Builder,
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> SpawnedOrInline<'scope, T> {
    // A thread that cannot begin takes its work with it: so the work is only lent.
    let heed = crate::stop::StopHandle::of_this_thread();
    let lent = Arc::new(Mutex::new(Some(|| heed.during(work))));
    let theirs = Arc::clone(&lent);
    match builder.spawn_scoped(scope, move || done(&theirs)) {
        Ok(thread) => SpawnedOrInline::There(thread),
        Err(error) => {
            tracing::debug!(
                error = crate::fault::chain(&error),
                "cannot start a thread; working in the current thread"
            );
            SpawnedOrInline::Here(done(&lent))
        }
    }
}

/// Does work at a CPU priority lower by `nice` (0 to 19) than that of the process, and waits for it; 0 does it here. Where
/// nothing else was set, the I/O priority follows (`ioprio_set(2)`: `(nice + 20) / 5`), and threads that the work starts inherit
/// both. Without a thread the work is done here, at the priority that this one has.
pub fn at_lower_priority<T: Send>(nice: u8, work: impl FnOnce() -> T + Send) -> T {
    let wanted = priority_of(Some(getpid())).saturating_add(nice.into()).min(LOWEST);
    if nice == 0 || priority_of(None) >= wanted {
        return work();
    }
    let name = std::thread::current().name().unwrap_or("background").to_owned();
    std::thread::scope(|scope| {
        let lowered = || {
            if let Err(error) = setpriority_process(None, wanted) {
                tracing::debug!(error = crate::fault::chain(&error), wanted, "cannot lower the priority of a thread");
            }
            work()
        };
        beside_with(Builder::new().name(name), scope, lowered).join()
    })
}

/// The lowest CPU priority there is.
const LOWEST: i32 = 19;

/// Of a process, which is that of its first thread, or of this thread.
fn priority_of(process: Option<Pid>) -> i32 {
    getpriority_process(process).unwrap_or(0)
}

fn done<T>(lent: &Mutex<Option<impl FnOnce() -> T>>) -> T {
    let work = lent.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Only one of the two ever comes here: a thread that did not begin never does.
    work.unwrap_or_else(|| unreachable!("work was done twice"))()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_a_thread_is_done_all_the_same() {
        let here = std::thread::current().id();
        let me = || std::thread::current().id();
        std::thread::scope(|scope| {
            assert_ne!(spawn_or_run(scope, me).join(), here);
            // No address space is as large as its stack.
            let refused = beside_with(Builder::new().stack_size(1 << 52), scope, me);
            assert!(matches!(refused, SpawnedOrInline::Here(id) if id == here));
        });
        assert_eq!(alongside(|| 1, || 2), (1, 2));
    }

    #[test]
    fn work_at_a_lower_priority_leaves_that_of_its_caller_as_it_is() {
        let before = priority_of(None);
        let process = priority_of(Some(getpid()));
        let seen = at_lower_priority(7, || (priority_of(None), at_lower_priority(7, || priority_of(None))));
        let lower = (process + 7).min(LOWEST);
        assert_eq!(seen, (lower, lower), "once is enough");
        let of_a_child = at_lower_priority(7, || std::thread::spawn(|| priority_of(None)).join().unwrap());
        assert_eq!(of_a_child, lower, "what it starts inherits it");
        let here = std::thread::current().id();
        assert_eq!(at_lower_priority(0, || std::thread::current().id()), here);
        assert_eq!(priority_of(None), before);
    }

    #[test]
    #[should_panic(expected = "what it met")]
    fn a_panic_is_not_lost() {
        std::thread::scope(|scope| spawn_or_run(scope, || panic!("what it met")).join());
    }
}
