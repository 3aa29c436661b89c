//! `mvhd`: the movie's clock and duration (ISO/IEC 14496-12 §8.2.2).

use crate::isobmff::cursor::ByteCursor;
use crate::isobmff::encode::{full_boxed, put_u32, put_wide, version_for};

/// The identity matrix (§6.2.2).
pub(super) const UNITY_MATRIX: [u8; 36] = {
    let mut matrix = [0; 36];
    matrix[1] = 1;
    matrix[17] = 1;
    matrix[32] = 0x40;
    matrix
};

/// Length of what follows the duration: rate, volume, matrix, next track id.
const TAIL_BYTES: usize = 80;

/// The movie header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovieHeader {
    /// Seconds since 1904 as stored.
    pub creation_time: u64,
    /// Seconds since 1904 as stored.
    pub modification_time: u64,
    /// Ticks per second of the movie's clock.
    pub timescale: u32,
    /// In ticks of the timescale; 0 if it is not known.
    pub duration: u64,
    tail: [u8; TAIL_BYTES],
}

impl MovieHeader {
    /// A header for a movie made from nothing.
    pub fn new(timescale: u32) -> Self {
        let mut tail = [0; TAIL_BYTES];
        tail[1] = 1; // rate 1.0
        tail[4] = 1; // volume 1.0
        tail[16..52].copy_from_slice(&UNITY_MATRIX);
        Self { creation_time: 0, modification_time: 0, timescale, duration: 0, tail }
    }

    /// When the movie was made, milliseconds since the Unix epoch, if the writer said so.
    pub fn created_ms(&self) -> Option<i64> {
        super::unix_ms(self.creation_time)
    }

    /// Says when the movie was made, milliseconds since the Unix epoch; whole seconds are kept.
    pub fn set_created_ms(&mut self, ms: i64) {
        self.creation_time = super::since_1904(ms);
        self.modification_time = self.creation_time;
    }

    pub(in super::super) fn read(body: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor::new(body);
        let (version, _) = cursor.full()?;
        let (creation_time, modification_time) = (cursor.wide(version)?, cursor.wide(version)?);
        let timescale = cursor.u32()?;
        let duration = super::known(cursor.wide(version)?, version);
        Some(Self { creation_time, modification_time, timescale, duration, tail: cursor.array()? })
    }

    /// Writes the box; the next track id is raised above `last_track_id`.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>, last_track_id: u32) {
        let version = version_for(&[self.creation_time, self.modification_time, self.duration]);
        let (kept, next_track_id) = self.tail.split_at(TAIL_BYTES - 4);
        let next = next_track_id.try_into().map_or(0, u32::from_be_bytes);
        full_boxed(out, *b"mvhd", version, 0, |out| {
            put_wide(out, version, self.creation_time);
            put_wide(out, version, self.modification_time);
            put_u32(out, self.timescale);
            put_wide(out, version, self.duration);
            out.extend(kept);
            put_u32(out, next.max(last_track_id.saturating_add(1)));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_in_both_versions() {
        for duration in [90_000, 1 << 40] {
            let header = MovieHeader { duration, creation_time: 3_800_000_000, ..MovieHeader::new(1000) };
            let mut out = Vec::new();
            header.write(&mut out, 2);
            let again = MovieHeader::read(&out[8..]).unwrap();
            assert_eq!((again.duration, again.timescale, &again.tail[76..]), (duration, 1000, &[0, 0, 0, 3][..]));
            assert_eq!(again.tail[..76], header.tail[..76]);
            assert_eq!(again.created_ms(), Some(1_717_155_200_000));
        }
    }
}
