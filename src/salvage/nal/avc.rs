//! H.264: unit headers, parameter sets as far as slice headers need them, and picture order (ITU-T H.264).

use std::collections::BTreeMap;

mod header;
mod sets;

use super::recent::RecentOrders;
use super::whole::{are_messages, is_filler};
use super::{Picture, SLICE_PREFIX_BYTES, UnitRole, unwrapped};
use crate::isobmff::PixelAspect;
use crate::salvage::bits::{Bits, unescaped};
use sets::{AvcPps, AvcSps, MOST_MACROBLOCKS, OrderType};

const SLICE: u8 = 1;
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const FILLER: u8 = 12;

/// Whether a unit that is no slice is what its header says, up to its last bit.
pub fn is_whole(unit: &[u8]) -> bool {
    let Some((header, payload)) = unit.split_first() else { return false };
    match header & 0x1F {
        SPS => AvcSps::read(unit).is_some_and(|sps| sps.is_whole),
        PPS => AvcPps::read(unit).is_some_and(|pps| pps.is_whole),
        SEI => are_messages(payload),
        // One byte of a delimiter: three bits, then the stop bit.
        9 => matches!(payload, [kind] if kind & 0x1F == 0x10),
        FILLER => is_filler(payload),
        _ => true,
    }
}

/// The role of a unit by its header (§7.4.1, Table 7-1).
pub fn role(unit: &[u8], length: u64) -> Option<UnitRole> {
    let header = *unit.first()?;
    let (kind, is_reference) = (header & 0x1F, header & 0x60 != 0);
    if header & 0x80 != 0 || length < 2 {
        return None;
    }
    match kind {
        SLICE | IDR if kind == SLICE || is_reference => slice_role(unit.get(1..)?, kind),
        SEI | 14 if kind == 14 || !is_reference => Some(UnitRole::Opens),
        9 if !is_reference && length == 2 => Some(UnitRole::Opens),
        SPS if is_reference && length < 1024 && AvcSps::read(unit).is_some() => Some(UnitRole::Opens),
        PPS if is_reference && length < 1024 && AvcPps::read(unit).is_some() => Some(UnitRole::Opens),
        13 | 15 if is_reference && length < 1024 => Some(UnitRole::Opens),
        10 | 11 if !is_reference && length <= 2 => Some(UnitRole::Closes),
        FILLER
            if !is_reference
                && unit.get(1..6).is_none_or(|fill| fill.iter().take(4).all(|b| *b == 0xFF || *b == 0x80)) =>
        {
            Some(UnitRole::Closes)
        }
        20 => Some(UnitRole::Slice { is_first: false, is_sync: false }),
        _ => None,
    }
}

/// `first_mb_in_slice` and `slice_type` stand first and need no parameter set (§7.3.3).
fn slice_role(payload: &[u8], kind: u8) -> Option<UnitRole> {
    let mut bits = Bits::new(payload.get(..payload.len().min(12))?);
    let first = bits.ue()?;
    let slice_type = bits.ue()?;
    let set = bits.ue()?;
    let is_possible = first < MOST_MACROBLOCKS * MOST_MACROBLOCKS && slice_type <= 9 && set <= 255;
    let is_intra = matches!(slice_type, 2 | 4 | 7 | 9);
    (is_possible && (kind != IDR || is_intra)).then_some(UnitRole::Slice { is_first: first == 0, is_sync: kind == IDR })
}

/// What a slice header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AvcSlice {
    is_idr: bool,
    is_reference: bool,
    pps: u32,
    first_macroblock: u32,
    frame_num: i64,
    field: Option<bool>,
    order_lsb: i64,
    /// Whether a header with these parameter sets may look so.
    is_possible: bool,
}

/// Parameter sets by id, and where the picture order stands (§8.2.1).
#[derive(Debug, Clone, Default)]
pub struct AvcParameters {
    sps: BTreeMap<u32, AvcSps>,
    pps: BTreeMap<u32, AvcPps>,
    /// The first active set, for what is said about the whole track.
    last: Option<AvcSlice>,
    /// Order count of the last reference picture.
    reference_order: i64,
    /// Frame number without its wrap, in this sequence.
    frame_count: i64,
    recent: RecentOrders,
}

impl AvcParameters {
    /// Takes SPS and PPS units.
    pub fn take(&mut self, unit: &[u8]) -> bool {
        match unit.first().map(|header| header & 0x1F) {
            Some(SPS) => {
                let new = AvcSps::read(unit).filter(|sps| sps.is_whole || !self.sps.contains_key(&sps.id));
                new.map(|sps| self.sps.insert(sps.id, sps)).is_some()
            }
            Some(PPS) => {
                let new = AvcPps::read(unit).filter(|pps| pps.is_whole || !self.pps.contains_key(&pps.id));
                new.map(|pps| self.pps.insert(pps.id, pps)).is_some()
            }
            _ => false,
        }
    }

    /// Whether a slice header can be read as one of a first slice.
    pub fn may_be(&self, unit: &[u8]) -> bool {
        self.slice(unit).is_some_and(|(slice, _)| slice.is_possible)
    }

    /// See [`super::CodecParameters::forget`].
    pub fn forget(&mut self) {
        self.last = None;
        self.recent = RecentOrders::default();
    }

    /// See [`super::CodecParameters::may_continue`].
    pub fn may_continue(&self, unit: &[u8]) -> bool {
        let Some((last, (slice, _))) = self.last.zip(self.slice(unit)) else { return false };
        let are_alike = (slice.is_idr, slice.is_reference, slice.pps, slice.frame_num, slice.field, slice.order_lsb)
            == (last.is_idr, last.is_reference, last.pps, last.frame_num, last.field, last.order_lsb);
        are_alike && slice.is_possible && slice.first_macroblock > 0
    }

    /// Whether there is a picture parameter set with its sequence parameter set.
    pub fn is_usable(&self) -> bool {
        self.pps.values().any(|pps| self.sps.contains_key(&pps.sps))
    }

    fn any(&self) -> Option<&AvcSps> {
        self.pps.values().find_map(|pps| self.sps.get(&pps.sps))
    }

    /// See [`super::CodecParameters::order_period`].
    pub fn order_period(&self) -> i64 {
        match self.any().map(|sps| (sps.order, sps.frame_num_bits)) {
            Some((OrderType::Lsb(bits), _)) => 1 << bits,
            Some((_, bits)) => 2 << bits,
            None => 0,
        }
    }

    /// See [`super::CodecParameters::reorder`].
    pub fn reorder(&self) -> Option<u32> {
        let sps = self.any()?;
        sps.reorder.or((sps.order == OrderType::Decoding).then_some(0))
    }

    /// See [`super::CodecParameters::dimensions`].
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        let sps = self.any()?;
        Some((u16::try_from(sps.width).ok()?, u16::try_from(sps.height).ok()?))
    }

    /// See [`super::CodecParameters::aspect`].
    pub fn aspect(&self) -> Option<PixelAspect> {
        self.any().map(|sps| sps.aspect)
    }

    /// See [`super::CodecParameters::frame_duration`].
    pub fn frame_duration(&self) -> Option<(u32, u32)> {
        self.any()?.frame_duration
    }

    fn slice(&self, unit: &[u8]) -> Option<(AvcSlice, &AvcSps)> {
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
        let said = header::AvcHeaderStart {
            first_macroblock,
            slice_type,
            idr_pic_id,
            is_reference,
            is_field: field.is_some(),
        };
        let is_possible = header::is_possible(said, &mut bits, (sps, pps));
        let pps = pps.id;
        Some((AvcSlice { is_idr, is_reference, pps, first_macroblock, frame_num, field, order_lsb, is_possible }, sps))
    }

    /// See [`super::CodecParameters::picture`].
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
            self.recent = RecentOrders::default();
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
        let is_counted = matches!(order, OrderType::Lsb(_));
        let order = match order {
            OrderType::Lsb(width) => unwrapped(slice.order_lsb, self.reference_order, 1 << width),
            // Without B-pictures a picture that is no reference has the number of the one that follows it.
            _ => 2 * self.frame_count - i64::from(!slice.is_reference),
        };
        // A reference picture takes its frame number, so that the next one has another (§7.4.3).
        let has_new_number = is_second_field
            || slice.is_idr
            || last.is_none_or(|last| !last.is_reference || last.field.is_some() || slice.frame_num != last.frame_num);
        let is_new =
            slice.is_idr || is_second_field || !is_counted || self.recent.may_take(order, self.reference_order);
        if slice.is_reference {
            self.reference_order = order;
        }
        self.recent.take(order);
        let is_next = is_consistent && has_new_number && is_new;
        let begins_sequence = slice.is_idr && !is_second_field;
        Some(Picture { order, begins_sequence, is_second_field, is_consistent, is_next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_contradict_themselves_are_no_units() {
        assert_eq!(role(&[0x80 | 5, 0x88], 2), None);
        assert_eq!(role(&[0x05, 0x88, 0x84], 3), None, "an IDR picture is always a reference");
        assert_eq!(role(&[0x09, 0xF0], 2), Some(UnitRole::Opens));
        assert_eq!(role(&[0x65, 0x88, 0x84], 3), Some(UnitRole::Slice { is_first: true, is_sync: true }));
    }
}
