//! What a file with its header in front consists of: new bytes, then ranges of the old file.
//!
//! The same plan serves every way of splicing. Where the range is the whole old file and the header a multiple of the
//! block, the header can be inserted in front of it or the old file be shared behind it; where it is not, the ranges
//! are copied. Nothing is read or written here.

use std::iter;
use std::ops::Range;

use super::boxes::{BoxHeader, FileShape, Layout};
use super::error::IsoError;
use super::movie::Movie;
use super::place::{FREE_BYTES, FrontTail, close_front, least_front_bytes, relocate_into};

/// Largest allocation unit that a front is rounded up to; beyond it the file system has no blocks like that.
pub const MAX_BLOCK_BYTES: u64 = 16 << 20;
/// Most rounds until the header's length settles: each round can only widen tables, and there are few of them.
const MAX_ROUNDS: usize = 1 + 2 * super::movie::MAX_TRACKS;

/// Boxes of a file that may become a part of its media.
const WRAPPED: [&[u8; 4]; 6] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"];

/// A new file: `header`, then `body_ranges` of the old file, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontPlan {
    /// `ftyp`, `moov`, `free` and what else stands in front of the media.
    pub header: Vec<u8>,
    /// Byte ranges of the old file in ascending order.
    pub body_ranges: Vec<Range<u64>>,
}

impl FrontPlan {
    /// The header in front of the whole old file, its length a multiple of `block_bytes`: for inserting or sharing.
    ///
    /// `ftyp` is the old file type box, or empty if there is none. The old `ftyp` is covered; the old `moov` is still
    /// there at its old place (moved by the header's length) and is the caller's to retire.
    pub fn whole(layout: &Layout, movie: &Movie, ftyp: &[u8], block_bytes: u64) -> Result<Self, IsoError> {
        refuse_absolute(layout)?;
        let covers_bytes = layout.boxes.first().filter(|b| b.is(b"ftyp")).map_or(0, BoxHeader::end);
        let tail = FrontTail::Free { covers_bytes };
        let place =
            |front: u64, out: &mut Vec<u8>| relocate_into(movie.raw(), &|offset| offset.saturating_add(front), out);
        // Moved offsets rarely need wider tables.
        let likely_bytes = (ftyp.len() + movie.raw().len()) as u64;
        let header = settle_at(ftyp, BlockAlignment::of(block_bytes)?, likely_bytes, tail, place)?;
        Ok(Self { header, body_ranges: iter::once(0..layout.len).collect() })
    }

    /// The header in front of what is worth keeping: the old `ftyp` and every old `moov` are left out.
    ///
    /// The header is padded so that the first kept range keeps its place within a block of `block_bytes` (1: no padding).
    pub fn compact(layout: &Layout, movie: &Movie, ftyp: &[u8], block_bytes: u64) -> Result<Self, IsoError> {
        refuse_absolute(layout)?;
        let body_ranges = kept_ranges(layout);
        let block_bytes = checked_block(block_bytes)?;
        let phase = body_ranges.first().map_or(0, |r| r.start % block_bytes);
        let kept = placed(&body_ranges);
        let place =
            |front: u64, out: &mut Vec<u8>| relocate_into(movie.raw(), &|offset| moved_into(&kept, front, offset), out);
        let header =
            settle_at(ftyp, BlockAlignment { block_bytes, phase }, 0, FrontTail::Free { covers_bytes: 0 }, place)?;
        Ok(Self { header, body_ranges })
    }

    /// The header in front of the whole old file, which becomes the content of one `mdat` with its old `ftyp` and `moov`: for stores
    /// that put together whole objects. A file with other boxes beside its media is refused: readers would not find them there.
    pub fn wrapping(layout: &Layout, movie: &Movie, ftyp: &[u8]) -> Result<Self, IsoError> {
        refuse_absolute(layout)?;
        if let Some(hidden) = layout.boxes.iter().find(|b| !WRAPPED.iter().any(|fourcc| b.is(fourcc))) {
            let detail = "a box outside `moov` would be hidden in the media";
            return Err(IsoError::Unmovable { fourcc: hidden.fourcc, detail });
        }
        let place =
            |front: u64, out: &mut Vec<u8>| relocate_into(movie.raw(), &|offset| offset.saturating_add(front), out);
        let tail = FrontTail::Media { body_bytes: layout.len };
        let header = settle_at(ftyp, BlockAlignment::of(1)?, 0, tail, place)?;
        Ok(Self { header, body_ranges: iter::once(0..layout.len).collect() })
    }

    /// The header that was written from a movie (fragments, salvage) in front of the whole old file, which becomes the
    /// content of one `mdat`; the header's length is a multiple of `block_bytes`.
    ///
    /// `len` is the length of the old file, or where it is to end.
    pub fn spanning(movie: &Movie, ftyp: &[u8], len: u64, block_bytes: u64) -> Result<Self, IsoError> {
        let place = |front: u64, out: &mut Vec<u8>| movie.write_moov(front, out);
        let header = settle_at(ftyp, BlockAlignment::of(block_bytes)?, 0, FrontTail::Media { body_bytes: len }, place)?;
        Ok(Self { header, body_ranges: iter::once(0..len).collect() })
    }

    /// Length of the new file in bytes.
    pub fn len(&self) -> u64 {
        self.header.len() as u64 + self.body_ranges.iter().map(|r| r.end - r.start).sum::<u64>()
    }

    /// Whether the new file would have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn checked_block(block_bytes: u64) -> Result<u64, IsoError> {
    if block_bytes > MAX_BLOCK_BYTES {
        return Err(IsoError::Limit { what: "allocation unit in bytes", found: block_bytes, limit: MAX_BLOCK_BYTES });
    }
    Ok(block_bytes.max(1))
}

/// Refuses boxes outside `moov` that hold offsets of the file: the items of a `meta` (§8.11.3) and the index in `mfra`
/// (`tfra`, §8.8.10) of a file that is not to be rewritten from its fragments.
fn refuse_absolute(layout: &Layout) -> Result<(), IsoError> {
    let unmovable = |b: &BoxHeader, detail| IsoError::Unmovable { fourcc: b.fourcc, detail };
    if let Some(meta) = layout.first(b"meta") {
        return Err(unmovable(meta, "a `meta` box outside `moov` may hold items at offsets of the file"));
    }
    if let Some(mfra) = layout.first(b"mfra") {
        return Err(unmovable(mfra, "its `tfra` holds offsets of the file"));
    }
    if layout.shape() == FileShape::Fragmented {
        let found = layout.first(b"moof").or_else(|| layout.first(b"moov")).ok_or(IsoError::NoMovieHeader)?;
        return Err(unmovable(found, "a fragmented file is rewritten from its fragments, not moved"));
    }
    Ok(())
}

/// Everything but `ftyp` in front and `moov`, merged where adjacent, clipped to the file; bytes that are no box are kept.
fn kept_ranges(layout: &Layout) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    for left_out in layout.boxes.iter().filter(|b| b.is(b"moov") || b.offset == 0 && b.is(b"ftyp")) {
        ranges.push(at..left_out.offset);
        at = left_out.end().min(layout.len);
    }
    ranges.push(at..layout.len);
    ranges.retain(|r| r.start < r.end);
    ranges
}

/// Where an offset of the old file lies in the new one. What is left out, and what lay outside, lies behind the end.
fn moved_into(kept: &[(Range<u64>, u64)], front: u64, offset: u64) -> u64 {
    let behind = kept.partition_point(|(range, _)| range.start <= offset);
    let within = kept[..behind].last().filter(|(range, _)| offset < range.end);
    let body_bytes = kept.last().map_or(0, |(range, at)| at + (range.end - range.start));
    front.saturating_add(within.map_or(body_bytes.saturating_add(offset), |(range, at)| at + (offset - range.start)))
}

/// Each range with its place behind the new header.
fn placed(ranges: &[Range<u64>]) -> Vec<(Range<u64>, u64)> {
    let place = |at: &mut u64, range: &Range<u64>| {
        Some((range.clone(), std::mem::replace(at, *at + (range.end - range.start))))
    };
    ranges.iter().scan(0, place).collect()
}

/// Finds the front's length: a longer front moves offsets further, which may widen tables, which makes it longer.
/// Lengths only grow from round to round, so a table that was widened stays so, and the rounds end.
///
/// `likely_bytes` is what `ftyp` and `moov` will take unless tables widen or lose what lies behind their entries, or 0 where only
/// the first round tells. A front that comes out shorter is filled up.
fn settle_at(
    ftyp: &[u8],
    blocks: BlockAlignment,
    likely_bytes: u64,
    tail: FrontTail,
    place: impl Fn(u64, &mut Vec<u8>) -> Result<(), IsoError>,
) -> Result<Vec<u8>, IsoError> {
    let next = |head_bytes: u64, last: u64| next_front(least_front_bytes(head_bytes, tail), last, blocks, tail);
    let mut front = if likely_bytes == 0 { 0 } else { next(likely_bytes, 0) };
    let mut head = Vec::new();
    for _ in 0..MAX_ROUNDS {
        head.clear();
        head.extend(ftyp);
        place(front, &mut head)?;
        if close_front(&mut head, front, tail) {
            return Ok(head);
        }
        front = next(head.len() as u64, front);
    }
    let limit = MAX_ROUNDS as u64;
    Err(IsoError::Limit { what: "number of rounds to place the header", found: limit + 1, limit })
}

/// The next length in phase that is not below `least` and above the one that was tried; if that leaves one to seven bytes, which are no
/// box, the one after it.
fn next_front(least: u64, tried: u64, blocks: BlockAlignment, tail: FrontTail) -> u64 {
    let front = blocks.in_phase(least.max(tried + 1));
    let is_no_box = (1..FREE_BYTES).contains(&(front - least));
    if is_no_box && matches!(tail, FrontTail::Free { covers_bytes: 0 } | FrontTail::Media { .. }) {
        return blocks.in_phase(least + FREE_BYTES);
    }
    front
}

/// Lengths that leave `phase` when divided by the block.
#[derive(Debug, Clone, Copy)]
struct BlockAlignment {
    block_bytes: u64,
    phase: u64,
}

impl BlockAlignment {
    /// Multiples of a block.
    fn of(block_bytes: u64) -> Result<Self, IsoError> {
        Ok(Self { block_bytes: checked_block(block_bytes)?, phase: 0 })
    }

    /// The least of them from `least` on.
    const fn in_phase(self, least: u64) -> u64 {
        let rest = (self.block_bytes - self.phase) % self.block_bytes;
        (least + rest).next_multiple_of(self.block_bytes) - rest
    }
}
