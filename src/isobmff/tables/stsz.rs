//! `stsz` and `stz2`: the size of each sample (ISO/IEC 14496-12 §8.7.3).

use std::ops::Range;

use crate::isobmff::build::sample_limit;
use crate::isobmff::cursor::{ByteCursor, ChildBox};
use crate::isobmff::encode::{full_boxed, put_table, put_u32};
use crate::isobmff::error::DefectLog;

/// Sample sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleSizes {
    /// Every sample has the same size; the count is a claim that no bytes back.
    Constant {
        /// Size of each sample in bytes, not 0.
        size_bytes: u32,
        /// Number of samples.
        count: u32,
    },
    /// One size per sample.
    List(Vec<u32>),
}

impl Default for SampleSizes {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl SampleSizes {
    /// Number of samples.
    pub fn count(&self) -> u64 {
        match self {
            Self::Constant { count, .. } => u64::from(*count),
            Self::List(sizes) => sizes.len() as u64,
        }
    }

    /// Size of a sample (index from 0) in bytes; 0 past the end.
    pub fn get(&self, index: u64) -> u32 {
        match self {
            Self::Constant { size_bytes, count } if index < u64::from(*count) => *size_bytes,
            Self::Constant { .. } => 0,
            Self::List(sizes) => usize::try_from(index).ok().and_then(|i| sizes.get(i)).copied().unwrap_or(0),
        }
    }

    /// Sum of the sizes of a range of samples (from 0, must lie inside) in bytes.
    pub fn sum(&self, range: Range<u64>) -> u64 {
        match self {
            Self::Constant { size_bytes, .. } => u64::from(*size_bytes) * (range.end - range.start),
            Self::List(sizes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(sizes.len());
                sizes[index(range.start)..index(range.end)].iter().map(|s| u64::from(*s)).sum()
            }
        }
    }

    /// The sizes of a range of samples (from 0).
    pub(in super::super) fn part(&self, range: Range<u64>) -> Self {
        match self {
            Self::Constant { .. } => self.clone(),
            Self::List(sizes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                Self::List(sizes.get(index(range.start)..index(range.end)).unwrap_or_default().to_vec())
            }
        }
    }

    /// The same sizes as a constant where they are all equal.
    pub(in super::super) fn compacted(sizes: Vec<u32>) -> Self {
        match (sizes.first(), u32::try_from(sizes.len())) {
            (Some(&first), Ok(count)) if first > 0 && sizes.iter().all(|s| *s == first) => {
                Self::Constant { size_bytes: first, count }
            }
            _ => Self::List(sizes),
        }
    }
}

pub(in super::super) fn read(table: &ChildBox<'_>, notes: &mut DefectLog) -> SampleSizes {
    let mut cursor = ByteCursor::new(table.body);
    let head = cursor.full().and_then(|_| Some((cursor.u32()?, cursor.u32()?)));
    match (head, table.fourcc.0) {
        (None, _) => {
            notes.malformed(table.offset, format!("`{}` is shorter than its own header", table.fourcc));
            SampleSizes::default()
        }
        (Some((field, count)), [b's', b't', b'z', b'2']) => {
            read_compact(table, notes, field & 0xFF, count, cursor.rest())
        }
        (Some((0, count)), _) => {
            let count = super::backed(table, notes, count, cursor.remaining() / 4);
            SampleSizes::List(cursor.entries(count).map(|[size]| size).collect())
        }
        (Some((size_bytes, count)), _) => SampleSizes::Constant { size_bytes, count },
    }
}

/// `stz2` (§8.7.3.3): sizes of 4, 8 or 16 bits.
fn read_compact(table: &ChildBox<'_>, notes: &mut DefectLog, bits: u32, count: u32, sizes: &[u8]) -> SampleSizes {
    let possible = match bits {
        4 => sizes.len() * 2,
        8 => sizes.len(),
        16 => sizes.len() / 2,
        _ => {
            notes.malformed(
                table.offset,
                format!("`stz2` has sizes of {bits} bits; 4, 8 and 16 are defined (§8.7.3.3)"),
            );
            return SampleSizes::default();
        }
    };
    // A table of sizes of four bits is eight times as long in memory.
    let most = usize::try_from(sample_limit()).unwrap_or(usize::MAX);
    let count = super::backed(table, notes, count, possible.min(most));
    let size = |index: usize| match bits {
        4 if index.is_multiple_of(2) => u32::from(sizes[index / 2] >> 4),
        4 => u32::from(sizes[index / 2] & 0x0F),
        8 => u32::from(sizes[index]),
        _ => u32::from(sizes[index * 2]) << 8 | u32::from(sizes[index * 2 + 1]),
    };
    SampleSizes::List((0..count).map(size).collect())
}

pub(in super::super) fn write(out: &mut Vec<u8>, sizes: &SampleSizes) {
    full_boxed(out, *b"stsz", 0, 0, |out| match sizes {
        SampleSizes::Constant { size_bytes, count } => {
            put_u32(out, *size_bytes);
            put_u32(out, *count);
        }
        SampleSizes::List(sizes) => {
            put_u32(out, 0);
            put_table(out, sizes.iter().map(|size| [*size]));
        }
    });
}
