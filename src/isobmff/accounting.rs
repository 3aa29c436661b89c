//! Which bytes of the media no sample table explains: the sum over all `mdat` boxes, less every sample.
//!
//! The same for header-first, header-last and fragmented files, and for tables that salvage rebuilt. Cost follows the chunks; of
//! the media only the beginnings of unexplained ranges are read, to tell padding and headers of fragments from media.

use std::io::{Read, Seek};
use std::ops::Range;

use super::boxes::{BoxHeader, Layout, header_at, read_at};
use super::error::IsoError;
use super::movie::Movie;
use super::samples::{Chunk, Chunks};

/// Most ranges that are looked at. A file of ours has one for each fragment it was made of.
const MOST_LOOKED_AT: usize = 4096;
/// Bytes that are read at one place, and most places of one range.
const LOOK_BYTES: usize = 4096;
const MOST_LOOKS: u64 = 16;
/// What stands in an `mdat` that was made of fragments. GStreamer hides the `moov` of the fragments as `hoov`.
const DEAD_BOXES: [[u8; 4]; 17] = [
    *b"ftyp", *b"styp", *b"moov", *b"hoov", *b"moof", *b"mdat", *b"free", *b"skip", *b"wide", *b"sidx", *b"ssix",
    *b"uuid", *b"meta", *b"udta", *b"emsg", *b"prft", *b"mfra",
];

/// The bodies of all `mdat` boxes, clipped to the file.
pub fn media_bodies<'a>(boxes: impl IntoIterator<Item = &'a BoxHeader>, len: u64) -> Vec<Range<u64>> {
    let bodies = boxes.into_iter().filter(|b| b.is(b"mdat")).map(|b| b.body_offset()..b.end().min(len));
    bodies.filter(|body| body.start < body.end).collect()
}

/// The ranges of the media (ascending) in which no sample of a movie lies.
pub fn unlisted(movie: &Movie, media: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut gaps = Gaps::new(media);
    let mut last = 0;
    for chunk in in_file_order(movie) {
        if chunk.offset < last {
            // Chunks of one track in another order than they lie in the file.
            return unlisted_of_all(movie, media);
        }
        last = chunk.offset;
        gaps.pass(chunk.offset..chunk.offset.saturating_add(chunk.size_bytes));
    }
    gaps.finish()
}

fn unlisted_of_all(movie: &Movie, media: &[Range<u64>]) -> Vec<Range<u64>> {
    let own = movie.tracks.iter().filter(|track| !track.is_external());
    let mut chunks: Vec<Chunk> = own.flat_map(|track| track.chunks()).collect();
    chunks.sort_unstable_by_key(|chunk| chunk.offset);
    let mut gaps = Gaps::new(media);
    for chunk in &chunks {
        gaps.pass(chunk.offset..chunk.offset.saturating_add(chunk.size_bytes));
    }
    gaps.finish()
}

/// The chunks of all tracks, the next one of each at a time.
fn in_file_order(movie: &Movie) -> impl Iterator<Item = Chunk> {
    let own = movie.tracks.iter().filter(|track| !track.is_external());
    let mut lanes: Vec<(Option<Chunk>, Chunks<'_>)> = own.map(|track| (None, track.chunks())).collect();
    for (next, rest) in &mut lanes {
        *next = rest.next();
    }
    std::iter::from_fn(move || {
        let is_ready = |(next, _): &&mut (Option<Chunk>, _)| next.is_some();
        let (next, rest) = lanes.iter_mut().filter(is_ready).min_by_key(|(next, _)| next.map(|chunk| chunk.offset))?;
        std::mem::replace(next, rest.next())
    })
}

/// What lies between samples that come in the order of the file.
struct Gaps<'a> {
    media: std::slice::Iter<'a, Range<u64>>,
    /// What is left of the range of media that was come to.
    left: Option<Range<u64>>,
    found: Vec<Range<u64>>,
}

impl<'a> Gaps<'a> {
    fn new(media: &'a [Range<u64>]) -> Self {
        let mut media = media.iter();
        Self { left: media.next().cloned(), media, found: Vec::new() }
    }

    fn pass(&mut self, sample: Range<u64>) {
        while let Some(left) = self.left.clone().filter(|left| left.start < sample.end) {
            let gap = left.start..left.end.min(sample.start);
            if gap.start < gap.end {
                self.found.push(gap);
            }
            let behind = left.start.max(sample.end)..left.end;
            self.left = if behind.start < behind.end { Some(behind) } else { self.media.next().cloned() };
        }
    }

    fn finish(mut self) -> Vec<Range<u64>> {
        self.found.extend(self.left.take());
        self.found.extend(self.media.cloned());
        self.found
    }
}

/// The ranges of the media that no sample explains, and nothing else does: they are no padding and no headers. What a file
/// holds that is encrypted is not told apart.
pub fn unexplained<R: Read + Seek>(
    reader: &mut R,
    layout: &Layout,
    movie: &Movie,
) -> Result<Vec<Range<u64>>, IsoError> {
    let gaps =
        if movie.is_encrypted() { Vec::new() } else { unlisted(movie, &media_bodies(&layout.boxes, layout.len)) };
    if let Some(first) = gaps.first().filter(|first| layout.all(b"mdat").any(|b| b.body_offset() == first.start))
        && is_tags(reader, first)?
    {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for gap in gaps.iter().take(MOST_LOOKED_AT) {
        let rest = behind_headers(reader, gap)?..gap.end;
        if rest.start < rest.end && !is_zero(reader, &rest)? {
            found.push(rest);
        }
    }
    if !found.is_empty() {
        found.extend(gaps.into_iter().skip(MOST_LOOKED_AT));
    }
    Ok(found)
}

/// Whether it is a whole FLV file that sample tables were put in front of.
fn is_tags<R: Read + Seek>(reader: &mut R, gap: &Range<u64>) -> Result<bool, IsoError> {
    let mut head = [0; 4];
    if gap.end - gap.start >= 13 {
        read_at(reader, gap.start, &mut head)?;
    }
    Ok(head == *b"FLV\x01")
}

/// Where the boxes end with which a range begins.
fn behind_headers<R: Read + Seek>(reader: &mut R, gap: &Range<u64>) -> Result<u64, IsoError> {
    let mut at = gap.start;
    while at < gap.end {
        let found = header_at(reader, at, gap.end)?;
        // The last fragment of a writer that goes back once may still be without a length.
        let is_dead = |b: &BoxHeader| DEAD_BOXES.contains(&b.fourcc.0) && (b.is(b"mdat") || !b.is_open_ended);
        let Some(found) = found.filter(is_dead) else { break };
        let end = if found.is(b"mdat") { found.body_offset() } else { found.end() };
        if end > gap.end {
            break;
        }
        at = end;
    }
    Ok(at)
}

/// Whether nothing but zeros is in a range, or where it is looked at if it is long.
fn is_zero<R: Read + Seek>(reader: &mut R, range: &Range<u64>) -> Result<bool, IsoError> {
    let step = ((range.end - range.start) / MOST_LOOKS).max(LOOK_BYTES as u64);
    let mut bytes = [0; LOOK_BYTES];
    let mut at = range.start;
    while at < range.end {
        let size = usize::try_from(range.end - at).unwrap_or(LOOK_BYTES).min(LOOK_BYTES);
        read_at(reader, at, &mut bytes[..size])?;
        if bytes[..size].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += step;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::tables::stsc::ChunkRun;
    use crate::isobmff::tables::stsz::SampleSizes;
    use crate::isobmff::{FourCc, Track};

    /// Tracks with a sample of ten bytes at each of these places.
    fn movie(tracks: &[&[u64]]) -> Movie {
        let stsd = b"\0\0\0\x18stsd\0\0\0\0\0\0\0\x01\0\0\0\x08avc1";
        let mut movie = Movie::new(1000);
        for places in tracks {
            let mut track = Track::new(1, FourCc(*b"vide"), 1000, stsd, (16, 16)).unwrap();
            let chunk = ChunkRun { first_chunk: 1, samples_per_chunk: 1, description_index: 1 };
            track.tables.sizes = SampleSizes::List(vec![10; places.len()]);
            track.tables.chunk_runs = vec![chunk];
            track.tables.chunk_offsets = places.to_vec();
            movie.tracks.push(track);
        }
        movie
    }

    #[test]
    fn media_less_samples_is_what_is_unlisted() {
        let media = [100..150, 200..230];
        let gaps = |tracks: &[&[u64]]| unlisted(&movie(tracks), &media);
        assert_eq!(gaps(&[&[100, 120, 140, 210], &[110, 130, 200, 220]]), []);
        assert_eq!(gaps(&[&[100, 140], &[110, 220]]), [120..140, 200..220]);
        assert_eq!(gaps(&[&[95, 145]]), [105..145, 200..230]);
        assert_eq!(gaps(&[&[210, 100], &[130]]), [110..130, 140..150, 200..210, 220..230]);
        assert_eq!(gaps(&[&[], &[0, 500]]), media);
        assert_eq!(gaps(&[&[100, 100, 102], &[104]]), [114..150, 200..230]);
    }

    #[test]
    fn padding_and_headers_of_fragments_are_explained() {
        let mut file = b"\0\0\0\x08free\0\0\0\xF8mdat".to_vec();
        file.resize(256, 7);
        file[60..106].fill(0);
        file[110..128].copy_from_slice(b"\0\0\0\x0Amoof..\0\0\0\x0Amdat");
        let left = |file: &[u8], tracks: &[&[u64]]| {
            let mut reader = std::io::Cursor::new(file);
            let layout = crate::isobmff::top_level(&mut reader, file.len() as u64).unwrap();
            unexplained(&mut reader, &layout, &movie(tracks)).unwrap()
        };
        let all: Vec<u64> = (16..256).step_by(10).collect();
        let without = |gap: Range<u64>| -> Vec<u64> { all.iter().copied().filter(|at| !gap.contains(at)).collect() };
        assert_eq!(left(&file, &[&all]), []);
        assert_eq!(left(&file, &[&without(36..40)]), std::iter::once(36..46).collect::<Vec<_>>());
        assert_eq!(left(&file, &[&[&without(60..100)[..], &[50, 90]].concat()]), [], "zeros");
        let shifted: Vec<u64> = [&without(106..146)[..], &[100, 128, 138]].concat();
        assert_eq!(left(&file, &[&shifted]), [], "headers");
        file[110..128].copy_from_slice(b"\0\0\0\x0Ahoov..\0\0\0\0mdat");
        assert_eq!(left(&file, &[&shifted]), [], "what GStreamer leaves of its fragments");
        file[16..20].copy_from_slice(b"FLV\x01");
        assert_eq!(left(&file, &[&all[4..]]), [], "a file of ours");
    }
}
