//! Whether the database is told what happens here: for the status, metrics and the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::error::FleetError;
use crate::clock::Clock;
use crate::fault::{Fault as _, chain};

/// Without a confirmed heartbeat for so long, by its own clock, a node no longer counts on being a member.
const UNCONFIRMED: Duration = Duration::from_secs(20);

/// How this node stands to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetHealth {
    /// Identity of this node.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// Whether the database has confirmed a heartbeat within the last 20 s and nothing has failed since.
    pub is_connected: bool,
    /// The epoch that it runs under, once it has one.
    pub epoch: Option<i64>,
    /// What is in the way, in words.
    pub problem: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Records that the database has not been told about.
    pub waiting_vods: u64,
    /// Events that it has not been told about.
    pub waiting_events: u64,
}

/// What is known.
#[derive(Debug)]
pub(super) struct Health {
    clock: Clock,
    state: Mutex<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    epoch: Option<i64>,
    confirmed: Option<Instant>,
    problem: Option<(String, Option<String>)>,
    /// Whether the log has the problem.
    is_said: bool,
}

impl Health {
    /// Nothing is known yet; ages are told by this clock.
    pub fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch that this process holds.
    pub fn epoch(&self) -> Option<i64> {
        self.lock().epoch
    }

    /// It holds this epoch from now on, or none any more.
    pub fn hold(&self, epoch: Option<i64>) {
        self.lock().epoch = epoch;
    }

    /// A session has begun.
    pub fn connected(&self, name: &str) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.confirmed = Some(now);
        state.problem = None;
        state.is_said = false;
        let epoch = state.epoch.unwrap_or_default();
        drop(state);
        info!(node = name, epoch, "connected to the fleet database");
    }

    /// The database has answered for this node.
    pub fn confirmed(&self) {
        let now = self.clock.now();
        self.lock().confirmed = Some(now);
    }

    /// A session has ended, or none could begin. Said in the log once until the next session.
    pub fn lost(&self, error: &FleetError) {
        let mut state = self.lock();
        state.problem = Some((chain(error), error.hint()));
        let is_said = std::mem::replace(&mut state.is_said, true);
        drop(state);
        if !is_said {
            let hint = error.hint().unwrap_or_default();
            warn!(
                error = chain(error),
                hint, "the fleet database is not told about this node's recordings for now; retrying"
            );
        }
    }

    /// The words for whoever asks now: connected, what is in the way, what to do.
    pub fn words(&self) -> (bool, Option<String>, Option<String>) {
        let state = self.lock();
        if let Some((problem, hint)) = &state.problem {
            return (false, Some(problem.clone()), hint.clone());
        }
        match state.confirmed.map(|at| self.clock.now().saturating_duration_since(at)) {
            Some(age) if age < UNCONFIRMED => (true, None, None),
            Some(age) => {
                let words = format!("the fleet database has confirmed no heartbeat for {} s", age.as_secs());
                (false, Some(words), None)
            }
            None => (false, Some("connecting to the fleet database".to_owned()), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_on_the_others_for_twenty_seconds_behind_a_heartbeat_whatever_the_wall_clock_says() {
        let clock = Clock::standing_at(1_700_000_000_000);
        let health = Health::new(&clock);
        assert!(!health.words().0, "nothing is confirmed yet");
        health.connected("a");
        clock.set(0);
        clock.advance(Duration::from_secs(19));
        assert_eq!(health.words(), (true, None, None));
        clock.advance(Duration::from_secs(1));
        let (is_connected, problem, _) = health.words();
        assert!(!is_connected && problem.is_some_and(|problem| problem.contains("for 20 s")));
        health.confirmed();
        assert!(health.words().0);
    }
}
