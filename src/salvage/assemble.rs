//! The movie: what the walk found and when it is due, as sample tables over the old file.

use super::clock::ticks;
use super::element::Sound;
use super::loss::GapLoss;
use super::timeline::SampleTimes;
use super::walk::{AudioFrame, AudioTrack, WalkResult};
use crate::isobmff::samples::SampleTables;
use crate::isobmff::tables::stsc::ChunkRun;
use crate::isobmff::tables::stsz::SampleSizes;
use crate::isobmff::{IsoError, Movie, NewSample, PresentationStart, TableBuilder, Track};

/// Ticks per second of the movie.
const MOVIE_TIMESCALE: u32 = 1000;

/// No gap in sound that is not coded is longer.
const MOST_LOST_TICKS: u32 = 1 << 30;

/// A sample with its times in flicks.
#[derive(Debug, Clone, Copy)]
struct TimedSample {
    offset: u64,
    size_bytes: u32,
    decoded: i64,
    shown: i64,
    is_sync: bool,
}

/// Fills the picture track.
pub fn video(track: Track, walked: &WalkResult, timeline: &SampleTimes) -> Result<Track, IsoError> {
    let frames = walked.frames.iter().zip(&timeline.decoding).zip(&timeline.presentation);
    let samples = frames.map(|((frame, decoded), shown)| TimedSample {
        offset: frame.offset(),
        size_bytes: frame.size_bytes,
        decoded: *decoded,
        shown: *shown,
        is_sync: frame.is_sync(),
    });
    filled(track, samples, timeline.last_duration)
}

/// Fills an audio track; `first_duration` is that of a frame of the first audio track, in which losses are counted.
pub fn audio(
    track: Track,
    index: usize,
    spec: &AudioTrack,
    first_duration: i64,
    walked: &WalkResult,
    lost: &[GapLoss],
) -> Result<Track, IsoError> {
    let mut gaps = walked.gaps.iter().zip(lost).peekable();
    let mut passed = move |number: i64| {
        let mut time = Vec::new();
        while let Some((_, lost)) =
            gaps.next_if(|(gap, _)| gap.audio_before.get(index).is_some_and(|n| i64::from(*n) <= number))
        {
            time.push(lost.audio * first_duration);
        }
        time
    };
    let packets = (0..).zip(&walked.audio[index]);
    let Sound::Pcm { block_bytes } = spec.sound else {
        let mut missing = 0;
        let samples = packets.map(|(number, frame)| {
            missing += passed(number).iter().map(|time| (time + spec.duration / 2) / spec.duration).sum::<i64>();
            let decoded = spec.start + (number + missing) * spec.duration;
            TimedSample { offset: frame.offset, size_bytes: frame.size_bytes, decoded, shown: decoded, is_sync: true }
        });
        return filled(track, samples, spec.duration);
    };
    let timescale = track.timescale();
    let packets = packets.map(|(number, frame)| (*frame, ticks(passed(number).iter().sum(), timescale)));
    Ok(uncoded(track, packets, ticks(spec.start, timescale), block_bytes.max(1)))
}

fn filled(mut track: Track, samples: impl Iterator<Item = TimedSample>, last_duration: i64) -> Result<Track, IsoError> {
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
    track.tables = builder.finish();
    track.edits = PresentationStart::of(start, track.earliest_composition()).edits(timescale, MOVIE_TIMESCALE);
    Ok(track)
}

/// Sound that is not coded: each sample of all channels is one of the table and lasts one tick, and what lies together is a
/// chunk. With each packet comes how many ticks were lost in front of it.
fn uncoded(mut track: Track, packets: impl Iterator<Item = (AudioFrame, i64)>, start: i64, block_bytes: u32) -> Track {
    let timescale = track.timescale();
    let mut tables = SampleTables::default();
    let (mut end, mut in_chunk, mut total, mut start) = (u64::MAX, 0_u32, 0_u32, start);
    for (packet, lost) in packets {
        let blocks = packet.size_bytes / block_bytes;
        if packet.offset != end || lost > 0 {
            close_chunk(&mut tables, in_chunk);
            in_chunk = 0;
            tables.chunk_offsets.push(packet.offset);
        }
        if total > 0 {
            // What was lost before is time that the last sample takes.
            tables.durations.lengthen_last(u32::try_from(lost).unwrap_or(0).min(MOST_LOST_TICKS));
        } else {
            start += lost;
        }
        tables.durations.push_many(1, blocks);
        (in_chunk, total) = (in_chunk + blocks, total + blocks);
        end = packet.offset + u64::from(packet.size_bytes);
    }
    close_chunk(&mut tables, in_chunk);
    tables.sizes = SampleSizes::Constant { size_bytes: block_bytes, count: total };
    track.tables = tables;
    track.edits = PresentationStart::of(start, 0).edits(timescale, MOVIE_TIMESCALE);
    track
}

fn close_chunk(tables: &mut SampleTables, samples_per_chunk: u32) {
    let is_same = |run: &ChunkRun| run.samples_per_chunk == samples_per_chunk;
    if samples_per_chunk > 0 && !tables.chunk_runs.last().is_some_and(is_same) {
        let first_chunk = u32::try_from(tables.chunk_offsets.len()).unwrap_or(u32::MAX);
        tables.chunk_runs.push(ChunkRun { first_chunk, samples_per_chunk, description_index: 1 });
    }
}

/// A movie of filled tracks, numbered from 1.
pub fn movie(tracks: Vec<Track>) -> Movie {
    Movie::of_tracks(MOVIE_TIMESCALE, tracks)
}
