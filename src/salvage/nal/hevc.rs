//! H.265: unit headers, parameter sets as far as slice headers need them, and picture order (ITU-T H.265).

use std::collections::BTreeMap;

use super::{Picture, Role, SLICE_PREFIX_BYTES, aspect, unwrapped};
use crate::isobmff::Aspect;
use crate::salvage::bits::{Bits, unescaped};

const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
/// First and last intra random access type (Table 7-1).
const RANDOM_ACCESS: std::ops::RangeInclusive<u8> = 16..=23;
/// Leading pictures that may be skipped: RADL and RASL.
const LEADING: std::ops::RangeInclusive<u8> = 6..=9;
/// Most sets of reference pictures (§7.4.3.2.1), pictures in one of them (§A.4.2: `MaxDpbSize`), and long-term ones.
const MOST_REFERENCE_SETS: u32 = 64;
const MOST_REFERENCE_PICTURES: u32 = 16;
const MOST_LONG_TERM_PICTURES: u32 = 32;
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
    /// `None` if what stands in front of it cannot be read.
    aspect: Option<Aspect>,
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
        let has_usability = reach_usability(&mut bits, order_bits);
        let aspect = has_usability.and_then(|has| if has { aspect(&mut bits) } else { Some(Aspect::SQUARE) });
        Some(Self { id, has_separate_planes, order_bits, reorder, width, height, aspect })
    }
}

/// Reads on from the sizes of coding blocks to the VUI parameters (§7.3.2.2.1), and says whether there are any.
fn reach_usability(bits: &mut Bits<'_>, order_bits: u32) -> Option<bool> {
    for _ in 0..6 {
        bits.ue()?;
    }
    if bits.flag()? && bits.flag()? {
        scaling_lists(bits)?;
    }
    bits.u(2)?;
    if bits.flag()? {
        bits.u(8)?;
        bits.ue()?;
        bits.ue()?;
        bits.u(1)?;
    }
    let mut pictures = 0;
    for set in 0..bits.ue().filter(|sets| *sets <= MOST_REFERENCE_SETS)? {
        pictures = reference_set(bits, set, pictures)?;
    }
    if bits.flag()? {
        for _ in 0..bits.ue().filter(|pictures| *pictures <= MOST_LONG_TERM_PICTURES)? {
            bits.u(order_bits + 1)?;
        }
    }
    bits.u(2)?;
    bits.flag()
}

/// `scaling_list_data()` (§7.3.4).
fn scaling_lists(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.ue()?;
                continue;
            }
            let coefficients = 64.min(1 << (4 + 2 * size)) + u32::from(size > 1);
            (0..coefficients).try_for_each(|_| bits.se().map(drop))?;
        }
    }
    Some(())
}

/// `st_ref_pic_set()` (§7.3.7) of a sequence parameter set: the pictures in it. Before it stands one with `before` pictures.
fn reference_set(bits: &mut Bits<'_>, set: u32, before: u32) -> Option<u32> {
    let most = |pictures: &u32| *pictures <= MOST_REFERENCE_PICTURES;
    if set > 0 && bits.flag()? {
        bits.u(1)?;
        bits.ue()?;
        let mut pictures = 0;
        for _ in 0..=before {
            pictures += u32::from(bits.flag()? || bits.flag()?);
        }
        return Some(pictures).filter(most);
    }
    let pictures = bits.ue().filter(most)? + bits.ue().filter(most)?;
    for _ in 0..pictures {
        bits.ue()?;
        bits.u(1)?;
    }
    Some(pictures).filter(most)
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

    /// See [`super::Parameters::aspect`].
    pub fn aspect(&self) -> Option<Aspect> {
        self.any()?.aspect
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

    /// Writes what [`Bits`] reads.
    #[derive(Default)]
    struct Written(Vec<bool>);

    impl Written {
        fn u(&mut self, count: u32, value: u64) -> &mut Self {
            self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn ue(&mut self, values: &[u64]) -> &mut Self {
            for value in values {
                let bits = u64::BITS - (value + 1).leading_zeros();
                self.u(bits - 1, 0).u(bits, value + 1);
            }
            self
        }

        /// The unit, its emulation prevention bytes included.
        fn unit(&mut self) -> Vec<u8> {
            self.u(1, 1);
            let bytes = self
                .0
                .chunks(8)
                .map(|byte| byte.iter().enumerate().fold(0_u8, |found, (at, bit)| found | u8::from(*bit) << (7 - at)));
            let mut unit = vec![0x42, 0x01];
            for byte in bytes {
                if unit.ends_with(&[0, 0]) && byte <= 3 {
                    unit.push(3);
                }
                unit.push(byte);
            }
            unit
        }
    }

    /// A sequence parameter set with everything in it that may stand in front of the VUI parameters.
    fn full_set() -> Written {
        let mut set = Written::default();
        set.u(8, 1).u(8, 0x01).u(32, 0x6000_0000).u(48, 0xB000_0000_0000).u(8, 93);
        // 320 × 240 in 4:2:0 and 8 bits, order counts of 8 bits, all sizes of blocks.
        set.ue(&[0, 1, 320, 240]).u(1, 0).ue(&[0, 0, 4]).u(1, 1).ue(&[4, 2, 0]).ue(&[0, 3, 0, 3, 0, 0]);
        // Scaling lists: each as the one before but the first of each size, which is written out.
        set.u(2, 3);
        for size in 0..4_u32 {
            for matrix in 0..if size == 3 { 2 } else { 6 } {
                if matrix > 0 {
                    set.u(1, 0).ue(&[1]);
                    continue;
                }
                set.u(1, 1).ue(&vec![0; if size == 0 { 16 } else { 64 } + usize::from(size > 1)]);
            }
        }
        // PCM, then three sets of reference pictures, the second and third by the one before.
        set.u(2, 3).u(1, 1).u(8, 0x77).ue(&[0, 2]).u(1, 1);
        set.ue(&[3, 2, 1, 0]).u(1, 1).ue(&[1]).u(1, 0).ue(&[0]).u(1, 1);
        set.u(1, 1).u(1, 1).ue(&[0]).u(2, 0b11).u(2, 0b00).u(1, 1);
        set.u(1, 1).u(1, 0).ue(&[1]).u(2, 0b01).u(3, 0b111);
        // Two long-term pictures.
        set.u(1, 1).ue(&[2]).u(9, 0x1FF).u(9, 0x0AA).u(2, 3);
        set
    }

    #[test]
    fn the_shape_of_samples_is_found_behind_all_that_may_stand_before_it() {
        let shape = |unit: &[u8]| Sps::read(unit).map(|sps| (sps.width, sps.height, sps.aspect));
        let mut set = full_set();
        let said = set.u(1, 1).u(1, 1).u(8, 255).u(16, 64).u(16, 45).u(32, 0).unit();
        assert_eq!(shape(&said), Some((320, 240, Aspect::new(64, 45))));
        assert_eq!(shape(&full_set().u(1, 0).unit()), Some((320, 240, Some(Aspect::SQUARE))));
        assert_eq!(shape(&full_set().u(2, 3).u(8, 14).unit()), Some((320, 240, Aspect::new(4, 3))));
        assert_eq!(shape(&full_set().u(2, 3).u(8, 200).unit()), Some((320, 240, Some(Aspect::SQUARE))), "reserved");
        // The sizes stand whatever is cut off behind them, and what cannot be read is not guessed.
        for length in 60..said.len() - 9 {
            assert_eq!(shape(&said[..length]), Some((320, 240, None)), "{length}");
        }
    }

    #[test]
    fn headers_that_contradict_themselves_are_no_units() {
        assert_eq!(role(&[0x26, 0x01, 0xAF, 0x08], 100), Some(Role::Slice { is_first: true, is_sync: true }));
        assert_eq!(role(&[0x26, 0x02, 0xAF, 0x08], 100), None, "random access lies in the lowest sublayer");
        assert_eq!(role(&[0x26, 0x00, 0xAF, 0x08], 100), None, "nuh_temporal_id_plus1 is never 0");
        assert_eq!(role(&[0xA6, 0x01, 0xAF, 0x08], 100), None, "forbidden_zero_bit");
    }
}
