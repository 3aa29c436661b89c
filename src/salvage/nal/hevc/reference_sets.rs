//! Sets of reference pictures of H.265 (ITU-T H.265 §7.3.7, §7.4.8).

use crate::salvage::bits::Bits;

/// Most sets of a sequence (§7.4.3.2.1), and pictures in one of them (§A.4.2: `MaxDpbSize`).
pub(super) const MOST_REFERENCE_SETS: u32 = 64;
const MOST_REFERENCE_PICTURES: u32 = 16;
/// Largest distance of order counts (§7.4.8).
const MOST_DISTANCE: u32 = 1 << 15;

/// By how much the order counts of the pictures in it differ, and whether the picture itself refers to them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ReferenceSet {
    before: Vec<(i64, bool)>,
    behind: Vec<(i64, bool)>,
}

impl ReferenceSet {
    /// `st_ref_pic_set()` behind those before it; the one of a slice header may say from which of them it is told.
    pub(super) fn read(bits: &mut Bits<'_>, sets: &[Self], is_of_slice: bool) -> Option<Self> {
        if sets.is_empty() || !bits.flag()? {
            return Self::read_whole(bits);
        }
        let back = if is_of_slice { usize::try_from(bits.ue()?).ok()?.checked_add(1)? } else { 1 };
        sets.get(sets.len().checked_sub(back)?)?.changed(bits)
    }

    /// Written out.
    fn read_whole(bits: &mut Bits<'_>) -> Option<Self> {
        let most = |pictures: &u32| *pictures <= MOST_REFERENCE_PICTURES;
        let (before, behind) = (bits.ue().filter(most)?, bits.ue().filter(most)?);
        most(&(before + behind)).then_some(())?;
        let mut pictures = |count: u32, sign: i64| {
            let mut at = 0;
            let mut read = || {
                at += i64::from(bits.ue().filter(|distance| *distance < MOST_DISTANCE)?) + 1;
                Some((sign * at, bits.flag()?))
            };
            (0..count).map(|_| read()).collect::<Option<Vec<_>>>()
        };
        Some(Self { before: pictures(before, -1)?, behind: pictures(behind, 1)? })
    }

    /// Told from this one (Equations 7-61, 7-62).
    fn changed(&self, bits: &mut Bits<'_>) -> Option<Self> {
        let is_negative = bits.flag()?;
        let distance = i64::from(bits.ue().filter(|distance| *distance < MOST_DISTANCE)?) + 1;
        let shift = if is_negative { -distance } else { distance };
        let all = self.before.iter().chain(&self.behind).map(|(delta, _)| delta + shift).chain([shift]);
        let mut left = Vec::new();
        for delta in all {
            let is_used = bits.flag()?;
            if is_used || bits.flag()? {
                left.push((delta, is_used));
            }
        }
        let (mut before, mut behind): (Vec<_>, Vec<_>) =
            left.into_iter().filter(|(delta, _)| *delta != 0).partition(|(delta, _)| *delta < 0);
        before.sort_by_key(|(delta, _)| -delta);
        behind.sort_by_key(|(delta, _)| *delta);
        (before.len() + behind.len() <= MOST_REFERENCE_PICTURES as usize).then_some(Self { before, behind })
    }

    /// How many pictures the picture itself refers to.
    pub(super) fn used(&self) -> u32 {
        self.before.iter().chain(&self.behind).map(|(_, is_used)| u32::from(*is_used)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_told_from_the_one_before_it() {
        // Two before and one behind, by 1 and 3 and by 2; all are referred to but the second.
        let whole = [0b0110_1011, 0b0100_0101];
        let first = ReferenceSet::read(&mut Bits::new(&whole), &[], false).unwrap();
        assert_eq!((&first.before[..], &first.behind[..]), (&[(-1, true), (-3, false)][..], &[(2, true)][..]));
        assert_eq!(first.used(), 2);
        // Shifted by -1: what was one behind by one falls on the picture that is gone, and the picture before is new.
        let shifted = [0b1111_1110];
        let next = ReferenceSet::read(&mut Bits::new(&shifted), std::slice::from_ref(&first), false).unwrap();
        assert_eq!((&next.before[..], &next.behind[..]), (&[(-1, true), (-2, true), (-4, true)][..], &[(1, true)][..]));
    }
}
