//! Which bytes of a file a request wants (RFC 9110 §14).

use std::ops::Range;

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
    let is_bytes = |value: &&str| value.get(..6).is_some_and(|unit| unit.eq_ignore_ascii_case("bytes="));
    let Some(spec) = value.filter(is_bytes).map(|value| value[6..].trim()) else { return Ranged::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Ranged::Whole };
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last), last.is_empty()) {
        (Some(first), _, true) => first..len,
        (Some(first), Some(last), _) if first <= last => first..last.saturating_add(1).min(len),
        (None, Some(suffix), _) if first.is_empty() => len.saturating_sub(suffix)..len,
        _ => return Ranged::Whole,
    };
    if range.start < range.end { Ranged::Part(range) } else { Ranged::Unsatisfiable }
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
