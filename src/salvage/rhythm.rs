//! The rhythm of key pictures: most live encoders put one at a constant distance, so that those on both sides of a gap
//! tell how many pictures lie between them, whatever the gap swallowed.

use super::walk::Frame;

/// Distances that must agree for a rhythm.
const FEW: usize = 2;
/// No encoder puts them further apart.
const MOST_EVERY: usize = 4000;
/// How many in a hundred distances must agree.
const AGREED_PERCENT: usize = 90;

/// Key pictures at a constant distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyframeRhythm {
    /// From one to the next, in pictures.
    pub every: i64,
}

/// What the rhythm says of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyframeHint {
    /// The rhythm, pictures.
    pub every: i64,
    /// How many pictures the first lost one comes behind the last key picture.
    pub since: i64,
    /// How many pictures were lost, modulo the rhythm; `None` where no key picture tells.
    pub lost: Option<i64>,
}

impl KeyframeRhythm {
    /// That of pictures, of which some are missing before those of the numbers in `gaps`, ascending.
    pub fn of(frames: &[Frame], gaps: &[usize]) -> Option<Self> {
        let keys: Vec<usize> = (0..frames.len()).filter(|index| frames[*index].is_sync()).collect();
        let is_whole = |pair: &&[usize]| {
            let next = gaps.partition_point(|gap| *gap <= pair[0]);
            gaps.get(next).is_none_or(|gap| *gap > pair[1])
        };
        let mut distances: Vec<usize> = keys.windows(2).filter(is_whole).map(|pair| pair[1] - pair[0]).collect();
        distances.sort_unstable();
        let middle = *distances.get(distances.len() / 2)?;
        let agreed = distances.iter().filter(|distance| **distance == middle).count();
        let is_rhythm =
            (2..=MOST_EVERY).contains(&middle) && agreed >= FEW && agreed * 100 >= distances.len() * AGREED_PERCENT;
        Some(Self { every: i64::try_from(middle).ok()? }).filter(|_| is_rhythm)
    }

    /// What it says of a gap in front of the picture `index`. `lost_since` says how many pictures earlier gaps behind a
    /// picture swallowed, `next_gap` in front of which picture the next gap lies.
    pub fn rest(
        self,
        frames: &[Frame],
        index: usize,
        next_gap: Option<usize>,
        lost_since: impl Fn(usize) -> Option<i64>,
    ) -> Option<KeyframeHint> {
        let most = usize::try_from(self.every).ok()?;
        let key = (0..index).rev().take(most).find(|at| frames[*at].is_sync())?;
        let between = i64::try_from(index - key).ok()? + lost_since(key)?;
        let end = frames.len().min(next_gap.unwrap_or(usize::MAX)).min(index + most);
        let next = (index..end).find(|at| frames[*at].is_sync());
        let lost = next.and_then(|next| i64::try_from(next - index).ok()).map(|behind| -(between + behind));
        Some(KeyframeHint { every: self.every, since: between, lost: lost.map(|lost| lost.rem_euclid(self.every)) })
    }
}

impl KeyframeHint {
    /// How many key pictures are among so many lost ones.
    pub const fn keys(&self, pictures: i64) -> i64 {
        (self.since + pictures - 1).div_euclid(self.every) - (self.since - 1).div_euclid(self.every)
    }

    /// Whether so many lost pictures keep the rhythm.
    pub fn is_kept(&self, pictures: i64) -> bool {
        self.lost.is_none_or(|lost| (pictures - lost).rem_euclid(self.every) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures with a key picture every ten, without those of a range.
    fn without(lost: std::ops::Range<usize>) -> Vec<Frame> {
        let frame = |number: usize| Frame::new(0..1, 0, number.is_multiple_of(10), None);
        (0..60).filter(|number| !lost.contains(number)).map(frame).collect()
    }

    #[test]
    fn key_pictures_on_both_sides_tell_what_lies_between() {
        for lost in [23..27, 28..31, 23..45, 30..31, 29..30] {
            let frames = without(lost.clone());
            let rhythm = KeyframeRhythm::of(&frames, &[lost.start]).unwrap();
            let rest = rhythm.rest(&frames, lost.start, None, |_| Some(0)).unwrap();
            assert!(rest.is_kept(i64::try_from(lost.len()).unwrap()), "{lost:?} {rest:?}");
            assert!(!rest.is_kept(i64::try_from(lost.len()).unwrap() + 1), "{lost:?} {rest:?}");
            let keys = lost.clone().filter(|number| number.is_multiple_of(10)).count();
            assert_eq!(rest.keys(i64::try_from(lost.len()).unwrap()), i64::try_from(keys).unwrap(), "{lost:?}");
        }
    }

    #[test]
    fn a_second_gap_before_the_next_key_picture_leaves_it_open() {
        let frames = without(23..27);
        let rhythm = KeyframeRhythm::of(&frames, &[23]).unwrap();
        assert_eq!(rhythm.rest(&frames, 23, Some(25), |_| Some(0)).unwrap().lost, None);
        assert_eq!(rhythm.rest(&frames, 23, Some(26), |_| Some(0)).unwrap().lost, None, "or directly in front of it");
        assert_eq!(rhythm.rest(&frames, 24, None, |_| Some(3)).unwrap().lost, Some(1));
    }

    #[test]
    fn without_a_constant_distance_there_is_no_rhythm() {
        let mut frames = without(0..0);
        frames[14] = Frame::new(0..1, 0, true, None);
        assert_eq!(KeyframeRhythm::of(&frames, &[]), None);
        assert_eq!(KeyframeRhythm::of(&without(0..0)[..15], &[]), None);
    }
}
