//! What the first bytes of a tag's body say: codec, frame or configuration, keyframe, composition time.
//!
//! Annex E.4.2 and E.4.3, the codec ids 12 and 13 of the CDNs' extension, and enhanced RTMP (Veovera, v1 and v2:
//! `ExVideoTagHeader`, `ExAudioTagHeader`). Of `Multitrack` packets those of one track are read; several tracks in one tag
//! are named and not read.

use super::tag::{AUDIO, FlvTag, VIDEO};
use crate::recording::TrackKind;

/// What follows the head of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum BodyContent {
    /// The codec's configuration (avcC, hvcC, av1C, `AudioSpecificConfig`, `OpusHead` …).
    Configuration,
    /// One access unit.
    Frame,
    /// Nothing for a decoder: a command, an end of sequence, colour metadata.
    Nothing,
    /// Something that no version of the format speaks of, or that is not read here.
    Unknown,
}

/// The head of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct FlvBody {
    pub(in crate::media) kind: TrackKind,
    /// FFmpeg's name; `none` where nobody knows it.
    pub(in crate::media) codec: &'static str,
    /// Number of the track among those of its kind; 0 is the one of tags that name none.
    pub(in crate::media) track: u8,
    pub(in crate::media) content: BodyContent,
    pub(in crate::media) is_key: bool,
    /// Presentation time minus decoding time, milliseconds.
    pub(in crate::media) composition_ms: i64,
    /// Where the content begins in the body.
    pub(in crate::media) head_bytes: usize,
    /// Whether libavformat (5.1) reads this out of FLV.
    pub(in crate::media) is_foreign: bool,
}

/// As many bytes as any head has, modifiers of enhanced RTMP included.
pub(in crate::media) const HEAD_BYTES: usize = 32;

/// An end of sequence has no content; what is longer is something else whose head was hit.
const MOST_END_BYTES: usize = 16;
const KEY: u8 = 1;
const GENERATED_KEY: u8 = 4;
const COMMAND: u8 = 5;
const EX_AUDIO: u8 = 9;
const MOD_EX: u8 = 7;
const MULTITRACK_VIDEO: u8 = 6;
const MULTITRACK_AUDIO: u8 = 5;
/// `AvMultitrackType` of a tag with one track in it.
const ONE_TRACK: u8 = 0;

impl FlvBody {
    /// Bytes of content that follow in its tag.
    pub(in crate::media) fn content_bytes(&self, tag: &FlvTag) -> usize {
        usize::try_from(tag.body_bytes).unwrap_or(usize::MAX).saturating_sub(self.head_bytes)
    }

    /// Reads the head of a sound or picture tag's body; none where it is neither or too short.
    pub(in crate::media) fn parse(tag_kind: u8, body: &[u8]) -> Option<Self> {
        let head = *body.first()?;
        match tag_kind {
            VIDEO if head & 0x80 != 0 => enhanced_video(head, body),
            VIDEO => video(head, body),
            AUDIO if head >> 4 == EX_AUDIO => enhanced_audio(head, body),
            AUDIO => audio(head, body),
            _ => None,
        }
    }
}

fn video(head: u8, body: &[u8]) -> Option<FlvBody> {
    let frame_type = head >> 4;
    let plain = |codec| FlvBody { is_key: frame_type == KEY, ..frame(TrackKind::Video, codec, 1) };
    let (codec, is_foreign) = match head & 0x0F {
        7 => ("h264", false),
        12 => ("hevc", true),
        13 => ("av1", true),
        _ => return Some(plain("none")),
    };
    let content = match body.get(1)? {
        _ if frame_type == COMMAND => BodyContent::Nothing,
        0 => BodyContent::Configuration,
        1 => BodyContent::Frame,
        2 if body.len() <= MOST_END_BYTES => BodyContent::Nothing,
        _ => BodyContent::Unknown,
    };
    let composition_ms = signed_24(body.get(2..5)?)?;
    Some(FlvBody {
        content,
        composition_ms,
        is_foreign,
        is_key: matches!(frame_type, KEY | GENERATED_KEY),
        ..frame(TrackKind::Video, codec, 5)
    })
}

fn enhanced_video(head: u8, body: &[u8]) -> Option<FlvBody> {
    let frame_type = head >> 4 & 7;
    let (packet_type, at) = skip_modifiers(head & 0x0F, body)?;
    let EnhancedHeader { packet_type, code, track, at } = packet(packet_type, MULTITRACK_VIDEO, at, body)?;
    let codec = match code {
        b"avc1" => "h264",
        b"hvc1" => "hevc",
        b"av01" => "av1",
        b"vp09" => "vp9",
        b"vp08" => "vp8",
        _ => "none",
    };
    let has_composition = packet_type == 1 && matches!(codec, "h264" | "hevc");
    let composition_ms = if has_composition { signed_24(body.get(at..at + 3)?)? } else { 0 };
    let content = match packet_type {
        _ if frame_type == COMMAND => BodyContent::Nothing,
        0 => BodyContent::Configuration,
        1 | 3 | MULTITRACK_VIDEO => BodyContent::Frame,
        4 => BodyContent::Nothing,
        2 if body.len() <= MOST_END_BYTES => BodyContent::Nothing,
        _ => BodyContent::Unknown,
    };
    Some(FlvBody {
        content,
        composition_ms,
        track,
        is_foreign: true,
        is_key: matches!(frame_type, KEY | GENERATED_KEY),
        ..frame(TrackKind::Video, codec, at + if has_composition { 3 } else { 0 })
    })
}

fn audio(head: u8, body: &[u8]) -> Option<FlvBody> {
    Some(match head >> 4 {
        10 => {
            let content = if *body.get(1)? == 0 { BodyContent::Configuration } else { BodyContent::Frame };
            FlvBody { content, ..frame(TrackKind::Audio, "aac", 2) }
        }
        2 | 14 => frame(TrackKind::Audio, "mp3", 1),
        _ => frame(TrackKind::Audio, "none", 1),
    })
}

fn enhanced_audio(head: u8, body: &[u8]) -> Option<FlvBody> {
    let (packet_type, at) = skip_modifiers(head & 0x0F, body)?;
    let EnhancedHeader { packet_type, code, track, at } = packet(packet_type, MULTITRACK_AUDIO, at, body)?;
    let codec = match code {
        b"mp4a" => "aac",
        b".mp3" => "mp3",
        b"Opus" => "opus",
        b"fLaC" => "flac",
        b"ac-3" => "ac3",
        b"ec-3" => "eac3",
        _ => "none",
    };
    let content = match packet_type {
        0 => BodyContent::Configuration,
        1 | MULTITRACK_AUDIO => BodyContent::Frame,
        4 => BodyContent::Nothing,
        2 if body.len() <= MOST_END_BYTES => BodyContent::Nothing,
        _ => BodyContent::Unknown,
    };
    Some(FlvBody { content, track, is_foreign: true, ..frame(TrackKind::Audio, codec, at) })
}

/// What enhanced RTMP says in front of every content.
struct EnhancedHeader<'a> {
    packet_type: u8,
    code: &'a [u8; 4],
    track: u8,
    /// Where what belongs to the packet type begins.
    at: usize,
}

/// Reads the code of the codec, and of a `Multitrack` packet what it says of its track. Several tracks in one tag keep the
/// packet type `multitrack` and have no code.
fn packet(packet_type: u8, multitrack: u8, at: usize, body: &[u8]) -> Option<EnhancedHeader<'_>> {
    if packet_type != multitrack {
        return Some(EnhancedHeader { packet_type, code: body.get(at..)?.first_chunk()?, track: 0, at: at + 4 });
    }
    let types = *body.get(at)?;
    if types >> 4 != ONE_TRACK {
        return Some(EnhancedHeader { packet_type, code: &[0; 4], track: 0, at: at + 1 });
    }
    let code = body.get(at + 1..)?.first_chunk()?;
    Some(EnhancedHeader { packet_type: types & 0x0F, code, track: *body.get(at + 5)?, at: at + 6 })
}

/// Steps over `ModEx` packets (enhanced RTMP v2): the packet type behind them and where it ends.
fn skip_modifiers(mut packet_type: u8, body: &[u8]) -> Option<(u8, usize)> {
    let mut at = 1;
    while packet_type == MOD_EX {
        let mut length = usize::from(*body.get(at)?) + 1;
        at += 1;
        if length == 256 {
            length = usize::from(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?)) + 1;
            at += 2;
        }
        packet_type = body.get(at + length)? & 0x0F;
        at += length + 1;
    }
    Some((packet_type, at))
}

fn frame(kind: TrackKind, codec: &'static str, head_bytes: usize) -> FlvBody {
    let is_key = kind == TrackKind::Audio;
    FlvBody {
        kind,
        codec,
        track: 0,
        content: BodyContent::Frame,
        is_key,
        composition_ms: 0,
        head_bytes,
        is_foreign: false,
    }
}

fn signed_24(bytes: &[u8]) -> Option<i64> {
    let [high, middle, low] = *bytes else { return None };
    Some(i64::from(i32::from_be_bytes([high, middle, low, 0]) >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(body: &[u8]) -> FlvBody {
        FlvBody::parse(VIDEO, body).unwrap()
    }

    #[test]
    fn all_three_ways_to_say_h265_are_understood() {
        let legacy = video(b"\x1C\x01\xFF\xFF\xD8rest");
        assert_eq!((legacy.codec, legacy.is_key, legacy.composition_ms, legacy.head_bytes), ("hevc", true, -40, 5));
        let coded = video(b"\xA1hvc1\0\0\x28rest");
        assert_eq!((coded.codec, coded.is_key, coded.composition_ms, coded.head_bytes), ("hevc", false, 40, 8));
        let coded_x = video(b"\x93hvc1rest");
        assert_eq!((coded_x.codec, coded_x.is_key, coded_x.composition_ms, coded_x.head_bytes), ("hevc", true, 0, 5));
        assert!([legacy, coded, coded_x].iter().all(|b| b.is_foreign && b.content == BodyContent::Frame));
        assert_eq!(video(b"\x90hvc1\x01").content, BodyContent::Configuration);
        assert_eq!(video(b"\x1C\0\0\0\0\x01").content, BodyContent::Configuration);
    }

    #[test]
    fn av1_and_vp9_have_no_composition_time() {
        assert_eq!(video(b"\x91av01rest").head_bytes, 5);
        assert_eq!(video(b"\x91vp09rest").codec, "vp9");
        assert_eq!(video(b"\x1D\x01\0\0\0").codec, "av1");
    }

    #[test]
    fn ends_commands_and_colours_are_no_frames() {
        for body in [&b"\x92hvc1"[..], b"\x94hvc1\x02", b"\xD1hvc1\0\0\0\0", b"\x1C\x02\0\0\0", b"\x57\x01\0\0\0"] {
            assert_eq!(video(body).content, BodyContent::Nothing, "{body:?}");
        }
    }

    #[test]
    fn modifiers_are_stepped_over() {
        let body = video(b"\x97\x02\0\0\0\x01hvc1\0\0\x28rest");
        assert_eq!((body.codec, body.composition_ms, body.head_bytes), ("hevc", 40, 13));
    }

    #[test]
    fn what_libavformat_reads_is_not_foreign() {
        assert!(!video(b"\x17\0\0\0\0\x01").is_foreign);
        assert!(!video(b"\x12x").is_foreign);
        assert!(!FlvBody::parse(AUDIO, b"\xAF\x01").unwrap().is_foreign);
        assert!(FlvBody::parse(AUDIO, b"\x91Opus").unwrap().is_foreign);
    }

    #[test]
    fn more_tracks_in_one_tag_and_unknown_codes_have_no_codec() {
        for many in [b"\x96\x11hvc1\0", b"\x96\x21\0hvc1"] {
            assert_eq!((video(many).codec, video(many).content), ("none", BodyContent::Frame));
        }
        assert_eq!(video(b"\x91nope").codec, "none");
        assert_eq!(FlvBody::parse(AUDIO, b"\x95\x11mp4a\x01").unwrap().codec, "none");
    }

    #[test]
    fn a_tag_of_one_track_names_it() {
        let sound = |body: &[u8]| {
            let body = FlvBody::parse(AUDIO, body).unwrap();
            (body.codec, body.track, body.content, body.head_bytes)
        };
        assert_eq!(sound(b"\x95\x00mp4a\x01\x12\x10"), ("aac", 1, BodyContent::Configuration, 7));
        assert_eq!(sound(b"\x95\x01Opus\x02rest"), ("opus", 2, BodyContent::Frame, 7));
        assert_eq!(sound(b"\x91Opusrest"), ("opus", 0, BodyContent::Frame, 5));
        let coded = video(b"\xA6\x01hvc1\x03\0\0\x28rest");
        assert_eq!((coded.codec, coded.track, coded.composition_ms, coded.head_bytes), ("hevc", 3, 40, 10));
        let coded_x = video(b"\x96\x03av01\x01rest");
        assert_eq!((coded_x.codec, coded_x.track, coded_x.is_key, coded_x.head_bytes), ("av1", 1, true, 7));
        assert!((0..7).all(|length| FlvBody::parse(AUDIO, &b"\x95\x01mp4a\x01"[..length]).is_none()));
    }

    #[test]
    fn short_bodies_never_panic() {
        for kind in [AUDIO, VIDEO, 18] {
            for first in 0..=255 {
                for length in 0..9 {
                    let _ = FlvBody::parse(kind, &[&[first], &[0xFF; 8][..length]].concat());
                }
            }
        }
        assert_eq!(FlvBody::parse(VIDEO, b""), None);
    }
}
