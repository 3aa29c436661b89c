//! Pictures that are samples of their own and need no other: JPEG (ITU-T T.81), which ends with a marker that cannot occur inside, and
//! Apple ProRes (SMPTE RDD 36), which begins with its length.

use super::{MAX_UNIT_BYTES, Picture, Standard};

/// Least and most bytes of a ProRes frame header (RDD 36 §5.1.1): with both quantisation matrices it has 148.
const PRORES_HEADER_BYTES: std::ops::RangeInclusive<usize> = 20..=148;
/// Length and name in front of it.
const PRORES_FRAME_BYTES: usize = 8;

/// Whether a picture may begin here, in a glance.
#[inline]
pub const fn may_begin(standard: Standard, bytes: &[u8]) -> bool {
    match standard {
        Standard::Jpeg => matches!(bytes, [0xFF, 0xD8, 0xFF, 0xC0..=0xFF, ..]),
        _ => matches!(bytes, [_, _, _, _, b'i', b'c', b'p', b'f', ..]),
    }
}

/// Length of the ProRes picture that begins here.
pub fn prores_bytes(bytes: &[u8]) -> Option<u64> {
    let size = u64::from(u32::from_be_bytes(*bytes.first_chunk()?));
    let header = usize::from(u16::from_be_bytes(*bytes.get(8..)?.first_chunk()?));
    let (width, height) = prores_size(bytes)?;
    let is_sound = may_begin(Standard::ProRes, bytes)
        && PRORES_HEADER_BYTES.contains(&header)
        && (width > 0 && height > 0)
        && size > (PRORES_FRAME_BYTES + header) as u64
        && size <= MAX_UNIT_BYTES;
    is_sound.then_some(size)
}

fn prores_size(bytes: &[u8]) -> Option<(u16, u16)> {
    let number = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    Some((number(16)?, number(18)?))
}

/// What stands in a JPEG between its pictures' data (T.81 §B.1.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// So many bytes that say how it is coded.
    Table(u64),
    /// The same, and what size it has: width, height.
    Frame(u64, (u16, u16)),
    /// The header of data that follow it.
    Scan(u64),
    /// The end of the picture with these bytes.
    End(u64),
}

/// Whether a picture begins here.
pub fn begins(standard: Standard, bytes: &[u8]) -> bool {
    match standard {
        Standard::ProRes => prores_bytes(bytes).is_some(),
        _ => may_begin(standard, bytes) && bytes.get(2..).and_then(marker).is_some(),
    }
}

/// The marker that the bytes begin with, any fill bytes with it (§B.1.1.2).
pub fn marker(bytes: &[u8]) -> Option<Marker> {
    let fill = bytes.iter().take_while(|byte| **byte == 0xFF).count().checked_sub(1)?;
    let bytes = bytes.get(fill..)?;
    let code = *bytes.get(1)?;
    if code == 0xD9 {
        return Some(Marker::End(fill as u64 + 2));
    }
    let number = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let length = number(2).filter(|length| *length >= 2)?;
    let whole = fill as u64 + 2 + u64::from(length);
    match code {
        0xC4 | 0xC8 | 0xCC | 0xDB | 0xDD | 0xE0..=0xEF | 0xFE => Some(Marker::Table(whole)),
        0xC0..=0xCF => Some(Marker::Frame(whole, (number(7)?, number(5)?))),
        0xDA => Some(Marker::Scan(whole)),
        _ => None,
    }
}

/// Where the data of a picture end and the next marker begins: a byte of ones that no zero follows and that is no restart marker.
/// The last byte may be the first half of one.
pub fn next_marker(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = data.get(at..)?.iter().position(|byte| *byte == 0xFF) {
        at += found;
        match data.get(at + 1)? {
            0x00 | 0xD0..=0xD7 => at += 2,
            0xFF => at += 1,
            _ => return Some(at),
        }
    }
    None
}

/// The size of the pictures of a track, which does not change.
#[derive(Debug, Clone)]
pub struct IntraParameters {
    /// Which of the two.
    pub standard: Standard,
    /// Width and height in samples, once they are known.
    pub size: Option<(u16, u16)>,
}

impl IntraParameters {
    /// Reads the size of a picture, of which the first bytes are seen.
    pub fn picture(&mut self, sample: &[u8]) -> Option<Picture> {
        let size = match self.standard {
            Standard::Jpeg => jpeg_size(sample)?,
            _ => prores_size(sample)?,
        };
        let is_consistent = *self.size.get_or_insert(size) == size;
        Some(Picture { order: 0, begins_sequence: true, is_second_field: false, is_consistent, is_next: is_consistent })
    }
}

fn jpeg_size(sample: &[u8]) -> Option<(u16, u16)> {
    let mut at = 2;
    loop {
        match marker(sample.get(at..)?)? {
            Marker::Frame(_, size) => return Some(size),
            Marker::Table(bytes) => at += usize::try_from(bytes).ok()?,
            Marker::Scan(_) | Marker::End(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prores_picture_says_its_length_and_size() {
        let mut frame = b"\0\0\x10\0icpf\0\x94\0\0test\x01\x40\0\xF0\x80".to_vec();
        assert_eq!(prores_bytes(&frame), Some(4096));
        let mut parameters = IntraParameters { standard: Standard::ProRes, size: None };
        assert!(parameters.picture(&frame).is_some_and(|picture| picture.is_consistent));
        assert_eq!(parameters.size, Some((320, 240)));
        frame[18] = 1;
        assert!(parameters.picture(&frame).is_some_and(|picture| !picture.is_consistent), "another size");
        frame[9] = 10;
        assert_eq!(prores_bytes(&frame), None);
    }

    #[test]
    fn markers_of_a_jpeg_lead_to_its_end() {
        let frame = [0xFF, 0xC0, 0, 17, 8, 0, 240, 1, 64, 3];
        assert_eq!(marker(&frame), Some(Marker::Frame(19, (320, 240))));
        assert_eq!(marker(&[0xFF, 0xFF, 0xDB, 0, 67]), Some(Marker::Table(70)));
        assert_eq!(
            (marker(&[0xFF, 0xD9]), marker(&[0xFF, 0xD8, 0, 2]), marker(&[0, 0xDB])),
            (Some(Marker::End(2)), None, None)
        );
        assert_eq!(marker(&[0xFF, 0xDB, 0, 1]), None);
        assert_eq!(next_marker(&[1, 0xFF, 0, 0xFF, 0xD3, 9, 0xFF, 0xD9]), Some(6));
        assert_eq!((next_marker(&[1, 2, 0xFF]), next_marker(&[])), (None, None));
    }
}
