//! Every packet of a sound FLV file: where it lies and when it is due. Their content is not read.
//!
//! Sound means: tag follows tag from the header to the end, behind each stands its length (annex E.3), and every packet
//! is of a codec that is known here. Anything else ends the walk: such a file is for a reader that forgives.

use std::io::{self, Read, Seek, SeekFrom};

use super::body::{BodyContent, FlvBody, HEAD_BYTES};
use super::tag::{AUDIO, FlvTag, SCRIPT, TAG_HEADER_BYTES, TRAILER_BYTES, VIDEO, first_tag, read_up_to};
use crate::recording::TrackKind;

/// No configuration of a codec is longer.
const MOST_CONFIGURATION_BYTES: usize = 64 << 10;
/// The name of the only script data that is no track (annex E.5).
const METADATA: &[u8; 10] = b"onMetaData";
/// Type, length and name of a script's first value (annex E.4.4.1).
const SCRIPT_HEAD_BYTES: usize = 13;
/// As much of metadata is looked at: an index of the keyframes of a day may stand in it.
const MOST_METADATA_BYTES: u64 = 1 << 20;

/// What lies in one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlvUnit<'a> {
    /// What `onMetaData` says, behind its name, as far as it is looked at.
    Metadata(&'a [u8]),
    /// The configuration of a codec: avcC, hvcC, `AudioSpecificConfig`.
    Configuration {
        /// What it configures.
        kind: TrackKind,
        /// FFmpeg's name of the codec.
        codec: &'static str,
        /// Number of the track among those of its kind.
        track: u8,
        /// The configuration itself.
        bytes: &'a [u8],
    },
    /// One access unit or sound frame.
    Packet(FlvPacket),
}

/// An access unit or a sound frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlvPacket {
    /// What it carries.
    pub kind: TrackKind,
    /// FFmpeg's name of the codec.
    pub codec: &'static str,
    /// Number of the track among those of its kind.
    pub track: u8,
    /// Whether decoding can begin here.
    pub is_key: bool,
    /// Decoding time, milliseconds.
    pub dts_ms: i64,
    /// Presentation time minus decoding time, milliseconds.
    pub composition_ms: i64,
    /// Byte offset of its content in the file.
    pub offset: u64,
    /// Bytes of its content.
    pub size_bytes: u32,
}

/// What a taker says to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkControl {
    /// Go on.
    Next,
    /// It has seen enough.
    Enough,
    /// It cannot take that.
    Refused,
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlvWalk {
    /// The file is sound as far as it was looked at, and everything was taken.
    Sound,
    /// Something was refused.
    Refused,
    /// From this byte on tags do not follow one another, or the last one is not whole.
    Unsound(u64),
}

/// Hands every unit of an FLV file of `len` bytes to `take`, in file order.
///
/// A few bytes are read of each tag, so the reader should keep what lies around them.
pub fn walk_flv<R: Read + Seek>(
    mut file: R,
    len: u64,
    take: impl FnMut(FlvUnit<'_>) -> WalkControl,
) -> io::Result<FlvWalk> {
    let next = first_tag(&mut file)?;
    FlvWalker { file, len, next, take, has_metadata: false }.run()
}

/// From which byte on tags do not follow one another in an FLV file of `len` bytes, whatever is in them; `None` for a sound one.
pub fn flv_unsound_at<R: Read + Seek>(mut file: R, len: u64) -> io::Result<Option<u64>> {
    let mut next = first_tag(&mut file)?;
    file.seek(SeekFrom::Start(next))?;
    while let Some(header) = read_up_to(&mut file)? {
        crate::stop::check();
        let tag = FlvTag::parse(header, next);
        if !tag.is_plausible() || tag.end() > len || !is_closed(&mut file, len, &tag)? {
            return Ok(Some(tag.at));
        }
        next = tag.end() + TRAILER_BYTES;
    }
    Ok((next < len).then_some(next))
}

/// Whether an FLV file may begin with these bytes (annex E.2): version 1, the reserved flags clear, a header of nine bytes.
pub fn is_flv_head(bytes: &[u8]) -> bool {
    matches!(bytes, [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0, ..] if flags & 0xFA == 0)
}

/// Whether script data says something of the whole file, and is no track (annex E.5).
pub(in crate::media) fn is_metadata(script: &[u8]) -> bool {
    script.get(3..SCRIPT_HEAD_BYTES) == Some(METADATA)
}

/// Goes behind a tag of a file of `len` bytes; false if its length does not stand there, and it is not the end.
fn is_closed(file: &mut (impl Read + Seek), len: u64, tag: &FlvTag) -> io::Result<bool> {
    file.seek(SeekFrom::Start(tag.end()))?;
    let trailer = read_up_to(file)?.map(u32::from_be_bytes);
    Ok(trailer.map_or(tag.end() == len, |length| u64::from(length) == tag.body_bytes + TAG_HEADER_BYTES))
}

struct FlvWalker<R, T> {
    file: R,
    len: u64,
    next: u64,
    take: T,
    has_metadata: bool,
}

impl<R: Read + Seek, T: FnMut(FlvUnit<'_>) -> WalkControl> FlvWalker<R, T> {
    fn run(&mut self) -> io::Result<FlvWalk> {
        self.file.seek(SeekFrom::Start(self.next))?;
        while let Some(header) = read_up_to(&mut self.file)? {
            crate::stop::check();
            let tag = FlvTag::parse(header, self.next);
            if !tag.is_plausible() || tag.end() > self.len {
                return Ok(FlvWalk::Unsound(tag.at));
            }
            let taken = if tag.time_ms > i64::from(i32::MAX) { WalkControl::Refused } else { self.unit(&tag)? };
            match taken {
                WalkControl::Next => {}
                WalkControl::Enough => return Ok(FlvWalk::Sound),
                WalkControl::Refused => return Ok(FlvWalk::Refused),
            }
            if !is_closed(&mut self.file, self.len, &tag)? {
                return Ok(FlvWalk::Unsound(tag.at));
            }
            self.next = tag.end() + TRAILER_BYTES;
        }
        // Nothing is left but the length behind a last tag, if that.
        Ok(if self.next >= self.len { FlvWalk::Sound } else { FlvWalk::Unsound(self.next) })
    }

    /// Hands on what lies in a tag; the file stands at its body.
    fn unit(&mut self, tag: &FlvTag) -> io::Result<WalkControl> {
        match tag.kind {
            SCRIPT => self.script(tag),
            AUDIO | VIDEO if tag.body_bytes > 0 => self.media(tag),
            _ => Ok(WalkControl::Next),
        }
    }

    /// Metadata of the whole file is what comes first; what comes again is passed over. libavformat makes tracks of all other
    /// script data.
    fn script(&mut self, tag: &FlvTag) -> io::Result<WalkControl> {
        let mut head = [0; SCRIPT_HEAD_BYTES];
        let length = usize::try_from(tag.body_bytes).unwrap_or(usize::MAX).min(SCRIPT_HEAD_BYTES);
        self.file.read_exact(&mut head[..length])?;
        let is_first = !std::mem::replace(&mut self.has_metadata, true);
        if !is_metadata(&head) {
            return Ok(WalkControl::Refused);
        }
        if !is_first {
            return Ok(WalkControl::Next);
        }
        let mut values = Vec::new();
        let rest = (tag.body_bytes - SCRIPT_HEAD_BYTES as u64).min(MOST_METADATA_BYTES);
        self.file.by_ref().take(rest).read_to_end(&mut values)?;
        Ok((self.take)(FlvUnit::Metadata(&values)))
    }

    fn media(&mut self, tag: &FlvTag) -> io::Result<WalkControl> {
        let mut head = [0; HEAD_BYTES];
        let body_bytes = usize::try_from(tag.body_bytes).unwrap_or(usize::MAX);
        let length = body_bytes.min(HEAD_BYTES);
        self.file.read_exact(&mut head[..length])?;
        let Some(body) = FlvBody::parse(tag.kind, &head[..length]) else { return Ok(WalkControl::Refused) };
        let content_bytes = body_bytes.checked_sub(body.head_bytes);
        match (body.content, content_bytes) {
            (BodyContent::Nothing, _) | (BodyContent::Frame, Some(0)) => Ok(WalkControl::Next),
            (BodyContent::Unknown, _) | (_, None) => Ok(WalkControl::Refused),
            (BodyContent::Configuration, Some(bytes)) => self.configuration(tag, &body, bytes),
            (BodyContent::Frame, Some(bytes)) => Ok((self.take)(FlvUnit::Packet(FlvPacket {
                kind: body.kind,
                codec: body.codec,
                track: body.track,
                is_key: body.is_key,
                dts_ms: tag.time_ms,
                composition_ms: body.composition_ms,
                offset: tag.at + TAG_HEADER_BYTES + body.head_bytes as u64,
                size_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            }))),
        }
    }

    fn configuration(&mut self, tag: &FlvTag, body: &FlvBody, content_bytes: usize) -> io::Result<WalkControl> {
        if content_bytes > MOST_CONFIGURATION_BYTES {
            return Ok(WalkControl::Refused);
        }
        let mut bytes = vec![0; content_bytes];
        self.file.seek(SeekFrom::Start(tag.at + TAG_HEADER_BYTES + body.head_bytes as u64))?;
        self.file.read_exact(&mut bytes)?;
        Ok((self.take)(FlvUnit::Configuration { kind: body.kind, codec: body.codec, track: body.track, bytes: &bytes }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::media::flv::tag::tests::{file, tag};

    fn sound_file() -> Vec<u8> {
        file(&[
            tag(18, 0, b"\x02\0\x0AonMetaDatavalues"),
            tag(9, 0, b"\x17\0\0\0\0config"),
            tag(8, 0, b"\xAF\0\x12\x10"),
            tag(9, 40, b"\x17\x01\0\0\x28picture"),
            tag(8, 50, b"\xAF\x01xyz"),
            tag(9, 80, b"\x17\x02\0\0\0"),
        ])
    }

    /// The packets of a file, as their places, sizes and times; none if it is not sound.
    fn packets(bytes: &[u8]) -> Option<Vec<(u64, u32, i64, i64)>> {
        let mut found = Vec::new();
        let take = |unit: FlvUnit<'_>| {
            if let FlvUnit::Packet(p) = unit {
                found.push((p.offset, p.size_bytes, p.dts_ms, p.composition_ms));
            }
            WalkControl::Next
        };
        (walk_flv(Cursor::new(bytes), bytes.len() as u64, take).unwrap() == FlvWalk::Sound).then_some(found)
    }

    #[test]
    fn packets_are_named_with_the_place_of_their_content() {
        let bytes = sound_file();
        let found = packets(&bytes).unwrap();
        let content = |(offset, size, ..): (u64, u32, i64, i64)| {
            let offset = usize::try_from(offset).unwrap();
            &bytes[offset..offset + size as usize]
        };
        assert_eq!(found.iter().map(|p| content(*p)).collect::<Vec<_>>(), [&b"picture"[..], b"xyz"]);
        assert_eq!(found.iter().map(|p| (p.2, p.3)).collect::<Vec<_>>(), [(40, 40), (50, 0)]);
    }

    #[test]
    fn metadata_comes_as_far_as_it_is_looked_at() {
        let most = usize::try_from(MOST_METADATA_BYTES).unwrap();
        for length in [0, 6, most, most + 1] {
            let script = [&b"\x02\0\x0AonMetaData"[..], &vec![7; length]].concat();
            let bytes = file(&[tag(18, 0, &script), tag(8, 50, b"\xAF\x01xyz")]);
            let mut found = Vec::new();
            let take = |unit: FlvUnit<'_>| {
                found.push(if let FlvUnit::Metadata(values) = unit { Some(values.len()) } else { None });
                WalkControl::Next
            };
            assert_eq!(walk_flv(Cursor::new(&bytes), bytes.len() as u64, take).unwrap(), FlvWalk::Sound);
            assert_eq!(found, [Some(length.min(most)), None]);
        }
    }

    #[test]
    fn configurations_come_whole() {
        let mut found = Vec::new();
        let take = |unit: FlvUnit<'_>| {
            if let FlvUnit::Configuration { codec, bytes, .. } = unit {
                found.push((codec, bytes.to_vec()));
            }
            if found.len() == 2 { WalkControl::Enough } else { WalkControl::Next }
        };
        let bytes = sound_file();
        assert_eq!(walk_flv(Cursor::new(&bytes), bytes.len() as u64, take).unwrap(), FlvWalk::Sound);
        assert_eq!(found, [("h264", b"config".to_vec()), ("aac", b"\x12\x10".to_vec())]);
    }

    #[test]
    fn a_cut_is_sound_only_at_the_end_of_a_tag() {
        let bytes = sound_file();
        let mut at = 13;
        let mut ends = vec![at];
        while at < bytes.len() {
            let body = usize::from(bytes[at + 3]);
            ends.extend([at + 11 + body, at + 15 + body]);
            at += 15 + body;
        }
        for length in 13..=bytes.len() {
            assert_eq!(packets(&bytes[..length]).is_some(), ends.contains(&length), "cut at {length}");
        }
    }

    #[test]
    fn a_wrong_length_an_unknown_tag_and_captions_end_the_walk() {
        let bytes = sound_file();
        for at in [13, bytes.len() - 1] {
            let mut hit = bytes.clone();
            hit[at] ^= 4;
            assert_eq!(packets(&hit), None, "byte {at}");
        }
        for script in [&b"\x02\0\x0AonTextData"[..], b"\x02\0\x04onFI"] {
            let again = file(&[tag(18, 0, b"\x02\0\x0AonMetaData"), tag(18, 40, script)]);
            assert_eq!(packets(&again), None, "{}", script.escape_ascii());
        }
        let metadata = tag(18, 0, b"\x02\0\x0AonMetaData");
        assert!(packets(&file(&[metadata.clone(), metadata])).is_some(), "metadata that comes again is no track");
        assert_eq!(packets(&[bytes, vec![0; 64]].concat()), None);
    }
}
