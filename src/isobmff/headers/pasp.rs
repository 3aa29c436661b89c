//! `pasp`: how wide a sample of a picture is for its height (ISO/IEC 14496-12 §12.1.4).

use crate::isobmff::cursor::ByteCursor;

/// Width to height of one sample, in lowest terms; neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelAspect {
    horizontal: u32,
    vertical: u32,
}

impl PixelAspect {
    /// As wide as high: what holds where nothing is said.
    pub const SQUARE: Self = Self { horizontal: 1, vertical: 1 };

    /// `None` where one of them is 0, which says nothing.
    pub const fn new(horizontal: u32, vertical: u32) -> Option<Self> {
        let (mut divisor, mut rest) = (horizontal, vertical);
        while rest > 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        if horizontal == 0 || vertical == 0 {
            return None;
        }
        Some(Self { horizontal: horizontal / divisor, vertical: vertical / divisor })
    }

    /// Whether a sample is as wide as high.
    pub fn is_square(self) -> bool {
        self == Self::SQUARE
    }

    /// How wide so many samples are shown, pixels in 16.16 fixed point (§8.3.2), rounded to nearest; the samples' own number
    /// where that field does not hold it.
    pub fn shown_width(self, samples: u16) -> u32 {
        let (own, vertical) = (u64::from(samples) << 16, u64::from(self.vertical));
        let shown = (u128::from(own) * u128::from(self.horizontal) + u128::from(vertical / 2)) / u128::from(vertical);
        u32::try_from(shown).ok().filter(|shown| *shown > 0).unwrap_or(u32::from(samples) << 16)
    }

    pub(in super::super) fn read(body: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor::new(body);
        Self::new(cursor.u32()?, cursor.u32()?)
    }

    /// The box; empty for square samples, of which it would say nothing.
    pub fn to_box(self) -> Vec<u8> {
        if self.is_square() {
            return Vec::new();
        }
        [b"\0\0\0\x10pasp", &self.horizontal.to_be_bytes()[..], &self.vertical.to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_in_lowest_terms() {
        let aspect = PixelAspect::new(32, 22).unwrap();
        assert_eq!(PixelAspect::read(&aspect.to_box()[8..]), PixelAspect::new(16, 11));
        assert_eq!(
            (PixelAspect::new(0, 1), PixelAspect::new(1, 0), PixelAspect::read(b"\0\0\0\x01\0\0")),
            (None, None, None)
        );
        assert!(PixelAspect::new(u32::MAX, u32::MAX).unwrap().is_square());
        assert_eq!(PixelAspect::SQUARE.to_box(), b"");
    }

    #[test]
    fn a_width_is_rounded_and_stays_in_its_field() {
        let shown =
            |horizontal, vertical, samples| PixelAspect::new(horizontal, vertical).unwrap().shown_width(samples);
        assert_eq!((shown(4, 3, 320), shown(1, 1, 640)), (0x01AA_AAAB, 640 << 16));
        assert_eq!((shown(u32::MAX, 1, 2), shown(1, u32::MAX, 1)), (2 << 16, 1 << 16));
    }
}
