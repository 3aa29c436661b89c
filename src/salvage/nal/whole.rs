//! Whether a unit ends where its syntax does. What looks like a unit by its first bytes alone may be anything: quiet sound that is
//! not coded is full of small numbers.

use crate::salvage::bits::{Bits, unescaped};

/// Whether the stop bit, and nothing but zeros behind it, is left of a payload (`rbsp_trailing_bits`, H.264 §7.3.2.11, H.265
/// §7.3.2.11).
pub(super) fn ends_at(payload: &[u8], bits: &Bits<'_>) -> bool {
    let last = payload.iter().rposition(|byte| *byte != 0);
    let stop = last.map(|at| at * 8 + 7 - payload[at].trailing_zeros() as usize);
    stop == Some(bits.position())
}

/// Whether a payload is supplemental messages, each with its type and its length (H.264 §7.3.2.3.1, H.265 §7.3.5), up to the end.
pub(super) fn are_messages(payload: &[u8]) -> bool {
    let payload = unescaped(payload);
    let mut rest = &payload[..];
    loop {
        match rest {
            [0x80, zeros @ ..] if rest.len() < payload.len() => return zeros.iter().all(|byte| *byte == 0),
            _ => {}
        }
        let Some((_, behind)) = number(rest) else { return false };
        let Some((length, behind)) = number(behind) else { return false };
        let Some(behind) = behind.get(length..) else { return false };
        rest = behind;
    }
}

/// A number of `ff_byte`s and a last byte.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let ones = bytes.iter().take_while(|byte| **byte == 0xFF).count();
    let last = bytes.get(ones)?;
    Some((ones * 255 + usize::from(*last), &bytes[ones + 1..]))
}

/// Whether a payload is filler (H.264 §7.3.2.7, H.265 §7.3.2.8): ones, and the stop bit.
pub(super) fn is_filler(payload: &[u8]) -> bool {
    let ones = payload.iter().take_while(|byte| **byte == 0xFF).count();
    matches!(payload[ones..], [0x80])
}

/// Where three bytes stand in a unit that none can contain (`emulation_prevention_three_byte`, H.264 §7.4.1, H.265 §7.4.2).
pub fn unescaped_at(unit: &[u8]) -> Option<usize> {
    unit.windows(3).position(|three| matches!(three, [0, 0, 0..=2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fill_their_unit() {
        assert!(are_messages(&[5, 2, 0xAA, 0xBB, 0x80]));
        assert!(are_messages(&[1, 1, 7, 6, 1, 0xC4, 0x80]));
        assert!(!are_messages(&[5, 3, 0xAA, 0xBB, 0x80]), "longer than the unit");
        assert!(!are_messages(&[5, 2, 0xAA, 0xBB, 0x90]), "no stop bit");
        assert!(!are_messages(&[0x80]), "none at all");
        assert!(!are_messages(&[]));
    }

    #[test]
    fn start_codes_stand_in_no_unit() {
        assert_eq!(unescaped_at(&[0x65, 0, 0, 3, 1, 0, 0]), None);
        assert_eq!(unescaped_at(&[]), None);
        for byte in 0..3 {
            assert_eq!(unescaped_at(&[0x65, 1, 0, 0, byte, 9]), Some(2), "{byte}");
        }
        assert_eq!(unescaped_at(&[0x65, 0, 0, 3, 0, 0, 0]), Some(4));
    }

    #[test]
    fn a_payload_ends_with_its_stop_bit() {
        let mut bits = Bits::new(&[0b1010_0000, 0]);
        assert!(!ends_at(&[0b1010_0000, 0], &bits));
        bits.skip(2);
        assert!(ends_at(&[0b1010_0000, 0], &bits));
        assert!(!ends_at(&[0, 0], &bits));
    }
}
