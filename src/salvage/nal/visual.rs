//! MPEG-4 Visual: start codes and picture times (ISO/IEC 14496-2).
//!
//! A picture has no length: it ends where the next start code or the next element of another kind begins. Start codes
//! cannot occur inside one (§6.2.1), so one is as good as a proof.

use super::Picture;
use crate::salvage::bits::Bits;

/// `vop_start_code`.
const PICTURE: u8 = 0xB6;
/// `group_of_vop_start_code`.
const GROUP: u8 = 0xB3;
/// Most of one header in front of a picture that is believed: sequence, object, layer, group, user data.
const MOST_HEADER_BYTES: usize = 192;
/// Most behind the start codes of a group (§6.2.4: 20 bits) and of a visual object (§6.2.2).
const MOST_GROUP_BYTES: usize = 8;
const MOST_OBJECT_BYTES: usize = 24;
/// Most of all of them.
const MOST_HEADERS_BYTES: usize = 2048;

/// Whether a start code stands here that a sample may begin with (§6.2.1, Table 6-3), in a glance: sound may look the
/// same.
#[inline]
pub fn may_begin(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 1, PICTURE | GROUP | 0xB0 | 0xB2 | 0xB5 | 0x00..=0x2F, ..])
}

/// Whether a sample begins here: its headers are short and lead to a picture.
#[inline]
pub fn begins(bytes: &[u8]) -> bool {
    may_begin(bytes) && picture_at(bytes).is_some()
}

/// The place of the next start code in `bytes`, from `from` on.
pub fn next_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(three) = bytes.get(at..at + 3) {
        match three {
            [0, 0, 1] => return Some(at),
            [_, _, 2..=255] => at += 3,
            [_, 1..=255, _] => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Where the picture's own start code lies in a sample that begins here.
pub fn picture_at(sample: &[u8]) -> Option<usize> {
    let sample = &sample[..sample.len().min(MOST_HEADERS_BYTES)];
    let mut at = 0;
    while may_begin(sample.get(at..)?) {
        if sample.get(at + 3) == Some(&PICTURE) {
            return Some(at);
        }
        let header = sample.get(at..sample.len().min(at + MOST_HEADER_BYTES))?;
        let length = next_code(header, 4)?;
        is_header(&header[3..length]).then_some(())?;
        at += length;
    }
    None
}

/// Whether a header may say what it says, from its start code value on: silence in AAC looks like a start code, too.
fn is_header(header: &[u8]) -> bool {
    match header {
        // An object is a start code only, directly in front of its layer (§6.2.2).
        [0x00..=0x1F] | [0xB2, ..] => true,
        [0x20..=0x2F, layer @ ..] => layer_resolution(layer).is_some(),
        [GROUP, time @ ..] => time.len() <= MOST_GROUP_BYTES,
        [0xB0, _profile] => true,
        [0xB5, object @ ..] => object.len() <= MOST_OBJECT_BYTES,
        _ => false,
    }
}

/// What a picture's header needs of the layer, and where the clock stands.
#[derive(Debug, Clone, Default)]
pub struct VisualParameters {
    /// `vop_time_increment_resolution`: ticks per second; 0 if no layer header was read.
    resolution: u32,
    /// Whole seconds of the last two pictures that are no B-pictures, the later one first.
    seconds: (i64, i64),
    has_begun: bool,
}

impl VisualParameters {
    /// Takes the headers that hold a `VideoObjectLayer()` (§6.2.3).
    pub fn take(&mut self, headers: &[u8]) -> bool {
        let mut at = 0;
        while let Some(code) = next_code(headers, at) {
            if matches!(headers.get(code + 3), Some(0x20..=0x2F))
                && let Some(resolution) = headers.get(code + 4..).and_then(layer_resolution)
            {
                self.resolution = resolution;
                return true;
            }
            at = code + 4;
        }
        false
    }

    /// Whether the times of pictures can be read.
    pub const fn is_usable(&self) -> bool {
        self.resolution > 0
    }

    /// Reads the time of a picture (§6.2.5), in frames where the layer counts in frames.
    pub fn picture(&mut self, sample: &[u8]) -> Option<Picture> {
        if self.resolution == 0 {
            return None;
        }
        let at = picture_at(sample)?;
        if let Some(second) = group_second(&sample[..at]) {
            self.seconds = (second, second);
        }
        let mut bits = Bits::new(sample.get(at + 4..)?);
        let kind = bits.u(2)?;
        let mut later = 0;
        while bits.flag()? {
            later += 1;
        }
        bits.flag().filter(|marker| *marker)?;
        let ticks = i64::from(bits.u(32 - (self.resolution - 1).max(1).leading_zeros())?);
        let is_b = kind == 2;
        let second = if is_b { self.seconds.1 + later } else { self.seconds.0 + later };
        if !is_b {
            self.seconds = (second, self.seconds.0);
        }
        let step = if self.resolution.is_multiple_of(1000) && self.resolution > 1000 { 1001 } else { 1 };
        let begins_sequence = !std::mem::replace(&mut self.has_begun, true);
        let order = (second * i64::from(self.resolution) + ticks) / step;
        Some(Picture { order, begins_sequence, is_second_field: false, is_consistent: true, is_next: true })
    }
}

/// Whether decoding can begin with a sample: its picture is an I-VOP.
pub fn is_sync(sample: &[u8]) -> bool {
    picture_at(sample).and_then(|at| sample.get(at + 4)).is_some_and(|first| first >> 6 == 0)
}

/// The time that a group of pictures begins with, in whole seconds (§6.2.4).
fn group_second(headers: &[u8]) -> Option<i64> {
    let at = headers.windows(4).position(|window| window == [0, 0, 1, GROUP])?;
    let mut bits = Bits::new(headers.get(at + 4..)?);
    let (hours, minutes) = (bits.u(5)?, bits.u(6)?);
    bits.flag().filter(|marker| *marker)?;
    Some(i64::from(hours * 3600 + minutes * 60 + bits.u(6)?))
}

/// `vop_time_increment_resolution` of a layer header behind its start code (§6.2.3).
fn layer_resolution(body: &[u8]) -> Option<u32> {
    let mut bits = Bits::new(body);
    bits.u(9)?;
    if bits.flag()? {
        bits.u(7)?;
    }
    if bits.u(4)? == 15 {
        bits.u(16)?;
    }
    if bits.flag()? {
        bits.u(3)?;
        if bits.flag()? {
            (0..79).try_for_each(|_| bits.u(1).map(drop))?;
        }
    }
    let is_rectangular = bits.u(2)? == 0;
    bits.flag().filter(|marker| *marker && is_rectangular)?;
    bits.u(16).filter(|resolution| *resolution > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_are_found_and_others_are_not() {
        let bytes = [0, 0, 0, 1, 0xB6, 0, 1, 2, 0, 0, 2, 0, 0, 1, 0xB3];
        assert_eq!((next_code(&bytes, 0), next_code(&bytes, 2)), (Some(1), Some(11)));
        assert!(begins(&bytes[1..]) && may_begin(&bytes[11..]) && !begins(&bytes[11..]) && !begins(&bytes));
        assert_eq!(picture_at(&[0, 0, 1, 0xB3, 9, 9, 0, 0, 1, 0xB6, 0x10]), Some(6));
    }

    #[test]
    fn silence_is_no_header() {
        let picture = [0, 0, 1, 0xB6, 0x59, 0xF0];
        for code in [0x1C, 0x23] {
            let sound = [&[0, 0, 1, code, 0x99, 0x57, 0x43, 0xC2, 0x66, 0x70, 0xC0][..], &picture].concat();
            assert!(may_begin(&sound) && !begins(&sound), "{code:#x}");
        }
        let object = [&[0, 0, 1, 0xB0, 1, 0, 0, 1, 0xB5, 0x89, 0x13, 0, 0, 1, 0][..], &picture].concat();
        assert!(begins(&object));
    }

    #[test]
    fn pictures_have_the_times_of_their_headers() {
        // What FFmpeg writes for 25 frames per second: resolution 25, five bits of ticks.
        let layer = [0, 0, 1, 0x20, 0x00, 0xC4, 0x88, 0x80, 0x0C, 0xF5, 0x14, 0x04, 0x2E, 0x14, 0x63];
        let mut parameters = VisualParameters::default();
        assert!(parameters.take(&layer) && parameters.is_usable(), "{parameters:?}");
        let vop = |kind: u8, later: u8, ticks: u8| {
            let bits = u16::from(kind) << 14 | u16::from(later) << 13;
            let after = 13 - u16::from(later);
            let bits = bits | 1 << (after - 1) | u16::from(ticks) << (after - 6);
            [&[0, 0, 1, 0xB6][..], &bits.to_be_bytes(), &[0xFF]].concat()
        };
        let orders: Vec<i64> = [vop(0, 0, 0), vop(1, 0, 24), vop(1, 1, 0)]
            .iter()
            .map(|sample| parameters.picture(sample).unwrap().order)
            .collect();
        assert_eq!(orders, [0, 24, 25]);
        // A group that begins at two seconds: hours 0, minutes 0, marker, seconds 2.
        let group = [&[0, 0, 1, GROUP, 0x00, 0x10, 0x80][..], &vop(0, 0, 3)].concat();
        assert_eq!(parameters.picture(&group).unwrap().order, 53);
        assert!(is_sync(&vop(0, 0, 0)) && !is_sync(&vop(1, 0, 0)));
    }
}
