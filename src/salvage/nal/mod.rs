//! Coded pictures as MP4 stores them. H.264 and H.265: NAL units, each behind its length (ISO/IEC 14496-15 §5.3.3,
//! §8.3.3). AV1: units that begin with their length ([`av1`]). JPEG and ProRes: pictures that are samples of their own ([`intra`]).
//! MPEG-4 Visual: start codes and no lengths ([`visual`]).
//!
//! What is read of a unit is its header and the first bytes of a slice header; the coded pictures stay where they are.

pub mod av1;
pub mod avc;
pub mod hevc;
pub mod intra;
mod recent;
pub mod visual;
mod whole;

use super::bits::Bits;
use crate::isobmff::PixelAspect;
pub use whole::unescaped_at;

/// Bytes of a unit that are looked at; parameter sets are shorter, slice headers as far as the picture order much so.
pub const PREFIX_BYTES: usize = 1024;
/// Bytes of a slice header that are looked at.
pub const SLICE_PREFIX_BYTES: usize = 48;
/// No coded picture is larger; and none has a length whose first byte is more than 1, which a glance goes by.
pub const MAX_UNIT_BYTES: u64 = (32 << 20) - 1;

/// Which standard the pictures follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standard {
    /// ITU-T H.264.
    Avc,
    /// ITU-T H.265.
    Hevc,
    /// ISO/IEC 14496-2, MPEG-4 Visual: start codes instead of lengths.
    Visual,
    /// AV1 in low-overhead form.
    Av1,
    /// JPEG: an end marker instead of a length.
    Jpeg,
    /// Apple ProRes.
    ProRes,
}

impl Standard {
    /// The codec's name, as FFmpeg says it.
    pub const fn codec(self) -> &'static str {
        match self {
            Self::Avc => "h264",
            Self::Hevc => "hevc",
            Self::Visual => "mpeg4",
            Self::Av1 => "av1",
            Self::Jpeg => "mjpeg",
            Self::ProRes => "prores",
        }
    }

    /// Whether its units are parts of a picture, which say their length; else what is found is a whole picture.
    pub const fn has_units(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Av1)
    }

    /// Whether each picture is by itself: one that reads needs nothing behind it to be believed.
    pub const fn is_intra(self) -> bool {
        matches!(self, Self::Jpeg | Self::ProRes)
    }
}

/// What a unit is to the access unit it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitRole {
    /// Begins a new access unit if the one before has a picture: delimiter, parameter sets, prefix messages.
    Opens,
    /// Part of a coded picture.
    Slice {
        /// Whether it is the first of its picture, as its own first syntax element says.
        is_first: bool,
        /// Whether decoding can begin at its picture.
        is_sync: bool,
    },
    /// Belongs to the access unit before: filler, suffix messages, ends.
    Closes,
}

/// What a slice header says about the order of its picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Picture {
    /// `PicOrderCnt` within the coded video sequence.
    pub order: i64,
    /// Whether a coded video sequence begins with it.
    pub begins_sequence: bool,
    /// Whether it is the second field of the picture before and shares its sample.
    pub is_second_field: bool,
    /// Whether the numbers follow on those of the picture before it (the consistency test).
    pub is_consistent: bool,
    /// Whether they are besides those that only the very next picture can have. What some encoders get wrong is not held against a
    /// picture by the test before.
    pub is_next: bool,
}

/// Parameter sets of a track, and the state of picture order.
#[derive(Debug, Clone)]
pub enum CodecParameters {
    /// Of H.264.
    Avc(avc::AvcParameters),
    /// Of H.265.
    Hevc(hevc::HevcParameters),
    /// Of MPEG-4 Visual.
    Visual(visual::VisualParameters),
    /// Of AV1.
    Av1(av1::Av1Parameters),
    /// Of JPEG and ProRes.
    Intra(intra::IntraParameters),
}

impl CodecParameters {
    /// None known yet.
    pub fn empty(standard: Standard) -> Self {
        match standard {
            Standard::Avc => Self::Avc(avc::AvcParameters::default()),
            Standard::Hevc => Self::Hevc(hevc::HevcParameters::default()),
            Standard::Visual => Self::Visual(visual::VisualParameters::default()),
            Standard::Av1 => Self::Av1(av1::Av1Parameters::default()),
            Standard::Jpeg | Standard::ProRes => Self::Intra(intra::IntraParameters { standard, size: None }),
        }
    }

    /// Which standard they are of.
    pub const fn standard(&self) -> Standard {
        match self {
            Self::Avc(_) => Standard::Avc,
            Self::Hevc(_) => Standard::Hevc,
            Self::Visual(_) => Standard::Visual,
            Self::Av1(_) => Standard::Av1,
            Self::Intra(sets) => sets.standard,
        }
    }

    /// Takes a parameter set (a unit without its length). `true` if it was one and could be read.
    pub fn take(&mut self, unit: &[u8]) -> bool {
        match self {
            Self::Avc(sets) => sets.take(unit),
            Self::Hevc(sets) => sets.take(unit),
            Self::Visual(sets) => sets.take(unit),
            Self::Av1(sets) => sets.take(unit),
            Self::Intra(_) => false,
        }
    }

    /// Whether slices can be read with what is known.
    pub fn is_usable(&self) -> bool {
        match self {
            Self::Avc(sets) => sets.is_usable(),
            Self::Hevc(sets) => sets.is_usable(),
            Self::Visual(sets) => sets.is_usable(),
            Self::Av1(sets) => sets.is_usable(),
            Self::Intra(_) => true,
        }
    }

    /// Reads a slice header as far as the picture order; the picture follows the one of the call before.
    pub fn picture(&mut self, unit: &[u8]) -> Option<Picture> {
        match self {
            Self::Avc(sets) => sets.picture(unit),
            Self::Hevc(sets) => sets.picture(unit),
            Self::Visual(sets) => sets.picture(unit),
            Self::Av1(sets) => sets.picture(unit),
            Self::Intra(sets) => sets.picture(unit),
        }
    }

    /// Whether the picture that the open access unit is for has not come yet: what precedes it is not shown.
    pub const fn awaits_picture(&self) -> bool {
        matches!(self, Self::Av1(sets) if sets.waits())
    }

    /// Whether a slice may come next, read without taking it: its parameter sets are known and its numbers follow.
    pub fn may_follow(&self, unit: &[u8]) -> bool {
        // At most places none stands, and a copy is dear.
        self.may_be(unit) && self.clone().picture(unit).is_some_and(|picture| picture.is_next)
    }

    /// Whether the first slice of any picture may begin so.
    pub fn may_be(&self, unit: &[u8]) -> bool {
        match self {
            Self::Avc(sets) => sets.may_be(unit),
            Self::Hevc(sets) => sets.may_be(unit),
            Self::Visual(_) | Self::Av1(_) | Self::Intra(_) => true,
        }
    }

    /// Whether a slice that is not the first of its picture may belong to the one of the call before.
    pub fn may_continue(&self, unit: &[u8]) -> bool {
        match self {
            Self::Avc(sets) => sets.may_continue(unit),
            Self::Hevc(sets) => sets.may_continue(unit),
            Self::Visual(_) | Self::Av1(_) | Self::Intra(_) => true,
        }
    }

    /// Forgets the picture of the call before: some may be lost between it and the next.
    pub fn forget(&mut self) {
        match self {
            Self::Avc(sets) => sets.forget(),
            Self::Hevc(sets) => sets.forget(),
            Self::Visual(_) | Self::Av1(_) | Self::Intra(_) => {}
        }
    }

    /// After how many pictures the order count begins again, in its own units; 0 if that is not known.
    pub fn order_period(&self) -> i64 {
        match self {
            Self::Avc(sets) => sets.order_period(),
            Self::Hevc(sets) => sets.order_period(),
            Self::Av1(sets) => sets.order_period(),
            Self::Visual(_) | Self::Intra(_) => 0,
        }
    }

    /// By how many pictures output may lag behind decoding, if a parameter set says so.
    pub fn reorder(&self) -> Option<u32> {
        match self {
            Self::Avc(sets) => sets.reorder(),
            Self::Hevc(sets) => sets.reorder(),
            // Pictures are decoded when they are shown.
            Self::Av1(_) | Self::Intra(_) => Some(0),
            Self::Visual(_) => None,
        }
    }

    /// Picture size in pixels, if it is known.
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        match self {
            Self::Avc(sets) => sets.dimensions(),
            Self::Hevc(sets) => sets.dimensions(),
            Self::Av1(sets) => sets.dimensions(),
            Self::Intra(sets) => sets.size,
            Self::Visual(_) => None,
        }
    }

    /// Width to height of a sample, square where nothing is said of it; `None` if that cannot be read.
    pub fn aspect(&self) -> Option<PixelAspect> {
        match self {
            Self::Avc(sets) => sets.aspect(),
            Self::Hevc(sets) => sets.aspect(),
            Self::Visual(_) | Self::Av1(_) | Self::Intra(_) => None,
        }
    }

    /// Duration of a frame as the parameter sets say it: units and units per second.
    pub fn frame_duration(&self) -> Option<(u32, u32)> {
        match self {
            Self::Avc(sets) => sets.frame_duration(),
            Self::Hevc(_) | Self::Visual(_) | Self::Av1(_) | Self::Intra(_) => None,
        }
    }
}

/// The role of a unit, or `None` where its first bytes cannot begin one. `length` is that of the whole unit.
pub fn role(standard: Standard, unit: &[u8], length: u64) -> Option<UnitRole> {
    match standard {
        Standard::Avc => avc::role(unit, length),
        Standard::Hevc => hevc::role(unit, length),
        Standard::Visual | Standard::Av1 | Standard::Jpeg | Standard::ProRes => None,
    }
}

/// Whether a unit that is no slice is what its header says, up to its last bit.
pub fn is_whole(standard: Standard, unit: &[u8]) -> bool {
    match standard {
        Standard::Avc => avc::is_whole(unit),
        Standard::Hevc => hevc::is_whole(unit),
        Standard::Visual | Standard::Av1 | Standard::Jpeg | Standard::ProRes => true,
    }
}

/// `aspect_ratio_idc` of a ratio that is written out (H.264 Table E-1, H.265 Table E.1).
const EXTENDED_ASPECT: u32 = 255;
/// Width to height of a sample by `aspect_ratio_idc`; 0 says nothing.
const ASPECTS: [(u32, u32); 17] = [
    (0, 0),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// The ratio that VUI parameters begin with (H.264 §E.1.1, H.265 §E.2.1), square where they say none; `None` if they are cut.
fn aspect(bits: &mut Bits<'_>) -> Option<PixelAspect> {
    if !bits.flag()? {
        return Some(PixelAspect::SQUARE);
    }
    let (horizontal, vertical) = match bits.u(8)? {
        EXTENDED_ASPECT => (bits.u(16)?, bits.u(16)?),
        known => usize::try_from(known).ok().and_then(|at| ASPECTS.get(at).copied()).unwrap_or_default(),
    };
    Some(PixelAspect::new(horizontal, vertical).unwrap_or(PixelAspect::SQUARE))
}

/// A count that runs modulo a period, unwrapped next to `previous`.
const fn unwrapped(low: i64, previous: i64, period: i64) -> i64 {
    let base = previous - previous.rem_euclid(period);
    let candidate = base + low;
    if candidate < previous && previous - candidate >= period / 2 {
        candidate + period
    } else if candidate > previous && candidate - previous > period / 2 {
        candidate - period
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_unwrapped_to_the_nearest() {
        assert_eq!((unwrapped(0, 14, 16), unwrapped(14, 16, 16), unwrapped(4, 2, 16)), (16, 14, 4));
    }
}
