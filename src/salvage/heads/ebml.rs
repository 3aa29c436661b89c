//! Elements of EBML (RFC 8794) as Matroska has them (RFC 9559).

use std::io::{Read, Seek};
use std::ops::Range;

use crate::salvage::source::Source;

pub const EBML: [u8; 4] = [0x1A, 0x45, 0xDF, 0xA3];
pub const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
pub const INFO: [u8; 4] = [0x15, 0x49, 0xA9, 0x66];
pub const TRACKS: [u8; 4] = [0x16, 0x54, 0xAE, 0x6B];
pub const CLUSTER: [u8; 4] = [0x1F, 0x43, 0xB6, 0x75];
pub const TIMESTAMP: u8 = 0xE7;
pub const SIMPLE_BLOCK: u8 = 0xA3;
pub const BLOCK_GROUP: u8 = 0xA0;
pub const BLOCK: u8 = 0xA1;
pub const VOID: u8 = 0xEC;
/// A size that says nothing, in eight bytes.
pub const UNKNOWN: [u8; 8] = [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
/// Highest track number that is believed.
const MOST_TRACKS: u64 = 32;
/// Bytes that tell what an element is: its id, its size, and of a block its track and time.
const LOOK_BYTES: usize = 32;
/// What stands in a segment: `SeekHead`, `Info`, `Tracks`, `Cluster`, `Cues`, `Tags`, `Chapters`, `Attachments`.
const IN_SEGMENT: [u64; 8] =
    [0x114D_9B74, 0x1549_A966, 0x1654_AE6B, 0x1F43_B675, 0x1C53_BB6B, 0x1254_C367, 0x1043_A770, 0x1941_A469];
/// What stands in a cluster beside blocks and `Void` and has at most eight bytes: `Timestamp`, `Position`, `PrevSize`, CRC-32.
const NUMBERS_IN_CLUSTER: [u64; 4] = [TIMESTAMP as u64, 0xA7, 0xAB, 0xBF];
const SILENT_TRACKS: u64 = 0x5854;
const ENCRYPTED_BLOCK: u64 = 0xAF;

/// A variable-size integer without its marker, and its length (RFC 8794 §4).
pub fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let raw = bytes.get(..length).filter(|_| length <= 8)?;
    let value = raw.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    Some((value & ((1 << (7 * length)) - 1), length))
}

/// Whether a size of so many bytes says nothing.
pub const fn is_unknown(value: u64, length: usize) -> bool {
    value == (1 << (7 * length)) - 1
}

/// An element with its size in eight bytes.
pub fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    let mut size = (body.len() as u64 | 1 << 56).to_be_bytes();
    size[0] = 1;
    [id, &size, body].concat()
}

/// An element that is a number in eight bytes.
pub fn number(id: &[u8], value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EbmlBlock {
    /// Number of its track.
    pub track: u64,
    /// Its time after that of its cluster, in ticks of the segment.
    pub time: i64,
    /// Where its flags stand.
    pub flags_at: u64,
    /// Its flags: a keyframe, invisible, how its frames are laced (RFC 9559 §10.1, §10.2).
    pub flags: u8,
    /// Where it ends; that may be before the end of the group that it stands in.
    pub end: u64,
}

/// An element in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EbmlElement {
    /// Its id with its marker.
    pub id: u64,
    /// Where its size stands.
    pub size_at: u64,
    /// Where its body begins.
    pub body: u64,
    /// Where it ends; `None` where it does not say so.
    pub end: Option<u64>,
    /// What it says, if it is a block.
    pub block: Option<EbmlBlock>,
}

impl EbmlElement {
    /// The element at a place of a file of `len` bytes; it may reach past the end.
    pub fn at<R: Read + Seek>(source: &mut Source<R>, at: u64) -> Option<Self> {
        let bytes = source.at(at, LOOK_BYTES);
        let bytes = &bytes[..bytes.len().min(LOOK_BYTES)];
        let id_bytes = vint(bytes)?.1;
        let id = bytes[..id_bytes].iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
        let (size, size_bytes) = bytes.get(id_bytes..).and_then(vint).filter(|_| id_bytes <= 4)?;
        let head = id_bytes + size_bytes;
        let body = at + head as u64;
        let end = (!is_unknown(size, size_bytes)).then(|| body.saturating_add(size));
        let block = bytes.get(head..).zip(end).and_then(|(bytes, end)| block_of(id, bytes, body..end));
        Some(Self { id, size_at: at + id_bytes as u64, body, end, block })
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        self.id == u64::from(u32::from_be_bytes(CLUSTER))
    }

    /// Whether it stands in a segment.
    pub fn is_of_segment(&self) -> bool {
        IN_SEGMENT.contains(&self.id) || self.id == u64::from(VOID)
    }

    /// Whether it stands in a cluster, whole or not.
    pub fn is_of_cluster(&self) -> bool {
        let fits = |bytes: u64| match self.id {
            _ if self.block.is_some() => true,
            ENCRYPTED_BLOCK | SILENT_TRACKS => bytes > 0,
            id if id == u64::from(VOID) => true,
            id => NUMBERS_IN_CLUSTER.contains(&id) && (1..=8).contains(&bytes),
        };
        self.end.is_some_and(|end| end >= self.body && fits(end - self.body))
    }
}

/// What the beginning of the body of a block says, or of a group that holds one; the body lies at these offsets.
fn block_of(id: u64, bytes: &[u8], body: Range<u64>) -> Option<EbmlBlock> {
    let (before, end) = match u8::try_from(id).ok()? {
        SIMPLE_BLOCK => (0, body.end),
        BLOCK_GROUP => block_in_group(bytes, &body)?,
        _ => return None,
    };
    let bytes = bytes.get(before..)?;
    let (track, length) = vint(bytes).filter(|(track, _)| (1..=MOST_TRACKS).contains(track))?;
    let time = i16::from_be_bytes(*bytes.get(length..)?.first_chunk()?);
    let flags = *bytes.get(length + 2)?;
    Some(EbmlBlock { track, time: i64::from(time), flags_at: body.start + (before + length + 2) as u64, flags, end })
}

/// Where in a `BlockGroup` the body of its block begins, and where in the file that ends. Short elements, such as its duration, may
/// stand in front of it.
fn block_in_group(bytes: &[u8], group: &Range<u64>) -> Option<(usize, u64)> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let id_bytes = vint(rest)?.1;
        let (size, size_bytes) = vint(rest.get(id_bytes..)?)?;
        let body = at + id_bytes + size_bytes;
        let end = (group.start + body as u64).checked_add(size).filter(|end| *end <= group.end)?;
        if rest[0] == BLOCK {
            return Some((body, end));
        }
        at = body + usize::try_from(size).ok()?;
    }
}

/// The beginning of an element that says nothing and is `bytes` long, which are at least two.
pub fn void(bytes: u64) -> Vec<u8> {
    match u8::try_from(bytes).ok().filter(|short| *short <= 128) {
        Some(short) => vec![VOID, 0x80 | short.saturating_sub(2)],
        None => [&[VOID][..], &((bytes - 9) | 1 << 56).to_be_bytes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn integers_are_those_of_the_standard() {
        assert_eq!((vint(&[0x81]), vint(&[0x40, 0x02]), vint(&[0])), (Some((1, 1)), Some((2, 2)), None));
    }

    #[test]
    fn a_void_ends_where_it_is_to_end() {
        for length in [2, 3, 128, 129, 130, 100_000] {
            let bytes = void(length);
            let found = EbmlElement::at(&mut Source::new(Cursor::new(&bytes), bytes.len() as u64), 0).unwrap();
            assert_eq!((found.id, found.end), (u64::from(VOID), Some(length)), "{length}");
        }
    }
}
