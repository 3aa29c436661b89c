//! The clock that the decoding times of fragments (`tfdt`, ISO/IEC 14496-12 §8.8.12) are read from, and what to do when it is set.
//!
//! A camera sets its clock, a recorder starts again in the same file, a counter wraps: from one fragment to the next the times go
//! back, or on by more than any recording pauses. The fragments behind that are joined to those before by a shift, the same
//! for all tracks that jump together, so that sound and pictures keep their distance. Pure: ticks in, ticks out.
//!
//! What goes back only a little is no other clock: the sample before was declared too long, and is shortened by the caller.

/// A track that goes back alone by more than this has another clock.
const BACK_MS: i128 = 1000;
/// Tracks that go back together by more than this have another clock.
const BACK_TOGETHER_MS: i128 = 100;
/// A longer pause is another clock.
const FORWARD_MS: i128 = 24 * 3600 * 1000;
/// A pause that is remembered, because a time that was hit looks like one until the next fragment.
const PAUSE_MS: i128 = 1000;
/// How far behind the end of a track its next fragment may begin and still belong to a clock that is known.
const SAME_CLOCK_MS: i128 = 3000;

/// What happened to the clock of a track between two fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClockStep {
    /// Another clock, which is so many ticks off the one before. It was joined.
    Joined(i128),
    /// The pause behind a sample was none; it is to last so many ticks less.
    Unpaused { sample: u64, ticks: u64 },
}

/// Where the samples of a track begin in a fragment, and where those before end.
#[derive(Debug, Clone, Copy)]
pub(super) struct FragmentStart {
    pub(super) track: usize,
    /// As `tfdt` says.
    pub(super) at: u64,
}

#[derive(Debug, Clone, Copy)]
struct FragmentClock {
    timescale: i128,
    /// From a time in the file to one on the joined timeline, and the same of the clock before.
    shift: i128,
    before: i128,
    /// The last pause: behind which sample, and how long.
    pause: Option<(u64, u64)>,
}

/// The clocks of all tracks.
#[derive(Debug)]
pub(super) struct FragmentClocks {
    tracks: Vec<FragmentClock>,
    /// The track that met the newest clock first, once there is more than one.
    newest: Option<usize>,
    forward_ms: i128,
}

/// A track that jumps: its number, time in the file, end so far.
type JumpingTrack = (usize, i128, i128);

impl FragmentClocks {
    pub(super) fn new(timescales: impl Iterator<Item = u32>) -> Self {
        let clock = |timescale| FragmentClock { timescale: i128::from(timescale), shift: 0, before: 0, pause: None };
        let tracks: Vec<FragmentClock> = timescales.map(clock).collect();
        // A pause is the duration of one sample, which has 32 bits.
        let finest = tracks.iter().map(|clock| clock.timescale).max().unwrap_or(1).max(1);
        let longest_ms = i128::from(u32::MAX / 2) * 1000 / finest;
        Self { tracks, newest: None, forward_ms: FORWARD_MS.min(longest_ms) }
    }

    /// Where a time of the file lies on the joined timeline.
    pub(super) fn place(&self, track: usize, at: u64) -> u64 {
        let shift = self.tracks.get(track).map_or(0, |clock| clock.shift);
        u64::try_from((i128::from(at) + shift).max(0)).unwrap_or(u64::MAX)
    }

    /// Remembers that a sample lasts longer by so many ticks because nothing follows it sooner.
    pub(super) fn note_pause(&mut self, track: usize, sample: u64, ticks: u64) {
        let clock = &mut self.tracks[track];
        if clock.ms(i128::from(ticks)) > PAUSE_MS {
            clock.pause = Some((sample, ticks));
        }
    }

    /// Takes a fragment, before its samples are added; `ends` says where each track ends so far, if it has begun.
    pub(super) fn meet(&mut self, starts: &[FragmentStart], ends: &[Option<u64>]) -> Vec<(usize, ClockStep)> {
        let mut steps = Vec::new();
        let mut jumping = self.jumping(starts, ends);
        jumping.retain(|jump| match self.unpaused(*jump) {
            Some(step) => {
                steps.push((jump.0, step));
                false
            }
            None => true,
        });
        let old: Vec<i128> = self.tracks.iter().map(|clock| clock.shift).collect();
        let joined: Vec<usize> = jumping.iter().map(|(track, ..)| *track).collect();
        let jumping: Vec<JumpingTrack> = jumping.into_iter().filter(|jump| !self.joins_known(*jump)).collect();
        self.join_new(&jumping, starts, ends);
        for track in joined {
            let (at, end) = (starts.iter().find(|s| s.track == track).map_or(0, |s| s.at), ends[track].unwrap_or(0));
            steps.push((track, ClockStep::Joined(i128::from(at) + old[track] - i128::from(end))));
            self.newest = Some(track);
        }
        self.begin(starts, ends);
        steps
    }

    fn jumping(&self, starts: &[FragmentStart], ends: &[Option<u64>]) -> Vec<JumpingTrack> {
        let of =
            |start: &FragmentStart| Some((start.track, i128::from(start.at), i128::from((*ends.get(start.track)?)?)));
        let all: Vec<JumpingTrack> = starts.iter().filter_map(of).collect();
        let steps_ms = || all.iter().map(|jump| self.step_ms(*jump));
        let (least, most) = (steps_ms().min().unwrap_or(0), steps_ms().max().unwrap_or(0));
        let go_back_together = most < -BACK_TOGETHER_MS && most - least <= BACK_TOGETHER_MS;
        let back_ms = if go_back_together { 0 } else { BACK_MS };
        let is_far = |jump: &JumpingTrack| !(-back_ms..=self.forward_ms).contains(&self.step_ms(*jump));
        all.iter().copied().filter(is_far).collect()
    }

    /// How much later a fragment begins than the one before ends, by the clock so far.
    fn step(&self, (track, at, end): JumpingTrack) -> i128 {
        at + self.tracks[track].shift - end
    }

    fn step_ms(&self, jump: JumpingTrack) -> i128 {
        self.tracks[jump.0].ms(self.step(jump))
    }

    /// A clock that goes back by as much as it went on before: either time was hit, or set and set back.
    fn unpaused(&mut self, jump: JumpingTrack) -> Option<ClockStep> {
        let clock = self.tracks[jump.0];
        let (sample, ticks) = clock.pause?;
        let off_ms = clock.ms(self.step(jump) + i128::from(ticks));
        (off_ms.abs() <= BACK_MS).then(|| {
            self.tracks[jump.0].pause = None;
            ClockStep::Unpaused { sample, ticks }
        })
    }

    /// Goes by a clock that is known: the one before, or one that another track has met.
    fn joins_known(&mut self, (track, at, end): JumpingTrack) -> bool {
        let own = self.tracks[track];
        let others = self.tracks.iter().map(|other| rescaled(other.shift, other.timescale, own.timescale));
        let step = |shift: &i128| at + shift - end;
        let is_near = |shift: &i128| (-BACK_TOGETHER_MS..=SAME_CLOCK_MS).contains(&own.ms(step(shift)));
        let known = others.chain([own.before]).filter(is_near).min_by_key(|shift| step(shift).abs());
        if let Some(shift) = known {
            self.set(track, at, end, shift);
        }
        known.is_some()
    }

    /// Joins a new clock, so that no track that meets it goes back.
    fn join_new(&mut self, jumping: &[JumpingTrack], starts: &[FragmentStart], ends: &[Option<u64>]) {
        let nanos = |track: usize, ticks: i128| rescaled(ticks, self.tracks[track].timescale, NANOS);
        let latest = jumping.iter().map(|(track, at, end)| nanos(*track, end - at)).max();
        let Some(mut common) = latest else { return };
        // The others meet it with the next fragment, and end a little later.
        if let [(track, at, end)] = jumping {
            let (at, end) = (nanos(*track, *at), nanos(*track, *end));
            let is_absent = |other: &usize| starts.iter().all(|start| start.track != *other);
            let absent = (0..ends.len()).filter(is_absent).filter_map(|other| Some(nanos(other, ends[other]?.into())));
            let near = absent.filter(|other| (0..NANOS).contains(&(other - end))).max();
            common = common.max(near.unwrap_or(end) - at);
        }
        for (track, at, end) in jumping {
            let shift = rescaled(common, NANOS, self.tracks[*track].timescale);
            let is_same = self.tracks[*track].ms(at + shift - end) <= SAME_CLOCK_MS;
            self.set(*track, *at, *end, if is_same { shift } else { end - at });
        }
    }

    /// Sets the shift of a track; what is left of a millisecond is rounding.
    fn set(&mut self, track: usize, at: i128, end: i128, shift: i128) {
        let clock = &mut self.tracks[track];
        clock.before = clock.shift;
        clock.shift = if clock.ms(at + shift - end) == 0 { end - at } else { shift };
        clock.pause = None;
    }

    /// A track that begins after the others have met another clock goes by that one, if that is nearer to them.
    fn begin(&mut self, starts: &[FragmentStart], ends: &[Option<u64>]) {
        let Some(newest) = self.newest else { return };
        let model = self.tracks[newest];
        let latest = (0..ends.len())
            .filter_map(|track| Some(rescaled(ends[track]?.into(), self.tracks[track].timescale, NANOS)));
        let Some(latest) = latest.max() else { return };
        for start in starts.iter().filter(|start| ends.get(start.track) == Some(&None)) {
            let clock = &mut self.tracks[start.track];
            let shift = rescaled(model.shift, model.timescale, clock.timescale);
            let off = |shift: i128| (rescaled(i128::from(start.at) + shift, clock.timescale, NANOS) - latest).abs();
            if off(shift) < off(0) {
                clock.shift = shift;
            }
        }
    }
}

const NANOS: i128 = 1_000_000_000;

impl FragmentClock {
    /// Towards zero.
    fn ms(&self, ticks: i128) -> i128 {
        ticks * 1000 / self.timescale.max(1)
    }
}

fn rescaled(value: i128, from: i128, to: i128) -> i128 {
    let from = from.max(1);
    (value * to * 2 + from).div_euclid(from * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures in milliseconds, sound at 48 kHz.
    fn clocks() -> FragmentClocks {
        FragmentClocks::new([1000, 48_000].into_iter())
    }

    const HOUR: u64 = 3600;

    fn starts(pictures: u64, sound: u64) -> [FragmentStart; 2] {
        [FragmentStart { track: 0, at: pictures }, FragmentStart { track: 1, at: sound }]
    }

    #[test]
    fn a_clock_that_goes_back_is_joined_with_the_distance_kept() {
        let mut clocks = clocks();
        let (end, sound_end) = ((HOUR + 4) * 1000, (HOUR + 4) * 48_000 + 512);
        let steps = clocks.meet(&starts(4000, 4 * 48_000 + 512), &[Some(end), Some(sound_end)]);
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0], (0, ClockStep::Joined(-3_600_000)));
        assert_eq!((clocks.place(0, 4000), clocks.place(1, 4 * 48_000 + 512)), (end, sound_end));
        assert_eq!(clocks.meet(&starts(5000, 5 * 48_000), &[Some(end + 1000), Some(sound_end + 47_488)]), []);
    }

    #[test]
    fn a_recorder_that_starts_again_begins_behind_the_longer_track() {
        let mut clocks = clocks();
        clocks.meet(&starts(0, 0), &[Some(8000), Some(8 * 48_000 + 960)]);
        assert_eq!((clocks.place(0, 0), clocks.place(1, 0)), (8020, 8 * 48_000 + 960));
    }

    #[test]
    fn tracks_in_fragments_of_their_own_meet_the_clock_one_after_the_other() {
        let mut clocks = clocks();
        let ends = [Some((HOUR + 4) * 1000), Some((HOUR + 4) * 48_000 + 960)];
        assert_eq!(clocks.meet(&starts(4000, 0)[..1], &ends).len(), 1);
        let ends = [Some((HOUR + 5) * 1000 + 20), ends[1]];
        assert_eq!(clocks.meet(&starts(0, 4 * 48_000 + 960)[1..], &ends).len(), 1);
        let distance = |pictures: u64, sound: u64| clocks.place(1, sound) - clocks.place(0, pictures) * 48;
        assert_eq!(distance(4000, 4 * 48_000 + 960), 960);
    }

    #[test]
    fn a_short_step_of_all_tracks_is_a_clock_and_of_one_an_overlap() {
        let ends = [Some(10_000), Some(480_000)];
        assert_eq!(clocks().meet(&starts(9500, 9500 * 48), &ends).len(), 2);
        assert_eq!(clocks().meet(&starts(9500, 480_000), &ends), []);
        assert_eq!(clocks().meet(&starts(9950, 9950 * 48), &ends), []);
    }

    #[test]
    fn no_recording_pauses_for_days_but_for_hours_some_do() {
        let ends = [Some(10_000), Some(480_000)];
        let on = |hours: u64| (10_000 + hours * HOUR * 1000, 480_000 + hours * HOUR * 48_000);
        let (pictures, sound) = on(5);
        assert_eq!(clocks().meet(&starts(pictures, sound), &ends), []);
        let (pictures, sound) = on(500_000);
        let mut joined = clocks();
        assert_eq!(joined.meet(&starts(pictures, sound), &ends).len(), 2);
        assert_eq!((joined.place(0, pictures), joined.place(1, sound)), (10_000, 480_000));
    }

    #[test]
    fn a_pause_that_is_taken_back_was_none() {
        let mut clocks = clocks();
        clocks.note_pause(0, 7, 8_192_000);
        let steps = clocks.meet(&starts(9000, 9 * 48_000), &[Some(8_200_000 + 1000), Some(9 * 48_000)]);
        assert_eq!(steps, [(0, ClockStep::Unpaused { sample: 7, ticks: 8_192_000 })]);
        assert_eq!(clocks.place(0, 9000), 9000);
    }

    #[test]
    fn a_track_that_begins_later_goes_by_the_clock_of_the_others() {
        let mut clocks = clocks();
        clocks.meet(&starts(0, 0)[..1], &[Some(8000), None]);
        clocks.meet(&starts(0, 48_000)[1..], &[Some(9000), None]);
        assert_eq!(clocks.place(1, 48_000), 9 * 48_000);
    }

    #[test]
    fn hostile_times_do_not_overflow() {
        let mut clocks = clocks();
        clocks.meet(&starts(u64::MAX, 0), &[Some(u64::MAX), Some(u64::MAX)]);
        clocks.meet(&starts(0, u64::MAX), &[Some(u64::MAX), Some(5)]);
        assert!(clocks.place(1, u64::MAX) > 0);
    }
}
