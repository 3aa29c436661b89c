//! Which targets may be tried now, which wait and until when, and what of their failures is said. Pure.
//!
//! What would meet every recording alike makes its target wait as a whole: a fault of its surroundings at once, an error or
//! silence of the store after a few in a row. After a pause one delivery tries; the pauses grow until one arrives.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::catalog::next_try_ms;
use crate::fault::Class;
use crate::recording::Delivery;

/// Uploads at once to each target when the configuration does not say.
const DEFAULT_COURIERS: usize = 4;
/// How long a courier sleeps at most before it looks at the queue again.
pub(super) const LONGEST_NAP: Duration = Duration::from_secs(5);
/// A courier does not look at the queue more often than this by itself.
const SHORTEST_NAP: Duration = Duration::from_millis(20);
/// So many deliveries in a row without an answer or with an error of the store, and its target waits as a whole.
const FAILURES: u32 = 4;
/// What fails alike is said once in this time, with how often it was.
const SAID_EVERY_MS: i64 = 60_000;

/// Couriers in all, and how many of them one target may keep busy. Without a target they wait for a reload that brings one.
pub(super) fn shares(concurrency: usize, targets: usize) -> (usize, usize) {
    let targets = targets.max(1);
    match concurrency {
        0 => (DEFAULT_COURIERS * targets, DEFAULT_COURIERS),
        n => (n, n.saturating_sub(targets - 1).max(1)),
    }
}

/// How a store failed a delivery as it would have failed any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetFailure {
    /// No answer.
    Silence,
    /// An error of its own, or it is busy.
    Error,
}

/// What is to be said of a failed delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureReport {
    /// Which delivery failed and why.
    This,
    /// That its target waits as a whole from now on.
    Waits,
    /// How many failed since the last that was said.
    Count(u32),
    /// Nothing: it was said, and is counted.
    Nothing,
}

/// What a target's store failed of late.
#[derive(Debug, Clone, Default)]
struct TargetFailures {
    in_a_row: u32,
    /// Whether the last one was silence: bytes that arrive after it prove that somebody is there.
    was_silence: bool,
    /// How many were not said.
    unsaid: u32,
    single_said_ms: Option<i64>,
    waits_said_ms: Option<i64>,
}

impl TargetFailures {
    fn say(&mut self, begins_to_wait: bool, now_ms: i64) -> FailureReport {
        let is_due = |said: Option<i64>| said.is_none_or(|at| now_ms.saturating_sub(at) >= SAID_EVERY_MS);
        if begins_to_wait && is_due(self.waits_said_ms) {
            (self.waits_said_ms, self.single_said_ms, self.unsaid) = (Some(now_ms), Some(now_ms), 0);
            return FailureReport::Waits;
        }
        if is_due(self.single_said_ms) {
            self.single_said_ms = Some(now_ms);
            let unsaid = std::mem::take(&mut self.unsaid);
            return if unsaid == 0 { FailureReport::This } else { FailureReport::Count(unsaid + 1) };
        }
        self.unsaid = self.unsaid.saturating_add(1);
        FailureReport::Nothing
    }
}

/// What is carried now, and which targets wait.
#[derive(Debug, Clone, Default)]
pub(super) struct CourierState {
    pub in_flight: HashSet<String>,
    /// Targets that wait, each with the time of its next try.
    pub paused: HashMap<String, i64>,
    /// How often in a row a target was made to wait: the pauses grow, and one delivery at a time tries.
    pauses_in_a_row: HashMap<String, u32>,
    /// Targets that were said to be out of use; that they are in use again is said as well.
    out_of_use: HashSet<String>,
    failures: HashMap<String, TargetFailures>,
    /// How many couriers one target may keep busy, so that one that has come to a standstill leaves some to the others.
    pub at_once: usize,
    /// How many couriers there should be; one that is too many ends when it has nothing in its hands.
    pub wanted: usize,
    /// How many there are.
    pub running: usize,
    pub closed: bool,
    /// How often somebody said that something may be due.
    pub notifications: u64,
}

impl CourierState {
    /// A target that waits is left alone; one that has just waited is tried with one delivery.
    pub fn may_try(&self, target: &str) -> bool {
        let busy = self.in_flight.iter().filter(|id| id.rsplit('@').next() == Some(target)).count();
        let most = if self.pauses_in_a_row.contains_key(target) { 1 } else { self.at_once };
        !self.paused.contains_key(target) && busy < most
    }

    /// Notes that a delivery is carried from now on; false if it may not be, for somebody carries it already.
    pub fn take(&mut self, delivery: &Delivery) -> bool {
        !self.closed && self.may_try(&delivery.target) && self.in_flight.insert(delivery.id.clone())
    }

    /// Ends the pauses whose time has come.
    pub fn end_pauses(&mut self, now_ms: i64) {
        self.paused.retain(|_, until| *until > now_ms);
    }

    /// A target's surroundings were at fault; whether that is news.
    pub fn fault(&mut self, target: &str, class: Class, now_ms: i64, jitter: u64) -> bool {
        let is_news = self.pause(target, class, now_ms, jitter);
        self.out_of_use.insert(target.to_owned());
        is_news
    }

    /// Makes a target wait; whether it did not wait before. What was on the way when the first one failed tells nothing new.
    fn pause(&mut self, target: &str, class: Class, now_ms: i64, jitter: u64) -> bool {
        if self.paused.get(target).is_some_and(|until| *until > now_ms) {
            return false;
        }
        let in_a_row = self.pauses_in_a_row.entry(target.to_owned()).or_default();
        *in_a_row = in_a_row.saturating_add(1);
        let until = next_try_ms(*in_a_row, class, now_ms, jitter);
        let (until, is_news) = (until.unwrap_or_else(|| now_ms.saturating_add(60_000)), *in_a_row == 1);
        self.paused.insert(target.to_owned(), until);
        is_news
    }

    /// A target's store failed a delivery as it would have failed any other. A single recording may be unlucky, a few in a
    /// row are not, and a store that says when to come again means everything.
    pub fn failed(
        &mut self,
        target: &str,
        how: TargetFailure,
        ask_again_ms: Option<i64>,
        now_ms: i64,
        jitter: u64,
    ) -> FailureReport {
        let failures = self.failures.entry(target.to_owned()).or_default();
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        failures.was_silence = how == TargetFailure::Silence;
        let waits = failures.in_a_row >= FAILURES || ask_again_ms.is_some();
        let begins_to_wait = waits && self.pause(target, Class::Transient, now_ms, jitter);
        if let (Some(asked), Some(until)) = (ask_again_ms, self.paused.get_mut(target)) {
            *until = asked.max(*until);
        }
        let say = self.failures.entry(target.to_owned()).or_default().say(begins_to_wait, now_ms);
        if say == FailureReport::Waits {
            self.out_of_use.insert(target.to_owned());
        }
        say
    }

    /// A target failed a delivery in a way that tells nothing of the others.
    pub fn failed_alone(&mut self, target: &str) {
        self.failures.entry(target.to_owned()).or_default().in_a_row = 0;
    }

    /// Bytes arrived at a target: a line that breaks again and again is slow, and not silent.
    pub fn progressed(&mut self, target: &str) {
        if let Some(failures) = self.failures.get_mut(target).filter(|failures| failures.was_silence) {
            failures.in_a_row = 0;
        }
    }

    /// A target took a delivery; whether that is news.
    pub fn success(&mut self, target: &str) -> bool {
        self.failed_alone(target);
        self.pauses_in_a_row.remove(target);
        self.out_of_use.remove(target)
    }

    /// How long there is nothing to do at most, with the time when the next delivery to a target that does not wait is due.
    /// What is overdue at one that waits is due when that ends; a target that is busy notifies when it is not.
    pub fn nap(&self, next_due_ms: Option<i64>, now_ms: i64) -> Duration {
        let first = self.paused.values().copied().chain(next_due_ms).min();
        first.map_or(LONGEST_NAP, |at| until(at, now_ms)).clamp(SHORTEST_NAP, LONGEST_NAP)
    }

    /// No target waits any more, and what is still wrong with one is news again.
    pub fn resume(&mut self) {
        self.paused.clear();
        self.pauses_in_a_row.clear();
        self.failures.clear();
    }
}

fn until(due_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_four() -> CourierState {
        CourierState { at_once: 4, ..CourierState::default() }
    }

    #[test]
    fn a_pause_grows_with_each_try_and_not_with_what_was_on_the_way_when_it_began() {
        let mut carried = of_four();
        let steps = |carried: &mut CourierState, now| {
            let is_news = carried.fault("a", Class::Environment, now, 0);
            let until = carried.paused["a"];
            assert!(!carried.fault("a", Class::Environment, now, 1), "three more fail alike");
            assert_eq!(carried.paused["a"], until);
            assert!(!carried.may_try("a") && carried.may_try("b"));
            carried.end_pauses(now + 3_600_000);
            (until - now, is_news)
        };
        let waits: Vec<_> = (0..7).map(|n| steps(&mut carried, n * 10_000_000)).collect();
        assert_eq!(waits.iter().map(|w| w.1).collect::<Vec<_>>(), [true, false, false, false, false, false, false]);
        for (n, (wait, _)) in waits.iter().enumerate() {
            let most = (30_000 << n).min(900_000);
            assert!((most / 2..=most).contains(wait), "{n}: {wait}");
        }
        assert!(carried.may_try("a"), "one after the pause");
        carried.in_flight.insert("x@a".into());
        assert!(!carried.may_try("a"), "and no other until it has come back");
    }

    #[test]
    fn a_target_at_a_standstill_leaves_couriers_to_the_others() {
        assert_eq!([shares(0, 0), shares(0, 1), shares(0, 2)], [(4, 4), (4, 4), (8, 4)]);
        assert_eq!([shares(4, 2), shares(1, 3), shares(6, 1)], [(4, 3), (1, 1), (6, 6)]);
        let mut carried = CourierState { at_once: 2, ..CourierState::default() };
        carried.in_flight.extend(["x@a".to_owned(), "y@a".to_owned()]);
        assert!(!carried.may_try("a") && carried.may_try("b"));
    }

    #[test]
    fn a_few_failures_in_a_row_and_nothing_less_make_a_target_wait_and_each_after_that_longer() {
        for how in [TargetFailure::Silence, TargetFailure::Error] {
            let mut carried = of_four();
            for _ in 0..5 {
                (1..FAILURES).for_each(|_| assert_ne!(carried.failed("a", how, None, 0, 0), FailureReport::Waits));
                assert!(!carried.success("a") && carried.may_try("a"), "one success in between");
            }
            (1..FAILURES).for_each(|_| assert_ne!(carried.failed("a", how, None, 0, 0), FailureReport::Waits));
            assert_eq!(carried.failed("a", how, None, 0, 0), FailureReport::Waits);
            assert!(!carried.may_try("a") && carried.may_try("b"));
            let mut last = carried.paused["a"];
            for n in 1..5 {
                let now = n * 1_000_000;
                carried.end_pauses(now);
                assert_ne!(
                    carried.failed("a", how, None, now, 0),
                    FailureReport::Waits,
                    "the one that tried says nothing new"
                );
                let wait = carried.paused["a"] - now;
                assert!(wait > last, "{wait} after {last}");
                last = wait;
            }
            carried.paused.clear();
            carried.in_flight.insert("x@a".into());
            assert!(!carried.may_try("a"), "one at a time until one arrives");
            assert!(carried.success("a") && carried.may_try("a"));
        }
    }

    #[test]
    fn bytes_that_arrive_end_a_silence_and_not_a_row_of_errors() {
        let is_paused = |how| {
            let mut carried = of_four();
            for _ in 0..FAILURES {
                carried.failed("a", how, None, 0, 0);
                carried.progressed("a");
            }
            !carried.may_try("a")
        };
        assert_eq!([is_paused(TargetFailure::Silence), is_paused(TargetFailure::Error)], [false, true]);
    }

    #[test]
    fn a_store_that_fails_for_an_hour_is_said_once_a_minute_with_the_count_and_once_at_the_end() {
        let mut carried = of_four();
        let mut said = Vec::new();
        for second in 0..3_600_u32 {
            carried.paused.clear();
            match carried.failed("a", TargetFailure::Error, None, i64::from(second) * 1_000, 0) {
                FailureReport::Nothing => {}
                say => said.push((second, say)),
            }
        }
        assert_eq!(said[..3], [(0, FailureReport::This), (3, FailureReport::Waits), (63, FailureReport::Count(60))]);
        assert!(said[2..].iter().all(|(_, say)| *say == FailureReport::Count(60)), "{said:?}");
        assert_eq!(said.len(), 61);
        assert_eq!([carried.success("a"), carried.success("a")], [true, false]);
    }

    #[test]
    fn a_store_that_fails_every_other_time_is_not_said_every_other_time() {
        let mut carried = of_four();
        let mut lines = 0;
        for second in 0..600 {
            carried.paused.clear();
            for _ in 0..=FAILURES {
                lines += usize::from(
                    carried.failed("a", TargetFailure::Error, None, second * 1_000, 0) != FailureReport::Nothing,
                );
            }
            lines += usize::from(carried.success("a"));
        }
        assert!(lines <= 3 * 11, "{lines} in ten minutes");
    }

    #[test]
    fn a_store_that_says_when_to_come_again_is_not_asked_before() {
        let mut carried = of_four();
        assert_eq!(carried.failed("a", TargetFailure::Error, Some(77_000), 1_000, 0), FailureReport::Waits);
        assert_eq!(carried.paused["a"], 77_000);
        carried.failed("a", TargetFailure::Error, Some(80_000), 1_000, 0);
        assert_eq!(carried.paused["a"], 80_000, "another that was on the way hears a later time");
        carried.failed("a", TargetFailure::Error, Some(2_000), 1_000, 0);
        assert_eq!(carried.paused["a"], 80_000);
    }

    #[test]
    fn the_end_of_a_fault_is_said_also_after_a_resume_and_once() {
        let mut carried = of_four();
        assert!(!carried.success("a"), "nothing was wrong");
        assert!(carried.fault("a", Class::Environment, 0, 0));
        carried.resume();
        assert!(carried.may_try("a") && carried.may_try("b"));
        assert!(carried.fault("a", Class::Environment, 0, 0), "who asked for another try hears what is still wrong");
        carried.resume();
        assert_eq!([carried.success("b"), carried.success("a"), carried.success("a")], [false, true, false]);
    }

    #[test]
    fn couriers_sleep_until_a_pause_ends_however_much_is_overdue() {
        let mut carried = of_four();
        carried.paused.insert("dead".into(), 3_000);
        assert_eq!(carried.nap(None, 1_000), Duration::from_secs(2));
        assert_eq!(carried.nap(Some(1_500), 1_000), Duration::from_millis(500), "another target is due before");
        carried.paused.insert("dead".into(), 900_000);
        assert_eq!(carried.nap(None, 1_000), LONGEST_NAP);
        assert_eq!(carried.nap(Some(0), 1_000), SHORTEST_NAP);
    }

    #[test]
    fn what_is_overdue_since_for_ever_is_due_now() {
        assert_eq!(until(i64::MIN, 1_772_634_615_000), Duration::ZERO);
        assert_eq!(until(1_500, 1_000), Duration::from_millis(500));
    }
}
