//! The loudness of a recording of sound alone, drawn as a waveform: what stands in for a poster.
//!
//! Of a long recording a part of each stretch is decoded, spread over all of it, so that hours cost no more than minutes.

use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::frame;

use super::develop::Rgb;
use super::frames::{Recording, track_of};
use super::poster::Look;
use super::{Budget, Made};
use crate::media::MediaError;
use crate::media::ffi::picture::{encode, open_decoder};
use crate::media::ffi::{Packet, ProbeDepth, ReadOutcome};
use crate::recording::{Defect, Shows, TrackKind};

/// A bar and the gap behind it, pixels.
const BAR: u32 = 4;
const GAP: u32 = 2;
/// Packets that are decoded at most: 7 minutes of AAC. Of more every n-th group is.
const MOST_DECODED: u64 = 20_000;
/// Packets that are decoded one after the other: transforms overlap, so the first of them says little.
const GROUP: u64 = 4;
/// Unreadable places that are passed over.
const MOST_NONSENSE: u32 = 64;
const BACKGROUND: [u8; 3] = [0x17, 0x1A, 0x21];
const FOREGROUND: [u8; 3] = [0x5B, 0x9D, 0xF5];

/// Draws the loudness of the first track of sound.
pub(super) fn of_sound(recording: Recording<'_>, look: Look, budget: Budget) -> Result<Made, MediaError> {
    let (width, height) =
        (look.height.saturating_mul(16).div_ceil(9).next_multiple_of(2), look.height.next_multiple_of(2));
    let peaks = peaks(&recording, budget)?;
    if peaks.is_empty() {
        return Err(MediaError::unfinishable(recording.name, Defect::Undecodable { track: 1, errors: 1 }));
    }
    let picture = draw(&peaks, width, height);
    let refused = |error| recording.refused(error);
    let bytes = encode(&picture.frame(), look.format, look.quality).map_err(refused)?;
    Ok(Made { width, height, shows: Shows::Waveform, tiles: None, bytes })
}

/// The loudest sample of each packet that is decoded, 0 to 1, in order.
fn peaks(recording: &Recording<'_>, budget: Budget) -> Result<Vec<f32>, MediaError> {
    let every = skipping(count(recording, budget)?);
    let mut source = recording.open(ProbeDepth::Usual)?;
    let no_sound = || MediaError::unfinishable(recording.name, Defect::NoKeyframe);
    let track = track_of(&source, TrackKind::Audio).ok_or_else(no_sound)?;
    let mut decoder = open_decoder(&source, track).map_err(|error| recording.refused(error))?;
    source.only(track);
    let (mut peaks, mut frame) = (Vec::new(), frame::Audio::empty());
    let mut number = 0_u64;
    each_packet(&mut source, track, budget, |packet| {
        let group = number / GROUP;
        let is_first = number.is_multiple_of(GROUP);
        number += 1;
        if !group.is_multiple_of(every) {
            return;
        }
        if is_first && every > 1 {
            decoder.flush();
        }
        // What does not decode is silent.
        let _ = decoder.send_packet(packet);
        let mut loudest = None::<f32>;
        while matches!(decoder.receive_frame(&mut frame), Ok(())) {
            loudest = Some(loudest.unwrap_or(0.0).max(peak(&frame)));
        }
        peaks.extend(loudest.filter(|_| !is_first || every == 1));
    })?;
    Ok(peaks)
}

/// How many packets of sound there are, as far as the budget allows to count them.
fn count(recording: &Recording<'_>, budget: Budget) -> Result<u64, MediaError> {
    let mut source = recording.open(ProbeDepth::Usual)?;
    let Some(track) = track_of(&source, TrackKind::Audio) else { return Ok(0) };
    if let Some(count) = source.track(track).and_then(|facts| facts.declared_packets) {
        return Ok(count);
    }
    source.only(track);
    let mut count = 0;
    each_packet(&mut source, track, budget, |_| count += 1)?;
    Ok(count)
}

/// One group in so many is decoded.
fn skipping(packets: u64) -> u64 {
    packets.div_ceil(MOST_DECODED).max(1)
}

fn each_packet(
    source: &mut crate::media::ffi::MediaSource,
    track: usize,
    budget: Budget,
    mut take: impl FnMut(&Packet),
) -> Result<(), MediaError> {
    let mut nonsense = 0;
    while !budget.is_spent() {
        let mut packet = Packet::empty();
        match source.next(&mut packet)? {
            ReadOutcome::Packet if packet.stream() == track => take(&packet),
            ReadOutcome::Packet => {}
            ReadOutcome::Nonsense if nonsense < MOST_NONSENSE => nonsense += 1,
            ReadOutcome::Nonsense | ReadOutcome::End => break,
        }
    }
    Ok(())
}

/// The loudest sample of a frame, 0 to 1, of all channels.
fn peak(frame: &frame::Audio) -> f32 {
    let most = |peak: f32, sample: f32| peak.max(sample.abs().min(1.0));
    let bytes = channels(frame);
    let of = |read: fn(&[u8]) -> f32, size: usize| {
        bytes.iter().flat_map(|plane| plane.chunks_exact(size)).map(read).fold(0.0, most)
    };
    match frame.format() {
        Sample::U8(_) => of(|b| (f32::from(b[0]) - 128.0) / 128.0, 1),
        Sample::I16(_) => of(|b| f32::from(i16::from_ne_bytes([b[0], b[1]])) / 32_768.0, 2),
        Sample::I32(_) => of(|b| f32::from(i16::from_ne_bytes(high_half([b[0], b[1], b[2], b[3]]))) / 32_768.0, 4),
        Sample::F32(_) => of(|b| finite(f32::from_ne_bytes([b[0], b[1], b[2], b[3]])), 4),
        _ => 0.0,
    }
}

const fn high_half([a, b, c, d]: [u8; 4]) -> [u8; 2] {
    if cfg!(target_endian = "little") { [c, d] } else { [a, b] }
}

const fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

/// The bytes of the samples, plane by plane.
fn channels(frame: &frame::Audio) -> Vec<&[u8]> {
    let (planes, packed) = match frame.format() {
        Sample::None => return Vec::new(),
        Sample::U8(kind)
        | Sample::I16(kind)
        | Sample::I32(kind)
        | Sample::I64(kind)
        | Sample::F32(kind)
        | Sample::F64(kind) => {
            if kind == Type::Planar {
                (frame.planes(), 1)
            } else {
                (1, usize::from(frame.channels()))
            }
        }
    };
    let bytes = frame.samples() * packed * frame.format().bytes();
    // Beyond eight planes FFmpeg keeps them elsewhere.
    (0..planes.min(8)).map(|plane| frame.data(plane)).map(|data| &data[..bytes.min(data.len())]).collect()
}

/// Bars of the loudness over time, mirrored about the middle.
fn draw(peaks: &[f32], width: u32, height: u32) -> Rgb {
    let mut picture = Rgb::filled(width, height, BACKGROUND);
    let bars = (width / (BAR + GAP)).max(1);
    let loudest = peaks.iter().copied().fold(0.0_f32, f32::max).max(0.05);
    for bar in 0..bars {
        let part = |n: u32| (n as usize * peaks.len() / bars as usize).min(peaks.len());
        let stretch = &peaks[part(bar)..part(bar + 1).max(part(bar) + 1).min(peaks.len())];
        let loud = stretch.iter().copied().fold(0.0_f32, f32::max) / loudest;
        let lines = lines(loud, height);
        picture.put(&Rgb::filled(BAR, lines, FOREGROUND), bar * (BAR + GAP) + GAP / 2, (height - lines) / 2);
    }
    picture
}

/// Lines of a bar: at least two, so that silence shows as a line.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4096")]
fn lines(loud: f32, height: u32) -> u32 {
    let most = height * 4 / 5;
    ((loud.clamp(0.0, 1.0) * most as f32) as u32 / 2 * 2).clamp(2, most.max(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_stretches_have_long_bars_and_silence_a_line() {
        let picture = draw(&[0.0, 0.0, 0.5, 0.5], 24, 20);
        let lines = |x: usize| (0..20).filter(|y| picture.pixels[y * 24 + x] == FOREGROUND).count();
        assert_eq!([lines(1), lines(7), lines(13), lines(19), lines(0)], [2, 2, 16, 16, 0]);
    }

    #[test]
    fn fewer_samples_than_bars_and_samples_that_are_no_numbers_draw_all_the_same() {
        assert_eq!(draw(&[1.0], 600, 100).pixels.len(), 60_000);
        assert!([f32::NAN, f32::INFINITY].iter().all(|value| finite(*value).abs() < f32::EPSILON));
        assert_eq!([skipping(0), skipping(20_000), skipping(20_001)], [1, 1, 2]);
    }
}
