//! What is remembered about a file while FFmpeg owns it: the operating system's own words about a failure and how far it
//! was read; and the time base of a track.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is remembered about a stream while FFmpeg owns it.
#[derive(Debug, Clone, Default)]
pub(in crate::media) struct StreamMonitor(Arc<StreamState>);

#[derive(Debug, Default)]
struct StreamState {
    first_error: Mutex<Option<io::Error>>,
    furthest: AtomicU64,
}

impl StreamMonitor {
    /// Takes the first error the operating system reported, if any.
    pub(in crate::media) fn take_error(&self) -> Option<io::Error> {
        self.0.first_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The furthest byte that was read.
    pub(in crate::media) fn furthest(&self) -> u64 {
        self.0.furthest.load(Ordering::Relaxed)
    }

    /// Notes that a file was read up to here.
    pub(super) fn reach(&self, position: u64) {
        self.0.furthest.fetch_max(position, Ordering::Relaxed);
    }

    /// Whether an error was reported and not taken yet.
    pub(super) fn has_error(&self) -> bool {
        self.0.first_error.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn note(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::Interrupted {
            return;
        }
        let mut first = self.0.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        });
    }
}

/// Seconds per tick of a track's timestamps, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct TimeBase {
    /// Seconds.
    pub(in crate::media) num: i32,
    /// Ticks.
    pub(in crate::media) den: i32,
}

impl TimeBase {
    pub(in crate::media) const MICROSECONDS: Self = Self { num: 1, den: 1_000_000 };
    pub(in crate::media) const MILLISECONDS: Self = Self { num: 1, den: 1000 };

    /// Converts ticks of this time base into ticks of another, rounding to the nearest.
    pub(in crate::media) fn rescale(self, ticks: i64, to: Self) -> i64 {
        let over = i128::from(self.den) * i128::from(to.num);
        let scaled = i128::from(ticks) * i128::from(self.num) * i128::from(to.den);
        let rounded = (scaled + over.abs() / 2).div_euclid(over.max(1));
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
    }

    /// Ticks as nanoseconds, rounded down.
    pub(in crate::media) fn nanos(self, ticks: i64) -> i128 {
        let scaled = i128::from(ticks) * i128::from(self.num) * 1_000_000_000;
        scaled.div_euclid(i128::from(self.den.max(1)))
    }

    pub(in crate::media) fn to_ms(self, ticks: i64) -> i64 {
        self.rescale(ticks, Self::MILLISECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_and_never_overflows() {
        let ts = TimeBase { num: 1, den: 90_000 };
        assert_eq!(ts.to_ms(90_045), 1001);
        assert_eq!(ts.to_ms(-45), 0);
        assert_eq!(ts.to_ms(-46), -1);
        assert_eq!(TimeBase::MICROSECONDS.to_ms(i64::MAX), i64::MAX / 1000 + 1);
        assert!(ts.rescale(i64::MAX, TimeBase { num: 1, den: i32::MAX }) > 0);
    }
}
