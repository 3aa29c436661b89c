//! What a block says beside its time (RFC 9559, section 10): its track, and whether several frames are laced in it. A demuxer that
//! is told wrongly drops the block, or all that follows in its cluster.

use std::io::{Read, Seek};

use super::ebml::{EbmlElement, TRACKS, vint};
use crate::salvage::source::Source;

const TRACK_ENTRY: u8 = 0xAE;
const TRACK_NUMBER: u8 = 0xD7;
const FLAG_LACING: u8 = 0x9C;
/// The bits of a block's flags that say how its frames are laced.
pub const LACING: u8 = 0x06;
const XIPH: u8 = 0x02;
const FIXED: u8 = 0x04;
/// Bytes that are looked at for the sizes of laced frames.
const LACE_BYTES: usize = 4096;
/// Bytes of `SegmentTracks` that are looked at.
const MOST_TRACKS_BYTES: usize = 64 << 10;
/// Elements in front of the first cluster.
const MOST_IN_FRONT: usize = 64;

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFault {
    /// No track has its number.
    Stray,
    /// It says that frames are laced in it, and they are not: where its flags stand, and what they should say.
    Lacing {
        /// Byte offset of the flags.
        at: u64,
        /// The flags of a block of one frame.
        flags: u8,
    },
}

/// The tracks that a segment declares, as far as blocks are held against them.
#[derive(Debug, Default)]
pub struct SegmentTracks {
    /// Number, and whether blocks of it may be laced (`FlagLacing`, section 5.1.4.1.12).
    known: Vec<(u64, bool)>,
}

impl SegmentTracks {
    /// Those of the segment whose first child begins at a place; none where that cannot be read.
    pub fn read<R: Read + Seek>(source: &mut Source<R>, mut at: u64) -> Self {
        for _ in 0..MOST_IN_FRONT {
            let Some(found) = EbmlElement::at(source, at).filter(|found| !found.is_cluster()) else { break };
            let Some(end) = found.end else { break };
            if found.id == u64::from(u32::from_be_bytes(TRACKS)) {
                let wanted = usize::try_from(end - found.body).unwrap_or(usize::MAX);
                let body = source.at(found.body, wanted.min(MOST_TRACKS_BYTES));
                return Self { known: body.get(..wanted).map(entries).unwrap_or_default() };
            }
            at = end;
        }
        Self::default()
    }

    /// What is wrong with a block, if the element is one.
    pub fn fault<R: Read + Seek>(&self, source: &mut Source<R>, found: &EbmlElement) -> Option<BlockFault> {
        let block = found.block.filter(|_| !self.known.is_empty())?;
        let Some((_, may_lace)) = self.known.iter().find(|(number, _)| *number == block.track) else {
            return Some(BlockFault::Stray);
        };
        let lacing = block.flags & LACING;
        if lacing == 0 {
            return None;
        }
        let frames_at = block.flags_at + 1;
        let bytes = usize::try_from(block.end.saturating_sub(frames_at)).unwrap_or(usize::MAX);
        let looked = source.at(frames_at, bytes.min(LACE_BYTES));
        let is_laced = *may_lace && is_laced(lacing, &looked[..looked.len().min(bytes)], bytes);
        (!is_laced).then_some(BlockFault::Lacing { at: block.flags_at, flags: block.flags & !LACING })
    }
}

/// Number of each `TrackEntry`, and whether its blocks may be laced, which is the default.
fn entries(mut body: &[u8]) -> Vec<(u64, bool)> {
    let mut found = Vec::new();
    while let Some((id, content, rest)) = child(body) {
        if id == [TRACK_ENTRY] {
            let (mut number, mut may_lace, mut fields) = (None, true, content);
            while let Some((id, value, rest)) = child(fields) {
                let value = value.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte));
                match id {
                    [TRACK_NUMBER] => number = Some(value),
                    [FLAG_LACING] => may_lace = value != 0,
                    _ => {}
                }
                fields = rest;
            }
            found.extend(number.map(|number| (number, may_lace)));
        }
        body = rest;
    }
    found
}

/// The first element of some bytes: its id, its body and what follows.
fn child(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let id_bytes = vint(bytes)?.1;
    let (size, size_bytes) = vint(bytes.get(id_bytes..)?)?;
    let start = id_bytes + size_bytes;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    Some((&bytes[..id_bytes], bytes.get(start..end)?, &bytes[end..]))
}

/// Whether the sizes of laced frames (section 10.3) fit into a block that has so many bytes behind its flags. What goes on
/// beyond what is looked at is believed.
fn is_laced(lacing: u8, looked: &[u8], bytes: usize) -> bool {
    let Some((count, sizes)) = looked.split_first() else { return false };
    let others = usize::from(*count);
    let (used, sum) = match lacing {
        FIXED => return (bytes - 1).is_multiple_of(others + 1),
        XIPH => match xiph(sizes, others) {
            Some(read) => read,
            None => return looked.len() < bytes,
        },
        _ => match by_differences(sizes, others) {
            Some(read) => read,
            None => return looked.len() < bytes && looked.len() == LACE_BYTES,
        },
    };
    sum.checked_add(1 + used as u64).is_some_and(|taken| taken <= bytes as u64)
}

/// How many bytes the sizes of all frames but the last take, and their sum; `None` where they do not end.
fn xiph(sizes: &[u8], others: usize) -> Option<(usize, u64)> {
    let (mut at, mut sum) = (0, 0);
    for _ in 0..others {
        loop {
            let byte = *sizes.get(at)?;
            at += 1;
            sum += u64::from(byte);
            if byte != u8::MAX {
                break;
            }
        }
    }
    Some((at, sum))
}

/// The same with EBML lacing: the first size, then signed differences.
fn by_differences(sizes: &[u8], others: usize) -> Option<(usize, u64)> {
    let (mut at, mut size, mut sum) = (0, 0_i64, 0_u64);
    for frame in 0..others {
        let (value, length) = vint(sizes.get(at..)?)?;
        at += length;
        let value = i64::try_from(value).ok()?;
        size = if frame == 0 { value } else { size + value - ((1 << (7 * length - 1)) - 1) };
        sum = sum.checked_add(u64::try_from(size).ok()?)?;
    }
    Some((at, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_say_their_number_and_whether_they_are_laced() {
        let entry = |fields: &[u8]| [&[TRACK_ENTRY, 0x80 | u8::try_from(fields.len()).unwrap()], fields].concat();
        let body =
            [entry(&[TRACK_NUMBER, 0x81, 1, FLAG_LACING, 0x81, 0]), entry(&[0x83, 0x81, 2, TRACK_NUMBER, 0x81, 7])];
        assert_eq!(entries(&body.concat()), [(1, false), (7, true)]);
        assert_eq!(entries(&[TRACK_ENTRY, 0xFF]), []);
    }

    #[test]
    fn frames_are_laced_where_their_sizes_fit() {
        // Two frames of 800 and 500 bytes and a last one: RFC 9559, section 10.3.
        let xiph = [&[2, 255, 255, 255, 35, 255, 245][..], &[0; 2000]].concat();
        assert!(is_laced(XIPH, &xiph, xiph.len()));
        assert!(!is_laced(XIPH, &xiph[..900], 900));
        let ebml = [&[2, 0x43, 0x20, 0x5E, 0xD3][..], &[0; 2000]].concat();
        assert!(is_laced(LACING, &ebml, ebml.len()));
        assert!(!is_laced(LACING, &ebml[..1000], 1000));
        assert!(is_laced(FIXED, &[3, 0, 0, 0, 0], 2401));
        assert!(!is_laced(FIXED, &[3, 0, 0, 0, 0], 2400));
        assert!(!is_laced(XIPH, &[], 0));
    }
}
