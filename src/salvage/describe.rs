//! Sample descriptions made from the media itself, for recordings of which no other is known.

use super::nal::{self, Standard};
use crate::isobmff::PixelAspect;
use crate::isobmff::headers::esds::AAC_RATES_HZ;

/// What the frames of an audio track say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoundFacts {
    /// Samples per second.
    pub rate_hz: u32,
    /// Channels.
    pub channels: u16,
    /// `objectTypeIndication` (ISO/IEC 14496-1 §7.2.6.6): 0x40 AAC, 0x6B MPEG audio, 0xA5 AC-3.
    pub object_type: u8,
}

fn boxed(fourcc: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(body.len() + 8).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    out.extend(fourcc);
    out.extend(body);
    out
}

fn description(entry: &[u8]) -> Vec<u8> {
    boxed(*b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], entry].concat())
}

/// How large pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureShape {
    /// Width and height in samples.
    pub size: (u16, u16),
    /// Width to height of a sample.
    pub aspect: PixelAspect,
}

fn visual(fourcc: [u8; 4], shape: PictureShape, configuration: &[u8]) -> Vec<u8> {
    let (width, height) = shape.size;
    let mut body = vec![0; 78];
    body[7] = 1;
    body[24..26].copy_from_slice(&width.to_be_bytes());
    body[26..28].copy_from_slice(&height.to_be_bytes());
    body[28..36].copy_from_slice(&[0, 0x48, 0, 0, 0, 0x48, 0, 0]);
    body[41] = 1;
    body[74..78].copy_from_slice(&[0, 0x18, 0xFF, 0xFF]);
    body.extend(configuration);
    body.extend(shape.aspect.to_box());
    description(&boxed(fourcc, &body))
}

fn length_prefixed(unit: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(unit.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend(unit);
    out
}

/// A `stsd` for pictures whose parameter sets came along; `None` without any.
pub fn video(standard: Standard, units: &[Vec<u8>], length_bytes: usize, shape: PictureShape) -> Option<Vec<u8>> {
    let length = || u8::try_from(length_bytes.checked_sub(1)?).ok();
    let configuration = match standard {
        Standard::Avc => avc_configuration(units, length()?)?,
        Standard::Hevc => hevc_configuration(units, length()?)?,
        Standard::Av1 => nal::av1::configuration(units)?,
        Standard::Visual | Standard::Jpeg | Standard::ProRes => return None,
    };
    video_configured(standard, &configuration, shape)
}

/// A `stsd` for pictures with their configuration as another container keeps it: avcC, hvcC or av1C; `None` for others.
pub fn video_configured(standard: Standard, configuration: &[u8], shape: PictureShape) -> Option<Vec<u8>> {
    match standard {
        Standard::Avc => Some(visual(*b"avc1", shape, &boxed(*b"avcC", configuration))),
        Standard::Hevc => Some(visual(*b"hvc1", shape, &boxed(*b"hvcC", configuration))),
        Standard::Av1 => Some(visual(*b"av01", shape, &boxed(*b"av1C", configuration))),
        Standard::Visual | Standard::Jpeg | Standard::ProRes => None,
    }
}

/// `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1).
fn avc_configuration(units: &[Vec<u8>], length: u8) -> Option<Vec<u8>> {
    let of = |kind: u8| units.iter().filter(move |unit| unit.first().is_some_and(|h| h & 0x1F == kind));
    let first = of(7).next()?.get(1..4)?;
    let mut out = vec![1, first[0], first[1], first[2], 0xFC | length];
    out.push(0xE0 | u8::try_from(of(7).count().min(31)).ok()?);
    of(7).take(31).for_each(|unit| out.extend(length_prefixed(unit)));
    out.push(u8::try_from(of(8).count().min(255)).ok()?);
    of(8).take(255).for_each(|unit| out.extend(length_prefixed(unit)));
    if matches!(first[0], 100 | 110 | 122 | 144) {
        let (chroma, luma_bits, chroma_bits) = avc_format(of(7).next()?)?;
        out.extend([0xFC | chroma, 0xF8 | luma_bits, 0xF8 | chroma_bits, 0]);
    }
    (of(8).count() > 0).then_some(out)
}

fn avc_format(sps: &[u8]) -> Option<(u8, u8, u8)> {
    let payload = super::bits::unescaped(sps.get(4..)?);
    let mut bits = super::bits::Bits::new(&payload);
    bits.ue()?;
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.u(1)?;
    }
    let field = |value: u32| u8::try_from(value).ok().filter(|v| *v < 8);
    Some((field(chroma)? & 3, field(bits.ue()?)?, field(bits.ue()?)?))
}

/// `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3.1).
fn hevc_configuration(units: &[Vec<u8>], length: u8) -> Option<Vec<u8>> {
    let of = |kind: u8| units.iter().filter(move |unit| unit.first().is_some_and(|h| h >> 1 & 0x3F == kind));
    let sps = super::bits::unescaped(of(33).next()?);
    let profile = sps.get(3..15)?;
    let layers = sps[2] >> 1 & 7;
    let (chroma, luma_bits, chroma_bits) = hevc_format(&sps, layers)?;
    let mut out = vec![1];
    out.extend(profile);
    out.extend([0xF0, 0, 0xFC, 0xFC | chroma, 0xF8 | luma_bits, 0xF8 | chroma_bits, 0, 0]);
    out.push((layers + 1) << 3 | (sps[2] & 1) << 2 | length);
    let kinds: Vec<u8> = [32, 33, 34].into_iter().filter(|kind| of(*kind).next().is_some()).collect();
    out.push(u8::try_from(kinds.len()).ok()?);
    for kind in &kinds {
        out.push(0x80 | kind);
        out.extend(u16::try_from(of(*kind).count()).ok()?.to_be_bytes());
        of(*kind).for_each(|unit| out.extend(length_prefixed(unit)));
    }
    kinds.contains(&34).then_some(out)
}

fn hevc_format(sps: &[u8], layers: u8) -> Option<(u8, u8, u8)> {
    if layers > 0 {
        return Some((1, 0, 0)); // sublayers are rare in recordings; 4:2:0 in 8 bits is what they carry
    }
    let mut bits = super::bits::Bits::new(sps.get(15..)?);
    bits.ue()?;
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.u(1)?;
    }
    bits.ue()?;
    bits.ue()?;
    if bits.flag()? {
        (0..4).try_for_each(|_| bits.ue().map(drop))?;
    }
    let field = |value: u32| u8::try_from(value).ok().filter(|v| *v < 8);
    Some((field(chroma)? & 3, field(bits.ue()?)?, field(bits.ue()?)?))
}

/// A `stsd` for an audio track.
pub fn sound(facts: SoundFacts) -> Option<Vec<u8>> {
    let specific = if facts.object_type == 0x40 { audio_specific(facts)? } else { Vec::new() };
    Some(sound_configured(facts, &specific))
}

/// A `stsd` for an audio track with its decoder specific info (ISO/IEC 14496-1 §7.2.6.7) as another container keeps it.
pub fn sound_configured(facts: SoundFacts, specific: &[u8]) -> Vec<u8> {
    let decoder = [&[facts.object_type, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &descriptor(5, specific)].concat();
    let es = [&[0, 1, 0][..], &descriptor(4, &decoder), &descriptor(6, &[2])].concat();
    let mut body = vec![0; 28];
    body[7] = 1;
    body[16..18].copy_from_slice(&facts.channels.to_be_bytes());
    body[19] = 16;
    body[24..28].copy_from_slice(&(facts.rate_hz.min(0xFFFF) << 16).to_be_bytes());
    body.extend(boxed(*b"esds", &[&[0; 4][..], &descriptor(3, &es)].concat()));
    description(&boxed(*b"mp4a", &body))
}

/// Nothing for an empty body: MPEG audio has no decoder specific info.
fn descriptor(tag: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(length @ 1..=127) => [&[tag, length][..], body].concat(),
        _ => Vec::new(),
    }
}

/// `AudioSpecificConfig` of AAC-LC (ISO/IEC 14496-3 §1.6.2.1).
fn audio_specific(facts: SoundFacts) -> Option<Vec<u8>> {
    let index = u16::try_from(AAC_RATES_HZ.iter().position(|rate| *rate == facts.rate_hz)?).ok()?;
    let configuration = if facts.channels == 8 { 7 } else { facts.channels };
    Some((2 << 11 | index << 7 | configuration << 3).to_be_bytes().to_vec())
}
