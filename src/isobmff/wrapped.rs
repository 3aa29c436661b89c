//! Chunk offsets that a writer stored modulo 2³² in a file that is longer (§8.7.5): SRS up to version 4 did.
//!
//! Chunks of a track lie in the order of their numbers, so each that would lie before the one in front of it lies 4 GiB further. One
//! that does not follow directly may lie as much further, too: then the first place is taken at which there is something.

use std::io::{Read, Seek};
use std::iter::Peekable;

use super::accounting::media_bodies;
use super::boxes::{Layout, read_at};
use super::error::IsoError;
use super::movie::Movie;
use super::samples::{Chunk, Chunks};
use super::track::Track;

/// What offsets are counted modulo.
const PERIOD: u64 = 1 << 32;
/// Bytes of a chunk that are looked at.
const LOOK_BYTES: usize = 64;
/// Chunks of one file that are looked at: nearly all of a recording follow one another.
const MOST_LOOKS: usize = 65_536;
/// Most media behind the last sample where no chunk would lie before the one in front of it.
const MOST_BEHIND_BYTES: u64 = 1 << 20;

/// Gives the chunks of a movie the offsets that they had before they wrapped; `false` if none did, and then nothing is changed.
pub fn unwrap_offsets<R: Read + Seek>(reader: &mut R, layout: &Layout, movie: &mut Movie) -> Result<bool, IsoError> {
    let media = media_bodies(&layout.boxes, layout.len);
    let Some((start, end)) = media.first().zip(media.last()).map(|(first, last)| (first.start, last.end)) else {
        return Ok(false);
    };
    let is_narrow = |track: &Track| !track.is_external() && track.tables.chunk_offsets.iter().all(|at| *at < PERIOD);
    if end <= PERIOD || movie.is_encrypted() || !movie.tracks.iter().all(is_narrow) {
        return Ok(false);
    }
    let order = ChunkOrder { lanes: movie.tracks.iter().map(|track| track.chunks().peekable()).collect(), looks: 0 };
    let Some((places, reached)) = order.places(reader, start, end)? else { return Ok(false) };
    let goes_back = |track: &Track| track.tables.chunk_offsets.windows(2).any(|pair| pair[1] < pair[0]);
    let is_proven = end - reached <= MOST_BEHIND_BYTES || movie.tracks.iter().any(goes_back);
    let differ =
        |(track, places): (&Track, &Vec<u64>)| track.tables.chunk_offsets.iter().zip(places).any(|(a, b)| a != b);
    if !is_proven || !movie.tracks.iter().zip(&places).any(differ) {
        return Ok(false);
    }
    for (track, places) in movie.tracks.iter_mut().zip(places) {
        for (offset, place) in track.tables.chunk_offsets.iter_mut().zip(places) {
            *offset = place;
        }
    }
    // What was read says something else.
    movie.raw = Vec::new();
    Ok(true)
}

/// By track: where its chunks lie, in their order.
type ChunkOffsets = Vec<Vec<u64>>;

/// The chunks of all tracks, each in the order of its track.
struct ChunkOrder<'a> {
    lanes: Vec<Peekable<Chunks<'a>>>,
    looks: usize,
}

impl ChunkOrder<'_> {
    /// Where the chunks of each track lie between `start` and `end`, and where the last one ends; `None` if they do not fit.
    fn places<R: Read + Seek>(
        mut self,
        reader: &mut R,
        start: u64,
        end: u64,
    ) -> Result<Option<(ChunkOffsets, u64)>, IsoError> {
        let mut places = vec![Vec::new(); self.lanes.len()];
        let mut at = start;
        while let Some((lane, distance, chunk)) = self.next(at) {
            let first = at.saturating_add(distance);
            let Some(last) = end.checked_sub(chunk.size_bytes).filter(|last| first <= *last) else { return Ok(None) };
            let Some(place) = (if distance == 0 { Some(first) } else { self.first_filled(reader, first, last)? })
            else {
                return Ok(None);
            };
            places[lane].push(place);
            at = place + chunk.size_bytes;
        }
        Ok(Some((places, at)))
    }

    /// The chunk that comes next behind a place, and how far behind it is, modulo the period.
    fn next(&mut self, at: u64) -> Option<(usize, u64, Chunk)> {
        let heads = self.lanes.iter_mut().enumerate().filter_map(|(lane, chunks)| {
            let chunk = *chunks.peek()?;
            Some((lane, chunk.offset.wrapping_sub(at) % PERIOD, chunk))
        });
        let (lane, distance, chunk) = heads.min_by_key(|(_, distance, _)| *distance)?;
        self.lanes[lane].next();
        Some((lane, distance, chunk))
    }

    /// The first of the places of a chunk at which there is something, the last of them if there is nothing before; `None` if
    /// that was asked too often.
    fn first_filled<R: Read + Seek>(&mut self, reader: &mut R, first: u64, last: u64) -> Result<Option<u64>, IsoError> {
        let mut at = first;
        while at + PERIOD <= last {
            self.looks += 1;
            if self.looks > MOST_LOOKS {
                return Ok(None);
            }
            let mut bytes = [0; LOOK_BYTES];
            read_at(reader, at, &mut bytes)?;
            if bytes.iter().any(|byte| *byte != 0) {
                break;
            }
            at += PERIOD;
        }
        Ok(Some(at))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, SeekFrom};

    use super::*;
    use crate::isobmff::boxes::{BoxHeader, FourCc};
    use crate::isobmff::tables::stsc::ChunkRun;
    use crate::isobmff::tables::stsz::SampleSizes;

    /// A file that is zero but for a range.
    struct FilledRange {
        range: std::ops::Range<u64>,
        at: u64,
    }

    impl Read for FilledRange {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            for (byte, at) in into.iter_mut().zip(self.at..) {
                *byte = u8::from(self.range.contains(&at));
            }
            Ok(into.len())
        }
    }

    impl Seek for FilledRange {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            if let SeekFrom::Start(at) = to {
                self.at = at;
            }
            Ok(self.at)
        }
    }

    /// Tracks with chunks of a sample of these sizes, which lie behind one another in turns in media of `len` bytes behind 100.
    fn movie(chunks: u64, sizes: [u32; 2], hole: (u64, u64)) -> (Movie, Layout, Vec<Vec<u64>>) {
        let stsd = b"\0\0\0\x18stsd\0\0\0\0\0\0\0\x01\0\0\0\x08avc1";
        let mut movie = Movie::new(1000);
        let mut places: Vec<Vec<u64>> = vec![Vec::new(); 2];
        let mut at = 100;
        for number in 0..chunks {
            at += if number == hole.0 { hole.1 } else { 0 };
            for (track, size) in sizes.into_iter().enumerate() {
                places[track].push(at);
                at += u64::from(size);
            }
        }
        for (places, size_bytes) in places.iter().zip(sizes) {
            let mut track = Track::new(1, FourCc(*b"vide"), 1000, stsd, (16, 16)).unwrap();
            let run = ChunkRun { first_chunk: 1, samples_per_chunk: 1, description_index: 1 };
            let count = u32::try_from(places.len()).unwrap();
            track.tables.sizes = SampleSizes::Constant { size_bytes, count };
            track.tables.chunk_runs = vec![run];
            track.tables.chunk_offsets = places.iter().map(|at| at % PERIOD).collect();
            movie.tracks.push(track);
        }
        let (fourcc, offset) = (FourCc(*b"mdat"), 92);
        let mdat = BoxHeader { fourcc, header_bytes: 8, is_open_ended: false, offset, size_bytes: at - offset };
        let layout = Layout { boxes: vec![mdat], ..Layout::without_boxes(at + 1000) };
        (movie, layout, places)
    }

    fn unwrapped(made: (Movie, Layout, Vec<Vec<u64>>), filled: std::ops::Range<u64>) -> (bool, bool) {
        let (mut movie, layout, places) = made;
        let is_changed = unwrap_offsets(&mut FilledRange { range: filled, at: 0 }, &layout, &mut movie).unwrap();
        let is_right = movie.tracks.iter().zip(&places).all(|(track, places)| track.tables.chunk_offsets == *places);
        (is_changed, is_right)
    }

    #[test]
    fn offsets_are_those_that_follow_one_another() {
        for chunks in [40, 100, 400] {
            assert_eq!(
                unwrapped(movie(chunks, [100 << 20, 1 << 20], (0, 0)), 0..u64::MAX),
                (chunks > 40, true),
                "{chunks}"
            );
        }
        let hole = 4200 << 20;
        assert_eq!(
            unwrapped(movie(10, [4000, 300], (5, hole)), hole..u64::MAX),
            (true, true),
            "none comes before another"
        );
    }

    #[test]
    fn offsets_that_lie_where_they_say_are_not_touched() {
        // Media behind the last sample, and one that does not fit.
        let (movie, layout, places) = movie(30, [100 << 20, 1 << 20], (0, 0));
        let longer = BoxHeader { size_bytes: 9 << 30, ..layout.boxes[0] };
        let layout = Layout { boxes: vec![longer], ..Layout::without_boxes(10 << 30) };
        assert_eq!(unwrapped((movie, layout, places), 0..u64::MAX), (false, true));
    }
}
