//! FLV times without their extended byte: annex E.4.1 puts bits 24 to 31 behind the lower three bytes, and some writers leave
//! them 0. After four hours and forty minutes their clock then begins again, and libavformat, which waits for a wrap of 32 bits,
//! makes that a leap of seven weeks.

/// Milliseconds after which the lower three bytes begin again, and all four.
const LOWER_MS: i64 = 1 << 24;
const ALL_MS: i64 = 1 << 32;
/// How far from the packet before it one may lie that goes on with the same clock.
const SAME_CLOCK_MS: i64 = 10_000;

/// The clock of one track.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::media) struct ExtendedClock {
    /// Decoding time of the last packet, as it was given back.
    last_ms: Option<i64>,
    added_ms: i64,
    wraps: u64,
}

impl ExtendedClock {
    /// What is to be added to the times of a packet that is decoded at `dts_ms`.
    pub(in crate::media) fn take(&mut self, dts_ms: i64) -> i64 {
        let leap_ms = self.last_ms.map_or(0, |last| dts_ms.saturating_add(self.added_ms).saturating_sub(last));
        if let Some((missing_ms, wraps)) = missing(leap_ms) {
            self.added_ms += missing_ms;
            self.wraps += wraps;
        }
        self.last_ms = Some(dts_ms.saturating_add(self.added_ms));
        self.added_ms
    }

    /// How often the lower three bytes began again without the fourth.
    pub(in crate::media) const fn wraps(self) -> u64 {
        self.wraps
    }
}

/// What makes a leap a small step again, if it is a wrap of the lower three bytes, or of all four as libavformat undoes it.
fn missing(leap_ms: i64) -> Option<(i64, u64)> {
    let to_whole = |by: i64| {
        let rest = (leap_ms + by + ALL_MS / 2).rem_euclid(ALL_MS) - ALL_MS / 2;
        (rest.abs() <= SAME_CLOCK_MS).then(|| rest - leap_ms)
    };
    if leap_ms.unsigned_abs() <= (LOWER_MS / 2).unsigned_abs() {
        return None;
    }
    to_whole(LOWER_MS).map(|by| (by, 1)).or_else(|| to_whole(0).map(|by| (by, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times that come out for those that go in.
    fn placed(times: &[i64]) -> (Vec<i64>, u64) {
        let mut clock = ExtendedClock::default();
        let out = times.iter().map(|at| at + clock.take(*at)).collect();
        (out, clock.wraps())
    }

    #[test]
    fn the_lower_bytes_go_on_where_they_begin_again() {
        let all: Vec<i64> = (0..200).map(|n| LOWER_MS - 4000 + n * 40).collect();
        let lower: Vec<i64> = all.iter().map(|at| at % LOWER_MS).collect();
        assert_eq!(placed(&lower), (all.clone(), 1));
        // As libavformat gives a file that began shortly before, and again once it is past that.
        let unwrapped: Vec<i64> = lower.iter().map(|at| if *at < LOWER_MS / 2 { at + ALL_MS } else { *at }).collect();
        assert_eq!(placed(&unwrapped), (all.clone(), 1));
        let twice: Vec<i64> = (0..900).map(|n| n * 4000).collect();
        assert_eq!(placed(&twice), (twice.clone(), 0));
        assert_eq!(placed(&all), (all, 0));
    }

    #[test]
    fn another_clock_is_none_of_its_business() {
        for times in [[10_000, 0], [0, 3_600_000], [9_000_000, 0], [0, 100_000_000], [17_000_000, 0]] {
            assert_eq!(placed(&times), (times.to_vec(), 0), "{times:?}");
        }
        assert_eq!(placed(&[5000, ALL_MS + 5040]), (vec![5000, 5040], 0), "what libavformat took for a wrap");
    }
}
