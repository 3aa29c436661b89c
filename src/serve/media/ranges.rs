//! The `Range` header (RFC 9110 §14.2): which bytes of a file are wanted. Pure.
//!
//! The parsers of `headers` and `http-range-header` refuse or drop what the RFC has served: a suffix that is longer than the file, and
//! ranges beside one that cannot be met.

use std::ops::Range;

/// More ranges than this are answered with the whole file.
const MOST: usize = 16;

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) enum RequestedRanges {
    /// The whole file: no range is asked for, or none that is understood, or too many.
    Whole,
    /// These bytes, in the order of the request.
    Parts(Vec<Range<u64>>),
    /// No range has a byte of the file.
    Nothing,
}

/// Reads the header for a file of this size.
pub(in crate::serve) fn wanted(header: &str, size: u64) -> RequestedRanges {
    let unit = header.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((_, set)) = unit else { return RequestedRanges::Whole };
    let mut parts = Vec::new();
    for (at, spec) in set.split(',').map(str::trim).filter(|spec| !spec.is_empty()).enumerate() {
        match part(spec, size) {
            Some(_) if at >= MOST => return RequestedRanges::Whole,
            Some(part) => parts.extend((!part.is_empty()).then_some(part)),
            None => return RequestedRanges::Whole,
        }
    }
    let sum = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.end - part.start));
    match parts.len() {
        0 if set.trim_matches([',', ' ', '\t']).is_empty() => RequestedRanges::Whole,
        0 => RequestedRanges::Nothing,
        // Who asks for the same bytes again and again gets each once.
        2.. if sum > size => RequestedRanges::Whole,
        _ => RequestedRanges::Parts(parts),
    }
}

/// One range, empty if the file does not reach it; `None` if it is none.
fn part(spec: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let length = number(last)?;
        return Some(size.saturating_sub(length)..size);
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    let is_range = first <= last;
    is_range.then(|| first.min(size)..last.saturating_add(1).min(size))
}

/// A number of digits only; one that is too great stands for the greatest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let parts =
            |parts: &[(u64, u64)]| RequestedRanges::Parts(parts.iter().map(|(first, end)| *first..*end).collect());
        for (header, expected) in [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=0-", parts(&[(0, 100)])),
            ("bytes=-1", parts(&[(99, 100)])),
            ("bytes=-1000", parts(&[(0, 100)])),
            ("bytes=90-1000", parts(&[(90, 100)])),
            ("Bytes = 5-9 , 20-29", parts(&[(5, 10), (20, 30)])),
            ("bytes=0-0,,500-600, -2", parts(&[(0, 1), (98, 100)])),
            ("bytes=99-99999999999999999999999", parts(&[(99, 100)])),
            ("bytes=100-", RequestedRanges::Nothing),
            ("bytes=-0", RequestedRanges::Nothing),
            ("bytes=200-300,400-", RequestedRanges::Nothing),
            ("bytes=9-5", RequestedRanges::Whole),
            ("bytes=", RequestedRanges::Whole),
            ("bytes=,", RequestedRanges::Whole),
            ("bytes", RequestedRanges::Whole),
            ("items=0-5", RequestedRanges::Whole),
            ("bytes=a-b", RequestedRanges::Whole),
            ("bytes=+1-5", RequestedRanges::Whole),
            ("bytes=0-60,50-99", RequestedRanges::Whole),
        ] {
            assert_eq!(wanted(header, 100), expected, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), RequestedRanges::Nothing);
    }

    #[test]
    fn many_ranges_are_the_whole_file() {
        let many = |count: u64| {
            let specs: Vec<_> = (0..count).map(|at| format!("{at}-{at}")).collect();
            wanted(&format!("bytes={}", specs.join(",")), 10_000)
        };
        assert!(matches!(many(16), RequestedRanges::Parts(parts) if parts.len() == 16));
        assert_eq!(many(17), RequestedRanges::Whole);
        assert_eq!(many(1000), RequestedRanges::Whole);
    }
}
