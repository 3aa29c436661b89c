//! What may stand at a place of the media: a NAL unit, or an audio frame of one of the formats of the recording.

use super::aac;
use super::flac;
use super::framed;
use super::nal::{self, Standard, UnitRole};

/// How the pictures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Video {
    /// Which standard.
    pub standard: Standard,
    /// Bytes of the length in front of each unit: 1, 2 or 4; 0 where it has none, or is part of the unit.
    pub length_bytes: usize,
}

/// How the sound is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sound {
    /// Raw blocks of AAC.
    Aac(aac::AacConfig),
    /// Frames of MPEG audio layer III.
    MpegAudio {
        /// Samples per second.
        rate_hz: u32,
    },
    /// Frames of AC-3 or E-AC-3.
    Dolby {
        /// Samples per second.
        rate_hz: u32,
    },
    /// Frames of FLAC.
    Flac(flac::FlacConfig),
    /// Packets of Opus, which say nothing of their length.
    Opus,
    /// Samples that are not coded: nothing in them is like anything.
    Pcm {
        /// Bytes of one sample of all channels.
        block_bytes: u32,
    },
}

/// Most bytes that must be seen to tell the length of an element, but for FLAC.
pub const LOOK_BYTES: usize = aac::MAX_FRAME_BYTES;

/// A NAL unit with its length field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NalUnit {
    /// Length with the length field.
    pub bytes: u64,
    /// What it is to its access unit.
    pub role: UnitRole,
}

impl Video {
    /// The unit that the bytes begin with. It may reach past them; whether it ends soundly is the caller's to look at.
    #[inline]
    pub fn unit(&self, bytes: &[u8]) -> Option<NalUnit> {
        match self.standard {
            Standard::Avc | Standard::Hevc => {}
            Standard::Av1 => return nal::av1::unit(bytes).map(|(bytes, role)| NalUnit { bytes, role }),
            Standard::ProRes => {
                let role = UnitRole::Slice { is_first: true, is_sync: true };
                return nal::intra::prores_bytes(bytes).map(|bytes| NalUnit { bytes, role });
            }
            Standard::Visual | Standard::Jpeg => return None,
        }
        let (length, unit) = bytes.split_at_checked(self.length_bytes)?;
        let length = length.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if length == 0 || length > nal::MAX_UNIT_BYTES {
            return None;
        }
        let visible = usize::try_from(length).unwrap_or(usize::MAX).min(unit.len()).min(nal::PREFIX_BYTES);
        let role = nal::role(self.standard, &unit[..visible], length)?;
        Some(NalUnit { bytes: length + self.length_bytes as u64, role })
    }

    /// Whether a unit may begin with these bytes, in a glance.
    #[inline]
    pub fn may_begin(&self, bytes: &[u8]) -> bool {
        match self.standard {
            Standard::Avc | Standard::Hevc => {}
            Standard::Visual => return nal::visual::may_begin(bytes),
            Standard::Av1 => return bytes.first().is_some_and(|first| nal::av1::may_begin(*first)),
            Standard::Jpeg | Standard::ProRes => return nal::intra::may_begin(self.standard, bytes),
        }
        self.length_bytes != 4 || matches!(bytes, [0 | 1, _, _, _, header, ..] if header & 0x80 == 0)
    }
}

impl Sound {
    /// Length of the frame that the bytes begin with.
    #[inline]
    pub fn frame(&self, bytes: &[u8]) -> Option<u64> {
        self.looked_at(bytes).ok()
    }

    /// The same, or how many bytes were looked at to see that there is none.
    #[inline]
    pub fn looked_at(&self, bytes: &[u8]) -> Result<u64, u64> {
        let framed = |found: Option<framed::FrameInfo>, rate_hz: u32| {
            found.filter(|f| f.rate_hz == rate_hz && f.bytes <= bytes.len()).map(|f| f.bytes as u64).ok_or(0)
        };
        match self {
            Self::Aac(config) if self.may_begin(bytes) => {
                aac::frame_bytes(bytes, config).map(|n| n as u64).map_err(|n| n as u64)
            }
            Self::MpegAudio { rate_hz } => framed(framed::mpeg_audio(bytes), *rate_hz),
            Self::Dolby { rate_hz } => framed(framed::dolby(bytes), *rate_hz),
            Self::Flac(config) => flac::frame_bytes(bytes, config).map(|n| n as u64).map_err(|n| n as u64),
            Self::Aac(_) | Self::Opus | Self::Pcm { .. } => Err(0),
        }
    }

    /// Most bytes that must be seen to tell its length.
    pub const fn look_bytes(&self) -> usize {
        match self {
            Self::Flac(_) => flac::MOST_FRAME_BYTES,
            _ => LOOK_BYTES,
        }
    }

    /// Whether where its packets end can only be told from what stands around them.
    pub const fn is_unframed(&self) -> bool {
        matches!(self, Self::Opus | Self::Pcm { .. })
    }

    /// Whether a frame may begin with these bytes, in a glance.
    #[inline]
    pub fn may_begin(&self, bytes: &[u8]) -> bool {
        match (self, bytes) {
            (Self::Aac(config), [first, ..]) => config.may_begin(*first),
            (Self::MpegAudio { .. }, [0xFF, second, ..]) => *second >= 0xE0,
            (Self::Dolby { .. }, [0x0B, 0x77, ..]) | (Self::Flac(_), [0xFF, 0xF8 | 0xF9, ..]) => true,
            _ => false,
        }
    }
}
