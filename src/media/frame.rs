//! What muxers ask of a frame of sound before they write it.
//!
//! A recording that joined a live stream begins in the middle of a frame, and a damaged one has such places inside. A
//! muxer that makes something of the frame's own header leaves what has none out without a word, or ends with an error.

use super::payload::{Framing, is_adts};
use crate::recording::Container;

/// The header that every frame of a track must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameHeader {
    /// None that a muxer looks at.
    None,
    /// ADTS (ISO/IEC 13818-7 §6.2), which is taken off.
    Adts,
    /// The synchronisation information of AC-3 and E-AC-3 (ETSI TS 102 366 §4.4.1, E.1.3.1), from which ISO base media gets its
    /// sample description.
    Ac3,
}

impl FrameHeader {
    /// That of a track on its way into a container.
    pub(super) fn of(codec: &str, extradata: &[u8], to: Container) -> Self {
        match codec {
            "aac" if Framing::of(codec, extradata) == Framing::Adts => Self::Adts,
            "ac3" | "eac3" if to.is_iso() => Self::Ac3,
            _ => Self::None,
        }
    }

    /// Whether a payload begins with it.
    pub(super) fn begins(self, payload: &[u8]) -> bool {
        match self {
            Self::None => true,
            Self::Adts => is_adts(payload) && has_adts_rate(payload),
            Self::Ac3 => is_ac3(payload),
        }
    }
}

/// Whether the index of the sampling frequency is one of the thirteen (ISO/IEC 14496-3 table 1.18).
fn has_adts_rate(payload: &[u8]) -> bool {
    payload[2] >> 2 & 0xF < 13
}

fn is_ac3(payload: &[u8]) -> bool {
    let [0x0B, 0x77, at_2, at_3, at_4, at_5, ..] = *payload else { return false };
    match at_5 >> 3 {
        0..=10 => at_4 >> 6 != 3 && at_4 & 0x3F <= 37,
        11..=16 => {
            let frame_words = (u16::from(at_2 & 7) << 8 | u16::from(at_3)) + 1;
            at_2 >> 6 != 3 && frame_words > 3 && (at_4 >> 6 != 3 || at_4 >> 4 & 3 != 3)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tracks_whose_header_is_looked_at_must_have_one() {
        assert_eq!(FrameHeader::of("aac", &[], Container::Mp4), FrameHeader::Adts);
        assert_eq!(FrameHeader::of("aac", &[0x12, 0x10], Container::Mp4), FrameHeader::None);
        assert_eq!(FrameHeader::of("eac3", &[], Container::Mov), FrameHeader::Ac3);
        assert_eq!(FrameHeader::of("ac3", &[], Container::Matroska), FrameHeader::None);
        assert!(FrameHeader::None.begins(b""));
    }

    #[test]
    fn a_frame_begins_with_its_header_and_the_middle_of_one_does_not() {
        let ac3 = b"\x0B\x77\x12\x34\x14\x40\x43\xFF";
        let eac3 = b"\x0B\x77\x00\xBF\x34\x87\x43\xFF";
        for frame in [ac3, eac3] {
            assert!(FrameHeader::Ac3.begins(frame));
            assert!(!FrameHeader::Ac3.begins(&frame[1..]) && !FrameHeader::Ac3.begins(&frame[..5]));
        }
        let reserved = [(4, 0xD4), (4, 0x3E), (5, 0x88)];
        for (at, byte) in reserved {
            let mut frame = *ac3;
            frame[at] = byte;
            assert!(!FrameHeader::Ac3.begins(&frame), "{at} {byte:x}");
        }
        let adts = b"\xFF\xF1\x4C\x80\x01\x9F\xFCframe";
        assert!(FrameHeader::Adts.begins(adts));
        assert!(
            !FrameHeader::Adts.begins(&adts[1..]) && !FrameHeader::Adts.begins(b"\xFF\xF1\xFC\x80\x01\x9F\xFCframe")
        );
    }
}
