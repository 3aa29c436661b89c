//! Which ways of putting a header in front are tried, and in which order. Pure.

use crate::finish::{FinishOptions, SalvageInPlace, SpliceMode};
use crate::recording::journey::Evidence;
use crate::recording::{ParameterSource, SpliceMethod};

/// From this size on, copying a recording takes longer than the syncs of the protocol in place (`docs/decisions/`, 0015).
pub(crate) const LEAST_IN_PLACE_BYTES: u64 = 16 << 20;

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct SpliceConditions {
    /// Whether the source bears a temporary name.
    pub(crate) is_temporary: bool,
    /// Why nobody writes it any more.
    pub(crate) evidence: Evidence,
    /// Whether its server may open the same name for its next recording: one that does not say when it began, of a server
    /// that writes FLV.
    pub(crate) may_be_used_again: bool,
    /// Its size.
    pub(crate) size_bytes: u64,
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

impl SpliceConditions {
    /// Whether the source may be changed where it stands at all (design §3, promise 7).
    const fn allows_in_place(&self) -> bool {
        self.evidence.is_strong() && self.links == 1 && !self.keeps_original && !self.leaves_something_out
    }

    /// Whether in place is the faster way, and its server does not open the same name while the lease is held: nginx-rtmp
    /// waits for the lease and then truncates the file that it has opened, which is the finished one by then. Whoever else
    /// opens it waits for some milliseconds.
    const fn is_better_in_place(&self) -> bool {
        self.size_bytes >= LEAST_IN_PLACE_BYTES && (self.is_temporary || !self.may_be_used_again)
    }
}

/// The ways in the order in which they are tried.
pub(crate) fn ways(setting: SpliceMode, situation: &SpliceConditions) -> Vec<SpliceMethod> {
    use SpliceMethod::{Copy, CopyRange, InsertRange, Reflink};
    let wanted: &[SpliceMethod] = match setting {
        SpliceMode::Auto if situation.is_better_in_place() || !situation.has_room => {
            &[Reflink, InsertRange, CopyRange, Copy]
        }
        SpliceMode::InsertRange => &[InsertRange, CopyRange, Copy],
        SpliceMode::Auto | SpliceMode::Reflink => &[Reflink, CopyRange, Copy],
        SpliceMode::CopyRange => &[CopyRange, Copy],
        SpliceMode::Copy => &[Copy],
    };
    let is_auto = setting == SpliceMode::Auto;
    let may = |way: &&SpliceMethod| match way {
        InsertRange => situation.allows_in_place(),
        CopyRange => !(is_auto && situation.is_copied_through_cache),
        Reflink | Copy => true,
    };
    wanted.iter().filter(may).copied().collect()
}

/// The ways in which a header that was rebuilt comes to the front. Where the file stands only as the operator lets it, and only with
/// parameters of the stream itself: whoever named another file may still want to try a third.
pub(crate) fn ways_of_salvage(
    options: &FinishOptions,
    origin: ParameterSource,
    situation: &SpliceConditions,
) -> Vec<SpliceMethod> {
    use SpliceMethod::{Copy, CopyRange, InsertRange, Reflink};
    let beside: &[SpliceMethod] = match options.splice {
        SpliceMode::Copy => &[Copy],
        SpliceMode::CopyRange => &[CopyRange, Copy],
        SpliceMode::Auto if situation.is_copied_through_cache => &[Reflink, Copy],
        SpliceMode::Auto | SpliceMode::InsertRange | SpliceMode::Reflink => &[Reflink, CopyRange, Copy],
    };
    let is_own = matches!(origin, ParameterSource::Stream | ParameterSource::Media);
    let is_alone = situation.evidence.is_strong() && situation.links == 1 && !situation.keeps_original;
    let in_place = match options.salvage_in_place {
        SalvageInPlace::Never => None,
        SalvageInPlace::WhenFull => (!situation.has_room).then_some(1),
        SalvageInPlace::Always => Some(0),
    };
    let mut ways = beside.to_vec();
    if let Some(place) = in_place.filter(|_| is_own && is_alone) {
        // Sharing blocks needs no room either.
        ways.insert(if ways.first() == Some(&Reflink) { place } else { 0 }, InsertRange);
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: SpliceConditions = SpliceConditions {
        is_temporary: false,
        evidence: Evidence::Lease,
        may_be_used_again: false,
        size_bytes: LEAST_IN_PLACE_BYTES,
        links: 1,
        keeps_original: false,
        leaves_something_out: false,
        has_room: true,
        is_copied_through_cache: false,
    };

    fn goes_in_place(setting: SpliceMode, situation: SpliceConditions) -> bool {
        ways(setting, &situation).contains(&SpliceMethod::InsertRange)
    }

    #[test]
    fn by_itself_a_large_recording_is_shared_or_changed_where_it_stands_whatever_its_name_and_age() {
        use SpliceMethod::{Copy, CopyRange, InsertRange, Reflink};
        let small = SpliceConditions { size_bytes: LEAST_IN_PLACE_BYTES - 1, ..LARGE };
        for is_temporary in [true, false] {
            for evidence in [Evidence::Lease, Evidence::CloseSeen, Evidence::RenameSeen, Evidence::ProcScan] {
                let large = SpliceConditions { is_temporary, evidence, ..LARGE };
                assert_eq!(ways(SpliceMode::Auto, &large), [Reflink, InsertRange, CopyRange, Copy]);
                let small = SpliceConditions { is_temporary, evidence, ..small };
                assert_eq!(ways(SpliceMode::Auto, &small), [Reflink, CopyRange, Copy]);
            }
        }
        assert!(goes_in_place(SpliceMode::Auto, SpliceConditions { has_room: false, ..small }), "no room for a copy");
        assert!(goes_in_place(SpliceMode::InsertRange, small), "it was asked for");
    }

    #[test]
    fn a_name_that_its_server_opens_again_is_left_alone_by_itself() {
        let again = SpliceConditions { may_be_used_again: true, ..LARGE };
        assert!(!goes_in_place(SpliceMode::Auto, again));
        assert!(goes_in_place(SpliceMode::Auto, SpliceConditions { is_temporary: true, ..again }));
        assert!(goes_in_place(SpliceMode::Auto, SpliceConditions { has_room: false, ..again }));
    }

    #[test]
    fn a_large_copy_goes_past_the_cache_unless_the_kernel_is_asked_for_it() {
        let large = SpliceConditions { is_copied_through_cache: true, ..LARGE };
        assert!(!ways(SpliceMode::Auto, &large).contains(&SpliceMethod::CopyRange));
        assert!(ways(SpliceMode::CopyRange, &large).contains(&SpliceMethod::CopyRange));
    }

    #[test]
    fn nothing_lets_a_source_be_changed_that_must_stay_as_it_is() {
        let never = [
            SpliceConditions { evidence: Evidence::Unchanged { for_s: 900 }, ..LARGE },
            SpliceConditions { links: 2, ..LARGE },
            SpliceConditions { keeps_original: true, ..LARGE },
            SpliceConditions { leaves_something_out: true, has_room: false, ..LARGE },
        ];
        for situation in never {
            for setting in SpliceMode::ALL {
                assert!(!goes_in_place(setting, situation), "{setting:?} {situation:?}");
            }
        }
        assert!(goes_in_place(SpliceMode::InsertRange, LARGE));
        assert_eq!(ways(SpliceMode::Copy, &LARGE), [SpliceMethod::Copy]);
    }
}
