//! The boxes of a fragmented file that was hit: sizes that lie are corrected by what stands behind them, and what is no
//! box any more is a stretch to be walked.

use std::io::{Read, Seek};
use std::ops::Range;

use super::patched::Patch;
use crate::isobmff::{BoxHeader, FourCc};
use crate::salvage::source::{MAX_WANTED_BYTES, Source};

/// Boxes that stand at the top level of a fragmented file.
const KNOWN: [[u8; 4]; 17] = [
    *b"ftyp", *b"styp", *b"moov", *b"mdat", *b"free", *b"skip", *b"wide", *b"moof", *b"sidx", *b"ssix", *b"uuid",
    *b"meta", *b"pdin", *b"udta", *b"emsg", *b"prft", *b"mfra",
];
/// Boxes inside a `moof` (ISO/IEC 14496-12 §8.8.4).
const IN_FRAGMENT: [[u8; 4]; 5] = [*b"mfhd", *b"traf", *b"pssh", *b"uuid", *b"meta"];
/// Most boxes that are taken.
const MOST_BOXES: usize = 2_000_000;
/// Largest `moof` that is believed.
const MOST_FRAGMENT_HEADER_BYTES: u64 = 16 << 20;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct FragmentScan {
    /// The boxes in order, with the sizes that they really have.
    pub boxes: Vec<BoxHeader>,
    /// Size fields that lie: where, and what they should say.
    pub patches: Vec<Patch>,
    /// What is no box: a hit header with the media behind it, or nothing.
    pub stretches: Vec<Range<u64>>,
}

/// Goes through a file of `len` bytes.
pub fn scan<R: Read + Seek>(source: &mut Source<R>, len: u64) -> FragmentScan {
    let mut found = FragmentScan::default();
    let mut at = 0;
    while at < len && found.boxes.len() < MOST_BOXES {
        if let Some((header, patch)) = sound_box(source, at, len) {
            at = header.end();
            found.boxes.push(header);
            found.patches.extend(patch);
        } else {
            let next = next_fragment(source, at + 1, len);
            found.stretches.push(media_in(source, at..next));
            at = next;
        }
    }
    found
}

/// The box at a place with its real size, and what its size field should say if that lies.
fn sound_box<R: Read + Seek>(source: &mut Source<R>, at: u64, len: u64) -> Option<(BoxHeader, Option<Patch>)> {
    let mut header = header_at(source, at, len).filter(|header| KNOWN.contains(&header.fourcc.0))?;
    let declared = header.size_bytes;
    if header.is(b"moof") {
        header.size_bytes = fragment_header_bytes(source, at, len)?;
    } else if header.is(b"mdat") {
        if header.end() > len || !stands(source, header.end(), len) {
            // What follows was hit, or the size was: a fragment inside says so.
            let until = header.end().min(len);
            header.size_bytes = next_fragment(source, header.body_offset(), until) - at;
        }
    } else if header.end() > len || !stands(source, header.end(), len) {
        return None;
    }
    let size = u32::try_from(header.size_bytes).ok()?;
    let patch = (header.is(b"moof") && declared != header.size_bytes).then(|| (at, size.to_be_bytes()));
    Some((header, patch))
}

/// Whether a box that belongs here begins at a place, or the file ends.
fn stands<R: Read + Seek>(source: &mut Source<R>, at: u64, len: u64) -> bool {
    at == len || header_at(source, at, len).is_some_and(|header| KNOWN.contains(&header.fourcc.0))
}

fn header_at<R: Read + Seek>(source: &mut Source<R>, at: u64, len: u64) -> Option<BoxHeader> {
    let head = source.at(at, 16);
    let fourcc = FourCc(*head.get(4..)?.first_chunk()?);
    let (header_bytes, size_bytes) = match u32::from_be_bytes(*head.first_chunk()?) {
        0 => (8, len - at),
        1 => (16, u64::from_be_bytes(*head.get(8..)?.first_chunk()?)),
        size => (8, u64::from(size)),
    };
    let is_open_ended = head.starts_with(&[0; 4]);
    let header = BoxHeader { fourcc, header_bytes, is_open_ended, offset: at, size_bytes };
    (size_bytes >= u64::from(header_bytes)).then_some(header)
}

/// How long a `moof` is by the boxes in it; `None` if they do not lead to its media.
fn fragment_header_bytes<R: Read + Seek>(source: &mut Source<R>, at: u64, len: u64) -> Option<u64> {
    let mut end = at + 8;
    let mut tracks = 0;
    while let Some(child) = header_at(source, end, len).filter(|child| IN_FRAGMENT.contains(&child.fourcc.0)) {
        tracks += u32::from(child.is(b"traf"));
        end = child.end();
        if end - at > MOST_FRAGMENT_HEADER_BYTES {
            return None;
        }
    }
    let leads = end >= len || header_at(source, end, len).is_some_and(|next| next.is(b"mdat") || next.is(b"free"));
    (tracks > 0 && end <= len && leads).then_some(end - at)
}

/// Where the next fragment begins whose header says so twice; `len` if there is none.
pub fn next_fragment<R: Read + Seek>(source: &mut Source<R>, from: u64, len: u64) -> u64 {
    search(source, from..len, |bytes| bytes.get(4..8) == Some(b"moof") && bytes.get(12..16) == Some(b"mfhd"))
        .unwrap_or(len)
}

/// The part of a stretch in which media may lie: behind the header of its `mdat`, if that is still there.
fn media_in<R: Read + Seek>(source: &mut Source<R>, stretch: Range<u64>) -> Range<u64> {
    let mdat = search(source, stretch.clone(), |bytes| bytes.get(4..8) == Some(b"mdat"));
    mdat.map_or(stretch.start, |at| at + 8)..stretch.end
}

fn search<R: Read + Seek>(source: &mut Source<R>, range: Range<u64>, is_it: impl Fn(&[u8]) -> bool) -> Option<u64> {
    const PATTERN_BYTES: usize = 16;
    let mut at = range.start;
    while at < range.end {
        let bytes = source.at(at, MAX_WANTED_BYTES);
        let bytes = &bytes[..bytes.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX))];
        // Both names begin with this letter, four bytes behind the size.
        let place = |from: usize| bytes.get(from + 4..)?.iter().position(|byte| *byte == b'm').map(|n| from + n);
        let mut next = place(0);
        while let Some(found) = next {
            if is_it(&bytes[found..]) {
                return Some(at + found as u64);
            }
            next = place(found + 1);
        }
        at += (bytes.len().saturating_sub(PATTERN_BYTES) as u64).max(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn boxed(fourcc: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
        out.extend(fourcc);
        out.extend(body);
        out
    }

    fn fragment(payload: u8) -> Vec<u8> {
        let header = [boxed(*b"mfhd", &[0; 8]), boxed(*b"traf", &boxed(*b"tfhd", &[0; 8]))].concat();
        [boxed(*b"moof", &header), boxed(*b"mdat", &[payload; 100])].concat()
    }

    fn scanned(bytes: &[u8]) -> FragmentScan {
        scan(&mut Source::new(Cursor::new(bytes), bytes.len() as u64), bytes.len() as u64)
    }

    #[test]
    fn sizes_that_lie_are_corrected_and_hit_headers_are_stretches() {
        let one = fragment(9);
        let whole = [boxed(*b"moov", &[1; 50]), one.clone(), one.clone(), one.clone()].concat();
        assert_eq!((scanned(&whole).boxes.len(), scanned(&whole).stretches.len()), (7, 0));
        let (moof, mdat, last) = (58 + one.len(), 58 + 2 * one.len() - 108, 58 + 2 * one.len());
        let mut hit = whole.clone();
        hit[moof] ^= 0x40;
        let found = scanned(&hit);
        assert_eq!((found.boxes.len(), found.patches.len(), found.stretches.len()), (7, 1, 0));
        let mut hit = whole.clone();
        hit[mdat + 1] ^= 0x40;
        assert_eq!(scanned(&hit).boxes, scanned(&whole).boxes);
        let mut hit = whole;
        hit[moof..mdat].fill(0);
        let found = scanned(&hit);
        assert_eq!((found.boxes.len(), found.stretches.first()), (5, Some(&(mdat as u64 + 8..last as u64))));
    }
}
