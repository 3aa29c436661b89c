//! How long a FLAC frame is: it says so nowhere, so its syntax is followed to its end, where a checksum over all of it stands
//! (RFC 9639 §9). What is decoded is thrown away.

use crc_fast::CrcAlgorithm;

use super::bits::Bits;

/// No frame is believed that is longer: 16,384 samples of two channels at 16 bits that are not compressed.
pub const MOST_FRAME_BYTES: usize = 64 << 10;
/// Most bytes of a frame that are no samples.
const HEADER_BYTES: u64 = 64;
/// Largest block (RFC 9639 §9.1.1).
const MOST_SAMPLES: u32 = 65_536;
/// Longest number in front of a frame (§9.1.5).
const MOST_NUMBER_BYTES: u32 = 7;
/// Largest quotient of a residual that is followed: an encoder escapes long before.
const MOST_QUOTIENT: u32 = 1 << 20;
/// Name of the configuration in a sample description, and where in it the properties of the stream begin: behind version, flags
/// and the header of the block (FLAC in ISOBMFF §3.3.2).
const CONFIGURATION: &[u8; 4] = b"dfLa";
const PROPERTIES_AT: usize = 12;

/// What all frames of a stream have in common (§8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlacConfig {
    /// Samples per second.
    pub rate_hz: u32,
    /// Channels.
    pub channels: u32,
    /// Bits of a sample.
    pub sample_bits: u32,
}

impl FlacConfig {
    /// As a sample description says; `None` of a stream whose frames may be longer than is looked at.
    pub fn of_description(stsd: &[u8]) -> Option<Self> {
        let at = stsd.windows(4).position(|window| window == CONFIGURATION)?;
        let mut bits = Bits::new(stsd.get(at + PROPERTIES_AT..)?);
        let (_least_samples, most_samples) = (bits.u(16)?, bits.u(16)?);
        let (_least_bytes, most_bytes) = (bits.u(24)?, bits.u(24)?);
        let (rate_hz, channels, sample_bits) = (bits.u(20)?, bits.u(3)? + 1, bits.u(5)? + 1);
        // Where a writer does not know its longest frame, none is longer than what is not compressed.
        let uncoded_bytes = u64::from(most_samples) * u64::from(channels) * u64::from(sample_bits.div_ceil(8));
        let most_bytes = if most_bytes > 0 { u64::from(most_bytes) } else { uncoded_bytes + HEADER_BYTES };
        (rate_hz > 0 && most_bytes <= MOST_FRAME_BYTES as u64).then_some(Self { rate_hz, channels, sample_bits })
    }
}

/// The length of the frame that the bytes begin with, or how many were looked at to see that there is none.
pub fn frame_bytes(bytes: &[u8], config: &FlacConfig) -> Result<usize, usize> {
    let mut bits = Bits::new(bytes);
    let end = frame(&mut bits, bytes, config);
    let looked_at = bits.position().div_ceil(8).min(bytes.len());
    end.filter(|end| crc_fast::checksum(CrcAlgorithm::Crc16Umts, &bytes[..*end]) == 0).ok_or(looked_at)
}

fn frame(bits: &mut Bits<'_>, bytes: &[u8], config: &FlacConfig) -> Option<usize> {
    let (samples, assignment) = header(bits, bytes, config)?;
    // Of a pair, the one that is a difference has a bit more (§9.1.3).
    let side = match assignment {
        8 | 10 => Some(1),
        9 => Some(0),
        _ => None,
    };
    for channel in 0..config.channels {
        subframe(bits, samples, config.sample_bits + u32::from(side == Some(channel)))?;
    }
    bits.align();
    let end = bits.position() / 8 + 2;
    (!bits.is_over() && end <= bytes.len()).then_some(end)
}

/// Reads a frame header: samples of each channel, and how channels are put together.
fn header(bits: &mut Bits<'_>, bytes: &[u8], config: &FlacConfig) -> Option<(u32, u32)> {
    if bits.u(15)? != 0x7FFC {
        return None;
    }
    bits.u(1)?;
    let (size, rate) = (bits.u(4)?, bits.u(4)?);
    let (assignment, depth) = (bits.u(4)?, bits.u(3)?);
    let depth_bits = [config.sample_bits, 8, 12, 0, 16, 20, 24, 32][depth as usize];
    let channels = if assignment < 8 { assignment + 1 } else { 2 };
    if assignment > 10 || channels != config.channels || depth_bits != config.sample_bits || bits.flag()? {
        return None;
    }
    coded_number(bits)?;
    let samples = match size {
        1 => 192,
        2..=5 => 144 << size,
        6 => bits.u(8)? + 1,
        7 => bits.u(16)? + 1,
        8..=15 => 1 << size,
        _ => return None,
    };
    let rate_hz = match rate {
        0 => config.rate_hz,
        1..=11 => {
            [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000][rate as usize - 1]
        }
        12 => bits.u(8)? * 1000,
        13 => bits.u(16)?,
        14 => bits.u(16)? * 10,
        _ => return None,
    };
    bits.u(8)?;
    let head = bytes.get(..bits.position() / 8)?;
    (rate_hz == config.rate_hz && samples <= MOST_SAMPLES && crc8(head) == 0).then_some((samples, assignment))
}

/// The number of the frame or of its first sample, coded like a character (§9.1.5).
fn coded_number(bits: &mut Bits<'_>) -> Option<()> {
    let ones = (!(bits.u(8)? << 24)).leading_zeros();
    if ones == 1 || ones > MOST_NUMBER_BYTES {
        return None;
    }
    (1..ones).try_for_each(|_| bits.u(8).filter(|byte| byte >> 6 == 2).map(drop))
}

/// Goes past one channel (§9.2).
fn subframe(bits: &mut Bits<'_>, samples: u32, sample_bits: u32) -> Option<()> {
    if bits.flag()? {
        return None;
    }
    let kind = bits.u(6)?;
    let wasted = if bits.flag()? { unary(bits)? + 1 } else { 0 };
    let sample_bits = sample_bits.checked_sub(wasted).filter(|bits| *bits > 0)?;
    match kind {
        0 => pass(bits, 1, sample_bits),
        1 => pass(bits, samples, sample_bits),
        8..=12 => {
            let order = kind - 8;
            pass(bits, order, sample_bits)?;
            residual(bits, samples, order)
        }
        32..=63 => {
            let order = kind - 31;
            pass(bits, order, sample_bits)?;
            let precision = bits.u(4)? + 1;
            bits.u(5)?;
            pass(bits, order, precision)?;
            (precision < 16).then_some(())?;
            residual(bits, samples, order)
        }
        _ => None,
    }
}

/// Goes past the coded residual (§9.2.7).
fn residual(bits: &mut Bits<'_>, samples: u32, order: u32) -> Option<()> {
    let parameter_bits = match bits.u(2)? {
        0 => 4,
        1 => 5,
        _ => return None,
    };
    let partitions = 1 << bits.u(4)?;
    let each = samples / partitions;
    if each * partitions != samples || each < order {
        return None;
    }
    for partition in 0..partitions {
        let count = if partition == 0 { each - order } else { each };
        let parameter = bits.u(parameter_bits)?;
        if parameter == (1 << parameter_bits) - 1 {
            let raw_bits = bits.u(5)?;
            pass(bits, count, raw_bits)?;
            continue;
        }
        for _ in 0..count {
            unary(bits)?;
            bits.skip(parameter as usize);
        }
        (!bits.is_over()).then_some(())?;
    }
    Some(())
}

/// Zeros up to a one.
fn unary(bits: &mut Bits<'_>) -> Option<u32> {
    let mut zeros = 0;
    loop {
        let (word, valid) = bits.window();
        let here = word.leading_zeros().min(valid);
        bits.skip(here as usize);
        zeros += here;
        if here < valid {
            bits.skip(1);
            return (!bits.is_over()).then_some(zeros);
        }
        if bits.is_over() || zeros > MOST_QUOTIENT {
            return None;
        }
    }
}

fn pass(bits: &mut Bits<'_>, count: u32, each_bits: u32) -> Option<()> {
    bits.skip(count as usize * each_bits as usize);
    (!bits.is_over()).then_some(())
}

/// x⁸ + x² + x + 1 (§9.1.8), bit by bit over the few bytes of a header; 0 over bytes with their own checksum behind them.
fn crc8(bytes: &[u8]) -> u8 {
    let shifted = |crc: u8| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| shifted(crc)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn frames_follow_one_another_to_the_end_of_a_stream() {
        for (format, rate, channels) in [("s16", "48000", "2"), ("s16", "8000", "1"), ("s32", "48000", "2")] {
            let sound = format!("anoisesrc=c=pink:a=0.4:r={rate}:d=2,volume=0:enable='lt(mod(t,1),0.3)'");
            let mut run = Command::new("ffmpeg");
            run.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &sound, "-ac", channels, "-ar", rate]);
            let out = run.args(["-c:a", "flac", "-sample_fmt", format, "-f", "flac", "-"]).output().unwrap();
            let bytes = out.stdout;
            // The marker, and blocks behind their lengths; the first says what the stream is.
            let (mut at, mut is_last) = (4, false);
            while !is_last {
                is_last = bytes[at] & 0x80 != 0;
                at += 4
                    + (usize::from(bytes[at + 1]) << 16 | usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]));
            }
            let config = FlacConfig::of_description(&[&b"dfLa\0\0\0\0"[..], &bytes[4..42]].concat()).unwrap();
            assert_eq!((config.rate_hz.to_string(), config.channels.to_string()), (rate.into(), channels.into()));
            let mut frames = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + MOST_FRAME_BYTES);
                let length = frame_bytes(&bytes[at..end], &config).unwrap_or_else(|_| panic!("{format} at {at}"));
                let mut broken = bytes[at..at + length].to_vec();
                broken[length / 2] ^= 4;
                assert!(frame_bytes(&broken, &config).is_err());
                at += length;
                frames += 1;
            }
            assert!(frames > 3, "{frames}");
        }
    }
}
