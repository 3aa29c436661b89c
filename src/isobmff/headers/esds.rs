//! `esds`: the MPEG-4 elementary stream descriptor, as far as it says what the codec is (ISO/IEC 14496-1 §7.2.6).

use crate::isobmff::cursor::ByteCursor;

const ES_DESCRIPTOR: u8 = 3;
const DECODER_CONFIG: u8 = 4;
const DECODER_SPECIFIC_INFO: u8 = 5;
/// Sampling frequencies by index (ISO/IEC 14496-3 Table 1.18).
pub const AAC_RATES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// What a descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct Elementary {
    /// `objectTypeIndication`, e.g. 0x40 for AAC.
    pub(in super::super) object_type: u8,
    /// Samples per second by the `AudioSpecificConfig`.
    pub(in super::super) sample_rate_hz: Option<u32>,
    /// Channels by the `AudioSpecificConfig`.
    pub(in super::super) channels: Option<u32>,
}

/// Reads the body of an `esds` box.
pub(in super::super) fn read(body: &[u8]) -> Option<Elementary> {
    let mut cursor = ByteCursor::new(body.get(4..)?);
    if descriptor(&mut cursor)? == ES_DESCRIPTOR {
        skip_es_head(&mut cursor)?;
        (descriptor(&mut cursor)? == DECODER_CONFIG).then_some(())?;
    }
    let object_type = cursor.u8()?;
    let config = decoder_specific(&mut cursor).filter(|_| object_type == 0x40);
    let (sample_rate_hz, channels) = config.map_or((None, None), audio_config);
    Some(Elementary { object_type, sample_rate_hz, channels })
}

/// The body of an `esds` box without its buffer size and rates, which differ between recordings of one encoder.
pub(in super::super) fn without_rates(body: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    if let Some(rates) = place_of_rates(body).and_then(|at| out.get_mut(at..at + 11)) {
        rates.fill(0);
    }
    out
}

/// Behind object type and stream type.
fn place_of_rates(body: &[u8]) -> Option<usize> {
    let mut cursor = ByteCursor::new(body.get(4..)?);
    if descriptor(&mut cursor)? == ES_DESCRIPTOR {
        skip_es_head(&mut cursor)?;
        descriptor(&mut cursor)?;
    }
    cursor.u16()?;
    Some(body.len() - cursor.remaining())
}

/// Tag of the next descriptor; the cursor is left at its content.
fn descriptor(cursor: &mut ByteCursor<'_>) -> Option<u8> {
    let tag = cursor.u8()?;
    for _ in 0..4 {
        if cursor.u8()? & 0x80 == 0 {
            break;
        }
    }
    Some(tag)
}

/// Steps over id, flags and the optional fields of an ES descriptor.
fn skip_es_head(cursor: &mut ByteCursor<'_>) -> Option<()> {
    cursor.u16()?;
    let flags = cursor.u8()?;
    if flags & 0x80 != 0 {
        cursor.u16()?;
    }
    if flags & 0x40 != 0 {
        let len = cursor.u8()?;
        cursor.take(usize::from(len))?;
    }
    if flags & 0x20 != 0 {
        cursor.u16()?;
    }
    Some(())
}

fn decoder_specific<'a>(cursor: &mut ByteCursor<'a>) -> Option<&'a [u8]> {
    cursor.take(12)?; // stream type, buffer size, bit rates
    (descriptor(cursor)? == DECODER_SPECIFIC_INFO).then(|| cursor.rest())
}

/// Rate and channels of an `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1); `None` where it says them elsewhere.
fn audio_config(config: &[u8]) -> (Option<u32>, Option<u32>) {
    let [a, b, ..] = config else { return (None, None) };
    let word = u16::from_be_bytes([*a, *b]);
    let is_plain = word >> 11 != 31;
    let rate = AAC_RATES_HZ.get(usize::from(word >> 7 & 0xF)).copied().filter(|_| is_plain);
    let channels = match word >> 3 & 0xF {
        n @ 1..=6 => Some(u32::from(n)),
        7 | 12 => Some(8),
        11 => Some(7),
        _ => None,
    };
    (rate, channels.filter(|_| rate.is_some()))
}
