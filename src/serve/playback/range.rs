//! Which bytes of a clip a request wants (RFC 9110 §14): one range at most.

use std::ops::Range;

use crate::serve::media::{RequestedRanges, wanted};

/// What a `Range` header comes to for a file of some length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RangeResult {
    /// Everything: no range, several of them (which a server may ignore, §14.2), or one that is not understood.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// A range of which the file has nothing.
    Unsatisfiable,
}

/// Reads the header's value.
pub(super) fn ranged(value: Option<&str>, len: u64) -> RangeResult {
    match value.map_or(RequestedRanges::Whole, |value| wanted(value, len)) {
        RequestedRanges::Parts(parts) => {
            <[_; 1]>::try_from(parts).map_or(RangeResult::Whole, |[part]| RangeResult::Part(part))
        }
        RequestedRanges::Nothing => RangeResult::Unsatisfiable,
        RequestedRanges::Whole => RangeResult::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_that_the_file_has_or_none() {
        let of = |value| ranged(Some(value), 100);
        assert_eq!(of("bytes=0-"), RangeResult::Part(0..100));
        assert_eq!(of("Bytes=0-0"), RangeResult::Part(0..1));
        assert_eq!(of("bytes=99-99999999999999999999"), RangeResult::Part(99..100));
        assert_eq!(of("bytes=-30"), RangeResult::Part(70..100));
        assert_eq!(of("bytes=-300"), RangeResult::Part(0..100));
        for unsatisfiable in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(of(unsatisfiable), RangeResult::Unsatisfiable, "{unsatisfiable}");
        }
        for ignored in
            ["bytes=2-1", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=+1-2", "é", ""]
        {
            assert_eq!(of(ignored), RangeResult::Whole, "{ignored}");
        }
        assert_eq!(ranged(None, 100), RangeResult::Whole);
    }
}
