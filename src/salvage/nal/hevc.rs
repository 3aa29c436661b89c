//! H.265: unit headers, parameter sets as far as slice headers need them, and picture order (ITU-T H.265).

use std::collections::BTreeMap;

mod header;
mod reference_sets;
mod sets;

use super::recent::RecentOrders;
use super::whole::{are_messages, is_filler};
use super::{Picture, SLICE_PREFIX_BYTES, UnitRole, unwrapped};
use crate::isobmff::PixelAspect;
use crate::salvage::bits::{Bits, unescaped};
use sets::{HevcPps, HevcSps};

const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
/// First and last intra random access type (Table 7-1).
const RANDOM_ACCESS: std::ops::RangeInclusive<u8> = 16..=23;
/// Leading pictures that may be skipped: RADL and RASL.
const LEADING: std::ops::RangeInclusive<u8> = 6..=9;
const fn kind_of(header: u8) -> u8 {
    header >> 1 & 0x3F
}

/// Whether a unit that is no slice is what its header says, up to its last bit.
pub fn is_whole(unit: &[u8]) -> bool {
    let (Some(header), Some(payload)) = (unit.first(), unit.get(2..)) else { return false };
    match kind_of(*header) {
        // Sixteen bits that are ones behind four numbers (§7.3.2.1).
        VPS => matches!(payload, [_, _, 0xFF, 0xFF, ..]),
        SPS => HevcSps::read(unit).is_some_and(|sps| sps.aspect.is_some()),
        PPS => HevcPps::read(unit).is_some_and(|pps| pps.is_whole()),
        35 => matches!(payload, [kind] if kind & 0x1F == 0x10),
        38 => is_filler(payload),
        39 | 40 => are_messages(payload),
        _ => true,
    }
}

/// The role of a unit by its header (§7.3.1.2, §7.4.2.4.4).
pub fn role(unit: &[u8], length: u64) -> Option<UnitRole> {
    let [first, second, ..] = *unit else { return None };
    let kind = kind_of(first);
    let (layer, temporal) = (u16::from(first & 1) << 5 | u16::from(second >> 3), second & 7);
    let is_sound = first & 0x80 == 0 && layer == 0 && temporal > 0 && length > 2;
    if !is_sound || RANDOM_ACCESS.contains(&kind) && temporal != 1 {
        return None;
    }
    match kind {
        0..=9 | 16..=21 => slice_role(unit.get(2..)?, kind),
        VPS..=PPS if length < 1024 && temporal == 1 => Some(UnitRole::Opens),
        35 if length == 3 => Some(UnitRole::Opens),
        39 => Some(UnitRole::Opens),
        36 | 37 if length <= 3 => Some(UnitRole::Closes),
        38 | 40 => Some(UnitRole::Closes),
        _ => None,
    }
}

fn slice_role(payload: &[u8], kind: u8) -> Option<UnitRole> {
    let mut bits = Bits::new(payload.get(..payload.len().min(12))?);
    let is_first = bits.flag()?;
    let is_sync = RANDOM_ACCESS.contains(&kind);
    if is_sync {
        bits.u(1)?;
    }
    (bits.ue()? < 64).then_some(UnitRole::Slice { is_first, is_sync })
}

/// What a slice header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HevcSlice {
    kind: u8,
    is_first: bool,
    pps: u32,
    /// Of those that say it themselves.
    own: Option<OwnSlice>,
}

/// What slices say that do not depend on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OwnSlice {
    slice_type: u32,
    order_lsb: i64,
    /// Whether a header with these parameter sets may look so.
    is_possible: bool,
}

/// Parameter sets by id, and where the picture order stands (§8.3.1).
#[derive(Debug, Clone, Default)]
pub struct HevcParameters {
    sps: BTreeMap<u32, HevcSps>,
    pps: BTreeMap<u32, HevcPps>,
    /// The first slice of the picture before.
    last: Option<HevcSlice>,
    /// Order count of the last picture of the lowest sublayer that is no leading picture.
    reference_order: i64,
    has_begun: bool,
    recent: RecentOrders,
}

impl HevcParameters {
    /// Takes SPS and PPS units; a VPS is one, but nothing of it is needed.
    pub fn take(&mut self, unit: &[u8]) -> bool {
        match unit.first().map(|header| kind_of(*header)) {
            Some(VPS) => true,
            Some(SPS) => {
                let new = HevcSps::read(unit).filter(|sps| sps.aspect.is_some() || !self.sps.contains_key(&sps.id));
                new.map(|sps| self.sps.insert(sps.id, sps)).is_some()
            }
            Some(PPS) => {
                let new = HevcPps::read(unit).filter(|pps| is_whole(unit) || !self.pps.contains_key(&pps.id));
                new.map(|pps| self.pps.insert(pps.id, pps)).is_some()
            }
            _ => false,
        }
    }

    /// Whether a slice header can be read as one of a first slice.
    pub fn may_be(&self, unit: &[u8]) -> bool {
        self.slice(unit).is_some_and(|(slice, _)| slice.is_first && slice.own.is_some_and(|own| own.is_possible))
    }

    /// See [`super::CodecParameters::forget`].
    pub fn forget(&mut self) {
        self.last = None;
        self.recent = RecentOrders::default();
    }

    /// See [`super::CodecParameters::may_continue`].
    pub fn may_continue(&self, unit: &[u8]) -> bool {
        let Some((last, (slice, ..))) = self.last.zip(self.slice(unit)) else { return false };
        let is_of_picture =
            |own: OwnSlice| own.is_possible && last.own.is_some_and(|first| first.order_lsb == own.order_lsb);
        (slice.kind, slice.pps) == (last.kind, last.pps) && !slice.is_first && slice.own.is_none_or(is_of_picture)
    }

    /// Whether there is a picture parameter set with its sequence parameter set.
    pub fn is_usable(&self) -> bool {
        self.any().is_some()
    }

    fn any(&self) -> Option<&HevcSps> {
        self.pps.values().find_map(|pps| self.sps.get(&pps.sps))
    }

    /// See [`super::CodecParameters::order_period`].
    pub fn order_period(&self) -> i64 {
        self.any().map_or(0, |sps| 1 << sps.order_bits)
    }

    /// See [`super::CodecParameters::reorder`].
    pub fn reorder(&self) -> Option<u32> {
        self.any().map(|sps| sps.reorder)
    }

    /// See [`super::CodecParameters::dimensions`].
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        let sps = self.any()?;
        Some((u16::try_from(sps.width).ok()?, u16::try_from(sps.height).ok()?))
    }

    /// See [`super::CodecParameters::aspect`].
    pub fn aspect(&self) -> Option<PixelAspect> {
        self.any()?.aspect
    }

    /// Reads a slice header as far as the sets allow.
    fn slice(&self, unit: &[u8]) -> Option<(HevcSlice, &HevcSps)> {
        let kind = kind_of(*unit.first()?);
        let payload = unescaped(unit.get(2..unit.len().min(SLICE_PREFIX_BYTES))?);
        let mut bits = Bits::new(&payload);
        let is_first = bits.flag()?;
        if RANDOM_ACCESS.contains(&kind) {
            bits.u(1)?;
        }
        let pps = self.pps.get(&bits.ue()?)?;
        let sps = self.sps.get(&pps.sps)?;
        let slice = |own| HevcSlice { kind, is_first, pps: pps.id, own };
        if !is_first {
            let is_dependent = pps.has_dependent_slices && bits.flag()?;
            let blocks = sps.tools.as_ref()?.blocks;
            bits.u(header::bits_for(blocks)).filter(|address| (1..blocks).contains(address))?;
            if is_dependent {
                return Some((slice(None), sps));
            }
        }
        bits.u(pps.extra_bits)?;
        let slice_type = bits.ue().filter(|kind| *kind <= 2)?;
        if pps.has_output_flag {
            bits.u(1)?;
        }
        if sps.has_separate_planes {
            bits.u(2)?;
        }
        let is_refresh = matches!(kind, 19 | 20);
        let order_lsb = if is_refresh { 0 } else { i64::from(bits.u(sps.order_bits)?) };
        let said = header::HevcHeaderStart { slice_type, is_refresh };
        let is_possible = header::is_possible(said, &mut bits, sps, pps.tools) != Some(false);
        Some((slice(Some(OwnSlice { slice_type, order_lsb, is_possible })), sps))
    }

    /// See [`super::CodecParameters::picture`].
    pub fn picture(&mut self, unit: &[u8]) -> Option<Picture> {
        let second = *unit.get(1)?;
        let (slice, sps) = self.slice(unit).filter(|(slice, _)| slice.is_first)?;
        let (own, kind, period) = (slice.own?, slice.kind, 1_i64 << sps.order_bits);
        let is_random_access = RANDOM_ACCESS.contains(&kind);
        // A CRA or BLA picture begins a sequence where nothing came before it (§8.1.3, NoRaslOutputFlag).
        let begins_sequence = is_random_access && (kind <= 20 || !self.has_begun);
        let order =
            if begins_sequence { own.order_lsb } else { unwrapped(own.order_lsb, self.reference_order, period) };
        if begins_sequence {
            self.recent = RecentOrders::default();
        }
        let is_new = self.recent.may_take(order, self.reference_order);
        self.recent.take(order);
        let is_lowest = second & 7 == 1;
        let is_disposable = kind <= 14 && kind.is_multiple_of(2);
        if is_lowest && !is_disposable && !LEADING.contains(&kind) {
            self.reference_order = order;
        }
        self.has_begun = true;
        self.last = Some(slice);
        let is_consistent = !is_random_access || own.slice_type == 2;
        let is_next = is_consistent && own.is_possible && is_new;
        Some(Picture { order, begins_sequence, is_second_field: false, is_consistent, is_next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_contradict_themselves_are_no_units() {
        assert_eq!(role(&[0x26, 0x01, 0xAF, 0x08], 100), Some(UnitRole::Slice { is_first: true, is_sync: true }));
        assert_eq!(role(&[0x26, 0x02, 0xAF, 0x08], 100), None, "random access lies in the lowest sublayer");
        assert_eq!(role(&[0x26, 0x00, 0xAF, 0x08], 100), None, "nuh_temporal_id_plus1 is never 0");
        assert_eq!(role(&[0xA6, 0x01, 0xAF, 0x08], 100), None, "forbidden_zero_bit");
    }
}
