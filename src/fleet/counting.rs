//! Counts of long lists, kept for a while: every page of a list comes with one, and counting takes longer than the page.
//!
//! A short list is counted each time. Of a long one, a count that is no longer fresh is given once more while it is counted anew.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::listing::FleetQuery;

/// What is counted each time.
const SHORT: u64 = 2_000;
/// How long a count is as good as new, and how long it is better than none.
const FRESH: Duration = Duration::from_secs(10);
const KEPT: Duration = Duration::from_secs(300);
/// Counts that are kept.
const MOST: usize = 64;

#[derive(Debug)]
struct Counted {
    /// What was counted, without what makes no difference to it.
    query: FleetQuery,
    count: u64,
    at: Instant,
    is_busy: bool,
}

/// What is known of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownCount {
    pub count: u64,
    /// Whether whoever asked is to count it anew, and to note that.
    pub is_due: bool,
}

/// The counts of lists, the one that was noted last at the end.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Vec<Counted>>);

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Vec<Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count of a list, if there is one that is good enough.
    pub fn look(&self, query: &FleetQuery, now: Instant) -> Option<KnownCount> {
        let mut counts = self.lock();
        counts.retain(|known| now.saturating_duration_since(known.at) < KEPT);
        let known = counts.iter_mut().find(|known| known.query == *query)?;
        let is_due = now.saturating_duration_since(known.at) >= FRESH && !known.is_busy;
        known.is_busy |= is_due;
        Some(KnownCount { count: known.count, is_due })
    }

    /// Notes what was counted, or that it failed.
    pub fn note(&self, query: &FleetQuery, counted: Option<u64>, now: Instant) {
        let mut counts = self.lock();
        let Some(count) = counted else {
            counts.iter_mut().filter(|known| known.query == *query).for_each(|known| known.is_busy = false);
            return;
        };
        counts.retain(|known| known.query != *query);
        if count <= SHORT {
            return;
        }
        if counts.len() >= MOST {
            counts.remove(0);
        }
        counts.push(Counted { query: query.clone(), count, at: now, is_busy: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_long_list_is_counted_now_and_then_and_a_short_one_each_time() {
        let (counts, clock) = (Counts::default(), Clock::standing_at(0));
        let (all, of_stream) =
            (FleetQuery::default(), FleetQuery { stream: Some("x".into()), ..FleetQuery::default() });
        let look = |query| counts.look(query, clock.now()).map(|known| (known.count, known.is_due));
        counts.note(&of_stream, Some(SHORT), clock.now());
        counts.note(&all, Some(9_000), clock.now());
        assert_eq!((look(&of_stream), look(&all)), (None, Some((9_000, false))));
        clock.advance(FRESH);
        assert_eq!((look(&all), look(&all)), (Some((9_000, true)), Some((9_000, false))), "one counts it anew");
        counts.note(&all, None, clock.now());
        assert_eq!(look(&all), Some((9_000, true)), "that failed");
        counts.note(&all, Some(9_001), clock.now());
        assert_eq!(look(&all), Some((9_001, false)));
        clock.advance(KEPT);
        assert_eq!(look(&all), None);
        counts.note(&all, Some(9_000), clock.now());
        counts.note(&all, Some(1), clock.now());
        assert_eq!(look(&all), None, "it is short by now");
    }

    #[test]
    fn no_more_than_so_many_counts_are_kept() {
        let (counts, now) = (Counts::default(), Clock::standing_at(0).now());
        let query = |n: usize| FleetQuery { stream: Some(n.to_string()), ..FleetQuery::default() };
        (0..=MOST).for_each(|n| counts.note(&query(n), Some(9_000), now));
        assert_eq!((counts.look(&query(0), now), counts.lock().len()), (None, MOST));
    }
}
