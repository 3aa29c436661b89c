//! The state that an interrupted `faststart` pass leaves: the media is being moved back to make room for a header, and
//! its first boxes stand there twice.
//!
//! ```text
//! as written   ftyp │ free mdat │ A B C D E F …
//! interrupted  ftyp │ free mdat │ A … │ free mdat │ A B C │ E F …
//!                    ╰── M bytes ────╯              moved  ╰ not moved yet; D was in memory
//! ```
//!
//! Nothing is moved here either: the media is walked from the second header on, over the frontier, where as many bytes
//! are missing as the header is long.

use std::io::{Read, Seek};

use super::source::{MAX_WANTED_BYTES, Source};
use super::walk::WalkResult;
use crate::isobmff::Layout;

/// Largest movie header that a pass makes room for.
const MOST_HEADER_BYTES: u64 = 128 << 20;

/// Media that was being moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisplacedMedia {
    /// Where the second copy of the first boxes stands.
    pub at: u64,
    /// Where the media behind it begins.
    pub media: u64,
    /// By how much it was moved, bytes.
    pub by: u64,
}

/// Looks for the second copy of the boxes in front of the media; only a file whose `mdat` has its size can have one.
pub fn find<R: Read + Seek>(source: &mut Source<R>, layout: &Layout) -> Option<DisplacedMedia> {
    let index = layout.boxes.iter().position(|b| b.is(b"mdat"))?;
    let mdat = &layout.boxes[index];
    let first = index.checked_sub(1).map(|before| &layout.boxes[before]).filter(|b| b.is(b"free"))?;
    if mdat.is_open_ended || mdat.end() != layout.len || mdat.body_offset() - first.offset > 64 {
        return None;
    }
    let length = usize::try_from(mdat.body_offset() - first.offset).ok()?;
    let pattern = source.at(first.offset, length).get(..length)?.to_vec();
    let until = layout.len.min(mdat.body_offset() + MOST_HEADER_BYTES);
    let mut at = mdat.body_offset();
    while at + (length as u64) < until {
        let bytes = source.at(at, MAX_WANTED_BYTES);
        if let Some(found) = bytes.windows(length).position(|window| window == pattern) {
            let at = at + found as u64;
            return Some(DisplacedMedia { at, media: at + length as u64, by: at - first.offset });
        }
        at += (bytes.len().saturating_sub(length - 1) as u64).max(1);
    }
    None
}

impl DisplacedMedia {
    /// Notes at the frontier that as many bytes are missing as the media was moved by. It is moved in pieces of that
    /// length, so the frontier lies at a multiple of it.
    pub fn note_frontier(&self, walked: &mut WalkResult) {
        let is_frontier = |at: u64| at > self.at && (at - self.at).is_multiple_of(self.by);
        let holds = |range: &std::ops::Range<u64>| {
            let first = range.start + (self.by - (range.start - self.at) % self.by) % self.by;
            first <= range.end && is_frontier(first)
        };
        if let Some(gap) = walked.gaps.iter_mut().find(|gap| holds(&gap.range)) {
            gap.hidden_bytes = self.by;
        }
    }
}
