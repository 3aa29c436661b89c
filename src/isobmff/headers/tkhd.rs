//! `tkhd`: a track's id, duration and place on the screen (ISO/IEC 14496-12 §8.3.2).

use crate::isobmff::cursor::ByteCursor;
use crate::isobmff::encode::{full_boxed, put_u32, put_wide, version_for};

/// Length of what follows the duration: layer, group, volume, matrix, width, height.
const TAIL_BYTES: usize = 60;
/// Track enabled, in movie.
const DEFAULT_FLAGS: u32 = 3;

/// The track header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackHeader {
    /// Enabled (1), in movie (2), in preview (4), size is aspect ratio (8).
    pub flags: u32,
    /// Seconds since 1904 as stored.
    pub creation_time: u64,
    /// Seconds since 1904 as stored.
    pub modification_time: u64,
    /// Number of the track in `trak`, `trex`, `tfhd`; not 0.
    pub id: u32,
    /// In ticks of the movie's timescale; 0 if it is not known.
    pub duration: u64,
    tail: [u8; TAIL_BYTES],
}

impl TrackHeader {
    /// A header for a track made from nothing, its width in pixels of 16.16 fixed point, its height in whole ones; both are 0
    /// for sound.
    pub fn new(id: u32, is_audio: bool, width: u32, height: u16) -> Self {
        let mut tail = [0; TAIL_BYTES];
        tail[12] = u8::from(is_audio); // volume 1.0
        tail[16..52].copy_from_slice(&super::mvhd::UNITY_MATRIX);
        tail[52..56].copy_from_slice(&width.to_be_bytes());
        tail[56..58].copy_from_slice(&height.to_be_bytes());
        Self { flags: DEFAULT_FLAGS, creation_time: 0, modification_time: 0, id, duration: 0, tail }
    }

    /// How wide the picture is shown, pixels of 16.16 fixed point.
    pub fn width(&self) -> u32 {
        self.tail[52..56].try_into().map_or(0, u32::from_be_bytes)
    }

    pub(in super::super) fn read(body: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor::new(body);
        let (version, flags) = cursor.full()?;
        let (creation_time, modification_time) = (cursor.wide(version)?, cursor.wide(version)?);
        let (id, _reserved) = (cursor.u32()?, cursor.u32()?);
        let duration = super::known(cursor.wide(version)?, version);
        Some(Self { flags, creation_time, modification_time, id, duration, tail: cursor.array()? })
    }

    pub(in super::super) fn write(&self, out: &mut Vec<u8>) {
        let version = version_for(&[self.creation_time, self.modification_time, self.duration]);
        full_boxed(out, *b"tkhd", version, self.flags, |out| {
            put_wide(out, version, self.creation_time);
            put_wide(out, version, self.modification_time);
            put_u32(out, self.id);
            put_u32(out, 0);
            put_wide(out, version, self.duration);
            out.extend(self.tail);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_in_both_versions() {
        for duration in [5, 1 << 33] {
            let header = TrackHeader { duration, flags: 0xF, ..TrackHeader::new(7, false, 1920 << 16, 1080) };
            let mut out = Vec::new();
            header.write(&mut out);
            assert_eq!(TrackHeader::read(&out[8..]), Some(header));
        }
    }
}
