//! Parameter sets of H.264 as far as slice headers need them (ITU-T H.264 §7.3.2.1, §7.3.2.2), and whether they are whole.

use crate::isobmff::PixelAspect;
use crate::salvage::bits::{Bits, unescaped};
use crate::salvage::nal::aspect;
use crate::salvage::nal::whole::ends_at;

/// Profiles whose parameter sets say the chroma format (§7.3.2.1.1).
const CHROMA_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// Most macroblocks in a row or a column that are believed.
pub(super) const MOST_MACROBLOCKS: u32 = 1024;

/// What a slice header needs of a sequence parameter set (§7.3.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AvcSps {
    pub(super) id: u32,
    pub(super) chroma: u32,
    pub(super) has_separate_planes: bool,
    /// By how many bits luma samples are longer than 8.
    pub(super) more_bits: i32,
    pub(super) frame_num_bits: u32,
    pub(super) order: OrderType,
    pub(super) is_frames_only: bool,
    /// In a frame.
    pub(super) macroblocks: u64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) aspect: PixelAspect,
    pub(super) frame_duration: Option<(u32, u32)>,
    pub(super) reorder: Option<u32>,
    /// Whether it ends where the unit does.
    pub(super) is_whole: bool,
}

/// `pic_order_cnt_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderType {
    /// The slice says the low bits.
    Lsb(u32),
    /// By a cycle of frame numbers.
    Cycle { has_deltas: bool },
    /// Output order is decoding order.
    Decoding,
}

impl AvcSps {
    pub(super) fn read(unit: &[u8]) -> Option<Self> {
        let payload = unescaped(unit.get(1..)?);
        let mut bits = Bits::new(&payload);
        let profile = bits.u(8)?;
        bits.u(16)?;
        let id = bits.ue().filter(|id| *id < 32)?;
        let mut has_separate_planes = false;
        let (mut chroma, mut more_bits) = (1, 0);
        if CHROMA_PROFILES.contains(&profile) {
            chroma = bits.ue().filter(|c| *c <= 3)?;
            has_separate_planes = chroma == 3 && bits.flag()?;
            more_bits = bits.ue().and_then(|bits| i32::try_from(bits).ok()).filter(|bits| *bits <= 6)?;
            (bits.ue()? <= 6).then_some(())?;
            bits.u(1)?;
            if bits.flag()? {
                scaling_matrix(&mut bits, if chroma == 3 { 12 } else { 8 })?;
            }
        }
        let frame_num_bits = bits.ue().filter(|n| *n <= 12)? + 4;
        let order = order_type(&mut bits)?;
        (bits.ue()? <= 16).then_some(())?;
        bits.u(1)?;
        let (columns, rows) = (size(&mut bits)?, size(&mut bits)?);
        let is_frames_only = bits.flag()?;
        if !is_frames_only {
            bits.u(1)?;
        }
        bits.u(1)?;
        let height_units = if is_frames_only { 1 } else { 2 };
        let (cut_x, cut_y) = cropping(&mut bits, chroma, height_units)?;
        let has_usability = bits.flag()?;
        let aspect = if has_usability { aspect(&mut bits.clone()) } else { None };
        let usability = if has_usability { usability(&mut bits) } else { Some(VuiUsability::NONE) };
        let VuiUsability { frame_duration, reorder, is_read } = usability.unwrap_or_default();
        let is_whole = is_read && ends_at(&payload, &bits);
        // Cropping leaves something of the picture (§7.4.2.1.1).
        let width = (columns * 16).checked_sub(cut_x).filter(|width| *width > 0)?;
        let height = (rows * 16 * height_units).checked_sub(cut_y).filter(|height| *height > 0)?;
        Some(Self {
            id,
            chroma,
            has_separate_planes,
            more_bits,
            frame_num_bits,
            order,
            is_frames_only,
            macroblocks: u64::from(columns) * u64::from(rows) * u64::from(height_units),
            width,
            height,
            aspect: aspect.unwrap_or(PixelAspect::SQUARE),
            frame_duration,
            reorder,
            is_whole,
        })
    }
}

fn size(bits: &mut Bits<'_>) -> Option<u32> {
    bits.ue().map(|n| n.saturating_add(1)).filter(|n| *n <= MOST_MACROBLOCKS)
}

fn order_type(bits: &mut Bits<'_>) -> Option<OrderType> {
    match bits.ue()? {
        0 => Some(OrderType::Lsb(bits.ue().filter(|n| *n <= 12)? + 4)),
        1 => {
            let has_deltas = !bits.flag()?;
            bits.se()?;
            bits.se()?;
            let cycle = bits.ue().filter(|n| *n <= 255)?;
            (0..cycle).try_for_each(|_| bits.se().map(drop))?;
            Some(OrderType::Cycle { has_deltas })
        }
        2 => Some(OrderType::Decoding),
        _ => None,
    }
}

fn scaling_matrix(bits: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8_i32, 8_i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se().filter(|d| (-128..=127).contains(d))? + 256) % 256;
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Pixels that are cut off in width and height (Equations 7-19 ff.).
fn cropping(bits: &mut Bits<'_>, chroma: u32, height_units: u32) -> Option<(u32, u32)> {
    if !bits.flag()? {
        return Some((0, 0));
    }
    let x = bits.ue()?.checked_add(bits.ue()?)?;
    let y = bits.ue()?.checked_add(bits.ue()?)?;
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 };
    Some((x.checked_mul(unit_x)?, y.checked_mul(unit_y * height_units)?))
}

/// What the VUI parameters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct VuiUsability {
    frame_duration: Option<(u32, u32)>,
    reorder: Option<u32>,
    /// Whether they were read to their end.
    is_read: bool,
}

impl VuiUsability {
    /// Where there are none.
    const NONE: Self = Self { frame_duration: None, reorder: None, is_read: true };
}

/// VUI parameters (§E.1.1): frame duration and reordering.
fn usability(bits: &mut Bits<'_>) -> Option<VuiUsability> {
    aspect(bits)?;
    if bits.flag()? {
        bits.u(1)?;
    }
    if bits.flag()? {
        bits.u(4)?;
        if bits.flag()? {
            bits.u(24)?;
        }
    }
    if bits.flag()? {
        bits.ue()?;
        bits.ue()?;
    }
    let mut duration = None;
    if bits.flag()? {
        let (ticks, scale) = (bits.u(32)?, bits.u(32)?);
        bits.u(1)?;
        duration = ticks.checked_mul(2).filter(|t| *t > 0 && scale > 0).map(|ticks| (ticks, scale));
    }
    let read = VuiUsability { frame_duration: duration, ..VuiUsability::default() };
    Some(restriction(bits).map_or(read, |(reorder, is_read)| VuiUsability { reorder, is_read, ..read }))
}

/// By how many pictures output lags behind decoding, and whether all was read.
fn restriction(bits: &mut Bits<'_>) -> Option<(Option<u32>, bool)> {
    let has_nal = bits.flag()?;
    if has_nal {
        reference_decoder(bits)?;
    }
    let has_vcl = bits.flag()?;
    if has_vcl {
        reference_decoder(bits)?;
    }
    if has_nal || has_vcl {
        bits.u(1)?;
    }
    bits.u(1)?;
    if !bits.flag()? {
        return Some((None, true));
    }
    bits.u(1)?;
    for _ in 0..4 {
        bits.ue()?;
    }
    let reorder = bits.ue().filter(|n| *n <= 16)?;
    Some((Some(reorder), bits.ue().is_some()))
}

/// `hrd_parameters()` (§E.1.2).
fn reference_decoder(bits: &mut Bits<'_>) -> Option<()> {
    let count = bits.ue().filter(|n| *n < 32)? + 1;
    bits.u(8)?;
    for _ in 0..count {
        bits.ue()?;
        bits.ue()?;
        bits.u(1)?;
    }
    bits.u(20).map(drop)
}

/// What a slice header needs of a picture parameter set (§7.3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the standard")]
pub(super) struct AvcPps {
    pub(super) id: u32,
    pub(super) sps: u32,
    pub(super) has_cabac: bool,
    pub(super) has_bottom_delta: bool,
    pub(super) slice_groups: u32,
    /// Usual lengths of both lists of reference pictures.
    pub(super) references: (u32, u32),
    pub(super) is_weighted: bool,
    pub(super) weighted_bipred: u32,
    /// Quantiser step before the slice's own difference.
    pub(super) first_step: i32,
    pub(super) has_deblocking: bool,
    pub(super) has_redundant_pictures: bool,
    /// Whether it ends where the unit does.
    pub(super) is_whole: bool,
}

impl AvcPps {
    pub(super) fn read(unit: &[u8]) -> Option<Self> {
        let payload = unescaped(unit.get(1..)?);
        let mut bits = Bits::new(&payload);
        let mut read = Self {
            id: bits.ue().filter(|id| *id < 256)?,
            sps: bits.ue().filter(|id| *id < 32)?,
            has_cabac: bits.flag()?,
            has_bottom_delta: bits.flag()?,
            slice_groups: bits.ue()?.saturating_add(1),
            references: (1, 1),
            is_weighted: false,
            weighted_bipred: 0,
            first_step: 0,
            has_deblocking: false,
            has_redundant_pictures: false,
            is_whole: false,
        };
        // How slice groups are laid out stands here; what follows is not read then.
        if read.slice_groups == 1 {
            let mut length = || bits.ue().filter(|n| *n < 32).map(|n| n + 1);
            read.references = (length()?, length()?);
            read.is_weighted = bits.flag()?;
            read.weighted_bipred = bits.u(2).filter(|kind| *kind <= 2)?;
            read.first_step = bits.se()?.checked_add(26)?;
            bits.se()?;
            bits.se()?;
            read.has_deblocking = bits.flag()?;
            bits.u(1)?;
            read.has_redundant_pictures = bits.flag()?;
            read.is_whole = ends_at(&payload, &bits) || has_extension(&payload, &bits);
        }
        Some(read)
    }
}

/// What the High profiles put at the end of a picture parameter set (§7.3.2.2), and nothing behind it.
fn has_extension(payload: &[u8], bits: &Bits<'_>) -> bool {
    // How many lists there are depends on the chroma format, which stands in the other set.
    [2, 6].into_iter().any(|lists_of_8| {
        let mut bits = bits.clone();
        let mut read = || {
            let lists = if bits.flag()? { 6 + lists_of_8 } else { 6 };
            if bits.flag()? {
                scaling_matrix(&mut bits, lists)?;
            }
            bits.se().filter(|offset| (-12..=12).contains(offset))
        };
        read().is_some() && ends_at(payload, &bits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameter sets that x264 wrote for 640×360 at 25 frames per second, High profile.
    const SPS_UNIT: [u8; 25] = [
        0x67, 0x64, 0x00, 0x1E, 0xAC, 0xD9, 0x40, 0xA0, 0x2F, 0xF9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
        0x00, 0x03, 0x00, 0x32, 0x0F, 0x16, 0x2D,
    ];

    #[test]
    fn a_sequence_parameter_set_says_size_and_rate() {
        let sps = AvcSps::read(&SPS_UNIT).unwrap();
        assert_eq!((sps.width, sps.height, sps.is_frames_only), (640, 360, true));
        assert_eq!(sps.frame_duration, Some((2, 50)));
    }

    #[test]
    fn a_set_that_is_cut_or_goes_on_is_not_whole() {
        const PPS_UNIT: [u8; 6] = [0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0];
        let whole = [&SPS_UNIT[..], &[0x96]].concat();
        assert!(AvcSps::read(&whole).unwrap().is_whole && AvcPps::read(&PPS_UNIT).unwrap().is_whole);
        let longer = |unit: &[u8]| [unit, &[0x9A]].concat();
        assert!(
            !AvcSps::read(&longer(&whole)).unwrap().is_whole && !AvcPps::read(&longer(&PPS_UNIT)).unwrap().is_whole
        );
        assert!(!AvcSps::read(&SPS_UNIT).unwrap().is_whole, "its last byte is missing");
        assert!(AvcPps::read(&PPS_UNIT[..4]).is_none_or(|pps| !pps.is_whole));
    }
}
