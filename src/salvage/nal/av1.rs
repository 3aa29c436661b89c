//! AV1 in low-overhead form: open bitstream units (OBUs) that say their own length, without temporal delimiters (AV1 Codec ISO Media
//! File Format Binding §2.4). A sample is what leads to one picture that is shown, with the hidden ones in front of it.

use super::{MAX_UNIT_BYTES, Picture, UnitRole};
use crate::salvage::bits::Bits;

/// Types of OBUs (AV1 bitstream specification §6.2.2).
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const TILE_GROUP: u8 = 4;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const REDUNDANT_FRAME_HEADER: u8 = 7;
const PADDING: u8 = 15;
/// What the header of a sequence header is that has a length and no extension.
pub const SEQUENCE_HEADER_BYTE: u8 = SEQUENCE_HEADER << 3 | 2;
/// Types of frames (§6.8.2).
const KEY_FRAME: u32 = 0;
const SWITCH_FRAME: u32 = 3;
/// What a field says that leaves the choice to each frame (`SELECT_SCREEN_CONTENT_TOOLS`, `SELECT_INTEGER_MV`).
const SELECT: u32 = 2;
/// Longest length field (§4.10.5).
const MOST_LENGTH_BYTES: usize = 8;
/// By how much a picture that is shown may follow on the one before by its order; one that is hidden is shown later.
const MOST_STEP: i64 = 16;
const MOST_HIDDEN_STEP: i64 = 64;

/// Whether the header of an OBU with a length of its own may begin with a byte, in a glance.
#[inline]
pub const fn may_begin(first: u8) -> bool {
    first & 0x83 == 2 && matches!(first >> 3 & 15, 1..=7 | PADDING)
}

/// The length of the OBU with its header, and what it is to its sample (§5.3).
pub fn unit(bytes: &[u8]) -> Option<(u64, UnitRole)> {
    let first = *bytes.first().filter(|first| may_begin(**first))?;
    let (length, body) = length(bytes.get(header_bytes(first)..)?)?;
    let head = bytes.len() - body.len();
    let begins = |is_sync| Some(UnitRole::Slice { is_first: true, is_sync });
    let role = match first >> 3 & 15 {
        SEQUENCE_HEADER => SequenceHeader::read(body.get(..usize::try_from(length).ok()?)?).map(|_| UnitRole::Opens),
        TEMPORAL_DELIMITER if length == 0 => Some(UnitRole::Opens),
        METADATA if length > 1 => Some(UnitRole::Opens),
        FRAME_HEADER if length > 0 => begins(is_shown_key(body)?),
        // A picture that was coded before is shown again by its header alone (§5.10).
        FRAME if length > 1 && body.first()? & 0x80 == 0 => begins(is_shown_key(body)?),
        TILE_GROUP | REDUNDANT_FRAME_HEADER if length > 0 => Some(UnitRole::Slice { is_first: false, is_sync: false }),
        PADDING => Some(UnitRole::Closes),
        _ => None,
    }?;
    (length <= MAX_UNIT_BYTES).then_some((head as u64 + length, role))
}

const fn header_bytes(first: u8) -> usize {
    1 + (first >> 2 & 1) as usize
}

/// `leb128()` and what is behind it.
fn length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(MOST_LENGTH_BYTES) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// Type and payload of the OBU that the bytes begin with, as far as they go.
fn payload(unit: &[u8]) -> Option<(u8, &[u8])> {
    let first = *unit.first()?;
    let (length, body) = length(unit.get(header_bytes(first)..)?)?;
    Some((first >> 3 & 15, &body[..body.len().min(usize::try_from(length).unwrap_or(usize::MAX))]))
}

/// Whether decoding can begin with a frame: a key frame that is shown. Of a stream of still pictures the header says less.
fn is_shown_key(header: &[u8]) -> Option<bool> {
    Some(header.first()? >> 4 == 1)
}

/// A sequence header (§5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceHeader {
    profile: u8,
    level: u8,
    tier: u8,
    is_reduced: bool,
    size: (u16, u16),
    /// Bits of the time of each picture that is shown; 0 if it has none.
    presentation_bits: u32,
    frame_id_bits: u32,
    order_bits: u32,
    screen_content: u32,
    integer_motion: u32,
    color: ColorConfig,
}

/// What `color_config()` (§5.5.2) says that a configuration repeats, as bits from `high_bitdepth` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ColorConfig {
    bits: u8,
}

impl SequenceHeader {
    /// Reads the payload of a sequence header.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(payload);
        let profile = u8::try_from(bits.u(3)?).ok().filter(|profile| *profile < 3)?;
        let is_still = bits.flag()?;
        let is_reduced = bits.flag()?;
        let points = if is_reduced {
            OperatingPoints { level: bits.u(5)?, ..OperatingPoints::default() }
        } else {
            OperatingPoints::read(&mut bits)?
        };
        let (width_bits, height_bits) = (bits.u(4)? + 1, bits.u(4)? + 1);
        let (width, height) = (bits.u(width_bits)? + 1, bits.u(height_bits)? + 1);
        let mut frame_id_bits = 0;
        if !is_reduced && bits.flag()? {
            let delta_bits = bits.u(4)? + 2;
            frame_id_bits = delta_bits + bits.u(3)? + 1;
        }
        bits.u(3)?;
        let tools = if is_reduced { Av1Tools::of_stills() } else { Av1Tools::read(&mut bits)? };
        bits.u(3)?;
        let color = color(&mut bits, profile)?;
        bits.flag()?;
        (!is_reduced || is_still).then_some(())?;
        Some(Self {
            profile,
            level: u8::try_from(points.level).ok()?,
            tier: u8::try_from(points.tier).ok()?,
            is_reduced,
            size: (u16::try_from(width).ok()?, u16::try_from(height).ok()?),
            presentation_bits: points.presentation_bits,
            frame_id_bits,
            order_bits: tools.order_bits,
            screen_content: tools.screen_content,
            integer_motion: tools.integer_motion,
            color,
        })
    }

    /// `AV1CodecConfigurationRecord` (AV1-ISOBMFF §2.3.3) with the sequence header itself.
    fn configuration(&self, unit: &[u8]) -> Vec<u8> {
        let head = [0x81, self.profile << 5 | self.level, self.tier << 7 | self.color.bits, 0];
        [&head[..], unit].concat()
    }
}

/// What the operating points and the clock (§5.5.1, §5.5.3, §5.5.4) say that is needed.
#[derive(Debug, Clone, Copy, Default)]
struct OperatingPoints {
    level: u32,
    tier: u32,
    presentation_bits: u32,
}

impl OperatingPoints {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let mut said = Self::default();
        let mut delay_bits = None;
        if bits.flag()? {
            bits.u(32)?;
            bits.u(32)?;
            let is_equal = bits.flag()?;
            if is_equal {
                bits.ue()?;
            }
            if bits.flag()? {
                delay_bits = Some(bits.u(5)? + 1);
                bits.u(32)?;
                bits.u(5)?;
                let presentation_bits = bits.u(5)? + 1;
                said.presentation_bits = if is_equal { 0 } else { presentation_bits };
            }
        }
        let has_display_delay = bits.flag()?;
        for point in 0..=bits.u(5)? {
            bits.u(12)?;
            let level = bits.u(5)?;
            let tier = if level > 7 { bits.u(1)? } else { 0 };
            if point == 0 {
                (said.level, said.tier) = (level, tier);
            }
            if let Some(delay_bits) = delay_bits
                && bits.flag()?
            {
                bits.u(delay_bits)?;
                bits.u(delay_bits)?;
                bits.u(1)?;
            }
            if has_display_delay && bits.flag()? {
                bits.u(4)?;
            }
        }
        Some(said)
    }
}

/// Tools that frame headers have fields for (§5.5.1).
#[derive(Debug, Clone, Copy)]
struct Av1Tools {
    order_bits: u32,
    screen_content: u32,
    integer_motion: u32,
}

impl Av1Tools {
    const fn of_stills() -> Self {
        Self { order_bits: 0, screen_content: SELECT, integer_motion: SELECT }
    }

    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        bits.u(4)?;
        let has_order = bits.flag()?;
        if has_order {
            bits.u(2)?;
        }
        let screen_content = if bits.flag()? { SELECT } else { bits.u(1)? };
        let integer_motion = if screen_content == 0 || bits.flag()? { SELECT } else { bits.u(1)? };
        let order_bits = if has_order { bits.u(3)? + 1 } else { 0 };
        Some(Self { order_bits, screen_content, integer_motion })
    }
}

fn color(bits: &mut Bits<'_>, profile: u8) -> Option<ColorConfig> {
    let is_high = bits.flag()?;
    let is_twelve = profile == 2 && is_high && bits.flag()?;
    let is_mono = profile != 1 && bits.flag()?;
    let described = if bits.flag()? { (bits.u(8)?, bits.u(8)?, bits.u(8)?) } else { (2, 2, 2) };
    let flags = u8::from(is_high) << 6 | u8::from(is_twelve) << 5 | u8::from(is_mono) << 4;
    if is_mono {
        bits.flag()?;
        return Some(ColorConfig { bits: flags | 0b1100 });
    }
    // sRGB is not subsampled (§6.4.2).
    let (halves_width, halves_height) = if described == (1, 13, 0) {
        (false, false)
    } else {
        bits.flag()?;
        match profile {
            0 => (true, true),
            1 => (false, false),
            _ if is_twelve => {
                let width = bits.flag()?;
                (width, width && bits.flag()?)
            }
            _ => (true, false),
        }
    };
    let position = if halves_width && halves_height { bits.u(2)? } else { 0 };
    bits.flag()?;
    let position = u8::try_from(position).ok()?;
    Some(ColorConfig { bits: flags | u8::from(halves_width) << 3 | u8::from(halves_height) << 2 | position })
}

/// The sequence header, and how far the order of pictures has come.
#[derive(Debug, Clone, Default)]
pub struct Av1Parameters {
    sequence: Option<SequenceHeader>,
    /// Order of the last picture that was shown, on from the last key frame.
    shown: i64,
    /// The same as the stream counts it.
    hint: i64,
    /// Whether hidden pictures wait for the one that is shown with them.
    waits: bool,
}

impl Av1Parameters {
    /// Takes a sequence header.
    pub fn take(&mut self, unit: &[u8]) -> bool {
        let read =
            payload(unit).filter(|(kind, _)| *kind == SEQUENCE_HEADER).and_then(|(_, body)| SequenceHeader::read(body));
        self.sequence = read.or(self.sequence);
        read.is_some()
    }

    /// Whether a sequence header is known.
    pub const fn is_usable(&self) -> bool {
        self.sequence.is_some()
    }

    /// Whether the picture that belongs to those of the open sample has not come yet.
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// After how many pictures their order begins again; 0 if there is none.
    pub fn order_period(&self) -> i64 {
        self.sequence.map_or(0, |sequence| if sequence.order_bits == 0 { 0 } else { 1 << sequence.order_bits })
    }

    /// Size in samples, if it is known.
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        self.sequence.map(|sequence| sequence.size)
    }

    /// Reads the beginning of a frame header (§5.9.2) as far as its order.
    pub fn picture(&mut self, unit: &[u8]) -> Option<Picture> {
        let sequence = self.sequence?;
        let (_, header) = payload(unit)?;
        let continues = self.waits;
        let shared = |order, is_consistent| Picture {
            order,
            begins_sequence: false,
            is_second_field: continues,
            is_consistent,
            is_next: is_consistent,
        };
        let mut bits = Bits::new(header);
        if !sequence.is_reduced && bits.flag()? {
            // One that was hidden is shown: the next in order.
            (self.shown, self.hint, self.waits) = (self.shown + 1, self.hint + 1, false);
            return Some(shared(self.shown, true));
        }
        let frame = Av1FrameHeader::read(&mut bits, &sequence)?;
        self.waits = !frame.is_shown;
        if frame.is_shown && frame.is_key {
            (self.shown, self.hint) = (0, frame.order);
            return Some(Picture {
                order: 0,
                begins_sequence: true,
                is_second_field: continues,
                is_consistent: true,
                is_next: true,
            });
        }
        let period = self.order_period();
        let step = if period == 0 { 1 } else { (frame.order - self.hint).rem_euclid(period) };
        let most = if frame.is_shown { MOST_STEP } else { MOST_HIDDEN_STEP };
        // A hidden key frame begins a count of its own.
        let is_consistent = (1..=most).contains(&step) || frame.is_key;
        if frame.is_shown {
            (self.shown, self.hint) = (self.shown + step, frame.order);
        }
        Some(shared(self.shown, is_consistent))
    }
}

/// The beginning of a frame header.
struct Av1FrameHeader {
    is_key: bool,
    is_shown: bool,
    order: i64,
}

impl Av1FrameHeader {
    fn read(bits: &mut Bits<'_>, sequence: &SequenceHeader) -> Option<Self> {
        if sequence.is_reduced {
            return Some(Self { is_key: true, is_shown: true, order: 0 });
        }
        let (kind, is_shown) = (bits.u(2)?, bits.flag()?);
        if is_shown {
            bits.u(sequence.presentation_bits)?;
        } else {
            bits.flag()?;
        }
        if kind != SWITCH_FRAME && !(kind == KEY_FRAME && is_shown) {
            bits.flag()?;
        }
        bits.flag()?;
        let tools = if sequence.screen_content == SELECT { bits.u(1)? } else { sequence.screen_content };
        if tools > 0 && sequence.integer_motion == SELECT {
            bits.flag()?;
        }
        bits.u(sequence.frame_id_bits)?;
        if kind != SWITCH_FRAME {
            bits.flag()?;
        }
        Some(Self { is_key: kind == KEY_FRAME, is_shown, order: i64::from(bits.u(sequence.order_bits)?) })
    }
}

/// `av1C` made of sequence headers that came along; the last one counts.
pub fn configuration(units: &[Vec<u8>]) -> Option<Vec<u8>> {
    let of = |unit: &Vec<u8>| {
        let (kind, body) = payload(unit)?;
        (kind == SEQUENCE_HEADER).then(|| SequenceHeader::read(body))?.map(|sequence| sequence.configuration(unit))
    };
    units.iter().rev().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SVT-AV1 writes for pictures of 320 x 240 in 8 bits (FFmpeg 5.1).
    const SEQUENCE: [u8; 13] = [0x0A, 0x0B, 0x00, 0x00, 0x00, 0x04, 0x3C, 0xFF, 0xBC, 0xFB, 0xF9, 0x00, 0x40];

    #[test]
    fn units_say_their_length_and_role() {
        assert_eq!(unit(&[0x12, 0]), Some((2, UnitRole::Opens)));
        assert_eq!(unit(&[0x12, 1, 0]), None, "a delimiter holds nothing");
        let key = UnitRole::Slice { is_first: true, is_sync: true };
        assert_eq!(unit(&[0x32, 0x85, 0x02, 0x10, 9, 9]), Some((3 + 261, key)));
        assert_eq!(
            unit(&[0x36, 0, 2, 0x30, 0]),
            Some((5, UnitRole::Slice { is_first: true, is_sync: false })),
            "extension"
        );
        assert_eq!(unit(&[0x32, 2, 0x90, 0]), None, "a picture that is shown again has no tiles");
        for first in [0x21, 0x00, 0x30, 0xB2, 0x33, 0x42] {
            assert_eq!(unit(&[first, 2, 0, 0]), None, "{first:#x}");
        }
    }

    #[test]
    fn a_sample_ends_with_the_picture_that_is_shown() {
        let mut parameters = Av1Parameters::default();
        assert_eq!(parameters.picture(&[0x32, 2, 0x10, 0]), None);
        assert!(parameters.take(&SEQUENCE), "{parameters:?}");
        assert_eq!(parameters.dimensions(), Some((320, 240)));
        let configuration = configuration(&[SEQUENCE.to_vec()]).unwrap();
        assert_eq!((configuration[0], &configuration[4..]), (0x81, &SEQUENCE[..]));
        // Type of frame and whether it is shown, a few flags, and the order in seven bits.
        let frame = |kind: u32, is_shown: bool, order: u32| {
            let flags = if kind == KEY_FRAME && is_shown { 3 } else { 5 - u32::from(is_shown) };
            let bits = kind << 29 | u32::from(is_shown) << 28 | order << (28 - flags - 7);
            [&[0x32, 4][..], &bits.to_be_bytes()].concat()
        };
        let mut seen = |unit: &[u8]| {
            let picture = parameters.picture(unit).unwrap();
            (picture.order, picture.is_second_field, picture.is_consistent, parameters.waits())
        };
        assert_eq!(seen(&frame(0, true, 0)), (0, false, true, false));
        assert_eq!(seen(&frame(1, false, 8)), (0, false, true, true), "hidden");
        assert_eq!(seen(&frame(1, true, 1)), (1, true, true, false), "shown with it");
        assert_eq!(seen(&[0x1A, 1, 0xA0]), (2, false, true, false), "shown again");
        assert_eq!(seen(&frame(1, true, 3)), (3, false, true, false));
        assert!(!seen(&frame(1, true, 90)).2, "far away");
    }
}
