//! One timeline for all tracks: it starts at the first keyframe, decoding times rise, sync between tracks stays.
//!
//! Three things go wrong with recorded timestamps, and each has its own answer. A packet that does not come after
//! the one before it is moved by the least that makes it so (a repair). A pause stays a pause (a gap). A jump
//! backwards by more than a second, or forwards by more than a day, is another clock: a publisher that reconnected,
//! a counter that wrapped. From there on a shift common to all tracks joins the new clock to the old one, so that
//! sound and picture keep their distance. Pure: ticks in, ticks out.

use super::ffi::TimeBase;
use super::meter::GAP_MS;

const JUMP_BACK_MS: i64 = 1000;
const JUMP_FORWARD_MS: i64 = 24 * 3600 * 1000;
/// How far the next packet may lie from the end of the one before and still belong to the same clock.
const SAME_CLOCK_MS: i64 = 3000;

/// What all tracks share.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Common {
    /// The shift of the newest clock, microseconds.
    shift_us: i64,
    /// The latest decoding time of all tracks, microseconds.
    latest_us: Option<i64>,
}

/// The timestamps of one track.
#[derive(Debug)]
pub(super) struct TrackClock {
    time_base: TimeBase,
    base: i64,
    shift: i64,
    last_dts: Option<i64>,
    last_duration: i64,
    is_steady: bool,
    repaired: u64,
    worst: i64,
    gaps: Vec<(i64, i64)>,
}

/// A packet's place on the common timeline, in ticks of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) pts: i64,
    pub(super) dts: i64,
}

impl TrackClock {
    /// `base_us` is the instant that becomes zero; `is_steady` tracks (sound, picture) have their pauses named.
    pub(super) fn new(time_base: TimeBase, base_us: i64, is_steady: bool) -> Self {
        let base = TimeBase::MICROSECONDS.rescale(base_us, time_base);
        Self {
            time_base,
            base,
            shift: 0,
            last_dts: None,
            last_duration: 0,
            is_steady,
            repaired: 0,
            worst: 0,
            gaps: vec![],
        }
    }

    /// Places the next packet.
    pub(super) fn place(&mut self, pts: Option<i64>, dts: Option<i64>, duration: i64, common: &mut Common) -> Stamp {
        let Some(raw) = dts.or_else(|| self.decode_time(pts)) else { return self.place_unstamped(duration) };
        let wanted = self.follow_clock(raw.saturating_sub(self.base), common);
        let dts = self.last_dts.map_or(wanted, |last| wanted.max(last + 1));
        let raw_pts = pts.map_or(wanted, |p| p.saturating_sub(self.base).saturating_add(self.shift));
        let pts = raw_pts.max(dts);
        self.note_move((dts - wanted).max(pts - raw_pts));
        common.latest_us = common.latest_us.max(Some(self.time_base.rescale(dts, TimeBase::MICROSECONDS)));
        self.last_dts = Some(dts);
        self.last_duration = duration.max(0);
        Stamp { pts, dts }
    }

    /// Where the last packet was decoded, in the source's ticks of its newest clock; none before the first.
    pub(super) fn last_in_source(&self) -> Option<i64> {
        self.last_dts.map(|last| last.saturating_add(self.base).saturating_sub(self.shift))
    }

    /// From one time in the source to another, milliseconds.
    pub(super) fn ms_between(&self, from: i64, to: i64) -> i64 {
        self.time_base.to_ms(to.saturating_sub(from))
    }

    /// By how much a time in the source is later than the latest of all tracks, milliseconds.
    pub(super) fn ms_ahead_of_all(&self, dts: i64, common: &Common) -> i64 {
        let placed = dts.saturating_sub(self.base).saturating_add(self.shift);
        let latest = common.latest_us.map_or(0, |latest| TimeBase::MICROSECONDS.rescale(latest, self.time_base));
        self.ms_between(latest, placed)
    }

    /// Counts a packet whose time was hit and is told by its neighbours'.
    pub(super) fn note_mended(&mut self, by: i64) {
        self.note_move(by.saturating_abs().max(1));
    }

    /// The decoding time of a packet that has only a presentation time: right after the one before, not after itself.
    fn decode_time(&self, pts: Option<i64>) -> Option<i64> {
        let next = self.last_dts.map(|last| last + self.last_duration.max(1) + self.base - self.shift);
        pts.map(|pts| next.map_or(pts, |next| next.min(pts)))
    }

    fn place_unstamped(&mut self, duration: i64) -> Stamp {
        let dts = self.last_dts.map_or(0, |last| last + self.last_duration.max(1));
        self.repaired += 1;
        self.last_dts = Some(dts);
        self.last_duration = duration.max(0);
        Stamp { pts: dts, dts }
    }

    /// Applies the shift of the clock this packet belongs to, and notices when that is a new one.
    fn follow_clock(&mut self, ticks: i64, common: &mut Common) -> i64 {
        let wanted = ticks.saturating_add(self.shift);
        let Some(last) = self.last_dts else {
            self.shift = TimeBase::MICROSECONDS.rescale(common.shift_us, self.time_base);
            return ticks.saturating_add(self.shift);
        };
        let expected = last + self.last_duration;
        let jump_ms = self.time_base.to_ms(wanted.saturating_sub(expected));
        if (-JUMP_BACK_MS..=JUMP_FORWARD_MS).contains(&jump_ms) {
            self.note_gap(last, jump_ms, GAP_MS);
            return wanted;
        }
        self.note_gap(last, jump_ms, 0);
        self.join_clock(ticks, expected, common);
        ticks.saturating_add(self.shift)
    }

    /// Takes the common shift where another track has met the new clock already, else sets it.
    fn join_clock(&mut self, ticks: i64, expected: i64, common: &mut Common) {
        let shared = TimeBase::MICROSECONDS.rescale(common.shift_us, self.time_base);
        let off_ms = self.time_base.to_ms(ticks.saturating_add(shared).saturating_sub(expected));
        // What this track goes by already is the clock that was left, however near it lies.
        let is_other = shared != self.shift;
        if is_other && (-JUMP_BACK_MS..=SAME_CLOCK_MS).contains(&off_ms) {
            self.shift = shared;
        } else {
            self.shift = expected.saturating_sub(ticks);
            common.shift_us = self.time_base.rescale(self.shift, TimeBase::MICROSECONDS);
        }
    }

    fn note_gap(&mut self, at: i64, length_ms: i64, over_ms: i64) {
        if self.is_steady && length_ms.abs() > over_ms {
            self.gaps.push((self.time_base.to_ms(at), length_ms));
        }
    }

    fn note_move(&mut self, by: i64) {
        if by > 0 {
            self.repaired += 1;
            self.worst = self.worst.max(by);
        }
    }

    /// How many packets were moved and the furthest of them, milliseconds.
    pub(super) fn repairs(&self) -> (u64, i64) {
        (self.repaired, self.time_base.to_ms(self.worst))
    }

    /// Where pauses and jumps are and their length, milliseconds; jumps back are negative.
    pub(super) fn gaps(&self) -> &[(i64, i64)] {
        &self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: TimeBase = TimeBase::MILLISECONDS;
    const TS: TimeBase = TimeBase { num: 1, den: 90_000 };

    fn place(clock: &mut TrackClock, common: &mut Common, pts: i64, dts: i64) -> (i64, i64) {
        let stamp = clock.place(Some(pts), Some(dts), 40, common);
        (stamp.pts, stamp.dts)
    }

    #[test]
    fn the_keyframe_is_zero_and_b_frames_keep_their_order() {
        let (mut clock, mut common) = (TrackClock::new(MS, 1_080_000, true), Common::default());
        assert_eq!(place(&mut clock, &mut common, 1080, 1000), (0, -80));
        assert_eq!(place(&mut clock, &mut common, 1200, 1040), (120, -40));
        assert_eq!(place(&mut clock, &mut common, 1120, 1080), (40, 0));
        assert_eq!(clock.repairs(), (0, 0));
    }

    #[test]
    fn a_repeated_timestamp_moves_by_the_least_and_is_counted() {
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), Common::default());
        place(&mut clock, &mut common, 0, 0);
        place(&mut clock, &mut common, 40, 40);
        assert_eq!(place(&mut clock, &mut common, 30, 30), (41, 41));
        assert_eq!(place(&mut clock, &mut common, 80, 80), (80, 80));
        assert_eq!(clock.repairs(), (1, 11));
    }

    #[test]
    fn a_restarted_clock_is_joined_alike_in_both_tracks() {
        let mut common = Common::default();
        let mut video = TrackClock::new(MS, 0, true);
        let mut audio = TrackClock::new(TS, 0, true);
        video.place(Some(10_000), Some(10_000), 40, &mut common);
        audio.place(Some(9_990 * 90), Some(9_990 * 90), 20 * 90, &mut common);
        let video_at = video.place(Some(0), Some(0), 40, &mut common).dts;
        let audio_at = audio.place(Some(30 * 90), Some(30 * 90), 20 * 90, &mut common).dts;
        assert_eq!(video_at, 10_040);
        assert_eq!(TS.to_ms(audio_at) - video_at, 30, "the distance of the new clock stays");
        assert_eq!(video.gaps(), &[(10_000, -10_040)]);
        assert_eq!((video.repairs().0, audio.repairs().0), (0, 0));
    }

    #[test]
    fn a_recording_behind_a_short_one_is_joined_as_behind_a_long_one() {
        for length in [1200, 2000, 2900, 60_000] {
            let mut common = Common::default();
            let mut video = TrackClock::new(MS, 0, true);
            let mut audio = TrackClock::new(TS, 0, true);
            let mut last = (0, 0);
            let times = (0..length).step_by(40).chain((0..4000).step_by(40));
            for (number, at) in times.enumerate() {
                last.0 = video.place(Some(at), Some(at), 40, &mut common).dts;
                last.1 = audio.place(Some(at * 90), Some(at * 90), 40 * 90, &mut common).dts;
                assert_eq!(last, (i64::try_from(number).unwrap() * 40, last.0 * 90), "{length} ms, then {at} ms");
            }
            assert_eq!((video.gaps().len(), audio.gaps().len(), video.repairs().0), (1, 1, 0), "{length} ms");
        }
    }

    #[test]
    fn a_pause_stays_a_pause() {
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), Common::default());
        place(&mut clock, &mut common, 0, 0);
        assert_eq!(place(&mut clock, &mut common, 5000, 5000), (5000, 5000));
        assert_eq!(clock.gaps(), &[(0, 4960)]);
    }

    #[test]
    fn a_decoding_time_is_made_where_only_the_presentation_is_known() {
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), Common::default());
        place(&mut clock, &mut common, 0, -80);
        assert_eq!(clock.place(Some(120), None, 40, &mut common), Stamp { pts: 120, dts: -40 });
        assert_eq!(clock.place(Some(40), None, 40, &mut common), Stamp { pts: 40, dts: 0 });
        assert_eq!(clock.repairs(), (0, 0));
    }

    #[test]
    fn packets_without_a_time_follow_the_one_before() {
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), Common::default());
        place(&mut clock, &mut common, 100, 100);
        assert_eq!(clock.place(None, None, 40, &mut common), Stamp { pts: 140, dts: 140 });
        assert_eq!(clock.repairs().0, 1);
    }
}
