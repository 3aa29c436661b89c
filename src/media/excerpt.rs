//! A stretch of media given to decoders behind a header that is only in memory, to see whether the header fits it.
//!
//! A decoder with parameter sets of another picture size may go through a picture without an error: the entropy-coded data
//! of H.264 and H.265 reads as something whatever it is read as, and a flat picture hardly says anything. But then the
//! decoder stops in front of the end of the data, or reads beyond it. So the key picture that an excerpt begins with is
//! decoded twice more: with other bytes at its end, which must change the picture, and with more bytes behind it, which
//! must not.

use std::ops::Range;
use std::path::Path;

use ffmpeg_next::frame;

use super::ffi::decoder::{Decoder, Strictness};
use super::ffi::source::StreamFacts;
use super::ffi::{MediaSource, Packet, ReadOutcome};
use super::reading::PacketPass;
use super::{MediaError, PassControl};
use crate::recording::{Container, TrackKind};

/// Packets of sound at the beginning whose errors are not counted: MP3 refers to bytes of the packets before (ISO/IEC
/// 11172-3 §2.4.3.1), and transforms overlap.
const MOST_OVERLAPPING: u64 = 10;
/// Bytes at the end of a picture that are changed, if it is so long.
const CHANGED_BYTES: usize = 16;
/// Coded pictures that are shorter say too little at their end.
const LEAST_PICTURE_BYTES: usize = 24;
/// What is put behind a picture: nothing that escapes (H.264 §7.4.1.1).
const BEHIND: [u8; 32] = [0x5A; 32];

/// What decoders made of one track of an excerpt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExcerptResult {
    /// What it carries.
    pub kind: TrackKind,
    /// Packets that were decoded and whose errors count.
    pub packets: u64,
    /// Pictures or frames of sound that came out.
    pub shown: u64,
    /// Errors that the decoder reported; all packets, if there is no decoder. It goes on behind none in pictures.
    pub errors: u64,
    /// Whether the decoder comes to the end of its first packet exactly where the data ends; `None` where that says nothing.
    pub is_covered: Option<bool>,
}

/// Decodes the media that a header of ISO base media names in the first `len` bytes of a file, track by track.
pub fn decode_excerpt(path: &Path, header: Vec<u8>, len: u64) -> Result<Vec<ExcerptResult>, MediaError> {
    let mut source = MediaSource::open_headed(path, header, len)?;
    let facts = source.tracks();
    let mut tracks: Vec<ExcerptTrack> = facts.iter().map(|facts| ExcerptTrack::of(&source, facts)).collect();
    loop {
        let mut packet = Packet::empty();
        match source.next(&mut packet)? {
            ReadOutcome::End => break,
            ReadOutcome::Nonsense => return Ok(Vec::new()),
            ReadOutcome::Packet => {}
        }
        let Some(track) = tracks.get_mut(packet.stream()) else { continue };
        track.take(&packet);
        if track.kind == TrackKind::Video && track.errors() > 0 {
            break;
        }
    }
    Ok(tracks.into_iter().map(|track| track.finish(&source)).collect())
}

/// Decodes a file from its first key picture on, until so many pictures in a row came without an error; from the next key
/// picture on after each error, and so often. What the last of these made is said.
pub fn decode_from_keys(
    path: &Path,
    container: Container,
    (pictures, tries): (u64, u32),
) -> Result<Vec<ExcerptResult>, MediaError> {
    let mut pass = PacketPass::open(path, container, PassControl::default())?;
    let mut tracks: Vec<ExcerptTrack> = Vec::new();
    let (mut packet, mut tries) = (Packet::empty(), tries);
    while pass.next(&mut packet)? {
        let taken = std::mem::replace(&mut packet, Packet::empty());
        while let Some(facts) = pass.source.track(tracks.len()) {
            tracks.push(ExcerptTrack::of(&pass.source, &facts));
        }
        let has_pictures = tracks.iter().any(|track| track.kind == TrackKind::Video);
        let Some(track) = tracks.get_mut(taken.stream()) else { continue };
        let is_video = track.kind == TrackKind::Video;
        if is_video && track.packets == 0 && !taken.is_key() {
            continue;
        }
        track.take(&taken);
        if is_video && track.errors() > 0 && tries > 1 {
            tries -= 1;
            if let Some(facts) = pass.source.track(track.index) {
                *track = ExcerptTrack::of(&pass.source, &facts);
            }
        } else if track.packets >= pictures && (is_video || !has_pictures) {
            break;
        }
    }
    let source = pass.source;
    Ok(tracks.into_iter().map(|track| track.finish(&source)).collect())
}

struct ExcerptTrack {
    index: usize,
    kind: TrackKind,
    framing: Option<UnitFraming>,
    decoder: Option<Decoder>,
    packets: u64,
    /// Packets and errors that do not count.
    passed: (u64, u64),
    /// Its first packet, where the end of that says something.
    first: Option<Vec<u8>>,
}

impl ExcerptTrack {
    fn of(source: &MediaSource, facts: &StreamFacts) -> Self {
        Self {
            index: facts.index,
            kind: facts.kind,
            framing: UnitFraming::of(facts),
            decoder: Decoder::open(source, facts.index, (1, Strictness::Strict)),
            packets: 0,
            passed: (0, 0),
            first: None,
        }
    }

    fn take(&mut self, packet: &Packet) {
        if self.packets == 0 && self.framing.is_some() {
            self.first = packet.data().map(<[u8]>::to_vec);
        }
        self.packets += 1;
        let Some(decoder) = &mut self.decoder else { return };
        decoder.decode(packet, |_| ());
        if self.kind == TrackKind::Audio && self.packets <= MOST_OVERLAPPING {
            self.passed = (self.packets, decoder.errors());
        }
    }

    fn errors(&self) -> u64 {
        self.decoder.as_ref().map_or(self.packets, Decoder::errors)
    }

    fn finish(mut self, source: &MediaSource) -> ExcerptResult {
        let packets = self.packets - self.passed.0;
        let (errors, shown) = match &mut self.decoder {
            Some(decoder) => {
                decoder.finish(|_| ());
                (decoder.errors() - self.passed.1, decoder.shown())
            }
            None => (self.packets, 0),
        };
        let first = self.first.zip(self.framing).filter(|_| errors == 0 && shown > 0);
        let is_covered = first.and_then(|(data, framing)| covers(source, self.index, &data, framing));
        ExcerptResult { kind: self.kind, packets, shown, errors, is_covered }
    }
}

/// How units lie in a packet, where each stands behind its length (ISO/IEC 14496-15 §5.3.3, §8.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UnitFraming {
    length_bytes: usize,
    is_hevc: bool,
}

impl UnitFraming {
    fn of(facts: &StreamFacts) -> Option<Self> {
        let is_hevc = facts.codec == "hevc";
        let at = match facts.codec.as_str() {
            "h264" => 4,
            "hevc" => 21,
            _ => return None,
        };
        // Without a configuration record the packets hold start codes.
        let says = facts.extradata.first() == Some(&1);
        let length = facts.extradata.get(at).filter(|_| says)?;
        Some(Self { length_bytes: usize::from(length & 3) + 1, is_hevc })
    }

    /// Where the last coded slice of a packet stands, without its length field.
    fn last_slice(self, packet: &[u8]) -> Option<Range<usize>> {
        let (mut at, mut last) = (0, None);
        while let Some(length) = packet.get(at..at + self.length_bytes) {
            let length = length.iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
            let start = at + self.length_bytes;
            let unit = packet.get(start..start.checked_add(length)?)?;
            if unit.first().is_some_and(|header| self.is_slice(*header)) {
                last = Some(start..start + length);
            }
            at = start + length;
        }
        last
    }

    /// Slices and slice data partitions (H.264 Table 7-1), slice segments (H.265 Table 7-1).
    const fn is_slice(self, header: u8) -> bool {
        if self.is_hevc { header >> 1 & 0x3F < 32 } else { matches!(header & 0x1F, 1..=5) }
    }

    /// The packet with a slice of it that has another length.
    fn with_slice(self, packet: &[u8], slice: &Range<usize>, new: &[u8]) -> Option<Vec<u8>> {
        let length = u32::try_from(new.len()).ok()?.to_be_bytes();
        let (unused, length) = length.split_at(length.len() - self.length_bytes.min(4));
        let field = slice.start - self.length_bytes;
        let is_held = unused.iter().all(|byte| *byte == 0);
        is_held.then(|| [&packet[..field], length, new, &packet[slice.end..]].concat())
    }
}

/// Whether the end of a key picture's data is where its decoder comes to; `None` where that cannot be told.
fn covers(source: &MediaSource, track: usize, data: &[u8], framing: UnitFraming) -> Option<bool> {
    let slice = framing.last_slice(data)?;
    let coded = &data[slice.clone()];
    let end = coded_bytes(coded);
    (end >= LEAST_PICTURE_BYTES).then_some(())?;
    let mut other = coded.to_vec();
    // The last byte holds the stop bit; without it a unit has no end.
    let changed = end - 1 - CHANGED_BYTES.min(end / 4)..end - 1;
    other[changed].iter_mut().for_each(|byte| *byte ^= 0x55);
    let longer = [&coded[..end], &BEHIND].concat();
    let shown = |data: &[u8]| DecodedPictures::of(source, track, data);
    let whole = shown(data)?;
    let with = |new: &[u8]| framing.with_slice(data, &slice, new).and_then(|data| shown(&data));
    let (other, longer) = (with(&other)?, with(&longer)?);
    Some(longer.pictures == whole.pictures && other != whole)
}

/// Length of a unit without the zeros that may follow it (`cabac_zero_words`, H.264 §7.3.2.10; `trailing_zero_8bits`).
fn coded_bytes(unit: &[u8]) -> usize {
    let mut end = unit.len();
    loop {
        let rest = &unit[..end];
        end = match rest {
            [.., 0, 0, 3] => end - 3,
            [.., 0] => end - 1,
            _ => return end,
        };
    }
}

/// What comes out of one packet.
#[derive(Debug, PartialEq, Eq)]
struct DecodedPictures {
    pictures: blake3::Hash,
    errors: u64,
}

impl DecodedPictures {
    fn of(source: &MediaSource, track: usize, data: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::open(source, track, (1, Strictness::Strict))?;
        let mut pictures = blake3::Hasher::new();
        decoder.decode(&Packet::copy(data), |picture| hash(picture, &mut pictures));
        decoder.finish(|picture| hash(picture, &mut pictures));
        Some(Self { pictures: pictures.finalize(), errors: decoder.errors() })
    }
}

/// Hashes what is seen of a picture; what lies between its rows is nobody's.
fn hash(picture: &frame::Video, into: &mut blake3::Hasher) {
    let name = picture.format().descriptor().map_or("", |format| format.name());
    let sample_bytes = if name.ends_with("le") || name.ends_with("be") { 2 } else { 1 };
    for plane in 0..picture.planes() {
        let (rows, stride) = (picture.data(plane), picture.stride(plane));
        let width = (picture.plane_width(plane) as usize * sample_bytes).min(stride);
        for row in rows.chunks_exact(stride.max(1)) {
            into.update(&row[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slice_of_a_packet_is_found_and_replaced() {
        let framing = UnitFraming { length_bytes: 4, is_hevc: false };
        let packet = [&[0, 0, 0, 2, 9, 0xF0, 0, 0, 0, 3, 0x65, 1, 2][..], &[0, 0, 0, 1, 0x0C]].concat();
        let slice = framing.last_slice(&packet).unwrap();
        assert_eq!(packet[slice.clone()], [0x65, 1, 2]);
        let new = framing.with_slice(&packet, &slice, &[0x65, 1, 2, 7, 7]).unwrap();
        assert_eq!(new, [&[0, 0, 0, 2, 9, 0xF0, 0, 0, 0, 5, 0x65, 1, 2, 7, 7][..], &[0, 0, 0, 1, 0x0C]].concat());
        assert_eq!(framing.last_slice(&packet[..9]), None, "cut");
        let short = UnitFraming { length_bytes: 1, is_hevc: true };
        assert_eq!(short.last_slice(&[2, 0x26, 1, 2, 0x40, 1]), Some(1..3), "a parameter set follows");
        assert_eq!(short.with_slice(&[2, 0x26, 1], &(1..3), &[1; 256]), None, "its length field does not hold it");
    }

    #[test]
    fn zeros_behind_a_picture_are_none_of_it() {
        assert_eq!(coded_bytes(&[1, 2, 0x80, 0, 0, 3, 0, 0, 3]), 3);
        assert_eq!(coded_bytes(&[1, 2, 0x80, 0, 0]), 3);
        assert_eq!(coded_bytes(&[1, 0, 0, 3, 0x80]), 5);
        assert_eq!(coded_bytes(&[0, 0]), 0);
    }
}
