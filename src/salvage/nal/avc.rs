//! H.264: unit headers, parameter sets as far as slice headers need them, and picture order (ITU-T H.264).

use std::collections::BTreeMap;

mod header;

use super::{Picture, Role, SLICE_PREFIX_BYTES, aspect, unwrapped};
use crate::isobmff::Aspect;
use crate::salvage::bits::{Bits, unescaped};

const SLICE: u8 = 1;
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
/// Profiles whose parameter sets say the chroma format (§7.3.2.1.1).
const CHROMA_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// Most macroblocks in a row or a column that are believed.
const MOST_MACROBLOCKS: u32 = 1024;

/// The role of a unit by its header (§7.4.1, Table 7-1).
pub fn role(unit: &[u8], length: u64) -> Option<Role> {
    let header = *unit.first()?;
    let (kind, is_reference) = (header & 0x1F, header & 0x60 != 0);
    if header & 0x80 != 0 || length < 2 {
        return None;
    }
    match kind {
        SLICE | IDR if kind == SLICE || is_reference => slice_role(unit.get(1..)?, kind),
        6 | 14 if kind == 14 || !is_reference => Some(Role::Opens),
        9 if !is_reference && length == 2 => Some(Role::Opens),
        SPS if is_reference && length < 1024 && Sps::read(unit).is_some() => Some(Role::Opens),
        PPS if is_reference && length < 1024 && Pps::read(unit).is_some() => Some(Role::Opens),
        13 | 15 if is_reference && length < 1024 => Some(Role::Opens),
        10 | 11 if !is_reference && length <= 2 => Some(Role::Closes),
        12 if !is_reference
            && unit.get(1..6).is_none_or(|fill| fill.iter().take(4).all(|b| *b == 0xFF || *b == 0x80)) =>
        {
            Some(Role::Closes)
        }
        20 => Some(Role::Slice { is_first: false, is_sync: false }),
        _ => None,
    }
}

/// `first_mb_in_slice` and `slice_type` stand first and need no parameter set (§7.3.3).
fn slice_role(payload: &[u8], kind: u8) -> Option<Role> {
    let mut bits = Bits::new(payload.get(..payload.len().min(12))?);
    let first = bits.ue()?;
    let slice_type = bits.ue()?;
    let set = bits.ue()?;
    let is_possible = first < MOST_MACROBLOCKS * MOST_MACROBLOCKS && slice_type <= 9 && set <= 255;
    let is_intra = matches!(slice_type, 2 | 4 | 7 | 9);
    (is_possible && (kind != IDR || is_intra)).then_some(Role::Slice { is_first: first == 0, is_sync: kind == IDR })
}

/// What a slice header needs of a sequence parameter set (§7.3.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sps {
    id: u32,
    chroma: u32,
    has_separate_planes: bool,
    /// By how many bits luma samples are longer than 8.
    more_bits: i32,
    frame_num_bits: u32,
    order: OrderType,
    is_frames_only: bool,
    /// In a frame.
    macroblocks: u64,
    width: u32,
    height: u32,
    aspect: Aspect,
    frame_duration: Option<(u32, u32)>,
    reorder: Option<u32>,
}

/// `pic_order_cnt_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OrderType {
    /// The slice says the low bits.
    Lsb(u32),
    /// By a cycle of frame numbers.
    Cycle { has_deltas: bool },
    /// Output order is decoding order.
    Decoding,
}

impl Sps {
    fn read(unit: &[u8]) -> Option<Self> {
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
        let (frame_duration, reorder) =
            if has_usability { usability(&mut bits).unwrap_or_default() } else { (None, None) };
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
            aspect: aspect.unwrap_or(Aspect::SQUARE),
            frame_duration,
            reorder,
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

type Usability = (Option<(u32, u32)>, Option<u32>);

/// VUI parameters (§E.1.1): frame duration and reordering.
fn usability(bits: &mut Bits<'_>) -> Option<Usability> {
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
    let reorder = restriction(bits);
    Some((duration, reorder))
}

fn restriction(bits: &mut Bits<'_>) -> Option<u32> {
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
        return None;
    }
    bits.u(1)?;
    for _ in 0..4 {
        bits.ue()?;
    }
    bits.ue().filter(|n| *n <= 16)
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
struct Pps {
    id: u32,
    sps: u32,
    has_cabac: bool,
    has_bottom_delta: bool,
    slice_groups: u32,
    /// Usual lengths of both lists of reference pictures.
    references: (u32, u32),
    is_weighted: bool,
    weighted_bipred: u32,
    /// Quantiser step before the slice's own difference.
    first_step: i32,
    has_deblocking: bool,
    has_redundant_pictures: bool,
}

impl Pps {
    fn read(unit: &[u8]) -> Option<Self> {
        let payload = unescaped(unit.get(1..unit.len().min(64))?);
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
        }
        Some(read)
    }
}

/// What a slice header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    is_idr: bool,
    is_reference: bool,
    frame_num: i64,
    field: Option<bool>,
    order_lsb: i64,
    /// Whether a header with these parameter sets may look so.
    is_possible: bool,
}

/// Parameter sets by id, and where the picture order stands (§8.2.1).
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    sps: BTreeMap<u32, Sps>,
    pps: BTreeMap<u32, Pps>,
    /// The first active set, for what is said about the whole track.
    last: Option<Slice>,
    /// Order count of the last reference picture.
    reference_order: i64,
    /// Frame number without its wrap, in this sequence.
    frame_count: i64,
}

impl Parameters {
    /// Takes SPS and PPS units.
    pub fn take(&mut self, unit: &[u8]) -> bool {
        match unit.first().map(|header| header & 0x1F) {
            Some(SPS) => Sps::read(unit).map(|sps| self.sps.insert(sps.id, sps)).is_some(),
            Some(PPS) => Pps::read(unit).map(|pps| self.pps.insert(pps.id, pps)).is_some(),
            _ => false,
        }
    }

    /// Whether there is a picture parameter set with its sequence parameter set.
    pub fn is_usable(&self) -> bool {
        self.pps.values().any(|pps| self.sps.contains_key(&pps.sps))
    }

    fn any(&self) -> Option<&Sps> {
        self.pps.values().find_map(|pps| self.sps.get(&pps.sps))
    }

    /// See [`super::Parameters::order_period`].
    pub fn order_period(&self) -> i64 {
        match self.any().map(|sps| (sps.order, sps.frame_num_bits)) {
            Some((OrderType::Lsb(bits), _)) => 1 << bits,
            Some((_, bits)) => 2 << bits,
            None => 0,
        }
    }

    /// See [`super::Parameters::reorder`].
    pub fn reorder(&self) -> Option<u32> {
        let sps = self.any()?;
        sps.reorder.or((sps.order == OrderType::Decoding).then_some(0))
    }

    /// See [`super::Parameters::dimensions`].
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        let sps = self.any()?;
        Some((u16::try_from(sps.width).ok()?, u16::try_from(sps.height).ok()?))
    }

    /// See [`super::Parameters::aspect`].
    pub fn aspect(&self) -> Option<Aspect> {
        self.any().map(|sps| sps.aspect)
    }

    /// See [`super::Parameters::frame_duration`].
    pub fn frame_duration(&self) -> Option<(u32, u32)> {
        self.any()?.frame_duration
    }

    fn slice(&self, unit: &[u8]) -> Option<(Slice, &Sps)> {
        let header = *unit.first()?;
        let payload = unescaped(unit.get(1..unit.len().min(SLICE_PREFIX_BYTES))?);
        let mut bits = Bits::new(&payload);
        let (first_macroblock, slice_type) = (bits.ue()?, bits.ue()?);
        let pps = self.pps.get(&bits.ue()?)?;
        let sps = self.sps.get(&pps.sps)?;
        if sps.has_separate_planes {
            bits.u(2)?;
        }
        let frame_num = i64::from(bits.u(sps.frame_num_bits)?);
        let field = if !sps.is_frames_only && bits.flag()? { Some(bits.flag()?) } else { None };
        let (is_idr, is_reference) = (header & 0x1F == IDR, header & 0x60 != 0);
        let idr_pic_id = if is_idr { Some(bits.ue()?) } else { None };
        let order_lsb = match sps.order {
            OrderType::Lsb(width) => i64::from(bits.u(width)?),
            OrderType::Cycle { has_deltas: true } => i64::from(bits.se()?),
            _ => 0,
        };
        let has_more_order = matches!(sps.order, OrderType::Lsb(_) | OrderType::Cycle { has_deltas: true });
        if pps.has_bottom_delta && field.is_none() && has_more_order {
            bits.se()?;
        }
        let said = header::Said { first_macroblock, slice_type, idr_pic_id, is_reference, is_field: field.is_some() };
        let is_possible = header::is_possible(said, &mut bits, (sps, pps));
        Some((Slice { is_idr, is_reference, frame_num, field, order_lsb, is_possible }, sps))
    }

    /// See [`super::Parameters::picture`].
    pub fn picture(&mut self, unit: &[u8]) -> Option<Picture> {
        let (slice, sps) = self.slice(unit)?;
        let (order, max_frame_num) = (sps.order, 1_i64 << sps.frame_num_bits);
        let last = self.last.replace(slice);
        let is_second_field = last.is_some_and(|last| {
            let is_pair = slice.field.is_some() && last.field.is_some() && slice.field != last.field;
            is_pair && slice.frame_num == last.frame_num && slice.field == Some(true)
        });
        if slice.is_idr {
            self.reference_order = 0;
            self.frame_count = 0;
        } else {
            self.frame_count = unwrapped(slice.frame_num, self.frame_count, max_frame_num);
        }
        let is_consistent = match last {
            _ if slice.is_idr => slice.frame_num == 0,
            Some(last) => {
                let step = (slice.frame_num - last.frame_num).rem_euclid(max_frame_num);
                step == 0 || step == 1
            }
            None => true,
        } && slice.is_possible;
        let order = match order {
            OrderType::Lsb(width) => unwrapped(slice.order_lsb, self.reference_order, 1 << width),
            // Without B-pictures a picture that is no reference has the number of the one that follows it.
            _ => 2 * self.frame_count - i64::from(!slice.is_reference),
        };
        if slice.is_reference {
            self.reference_order = order;
        }
        Some(Picture { order, begins_sequence: slice.is_idr && !is_second_field, is_second_field, is_consistent })
    }
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
        let sps = Sps::read(&SPS_UNIT).unwrap();
        assert_eq!((sps.width, sps.height, sps.is_frames_only), (640, 360, true));
        assert_eq!(sps.frame_duration, Some((2, 50)));
    }

    #[test]
    fn headers_that_contradict_themselves_are_no_units() {
        assert_eq!(role(&[0x80 | 5, 0x88], 2), None);
        assert_eq!(role(&[0x05, 0x88, 0x84], 3), None, "an IDR picture is always a reference");
        assert_eq!(role(&[0x09, 0xF0], 2), Some(Role::Opens));
        assert_eq!(role(&[0x65, 0x88, 0x84], 3), Some(Role::Slice { is_first: true, is_sync: true }));
    }
}
