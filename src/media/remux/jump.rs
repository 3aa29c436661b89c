//! Packets whose time jumps wait until the next ones tell what it was. Pure.
//!
//! ```text
//! 0 40 80 8312 160 200    only that time was hit: 8312 is 120
//! 0 40 80 8312 8352 …     a pause
//! 8000 8040 0 40 80 …     another clock
//! ```
//! One bit of a time is enough that everything behind it would be moved by seconds: a clock that goes back is taken for
//! another one, and the distance of sound and pictures is gone. A time that was hit in the header of a cluster moves all
//! packets of the cluster, so a jump of more than a second is waited for longer.

use crate::media::timeline::TrackClock;

/// A time that is further away than that from where it is due may have been hit.
const ODD_MS: i64 = 100;
/// From here on several packets may have the same fault.
const FAR_MS: i64 = 1000;
/// How long what jumped may be: no writer makes longer clusters (libavformat: five seconds).
const MOST_MS: i64 = 6000;
const MOST_PACKETS: usize = 400;
const MOST_BYTES: usize = 8 << 20;

/// What waits.
#[derive(Debug)]
pub(super) struct Jump<P> {
    /// With their decoding times in the source, in ticks.
    waiting: Vec<(P, i64)>,
    bytes: usize,
}

/// A packet that waits no longer, and its decoding time where that was hit.
pub(super) type InStep<P> = (P, Option<i64>);

impl<P> Default for Jump<P> {
    fn default() -> Self {
        Self { waiting: Vec::new(), bytes: 0 }
    }
}

impl<P> Jump<P> {
    /// Takes the next packet of a track with its decoding time and its bytes; what comes back, in order, waits no longer.
    pub(super) fn next(&mut self, clock: &TrackClock, packet: P, dts: Option<i64>, bytes: usize) -> Vec<InStep<P>> {
        let Some((dts, last)) = dts.zip(clock.last_in_source()) else {
            let mut all = self.release();
            all.push((packet, None));
            return all;
        };
        if let Some(mended) = self.mended(clock, last, dts) {
            let mut all = mended;
            all.push((packet, None));
            return all;
        }
        let mut all = if self.goes_on_waiting(clock, last, dts) { Vec::new() } else { self.release() };
        // What is released here moves the clock only when it is written: it is no measure for this packet any more.
        if !all.is_empty() || (self.waiting.is_empty() && !is_off(clock, last, dts, ODD_MS)) {
            all.push((packet, None));
            return all;
        }
        self.waiting.push((packet, dts));
        self.bytes += bytes;
        all
    }

    /// What still waits, with its times as they are.
    pub(super) fn release(&mut self) -> Vec<InStep<P>> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_iter().map(|(packet, _)| (packet, None)).collect()
    }

    /// Where a packet goes on as if nothing had waited: all that waits, evenly between the last one that was written and it.
    fn mended(&mut self, clock: &TrackClock, last: i64, dts: i64) -> Option<Vec<InStep<P>>> {
        let (_, newest) = self.waiting.last()?;
        let is_between = |(_, waiting): &(P, i64)| last < *waiting && *waiting < dts;
        let parts = i64::try_from(self.waiting.len()).ok()? + 1;
        let late = dts.saturating_sub(last).saturating_sub(clock.last_duration().saturating_mul(parts));
        let apart = dts.saturating_sub(*newest).saturating_sub(clock.last_duration());
        let goes_on = late.saturating_abs() < apart.saturating_abs() && clock.to_ms(late) <= FAR_MS;
        if dts <= last || !goes_on || self.waiting.iter().all(is_between) {
            return None;
        }
        self.bytes = 0;
        let place = |number: i64| last + (dts - last) * number / parts;
        let waiting = std::mem::take(&mut self.waiting);
        Some((1..).zip(waiting).map(|(number, (packet, _))| (packet, Some(place(number)))).collect())
    }

    /// Whether one more packet may have the same fault as those that wait.
    fn goes_on_waiting(&self, clock: &TrackClock, last: i64, dts: i64) -> bool {
        let Some((_, first)) = self.waiting.first() else { return true };
        is_off(clock, last, *first, FAR_MS)
            && clock.to_ms(dts.saturating_sub(*first)).abs() <= MOST_MS
            && self.waiting.len() < MOST_PACKETS
            && self.bytes < MOST_BYTES
    }
}

/// Whether a time lies so far from where the next packet is due.
fn is_off(clock: &TrackClock, last: i64, dts: i64, by_ms: i64) -> bool {
    let off = dts.saturating_sub(last).saturating_sub(clock.last_duration());
    clock.to_ms(off).saturating_abs() > by_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ffi::TimeBase;
    use crate::media::timeline::Common;

    /// What becomes of the times of a track, 40 ms a packet.
    fn placed(times: &[i64]) -> Vec<i64> {
        let (mut clock, mut common) = (TrackClock::new(TimeBase::MILLISECONDS, 0, true), Common::default());
        let (mut jump, mut out) = (Jump::default(), Vec::new());
        let mut write = |clock: &mut TrackClock, all: Vec<InStep<i64>>| {
            for (time, mended) in all {
                let time = mended.unwrap_or(time);
                out.push(clock.place(Some(time), Some(time), 40, &mut common).dts);
            }
        };
        for time in times {
            let all = jump.next(&clock, *time, Some(*time), 1000);
            write(&mut clock, all);
        }
        let rest = jump.release();
        write(&mut clock, rest);
        out
    }

    fn steady(from: i64, count: i64) -> Vec<i64> {
        (0..count).map(|n| from + n * 40).collect()
    }

    #[test]
    fn times_that_were_hit_come_back_between_their_neighbours() {
        let expected = steady(0, 100);
        for hits in [1..2, 1..3, 30..31, 30..60, 98..99, 10..12] {
            for by in [150, 1024, 2048, 8192, 1 << 24, -150, -1024, -8192] {
                let mut hit = expected.clone();
                hit[hits.start..hits.end].iter_mut().for_each(|time| *time += by);
                // A few packets by little: as repeated times are told.
                if hits.len() == 1 || by.abs() > 1000 {
                    assert_eq!(placed(&hit), expected, "{hits:?} by {by}");
                }
            }
        }
    }

    #[test]
    fn pauses_other_clocks_and_uneven_times_stay_what_they_are() {
        let pause = [steady(0, 10), steady(5000, 300)].concat();
        assert_eq!(placed(&pause), pause);
        let short = [steady(0, 10), steady(600, 10)].concat();
        assert_eq!(placed(&short), short);
        let uneven = [0, 40, 500, 540, 1700, 1740, 1780, 4000, 4040, 9000];
        assert_eq!(placed(&uneven), uneven);
        assert_eq!(placed(&[steady(8000, 10), steady(0, 300)].concat()), steady(8000, 310));
        let slow: Vec<i64> = (0..50).map(|n| n * 2500).collect();
        assert_eq!(placed(&slow), slow);
        assert_eq!(placed(&[0, 40, 8000]), [0, 40, 8000], "the last one may be anything");
    }

    #[test]
    fn what_waits_is_bounded_and_in_order() {
        let clock = {
            let mut clock = TrackClock::new(TimeBase::MILLISECONDS, 0, true);
            clock.place(Some(0), Some(0), 1, &mut Common::default());
            clock
        };
        for (bytes, step) in [(1, 1), (1 << 20, 1), (1, 1000)] {
            let (mut jump, mut out) = (Jump::default(), Vec::new());
            for number in 0..2000_i64 {
                out.extend(jump.next(&clock, number, Some(100_000 + number * step), bytes).into_iter().map(|(n, _)| n));
                assert!(jump.waiting.len() <= 400 && jump.bytes <= 9 << 20);
            }
            out.extend(jump.release().into_iter().map(|(n, _)| n));
            assert_eq!(out, (0..2000).collect::<Vec<_>>());
        }
    }
}
