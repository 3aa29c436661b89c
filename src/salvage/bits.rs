//! A bit reader over bytes in memory, most significant bit first.
//!
//! Reading past the end is `None` for syntax elements; [`Bits::peek`] sees zeros there, and [`Bits::is_over`] tells.

/// A position in a run of bytes.
#[derive(Debug, Clone)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// Begins at the first bit.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits read so far.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Whether more was skipped than there is.
    pub const fn is_over(&self) -> bool {
        self.at > self.bytes.len() * 8
    }

    /// The next `count` (at most 32) bits without reading them; zeros behind the end.
    #[inline]
    pub fn peek(&self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        u32::try_from(self.window().0 >> (64 - count)).unwrap_or(0)
    }

    /// The next bits without reading them, left-aligned, and how many they are: at least 57; zeros behind the end.
    #[inline]
    pub fn window(&self) -> (u64, u32) {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(eight) => u64::from_be_bytes(*eight),
            None => rest.iter().enumerate().fold(0, |word, (i, byte)| word | u64::from(*byte) << (56 - 8 * i)),
        };
        let skipped = u32::try_from(self.at % 8).unwrap_or(0);
        (word << skipped, u64::BITS - skipped)
    }

    /// Goes on by `count` bits, past the end if need be.
    #[inline]
    pub const fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// Goes to the next whole byte.
    pub const fn align(&mut self) {
        self.at = self.at.div_ceil(8) * 8;
    }

    /// `u(n)`, `n` at most 32.
    #[inline]
    pub fn u(&mut self, count: u32) -> Option<u32> {
        let value = self.peek(count);
        self.at += count as usize;
        (!self.is_over()).then_some(value)
    }

    /// One bit as a flag.
    #[inline]
    pub fn flag(&mut self) -> Option<bool> {
        self.u(1).map(|bit| bit == 1)
    }

    /// `ue(v)` (ITU-T H.264 §9.1, H.265 §9.2), of at most 31 leading zeros.
    pub fn ue(&mut self) -> Option<u32> {
        let zeros = self.peek(32).leading_zeros();
        if zeros > 31 {
            return None;
        }
        self.skip(zeros as usize + 1);
        let suffix = self.u(zeros)?;
        Some(((1_u32 << zeros) - 1).wrapping_add(suffix))
    }

    /// `se(v)`.
    pub fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

/// The payload of a NAL unit without its emulation prevention bytes (H.264 §7.4.1, H.265 §7.4.2).
pub fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_golomb_codes_are_those_of_the_standard() {
        // 1 010 011 00100 00101 (table 9-2)
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue()].map(Option::unwrap), [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&[0b0100_1100, 0b1000_0101]);
        assert_eq!([bits.se(), bits.se(), bits.se(), bits.se()].map(Option::unwrap), [1, -1, 2, -2]);
    }

    #[test]
    fn nothing_is_read_behind_the_end() {
        let mut bits = Bits::new(&[0xFF]);
        assert_eq!((bits.u(8), bits.u(1), bits.is_over()), (Some(0xFF), None, true));
        assert_eq!(Bits::new(&[0; 3]).ue(), None);
    }

    #[test]
    fn only_the_three_behind_two_zeros_goes() {
        assert_eq!(unescaped(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3]), [0, 0, 1, 0, 0, 0, 0, 3]);
    }
}
