//! How a new object is cut into what is sent and what the store copies of another one. Pure arithmetic.

use std::ops::Range;

/// The least part of an upload to S3 but for the last (Amazon S3, "multipart upload limits").
const LEAST_PART_BYTES: u64 = 5 << 20;
/// What the store copies with one request; it may take some GiB, and answers sooner for less.
const COPY_BYTES: u64 = 512 << 20;
/// Most parts of an upload; Azure takes more blocks.
const MOST_PARTS: u64 = 10_000;
/// Most objects that Google puts together with one request.
const MOST_COMPONENTS: u64 = 32;

/// What a store puts together by itself into a new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCopy {
    /// Parts of an upload, which may be ranges of other objects (S3 `UploadPartCopy`).
    Parts,
    /// Blocks of a blob, which may be ranges of others (Azure Put Block From URL).
    Blocks,
    /// Whole objects (Google's `compose`).
    Objects,
}

/// A part of the new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssemblyPart {
    /// Read here and sent.
    Sent {
        /// Bytes of the header.
        header: Range<usize>,
        /// Ranges of the source behind them.
        ranges: Vec<Range<u64>>,
    },
    /// Copied by the store.
    Copied(Range<u64>),
}

impl AssemblyPart {
    /// Bytes of it that go up.
    pub fn sent_bytes(&self) -> u64 {
        match self {
            Self::Sent { header, ranges } => header.len() as u64 + lengths(ranges),
            Self::Copied(_) => 0,
        }
    }

    /// Bytes of it that come down before.
    pub fn read_bytes(&self) -> u64 {
        match self {
            Self::Sent { ranges, .. } => lengths(ranges),
            Self::Copied(_) => 0,
        }
    }
}

pub(super) fn lengths(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

impl ServerCopy {
    /// Whether less than a whole object can be copied.
    pub const fn takes_ranges(self) -> bool {
        !matches!(self, Self::Objects)
    }

    /// What a part must have that is not the last.
    const fn least_part_bytes(self) -> u64 {
        match self {
            Self::Parts => LEAST_PART_BYTES,
            Self::Blocks | Self::Objects => 0,
        }
    }

    /// What is copied at once, and how many parts there may be.
    fn limits(self, total_bytes: u64) -> (u64, u64) {
        match self {
            Self::Parts | Self::Blocks => (COPY_BYTES.max(total_bytes.div_ceil(MOST_PARTS - 10)), MOST_PARTS),
            Self::Objects => (u64::MAX, MOST_COMPONENTS),
        }
    }

    /// Requests beside one for each part: looks at both keys, and what begins, ends and clears up.
    pub fn requests_beside(self, parts: &[AssemblyPart]) -> u64 {
        match self {
            // Create, three looks, complete.
            Self::Parts => 5,
            // Two looks, the list of blocks.
            Self::Blocks => 3,
            // Three looks; what was sent goes up as an object that is removed again.
            Self::Objects => 3 + parts.iter().filter(|part| part.sent_bytes() > 0).count() as u64,
        }
    }

    /// Cuts a new object into parts; `None` where it would be too many.
    pub fn parts_of(self, header_bytes: usize, ranges: &[Range<u64>]) -> Option<Vec<AssemblyPart>> {
        let (copy_bytes, most_parts) = self.limits(header_bytes as u64 + lengths(ranges));
        let least_bytes = self.least_part_bytes();
        let (mut parts, mut sent, mut sent_bytes) = (Vec::new(), (0..header_bytes, Vec::new()), header_bytes as u64);
        let mut ranges = ranges.iter().filter(|range| range.start < range.end).cloned().peekable();
        while let Some(mut range) = ranges.next() {
            let is_last = ranges.peek().is_none();
            if sent_bytes > 0 && sent_bytes < least_bytes {
                let taken = (least_bytes - sent_bytes).min(range.end - range.start);
                sent.1.push(range.start..range.start + taken);
                (sent_bytes, range.start) = (sent_bytes + taken, range.start + taken);
            }
            // What is too short to be copied is sent, unless it is the last part.
            if range.start < range.end && !is_last && range.end - range.start < least_bytes {
                sent_bytes += range.end - range.start;
                sent.1.push(range.clone());
                range.start = range.end;
            }
            if range.start == range.end {
                continue;
            }
            if sent_bytes > 0 {
                parts.push(AssemblyPart::Sent { header: sent.0, ranges: sent.1 });
                (sent, sent_bytes) = ((0..0, Vec::new()), 0);
            }
            parts.extend(evenly(&range, copy_bytes).map(AssemblyPart::Copied));
        }
        if sent_bytes > 0 {
            parts.push(AssemblyPart::Sent { header: sent.0, ranges: sent.1 });
        }
        (!parts.is_empty() && parts.len() as u64 <= most_parts).then_some(parts)
    }
}

/// A range in pieces of about the same length: none of them is shorter than half of the longest one allowed, if there are several.
fn evenly(range: &Range<u64>, most: u64) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = *range;
    let count = (end - start).div_ceil(most).max(1);
    let step = (end - start).div_ceil(count);
    (0..count).map(move |n| start + n * step..(start + (n + 1) * step).min(end)).filter(|piece| piece.start < piece.end)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::single_range_in_vec_init, reason = "ranges of a file")]

    use super::*;

    const MIB: u64 = 1 << 20;

    /// What the parts hold, one after the other: bytes of the header, ranges of the source.
    fn joined(parts: &[AssemblyPart]) -> (usize, Vec<Range<u64>>) {
        let (mut header, mut ranges) = (0, Vec::<Range<u64>>::new());
        let all = parts.iter().flat_map(|part| match part {
            AssemblyPart::Sent { header: of, ranges } => {
                header += of.len();
                ranges.clone()
            }
            AssemblyPart::Copied(range) => vec![range.clone()],
        });
        for range in all.collect::<Vec<_>>() {
            match ranges.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => ranges.push(range),
            }
        }
        (header, ranges)
    }

    #[test]
    fn parts_hold_everything_once_and_only_the_last_is_short() {
        let gib = 1024 * MIB;
        let cases: [(u64, Vec<Range<u64>>); 8] = [
            (100, vec![32..2 * gib]),
            (6 * MIB, vec![32..2 * gib, 2 * gib + 500..2 * gib + 700]),
            (MIB, vec![0..MIB, 2 * MIB..3 * MIB, 5 * MIB..40 * MIB, 41 * MIB..41 * MIB + 1]),
            (MIB, vec![0..3 * MIB]),
            (0, vec![0..3 * MIB]),
            (0, vec![0..513 * MIB]),
            (10, vec![0..20 * MIB, 30 * MIB..31 * MIB, 40 * MIB..60 * MIB]),
            (10, vec![0..5 * MIB - 10, 6 * MIB..6 * MIB + 5]),
        ];
        for (header, ranges) in cases {
            let header = usize::try_from(header).unwrap();
            let parts = ServerCopy::Parts.parts_of(header, &ranges).unwrap();
            let (found, there) = joined(&parts);
            assert_eq!(found, header);
            let (_, whole) = joined(&ranges.iter().cloned().map(AssemblyPart::Copied).collect::<Vec<_>>());
            assert_eq!(there, whole, "{parts:?}");
            let len = |part: &AssemblyPart| match part {
                AssemblyPart::Copied(range) => range.end - range.start,
                sent @ AssemblyPart::Sent { .. } => sent.sent_bytes(),
            };
            let (_, but_last) = parts.split_last().unwrap();
            assert!(but_last.iter().all(|part| (LEAST_PART_BYTES..=5 * gib).contains(&len(part))), "{parts:?}");
            let sent: u64 = parts.iter().map(AssemblyPart::sent_bytes).sum();
            assert!(sent <= (header as u64).max(LEAST_PART_BYTES) + 8 * MIB, "{sent}");
        }
        let sent: u64 =
            ServerCopy::Parts.parts_of(1 << 20, &[32..2 * gib]).unwrap().iter().map(AssemblyPart::sent_bytes).sum();
        assert_eq!(sent, LEAST_PART_BYTES);
    }

    #[test]
    fn more_than_fits_into_an_upload_is_left_out() {
        let of = |ranges: &[Range<u64>]| ServerCopy::Parts.parts_of(1, ranges);
        assert!(of(&[0..u64::from(u32::MAX) * (4 << 10)]).is_some_and(|parts| parts.len() <= 10_000));
        let many: Vec<_> = (0..20_000_u64).map(|n| n * 20 * MIB..n * 20 * MIB + 6 * MIB).collect();
        assert_eq!(of(&many), None);
    }

    #[test]
    fn blocks_and_objects_have_no_least_length() {
        let ranges = [8..2000, 3000..3001];
        let sent = AssemblyPart::Sent { header: 0..100, ranges: Vec::new() };
        let copied = ranges.clone().map(AssemblyPart::Copied);
        let expected = [vec![sent], copied.to_vec()].concat();
        for copies in [ServerCopy::Blocks, ServerCopy::Objects] {
            assert_eq!(copies.parts_of(100, &ranges), Some(expected.clone()));
        }
        assert_eq!(ServerCopy::Blocks.parts_of(100, &[0..2048 * MIB]).map(|parts| parts.len()), Some(5));
        let (whole, many) = ([0..5 << 40], vec![0..1; 32]);
        assert_eq!(ServerCopy::Objects.parts_of(0, &whole), Some(vec![AssemblyPart::Copied(0..5 << 40)]));
        assert_eq!(ServerCopy::Objects.parts_of(1, &many), None, "more than one request puts together");
    }
}
