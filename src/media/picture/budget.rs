//! How long a picture may be worked on, in CPU time: at the lowest priority the clock on the wall says little about that.

use std::time::Duration;

/// An end in CPU time of this process.
#[derive(Debug, Clone, Copy)]
pub(in crate::media) struct Budget(Duration);

impl Budget {
    /// So much from now on.
    pub(in crate::media) fn of(allowed: Duration) -> Self {
        Self(spent().saturating_add(allowed))
    }

    pub(super) fn is_spent(self) -> bool {
        spent() >= self.0
    }
}

/// CPU time of this process so far.
#[expect(unsafe_code, reason = "the standard library does not tell CPU time")]
fn spent() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one structure, which is ours; where it fails the structure stays as it is, and no time is spent.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
    seconds.saturating_add(Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_spends_it() {
        assert!(!Budget::of(Duration::from_secs(3_600)).is_spent());
        let budget = Budget::of(Duration::from_millis(20));
        let mut sum = 0_u64;
        while !budget.is_spent() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0 && Budget::of(Duration::ZERO).is_spent());
    }
}
