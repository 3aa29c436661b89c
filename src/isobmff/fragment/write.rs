//! Fragments written anew: `moof` with the head of its `mdat`, and `sidx`, the index of all of them (ISO/IEC 14496-12 §8.8, §8.16.3).

use crate::isobmff::encode::{boxed, checked, full_boxed, put_count, put_u16, put_u32, put_u64};
use crate::isobmff::error::IsoError;

/// Base of data offsets is the `moof` (§8.8.7).
const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
const DESCRIPTION_PRESENT: u32 = 0x02;
/// Data offset, and for each sample duration, size, flags and composition offset (§8.8.8).
const RUN_FIELDS: u32 = 0x001 | 0x100 | 0x200 | 0x400 | 0x800;
/// Sample flags (§8.8.3.1): depends on no other; depends on others and is no sync sample.
const SYNC: u32 = 0x0200_0000;
const NON_SYNC: u32 = 0x0101_0000;
/// Head of an `mdat` with a 32-bit size.
const MDAT_HEAD_BYTES: u64 = 8;
/// A subsegment begins with a sync sample and it is the first in presentation, too (§8.16.3.3).
const STARTS_WITH_SAP: u32 = 0x9000_0000;
/// Largest size of a subsegment: 31 bits.
const MOST_INDEXED_BYTES: u64 = (1 << 31) - 1;

/// A sample in a fragment; times in ticks of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentSample {
    /// Decoding duration.
    pub duration: u32,
    /// Size in bytes.
    pub size_bytes: u32,
    /// Composition time minus decoding time.
    pub composition: i32,
    /// Whether decoding can begin here.
    pub is_sync: bool,
}

/// Samples of one track that share a description; their data lies together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFragment {
    /// The track.
    pub track_id: u32,
    /// Which entry of `stsd` describes them, from 1.
    pub description_index: u32,
    /// Decoding time of the first one, in ticks of the track.
    pub decode_time: u64,
    /// The samples in decoding order.
    pub samples: Vec<FragmentSample>,
}

impl TrackFragment {
    fn size_bytes(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.size_bytes)).sum()
    }
}

/// Writes a `moof` and the head of the `mdat` behind it. The data of the track fragments follows in their order.
pub fn fragment(sequence: u32, tracks: &[TrackFragment]) -> Result<Vec<u8>, IsoError> {
    let body_bytes = MDAT_HEAD_BYTES + tracks.iter().map(TrackFragment::size_bytes).sum::<u64>();
    let limit = i32::MAX.unsigned_abs();
    let too_long = IsoError::Limit { what: "size of a fragment in bytes", found: body_bytes, limit: u64::from(limit) };
    let body_bytes = u32::try_from(body_bytes).ok().filter(|bytes| *bytes <= limit).ok_or(too_long)?;
    let mut out = moof(sequence, tracks, 0);
    // Offsets have a fixed width: the second time it is as long.
    out = moof(sequence, tracks, out.len() as u64 + MDAT_HEAD_BYTES);
    put_u32(&mut out, body_bytes);
    out.extend(*b"mdat");
    checked(&out)?;
    Ok(out)
}

fn moof(sequence: u32, tracks: &[TrackFragment], mut data_at: u64) -> Vec<u8> {
    let mut out = Vec::new();
    boxed(&mut out, *b"moof", |out| {
        full_boxed(out, *b"mfhd", 0, 0, |out| put_u32(out, sequence));
        for track in tracks {
            write_track(out, track, data_at);
            data_at += track.size_bytes();
        }
    });
    out
}

fn write_track(out: &mut Vec<u8>, track: &TrackFragment, data_at: u64) {
    boxed(out, *b"traf", |out| {
        full_boxed(out, *b"tfhd", 0, DEFAULT_BASE_IS_MOOF | DESCRIPTION_PRESENT, |out| {
            put_u32(out, track.track_id);
            put_u32(out, track.description_index);
        });
        full_boxed(out, *b"tfdt", 1, 0, |out| put_u64(out, track.decode_time));
        full_boxed(out, *b"trun", 1, RUN_FIELDS, |out| {
            put_count(out, track.samples.len());
            put_u32(out, u32::try_from(data_at).unwrap_or(u32::MAX));
            for sample in &track.samples {
                put_u32(out, sample.duration);
                put_u32(out, sample.size_bytes);
                put_u32(out, if sample.is_sync { SYNC } else { NON_SYNC });
                put_u32(out, sample.composition.cast_unsigned());
            }
        });
    });
}

/// A fragment as the index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// `moof` and `mdat`, bytes.
    pub size_bytes: u64,
    /// How long it is, in ticks of the index.
    pub duration: u32,
    /// Whether it begins with a sync sample.
    pub starts_with_sync: bool,
}

/// Writes the index of the fragments that follow it, by one track. `None` if there are more, or larger ones, than an index can have.
pub fn segment_index(track_id: u32, timescale: u32, earliest: u64, entries: &[IndexEntry]) -> Option<Vec<u8>> {
    let count = u16::try_from(entries.len()).ok()?;
    if entries.iter().any(|entry| entry.size_bytes > MOST_INDEXED_BYTES) {
        return None;
    }
    let mut out = Vec::new();
    full_boxed(&mut out, *b"sidx", 1, 0, |out| {
        put_u32(out, track_id);
        put_u32(out, timescale);
        put_u64(out, earliest);
        put_u64(out, 0);
        put_u16(out, 0);
        put_u16(out, count);
        for entry in entries {
            put_u32(out, u32::try_from(entry.size_bytes).unwrap_or(u32::MAX));
            put_u32(out, entry.duration);
            put_u32(out, if entry.starts_with_sync { STARTS_WITH_SAP } else { 0 });
        }
    });
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::isobmff::{FourCc, Movie, Track, fragment, top_level};

    #[test]
    fn what_is_written_is_read_again() {
        let stsd = b"\0\0\0\x10stsd\0\0\0\0\0\0\0\0";
        let track = Track::new(1, FourCc(*b"soun"), 48_000, stsd, (0, 0)).unwrap();
        let movie = Movie::of_tracks(1000, vec![track]);
        let mut file = movie.to_fragmented_moov(50).unwrap();
        let sample =
            |size_bytes, composition, is_sync| FragmentSample { duration: 1024, size_bytes, composition, is_sync };
        for (sequence, decode_time) in [(1, 0), (2, 2048)] {
            let samples = vec![sample(3, 2048, true), sample(4, -1024, false)];
            let tracks = [TrackFragment { track_id: 1, description_index: 1, decode_time, samples }];
            file.extend(fragment(sequence, &tracks).unwrap());
            file.extend(b"abcdefg");
        }
        let mut reader = Cursor::new(&file);
        let layout = top_level(&mut reader, file.len() as u64).unwrap();
        let header = Movie::read(&mut reader, &layout).unwrap();
        let read = fragment::read(&mut reader, &layout, header).unwrap();
        assert_eq!((read.fragments, &read.movie.defects[..]), (2, &[][..]));
        let samples: Vec<_> = read.movie.tracks[0].samples().collect();
        let at = |offset: u64, bytes: u32| {
            let start = usize::try_from(offset).unwrap();
            &file[start..start + bytes as usize]
        };
        let payloads: Vec<_> = samples.iter().map(|s| at(s.offset, s.size_bytes)).collect();
        assert_eq!(payloads, [&b"abc"[..], b"defg", b"abc", b"defg"]);
        assert_eq!(samples.iter().map(|s| s.dts).collect::<Vec<_>>(), [0, 1024, 2048, 3072]);
        assert_eq!(samples.iter().map(|s| s.pts - s.dts).collect::<Vec<_>>(), [2048, -1024, 2048, -1024]);
        assert_eq!(samples.iter().map(|s| s.is_sync).collect::<Vec<_>>(), [true, false, true, false]);
    }

    #[test]
    fn a_fragment_that_no_size_field_holds_is_refused() {
        let sample = FragmentSample { duration: 1, size_bytes: u32::MAX, composition: 0, is_sync: true };
        let tracks = [TrackFragment { track_id: 1, description_index: 1, decode_time: 0, samples: vec![sample] }];
        assert!(fragment(1, &tracks).is_err());
        let entry = IndexEntry { size_bytes: 1 << 31, duration: 1, starts_with_sync: true };
        assert_eq!(segment_index(1, 1, 0, &[entry]), None);
    }
}
