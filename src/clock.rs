//! The time, as something that is passed: what decides by it can be tested without waiting.
//!
//! Assumes that whoever only measures (durations in logs), or waits for another process or a network, asks the system itself.

use std::time::Instant;

/// The clock of the system, or one that a test moves. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    #[cfg(test)]
    moved: Option<std::sync::Arc<tests::MovedClock>>,
}

impl Clock {
    /// Milliseconds since the Unix epoch, now.
    pub fn now_ms(&self) -> i64 {
        #[cfg(test)]
        if let Some(moved) = &self.moved {
            return moved.wall_ms();
        }
        jiff::Timestamp::now().as_millisecond()
    }

    /// The monotonic time, now: for ages and pauses, which a clock that is set must not change.
    pub fn now(&self) -> Instant {
        #[cfg(test)]
        if let Some(moved) = &self.moved {
            return moved.monotonic();
        }
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::Clock;

    /// A time that stands still until it is moved.
    #[derive(Debug)]
    pub(super) struct MovedClock {
        wall_ms: AtomicI64,
        begun: Instant,
        elapsed_ms: AtomicU64,
    }

    impl MovedClock {
        pub(super) fn wall_ms(&self) -> i64 {
            self.wall_ms.load(Ordering::SeqCst)
        }

        pub(super) fn monotonic(&self) -> Instant {
            self.begun + Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
        }
    }

    impl Clock {
        /// A clock that shows this time until it is moved.
        pub(crate) fn standing_at(wall_ms: i64) -> Self {
            let (begun, elapsed_ms) = (Instant::now(), AtomicU64::new(0));
            Self { moved: Some(Arc::new(MovedClock { wall_ms: AtomicI64::new(wall_ms), begun, elapsed_ms })) }
        }

        /// Lets time pass.
        pub(crate) fn advance(&self, by: Duration) {
            let moved = self.moved.as_ref().expect("only a clock that stands is moved");
            let by_ms = u64::try_from(by.as_millis()).unwrap();
            moved.elapsed_ms.fetch_add(by_ms, Ordering::SeqCst);
            moved.wall_ms.fetch_add(i64::try_from(by_ms).unwrap(), Ordering::SeqCst);
        }

        /// Sets the wall time alone, as an administrator or NTP does.
        pub(crate) fn set(&self, wall_ms: i64) {
            let moved = self.moved.as_ref().expect("only a clock that stands is set");
            moved.wall_ms.store(wall_ms, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_clock_stands_until_it_is_moved_and_clones_show_the_same() {
        let clock = Clock::standing_at(1_000);
        let (other, begun) = (clock.clone(), clock.now());
        assert_eq!((other.now_ms(), other.now()), (1_000, begun));
        clock.advance(Duration::from_millis(500));
        assert_eq!((other.now_ms(), other.now()), (1_500, begun + Duration::from_millis(500)));
        clock.set(7);
        assert_eq!((other.now_ms(), other.now()), (7, begun + Duration::from_millis(500)), "no age changes by that");
    }
}
