//! What a VoD is and has, in one byte of the index: how it was made, and whether it is freed, delivered or defective. Pure.

use crate::recording::Outcome;

const OUTCOME: u8 = 0b11;
const FREED: u8 = 1 << 2;
const DELIVERED: u8 = 1 << 3;
const DEFECTIVE: u8 = 1 << 4;

/// Which of these are wanted; all where nothing was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    mask: u8,
    bits: u8,
}

impl Marks {
    /// Only those that were made this way.
    #[must_use]
    pub const fn outcome(self, outcome: Outcome) -> Self {
        Self { mask: self.mask | OUTCOME, bits: self.bits | of_outcome(outcome) }
    }

    /// Only those whose local file was freed, or was not.
    #[must_use]
    pub const fn freed(self, is_freed: bool) -> Self {
        self.only(FREED, is_freed)
    }

    /// Only those of which a store holds a copy.
    #[must_use]
    pub const fn delivered(self) -> Self {
        self.only(DELIVERED, true)
    }

    /// Only those with a defect.
    #[must_use]
    pub const fn defective(self) -> Self {
        self.only(DEFECTIVE, true)
    }

    const fn only(self, mark: u8, is_set: bool) -> Self {
        let bits = if is_set { self.bits | mark } else { self.bits };
        Self { mask: self.mask | mark, bits }
    }

    /// Whether all are wanted.
    pub(super) const fn is_any(self) -> bool {
        self.mask == 0
    }

    /// Whether one with these marks is wanted.
    pub(super) const fn wants(self, marks: u8) -> bool {
        marks & self.mask == self.bits
    }
}

/// The marks of a VoD.
pub(super) const fn of(outcome: Outcome, is_freed: bool, is_delivered: bool, is_defective: bool) -> u8 {
    of_outcome(outcome)
        | if is_freed { FREED } else { 0 }
        | if is_delivered { DELIVERED } else { 0 }
        | if is_defective { DEFECTIVE } else { 0 }
}

const fn of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Kept => 0,
        Outcome::Spliced => 1,
        Outcome::Remuxed => 2,
        Outcome::Salvaged => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_found_among_all_that_a_vod_can_be() {
        let outcomes = [Outcome::Kept, Outcome::Spliced, Outcome::Remuxed, Outcome::Salvaged];
        for outcome in outcomes {
            for bits in 0..8 {
                let (freed, delivered, defective) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let marks = of(outcome, freed, delivered, defective);
                assert!(Marks::default().wants(marks));
                for other in outcomes {
                    assert_eq!(Marks::default().outcome(other).wants(marks), other == outcome);
                }
                assert_eq!(Marks::default().freed(true).wants(marks), freed);
                assert_eq!(Marks::default().freed(false).wants(marks), !freed);
                assert_eq!(Marks::default().delivered().wants(marks), delivered);
                assert_eq!(Marks::default().outcome(outcome).defective().wants(marks), defective);
            }
        }
    }
}
