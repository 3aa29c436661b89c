//! A packet whose time jumps waits until the next one tells what it was. Pure.
//!
//! ```text
//! 0 40 80 8312 160 200    only that time was hit: 8312 is 120
//! 0 40 80 8312 8352 …     a pause
//! 8000 8040 0 40 80 …     another clock
//! ```
//! One bit of a time is enough that everything behind it would be moved by seconds: a clock that goes back is taken for
//! another one, and the distance of sound and pictures is gone. Only one packet waits, and none that other tracks have come up to:
//! what is read late is written late. Several times in a row that were hit (that of a cluster) are taken for two clocks.

use crate::media::timeline::{SharedTimeline, TrackClock};

/// A time further away than that from the one before may have been hit; clocks within a second are one clock.
const FAR_MS: i64 = 1000;

/// What waits, with its decoding time in the source.
#[derive(Debug)]
pub(super) struct TimestampJump<P>(Option<(P, i64)>);

/// A packet that waits no longer, and its decoding time where that was hit.
pub(super) type ReleasedPacket<P> = (P, Option<i64>);

impl<P> Default for TimestampJump<P> {
    fn default() -> Self {
        Self(None)
    }
}

impl<P> TimestampJump<P> {
    /// Takes the next packet of a track with its decoding time; what comes back, in order, waits no longer.
    pub(super) fn next(
        &mut self,
        clock: &TrackClock,
        common: &SharedTimeline,
        packet: P,
        dts: i64,
    ) -> Vec<ReleasedPacket<P>> {
        let last = clock.last_in_source();
        match (self.0.take(), last) {
            (Some((waited, jumped)), Some(last)) => {
                vec![(waited, place_between(last, jumped, dts)), (packet, None)]
            }
            (None, Some(last)) if jumps(clock, common, last, dts) => {
                self.0 = Some((packet, dts));
                Vec::new()
            }
            (waited, _) => waited.into_iter().map(|(waited, _)| waited).chain([packet]).map(|p| (p, None)).collect(),
        }
    }

    /// What waits, with its time as it is.
    pub(super) fn release(&mut self) -> Option<P> {
        self.0.take().map(|(packet, _)| packet)
    }

    /// The same, where another track has come up to it: it is later, and nothing was hit.
    pub(super) fn release_explained(&mut self, clock: &TrackClock, common: &SharedTimeline) -> Option<P> {
        let is_explained = |(_, dts): &mut (P, i64)| clock.ms_ahead_of_all(*dts, common).abs() <= FAR_MS;
        self.0.take_if(is_explained).map(|(packet, _)| packet)
    }
}

fn jumps(clock: &TrackClock, common: &SharedTimeline, last: i64, dts: i64) -> bool {
    let step_ms = clock.ms_between(last, dts);
    step_ms < -FAR_MS || (step_ms > FAR_MS && clock.ms_ahead_of_all(dts, common) > FAR_MS)
}

/// The time of a packet between its neighbours, where it lies far from both and they lie close to one another.
fn place_between(last: i64, jumped: i64, dts: i64) -> Option<i64> {
    let (jump, step) = (jumped.saturating_sub(last), dts.saturating_sub(last));
    (step > 1 && step <= jump.saturating_abs() / 2 && !(last..=dts).contains(&jumped)).then(|| last + step / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ffi::TimeBase;

    /// What becomes of the times of a track whose packets say that they last so long.
    fn placed(times: &[i64], duration: i64) -> Vec<i64> {
        let (mut clock, mut common) = (TrackClock::new(TimeBase::MILLISECONDS, 0, true), SharedTimeline::default());
        let (mut jump, mut out) = (TimestampJump::default(), Vec::new());
        for time in times {
            for (time, mended) in jump.next(&clock, &common, *time, *time) {
                let time = mended.unwrap_or(time);
                out.push(clock.place(Some(time), Some(time), duration, &mut common).dts);
            }
        }
        let rest = jump.release();
        out.extend(rest.map(|time| clock.place(Some(time), Some(time), duration, &mut common).dts));
        out
    }

    fn steady(from: i64, count: i64) -> Vec<i64> {
        (0..count).map(|n| from + n * 40).collect()
    }

    #[test]
    fn a_time_that_was_hit_comes_back_between_its_neighbours() {
        let expected = steady(0, 100);
        for at in [1, 2, 30, 98] {
            for by in [1024, 2048, 8192, 1 << 24, -1200, -2048, -8192] {
                for duration in [0, 33, 40] {
                    let mut hit = expected.clone();
                    hit[at] += by;
                    assert_eq!(placed(&hit, duration), expected, "{at} by {by}");
                }
            }
        }
    }

    #[test]
    fn pauses_other_clocks_and_uneven_times_stay_what_they_are() {
        let pause = [steady(0, 10), steady(5000, 300)].concat();
        let uneven = vec![0, 40, 500, 540, 1700, 1740, 1780, 4000, 4040, 9000];
        let slow: Vec<i64> = (0..50).map(|n| n * 2500).collect();
        for times in [pause, uneven, slow, vec![0, 40, 8000]] {
            for duration in [0, 33, 40] {
                assert_eq!(placed(&times, duration), times);
            }
        }
        for (first, step) in [(100, 40), (70, 470), (101, 39), (40, 1000)] {
            let run = |count: i64| (0..count).map(move |n| n * step);
            let times: Vec<i64> = run(first).chain(run(300)).collect();
            let joined = placed(&times, 33);
            let end = joined[usize::try_from(first).unwrap() - 1] + 33;
            assert_eq!(joined[usize::try_from(first).unwrap()..], run(300).map(|time| end + time).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_another_track_has_come_up_to_waits_no_longer() {
        let (mut pictures, mut common) = (TrackClock::new(TimeBase::MILLISECONDS, 0, true), SharedTimeline::default());
        let mut sound = TrackClock::new(TimeBase::MILLISECONDS, 0, true);
        let mut jump = TimestampJump::default();
        pictures.place(Some(0), Some(0), 40, &mut common);
        assert!(jump.next(&pictures, &common, "slide", 30_000).is_empty());
        sound.place(Some(28_000), Some(28_000), 20, &mut common);
        assert_eq!(jump.release_explained(&pictures, &common), None);
        sound.place(Some(29_500), Some(29_500), 20, &mut common);
        assert_eq!(jump.release_explained(&pictures, &common), Some("slide"));
        pictures.place(Some(30_000), Some(30_000), 40, &mut common);
        sound.place(Some(59_900), Some(59_900), 20, &mut common);
        assert_eq!(jump.next(&pictures, &common, "next", 60_000), [("next", None)], "where sound is, too");
    }
}
