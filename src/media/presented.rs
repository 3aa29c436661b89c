//! When the packets of a track are presented, kept in about a byte for each, and whether two tracks agree. Pure.

use super::ffi::TimeBase;

/// Presentation times in decoding order.
///
/// Each is kept as what its distance to the one before differs from the distance before that, in groups of seven bits
/// (as in RFC 8794 §4, without a marker): steady sound takes one byte a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentationTimes {
    time_base: TimeBase,
    bytes: Vec<u8>,
    last: i64,
    step: i64,
    /// Whether a packet did not say when it is presented, so that nothing can be compared.
    is_unknown: bool,
}

impl PresentationTimes {
    pub(super) const fn new(time_base: TimeBase) -> Self {
        Self { time_base, bytes: Vec::new(), last: 0, step: 0, is_unknown: false }
    }

    /// Adds the time of the next packet, ticks.
    pub(super) fn push(&mut self, at: Option<i64>) {
        let Some(at) = at else {
            self.is_unknown = true;
            return;
        };
        let step = at.wrapping_sub(self.last);
        let change = step.wrapping_sub(self.step);
        (self.last, self.step) = (at, step);
        // The sign in the lowest bit, so that small changes are short whichever way they go.
        let mut rest = change.cast_unsigned() << 1 ^ (change >> 63).cast_unsigned();
        while rest > 0x7F {
            self.bytes.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest.to_le_bytes()[0]);
    }

    /// All times, ticks.
    fn times(&self) -> impl Iterator<Item = i64> + '_ {
        let (mut bytes, mut last, mut step) = (self.bytes.iter(), 0_i64, 0_i64);
        std::iter::from_fn(move || {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = *bytes.next()?;
                value |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let change = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            step = step.wrapping_add(change);
            last = last.wrapping_add(step);
            Some(last)
        })
    }

    /// How many packets of `other` are presented at another time, and the furthest of them, milliseconds; by its clock, which
    /// may begin anywhere. Each container rounds to ticks of its own, so that one tick is no other time. `None` where a time is
    /// not known, or where there are more packets of one than of the other.
    pub(super) fn differing(&self, other: &Self) -> Option<(u64, i64)> {
        let (mut ours, mut theirs) = (self.nanos(), other.nanos());
        let least = self.time_base.nanos(1).max(other.time_base.nanos(1)) + 1;
        let (mut count, mut worst, mut offset) = (0, 0, None);
        if self.is_unknown || other.is_unknown {
            return None;
        }
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return Some((count, i64::try_from(worst / 1_000_000).unwrap_or(i64::MAX))),
                (Some(ours), Some(theirs)) => {
                    let off = (theirs - ours - *offset.get_or_insert(theirs - ours)).abs();
                    count += u64::from(off > least);
                    worst = worst.max(off);
                }
                _ => return None,
            }
        }
    }

    fn nanos(&self) -> impl Iterator<Item = i128> + '_ {
        self.times().map(|at| self.time_base.nanos(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: TimeBase = TimeBase::MILLISECONDS;
    const TS: TimeBase = TimeBase { num: 1, den: 90_000 };

    fn presented(time_base: TimeBase, times: impl IntoIterator<Item = i64>) -> PresentationTimes {
        let mut presented = PresentationTimes::new(time_base);
        times.into_iter().for_each(|at| presented.push(Some(at)));
        presented
    }

    #[test]
    fn times_come_back_and_steady_ones_take_a_byte_each() {
        let odd = [0, 1, -1, i64::MAX, i64::MIN, 63, -64, 1 << 40];
        assert_eq!(presented(MS, odd).times().collect::<Vec<_>>(), odd);
        assert!(presented(TS, (0..1000).map(|n| n * 1920)).bytes.len() < 1010);
    }

    #[test]
    fn another_clock_and_rounding_are_no_difference_and_two_ticks_are() {
        let ours: Vec<i64> = (0..100).map(|n| n * 3003).collect();
        let rounded = |n: i64| (n * 1001 + 15) / 30;
        let theirs: Vec<i64> = (0..100).map(rounded).map(|at| at + 1400).collect();
        assert_eq!(presented(TS, ours.clone()).differing(&presented(MS, theirs.clone())), Some((0, 0)));
        let mut moved = theirs;
        moved[7] += 40;
        moved[99] -= 3;
        let (count, worst) = presented(TS, ours.clone()).differing(&presented(MS, moved.clone())).unwrap();
        assert!(count == 2 && (39..=41).contains(&worst), "{count} {worst}");
        assert_eq!(presented(TS, ours).differing(&presented(MS, moved[1..].to_vec())), None);
    }

    #[test]
    fn a_first_packet_that_was_moved_shows() {
        let theirs = [40].into_iter().chain((1..100).map(|n| n * 40));
        let (count, _) = presented(MS, (0..100).map(|n| n * 40)).differing(&presented(MS, theirs)).unwrap();
        assert!(count > 0);
    }
}
