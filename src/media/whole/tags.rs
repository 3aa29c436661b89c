//! What the tags of an FLV file carry, by a walk of our own: libavformat passes over a tag whose type or codec was hit, and over
//! what is no tag.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use crate::media::flv::{BodyContent, FlvReader, FlvStep};
use crate::recording::TrackKind;

/// A codec of so few tags beside another of so many is one whose number was hit.
const MOST_OF_A_STRAY: u64 = 2;
const LEAST_OF_A_TRACK: u64 = 10;

/// Bytes in tags of sound and of pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TagBytes {
    /// Of frames of sound.
    pub sound_bytes: u64,
    /// Of pictures.
    pub picture_bytes: u64,
    /// In tags of which nothing can be read, and between tags.
    pub unknown_bytes: u64,
    /// In how many places.
    pub unknown_places: u64,
    /// Byte offset of the first place.
    pub unknown_from: Option<u64>,
}

impl TagBytes {
    fn add(&mut self, kind: TrackKind, bytes: u64) {
        *(if kind == TrackKind::Audio { &mut self.sound_bytes } else { &mut self.picture_bytes }) += bytes;
    }

    fn add_unknown(&mut self, from: u64, (places, bytes): (u64, u64)) {
        self.unknown_places += places;
        self.unknown_bytes += bytes;
        self.unknown_from = Some(self.unknown_from.map_or(from, |first| first.min(from)));
    }
}

/// The tags of one codec.
#[derive(Debug, Clone, Copy, Default)]
struct CodecTags {
    tags: u64,
    bytes: u64,
    from: u64,
}

/// Walks through all tags of a file of so many bytes. What the end cuts off is not counted.
pub fn walk(file: impl Read + Seek, size_bytes: u64) -> io::Result<TagBytes> {
    let (mut reader, mut carried) = (FlvReader::open(file, size_bytes)?, TagBytes::default());
    let (mut codecs, mut lost_from) = (BTreeMap::<(bool, &str), CodecTags>::new(), None);
    loop {
        crate::stop::check();
        let (tag, body) = match reader.step()? {
            FlvStep::Unit(tag, body) => (tag, body),
            FlvStep::Unread(tag) => {
                carried.add_unknown(tag.at, (1, tag.body_bytes));
                continue;
            }
            FlvStep::Nonsense => {
                let at = reader.position().saturating_sub(1);
                if lost_from.is_some() || !reader.pass_header(at)? {
                    lost_from.get_or_insert(at);
                }
                continue;
            }
            FlvStep::End => break,
        };
        if let Some(from) = lost_from.take() {
            carried.add_unknown(from, (1, tag.at.saturating_sub(from)));
        }
        let (end, bytes) = (tag.end(), body.content_bytes(&tag) as u64);
        if !reader.skip(&tag)? {
            lost_from = Some(tag.at);
        } else if body.content == BodyContent::Unknown {
            carried.add_unknown(tag.at, (1, tag.body_bytes));
        } else if body.content == BodyContent::Frame && end <= size_bytes {
            let codec = codecs
                .entry((body.kind == TrackKind::Audio, body.codec))
                .or_insert(CodecTags { from: tag.at, ..CodecTags::default() });
            (codec.tags, codec.bytes) = (codec.tags + 1, codec.bytes + bytes);
        }
    }
    for ((is_sound, _), codec) in &codecs {
        let is_kind = |((other, _), _): &(&(bool, &str), &CodecTags)| other == is_sound;
        let most = codecs.iter().filter(is_kind).map(|(_, codec)| codec.tags).max().unwrap_or(0);
        if codec.tags <= MOST_OF_A_STRAY && most >= LEAST_OF_A_TRACK {
            carried.add_unknown(codec.from, (codec.tags, codec.bytes));
        } else {
            carried.add(if *is_sound { TrackKind::Audio } else { TrackKind::Video }, codec.bytes);
        }
    }
    Ok(carried)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::media::flv::tag::tests::{file, tag};

    fn tags() -> Vec<Vec<u8>> {
        let pair = |n: u32| [tag(9, n * 40, b"\x27\x01\0\0\0picture"), tag(8, n * 40, b"\xAF\x01sound")];
        (0..20).flat_map(pair).collect()
    }

    fn walked(tags: &[Vec<u8>]) -> TagBytes {
        let bytes = file(tags);
        walk(Cursor::new(&bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn what_is_whole_is_all_sound_and_pictures() {
        assert_eq!(walked(&tags()), TagBytes { sound_bytes: 100, picture_bytes: 140, ..TagBytes::default() });
    }

    #[test]
    fn a_tag_that_was_hit_is_counted_by_itself() {
        // Another type, another codec, a length that lies; of a picture another kind of packet.
        for (hit, byte, bit) in [(11, 0, 1), (11, 11, 0x10), (11, 11, 0x80), (11, 3, 0x08), (10, 12, 0x10)] {
            let mut tags = tags();
            tags[hit][byte] ^= bit;
            let found = walked(&tags);
            assert!(found.unknown_places == 1 && found.unknown_bytes > 0, "{byte} {bit:#x}: {found:?}");
            let expected = if hit == 11 { (95, 140) } else { (100, 133) };
            assert_eq!((found.sound_bytes, found.picture_bytes), expected, "{byte} {bit:#x}");
        }
    }
}
