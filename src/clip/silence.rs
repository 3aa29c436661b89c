//! Sound for the gaps between recordings.
//!
//! Chromium (156, `FFmpegDemuxer`) plays what follows a gap in the sound at once, whatever its timestamp says: sound would run ahead
//! of the pictures by the length of the gap. So a gap is filled with packets that decode to silence, where such packets are known.

use crate::isobmff::Track;
use crate::recording::TrackKind;

/// One channel and two channels of AAC-LC without a spectral coefficient (ISO/IEC 14496-3 §4.4.2.1).
const AAC_MONO: &[u8] = &[0x00, 0xC8, 0x00, 0x80, 0x23, 0x80];
const AAC_STEREO: &[u8] = &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80];
/// 20 ms of CELT, full band, without energy (RFC 6716 §3.1, §4.3).
const OPUS: &[u8] = &[0xF8, 0xFF, 0xFE];
const OPUS_PER_SECOND: i64 = 50;

/// A packet that decodes to silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Its payload.
    pub payload: &'static [u8],
    /// How long it lasts, in ticks of the track.
    pub duration: i64,
}

impl Silence {
    /// The packet for a track whose packets last `usual` ticks; `None` if the track is no sound, or of a codec or a number of channels for
    /// which no such packet is known.
    pub fn of(track: &Track, usual: i64) -> Option<Self> {
        if track.kind() != TrackKind::Audio {
            return None;
        }
        let channels = track.entry().and_then(|entry| entry.channels);
        let (payload, duration) = match (&track.codec()[..], channels) {
            ("aac", Some(1)) => (AAC_MONO, usual),
            ("aac", Some(2)) => (AAC_STEREO, usual),
            ("opus", Some(1 | 2)) => (OPUS, i64::from(track.timescale()) / OPUS_PER_SECOND),
            _ => return None,
        };
        (duration > 0).then_some(Self { payload, duration })
    }
}
