//! Which ways of putting a header in front are tried, and in which order. Pure.

use crate::finish::Splice;
use crate::recording::SpliceMethod;
use crate::recording::journey::Evidence;

/// A name first seen finished so long ago is nobody's yet; beyond it, players and uploaders may open the file at any time.
const FRESH_MS: i64 = 10_000;

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Situation {
    /// Whether the source bears a temporary name.
    pub(crate) is_temporary: bool,
    /// Why nobody writes it any more.
    pub(crate) evidence: Evidence,
    /// Whether its server may open the same name for its next recording: one that does not say when it began, of a server
    /// that writes FLV.
    pub(crate) may_be_used_again: bool,
    /// Time since its last change, milliseconds.
    pub(crate) age_ms: i64,
    /// Names it has.
    pub(crate) links: u64,
    /// Whether the original is kept whatever happens.
    pub(crate) keeps_original: bool,
    /// Whether the finished file lacks something the source holds.
    pub(crate) leaves_something_out: bool,
    /// Whether a full copy fits on the file system.
    pub(crate) has_room: bool,
    /// Whether it is large and the kernel would copy it through the page cache, so that past it is the better way.
    pub(crate) is_copied_through_cache: bool,
}

impl Situation {
    /// Whether the source may be changed where it stands at all (design §3, promise 7).
    const fn allows_in_place(&self) -> bool {
        self.evidence.is_strong() && self.links == 1 && !self.keeps_original && !self.leaves_something_out
    }

    /// Whether nobody is likely to open it by its name right now.
    const fn is_quiet(&self) -> bool {
        let was_seen = matches!(self.evidence, Evidence::CloseSeen | Evidence::RenameSeen);
        self.is_temporary || (was_seen && !self.may_be_used_again && self.age_ms >= 0 && self.age_ms < FRESH_MS)
    }
}

/// The ways in the order in which they are tried.
pub(crate) fn ways(setting: Splice, situation: &Situation) -> Vec<SpliceMethod> {
    use SpliceMethod::{Copy, CopyRange, InsertRange, Reflink};
    let wanted: &[SpliceMethod] = match setting {
        Splice::Auto if situation.is_quiet() => &[InsertRange, Reflink, CopyRange, Copy],
        Splice::Auto if !situation.has_room => &[Reflink, InsertRange, CopyRange, Copy],
        Splice::InsertRange => &[InsertRange, CopyRange, Copy],
        Splice::Auto | Splice::Reflink => &[Reflink, CopyRange, Copy],
        Splice::CopyRange => &[CopyRange, Copy],
        Splice::Copy => &[Copy],
    };
    let is_auto = setting == Splice::Auto;
    let may = |way: &&SpliceMethod| match way {
        InsertRange => situation.allows_in_place(),
        CopyRange => !(is_auto && situation.is_copied_through_cache),
        Reflink | Copy => true,
    };
    wanted.iter().filter(may).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPORARY: Situation = Situation {
        is_temporary: true,
        evidence: Evidence::Lease,
        may_be_used_again: false,
        age_ms: 3_600_000,
        links: 1,
        keeps_original: false,
        leaves_something_out: false,
        has_room: true,
        is_copied_through_cache: false,
    };

    fn goes_in_place(setting: Splice, situation: Situation) -> bool {
        ways(setting, &situation).contains(&SpliceMethod::InsertRange)
    }

    #[test]
    fn by_itself_only_what_nobody_opens_is_changed_where_it_stands() {
        let named = Situation { is_temporary: false, ..TEMPORARY };
        let fresh = Situation { evidence: Evidence::CloseSeen, age_ms: 5_000, ..named };
        assert!(goes_in_place(Splice::Auto, TEMPORARY));
        assert!(goes_in_place(Splice::Auto, fresh));
        assert!(!goes_in_place(Splice::Auto, named));
        assert!(!goes_in_place(Splice::Auto, Situation { age_ms: 60_000, ..fresh }));
        assert!(!goes_in_place(Splice::Auto, Situation { may_be_used_again: true, ..fresh }));
        assert!(goes_in_place(Splice::Auto, Situation { may_be_used_again: true, ..TEMPORARY }));
        assert!(
            !goes_in_place(Splice::Auto, Situation { age_ms: -1, ..fresh }),
            "a clock that went back proves nothing"
        );
        assert!(!goes_in_place(Splice::Auto, Situation { evidence: Evidence::Lease, ..fresh }));
        let large = Situation { is_copied_through_cache: true, ..named };
        assert_eq!(ways(Splice::Auto, &large), [SpliceMethod::Reflink, SpliceMethod::Copy]);
        assert!(ways(Splice::CopyRange, &large).contains(&SpliceMethod::CopyRange), "it was asked for");
        let full = ways(Splice::Auto, &Situation { has_room: false, ..named });
        assert_eq!(full[..2], [SpliceMethod::Reflink, SpliceMethod::InsertRange]);
    }

    #[test]
    fn nothing_lets_a_source_be_changed_that_must_stay_as_it_is() {
        let never = [
            Situation { evidence: Evidence::Unchanged { for_s: 900 }, ..TEMPORARY },
            Situation { links: 2, ..TEMPORARY },
            Situation { keeps_original: true, ..TEMPORARY },
            Situation { leaves_something_out: true, has_room: false, ..TEMPORARY },
        ];
        for situation in never {
            for setting in Splice::ALL {
                assert!(!goes_in_place(setting, situation), "{setting:?} {situation:?}");
            }
        }
        assert!(goes_in_place(Splice::InsertRange, Situation { is_temporary: false, ..TEMPORARY }));
        assert_eq!(ways(Splice::Copy, &TEMPORARY), [SpliceMethod::Copy]);
    }
}
