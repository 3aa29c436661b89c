//! Matroska (RFC 9559, RFC 8794): the elements in front of the first cluster.

use super::ebml::{CLUSTER, EBML, INFO, SEGMENT, TRACKS, UNKNOWN, element, is_unknown, number, vint};
use super::{audio_specific, configuration};
use crate::recording::{Container, TrackKind};
use crate::salvage::reference::ReferenceTrack;

/// Whether bytes are a head of this container.
pub fn is_head(bytes: &[u8]) -> bool {
    bytes.starts_with(&EBML)
}

/// An element with its id at `at`: where its body lies.
fn body_at(bytes: &[u8], at: usize, id_bytes: usize) -> Option<std::ops::Range<usize>> {
    let (size, length) = vint(bytes.get(at + id_bytes..)?)?;
    let start = at + id_bytes + length;
    let size = if is_unknown(size, length) { bytes.len() } else { usize::try_from(size).ok()? };
    Some(start..start.checked_add(size)?.min(bytes.len()))
}

/// EBML header, an open segment, the timestamp scale and the tracks of a sound file.
pub fn head_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let ebml = body_at(bytes, 0, 4).filter(|_| is_head(bytes))?;
    let segment = body_at(bytes, ebml.end, 4).filter(|_| bytes[ebml.end..].starts_with(&SEGMENT))?;
    let (mut scale, mut tracks) = (None, None);
    let mut at = segment.start;
    while tracks.is_none() {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty() && !rest.starts_with(&CLUSTER))?;
        let id_bytes = rest[0].leading_zeros() as usize + 1;
        let body = body_at(bytes, at, id_bytes)?;
        if rest.starts_with(&INFO) {
            scale = timestamp_scale(&bytes[body.clone()]);
        } else if rest.starts_with(&TRACKS) && body.end < bytes.len() {
            tracks = bytes.get(at..body.end);
        }
        at = body.end;
    }
    Some(opened(&bytes[..ebml.end], scale.unwrap_or(1_000_000), tracks?))
}

fn timestamp_scale(info: &[u8]) -> Option<u64> {
    const SCALE: [u8; 3] = [0x2A, 0xD7, 0xB1];
    let at = info.windows(3).position(|window| window == SCALE)?;
    let body = body_at(info, at, 3)?;
    Some(info[body].iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn opened(ebml: &[u8], scale: u64, tracks: &[u8]) -> Vec<u8> {
    let info = [
        number(&[0x2A, 0xD7, 0xB1], scale),
        element(&[0x4D, 0x80], b"aftercast"),
        element(&[0x57, 0x41], b"aftercast"),
    ];
    [ebml, &SEGMENT, &UNKNOWN, &element(&INFO, &info.concat()), tracks].concat()
}

/// A head made from the tracks of an MP4, numbered in their order.
pub fn head_for(tracks: &[ReferenceTrack], container: Container) -> Option<Vec<u8>> {
    let kind = if container == Container::Webm { "webm" } else { "matroska" };
    let ebml = [
        number(&[0x42, 0x86], 1),
        element(&[0x42, 0x82], kind.as_bytes()),
        number(&[0x42, 0x87], 4),
        number(&[0x42, 0x85], 2),
    ];
    let entries: Option<Vec<Vec<u8>>> = (1..).zip(tracks).map(|(index, known)| entry(index, known)).collect();
    let tracks = element(&TRACKS, &entries.filter(|entries| !entries.is_empty())?.concat());
    Some(opened(&element(&EBML, &ebml.concat()), 1_000_000, &tracks))
}

/// One `TrackEntry` (RFC 9559 §5.1.4.1; codec mappings §8).
fn entry(index: u64, known: &ReferenceTrack) -> Option<Vec<u8>> {
    let sample = known.track.entry()?;
    let (codec, private): (&str, Vec<u8>) = match known.track.codec().as_str() {
        "h264" => ("V_MPEG4/ISO/AVC", configuration(known, *b"avcC")?.to_vec()),
        "hevc" => ("V_MPEGH/ISO/HEVC", configuration(known, *b"hvcC")?.to_vec()),
        "av1" => ("V_AV1", configuration(known, *b"av1C")?.to_vec()),
        "vp9" => ("V_VP9", Vec::new()),
        "vp8" => ("V_VP8", Vec::new()),
        "aac" => ("A_AAC", audio_specific(known)?.to_vec()),
        "mp3" => ("A_MPEG/L3", Vec::new()),
        "ac3" => ("A_AC3", Vec::new()),
        "eac3" => ("A_EAC3", Vec::new()),
        _ => return None,
    };
    let is_video = known.track.kind() == TrackKind::Video;
    let mut body = vec![
        number(&[0xD7], index),
        number(&[0x73, 0xC5], index),
        number(&[0x83], if is_video { 1 } else { 2 }),
        element(&[0x86], codec.as_bytes()),
    ];
    if !private.is_empty() {
        body.push(element(&[0x63, 0xA2], &private));
    }
    if is_video {
        let (width, height) = sample.dimensions?;
        body.push(element(&[0xE0], &[number(&[0xB0], width.into()), number(&[0xBA], height.into())].concat()));
    } else {
        let rate = f64::from(sample.sample_rate_hz?).to_be_bytes();
        let channels = number(&[0x9F], sample.channels?.into());
        body.push(element(&[0xE1], &[element(&[0xB5], &rate), channels].concat()));
    }
    Some(element(&[0xAE], &body.concat()))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::salvage::heads::clusters::first_block;
    use crate::salvage::heads::ebml::{SIMPLE_BLOCK, TIMESTAMP};
    use crate::salvage::source::Source;

    fn block(time: i16, payload: u8) -> Vec<u8> {
        let [high, low] = time.to_be_bytes();
        element(&[SIMPLE_BLOCK], &[&[0x81, high, low, 0x80][..], &[payload; 90]].concat())
    }

    #[test]
    fn a_head_is_read_from_a_file_and_blocks_are_found_without_theirs() {
        let tracks = element(&TRACKS, &[7; 40]);
        let head = opened(&element(&EBML, &[5; 20]), 1_000_000, &tracks);
        let blocks: Vec<u8> = (0..9).flat_map(|n| block(n * 40, 3)).collect();
        let cluster = element(&CLUSTER, &[number(&[TIMESTAMP], 0), blocks].concat());
        let mut file = [head.clone(), cluster.clone(), cluster].concat();
        assert_eq!(head_of(&file).as_ref(), Some(&head));
        file[..head.len() + 60].fill(0);
        let place = first_block(&mut Source::new(Cursor::new(&file), file.len() as u64), file.len() as u64).unwrap();
        let first_whole = head.len() + 12 + 17 + block(0, 3).len();
        assert_eq!((place.at, place.opening.is_empty()), (first_whole as u64, false));
    }
}
