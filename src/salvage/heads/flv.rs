//! FLV (Adobe, Video File Format Specification 10.1, Annex E): header and sequence headers, and the chain of tags.

use std::io::{Read, Seek};

use super::{audio_specific, configuration};
use crate::recording::TrackKind;
use crate::salvage::reference::ReferenceTrack;
use crate::salvage::source::Source;

const HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];
const SOUND: u8 = 8;
const PICTURES: u8 = 9;
const DATA: u8 = 18;
const TAG_HEADER_BYTES: usize = 11;
/// Tags that must follow one another.
const CHAIN: u32 = 4;
/// How far the first tag is looked for.
const MOST_SEARCHED_BYTES: u64 = 64 << 20;

/// Whether bytes are a head of this container.
pub fn is_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"FLV")
}

/// The header and the sequence headers of a file.
pub fn head_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = usize::try_from(u32::from_be_bytes(*bytes.get(5..)?.first_chunk()?)).ok()? + 4;
    let mut head = HEADER.to_vec();
    while let Some(body_bytes) = bytes.get(at..).and_then(body_bytes) {
        let body = bytes.get(at + TAG_HEADER_BYTES..at + TAG_HEADER_BYTES + body_bytes)?;
        let kind = bytes[at] & 0x1F;
        if is_sequence_header(kind, body) {
            tag(&mut head, kind, body);
        } else if kind != DATA {
            break;
        }
        at += TAG_HEADER_BYTES + body_bytes + 4;
    }
    (head.len() > HEADER.len()).then_some(head)
}

/// AVC and AAC, and the same kind of packet of the enhanced form.
fn is_sequence_header(kind: u8, body: &[u8]) -> bool {
    match (kind, body) {
        (PICTURES, [first, ..]) if first & 0x80 != 0 => first.trailing_zeros() >= 4,
        (PICTURES, [first, packet, ..]) => first & 0x0F == 7 && *packet == 0,
        (SOUND, [first, packet, ..]) => first >> 4 == 10 && *packet == 0,
        _ => false,
    }
}

/// A head made from the tracks of an MP4.
pub fn head_for(tracks: &[ReferenceTrack]) -> Option<Vec<u8>> {
    let mut head = HEADER.to_vec();
    for known in tracks {
        match (known.track.kind(), known.track.codec().as_str()) {
            (TrackKind::Video, "h264") => {
                tag(&mut head, PICTURES, &[&[0x17, 0, 0, 0, 0][..], configuration(known, *b"avcC")?].concat());
            }
            (TrackKind::Video, "hevc") => {
                tag(&mut head, PICTURES, &[&[0x90][..], b"hvc1", configuration(known, *b"hvcC")?].concat());
            }
            (TrackKind::Audio, "aac") => {
                tag(&mut head, SOUND, &[&[0xAF, 0][..], audio_specific(known)?].concat());
            }
            _ => {}
        }
    }
    (head.len() > HEADER.len()).then_some(head)
}

fn tag(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    out.extend([kind, length[1], length[2], length[3], 0, 0, 0, 0, 0, 0, 0]);
    out.extend(body);
    let whole = u32::try_from(body.len() + TAG_HEADER_BYTES).unwrap_or(0);
    out.extend(whole.to_be_bytes());
}

/// Length of the body of the tag that the bytes begin with.
fn body_bytes(bytes: &[u8]) -> Option<usize> {
    let [kind, a, b, c, _, _, _, _, 0, 0, 0, ..] = *bytes else { return None };
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    (matches!(kind, SOUND | PICTURES | DATA) && length > 0).then_some(length)
}

/// The first place from which tags follow one another, each with its length behind it.
pub fn first_tag<R: Read + Seek>(source: &mut Source<R>, len: u64) -> Option<u64> {
    let until = len.min(MOST_SEARCHED_BYTES);
    let mut at = 0;
    while at < until {
        let bytes = source.at(at, TAG_HEADER_BYTES);
        let step = bytes.iter().position(|byte| matches!(*byte, SOUND | PICTURES | DATA));
        at += step.unwrap_or(bytes.len()).max(usize::from(bytes.is_empty())) as u64;
        if step.is_some() {
            if chain(source, at, len) {
                return Some(at);
            }
            at += 1;
        }
    }
    None
}

fn chain<R: Read + Seek>(source: &mut Source<R>, from: u64, len: u64) -> bool {
    let mut at = from;
    for _ in 0..CHAIN {
        let Some(body) = body_bytes(source.at(at, TAG_HEADER_BYTES)) else { return false };
        let whole = (TAG_HEADER_BYTES + body) as u64;
        let said = source.at(at + whole, 4).first_chunk().map(|bytes| u64::from(u32::from_be_bytes(*bytes)));
        if said != Some(whole) {
            return false;
        }
        at += whole + 4;
        if at >= len {
            break;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_head_holds_the_sequence_headers_and_the_chain_begins_at_a_tag() {
        let mut file = HEADER.to_vec();
        tag(&mut file, DATA, &[1; 30]);
        tag(&mut file, PICTURES, &[0x17, 0, 0, 0, 0, 1, 2, 3]);
        tag(&mut file, SOUND, &[0xAF, 0, 0x11, 0x90]);
        let first = file.len();
        for n in 0..8 {
            tag(&mut file, PICTURES, &[&[0x27, 1, 0, 0, 0][..], &[n; 50]].concat());
        }
        let head = head_of(&file).unwrap();
        assert!(is_head(&head) && head.len() == 13 + 8 + 15 + 4 + 15);
        file[..first + 5].fill(0);
        let place = first_tag(&mut Source::new(Cursor::new(&file), file.len() as u64), file.len() as u64);
        assert_eq!(place, Some((first + 70) as u64));
    }
}
