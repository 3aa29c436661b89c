//! When a movie that was assembled is presented: its start brought to zero, its edit lists and durations filled in.

use super::movie::Movie;
use super::tables::elst::{Edit, RATE_ONE};
use super::timeline::extent;
use super::track::{Track, rescaled, saturating_i64};

impl Movie {
    /// Takes decoding times of the tracks' first samples (ticks of each track) that the tables do not hold.
    ///
    /// What all tracks have in common is left out, so that the movie starts at zero; what is between them becomes part
    /// of their edit lists. A track whose edit list does more than delay and trim keeps it as it is.
    pub fn start_at(&mut self, first_dts: &[u64]) {
        let starts = self.tracks.iter().zip(first_dts).filter(|(track, _)| track.tables.count() > 0);
        let earlier = |a: &(u64, u64), b: &(u64, u64)| {
            (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1)))
        };
        let common = starts.map(|(track, start)| (*start, u64::from(track.timescale()))).min_by(earlier);
        let Some((start, timescale)) = common else { return };
        let old_timescale = self.header.timescale;
        let shifts: Vec<Option<i64>> = (self.tracks.iter().zip(first_dts))
            .map(|(track, first)| {
                let common = rescaled(start, u64::from(track.timescale()), timescale);
                let delay = saturating_i64(first.saturating_sub(common));
                is_simple(&track.edits).then(|| track.presentation_shift(old_timescale).saturating_add(delay))
            })
            .collect();
        let openings: Vec<Option<PresentationStart>> = (self.tracks.iter().zip(shifts))
            .map(|(track, shift)| shift.map(|shift| PresentationStart::of(shift, track.earliest_composition())))
            .collect();
        self.refine_timescale(&openings);
        let timescale = self.header.timescale;
        for (track, opening) in self.tracks.iter_mut().zip(openings) {
            let Some(opening) = opening else { continue };
            if opening != PresentationStart::default() || !track.edits.is_empty() {
                track.edits = opening.edits(track.timescale(), timescale);
            }
        }
    }

    /// Makes the movie's clock fine enough for delays to be exact, where 32 bits hold such a clock.
    fn refine_timescale(&mut self, openings: &[Option<PresentationStart>]) {
        let old = self.header.timescale;
        let is_inexact = |(track, opening): &(&Track, &Option<PresentationStart>)| {
            let delay = opening.unwrap_or_default().delay;
            !(u128::from(delay) * u128::from(old)).is_multiple_of(u128::from(track.timescale()))
        };
        let needed = self.tracks.iter().zip(openings).filter(is_inexact).map(|(track, _)| track.timescale());
        let Some(fine) = needed.into_iter().try_fold(old, common_timescale).filter(|fine| *fine != old) else { return };
        self.header.timescale = fine;
        for edit in self.tracks.iter_mut().flat_map(|track| &mut track.edits) {
            edit.segment_duration = edit.segment_duration.saturating_mul(u64::from(fine / old));
        }
    }

    /// Computes the durations of media, edits, tracks and movie from the samples.
    ///
    /// An edit of duration 0, as fragmented files have it, lasts to the end of the samples.
    pub fn settle_durations(&mut self) {
        let timescale = self.header.timescale;
        for track in &mut self.tracks {
            settle_track(track, timescale);
        }
        self.header.duration = self.tracks.iter().map(|track| track.header.duration).max().unwrap_or(0);
    }
}

/// Whether an edit list only delays, then trims the beginning, at normal speed.
pub(super) fn is_simple(edits: &[Edit]) -> bool {
    let media = edits.iter().skip_while(|edit| edit.media_time.is_none());
    media.clone().count() <= 1 && media.clone().all(|edit| edit.rate == RATE_ONE)
}

/// How the presentation of a track begins, in ticks of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PresentationStart {
    /// How long nothing is presented.
    delay: u64,
    /// The composition time that is presented then.
    media_time: u64,
}

impl PresentationStart {
    /// Presents composition time 0 at `shift`, of a track whose earliest sample has composition time `earliest`.
    ///
    /// What comes late begins with that sample: players take a media time before it for one that means it, and
    /// present the track too early by the difference.
    pub fn of(shift: i64, earliest: i64) -> Self {
        let (delay, media_time) = match shift.saturating_add(earliest) {
            _ if shift == 0 => (0, 0),
            delay if delay > 0 && earliest > 0 => (delay, earliest),
            _ => (shift.max(0), shift.saturating_neg().max(0)),
        };
        Self { delay: delay.unsigned_abs(), media_time: media_time.unsigned_abs() }
    }

    /// The edit list that says so, to the end of the samples.
    pub fn edits(self, track_timescale: u32, movie_timescale: u32) -> Vec<Edit> {
        let delay = rescaled(self.delay, u64::from(movie_timescale), u64::from(track_timescale));
        let empty = (delay > 0).then(|| Edit::empty(delay));
        empty.into_iter().chain([Edit::media(0, self.media_time)]).collect()
    }
}

impl Track {
    /// Whether its edit list only delays, then trims the beginning, at normal speed.
    pub fn has_simple_edits(&self) -> bool {
        is_simple(&self.edits)
    }

    /// When its edit list ends the presentation, in ticks of the track; `None` if it lasts as long as its samples.
    pub fn presentation_limit(&self, movie_timescale: u32) -> Option<i64> {
        let last = self.edits.last().filter(|edit| edit.segment_duration > 0 && edit.media_time.is_some())?;
        let before = self.edits.iter().take(self.edits.len() - 1).map(|edit| edit.segment_duration);
        let whole = u128::from(before.fold(last.segment_duration, u64::saturating_add));
        let ticks = (whole * u128::from(self.timescale())).div_ceil(u128::from(movie_timescale.max(1)));
        Some(saturating_i64(u64::try_from(ticks).unwrap_or(u64::MAX)))
    }

    /// Its edit list: nothing for `delay`, then the media from `media_time` on (ticks of the track) for `length`; delay and length in ticks
    /// of the movie.
    pub fn present(&mut self, delay: u64, media_time: u64, length: u64) {
        let empty = (delay > 0).then(|| Edit::empty(delay));
        self.edits = empty.into_iter().chain([Edit::media(length, media_time)]).collect();
    }
}

fn settle_track(track: &mut Track, movie_timescale: u32) {
    let extent = extent(&track.tables, track.tables.count_in_chunks()).unwrap_or_default();
    // The largest composition time and the duration of that sample (§8.4.2.3): what is shown later, a player leaves out.
    track.media.duration = u64::try_from(extent.end_dts.max(extent.end_pts)).unwrap_or(0);
    let end = u64::try_from(extent.end_pts).unwrap_or(0);
    let ticks = u64::from(track.timescale());
    let presented = |media_time: u64| ceil_rescaled(end.saturating_sub(media_time), u64::from(movie_timescale), ticks);
    for edit in track.edits.iter_mut().filter(|edit| edit.segment_duration == 0) {
        edit.segment_duration = edit.media_time.map_or(0, presented);
    }
    track.header.duration = match &track.edits[..] {
        [] => presented(0),
        edits => edits.iter().map(|edit| edit.segment_duration).fold(0, u64::saturating_add),
    };
}

/// `value · to / from`, rounded up.
fn ceil_rescaled(value: u64, to: u64, from: u64) -> u64 {
    let product = u128::from(value) * u128::from(to);
    u64::try_from(product.div_ceil(u128::from(from.max(1)))).unwrap_or(u64::MAX)
}

/// The ticks per second of a clock on which the ticks of two clocks are whole, if 31 bits hold them: their least common multiple.
pub fn common_timescale(a: u32, b: u32) -> Option<u32> {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).checked_mul(b).filter(|lcm| *lcm <= i32::MAX.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_an_empty_edit_and_a_trim_a_media_time() {
        let edits = |shift, earliest| PresentationStart::of(shift, earliest).edits(48_000, 1000);
        assert_eq!(PresentationStart::of(0, 0), PresentationStart::default());
        assert_eq!(edits(-1024, 0), [Edit::media(0, 1024)]);
        assert_eq!(edits(4800, 0), [Edit::empty(100), Edit::media(0, 0)]);
        assert_eq!(edits(-1024, 1024), [Edit::media(0, 1024)]);
    }

    #[test]
    fn a_delay_ends_with_the_first_sample_that_is_shown() {
        let edits = |shift, earliest| PresentationStart::of(shift, earliest).edits(48_000, 1000);
        // Pictures that are reordered, decoded before the movie begins or behind its beginning.
        assert_eq!(edits(-480, 4800), [Edit::empty(90), Edit::media(0, 4800)]);
        assert_eq!(edits(480, 4800), [Edit::empty(110), Edit::media(0, 4800)]);
        assert_eq!(edits(-9600, 4800), [Edit::media(0, 9600)]);
    }

    #[test]
    fn a_clock_is_refined_only_as_far_as_it_goes() {
        assert_eq!(common_timescale(1000, 44_100), Some(441_000));
        assert_eq!(common_timescale(1_000_000_007, 90_000), None);
    }

    #[test]
    fn only_delay_and_trim_are_simple() {
        assert!(is_simple(&[]) && is_simple(&[Edit::empty(5), Edit::media(0, 7)]));
        assert!(!is_simple(&[Edit::media(5, 7), Edit::media(5, 0)]));
        assert!(!is_simple(&[Edit { rate: 0, ..Edit::media(5, 7) }]));
    }

    #[test]
    fn an_edit_list_limits_the_presentation_only_if_it_says_how_long() {
        let mut track = Track::new(1, crate::isobmff::FourCc(*b"soun"), 48_000, &stsd(), (0, 0)).unwrap();
        assert_eq!(track.presentation_limit(1000), None);
        track.edits = vec![Edit::empty(500), Edit::media(1000, 1024)];
        assert_eq!(track.presentation_limit(1000), Some(72_000));
        track.edits = vec![Edit::empty(500), Edit::media(0, 1024)];
        assert_eq!(track.presentation_limit(1000), None);
    }

    fn stsd() -> Vec<u8> {
        b"\0\0\0\x10stsd\0\0\0\0\0\0\0\0".to_vec()
    }
}
