//! Whether the database is told what happens here: for the status, metrics and the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::claim::HEARTBEAT;
use super::error::FleetError;
use crate::clock::Clock;
use crate::fault::{Fault as _, chain};

/// For how long the others take a node for alive without a heartbeat, unless the database says otherwise.
const LEASE: Duration = Duration::from_secs(30);

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

#[derive(Debug)]
struct HealthState {
    epoch: Option<i64>,
    /// For how long the others take this node for alive.
    lease: Duration,
    /// When the last heartbeat was sent that was confirmed.
    confirmed: Option<Instant>,
    /// Since when the session has not been lost; none without one.
    unbroken_since: Option<Instant>,
    problem: Option<(String, Option<String>)>,
    /// Whether the log has the problem.
    is_said: bool,
}

impl HealthState {
    /// Without a confirmed heartbeat for so long, by its own clock, a node no longer counts on being a member: the others do a while
    /// longer.
    fn unconfirmed(&self) -> Duration {
        self.lease * 2 / 3
    }
}

impl Health {
    /// Nothing is known yet; ages are told by this clock.
    pub fn new(clock: &Clock) -> Self {
        let state = HealthState {
            epoch: None,
            lease: LEASE,
            confirmed: None,
            unbroken_since: None,
            problem: None,
            is_said: false,
        };
        Self { clock: clock.clone(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The monotonic time: taken before a heartbeat is sent.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// For how long the others take this node for alive without a heartbeat.
    pub fn lasts(&self, lease: Duration) {
        self.lock().lease = lease;
    }

    /// How often a heartbeat is sent.
    pub fn heartbeat(&self) -> Duration {
        HEARTBEAT.min(self.lock().lease / 6)
    }

    /// The epoch under which this node may claim work and take steps that cannot be undone: its heartbeat was confirmed not long ago.
    pub fn acting_epoch(&self) -> Option<i64> {
        let (state, now) = (self.lock(), self.clock.now());
        let is_confirmed = state.confirmed.is_some_and(|at| now.saturating_duration_since(at) < state.unconfirmed());
        state.epoch.filter(|_| is_confirmed)
    }

    /// For how long counts, by the clock of this node, what the database has said.
    pub fn trust(&self) -> Duration {
        self.lock().unconfirmed()
    }

    /// Whether a node that the database has not heard of for a lease is dead. Where the database was away, it has heard of nobody: the
    /// others get as long to come back as they have to be heard of.
    pub fn may_judge(&self) -> bool {
        let (state, now) = (self.lock(), self.clock.now());
        state.unbroken_since.is_some_and(|since| now.saturating_duration_since(since) >= state.lease)
    }

    /// Whether the last session has failed and no other has begun since.
    pub fn has_failed(&self) -> bool {
        self.lock().problem.is_some()
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
        let mut state = self.lock();
        state.unbroken_since = Some(self.clock.now());
        state.problem = None;
        state.is_said = false;
        let epoch = state.epoch.unwrap_or_default();
        drop(state);
        info!(node = name, epoch, "connected to the fleet database");
    }

    /// The database has answered for this node to what was sent then. When the answer came says nothing: the process may have been
    /// suspended meanwhile.
    pub fn confirmed(&self, sent: Instant) {
        self.lock().confirmed = Some(sent);
    }

    /// A session has ended, or none could begin. Said in the log once until the next session.
    pub fn lost(&self, error: &FleetError) {
        let mut state = self.lock();
        state.unbroken_since = None;
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
            Some(age) if age < state.unconfirmed() => (true, None, None),
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
    fn a_node_whose_heartbeat_was_sent_too_long_ago_acts_no_more() {
        let clock = Clock::standing_at(0);
        let health = Health::new(&clock);
        assert_eq!(health.acting_epoch(), None);
        let sent = health.now();
        // Suspended between the question and the answer.
        clock.advance(Duration::from_secs(60));
        health.hold(Some(7));
        health.confirmed(sent);
        assert_eq!(health.acting_epoch(), None, "the answer is late");
        health.confirmed(health.now());
        clock.advance(Duration::from_secs(19));
        assert_eq!(health.acting_epoch(), Some(7));
        // A wall clock that is set says nothing.
        clock.set(3_600_000);
        assert_eq!(health.acting_epoch(), Some(7));
        clock.advance(Duration::from_secs(2));
        assert_eq!(health.acting_epoch(), None);
        assert!(!health.words().0);
    }

    #[test]
    fn nobody_is_taken_for_dead_before_a_session_has_lasted_for_a_lease() {
        let clock = Clock::standing_at(0);
        let health = Health::new(&clock);
        assert!(!health.may_judge());
        health.connected("a");
        clock.advance(Duration::from_secs(29));
        assert!(!health.may_judge());
        clock.advance(Duration::from_secs(1));
        assert!(health.may_judge());
        health.lost(&FleetError::NoTables);
        assert!(!health.may_judge());
        health.connected("a");
        clock.advance(Duration::from_secs(29));
        assert!(!health.may_judge(), "the database was away");
        clock.advance(Duration::from_secs(1));
        assert!(health.may_judge());
    }

    #[test]
    fn a_node_counts_on_the_others_for_twenty_seconds_behind_a_heartbeat_whatever_the_wall_clock_says() {
        let clock = Clock::standing_at(1_700_000_000_000);
        let health = Health::new(&clock);
        assert!(!health.words().0, "nothing is confirmed yet");
        health.connected("a");
        health.confirmed(health.now());
        clock.set(0);
        clock.advance(Duration::from_secs(19));
        assert_eq!(health.words(), (true, None, None));
        clock.advance(Duration::from_secs(1));
        let (is_connected, problem, _) = health.words();
        assert!(!is_connected && problem.is_some_and(|problem| problem.contains("for 20 s")));
        health.confirmed(health.now());
        assert!(health.words().0);
    }
}
