//! H.265: unit headers, parameter sets as far as slice headers need them, and picture order (ITU-T H.265).

use std::collections::BTreeMap;

use super::{Picture, Role, SLICE_PREFIX_BYTES, unwrapped};
use crate::salvage::bits::{Bits, unescaped};

const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
/// First and last intra random access type (Table 7-1).
const RANDOM_ACCESS: std::ops::RangeInclusive<u8> = 16..=23;
/// Leading pictures that may be skipped: RADL and RASL.
const LEADING: std::ops::RangeInclusive<u8> = 6..=9;
/// Largest width or height that is believed.
const MOST_PIXELS: u32 = 16_384;

const fn kind_of(header: u8) -> u8 {
    header >> 1 & 0x3F
}

/// The role of a unit by its header (§7.3.1.2, §7.4.2.4.4).
pub fn role(unit: &[u8], length: u64) -> Option<Role> {
    let [first, second, ..] = *unit else { return None };
    let kind = kind_of(first);
    let (layer, temporal) = (u16::from(first & 1) << 5 | u16::from(second >> 3), second & 7);
    let is_sound = first & 0x80 == 0 && layer == 0 && temporal > 0 && length > 2;
    if !is_sound || RANDOM_ACCESS.contains(&kind) && temporal != 1 {
        return None;
    }
    match kind {
        0..=9 | 16..=21 => slice_role(unit.get(2..)?, kind),
        VPS..=PPS if length < 1024 && temporal == 1 => Some(Role::Opens),
        35 if length == 3 => Some(Role::Opens),
        39 => Some(Role::Opens),
        36 | 37 if length <= 3 => Some(Role::Closes),
        38 | 40 => Some(Role::Closes),
        _ => None,
    }
}

fn slice_role(payload: &[u8], kind: u8) -> Option<Role> {
    let mut bits = Bits::new(payload.get(..payload.len().min(12))?);
    let is_first = bits.flag()?;
    let is_sync = RANDOM_ACCESS.contains(&kind);
    if is_sync {
        bits.u(1)?;
    }
    (bits.ue()? < 64).then_some(Role::Slice { is_first, is_sync })
}

/// What a slice header needs of a sequence parameter set (§7.3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sps {
    id: u32,
    has_separate_planes: bool,
    order_bits: u32,
    reorder: u32,
    width: u32,
    height: u32,
}

impl Sps {
    fn read(unit: &[u8]) -> Option<Self> {
        let payload = unescaped(unit.get(2..)?);
        let mut bits = Bits::new(&payload);
        bits.u(4)?;
        let layers = bits.u(3)?;
        bits.u(1)?;
        profile_tier_level(&mut bits, layers)?;
        let id = bits.ue().filter(|id| *id < 16)?;
        let chroma = bits.ue().filter(|c| *c <= 3)?;
        let has_separate_planes = chroma == 3 && bits.flag()?;
        let (width, height) = (bits.ue().filter(|n| *n <= MOST_PIXELS)?, bits.ue().filter(|n| *n <= MOST_PIXELS)?);
        let (mut cut_x, mut cut_y) = (0, 0);
        if bits.flag()? {
            cut_x = bits.ue()?.checked_add(bits.ue()?)?;
            cut_y = bits.ue()?.checked_add(bits.ue()?)?;
        }
        let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 });
        (bits.ue()? <= 8 && bits.ue()? <= 8).then_some(())?;
        let order_bits = bits.ue().filter(|n| *n <= 12)? + 4;
        let first = if bits.flag()? { 0 } else { layers };
        let mut reorder = 0;
        for _ in first..=layers {
            bits.ue()?;
            reorder = bits.ue().filter(|n| *n <= 16)?;
            bits.ue()?;
        }
        // Cropping leaves something of the picture (§7.4.3.2.1).
        let width = width.checked_sub(cut_x.checked_mul(unit_x)?).filter(|width| *width > 0)?;
        let height = height.checked_sub(cut_y.checked_mul(unit_y)?).filter(|height| *height > 0)?;
        Some(Self { id, has_separate_planes, order_bits, reorder, width, height })
    }
}

/// `profile_tier_level()` (§7.3.3).
fn profile_tier_level(bits: &mut Bits<'_>, layers: u32) -> Option<()> {
    bits.skip(88);
    bits.skip(8);
    let present: Vec<(bool, bool)> = (0..layers).map(|_| Some((bits.flag()?, bits.flag()?))).collect::<Option<_>>()?;
    if layers > 0 {
        bits.skip(2 * (8 - layers as usize));
    }
    for (has_profile, has_level) in present {
        bits.skip(if has_profile { 88 } else { 0 } + if has_level { 8 } else { 0 });
    }
    (!bits.is_over()).then_some(())
}

/// What a slice header needs of a picture parameter set (§7.3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pps {
    id: u32,
    sps: u32,
    has_output_flag: bool,
    extra_bits: u32,
}

impl Pps {
    fn read(unit: &[u8]) -> Option<Self> {
        let payload = unescaped(unit.get(2..unit.len().min(64))?);
        let mut bits = Bits::new(&payload);
        let id = bits.ue().filter(|id| *id < 64)?;
        let sps = bits.ue().filter(|id| *id < 16)?;
        bits.u(1)?;
        Some(Self { id, sps, has_output_flag: bits.flag()?, extra_bits: bits.u(3)? })
    }
}

/// Parameter sets by id, and where the picture order stands (§8.3.1).
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    sps: BTreeMap<u32, Sps>,
    pps: BTreeMap<u32, Pps>,
    /// Order count of the last picture of the lowest sublayer that is no leading picture.
    reference_order: i64,
    has_begun: bool,
}

impl Parameters {
    /// Takes SPS and PPS units; a VPS is one, but nothing of it is needed.
    pub fn take(&mut self, unit: &[u8]) -> bool {
        match unit.first().map(|header| kind_of(*header)) {
            Some(VPS) => true,
            Some(SPS) => Sps::read(unit).map(|sps| self.sps.insert(sps.id, sps)).is_some(),
            Some(PPS) => Pps::read(unit).map(|pps| self.pps.insert(pps.id, pps)).is_some(),
            _ => false,
        }
    }

    /// Whether there is a picture parameter set with its sequence parameter set.
    pub fn is_usable(&self) -> bool {
        self.any().is_some()
    }

    fn any(&self) -> Option<&Sps> {
        self.pps.values().find_map(|pps| self.sps.get(&pps.sps))
    }

    /// See [`super::Parameters::order_period`].
    pub fn order_period(&self) -> i64 {
        self.any().map_or(0, |sps| 1 << sps.order_bits)
    }

    /// See [`super::Parameters::reorder`].
    pub fn reorder(&self) -> Option<u32> {
        self.any().map(|sps| sps.reorder)
    }

    /// See [`super::Parameters::dimensions`].
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        let sps = self.any()?;
        Some((u16::try_from(sps.width).ok()?, u16::try_from(sps.height).ok()?))
    }

    /// See [`super::Parameters::picture`].
    pub fn picture(&mut self, unit: &[u8]) -> Option<Picture> {
        let [first, second, ..] = *unit else { return None };
        let kind = kind_of(first);
        let payload = unescaped(unit.get(2..unit.len().min(SLICE_PREFIX_BYTES))?);
        let mut bits = Bits::new(&payload);
        let is_random_access = RANDOM_ACCESS.contains(&kind);
        bits.flag().filter(|is_first| *is_first)?;
        if is_random_access {
            bits.u(1)?;
        }
        let pps = self.pps.get(&bits.ue()?)?;
        let sps = self.sps.get(&pps.sps)?;
        bits.u(pps.extra_bits)?;
        let slice_type = bits.ue().filter(|kind| *kind <= 2)?;
        if pps.has_output_flag {
            bits.u(1)?;
        }
        if sps.has_separate_planes {
            bits.u(2)?;
        }
        let is_refresh = matches!(kind, 19 | 20);
        let period = 1_i64 << sps.order_bits;
        let low = if is_refresh { 0 } else { i64::from(bits.u(sps.order_bits)?) };
        // A CRA or BLA picture begins a sequence where nothing came before it (§8.1.3, NoRaslOutputFlag).
        let begins_sequence = is_random_access && (is_refresh || kind < 19 || !self.has_begun);
        let order = if begins_sequence { low } else { unwrapped(low, self.reference_order, period) };
        let is_lowest = second & 7 == 1;
        let is_disposable = kind <= 14 && kind.is_multiple_of(2);
        if is_lowest && !is_disposable && !LEADING.contains(&kind) {
            self.reference_order = order;
        }
        self.has_begun = true;
        let is_consistent = !is_random_access || slice_type == 2;
        Some(Picture { order, begins_sequence, is_second_field: false, is_consistent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_contradict_themselves_are_no_units() {
        assert_eq!(role(&[0x26, 0x01, 0xAF, 0x08], 100), Some(Role::Slice { is_first: true, is_sync: true }));
        assert_eq!(role(&[0x26, 0x02, 0xAF, 0x08], 100), None, "random access lies in the lowest sublayer");
        assert_eq!(role(&[0x26, 0x00, 0xAF, 0x08], 100), None, "nuh_temporal_id_plus1 is never 0");
        assert_eq!(role(&[0xA6, 0x01, 0xAF, 0x08], 100), None, "forbidden_zero_bit");
    }
}
