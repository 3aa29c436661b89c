//! The structure of Matroska and WebM (RFC 9559, RFC 8794): whether the last cluster and its last block are whole.
//!
//! ```text
//! EBML header | Segment [ SeekHead | Info | Tracks | Cluster [ Timestamp | SimpleBlock … ] … | Cues ]
//! ```
//! A live writer gives segment and clusters no size; then the children of the last cluster are walked.

use std::io::{self, Read, Seek, SeekFrom};

use super::FileTail;
use crate::recording::MOST_IN_A_FILE;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1F43_B675;
/// Elements of the second level: they end a cluster of unknown size.
const SECOND_LEVEL: [u32; 8] =
    [CLUSTER, 0x114D_9B74, 0x1549_A966, 0x1654_AE6B, 0x1C53_BB6B, 0x1941_A469, 0x1043_A770, 0x1254_C367];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MatroskaElement {
    id: u32,
    body_at: u64,
    /// None: unknown, to the next element of the same or a higher level.
    body_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextElement {
    Element(MatroskaElement),
    /// The file ends, inside a header if so many bytes are left.
    End(u64),
    NoElement,
}

/// Walks the structure from the last known cluster to the end of the file.
pub fn tail(file: &mut (impl Read + Seek), size_bytes: u64, near: u64) -> io::Result<FileTail> {
    let missing = match segment(file, size_bytes)? {
        Err(words) => Some(words),
        Ok(first) => {
            let from = if near > first && is_cluster(file, size_bytes, near)? { near } else { first };
            walk(file, size_bytes, from)?
        }
    };
    Ok(FileTail { missing, ..FileTail::default() })
}

/// Where further recordings begin behind the first: an EBML header ends a segment of unknown size, and follows one that says
/// how long it is (RFC 8794 §6.2).
pub fn recordings(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<Vec<u64>> {
    let (mut at, mut found) = (0, Vec::new());
    while let NextElement::Element(MatroskaElement { id, body_at, body_bytes }) = element(file, size_bytes, at)? {
        crate::stop::check();
        if id == EBML && at > 0 {
            found.push(at);
        }
        let is_entered = body_bytes.is_none() && matches!(id, SEGMENT | CLUSTER);
        at = match body_bytes {
            _ if is_entered => body_at,
            Some(bytes) => body_at.saturating_add(bytes),
            None => break,
        };
        if found.len() == MOST_IN_A_FILE {
            break;
        }
    }
    Ok(found)
}

fn is_cluster(file: &mut (impl Read + Seek), size_bytes: u64, at: u64) -> io::Result<bool> {
    Ok(matches!(element(file, size_bytes, at)?, NextElement::Element(MatroskaElement { id: CLUSTER, .. })))
}

/// Offset of the segment's first child, or what is wrong with the segment itself.
fn segment(file: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<Result<u64, String>> {
    let mut at = 0;
    while let NextElement::Element(found) = element(file, size_bytes, at)? {
        let end = found.body_bytes.map(|bytes| found.body_at.saturating_add(bytes));
        match end {
            Some(end) if found.id == SEGMENT && end > size_bytes => {
                return Ok(Err(format!("{} bytes of the declared segment", end - size_bytes)));
            }
            _ if found.id == SEGMENT => return Ok(Ok(found.body_at)),
            Some(end) => at = end,
            None => break,
        }
    }
    Ok(Err("the segment".to_owned()))
}

fn walk(file: &mut (impl Read + Seek), size_bytes: u64, mut at: u64) -> io::Result<Option<String>> {
    let mut in_open_cluster = false;
    loop {
        crate::stop::check();
        match element(file, size_bytes, at)? {
            NextElement::End(0) => return Ok(None),
            NextElement::End(left) => return Ok(Some(format!("the last element, of which {left} bytes are present"))),
            NextElement::NoElement => {
                return Ok(Some(format!("{} bytes from byte {at}, which are not an element", size_bytes - at)));
            }
            NextElement::Element(MatroskaElement { id, body_at, body_bytes: None }) => {
                in_open_cluster = id == CLUSTER;
                at = body_at;
            }
            NextElement::Element(MatroskaElement { id, body_at, body_bytes: Some(bytes) }) => {
                in_open_cluster &= !SECOND_LEVEL.contains(&id);
                at = body_at.saturating_add(bytes);
                if at > size_bytes {
                    let what = if in_open_cluster { "block" } else { "element" };
                    return Ok(Some(format!("{} bytes of the last {what}", at - size_bytes)));
                }
            }
        }
    }
}

const HEADER_BYTES: usize = 12;

/// Reads an element's id (RFC 8794 §5) and size (§6).
fn element(file: &mut (impl Read + Seek), size_bytes: u64, at: u64) -> io::Result<NextElement> {
    let left = size_bytes.saturating_sub(at);
    if left == 0 {
        return Ok(NextElement::End(0));
    }
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(parse(&bytes, at, left))
}

fn parse(bytes: &[u8], at: u64, left: u64) -> NextElement {
    let Some(id_bytes) = width(bytes).filter(|width| *width <= 4) else { return NextElement::NoElement };
    let Some(size) = bytes.get(id_bytes..).filter(|rest| !rest.is_empty()) else { return NextElement::End(left) };
    let Some(length) = width(size) else { return NextElement::NoElement };
    if size.len() < length {
        return NextElement::End(left);
    }
    let id = bytes[..id_bytes].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let all_ones = (1u64 << (7 * length)) - 1;
    let value = size[..length].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)) & all_ones;
    let body_at = at + (id_bytes + length) as u64;
    NextElement::Element(MatroskaElement { id, body_at, body_bytes: (value != all_ones).then_some(value) })
}

/// How many bytes a variable-size integer has, by its first.
fn width(bytes: &[u8]) -> Option<usize> {
    let zeros = bytes.first()?.leading_zeros() as usize;
    (zeros < 8).then_some(zeros + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const HEAD: &[u8] = b"\x1A\x45\xDF\xA3\x83abc";
    const OPEN_SEGMENT: &[u8] = b"\x18\x53\x80\x67\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    const OPEN_CLUSTER: &[u8] = b"\x1F\x43\xB6\x75\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF";

    fn missing(bytes: &[u8]) -> Option<String> {
        tail(&mut Cursor::new(bytes), bytes.len() as u64, 0).unwrap().missing
    }

    #[test]
    fn a_live_file_is_whole_up_to_a_block_border_only() {
        let base = [HEAD, OPEN_SEGMENT, OPEN_CLUSTER, b"\xE7\x81\x00"].concat();
        let block = b"\xA3\x88\x81\0\0\x80data";
        let whole = [&base[..], block, block].concat();
        assert_eq!(missing(&whole), None);
        let border = base.len() + block.len();
        for length in border + 1..whole.len() {
            assert!(missing(&whole[..length]).is_some(), "cut at {length}");
        }
        assert_eq!(missing(&whole[..border]), None);
        let again = [&whole[..], OPEN_CLUSTER, b"\xE7\x81\x01", block].concat();
        assert_eq!(missing(&again), None);
        assert_eq!(missing(&again[..again.len() - 1]).as_deref(), Some("1 bytes of the last block"));
    }

    #[test]
    fn a_segment_that_says_its_size_is_believed() {
        let bytes = [HEAD, b"\x18\x53\x80\x67\x8A\xEC\x83abc"].concat();
        assert_eq!(missing(&bytes).as_deref(), Some("5 bytes of the declared segment"));
    }

    #[test]
    fn zeros_after_a_power_loss_are_no_elements() {
        let bytes = [HEAD, OPEN_SEGMENT, OPEN_CLUSTER, b"\xA3\x84abcd", &[0; 64]].concat();
        assert!(missing(&bytes).unwrap().contains("are not an element"));
    }

    #[test]
    fn nonsense_never_panics() {
        for length in 0..16 {
            missing(&[0xFF; 16][..length]);
            missing(&HEAD[..length.min(HEAD.len())]);
            missing(&[0x10; 16][..length]);
        }
    }
}
