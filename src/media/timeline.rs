//! One timeline for all tracks: decoding times rise, presentation times stay, sync between tracks stays.
//!
//! Three things go wrong with recorded timestamps, and each has its own answer. A packet that does not come after
//! the one before it is moved by the least that makes it so (a repair); of pictures only the decoding time is, and when
//! they are presented stays as it is. A pause stays a pause (a gap). A jump backwards by more than a second, or forwards by
//! more than a day, is another clock: a publisher that reconnected, a counter that wrapped. From there on a shift common
//! to all tracks joins the new clock to the end of the old one, so that sound and picture keep their distance. Pure: ticks
//! in, ticks out.

use super::ffi::TimeBase;
use super::meter::GAP_MS;

const JUMP_BACK_MS: i64 = 1000;
const JUMP_FORWARD_MS: i64 = 24 * 3600 * 1000;
/// How far the next packet may lie from the end of the one before and still belong to the same clock.
const SAME_CLOCK_MS: i64 = 3000;
/// A new clock begins behind the end of every track that ends so long after the one that meets it first.
const NEAR_MICROSECONDS: i64 = 1_000_000;

/// What all tracks share.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to each name")]
pub(super) struct SharedTimeline {
    /// The shift of the newest clock, microseconds.
    shift_us: i64,
    /// The latest decoding time of all tracks, microseconds.
    latest_us: Option<i64>,
    /// Where the latest packet of all tracks ends, by decoding times and by those of presentation, microseconds.
    end_us: Option<i64>,
    presented_us: Option<i64>,
}

impl SharedTimeline {
    /// Joins the clock of another recording to the end of all tracks; its first packet is presented at `start_us`, by which the
    /// tracks count from `base_us`. What that shifts it by, microseconds.
    pub(super) fn join(&mut self, start_us: i64, base_us: i64) -> i64 {
        self.shift_us = self.presented_us.unwrap_or(0).saturating_sub(start_us.saturating_sub(base_us));
        self.shift_us
    }

    /// Where a clock begins that a track meets whose packets end at `end`, ticks of its own: where the last track ends.
    fn end_of_all(&self, end: i64, time_base: TimeBase) -> i64 {
        let own_us = time_base.rescale(end, TimeBase::MICROSECONDS);
        let near = self.end_us.filter(|us| (0..NEAR_MICROSECONDS).contains(&us.saturating_sub(own_us)));
        near.map_or(end, |us| end.max(TimeBase::MICROSECONDS.rescale(us, time_base)))
    }
}

/// The timestamps of one track.
#[derive(Debug)]
pub(super) struct TrackClock {
    time_base: TimeBase,
    base: i64,
    shift: i64,
    last_dts: Option<i64>,
    last_duration: i64,
    /// The least distance between two packets, by which one lasts that does not say how long.
    step: Option<i64>,
    newest: Option<i64>,
    is_steady: bool,
    /// Whether presentation times stay as they are, so that decoding times have to give way.
    is_reordered: bool,
    /// Whether the next packet is the first of another recording.
    is_joined: bool,
    repaired: u64,
    worst: i64,
    moved: u64,
    gaps: Vec<(i64, i64)>,
}

/// A packet's place on the common timeline, in ticks of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketTime {
    pub(super) pts: i64,
    pub(super) dts: i64,
    /// When the source presents it: `pts`, unless that had to be moved.
    pub(super) said: i64,
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
            step: None,
            newest: None,
            is_steady,
            is_reordered: false,
            is_joined: false,
            repaired: 0,
            worst: 0,
            moved: 0,
            gaps: vec![],
        }
    }

    /// The same for pictures, whose presentation times stay as they are: they may lie before decoding times.
    pub(super) fn of_pictures(time_base: TimeBase, base_us: i64, is_steady: bool) -> Self {
        Self { is_reordered: true, ..Self::new(time_base, base_us, is_steady) }
    }

    /// Places the next packet.
    pub(super) fn place(
        &mut self,
        pts: Option<i64>,
        dts: Option<i64>,
        duration: i64,
        common: &mut SharedTimeline,
    ) -> PacketTime {
        let Some(raw) = dts.or_else(|| self.decode_time(pts)) else { return self.place_unstamped(duration) };
        let is_joined = self.is_joined;
        let wanted = self.follow_clock(raw.saturating_sub(self.base), common);
        let dts = self.last_dts.map_or(wanted, |last| wanted.max(last + 1));
        let said = pts.map_or(wanted, |p| p.saturating_sub(self.base).saturating_add(self.shift));
        let pts = if self.is_reordered { said } else { said.max(dts) };
        // A picture may be decoded before the recording begins that it is the first of.
        let is_early = is_joined && self.is_reordered;
        self.note_move(if is_early { 0 } else { (dts - wanted).max(pts - said) });
        self.moved += u64::from(pts != said);
        self.measure(dts);
        self.pass((dts, pts), duration, common);
        PacketTime { pts, dts, said }
    }

    /// Places the next picture of a container that keeps only presentation times: when it is presented.
    pub(super) fn present(&mut self, pts: i64, duration: i64, common: &mut SharedTimeline) -> i64 {
        let pts = self.follow_clock(pts.saturating_sub(self.base), common);
        self.measure(pts);
        // What is presented before others that were decoded before it goes on from the last of those.
        let reach = self.last_dts.map_or(pts, |last| last.max(pts));
        let duration = if reach == pts { duration } else { self.last_duration };
        self.pass((reach, reach), duration, common);
        pts
    }

    fn measure(&mut self, at: i64) {
        let step = self.newest.replace(at).map(|before| (at - before).saturating_abs());
        self.step = self.step.into_iter().chain(step.filter(|step| *step > 0)).min();
    }

    fn pass(&mut self, (dts, pts): (i64, i64), duration: i64, common: &mut SharedTimeline) {
        self.last_dts = Some(dts);
        self.last_duration = if duration > 0 { duration } else { self.step.unwrap_or(0) };
        let us = |ticks: i64| Some(self.time_base.rescale(ticks, TimeBase::MICROSECONDS));
        common.latest_us = common.latest_us.max(us(dts));
        if self.is_steady {
            common.end_us = common.end_us.max(us(dts.saturating_add(self.last_duration)));
            common.presented_us = common.presented_us.max(us(pts.saturating_add(self.last_duration)));
        }
    }

    /// Takes the shift of another recording, whose packets come now.
    pub(super) fn begin_recording(&mut self) {
        self.is_joined = true;
    }

    /// Where the last packet was decoded, in the source's ticks of its newest clock; none before the first.
    pub(super) fn last_in_source(&self) -> Option<i64> {
        self.last_dts.filter(|_| !self.is_joined).map(|last| last.saturating_add(self.base).saturating_sub(self.shift))
    }

    /// From one time in the source to another, milliseconds.
    pub(super) fn ms_between(&self, from: i64, to: i64) -> i64 {
        self.time_base.to_ms(to.saturating_sub(from))
    }

    /// By how much a time in the source is later than the latest of all tracks, milliseconds.
    pub(super) fn ms_ahead_of_all(&self, dts: i64, common: &SharedTimeline) -> i64 {
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

    fn place_unstamped(&mut self, duration: i64) -> PacketTime {
        let dts = self.last_dts.map_or(0, |last| last + self.last_duration.max(1));
        self.repaired += 1;
        self.last_dts = Some(dts);
        self.last_duration = duration.max(0);
        PacketTime { pts: dts, dts, said: dts }
    }

    /// Applies the shift of the clock this packet belongs to, and notices when that is a new one.
    fn follow_clock(&mut self, ticks: i64, common: &mut SharedTimeline) -> i64 {
        let wanted = ticks.saturating_add(self.shift);
        let Some(last) = self.last_dts.filter(|_| !std::mem::take(&mut self.is_joined)) else {
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
    fn join_clock(&mut self, ticks: i64, expected: i64, common: &mut SharedTimeline) {
        let shared = TimeBase::MICROSECONDS.rescale(common.shift_us, self.time_base);
        let off_ms = self.time_base.to_ms(ticks.saturating_add(shared).saturating_sub(expected));
        // What this track goes by already is the clock that was left, however near it lies.
        let is_other = shared != self.shift;
        if is_other && (-JUMP_BACK_MS..=SAME_CLOCK_MS).contains(&off_ms) {
            self.shift = shared;
        } else {
            self.shift = common.end_of_all(expected, self.time_base).saturating_sub(ticks);
            common.shift_us = self.time_base.rescale(self.shift, TimeBase::MICROSECONDS);
        }
    }

    fn note_gap(&mut self, at: i64, length_ms: i64, over_ms: i64) {
        if self.is_steady && length_ms.abs() > over_ms {
            self.gaps.push((self.time_base.to_ms(at), length_ms));
        }
    }

    fn note_move(&mut self, by: i64) {
        // Containers round; nobody hears or sees less than half a millisecond.
        if self.time_base.to_ms(by) > 0 {
            self.repaired += 1;
            self.worst = self.worst.max(by);
        }
    }

    /// Counts a picture that had to be presented so much later than the source does.
    pub(super) fn note_presented_later(&mut self, by: i64) {
        self.note_move(by);
        self.moved += u64::from(by > 0);
    }

    /// How many packets are presented at another time than the source says, for a reason that is counted with the repairs.
    pub(super) fn moved(&self) -> u64 {
        self.moved
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

    fn place(clock: &mut TrackClock, common: &mut SharedTimeline, pts: i64, dts: i64) -> (i64, i64) {
        let stamp = clock.place(Some(pts), Some(dts), 40, common);
        (stamp.pts, stamp.dts)
    }

    #[test]
    fn the_keyframe_is_zero_and_b_frames_keep_their_order() {
        let (mut clock, mut common) = (TrackClock::new(MS, 1_080_000, true), SharedTimeline::default());
        assert_eq!(place(&mut clock, &mut common, 1080, 1000), (0, -80));
        assert_eq!(place(&mut clock, &mut common, 1200, 1040), (120, -40));
        assert_eq!(place(&mut clock, &mut common, 1120, 1080), (40, 0));
        assert_eq!(clock.repairs(), (0, 0));
    }

    #[test]
    fn a_repeated_timestamp_moves_by_the_least_and_is_counted() {
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), SharedTimeline::default());
        place(&mut clock, &mut common, 0, 0);
        place(&mut clock, &mut common, 40, 40);
        assert_eq!(place(&mut clock, &mut common, 30, 30), (41, 41));
        assert_eq!(place(&mut clock, &mut common, 80, 80), (80, 80));
        assert_eq!(clock.repairs(), (1, 11));
    }

    #[test]
    fn pictures_are_presented_when_the_source_presents_them() {
        let (mut clock, mut common) = (TrackClock::of_pictures(MS, 0, true), SharedTimeline::default());
        place(&mut clock, &mut common, 0, 0);
        assert_eq!(place(&mut clock, &mut common, 120, 40), (120, 40));
        assert_eq!(place(&mut clock, &mut common, 40, 80), (40, 80), "whoever writes it lowers decoding times");
        assert_eq!(place(&mut clock, &mut common, 80, 80), (80, 81));
        assert_eq!((clock.repairs(), clock.moved()), ((1, 1), 0));
    }

    #[test]
    fn another_recording_begins_where_the_last_picture_of_the_one_before_ends() {
        let (mut clock, mut common) = (TrackClock::of_pictures(MS, 0, true), SharedTimeline::default());
        place(&mut clock, &mut common, 80, 0);
        // The pictures that are presented before this one are lost.
        place(&mut clock, &mut common, 200, 40);
        common.join(80_000, 0);
        clock.begin_recording();
        assert_eq!(place(&mut clock, &mut common, 80, 0), (240, 160));
        assert_eq!((clock.repairs().0, clock.moved()), (0, 0));
    }

    #[test]
    fn a_packet_lasts_as_long_as_others_where_it_does_not_say_so() {
        let (mut clock, mut common) = (TrackClock::of_pictures(MS, 0, true), SharedTimeline::default());
        let pictures = [0, 120, 40, 80, 240, 160, 200];
        for at in pictures {
            clock.present(at + 3000, 0, &mut common);
        }
        assert_eq!(clock.present(0, 0, &mut common), 3280);
    }

    #[test]
    fn a_clock_of_presentation_times_goes_on_behind_all_tracks() {
        let mut common = SharedTimeline::default();
        let mut video = TrackClock::of_pictures(MS, 0, true);
        let mut audio = TrackClock::new(MS, 0, true);
        let pictures = [0, 120, 40, 80, 240, 160, 200];
        let first: Vec<i64> = pictures.iter().cycle().take(7).map(|at| at + 2000).collect();
        let placed: Vec<i64> = first.iter().map(|at| video.present(*at, 40, &mut common)).collect();
        assert_eq!(placed, first);
        audio.place(Some(2280), Some(2280), 21, &mut common);
        let placed: Vec<i64> = pictures.iter().map(|at| video.present(*at, 40, &mut common)).collect();
        assert_eq!(placed, pictures.map(|at| at + 2301), "where the sound ends");
        assert_eq!(audio.place(Some(0), Some(0), 21, &mut common).pts, 2301);
        assert_eq!((video.gaps().len(), audio.gaps().len(), video.repairs().0, audio.moved()), (1, 1, 0, 0));
    }

    #[test]
    fn a_restarted_clock_is_joined_alike_in_both_tracks() {
        let mut common = SharedTimeline::default();
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
            let mut common = SharedTimeline::default();
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
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), SharedTimeline::default());
        place(&mut clock, &mut common, 0, 0);
        assert_eq!(place(&mut clock, &mut common, 5000, 5000), (5000, 5000));
        assert_eq!(clock.gaps(), &[(0, 4960)]);
    }

    #[test]
    fn a_decoding_time_is_made_where_only_the_presentation_is_known() {
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), SharedTimeline::default());
        place(&mut clock, &mut common, 0, -80);
        assert_eq!(clock.place(Some(120), None, 40, &mut common), PacketTime { pts: 120, dts: -40, said: 120 });
        assert_eq!(clock.place(Some(40), None, 40, &mut common), PacketTime { pts: 40, dts: 0, said: 40 });
        assert_eq!(clock.repairs(), (0, 0));
    }

    #[test]
    fn packets_without_a_time_follow_the_one_before() {
        let (mut clock, mut common) = (TrackClock::new(MS, 0, true), SharedTimeline::default());
        place(&mut clock, &mut common, 100, 100);
        assert_eq!(clock.place(None, None, 40, &mut common), PacketTime { pts: 140, dts: 140, said: 140 });
        assert_eq!(clock.repairs().0, 1);
    }
}
