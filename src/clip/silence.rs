//! Sound for the gaps between recordings.
//!
//! Chromium (156, `FFmpegDemuxer`) plays what follows a gap in the sound at once, whatever its timestamp says: sound would run ahead
//! of the pictures by the length of the gap. So a gap is filled with packets that decode to silence, where such packets are known.

use crate::isobmff::Track;
use crate::recording::TrackKind;

/// One channel and two channels of AAC-LC without a spectral coefficient (ISO/IEC 14496-3 §4.4.2.1).
const AAC_MONO: &[u8] = &[0x00, 0xC8, 0x00, 0x80, 0x23, 0x80];
const AAC_STEREO: &[u8] = &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80];
/// PCM samples that a packet of them decodes to.
const AAC_SAMPLES: i64 = 1024;
/// 20 ms of CELT, full band, without energy (RFC 6716 §3.1, §4.3).
const OPUS: &[u8] = &[0xF8, 0xFF, 0xFE];
const OPUS_SAMPLES: i64 = 960;
/// Opus always decodes at this rate (RFC 7845 §4).
const OPUS_RATE_HZ: u32 = 48_000;

/// A packet that decodes to silence.
///
/// It lasts as long as what it decodes to, whatever the packets beside it are said to last: Chromium plays PCM samples, and time stamps of
/// recordings are rounded (FLV: to milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentPacket {
    /// Its payload.
    pub payload: &'static [u8],
    /// PCM samples of each channel that it decodes to.
    pub samples: i64,
    /// PCM samples per second.
    pub rate_hz: u32,
}

impl SilentPacket {
    /// The packet for a track behind a packet with the description of a number (from 1); `None` if the track is no sound, or of a codec or a
    /// number of channels for which no such packet is known.
    pub fn of(track: &Track, description: u32) -> Option<Self> {
        if track.kind() != TrackKind::Audio {
            return None;
        }
        let index = usize::try_from(description).ok()?.checked_sub(1)?;
        let entry = track.descriptions.entries().get(index)?;
        let rate_hz = entry.sample_rate_hz.filter(|hz| *hz > 0);
        match (&track.codec()[..], entry.channels) {
            ("aac", Some(1)) => Some(Self { payload: AAC_MONO, samples: AAC_SAMPLES, rate_hz: rate_hz? }),
            ("aac", Some(2)) => Some(Self { payload: AAC_STEREO, samples: AAC_SAMPLES, rate_hz: rate_hz? }),
            ("opus", Some(1 | 2)) => Some(Self { payload: OPUS, samples: OPUS_SAMPLES, rate_hz: OPUS_RATE_HZ }),
            _ => None,
        }
    }
}
