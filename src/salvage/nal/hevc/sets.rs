//! Parameter sets of H.265 as far as slice headers need them (ITU-T H.265 §7.3.2.2, §7.3.2.3), and whether they are whole.

use std::sync::Arc;

use super::reference_sets::{MOST_REFERENCE_SETS, ReferenceSet};
use crate::isobmff::PixelAspect;
use crate::salvage::bits::{Bits, unescaped};
use crate::salvage::nal::aspect;
use crate::salvage::nal::whole::ends_at;

/// Most long-term pictures of a set.
const MOST_LONG_TERM_PICTURES: u32 = 32;
/// Largest width or height that is believed.
const MOST_PIXELS: u32 = 16_384;
/// Profiles whose slice headers are those of §7.3.6.1 alone: Main, Main 10, Main Still Picture, format range extensions.
const USUAL_PROFILES: std::ops::RangeInclusive<u32> = 1..=4;
/// Tile columns and rows that are believed (§A.4.2).
const MOST_TILES: u32 = 32;

/// What a slice header needs of a sequence parameter set (§7.3.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HevcSps {
    pub(super) id: u32,
    pub(super) chroma: u32,
    pub(super) has_separate_planes: bool,
    pub(super) order_bits: u32,
    pub(super) reorder: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    /// `None` if what stands in front of it cannot be read.
    pub(super) aspect: Option<PixelAspect>,
    /// What stands behind the sizes; `None` if it cannot be read, or if headers have more than this tells.
    pub(super) tools: Option<SequenceTools>,
}

/// What slices of a sequence may make use of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SequenceTools {
    /// Coding tree blocks of a picture.
    pub(super) blocks: u32,
    pub(super) sets: Arc<[ReferenceSet]>,
    /// By long-term picture: whether the picture itself refers to it; `None` if there are none at all.
    pub(super) long_term: Option<Vec<bool>>,
    pub(super) has_offsets: bool,
    pub(super) has_temporal_vectors: bool,
    has_usability: bool,
}

impl HevcSps {
    pub(super) fn read(unit: &[u8]) -> Option<Self> {
        let payload = unescaped(unit.get(2..)?);
        let mut bits = Bits::new(&payload);
        bits.u(4)?;
        let layers = bits.u(3)?;
        bits.u(1)?;
        let profile = bits.peek(8) & 0x1F;
        profile_tier_level(&mut bits, layers)?;
        let id = bits.ue().filter(|id| *id < 16)?;
        let chroma = bits.ue().filter(|c| *c <= 3)?;
        let has_separate_planes = chroma == 3 && bits.flag()?;
        let size @ (width, height) =
            (bits.ue().filter(|n| *n <= MOST_PIXELS)?, bits.ue().filter(|n| *n <= MOST_PIXELS)?);
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
        let tools = SequenceTools::read(&mut bits, size, order_bits);
        let aspect = tools
            .as_ref()
            .and_then(|tools| if tools.has_usability { aspect(&mut bits) } else { Some(PixelAspect::SQUARE) });
        let tools = tools.filter(|_| USUAL_PROFILES.contains(&profile));
        Some(Self { id, chroma, has_separate_planes, order_bits, reorder, width, height, aspect, tools })
    }
}

impl SequenceTools {
    /// Reads on from the sizes of coding blocks to the VUI parameters (§7.3.2.2.1).
    fn read(bits: &mut Bits<'_>, (width, height): (u32, u32), order_bits: u32) -> Option<Self> {
        let least = bits.ue().filter(|log| *log <= 3)? + 3;
        let largest = least + bits.ue().filter(|log| *log <= 3)?;
        let across = |pixels: u32| pixels.div_ceil(1 << largest);
        for _ in 0..4 {
            bits.ue()?;
        }
        if bits.flag()? && bits.flag()? {
            scaling_lists(bits)?;
        }
        bits.u(1)?;
        let has_offsets = bits.flag()?;
        if bits.flag()? {
            bits.u(8)?;
            bits.ue()?;
            bits.ue()?;
            bits.u(1)?;
        }
        let mut sets = Vec::new();
        for _ in 0..bits.ue().filter(|sets| *sets <= MOST_REFERENCE_SETS)? {
            sets.push(ReferenceSet::read(bits, &sets, false)?);
        }
        let mut long_term = None;
        if bits.flag()? {
            let pictures = bits.ue().filter(|pictures| *pictures <= MOST_LONG_TERM_PICTURES)?;
            let mut read = || {
                bits.u(order_bits)?;
                bits.flag()
            };
            long_term = Some((0..pictures).map(|_| read()).collect::<Option<_>>()?);
        }
        let has_temporal_vectors = bits.flag()?;
        bits.u(1)?;
        let has_usability = bits.flag()?;
        let sets = sets.into();
        let blocks = across(width).checked_mul(across(height))?;
        Some(Self { blocks, sets, long_term, has_offsets, has_temporal_vectors, has_usability })
    }
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
pub(super) struct HevcPps {
    pub(super) id: u32,
    pub(super) sps: u32,
    pub(super) has_dependent_slices: bool,
    pub(super) has_output_flag: bool,
    pub(super) extra_bits: u32,
    /// What stands behind these; `None` if it cannot be read, or if headers have more than this tells.
    pub(super) tools: Option<PictureTools>,
}

/// What slices of a picture may make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the standard")]
pub(super) struct PictureTools {
    pub(super) has_initial_choice: bool,
    /// Usual lengths of both lists of reference pictures.
    pub(super) references: (u32, u32),
    pub(super) first_step: i32,
    pub(super) has_chroma_steps: bool,
    /// Of P and of B slices.
    pub(super) is_weighted: (bool, bool),
    pub(super) has_entry_points: bool,
    pub(super) filters_across: bool,
    /// Whether slices may say another filter, and whether there is one without that.
    pub(super) deblocking: (bool, bool),
    pub(super) has_modification: bool,
    pub(super) has_extension: bool,
    is_whole: bool,
}

impl HevcPps {
    pub(super) fn read(unit: &[u8]) -> Option<Self> {
        let payload = unescaped(unit.get(2..)?);
        let mut bits = Bits::new(&payload);
        let id = bits.ue().filter(|id| *id < 64)?;
        let sps = bits.ue().filter(|id| *id < 16)?;
        let (has_dependent_slices, has_output_flag) = (bits.flag()?, bits.flag()?);
        let extra_bits = bits.u(3)?;
        let tools = PictureTools::read(&mut bits, &payload);
        Some(Self { id, sps, has_dependent_slices, has_output_flag, extra_bits, tools })
    }

    /// Whether it ends where the unit does.
    pub(super) fn is_whole(&self) -> bool {
        self.tools.is_some_and(|tools| tools.is_whole)
    }
}

impl PictureTools {
    fn read(bits: &mut Bits<'_>, payload: &[u8]) -> Option<Self> {
        bits.u(1)?;
        let has_initial_choice = bits.flag()?;
        let mut length = || bits.ue().filter(|n| *n < 15).map(|n| n + 1);
        let references = (length()?, length()?);
        let first_step = bits.se()?.checked_add(26)?;
        bits.u(2)?;
        if bits.flag()? {
            bits.ue().filter(|depth| *depth <= 3)?;
        }
        for _ in 0..2 {
            bits.se().filter(|offset| (-12..=12).contains(offset))?;
        }
        let has_chroma_steps = bits.flag()?;
        let is_weighted = (bits.flag()?, bits.flag()?);
        bits.u(1)?;
        let has_tiles = bits.flag()?;
        let has_entry_points = bits.flag()? || has_tiles;
        if has_tiles {
            tiles(bits)?;
        }
        let filters_across = bits.flag()?;
        let mut deblocking = (false, true);
        if bits.flag()? {
            deblocking = (bits.flag()?, !bits.flag()?);
            if deblocking.1 {
                bits.se().filter(|offset| (-6..=6).contains(offset))?;
                bits.se().filter(|offset| (-6..=6).contains(offset))?;
            }
        }
        if bits.flag()? {
            scaling_lists(bits)?;
        }
        let has_modification = bits.flag()?;
        bits.ue().filter(|log| *log <= 4)?;
        let has_extension = bits.flag()?;
        // Of extensions only that they are there is known.
        let is_extended = bits.flag()?;
        let is_whole = is_extended || ends_at(payload, bits);
        let read = Self {
            has_initial_choice,
            references,
            first_step,
            has_chroma_steps,
            is_weighted,
            has_entry_points,
            filters_across,
            deblocking,
            has_modification,
            has_extension,
            is_whole,
        };
        Some(read).filter(|_| !is_extended)
    }
}

fn tiles(bits: &mut Bits<'_>) -> Option<()> {
    let (columns, rows) = (bits.ue()?, bits.ue()?);
    (columns < MOST_TILES && rows < MOST_TILES).then_some(())?;
    if !bits.flag()? {
        (0..columns + rows).try_for_each(|_| bits.ue().map(drop))?;
    }
    bits.u(1).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what [`Bits`] reads.
    #[derive(Default)]
    struct BitWriter(Vec<bool>);

    impl BitWriter {
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
    fn full_set() -> BitWriter {
        let mut set = BitWriter::default();
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
        let shape = |unit: &[u8]| HevcSps::read(unit).map(|sps| (sps.width, sps.height, sps.aspect));
        let mut set = full_set();
        let said = set.u(1, 1).u(1, 1).u(8, 255).u(16, 64).u(16, 45).u(32, 0).unit();
        assert_eq!(shape(&said), Some((320, 240, PixelAspect::new(64, 45))));
        assert_eq!(shape(&full_set().u(1, 0).unit()), Some((320, 240, Some(PixelAspect::SQUARE))));
        assert_eq!(shape(&full_set().u(2, 3).u(8, 14).unit()), Some((320, 240, PixelAspect::new(4, 3))));
        assert_eq!(
            shape(&full_set().u(2, 3).u(8, 200).unit()),
            Some((320, 240, Some(PixelAspect::SQUARE))),
            "reserved"
        );
        // The sizes stand whatever is cut off behind them, and what cannot be read is not guessed.
        for length in 60..said.len() - 9 {
            assert_eq!(shape(&said[..length]), Some((320, 240, None)), "{length}");
        }
    }
}
