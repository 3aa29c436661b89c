//! Work on a thread of its own where the system has one to give; else here and now. A service that is allowed few threads
//! is slower for it, and ends no recording with a panic.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// What is done beside other work, or was done at once because no thread was there for it.
#[derive(Debug)]
pub enum Beside<'scope, T> {
    /// On a thread of its own.
    There(ScopedJoinHandle<'scope, T>),
    /// Done already.
    Here(T),
}

impl<T> Beside<'_, T> {
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
        let other = beside(scope, there);
        (here(), other.join())
    })
}

/// Does work beside what comes next in the scope. It must be able to end without what comes next.
pub fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Beside<'scope, T> {
    beside_with(Builder::new(), scope, work)
}

fn beside_with<'scope, T: Send + 'scope>(
    builder: Builder,
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Beside<'scope, T> {
    // A thread that cannot begin takes its work with it: so the work is only lent.
    let heed = crate::stop::Heed::of_this_thread();
    let lent = Arc::new(Mutex::new(Some(|| heed.during(work))));
    let theirs = Arc::clone(&lent);
    match builder.spawn_scoped(scope, move || done(&theirs)) {
        Ok(thread) => Beside::There(thread),
        Err(error) => {
            tracing::debug!(error = crate::fault::chain(&error), "No thread is left; the work is done here.");
            Beside::Here(done(&lent))
        }
    }
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
            assert_ne!(beside(scope, me).join(), here);
            // No address space is as large as its stack.
            let refused = beside_with(Builder::new().stack_size(1 << 52), scope, me);
            assert!(matches!(refused, Beside::Here(id) if id == here));
        });
        assert_eq!(alongside(|| 1, || 2), (1, 2));
    }

    #[test]
    #[should_panic(expected = "what it met")]
    fn a_panic_is_not_lost() {
        std::thread::scope(|scope| beside(scope, || panic!("what it met")).join());
    }
}
