//! Whose pictures are wanted: recordings that were just finished, in order, and then whatever a sweep finds.
//!
//! Recordings that are being finished come first: while there are any, a picture waits, because it writes to the same disk and
//! catalogue. It does not wait for ever: a machine that is never idle makes its pictures all the same.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::stop::Stop;

/// Recordings that are remembered one by one; a sweep finds the others.
const MOST_FRESH: usize = 10_000;
/// How long a picture waits for recordings that are being finished.
const MOST_WAIT: Duration = Duration::from_secs(60);
/// While there are such recordings a sweep finds one picture in so long.
const SWEEP_WAIT: Duration = Duration::from_secs(1);
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
    fresh: VecDeque<Request>,
    current: Option<String>,
    /// Recordings that are being finished.
    finishing: usize,
    wants_sweep: bool,
    is_closed: bool,
    /// Whether there is a thread that does what is asked.
    is_served: bool,
}

#[derive(Debug)]
struct Request {
    vod_id: String,
    since: Instant,
}

/// A recording that is being finished; pictures wait until it is dropped.
#[derive(Debug)]
pub struct Finishing<'a>(&'a Requests);

impl Drop for Finishing<'_> {
    fn drop(&mut self) {
        self.0.lock().finishing -= 1;
        self.0.notified.notify_all();
    }
}

impl State {
    /// What can be done now.
    fn take(&mut self, now: Instant) -> Option<Next> {
        if self.is_closed {
            return Some(Next::Closed);
        }
        let is_due = |asked: &Request| now.saturating_duration_since(asked.since) >= MOST_WAIT;
        if self.finishing > 0 && !self.fresh.front().is_some_and(is_due) {
            // To begin a sweep costs nothing; what it finds comes one by one.
            return std::mem::take(&mut self.wants_sweep).then_some(Next::Sweep);
        }
        if let Some(Request { vod_id, .. }) = self.fresh.pop_front() {
            self.current = Some(vod_id.clone());
            return Some(Next::One(vod_id));
        }
        std::mem::take(&mut self.wants_sweep).then_some(Next::Sweep)
    }
}

impl Requests {
    /// Notes that a recording is being finished.
    pub fn finishing(&self) -> Finishing<'_> {
        self.lock().finishing += 1;
        Finishing(self)
    }

    /// Wants the pictures of a VoD, if somebody makes them.
    pub fn ask(&self, vod_id: &str, now: Instant) {
        let mut state = self.lock();
        if !state.is_served || state.is_closed {
            return;
        }
        if state.fresh.len() >= MOST_FRESH {
            state.wants_sweep = true;
        } else if !state.fresh.iter().any(|asked| asked.vod_id == vod_id) {
            state.fresh.push_back(Request { vod_id: vod_id.to_owned(), since: now });
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

    /// What to do next; waits for at most so long for something to do, or longer while recordings are being finished.
    pub(super) fn next(&self, patience: Duration, clock: &Clock) -> Next {
        let begun = clock.now();
        let mut state = self.lock();
        loop {
            if let Some(next) = state.take(clock.now()) {
                return next;
            }
            let patience = if state.finishing > 0 { patience.max(SWEEP_WAIT) } else { patience };
            let rest = patience.saturating_sub(clock.now().saturating_duration_since(begun));
            if rest.is_zero() {
                return Next::Nothing;
            }
            let woken = self.notified.wait_timeout(state, rest.min(LOOK_AGAIN));
            state = woken.map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
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
        let (clock, now) = (Clock::default(), Instant::now());
        requests.ask("nobody makes it", now);
        requests.serve();
        requests.sweep();
        for id in ["a", "b", "a"] {
            requests.ask(id, now);
        }
        let next = || requests.next(Duration::ZERO, &clock);
        assert_eq!(
            [next(), next(), next(), next()],
            [Next::One("a".into()), Next::One("b".into()), Next::Sweep, Next::Nothing]
        );
        requests.done();
        requests.wait_until_done(&Stop::default());
        requests.close();
        requests.ask("c", now);
        assert_eq!(next(), Next::Closed);
    }

    #[test]
    fn too_many_are_left_to_a_sweep() {
        let requests = Requests::default();
        requests.serve();
        let now = Instant::now();
        let asked = (0..MOST_FRESH).map(|n| Request { vod_id: n.to_string(), since: now });
        requests.lock().fresh.extend(asked);
        requests.ask("one more", now);
        assert!(requests.lock().fresh.len() == MOST_FRESH && requests.lock().wants_sweep);
    }

    #[test]
    fn pictures_wait_for_recordings_that_are_being_finished_but_not_for_ever() {
        let (requests, now) = (Requests::default(), Instant::now());
        requests.serve();
        requests.ask("a", now);
        requests.ask("b", now);
        requests.sweep();
        let finishing = requests.finishing();
        assert_eq!(requests.lock().take(now), Some(Next::Sweep));
        assert_eq!(requests.lock().take(now), None);
        assert_eq!(requests.lock().take(now + MOST_WAIT), Some(Next::One("a".into())));
        drop(finishing);
        assert_eq!(requests.lock().take(now), Some(Next::One("b".into())));
        let _other = requests.finishing();
        requests.close();
        assert_eq!(requests.lock().take(now), Some(Next::Closed));
    }
}
