//! The rest of a slice header of H.265 (§7.3.6.1), held against the parameter sets: what is none rarely comes out at values that the
//! standard allows and at a one and zeros up to the next byte (`byte_alignment()`).

use super::reference_sets::ReferenceSet;
use super::sets::{HevcSps, PictureTools, SequenceTools};
use crate::salvage::bits::Bits;

/// Most reference pictures in a list (§7.4.7.1).
const MOST_REFERENCES: u32 = 15;
/// Most entry points (§7.4.7.1, with the tallest pictures that are believed).
const MOST_ENTRY_POINTS: u32 = 4096;

/// Slice types (Table 7-7).
const B: u32 = 0;
const I: u32 = 2;

/// What the header said up to the picture order count.
#[derive(Debug, Clone, Copy)]
pub(super) struct HevcHeaderStart {
    pub(super) slice_type: u32,
    /// Whether it is one of an IDR picture, which has no reference pictures.
    pub(super) is_refresh: bool,
}

/// Whether a slice with this header may be one of a picture with these sets; `None` where it is cut off or has more than is known
/// here. The bits stand behind the picture order count.
pub(super) fn is_possible(
    said: HevcHeaderStart,
    bits: &mut Bits<'_>,
    sps: &HevcSps,
    picture: Option<PictureTools>,
) -> Option<bool> {
    let (tools, picture) = (sps.tools.as_ref()?, picture?);
    let (mut referred, mut has_vectors) = (0, false);
    if !said.is_refresh {
        match references(bits, tools, sps.order_bits)? {
            Ok(count) => referred = count,
            Err(()) => return Some(false),
        }
        has_vectors = tools.has_temporal_vectors && bits.flag()?;
    }
    let has_chroma = sps.chroma != 0 && !sps.has_separate_planes;
    let mut has_offsets = false;
    if tools.has_offsets {
        has_offsets = bits.flag()?;
        has_offsets |= has_chroma && bits.flag()?;
    }
    if said.slice_type != I && !prediction(said, bits, (picture, has_chroma), (referred, has_vectors))? {
        return Some(false);
    }
    let step = picture.first_step.checked_add(bits.se()?)?;
    if !(-48..=51).contains(&step) {
        return Some(false);
    }
    if picture.has_chroma_steps && !((-12..=12).contains(&bits.se()?) && (-12..=12).contains(&bits.se()?)) {
        return Some(false);
    }
    let mut is_deblocked = picture.deblocking.1;
    if picture.deblocking.0 && bits.flag()? {
        is_deblocked = !bits.flag()?;
        if is_deblocked && !((-6..=6).contains(&bits.se()?) && (-6..=6).contains(&bits.se()?)) {
            return Some(false);
        }
    }
    if picture.filters_across && (has_offsets || is_deblocked) {
        bits.u(1)?;
    }
    end(bits, picture)
}

/// Entry points, what an extension says, and the alignment.
fn end(bits: &mut Bits<'_>, picture: PictureTools) -> Option<bool> {
    if picture.has_entry_points {
        let points = bits.ue()?;
        if points > MOST_ENTRY_POINTS {
            return Some(false);
        }
        if points > 0 {
            let length = bits.ue()?;
            if length > 31 {
                return Some(false);
            }
            (0..points).try_for_each(|_| bits.u(length + 1).map(drop))?;
        }
    }
    if picture.has_extension {
        let length = bits.ue()?;
        if length > 256 {
            return Some(false);
        }
        (0..length).try_for_each(|_| bits.u(8).map(drop))?;
    }
    let is_one = bits.flag()?;
    let rest = u32::try_from(bits.position().wrapping_neg() % 8).ok()?;
    Some(is_one && bits.u(rest)? == 0)
}

/// Reads the sets of reference pictures: how many the picture refers to. `Err` if there cannot be such.
fn references(bits: &mut Bits<'_>, tools: &SequenceTools, order_bits: u32) -> Option<Result<u32, ()>> {
    let known = u32::try_from(tools.sets.len()).ok()?;
    let set = if bits.flag()? {
        let index = if known > 1 { bits.u(bits_for(known))? } else { 0 };
        let Some(set) = tools.sets.get(index as usize) else { return Some(Err(())) };
        set.clone()
    } else {
        match ReferenceSet::read(bits, &tools.sets, true) {
            Some(set) => set,
            // Cut off, or no set.
            None if bits.is_over() => return None,
            None => return Some(Err(())),
        }
    };
    let Some(long_term) = &tools.long_term else { return Some(Ok(set.used())) };
    let of_sequence = if long_term.is_empty() { 0 } else { bits.ue()? };
    let all = of_sequence.saturating_add(bits.ue()?);
    if all > 33 {
        return Some(Err(()));
    }
    let mut used = set.used();
    for number in 0..all {
        if number < of_sequence {
            let count = u32::try_from(long_term.len()).ok()?;
            let index = if count > 1 { bits.u(bits_for(count))? } else { 0 };
            used += u32::from(long_term.get(index as usize).copied().unwrap_or(false));
        } else {
            bits.u(order_bits)?;
            used += u32::from(bits.flag()?);
        }
        if bits.flag()? {
            bits.ue()?;
        }
    }
    Some(Ok(used))
}

/// What P and B slices have.
fn prediction(
    said: HevcHeaderStart,
    bits: &mut Bits<'_>,
    (picture, has_chroma): (PictureTools, bool),
    (referred, has_vectors): (u32, bool),
) -> Option<bool> {
    let is_b = said.slice_type == B;
    if said.is_refresh || referred == 0 {
        return Some(false);
    }
    let mut lists = picture.references;
    if bits.flag()? {
        lists.0 = bits.ue()?.saturating_add(1);
        lists.1 = if is_b { bits.ue()?.saturating_add(1) } else { lists.1 };
    }
    if lists.0 > MOST_REFERENCES || lists.1 > MOST_REFERENCES {
        return Some(false);
    }
    if picture.has_modification && referred > 1 {
        for list in [Some(lists.0), is_b.then_some(lists.1)].into_iter().flatten() {
            if bits.flag()? {
                (0..list).try_for_each(|_| bits.u(bits_for(referred)).map(drop))?;
            }
        }
    }
    if is_b {
        bits.u(1)?;
    }
    if picture.has_initial_choice {
        bits.u(1)?;
    }
    if has_vectors {
        let is_first = !is_b || bits.flag()?;
        let list = if is_first { lists.0 } else { lists.1 };
        if list > 1 && bits.ue()? >= list {
            return Some(false);
        }
    }
    let is_weighted = if is_b { picture.is_weighted.1 } else { picture.is_weighted.0 };
    if is_weighted && !weights(bits, (lists.0, if is_b { lists.1 } else { 0 }), has_chroma)? {
        return Some(false);
    }
    Some(bits.ue()? <= 4)
}

/// `pred_weight_table()` (§7.3.6.3).
fn weights(bits: &mut Bits<'_>, (first, second): (u32, u32), has_chroma: bool) -> Option<bool> {
    if bits.ue()? > 7 || has_chroma && !(-7..=7).contains(&bits.se()?) {
        return Some(false);
    }
    for list in [first, second] {
        let luma: Vec<bool> = (0..list).map(|_| bits.flag()).collect::<Option<_>>()?;
        let chroma: Vec<bool> =
            (0..list).map(|_| if has_chroma { bits.flag() } else { Some(false) }).collect::<Option<_>>()?;
        for (has_luma, has_chroma) in luma.into_iter().zip(chroma) {
            for _ in 0..if has_luma { 2 } else { 0 } + if has_chroma { 4 } else { 0 } {
                bits.se()?;
            }
        }
    }
    Some(true)
}

/// Bits of a number below another: `Ceil( Log2( n ) )`.
pub(super) const fn bits_for(count: u32) -> u32 {
    u32::BITS - count.saturating_sub(1).leading_zeros()
}
