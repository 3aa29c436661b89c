//! Whose pictures are wanted: recordings that were just finished, in order, and then whatever a sweep finds.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::stop::Stop;

/// Recordings that are remembered one by one; a sweep finds the others.
const MOST_FRESH: usize = 10_000;
/// How often it is looked whether to stop.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Make the pictures of this VoD.
    One(String),
    /// Begin a sweep over the catalogue.
    Sweep,
    /// There is nothing, so far.
    Nothing,
    /// End.
    Closed,
}

/// The requests.
#[derive(Debug, Default)]
pub struct Requests {
    state: Mutex<State>,
    notified: Condvar,
}

#[derive(Debug, Default)]
struct State {
    fresh: VecDeque<String>,
    current: Option<String>,
    wants_sweep: bool,
    is_closed: bool,
    /// Whether there is a thread that does what is asked.
    is_served: bool,
}

impl Requests {
    /// Wants the pictures of a VoD, if somebody makes them.
    pub fn ask(&self, vod_id: &str) {
        let mut state = self.lock();
        if !state.is_served || state.is_closed {
            return;
        }
        if state.fresh.len() >= MOST_FRESH {
            state.wants_sweep = true;
        } else if !state.fresh.iter().any(|id| id == vod_id) {
            state.fresh.push_back(vod_id.to_owned());
        }
        self.notified.notify_all();
    }

    /// Wants all that are missing.
    pub fn sweep(&self) {
        self.lock().wants_sweep = true;
        self.notified.notify_all();
    }

    /// Whether somebody makes pictures.
    pub fn is_served(&self) -> bool {
        let state = self.lock();
        state.is_served && !state.is_closed
    }

    /// Waits until nothing that was asked for one by one is left, or a stop is requested.
    pub fn wait_until_done(&self, stop: &Stop) {
        let mut state = self.lock();
        while state.is_served && !state.is_closed && !stop.is_requested() {
            if state.fresh.is_empty() && state.current.is_none() {
                return;
            }
            let woken = self.notified.wait_timeout(state, LOOK_AGAIN);
            state = woken.map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
    }

    /// Nothing more is made.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.notified.notify_all();
    }

    pub(super) fn serve(&self) {
        self.lock().is_served = true;
    }

    /// What to do next; waits for at most so long for something to do.
    pub(super) fn next(&self, patience: Duration) -> Next {
        let mut state = self.lock();
        for has_waited in [false, true] {
            if state.is_closed {
                return Next::Closed;
            }
            if let Some(id) = state.fresh.pop_front() {
                state.current = Some(id.clone());
                return Next::One(id);
            }
            if std::mem::take(&mut state.wants_sweep) {
                return Next::Sweep;
            }
            if !has_waited && !patience.is_zero() {
                let woken = self.notified.wait_timeout(state, patience);
                state = woken.map_or_else(|e| e.into_inner().0, |(state, _)| state);
            }
        }
        Next::Nothing
    }

    /// What was taken last is done.
    pub(super) fn done(&self) {
        self.lock().current = None;
        self.notified.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_finished_first_comes_first_and_a_sweep_last() {
        let requests = Requests::default();
        requests.ask("nobody makes it");
        requests.serve();
        requests.sweep();
        for id in ["a", "b", "a"] {
            requests.ask(id);
        }
        let next = || requests.next(Duration::ZERO);
        assert_eq!(
            [next(), next(), next(), next()],
            [Next::One("a".into()), Next::One("b".into()), Next::Sweep, Next::Nothing]
        );
        requests.done();
        requests.wait_until_done(&Stop::default());
        requests.close();
        requests.ask("c");
        assert_eq!(next(), Next::Closed);
    }

    #[test]
    fn too_many_are_left_to_a_sweep() {
        let requests = Requests::default();
        requests.serve();
        (0..MOST_FRESH).for_each(|n| requests.lock().fresh.push_back(n.to_string()));
        requests.ask("one more");
        assert!(requests.lock().fresh.len() == MOST_FRESH && requests.lock().wants_sweep);
    }
}
