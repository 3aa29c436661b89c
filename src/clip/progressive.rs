//! A clip with one header in front of the media.
//!
//! Media lies as it lies in the files, sample behind sample: what the files interleave is interleaved, and what they do not is not.

use std::ops::Range;

use super::error::ClipError;
use super::join::{JoinedSample, JoinedTrack};
use super::layout::ClipBuilder;
use crate::isobmff::{Movie, NewSample, TableBuilder, Track, common_timescale};

/// Bytes between two samples (headers of FLV tags, parameter sets) that are left where they are: one range of a file instead of two.
const MOST_BETWEEN_BYTES: u64 = 64;
/// Head of an `mdat` with a 64-bit size.
const MDAT_HEAD_BYTES: u64 = 16;
/// The clock of a movie whose tracks have no common one, ticks per second.
const PLAIN_TIMESCALE: u32 = 90_000;
/// Rounds until the length of the header settles: offsets of 32 bits become such of 64 at most once for each track.
const MOST_ROUNDS: usize = 260;

/// Lays a clip out.
pub fn lay(tracks: &[JoinedTrack], start_ms: i64) -> Result<ClipBuilder, ClipError> {
    let (stretches, places) = places(tracks);
    let media_bytes: u64 = stretches.iter().map(MediaStretch::len).sum();
    let mut movie = Movie::new(timescale(tracks));
    for (joined, places) in tracks.iter().zip(&places) {
        movie.tracks.push(filled(joined, places, movie.header.timescale)?);
    }
    movie = Movie::of_tracks(movie.header.timescale, movie.tracks);
    movie.header.set_created_ms(start_ms);
    let mut laying = ClipBuilder::default();
    laying.own(&header(&movie, media_bytes)?);
    for stretch in stretches {
        match stretch {
            MediaStretch::File(file, range) => laying.file(file, range),
            MediaStretch::Silence(bytes) => laying.own(&bytes),
        }
    }
    Ok(laying)
}

/// `ftyp`, `moov` and the head of `mdat`.
fn header(movie: &Movie, media_bytes: u64) -> Result<Vec<u8>, ClipError> {
    let mut out = movie.to_ftyp(&[]);
    let ftyp_bytes = out.len() as u64;
    let mut moov_bytes = 0;
    for _ in 0..MOST_ROUNDS {
        let moov = movie.to_moov(ftyp_bytes + moov_bytes + MDAT_HEAD_BYTES).map_err(ClipError::Written)?;
        if moov.len() as u64 == moov_bytes {
            out.extend(moov);
            break;
        }
        moov_bytes = moov.len() as u64;
    }
    out.extend(b"\0\0\0\x01mdat");
    out.extend((media_bytes + MDAT_HEAD_BYTES).to_be_bytes());
    Ok(out)
}

/// A clock on which the ticks of all tracks are whole, if 31 bits hold it.
pub fn timescale(tracks: &[JoinedTrack]) -> u32 {
    let mut timescales = tracks.iter().map(|joined| joined.track.timescale());
    let common = timescales.try_fold(1, common_timescale);
    common.unwrap_or(PLAIN_TIMESCALE)
}

/// Bytes of a clip behind its header.
#[derive(Debug)]
enum MediaStretch {
    File(u32, Range<u64>),
    Silence(Vec<u8>),
}

impl MediaStretch {
    fn len(&self) -> u64 {
        match self {
            Self::File(_, range) => range.end - range.start,
            Self::Silence(bytes) => bytes.len() as u64,
        }
    }

    /// Goes on with a sample; says how many bytes before it come along. `None` if it does not follow.
    fn go_on(&mut self, sample: &JoinedSample) -> Option<u64> {
        match (self, sample.silence) {
            (Self::Silence(bytes), Some(payload)) => {
                bytes.extend(payload);
                Some(0)
            }
            (Self::File(piece, range), None) if *piece == sample.piece => {
                let between = sample.offset.checked_sub(range.end).filter(|bytes| *bytes <= MOST_BETWEEN_BYTES)?;
                range.end = sample.offset.saturating_add(u64::from(sample.size_bytes));
                Some(between)
            }
            _ => None,
        }
    }

    fn begun(sample: &JoinedSample) -> Self {
        let end = sample.offset.saturating_add(u64::from(sample.size_bytes));
        sample.silence.map_or(Self::File(sample.piece, sample.offset..end), |payload| Self::Silence(payload.to_vec()))
    }
}

/// What follows one another, and where each sample of each track lies in it: silence before the file that follows it, and samples of a file as
/// they lie there.
fn places(tracks: &[JoinedTrack]) -> (Vec<MediaStretch>, Vec<Vec<u64>>) {
    let mut order: Vec<(u32, bool, u64, usize, usize)> = Vec::new();
    for (track, joined) in tracks.iter().enumerate() {
        let samples = joined.samples.iter().enumerate();
        order.extend(samples.map(|(index, s)| (s.piece, s.silence.is_none(), s.offset, track, index)));
    }
    order.sort_unstable();
    let mut places: Vec<Vec<u64>> = tracks.iter().map(|joined| vec![0; joined.samples.len()]).collect();
    let (mut stretches, mut end): (Vec<MediaStretch>, u64) = (Vec::new(), 0);
    for (.., track, index) in order {
        let sample = &tracks[track].samples[index];
        match stretches.last_mut().and_then(|last| last.go_on(sample)) {
            Some(between) => end += between,
            None => stretches.push(MediaStretch::begun(sample)),
        }
        places[track][index] = end;
        end += u64::from(sample.size_bytes);
    }
    (stretches, places)
}

fn filled(joined: &JoinedTrack, places: &[u64], movie_timescale: u32) -> Result<Track, ClipError> {
    let mut builder = TableBuilder::default();
    for (index, (sample, place)) in joined.samples.iter().zip(places).enumerate() {
        builder.push(placed(joined, index, sample, *place)?).map_err(ClipError::Written)?;
    }
    let mut track = joined.track.clone();
    track.tables = builder.finish();
    present(&mut track, joined, joined.origin(), movie_timescale);
    Ok(track)
}

/// Its edit list: from the beginning to the end of what is presented. `origin` is zero of its media.
pub fn present(track: &mut Track, joined: &JoinedTrack, origin: i64, movie_timescale: u32) {
    let to_movie = |ticks: i64| {
        let ticks = u128::from(ticks.max(0).unsigned_abs()) * u128::from(movie_timescale);
        let own = u128::from(joined.track.timescale());
        u64::try_from((ticks + own / 2) / own).unwrap_or(u64::MAX)
    };
    let media_time = joined.begins.saturating_sub(origin).max(0).unsigned_abs();
    track.present(to_movie(joined.begins), media_time, to_movie(joined.ends - joined.begins));
}

fn placed(joined: &JoinedTrack, index: usize, sample: &JoinedSample, place: u64) -> Result<NewSample, ClipError> {
    let (duration, composition) = timed(joined, index)?;
    Ok(NewSample {
        offset: place,
        size_bytes: sample.size_bytes,
        duration,
        composition,
        is_sync: sample.is_sync,
        description_index: sample.description_index,
        dependency: 0,
    })
}

/// Duration and composition offset of a sample as tables hold them.
pub fn timed(joined: &JoinedTrack, index: usize) -> Result<(u32, i32), ClipError> {
    let sample = &joined.samples[index];
    let (duration, composition) = (joined.duration(index), sample.pts.saturating_sub(sample.dts));
    let limit = u64::from(u32::MAX);
    let too_long = || ClipError::Limit { what: "ticks between two samples", found: duration.unsigned_abs(), limit };
    let duration = u32::try_from(duration).map_err(|_| too_long())?;
    Ok((duration, i32::try_from(composition).map_err(|_| too_long())?))
}
