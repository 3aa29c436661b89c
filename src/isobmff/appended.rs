//! Recordings behind one another in one file: somebody appended one to the other, or a recorder opened the same name again.
//!
//! Each has its own `ftyp` and `moov`, and counts bytes and time from its own beginning. Where all are coded alike they are
//! one movie, each beginning when all tracks of the one before have ended. Where they are not, nothing is joined. Reads
//! headers only.

use std::io::{Read, Seek};

use super::boxes::{BoxHeader, FileShape, Layout};
use super::build::{NewSample, TableBuilder};
use super::error::IsoError;
use super::fragment::{self, FragmentedMovie};
use super::movie::Movie;
use super::schedule::is_simple;
use super::timeline::{TrackExtent, extent};
use super::track::Track;
use crate::recording::MOST_IN_A_FILE;

/// Most bytes that the headers of joined recordings have together: all are in memory at once.
const MOST_HEADER_BYTES: u64 = 64 << 20;
const NANOS: i128 = 1_000_000_000;

/// What the recordings in a file amount to.
#[derive(Debug)]
pub enum AppendedRecordings {
    /// All of them as one movie.
    Joined(Box<FragmentedMovie>),
    /// The first: another one is coded in another way.
    First(Box<FragmentedMovie>),
}

/// The recordings in a file of more than one, as layouts of their own; offsets stay those of the file. None for nearly every file.
pub fn recordings(layout: &Layout) -> Vec<Layout> {
    let is_beginning = |b: &&BoxHeader| b.is(b"ftyp");
    let mut starts: Vec<u64> = layout.boxes.iter().filter(is_beginning).map(|b| b.offset).collect();
    // What has no header of its own belongs to the recording before.
    let moovs: Vec<u64> = layout.all(b"moov").filter(|b| b.end() <= layout.len).map(|b| b.offset).collect();
    let has_header = |from: u64, to: u64| moovs.iter().any(|moov| (from..to).contains(moov));
    let ends: Vec<u64> = starts.iter().skip(1).copied().chain([layout.len]).collect();
    let mut own = starts.iter().zip(&ends).map(|(from, to)| has_header(*from, *to)).collect::<Vec<_>>().into_iter();
    starts.retain(|_| own.next().unwrap_or(false));
    if starts.len() < 2 || starts.len() > MOST_IN_A_FILE {
        return Vec::new();
    }
    let ends = starts.iter().skip(1).copied().chain([layout.len]);
    let firsts = [0].into_iter().chain(starts.iter().skip(1).copied());
    firsts.zip(ends).map(|(from, to)| part(layout, from, to)).collect()
}

fn part(layout: &Layout, from: u64, to: u64) -> Layout {
    let boxes: Vec<BoxHeader> = layout.boxes.iter().filter(|b| (from..to).contains(&b.offset)).copied().collect();
    let has = |kind: &[u8; 4]| boxes.iter().any(|b| b.is(kind));
    // Without media it is the beginning of what the first one is.
    let announces_fragments = has(b"moof") || layout.announces_fragments && !has(b"mdat");
    Layout { len: to, boxes, garbage_at: None, announces_fragments }
}

/// Reads all recordings of a file of more than one.
pub fn read<R: Read + Seek>(reader: &mut R, layout: &Layout, parts: &[Layout]) -> Result<AppendedRecordings, IsoError> {
    let mut movies = Vec::with_capacity(parts.len());
    let mut header_bytes = 0;
    for part in parts {
        header_bytes += part.movie_header().map_or(0, |moov| moov.size_bytes);
        if header_bytes > MOST_HEADER_BYTES && !movies.is_empty() {
            break;
        }
        match read_part(reader, part) {
            Ok(read) => movies.push(read),
            Err(error @ IsoError::Io { .. }) => return Err(error),
            Err(error) if movies.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    let alike = movies.iter().all(|other| is_alike(&movies[0].movie, &other.movie));
    let is_alike = alike && movies.len() == parts.len();
    if is_alike && parts.iter().all(|part| part.shape() == FileShape::Fragmented) {
        // One clock may go through all of them, so they are read as the fragments of one.
        let movie = Movie::read(reader, &parts[0])?;
        return Ok(AppendedRecordings::Joined(Box::new(fragment::read(reader, layout, movie)?)));
    }
    let mut movies = movies.into_iter();
    let Some(mut first) = movies.next() else { return Err(IsoError::NoMovieHeader) };
    if is_alike && let Some(joined) = join(&first.movie, movies.map(|read| read.movie), layout.len)? {
        first.movie = joined;
        return Ok(AppendedRecordings::Joined(Box::new(FragmentedMovie { whole_bytes: layout.len, ..first })));
    }
    Ok(AppendedRecordings::First(Box::new(first)))
}

/// One recording with the offsets of the file.
fn read_part<R: Read + Seek>(reader: &mut R, part: &Layout) -> Result<FragmentedMovie, IsoError> {
    let mut movie = Movie::read(reader, part)?;
    if part.shape() == FileShape::Fragmented || movie.announces_fragments() {
        return fragment::read(reader, part, movie);
    }
    let start = part.boxes.first().map_or(0, |b| b.offset);
    for offset in movie.tracks.iter_mut().flat_map(|track| &mut track.tables.chunk_offsets) {
        *offset = offset.saturating_add(start);
    }
    let (left_behind, whole_bytes) = (Vec::new(), part.len);
    Ok(FragmentedMovie { movie, fragments: 0, whole_bytes, left_behind, stays_fragmented: None })
}

/// Whether two recordings have the same tracks in the same order, which decode alike.
fn is_alike(one: &Movie, other: &Movie) -> bool {
    let is_same = |(a, b): (&Track, &Track)| {
        a.id() == b.id()
            && a.handler == b.handler
            && a.timescale() == b.timescale()
            && !(a.is_external() || b.is_external())
            && a.descriptions.decode_like(&b.descriptions, a.handler)
    };
    one.tracks.len() == other.tracks.len()
        && !(one.is_encrypted() || other.is_encrypted())
        && one.tracks.iter().zip(&other.tracks).all(is_same)
}

/// The samples of all recordings one after the other; `None` where an edit list does more than delay and trim, or samples lie
/// outside.
fn join(first: &Movie, others: impl Iterator<Item = Movie>, len: u64) -> Result<Option<Movie>, IsoError> {
    let mut joined = first.clone();
    joined.raw = Vec::new();
    for other in others {
        let can_be = |movie: &Movie| movie.tracks.iter().all(|track| is_simple(&track.edits));
        if !(can_be(&joined) && can_be(&other)) {
            return Ok(None);
        }
        let Some(seams) = seams(&joined, &other) else { return Ok(None) };
        for ((track, next), start) in joined.tracks.iter_mut().zip(&other.tracks).zip(seams) {
            let (mut builder, outside) = TableBuilder::resume(&track.tables, len)?;
            let wait = start.saturating_sub(i128::from(builder.end_dts()));
            let is_extended = wait <= 0 || builder.extend_last(u64::try_from(wait).unwrap_or(u64::MAX));
            let is_added = builder.count() > 0 && is_extended && append(&mut builder, next, len)?;
            if outside > 0 || !is_added {
                return Ok(None);
            }
            track.tables = builder.finish();
            let last = track.edits.iter_mut().filter(|edit| edit.media_time.is_some());
            last.for_each(|edit| edit.segment_duration = 0);
        }
    }
    joined.settle_durations();
    Ok(Some(joined))
}

/// When each track of the next recording begins to be decoded, in its ticks: as soon as all tracks of the one before have ended.
fn seams(before: &Movie, next: &Movie) -> Option<Vec<i128>> {
    let (scale, next_scale) = (before.header.timescale, next.header.timescale);
    let mut latest = 0;
    let mut shifts = Vec::with_capacity(before.tracks.len());
    for (track, after) in before.tracks.iter().zip(&next.tracks) {
        let TrackExtent { end_pts, end_dts, .. } = extent(&track.tables, track.tables.count_in_chunks())?;
        let (own, other) = (track.presentation_shift(scale), after.presentation_shift(next_scale));
        let end = i128::from(end_pts) + i128::from(own);
        let decoded = i128::from(end_dts) + i128::from(own) - i128::from(other);
        latest = latest.max(nanos(end.max(decoded), track));
        shifts.push(i128::from(other) - i128::from(own));
    }
    let ticks = |track: &Track| (latest * i128::from(track.timescale()) + NANOS / 2).div_euclid(NANOS);
    Some(before.tracks.iter().zip(shifts).map(|(track, shift)| ticks(track) + shift).collect())
}

fn nanos(ticks: i128, track: &Track) -> i128 {
    (ticks * NANOS).div_euclid(i128::from(track.timescale()).max(1))
}

/// Adds the samples of a track; `false` if one of them is not in the file.
fn append(builder: &mut TableBuilder, track: &Track, len: u64) -> Result<bool, IsoError> {
    let mut dependencies = track.tables.dependencies.iter().flatten();
    builder.close_chunk();
    for sample in track.samples() {
        if sample.offset.saturating_add(u64::from(sample.size_bytes)) > len {
            return Ok(false);
        }
        let dependency = dependencies.next().copied().unwrap_or(0);
        builder.push(NewSample { dependency, ..NewSample::of(&sample) })?;
    }
    Ok(track.tables.count() > 0)
}
