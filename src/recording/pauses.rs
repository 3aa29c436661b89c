//! Which pauses of a picture track are pauses, and which are only pictures that stay as they are: a slide, a shared screen on
//! which nothing moves.

use std::collections::{BTreeMap, BTreeSet};

use super::{Defect, TrackKind};

/// A pause of a track that has so many times fewer pictures is usual for it.
const USUAL_INTERVALS: i64 = 5;
/// A track with so many pauses that together last so great a part of the time up to the last of them (one in so many) is of a
/// variable frame rate. Not all pauses of a long track are listed.
const LEAST_PAUSES: usize = 4;
const STILL_PART: i64 = 4;
/// Sound may begin and end so much later and earlier than a pause, milliseconds.
const SLACK_MS: i64 = 1000;

/// Where a track lies, milliseconds of a timeline that all tracks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackSpan {
    /// Track number, starting at 1.
    pub track: u32,
    /// What it carries.
    pub kind: TrackKind,
    /// Packets in it.
    pub packets: u64,
    /// What the places of its gaps count from.
    pub origin_ms: i64,
    /// Its first packet.
    pub from_ms: i64,
    /// Its last packet.
    pub to_ms: i64,
}

/// Removes the gaps of picture tracks that are only a variable frame rate: no longer than the track's pictures usually are, or
/// of a track that stays still for a quarter of the time while sound goes on.
pub fn drop_still_pictures(defects: &mut Vec<Defect>, tracks: &[TrackSpan]) {
    let mut gaps: BTreeMap<u32, Vec<(i64, i64)>> = BTreeMap::new();
    for (span, from, to) in defects.iter().filter_map(|defect| gap(defect, tracks)) {
        gaps.entry(span.track).or_default().push((from, to));
    }
    let of = |span: &TrackSpan| gaps.get(&span.track).map_or(&[][..], Vec::as_slice);
    let sounds: Vec<&TrackSpan> =
        tracks.iter().filter(|span| span.kind == TrackKind::Audio && span.packets > 0).collect();
    let is_covered = |(from, to): (i64, i64)| {
        let is_silent = |sound: &TrackSpan| of(sound).iter().any(|(begin, end)| *begin < to && from < *end);
        sounds.iter().any(|s| s.from_ms <= from + SLACK_MS && s.to_ms + SLACK_MS >= to && !is_silent(s))
    };
    let is_often_still = |span: &TrackSpan| {
        let covered = of(span).iter().filter(|gap| is_covered(**gap));
        let (count, sum_ms, last_ms) = covered
            .fold((0, 0, span.from_ms), |(count, sum, last), (from, to)| (count + 1, sum + to - from, last.max(*to)));
        count >= LEAST_PAUSES && sum_ms >= (last_ms - span.from_ms) / STILL_PART
    };
    // Once for each track: a file may say that it has hundreds, each with many gaps.
    let pictures = tracks.iter().filter(|span| span.kind == TrackKind::Video && !of(span).is_empty());
    let often_still: BTreeSet<u32> = pictures.filter(|span| is_often_still(span)).map(|span| span.track).collect();
    let is_still = |span: &TrackSpan, (from, to): (i64, i64)| {
        let length_ms = span.to_ms - span.from_ms;
        let others = i64::try_from(span.packets.max(2) - 1).unwrap_or(i64::MAX);
        let usual_ms = (length_ms - (to - from)) / others;
        let is_usual = to - from <= usual_ms.saturating_mul(USUAL_INTERVALS);
        is_usual || (often_still.contains(&span.track) && is_covered((from, to)))
    };
    defects.retain(|defect| match gap(defect, tracks) {
        Some((span, from, to)) if span.kind == TrackKind::Video && from < to => !is_still(&span, (from, to)),
        _ => true,
    });
}

/// A gap with its track, and where it begins and ends on the common timeline.
fn gap(defect: &Defect, tracks: &[TrackSpan]) -> Option<(TrackSpan, i64, i64)> {
    let Defect::TimestampGap { track, at_ms, length_ms } = *defect else { return None };
    let span = tracks.iter().find(|span| span.track == track)?;
    let from = span.origin_ms.saturating_add(at_ms);
    Some((*span, from, from.saturating_add(length_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: TrackSpan =
        TrackSpan { track: 1, kind: TrackKind::Video, packets: 1500, origin_ms: 0, from_ms: 0, to_ms: 60_000 };
    const SOUND: TrackSpan = TrackSpan { track: 2, kind: TrackKind::Audio, packets: 3000, ..PICTURES };

    fn gap_at(track: u32, at_ms: i64, length_ms: i64) -> Defect {
        Defect::TimestampGap { track, at_ms, length_ms }
    }

    /// What is left of the defects.
    fn left(defects: &[Defect], tracks: &[TrackSpan]) -> Vec<Defect> {
        let mut left = defects.to_vec();
        drop_still_pictures(&mut left, tracks);
        left
    }

    #[test]
    fn a_pause_of_both_and_a_single_one_of_pictures_are_said() {
        let both = [gap_at(1, 10_000, 5000), gap_at(2, 10_020, 4980)];
        assert_eq!(left(&both, &[PICTURES, SOUND]), both);
        let single = [gap_at(1, 10_000, 5000)];
        assert_eq!(left(&single, &[PICTURES, SOUND]), single);
        assert_eq!(left(&single, &[PICTURES]), single);
        assert_eq!(left(&[gap_at(1, 40_000, -30_000)], &[PICTURES, SOUND]).len(), 1, "a clock that goes back");
    }

    #[test]
    fn slides_are_no_pauses_with_and_without_sound() {
        let slides = TrackSpan { packets: 12, ..PICTURES };
        let each: Vec<_> = (0..11).map(|n| gap_at(1, n * 5000, 5000)).collect();
        assert_eq!(left(&each, &[slides, SOUND]), []);
        assert_eq!(left(&each, &[slides]), []);
        let long = [&each[..5], &[gap_at(1, 25_000, 30_000)]].concat();
        assert_eq!(left(&long, &[slides]), [gap_at(1, 25_000, 30_000)]);
    }

    #[test]
    fn a_screen_that_stands_still_at_times_is_no_pause_while_sound_goes_on() {
        let still: Vec<_> = (0..4).map(|n| gap_at(1, 2000 + n * 12_000, 6000)).collect();
        assert_eq!(left(&still, &[PICTURES, SOUND]), []);
        assert_eq!(left(&still, &[PICTURES]), still, "nothing tells them from pauses");
        assert_eq!(left(&still[..3], &[PICTURES, SOUND]).len(), 3, "few");
        let silent = [&still[..], &[gap_at(2, 14_500, 4000)]].concat();
        assert_eq!(left(&silent, &[PICTURES, SOUND]).len(), 5, "only three are left, which are few");
        let early = TrackSpan { to_ms: 30_000, ..SOUND };
        assert_eq!(left(&still, &[PICTURES, early]).len(), 4, "sound that has ended says nothing");
    }

    #[test]
    fn places_count_from_the_beginning_of_their_track() {
        let later = TrackSpan { origin_ms: 90_000, from_ms: 90_000, to_ms: 150_000, ..PICTURES };
        let sound = TrackSpan { origin_ms: 90_000, from_ms: 90_000, to_ms: 150_000, ..SOUND };
        let still: Vec<_> = (0..5).map(|n| gap_at(1, 2000 + n * 10_000, 6000)).collect();
        assert_eq!(left(&still, &[later, sound]), []);
    }
}
