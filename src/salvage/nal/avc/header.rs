//! The rest of a slice header of H.264 (§7.3.3), held against the parameter sets: read with others it rarely comes out at
//! values that the standard allows, and hardly ever at bits that are all one up to the next byte, where CABAC begins (§7.3.4).

use super::sets::{AvcPps, AvcSps};
use crate::salvage::bits::Bits;

/// Most reference pictures in a list, of frames and of fields (§7.4.3).
const MOST_REFERENCES: (u32, u32) = (16, 32);
/// Most commands that follow one another (§7.4.3.1, §7.4.3.3).
const MOST_COMMANDS: u32 = 66;

/// What the header said up to the picture order.
#[derive(Debug, Clone, Copy)]
pub(super) struct AvcHeaderStart {
    pub(super) first_macroblock: u32,
    pub(super) slice_type: u32,
    pub(super) idr_pic_id: Option<u32>,
    pub(super) is_reference: bool,
    pub(super) is_field: bool,
}

/// Whether a slice with this header may be one of a picture with these sets; the bits stand behind the picture order count.
/// What is cut off, and what is rare, is not held against it.
pub(super) fn is_possible(said: AvcHeaderStart, bits: &mut Bits<'_>, (sps, pps): (&AvcSps, &AvcPps)) -> bool {
    let is_within = u64::from(said.first_macroblock) < sps.macroblocks && said.idr_pic_id.is_none_or(|id| id <= 0xFFFF);
    // Slice groups and switching slices have more in their headers, and nobody uses them.
    let is_usual = pps.slice_groups == 1 && said.slice_type % 5 <= 2;
    is_within && (!is_usual || rest(said, bits, (sps, pps)) != Some(false))
}

fn rest(said: AvcHeaderStart, bits: &mut Bits<'_>, (sps, pps): (&AvcSps, &AvcPps)) -> Option<bool> {
    let (is_b, is_i) = (said.slice_type % 5 == 1, said.slice_type % 5 == 2);
    if pps.has_redundant_pictures && bits.ue()? > 127 {
        return Some(false);
    }
    if is_b {
        bits.u(1)?;
    }
    let mut references = pps.references;
    if !is_i {
        if bits.flag()? {
            references.0 = bits.ue()?.saturating_add(1);
            references.1 = if is_b { bits.ue()?.saturating_add(1) } else { references.1 };
        }
        let most = if said.is_field { MOST_REFERENCES.1 } else { MOST_REFERENCES.0 };
        let is_read =
            references.0 <= most && references.1 <= most && modification(bits)? && (!is_b || modification(bits)?);
        if !is_read {
            return Some(false);
        }
    }
    let is_weighted = if is_b { pps.weighted_bipred == 1 } else { !is_i && pps.is_weighted };
    if is_weighted && !weights(bits, (references.0, if is_b { references.1 } else { 0 }), sps)? {
        return Some(false);
    }
    if said.is_reference && !marking(bits, said.idr_pic_id.is_some())? {
        return Some(false);
    }
    if pps.has_cabac && !is_i && bits.ue()? > 2 {
        return Some(false);
    }
    let step = pps.first_step.checked_add(bits.se()?)?;
    if !(-6 * sps.more_bits..=51).contains(&step) || pps.has_deblocking && !deblocking(bits)? {
        return Some(false);
    }
    Some(!pps.has_cabac || is_aligned(bits)?)
}

/// `ref_pic_list_modification()` of one list (§7.3.3.1).
fn modification(bits: &mut Bits<'_>) -> Option<bool> {
    if !bits.flag()? {
        return Some(true);
    }
    for _ in 0..MOST_COMMANDS {
        match bits.ue()? {
            0..=2 => bits.ue().map(drop)?,
            3 => return Some(true),
            _ => return Some(false),
        }
    }
    Some(false)
}

/// `pred_weight_table()` (§7.3.3.2).
fn weights(bits: &mut Bits<'_>, references: (u32, u32), sps: &AvcSps) -> Option<bool> {
    let has_chroma = sps.chroma != 0 && !sps.has_separate_planes;
    if bits.ue()? > 7 || has_chroma && bits.ue()? > 7 {
        return Some(false);
    }
    for _ in 0..references.0 + references.1 {
        for pairs in [1, if has_chroma { 2 } else { 0 }] {
            if pairs > 0 && bits.flag()? {
                for _ in 0..2 * pairs {
                    if !(-128..=127).contains(&bits.se()?) {
                        return Some(false);
                    }
                }
            }
        }
    }
    Some(true)
}

/// `dec_ref_pic_marking()` (§7.3.3.3).
fn marking(bits: &mut Bits<'_>, is_idr: bool) -> Option<bool> {
    if is_idr {
        return bits.u(2).map(|_| true);
    }
    if !bits.flag()? {
        return Some(true);
    }
    for _ in 0..MOST_COMMANDS {
        match bits.ue()? {
            0 => return Some(true),
            5 => {}
            3 => {
                bits.ue()?;
                bits.ue()?;
            }
            1 | 2 | 4 | 6 => bits.ue().map(drop)?,
            _ => return Some(false),
        }
    }
    Some(false)
}

fn deblocking(bits: &mut Bits<'_>) -> Option<bool> {
    match bits.ue()? {
        1 => Some(true),
        0 | 2 => Some((-6..=6).contains(&bits.se()?) && (-6..=6).contains(&bits.se()?)),
        _ => Some(false),
    }
}

/// `cabac_alignment_one_bit` up to the next byte (§7.3.4).
fn is_aligned(bits: &mut Bits<'_>) -> Option<bool> {
    let count = u32::try_from(bits.position().wrapping_neg() % 8).ok()?;
    Some(bits.u(count)? == (1 << count) - 1)
}
