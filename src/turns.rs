//! Who may compute: recordings under way outnumber the cores they may use, so that one computes while others wait for
//! the disk.
//!
//! A recording gets a turn before it is taken from the queue, lends it while it waits for a flush, and gets it back
//! before any new recording gets one. So at most as many compute as there are turns, and what is urgent is never
//! behind recordings that were begun and cannot go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The turns there are.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    most: usize,
    /// Less than none after a change to fewer, until those are given back.
    free: isize,
    /// Recordings that lent their turn and want it back.
    coming_back: usize,
}

/// A turn; while it is held its recording may compute. Used by one thread at a time.
#[derive(Debug)]
pub struct Turn<'a> {
    /// `None` for one who works alone.
    turns: Option<&'a Turns>,
    is_held: AtomicBool,
}

impl Turns {
    /// As many turns as may compute at once.
    pub fn new(count: usize) -> Self {
        Self {
            state: Mutex::new(State { most: count, free: count.cast_signed(), coming_back: 0 }),
            freed: Condvar::new(),
        }
    }

    /// Waits for a turn for a new recording.
    pub fn enter(&self) -> Turn<'_> {
        let mut state = self.lock();
        while state.free <= 0 || state.coming_back > 0 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= 1;
        Turn { turns: Some(self), is_held: AtomicBool::new(true) }
    }

    /// From now on as many may compute at once; those that compute already go on.
    pub fn resize(&self, count: usize) {
        let mut state = self.lock();
        state.free += count.cast_signed() - state.most.cast_signed();
        state.most = count;
        drop(state);
        self.freed.notify_all();
    }

    fn come_back(&self) {
        let mut state = self.lock();
        state.coming_back += 1;
        while state.free <= 0 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.coming_back -= 1;
        state.free -= 1;
        drop(state);
        // A turn that is left over was kept from new recordings until now.
        self.freed.notify_all();
    }

    fn give_back(&self) {
        self.lock().free += 1;
        self.freed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The turn of one who works alone: nobody else wants to compute.
    pub const fn alone() -> Self {
        Self { turns: None, is_held: AtomicBool::new(true) }
    }

    /// Lends the turn for as long as something waits for the disk.
    pub fn lend<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.pause();
        let waited = wait();
        self.resume();
        waited
    }

    /// Gives it away.
    pub fn pause(&self) {
        if let Some(turns) = self.turns.filter(|_| self.is_held.swap(false, Ordering::Relaxed)) {
            turns.give_back();
        }
    }

    /// Waits until it is back.
    fn resume(&self) {
        if let Some(turns) = self.turns.filter(|_| !self.is_held.load(Ordering::Relaxed)) {
            turns.come_back();
            self.is_held.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn<'_> {
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
    fn never_more_compute_than_there_are_turns() {
        let (turns, computing) = (Turns::new(2), AtomicUsize::new(0));
        let compute = || {
            assert!(computing.fetch_add(1, Ordering::SeqCst) < 2);
            thread::yield_now();
            computing.fetch_sub(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let turn = turns.enter();
                        compute();
                        turn.lend(thread::yield_now);
                        compute();
                    }
                });
            }
        });
        assert_eq!(turns.lock().free, 2);
    }

    #[test]
    fn who_waits_for_the_disk_is_overtaken_and_comes_back_before_anything_new() {
        let turns = Turns::new(1);
        let first = turns.enter();
        first.pause();
        let second = turns.enter();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            // A turn is used by one thread at a time; coming back is asked for by another here.
            scope.spawn(|| {
                turns.come_back();
                order.lock().unwrap().push("first again");
                turns.give_back();
            });
            while turns.lock().coming_back == 0 {
                thread::yield_now();
            }
            scope.spawn(|| {
                let _third = turns.enter();
                order.lock().unwrap().push("third");
            });
            drop(second);
        });
        assert_eq!(order.into_inner().unwrap(), ["first again", "third"]);
    }

    #[test]
    fn a_turn_is_given_back_however_its_recording_ends() {
        let turns = Turns::new(1);
        drop(turns.enter());
        let lent = turns.enter();
        lent.pause();
        drop(lent);
        let _again = turns.enter();
        assert_eq!(turns.lock().free, 0);
    }
}
