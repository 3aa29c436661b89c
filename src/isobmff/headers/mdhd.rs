//! `mdhd`: a track's clock, duration and language (ISO/IEC 14496-12 §8.4.2).

use crate::isobmff::cursor::ByteCursor;
use crate::isobmff::encode::{full_boxed, put_u16, put_u32, put_wide, version_for};

/// `und`, packed.
const UNDETERMINED: u16 = 0x55C4;
/// Smaller codes are Macintosh languages, not ISO 639-2 (QuickTime File Format, "Language code values").
const FIRST_ISO_CODE: u16 = 0x0400;

/// The media header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaHeader {
    /// Seconds since 1904 as stored.
    pub creation_time: u64,
    /// Seconds since 1904 as stored.
    pub modification_time: u64,
    /// Ticks per second of the track's clock.
    pub timescale: u32,
    /// In ticks of the timescale; 0 if it is not known.
    pub duration: u64,
    language_code: u16,
    quality: u16,
}

impl MediaHeader {
    /// A header for a track made from nothing, of undetermined language.
    pub const fn new(timescale: u32) -> Self {
        Self { creation_time: 0, modification_time: 0, timescale, duration: 0, language_code: UNDETERMINED, quality: 0 }
    }

    /// The language (ISO 639-2/T), if one is said.
    pub fn language(&self) -> Option<String> {
        if matches!(self.language_code, UNDETERMINED | 0..FIRST_ISO_CODE | 0x7FFF) {
            return None;
        }
        let letter = |shift: u32| u8::try_from(self.language_code >> shift & 0x1F).ok().map(|l| char::from(l + 0x60));
        [10, 5, 0].into_iter().map(letter).collect()
    }

    pub(in super::super) fn read(body: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor::new(body);
        let (version, _) = cursor.full()?;
        let (creation_time, modification_time) = (cursor.wide(version)?, cursor.wide(version)?);
        let timescale = cursor.u32()?;
        let duration = super::known(cursor.wide(version)?, version);
        let (language_code, quality) = (cursor.u16()?, cursor.u16()?);
        Some(Self { creation_time, modification_time, timescale, duration, language_code, quality })
    }

    pub(in super::super) fn write(&self, out: &mut Vec<u8>) {
        let version = version_for(&[self.creation_time, self.modification_time, self.duration]);
        full_boxed(out, *b"mdhd", version, 0, |out| {
            put_wide(out, version, self.creation_time);
            put_wide(out, version, self.modification_time);
            put_u32(out, self.timescale);
            put_wide(out, version, self.duration);
            put_u16(out, self.language_code);
            put_u16(out, self.quality);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_in_both_versions() {
        for duration in [5, 1 << 33] {
            let header = MediaHeader { duration, language_code: 0x15C7, ..MediaHeader::new(48_000) };
            let mut out = Vec::new();
            header.write(&mut out);
            assert_eq!(MediaHeader::read(&out[8..]).as_ref(), Some(&header));
            assert_eq!(header.language().as_deref(), Some("eng"));
        }
        assert_eq!(MediaHeader::new(1).language(), None);
    }
}
