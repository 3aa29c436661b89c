//! Containers that recordings come in and go out as.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most recordings that are read behind one another in one file.
pub const MOST_IN_A_FILE: usize = 4096;

/// A media container (ISO base media, EBML, …), told from the bytes and never from the name alone.
///
/// Those from [`Ogg`](Self::Ogg) on are kept as they are: nothing is written into them, and they become nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// ISO base media with an MP4 brand (ISO/IEC 14496-14).
    Mp4,
    /// ISO base media with the `qt  ` brand.
    Mov,
    /// The WebM subset of Matroska.
    Webm,
    /// Matroska (RFC 9559).
    Matroska,
    /// Flash Video.
    Flv,
    /// MPEG-2 transport stream (ISO/IEC 13818-1), also of the 192-byte packets of `.m2ts`.
    MpegTs,
    /// Ogg (RFC 3533).
    Ogg,
    /// RIFF WAVE.
    Wav,
    /// RIFF AVI.
    Avi,
    /// IVF: VP8, VP9 or AV1 frames.
    Ivf,
    /// MPEG audio layer III without a container (ISO/IEC 11172-3).
    Mp3,
    /// AAC in ADTS frames without a container (ISO/IEC 13818-7 §6.2).
    Aac,
}

impl Container {
    /// File name extension of a finished file, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Webm => "webm",
            Self::Matroska => "mkv",
            Self::Flv => "flv",
            Self::MpegTs => "ts",
            Self::Ogg => "ogg",
            Self::Wav => "wav",
            Self::Avi => "avi",
            Self::Ivf => "ivf",
            Self::Mp3 => "mp3",
            Self::Aac => "aac",
        }
    }

    /// Internet media type, as sent to object stores.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::Webm => "video/webm",
            Self::Matroska => "video/x-matroska",
            Self::Flv => "video/x-flv",
            Self::MpegTs => "video/mp2t",
            Self::Ogg => "audio/ogg",
            Self::Wav => "audio/wav",
            Self::Avi => "video/x-msvideo",
            Self::Ivf => "video/x-ivf",
            Self::Mp3 => "audio/mpeg",
            Self::Aac => "audio/aac",
        }
    }

    /// The container that a file name extension (any case, no dot) stands for, if it is one of ours.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" | "m4a" => Self::Mp4,
            "mov" | "qt" => Self::Mov,
            "webm" => Self::Webm,
            "mkv" | "mka" => Self::Matroska,
            "flv" => Self::Flv,
            "ts" | "mts" | "m2ts" => Self::MpegTs,
            "ogg" | "oga" | "opus" | "ogv" => Self::Ogg,
            "wav" => Self::Wav,
            "avi" => Self::Avi,
            "ivf" => Self::Ivf,
            "mp3" => Self::Mp3,
            "aac" => Self::Aac,
            _ => return None,
        })
    }

    /// Tells the container from a file's name, which may bear a temporary extension behind its own.
    pub fn from_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy();
        name.split('.').skip(1).filter_map(Self::from_extension).last()
    }

    /// Recognises a container from the first bytes of a file (give at least 566 for MPEG-TS; fewer is safe).
    pub fn sniff(head: &[u8]) -> Option<Self> {
        match head {
            [b'F', b'L', b'V', 1, ..] => Some(Self::Flv),
            [0x1A, 0x45, 0xDF, 0xA3, ..] => Some(ebml_doctype(head)),
            [b'O', b'g', b'g', b'S', 0, ..] => Some(Self::Ogg),
            // RF64 (EBU Tech 3306) and BW64 (ITU-R BS.2088) have 64-bit lengths.
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
            | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..]
            | [b'B', b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Some(Self::Avi),
            [b'D', b'K', b'I', b'F', ..] => Some(Self::Ivf),
            [_, _, _, _, fourcc @ .., _] if fourcc.len() >= 4 && is_first_box(&head[4..8]) => Some(iso_brand(head)),
            _ if is_transport_stream(head) => Some(Self::MpegTs),
            _ => None,
        }
    }

    /// The same for a file: sound without a container has no mark of its own, so its name must say so, too.
    pub fn sniff_named(head: &[u8], path: &Path) -> Option<Self> {
        let by_name = || Self::from_name(path).filter(|container| container.begins_frames(head));
        Self::sniff(head).or_else(by_name)
    }

    /// Whether the bytes begin with a frame of sound, or with the `ID3v2` tag that may stand in front of the first.
    fn begins_frames(self, head: &[u8]) -> bool {
        let has_layer = |first: &u8, second: &u8| *first == 0xFF && second & 0xE0 == 0xE0 && second & 6 != 0;
        match (self, head) {
            (Self::Mp3 | Self::Aac, [b'I', b'D', b'3', ..]) => true,
            (Self::Mp3, [first, second, ..]) => has_layer(first, second),
            (Self::Aac, [0xFF, second, ..]) => second & 0xF6 == 0xF0,
            _ => false,
        }
    }

    /// Whether a file of it stays as it is: nothing is written into it, and it becomes nothing else.
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::Ogg | Self::Wav | Self::Avi | Self::Ivf | Self::Mp3 | Self::Aac)
    }

    /// Whether a file of it may stand alone and be a segment of a playlist as well.
    pub const fn may_be_segment(self) -> bool {
        matches!(self, Self::MpegTs | Self::Mp3 | Self::Aac)
    }

    /// Whether the bytes are ISO base media (MP4 or QuickTime).
    pub const fn is_iso(self) -> bool {
        matches!(self, Self::Mp4 | Self::Mov)
    }
}

fn is_first_box(fourcc: &[u8]) -> bool {
    matches!(fourcc, b"ftyp" | b"styp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide" | b"moof" | b"pnot" | b"sidx")
}

fn iso_brand(head: &[u8]) -> Container {
    let is_quicktime = head.get(4..8) == Some(b"ftyp") && head.get(8..12) == Some(b"qt  ");
    if is_quicktime { Container::Mov } else { Container::Mp4 }
}

fn ebml_doctype(head: &[u8]) -> Container {
    let head = &head[..head.len().min(128)];
    if head.windows(4).any(|w| w == b"webm") { Container::Webm } else { Container::Matroska }
}

const TS_PACKET_BYTES: usize = 188;
const TS_SYNC: u8 = 0x47;

/// Length of a packet with the time of its arrival in front (Blu-ray, AVCHD), and of that time.
const M2TS_PACKET_BYTES: usize = 192;
const M2TS_TIME_BYTES: usize = 4;

fn is_transport_stream(head: &[u8]) -> bool {
    let is_in_step = |from: usize, step: usize| {
        let packets = head.get(from..).filter(|packets| packets.len() >= TS_PACKET_BYTES);
        packets.is_some_and(|packets| packets.iter().step_by(step).take(3).all(|&b| b == TS_SYNC))
    };
    // One packet alone says too little where its mark is not the first byte.
    let is_long = head.len() > M2TS_TIME_BYTES + 2 * M2TS_PACKET_BYTES;
    is_in_step(0, TS_PACKET_BYTES) || is_long && is_in_step(M2TS_TIME_BYTES, M2TS_PACKET_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_decide() {
        assert_eq!(Container::sniff(b"FLV\x01\x05"), Some(Container::Flv));
        assert_eq!(Container::sniff(b"\0\0\0\x18ftypisom\0\0\0\0"), Some(Container::Mp4));
        assert_eq!(Container::sniff(b"\0\0\0\x14ftypqt  \0\0\0\0"), Some(Container::Mov));
        assert_eq!(Container::sniff(b"\x1A\x45\xDF\xA3\x9F\x42\x82\x84webm"), Some(Container::Webm));
        assert_eq!(Container::sniff(b"\x1A\x45\xDF\xA3\x9F\x42\x82\x88matroska"), Some(Container::Matroska));
        let mut ts = vec![0u8; 600];
        for at in [0, 188, 376, 564] {
            ts[at] = 0x47;
        }
        assert_eq!(Container::sniff(&ts), Some(Container::MpegTs));
        let mut m2ts = vec![0u8; 600];
        for at in [4, 196, 388, 580] {
            m2ts[at] = 0x47;
        }
        assert_eq!(Container::sniff(&m2ts), Some(Container::MpegTs));
        assert_eq!(Container::sniff(&m2ts[..300]), None);
        assert_eq!(Container::sniff(b"OggS\0\x02"), Some(Container::Ogg));
        assert_eq!(Container::sniff(b"RIFF\0\0\0\0WAVEfmt "), Some(Container::Wav));
        assert_eq!(Container::sniff(b"RF64\xFF\xFF\xFF\xFFWAVEds64"), Some(Container::Wav));
        assert_eq!(Container::sniff(b"BW64\xFF\xFF\xFF\xFFWAVEds64"), Some(Container::Wav));
        assert_eq!(Container::sniff(b"RIFF\0\0\0\0AVI LIST"), Some(Container::Avi));
        assert_eq!(Container::sniff(b"DKIF\0\0 \0VP80"), Some(Container::Ivf));
        assert_eq!(Container::sniff(b"hello, world"), None);
        assert_eq!(Container::sniff(b""), None);
        assert_eq!(Container::sniff(b"\0\0\0\x18fty"), None);
    }

    #[test]
    fn sound_without_a_container_is_told_by_its_first_frame_and_its_name() {
        let told = |head: &[u8], name: &str| Container::sniff_named(head, Path::new(name));
        assert_eq!(told(b"\xFF\xFB\x90\x64", "x.mp3"), Some(Container::Mp3));
        assert_eq!(told(b"ID3\x04\0\0", "x.mp3.tmp"), Some(Container::Mp3));
        assert_eq!(told(b"\xFF\xF1\x50\x80", "x.aac"), Some(Container::Aac));
        for (head, name) in [
            (&b"\xFF\xFB\x90\x64"[..], "x.mp4"),
            (b"\xFF\xF1\x50\x80", "x.mp3"),
            (b"\xFF\xFB", "x.aac"),
            (b"", "x.mp3"),
        ] {
            assert_eq!(told(head, name), None, "{name}");
        }
    }

    #[test]
    fn a_cut_ebml_head_is_never_indexed_past_its_end() {
        for len in 0..8 {
            let _ = Container::sniff(&b"\x1A\x45\xDF\xA3web"[..len.min(7)]);
        }
    }
}
