//! Which bytes of a clip a request wants (RFC 9110 §14): one range at most.

use std::ops::Range;

use crate::serve::media::{Wanted, wanted};

/// What a `Range` header comes to for a file of some length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ranged {
    /// Everything: no range, several of them (which a server may ignore, §14.2), or one that is not understood.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// A range of which the file has nothing.
    Unsatisfiable,
}

/// Reads the header's value.
pub(super) fn ranged(value: Option<&str>, len: u64) -> Ranged {
    match value.map_or(Wanted::Whole, |value| wanted(value, len)) {
        Wanted::Parts(parts) => <[_; 1]>::try_from(parts).map_or(Ranged::Whole, |[part]| Ranged::Part(part)),
        Wanted::Nothing => Ranged::Unsatisfiable,
        Wanted::Whole => Ranged::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_that_the_file_has_or_none() {
        let of = |value| ranged(Some(value), 100);
        assert_eq!(of("bytes=0-"), Ranged::Part(0..100));
        assert_eq!(of("Bytes=0-0"), Ranged::Part(0..1));
        assert_eq!(of("bytes=99-99999999999999999999"), Ranged::Part(99..100));
        assert_eq!(of("bytes=-30"), Ranged::Part(70..100));
        assert_eq!(of("bytes=-300"), Ranged::Part(0..100));
        for unsatisfiable in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(of(unsatisfiable), Ranged::Unsatisfiable, "{unsatisfiable}");
        }
        for ignored in
            ["bytes=2-1", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=+1-2", "é", ""]
        {
            assert_eq!(of(ignored), Ranged::Whole, "{ignored}");
        }
        assert_eq!(ranged(None, 100), Ranged::Whole);
    }
}
