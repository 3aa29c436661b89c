//! Containers that recordings come in and go out as.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A media container (ISO base media, EBML, …), told from the bytes and never from the name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// MPEG-2 transport stream (ISO/IEC 13818-1).
    MpegTs,
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
            [_, _, _, _, fourcc @ .., _] if fourcc.len() >= 4 && is_first_box(&head[4..8]) => Some(iso_brand(head)),
            _ if is_transport_stream(head) => Some(Self::MpegTs),
            _ => None,
        }
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

fn is_transport_stream(head: &[u8]) -> bool {
    let sync_bytes = head.iter().step_by(TS_PACKET_BYTES).take(3);
    head.len() >= TS_PACKET_BYTES && sync_bytes.into_iter().all(|&b| b == TS_SYNC)
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
        assert_eq!(Container::sniff(b"hello, world"), None);
        assert_eq!(Container::sniff(b""), None);
        assert_eq!(Container::sniff(b"\0\0\0\x18fty"), None);
    }

    #[test]
    fn a_cut_ebml_head_is_never_indexed_past_its_end() {
        for len in 0..8 {
            let _ = Container::sniff(&b"\x1A\x45\xDF\xA3web"[..len.min(7)]);
        }
    }
}
