//! The movie: what the walk found and when it is due, as sample tables over the old file.

use super::clock::ticks;
use super::loss::Lost;
use super::timeline::Timeline;
use super::walk::{AudioTrack, Walked};
use crate::isobmff::tables::elst::Edit;
use crate::isobmff::{IsoError, Movie, NewSample, TableBuilder, Track};

/// Ticks per second of the movie.
const MOVIE_TIMESCALE: u32 = 1000;

/// A sample with its times in flicks.
#[derive(Debug, Clone, Copy)]
struct Timed {
    offset: u64,
    size_bytes: u32,
    decoded: i64,
    shown: i64,
    is_sync: bool,
}

/// Fills the picture track.
pub fn video(track: Track, walked: &Walked, timeline: &Timeline) -> Result<Track, IsoError> {
    let frames = walked.frames.iter().zip(&timeline.decoding).zip(&timeline.presentation);
    let samples = frames.map(|((frame, decoded), shown)| Timed {
        offset: frame.offset,
        size_bytes: frame.size_bytes,
        decoded: *decoded,
        shown: *shown,
        is_sync: frame.is_sync,
    });
    filled(track, samples, timeline.last_duration)
}

/// Fills an audio track; `first_duration` is that of a frame of the first audio track, in which losses are counted.
pub fn audio(
    track: Track,
    index: usize,
    spec: &AudioTrack,
    first_duration: i64,
    walked: &Walked,
    lost: &[Lost],
) -> Result<Track, IsoError> {
    let mut missing = 0;
    let mut gaps = walked.gaps.iter().zip(lost).peekable();
    let samples = (0..).zip(&walked.audio[index]).map(|(number, frame)| {
        while let Some((_, lost)) = gaps.next_if(|(gap, _)| gap.audio_before.get(index).is_some_and(|n| *n <= number)) {
            let time = lost.audio * first_duration;
            missing += (time + spec.duration / 2) / spec.duration;
        }
        let decoded = spec.start + (i64::try_from(number).unwrap_or(i64::MAX) + missing) * spec.duration;
        Timed { offset: frame.offset, size_bytes: frame.size_bytes, decoded, shown: decoded, is_sync: true }
    });
    let samples: Vec<Timed> = samples.collect();
    filled(track, samples.into_iter(), spec.duration)
}

fn filled(mut track: Track, samples: impl Iterator<Item = Timed>, last_duration: i64) -> Result<Track, IsoError> {
    let timescale = track.timescale();
    let mut builder = TableBuilder::default();
    let mut samples = samples.peekable();
    let start = samples.peek().map_or(0, |sample| ticks(sample.decoded, timescale));
    while let Some(sample) = samples.next() {
        let decoded = ticks(sample.decoded, timescale);
        let next = samples.peek().map_or(sample.decoded + last_duration, |next| next.decoded);
        let composition = ticks(sample.shown, timescale) - decoded;
        builder.push(NewSample {
            offset: sample.offset,
            size_bytes: sample.size_bytes,
            duration: u32::try_from(ticks(next, timescale) - decoded).unwrap_or(0),
            composition: i32::try_from(composition).unwrap_or(0),
            is_sync: sample.is_sync,
            description_index: 1,
            dependency: 0,
        })?;
    }
    track.media.duration = builder.end_dts();
    track.tables = builder.finish();
    track.edits = edits(start, track.media.duration, timescale);
    track.header.duration = track.edits.iter().map(|edit| edit.segment_duration).sum();
    Ok(track)
}

/// Presents the media from where its presentation begins; what is decoded before is not shown, what begins late waits.
fn edits(start: i64, duration: u64, timescale: u32) -> Vec<Edit> {
    let in_movie = |ticks: u64| {
        (ticks.saturating_mul(u64::from(MOVIE_TIMESCALE)) + u64::from(timescale) / 2) / u64::from(timescale)
    };
    let before = start.min(0).unsigned_abs();
    let late = in_movie(start.max(0).unsigned_abs());
    let media = Edit::media(in_movie(duration.saturating_sub(before)), before);
    if late > 0 { vec![Edit::empty(late), media] } else { vec![media] }
}

/// A movie of filled tracks, numbered from 1.
pub fn movie(tracks: Vec<Track>) -> Movie {
    let mut movie = Movie::new(MOVIE_TIMESCALE);
    movie.tracks = tracks;
    for (id, track) in (1..).zip(&mut movie.tracks) {
        track.header.id = id;
    }
    movie.header.duration = movie.tracks.iter().map(|track| track.header.duration).max().unwrap_or(0);
    movie
}
