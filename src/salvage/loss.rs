//! How many pictures and audio frames a gap swallowed: the pair that fits the size of the gap, the clock on both sides
//! and the picture order best. Gaps in the media stay gaps in time; they are never closed.

use super::clock::{AudioBeat, Segment};
use super::rhythm::KeyframeHint;

/// Most pictures that one gap is believed to have swallowed.
const MOST_PICTURES: i64 = 4000;
/// How much a picture order that does not fit weighs against the size.
const ORDER_WEIGHT: i64 = 12_000;
/// How much each audio frame by which the clock is missed weighs.
const CLOCK_WEIGHT: i64 = 20_000;
/// What it costs to believe that a key picture was lost where nothing says so.
const KEY_COST: i64 = 1_500;
/// What costs so little more is as likely.
const CLOSE_COST: i64 = 1_000;
/// Sizes of audio frames differ so much that one in so many lost ones is not sure.
const SOUND_DOUBT: i64 = 10;
/// How many pictures behind the gap are of interest.
pub const BEHIND: usize = 160;
/// How many of them are compared with the clock.
const COMPARED: usize = 40;

/// What a gap swallowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GapLoss {
    /// Pictures.
    pub pictures: i64,
    /// Frames of the first audio track.
    pub audio: i64,
    /// By how much the time that it swallowed may differ, flicks: what other numbers that fit come to. 0 if none does.
    pub doubt: i64,
}

impl GapLoss {
    /// Whether other numbers would fit nearly as well.
    pub const fn is_ambiguous(&self) -> bool {
        self.doubt > 0
    }
}

/// What is known of a gap.
#[derive(Debug, Clone)]
pub struct GapFacts {
    /// Its length.
    pub gap_bytes: i64,
    /// Typical size of a picture (where there is a rhythm, of one that is no key picture) and of an audio frame around
    /// it; 0 if there are none.
    pub picture_bytes: i64,
    /// See `picture_bytes`.
    pub audio_bytes: i64,
    /// When the picture behind the gap would be due if none was lost.
    pub next_due: i64,
    /// Distance of pictures; `None` if it is not constant.
    pub duration: Option<i64>,
    /// The clock, with what was lost of it before.
    pub beat: Option<AudioBeat>,
    /// The pictures behind the gap up to the next one.
    pub behind: Segment,
    /// How many pictures were lost by their order, and modulo which number.
    pub by_order: Option<(i64, i64)>,
    /// What the rhythm of key pictures says.
    pub rest: Option<KeyframeHint>,
    /// Size of a key picture.
    pub key_bytes: i64,
    /// Size of another picture; 0 if it is not known how large which ones are.
    pub other_bytes: i64,
    /// How many key pictures were lost, where no rhythm says so.
    pub keys: i64,
    /// Whether the order begins anew at each key picture.
    pub is_reset: bool,
    /// Whether the writer collects runs of samples, so that its order proves little.
    pub is_chunked: bool,
    /// By how much the sound is ahead where such a run of pictures begins.
    pub lead: Option<AudioLead>,
}

/// By how much the sound is ahead where a run of pictures begins, told from the runs before a gap. Writers end their runs
/// by time, and it is nearly always the same, or by number, and it changes from picture to picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLead {
    /// At the first picture that is missing at least, flicks.
    pub from: i64,
    /// At most.
    pub to: i64,
    /// By how much it grows with each picture.
    pub slope: i64,
}

impl GapFacts {
    /// The first run of pictures behind the gap: by how many pictures it comes later, and the sound before it.
    fn next_run(&self) -> Option<(i64, i64)> {
        let before = &self.behind.audio_before;
        let at = before.windows(2).position(|pair| pair[0] != pair[1])? + 1;
        Some((i64::try_from(at).ok()?, i64::from(before[at])))
    }
}

/// Numbers that a gap may have swallowed.
#[derive(Debug, Clone, Copy)]
struct LossCandidate {
    cost: i64,
    pictures: i64,
    audio: i64,
    /// Whether clock and order allow it and its size does not rule it out.
    may_be: bool,
    /// Whether one of the pictures is believed to be a key picture, without a rhythm that says so.
    has_key: bool,
}

/// The most likely loss.
pub fn estimate(facts: &GapFacts) -> GapLoss {
    if facts.picture_bytes == 0 {
        return of_sound(facts);
    }
    let mut all = candidates(facts);
    if facts.rest.is_none() && facts.other_bytes > 0 {
        // A key picture may be among those that were lost; then the order says nothing.
        let with_key = GapFacts { picture_bytes: facts.other_bytes, keys: 1, ..facts.clone() };
        let keyed = candidates(&with_key).into_iter().filter(|candidate| candidate.pictures > 0);
        all.extend(keyed.map(|candidate| LossCandidate {
            cost: candidate.cost + KEY_COST,
            has_key: true,
            ..candidate
        }));
    }
    let Some(best) = all.iter().copied().min_by_key(|candidate| candidate.cost) else { return GapLoss::default() };
    let is_other = |other: &&LossCandidate| {
        let close = if other.has_key { KEY_COST + CLOSE_COST } else { CLOSE_COST };
        let is_close = other.cost.saturating_sub(best.cost) < close;
        other.pictures != best.pictures && (is_close || other.may_be && (best.has_key || !other.has_key))
    };
    let apart = |other: &LossCandidate| time(facts, other).abs_diff(time(facts, &best));
    let doubt = all.iter().filter(is_other).map(apart).max().unwrap_or(0);
    GapLoss { pictures: best.pictures, audio: best.audio, doubt: i64::try_from(doubt).unwrap_or(i64::MAX) }
}

/// By number of pictures: the likeliest number of audio frames.
fn candidates(facts: &GapFacts) -> Vec<LossCandidate> {
    let most = (facts.gap_bytes / (facts.picture_bytes / 8).max(16) + 2).min(MOST_PICTURES);
    let likeliest = |pictures| {
        let all = audio_near(facts, pictures).map(move |audio| LossCandidate {
            cost: cost(facts, pictures, audio),
            pictures,
            audio,
            may_be: may_be(facts, pictures, audio),
            has_key: false,
        });
        all.reduce(|best, next| LossCandidate {
            may_be: best.may_be || next.may_be,
            ..if next.cost < best.cost { next } else { best }
        })
    };
    (0..=most).filter_map(likeliest).collect()
}

/// Sound alone: only its size says how much of it is missing.
fn of_sound(facts: &GapFacts) -> GapLoss {
    let audio = (facts.gap_bytes + facts.audio_bytes / 2).checked_div(facts.audio_bytes).unwrap_or(0).max(1);
    let doubt = audio / SOUND_DOUBT * facts.beat.map_or(0, |beat| beat.duration);
    GapLoss { pictures: 0, audio, doubt }
}

/// How long a loss lasts, flicks: by the pictures where their distance is known, else by the sound.
fn time(facts: &GapFacts, lost: &LossCandidate) -> i64 {
    match (facts.duration, facts.beat) {
        (Some(duration), _) => lost.pictures.saturating_mul(duration),
        (None, Some(beat)) => lost.audio.saturating_mul(beat.duration),
        (None, None) => lost.pictures,
    }
}

/// Whether a gap may have swallowed so many: the clock and the order agree, and pictures need not be half or twice as
/// large as those around it.
fn may_be(facts: &GapFacts, pictures: i64, audio: i64) -> bool {
    let explained = explained(facts, pictures, audio);
    let is_near = explained.saturating_mul(2) >= facts.gap_bytes && explained <= facts.gap_bytes.saturating_mul(2);
    is_near && !is_disordered(facts, pictures) && by_clock(facts, pictures, audio) < CLOSE_COST
}

fn explained(facts: &GapFacts, pictures: i64, audio: i64) -> i64 {
    let keys = keys(facts, pictures);
    let sound = audio.saturating_mul(facts.audio_bytes);
    (pictures - keys).saturating_mul(facts.picture_bytes).saturating_add(keys * facts.key_bytes).saturating_add(sound)
}

fn keys(facts: &GapFacts, pictures: i64) -> i64 {
    facts.rest.map_or(facts.keys, |rest| rest.keys(pictures)).min(pictures)
}

/// Whether so many lost pictures contradict the rhythm of key pictures, or the order where no key picture was lost.
fn is_disordered(facts: &GapFacts, pictures: i64) -> bool {
    let is_anew = facts.is_reset && keys(facts, pictures) > 0;
    let by_order = facts.by_order.filter(|_| !is_anew).is_some_and(|(lost, period)| match period {
        0 => lost != pictures,
        period => (lost - pictures).rem_euclid(period) != 0,
    });
    by_order || facts.rest.is_some_and(|rest| !rest.is_kept(pictures))
}

/// The numbers of audio frames that the clock allows for a number of pictures, or that the size leaves.
fn audio_near(facts: &GapFacts, pictures: i64) -> std::ops::RangeInclusive<i64> {
    let by_size = (facts.gap_bytes - explained(facts, pictures, 0)).checked_div(facts.audio_bytes).unwrap_or(0).max(0);
    let middle = match (facts.beat, facts.duration, facts.behind.audio_before.first()) {
        (Some(beat), Some(duration), Some(before)) if !facts.is_chunked => {
            (facts.next_due + pictures * duration - beat.start).div_euclid(beat.duration) - i64::from(*before)
        }
        (None, ..) => return 0..=0,
        (Some(beat), Some(duration), Some(_)) => by_lead(facts, beat, duration, pictures).unwrap_or(by_size),
        _ => by_size,
    };
    (middle - 1).max(0)..=(middle + 2).max(0)
}

/// How many audio frames were lost if the sound is as far ahead at the next run of pictures as it was before the gap.
fn by_lead(facts: &GapFacts, beat: AudioBeat, duration: i64, pictures: i64) -> Option<i64> {
    let ((later, before), AudioLead { from, to, slope }) = (facts.next_run()?, facts.lead?);
    let due = facts.next_due + (pictures + later) * (duration + slope);
    Some((due + from.midpoint(to) - beat.start).div_euclid(beat.duration) - before)
}

/// By how much the sound would be further ahead or behind at the next run of pictures than it was before the gap.
fn missed_lead(facts: &GapFacts, pictures: i64, audio: i64) -> Option<i64> {
    let (beat, duration) = (facts.beat?, facts.duration?);
    let ((later, before), AudioLead { from, to, slope }) = (facts.next_run()?, facts.lead?);
    let due = facts.next_due + (pictures + later) * (duration + slope);
    let lead = beat.start + (before + audio) * beat.duration - due;
    Some((from - lead).max(lead - to).max(0) * CLOCK_WEIGHT / beat.duration.max(1))
}

fn cost(facts: &GapFacts, pictures: i64, audio: i64) -> i64 {
    let explained = explained(facts, pictures, audio);
    let scale = facts.picture_bytes + facts.audio_bytes;
    let by_size = explained.abs_diff(facts.gap_bytes).saturating_mul(1000) / scale.max(1).unsigned_abs();
    let by_order = if is_disordered(facts, pictures) { ORDER_WEIGHT } else { 0 };
    i64::try_from(by_size).unwrap_or(i64::MAX / 4).min(i64::MAX / 4) + by_order + by_clock(facts, pictures, audio)
}

fn by_clock(facts: &GapFacts, pictures: i64, audio: i64) -> i64 {
    let (Some(beat), Some(duration)) = (facts.beat, facts.duration) else { return 0 };
    if facts.is_chunked {
        return missed_lead(facts, pictures, audio).unwrap_or(0).min(i64::MAX / 4);
    }
    if facts.behind.audio_before.is_empty() {
        return 0;
    }
    let first = facts.next_due + pictures * duration;
    let compared = facts.behind.audio_before.iter().take(COMPARED);
    let missed: i64 = (0..)
        .zip(compared.clone())
        .map(|(index, before)| {
            let (low, high) = beat.bounds(i64::from(*before) + audio);
            let due = first + index * duration;
            (low - due).max(due - high).max(0) / (beat.duration / 64).max(1)
        })
        .sum();
    let count = i64::try_from(compared.count()).unwrap_or(1);
    (missed * CLOCK_WEIGHT / 64 / count.max(1)).min(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::salvage::clock::flicks;

    fn facts(gap_bytes: i64, lost_pictures: i64, lost_audio: i64) -> GapFacts {
        let beat = AudioBeat { start: 0, duration: flicks(1024, 48_000) };
        let duration = flicks(1, 25);
        let next_due = 100 * duration;
        let first = next_due + lost_pictures * duration;
        let before = (0..30).map(|n| (first + n * duration + beat.duration - 1) / beat.duration - lost_audio);
        let before = before.map(|count| u32::try_from(count).unwrap()).collect();
        GapFacts {
            gap_bytes,
            picture_bytes: 2000,
            audio_bytes: 300,
            next_due,
            duration: Some(duration),
            beat: Some(beat),
            behind: Segment { audio_before: before },
            by_order: None,
            rest: None,
            key_bytes: 0,
            other_bytes: 0,
            keys: 0,
            is_reset: true,
            is_chunked: false,
            lead: None,
        }
    }

    #[test]
    fn the_clock_and_the_size_tell_what_was_lost() {
        for (bytes, pictures, audio) in [(310, 0, 1), (1900, 1, 0), (2600, 1, 2), (11_800, 5, 8), (63_800, 25, 46)] {
            let lost = estimate(&facts(bytes, pictures, audio));
            assert_eq!((lost.pictures, lost.audio), (pictures, audio), "{bytes} bytes");
        }
    }

    #[test]
    fn numbers_that_come_round_again_are_ambiguous() {
        // 19 or 35 small pictures, by an order of 16 and a clock that 16 pictures at 60 a second fit: 12.5 frames of it.
        let small = GapFacts { picture_bytes: 500, by_order: Some((3, 16)), beat: None, ..facts(12_000, 0, 0) };
        assert!(estimate(&small).is_ambiguous());
        let few = GapFacts { picture_bytes: 500, by_order: Some((3, 16)), beat: None, ..facts(1_600, 0, 0) };
        assert!(!estimate(&few).is_ambiguous(), "{:?}", estimate(&few));
        assert!(!estimate(&facts(1900, 1, 0)).is_ambiguous());
    }

    #[test]
    fn a_doubt_says_how_much_time_it_is_about() {
        let small = GapFacts { picture_bytes: 500, by_order: Some((3, 16)), beat: None, ..facts(12_000, 0, 0) };
        let lost = estimate(&small);
        assert_eq!((lost.pictures, lost.doubt), (19, 16 * flicks(1, 25)), "19 or 35");
        assert_eq!(estimate(&facts(1900, 1, 0)).doubt, 0);
        let sound = GapFacts { picture_bytes: 0, ..facts(30_000, 0, 0) };
        assert_eq!(estimate(&sound), GapLoss { pictures: 0, audio: 100, doubt: 10 * flicks(1024, 48_000) });
        let short = GapFacts { picture_bytes: 0, ..facts(300, 0, 0) };
        assert!(!estimate(&short).is_ambiguous());
    }

    #[test]
    fn a_lost_key_picture_is_not_taken_for_many_small_ones() {
        // Two pictures, one of which is as large as ten; the order begins anew with it and says nothing.
        let rest = KeyframeHint { every: 50, since: 49, lost: Some(2) };
        let with = GapFacts { rest: Some(rest), key_bytes: 20_000, by_order: Some((11, 16)), ..facts(22_300, 2, 4) };
        assert_eq!(estimate(&with), GapLoss { pictures: 2, audio: 4, doubt: 0 });
        // Without a rhythm that is the likeliest of several.
        let lost = estimate(&GapFacts { rest: None, other_bytes: 2000, ..with });
        assert_eq!((lost.pictures, lost.audio), (2, 4));
        assert!(lost.is_ambiguous());
    }

    #[test]
    fn a_writer_of_runs_keeps_the_sound_as_far_ahead_as_before() {
        // Runs of 30 pictures with the sound of a second between them; the size says nothing of the sound.
        let (beat, duration) = (AudioBeat { start: 0, duration: flicks(1024, 48_000) }, flicks(1, 30));
        let next_due = 100 * duration;
        let ahead = |picture: i64| (picture / 30 * 30 * duration / beat.duration) + 47;
        let before = (114..200).map(|picture| u32::try_from(ahead(picture) - 20).unwrap());
        let lead = AudioLead { from: beat.duration * 46, to: beat.duration * 47, slope: 0 };
        let facts = GapFacts {
            gap_bytes: 40_000,
            next_due,
            duration: Some(duration),
            behind: Segment { audio_before: before.collect() },
            rest: Some(KeyframeHint { every: 90, since: 10, lost: Some(14) }),
            is_chunked: true,
            lead: Some(lead),
            ..facts(0, 0, 0)
        };
        let lost = estimate(&facts);
        assert_eq!((lost.pictures, lost.audio), (14, 20));
    }

    #[test]
    fn the_order_decides_where_the_size_misleads() {
        let lost = estimate(&GapFacts { by_order: Some((3, 16)), beat: None, ..facts(20_000, 3, 0) });
        assert_eq!(lost.pictures % 16, 3);
    }
}
