//! Audio frames that say their own length: MPEG audio, AC-3 and E-AC-3.

/// What a frame header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// Length of the frame with its header.
    pub bytes: usize,
    /// Samples per second.
    pub rate_hz: u32,
    /// Channels.
    pub channels: u32,
    /// Samples of each channel in the frame.
    pub samples: u32,
}

/// An MPEG audio frame of layer III (ISO/IEC 11172-3 §2.4.2.3, ISO/IEC 13818-3).
pub fn mpeg_audio(bytes: &[u8]) -> Option<FrameInfo> {
    const RATES_KBIT: [[u32; 15]; 2] = [
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    const RATES_HZ: [u32; 3] = [44_100, 48_000, 32_000];
    let [0xFF, second, third, fourth, ..] = *bytes else { return None };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    if second & 0xE0 != 0xE0 || version == 1 || layer != 1 {
        return None;
    }
    let is_first = version == 3;
    let bit_rate = *RATES_KBIT[usize::from(!is_first)].get(usize::from(third >> 4)).filter(|rate| **rate > 0)? * 1000;
    let rate_hz = *RATES_HZ.get(usize::from(third >> 2 & 3))? >> [2, 0, 1, 0][usize::from(version)];
    let samples = if is_first { 1152 } else { 576 };
    let bytes = samples / 8 * bit_rate / rate_hz + u32::from(third >> 1 & 1);
    let channels = if fourth >> 6 == 3 { 1 } else { 2 };
    (fourth & 3 != 2).then_some(FrameInfo { bytes: bytes as usize, rate_hz, channels, samples })
}

/// Bit rate in kbit/s by `frmsizecod / 2`; a frame is 1536 samples of it (ETSI TS 102 366 Table 4.13).
const AC3_KBIT: [u32; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
const AC3_RATES_HZ: [u32; 3] = [48_000, 44_100, 32_000];
const AC3_CHANNELS: [u32; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

/// An AC-3 frame (ETSI TS 102 366 §4.3) or an independent E-AC-3 frame with the dependent ones behind it (§E.1.2).
pub fn dolby(bytes: &[u8]) -> Option<FrameInfo> {
    let mut first = dolby_frame(bytes)?;
    while let Some(next) = bytes.get(first.bytes..).and_then(dolby_frame_dependent) {
        first.bytes += next;
    }
    Some(first)
}

fn dolby_frame(bytes: &[u8]) -> Option<FrameInfo> {
    let [0x0B, 0x77, b2, b3, b4, b5, b6, ..] = *bytes else { return None };
    match b5 >> 3 {
        0..=8 => {
            let rate_hz = *AC3_RATES_HZ.get(usize::from(b4 >> 6))?;
            let code = b4 & 0x3F;
            let kbit = *AC3_KBIT.get(usize::from(code >> 1))?;
            let words = match rate_hz {
                48_000 => kbit * 2,
                44_100 => kbit * 960 / 441 + u32::from(code & 1),
                _ => kbit * 3,
            };
            let channels = AC3_CHANNELS[usize::from(b6 >> 5)];
            Some(FrameInfo { bytes: words as usize * 2, rate_hz, channels, samples: 1536 })
        }
        11..=16 if b2 >> 6 != 1 => {
            let bytes = (usize::from(b2 & 7) << 8 | usize::from(b3)) * 2 + 2;
            let rate_hz = *AC3_RATES_HZ.get(usize::from(b4 >> 6))?;
            let samples = [256, 512, 768, 1536][usize::from(b4 >> 4 & 3)];
            let channels = AC3_CHANNELS[usize::from(b4 >> 1 & 7)] + u32::from(b4 & 1);
            Some(FrameInfo { bytes, rate_hz, channels, samples })
        }
        _ => None,
    }
}

fn dolby_frame_dependent(bytes: &[u8]) -> Option<usize> {
    let [0x0B, 0x77, b2, b3, _, b5, ..] = *bytes else { return None };
    let is_dependent = b5 >> 3 > 10 && b5 >> 3 <= 16 && b2 >> 6 == 1;
    is_dependent.then(|| (usize::from(b2 & 7) << 8 | usize::from(b3)) * 2 + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_standards() {
        let mp3 = mpeg_audio(&[0xFF, 0xFB, 0x94, 0xC4, 0]).unwrap();
        assert_eq!((mp3.bytes, mp3.rate_hz, mp3.samples), (384, 48_000, 1152));
        assert_eq!(mpeg_audio(&[0xFF, 0xFB, 0x92, 0, 0]).unwrap().bytes, 418);
        assert_eq!(mpeg_audio(&[0xFF, 0xF3, 0x40, 0xC4]).unwrap().bytes, 576 / 8 * 32_000 / 22_050);
        let ac3 = dolby(&[0x0B, 0x77, 0, 0, 0x14, 0x40, 0x40, 0]).unwrap();
        assert_eq!((ac3.bytes, ac3.rate_hz, ac3.samples), (768, 48_000, 1536));
        assert_eq!(dolby(&[0x0B, 0x77, 0, 0, 0x54, 0x40, 0x40, 0]).unwrap().bytes, 834);
        assert_eq!(dolby(&[0x0B, 0x77, 0, 0, 0xC0, 0x40, 0x40, 0]), None);
    }
}
