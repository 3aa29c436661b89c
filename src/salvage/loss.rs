//! How many pictures and audio frames a gap swallowed: the pair that fits the size of the gap, the clock on both sides
//! and the picture order best. Gaps in the media stay gaps in time; they are never closed.

use super::clock::{Beat, Segment};

/// Most pictures that one gap is believed to have swallowed.
const MOST_PICTURES: i64 = 4000;
/// How much a picture order that does not fit weighs against the size.
const ORDER_WEIGHT: i64 = 12_000;
/// How much each audio frame by which the clock is missed weighs.
const CLOCK_WEIGHT: i64 = 20_000;
/// What costs so little more is as likely.
const CLOSE_COST: i64 = 1_000;
/// How many pictures behind the gap are compared with the clock.
const COMPARED: usize = 40;

/// What a gap swallowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Pictures.
    pub pictures: i64,
    /// Frames of the first audio track.
    pub audio: i64,
    /// Whether other numbers would fit nearly as well.
    pub is_ambiguous: bool,
}

/// What is known of a gap.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its length.
    pub gap_bytes: i64,
    /// Typical size of a picture and of an audio frame around it; 0 if there are none.
    pub picture_bytes: i64,
    /// See `picture_bytes`.
    pub audio_bytes: i64,
    /// When the picture behind the gap would be due if none was lost.
    pub next_due: i64,
    /// Distance of pictures; `None` if it is not constant.
    pub duration: Option<i64>,
    /// The clock, with what was lost of it before.
    pub beat: Option<Beat>,
    /// The pictures behind the gap up to the next one.
    pub behind: Segment,
    /// How many pictures were lost by their order, and modulo which number.
    pub by_order: Option<(i64, i64)>,
    /// Whether the writer collects runs of samples, so that its order proves little.
    pub is_chunked: bool,
}

/// The most likely loss.
pub fn estimate(facts: &Facts) -> Lost {
    if facts.picture_bytes == 0 {
        let audio = (facts.gap_bytes + facts.audio_bytes / 2).checked_div(facts.audio_bytes).unwrap_or(0);
        return Lost { audio: audio.max(1), ..Lost::default() };
    }
    let most = (facts.gap_bytes / (facts.picture_bytes / 8).max(16) + 2).min(MOST_PICTURES);
    let (mut best, mut second) = ((i64::MAX, Lost::default()), i64::MAX);
    // Numbers that clock and order allow, and the size does not rule out.
    let mut allowed: Option<(i64, i64)> = None;
    for pictures in 0..=most {
        for audio in audio_near(facts, pictures) {
            let cost = cost(facts, pictures, audio);
            let lost = Lost { pictures, audio, is_ambiguous: false };
            if may_be(facts, pictures, audio) {
                let (least, most) = allowed.unwrap_or((pictures, pictures));
                allowed = Some((least.min(pictures), most.max(pictures)));
            }
            if cost < best.0 {
                second = if best.1.pictures == pictures { second } else { best.0 };
                best = (cost, lost);
            } else if pictures != best.1.pictures {
                second = second.min(cost);
            }
        }
    }
    let is_among_others = allowed.is_some_and(|(least, most)| least != most);
    Lost { is_ambiguous: is_among_others || second.saturating_sub(best.0) < CLOSE_COST, ..best.1 }
}

/// Whether a gap may have swallowed so many: the clock and the order agree, and pictures need not be half or twice as
/// large as those around it.
fn may_be(facts: &Facts, pictures: i64, audio: i64) -> bool {
    let explained = explained(facts, pictures, audio);
    let is_near = explained.saturating_mul(2) >= facts.gap_bytes && explained <= facts.gap_bytes.saturating_mul(2);
    is_near && !is_disordered(facts, pictures) && by_clock(facts, pictures, audio) < CLOSE_COST
}

fn explained(facts: &Facts, pictures: i64, audio: i64) -> i64 {
    pictures.saturating_mul(facts.picture_bytes).saturating_add(audio.saturating_mul(facts.audio_bytes))
}

fn is_disordered(facts: &Facts, pictures: i64) -> bool {
    facts.by_order.is_some_and(|(lost, period)| match period {
        0 => lost != pictures,
        period => (lost - pictures).rem_euclid(period) != 0,
    })
}

/// The numbers of audio frames that the clock allows for a number of pictures, or that the size leaves.
fn audio_near(facts: &Facts, pictures: i64) -> std::ops::RangeInclusive<i64> {
    let by_size = (facts.gap_bytes - pictures * facts.picture_bytes).checked_div(facts.audio_bytes).unwrap_or(0).max(0);
    let middle = match (facts.beat, facts.duration, facts.behind.audio_before.first()) {
        (Some(beat), Some(duration), Some(before)) if !facts.is_chunked => {
            (facts.next_due + pictures * duration - beat.start).div_euclid(beat.duration) - before
        }
        (None, ..) => return 0..=0,
        _ => by_size,
    };
    (middle - 1).max(0)..=(middle + 2).max(0)
}

fn cost(facts: &Facts, pictures: i64, audio: i64) -> i64 {
    let explained = explained(facts, pictures, audio);
    let scale = facts.picture_bytes + facts.audio_bytes;
    let by_size = explained.abs_diff(facts.gap_bytes).saturating_mul(1000) / scale.max(1).unsigned_abs();
    let by_order = if is_disordered(facts, pictures) { ORDER_WEIGHT } else { 0 };
    i64::try_from(by_size).unwrap_or(i64::MAX / 4).min(i64::MAX / 4) + by_order + by_clock(facts, pictures, audio)
}

fn by_clock(facts: &Facts, pictures: i64, audio: i64) -> i64 {
    let (Some(beat), Some(duration)) = (facts.beat, facts.duration) else { return 0 };
    if facts.is_chunked || facts.behind.audio_before.is_empty() {
        return 0;
    }
    let first = facts.next_due + pictures * duration;
    let compared = facts.behind.audio_before.iter().take(COMPARED);
    let missed: i64 = (0..)
        .zip(compared.clone())
        .map(|(index, before)| {
            let (low, high) = beat.bounds(before + audio);
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

    fn facts(gap_bytes: i64, lost_pictures: i64, lost_audio: i64) -> Facts {
        let beat = Beat { start: 0, duration: flicks(1024, 48_000) };
        let duration = flicks(1, 25);
        let next_due = 100 * duration;
        let first = next_due + lost_pictures * duration;
        let before = (0..30).map(|n| (first + n * duration + beat.duration - 1) / beat.duration - lost_audio).collect();
        Facts {
            gap_bytes,
            picture_bytes: 2000,
            audio_bytes: 300,
            next_due,
            duration: Some(duration),
            beat: Some(beat),
            behind: Segment { audio_before: before },
            by_order: None,
            is_chunked: false,
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
        let small = Facts { picture_bytes: 500, by_order: Some((3, 16)), beat: None, ..facts(12_000, 0, 0) };
        assert!(estimate(&small).is_ambiguous);
        let few = Facts { picture_bytes: 500, by_order: Some((3, 16)), beat: None, ..facts(1_600, 0, 0) };
        assert!(!estimate(&few).is_ambiguous, "{:?}", estimate(&few));
        assert!(!estimate(&facts(1900, 1, 0)).is_ambiguous);
    }

    #[test]
    fn the_order_decides_where_the_size_misleads() {
        let lost = estimate(&Facts { by_order: Some((3, 16)), beat: None, ..facts(20_000, 3, 0) });
        assert_eq!(lost.pictures % 16, 3);
    }
}
