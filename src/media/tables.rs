//! One full pass over an ISO base media file by its own sample tables, without libavformat, whose index costs more memory
//! than a long recording may. Made for files that we wrote ourselves; all others are read by [`read`](super::read).
//!
//! Media is read once and in file order, about a megabyte at a time, and nothing is kept of it. It must not judge where
//! samples lie: a place outside the file is an error.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::ffi::TimeBase;
use super::ffi::source::StreamFacts;
use super::meter::{PacketFacts, TrackMeter, align};
use super::payload::Framing;
use super::reading::{no_media, per_track};
use super::{MediaError, MediaReading, PassControl};
use crate::durable;
use crate::isobmff::samples::{Chunks, Samples};
use crate::isobmff::{Chunk, Movie, Sample, Track};
use crate::recording::{Container, TrackKind};

/// Samples are read together up to so many bytes; a longer one is read alone.
const TOGETHER_BYTES: u64 = 1 << 20;

/// Reads every sample of a file once, where the tables of `movie` say that it lies.
pub fn read_by_tables(
    path: &Path,
    container: Container,
    movie: &Movie,
    watch: PassControl<'_>,
) -> Result<MediaReading, MediaError> {
    let file = durable::open_to_read(path).map_err(|e| MediaError::open(path)(e.source))?;
    let size_bytes = file.metadata().map_err(MediaError::open(path))?.len();
    let timescale = movie.header.timescale;
    let mut lanes: Vec<TrackReader<'_>> =
        (0..).zip(&movie.tracks).map(|(n, track)| TrackReader::new(n, track, timescale)).collect();
    let (mut buffer, mut bytes_read) = (Vec::new(), 0);
    while let Some(lane) = lanes.iter_mut().filter(|lane| lane.next.is_some()).min_by_key(|lane| lane.offset()) {
        watch.tick(bytes_read)?;
        let mut left = lane.begin_chunk();
        while left > 0 {
            let run = lane.run(left);
            if run.samples.is_empty() {
                break;
            }
            buffer.resize(run.bytes, 0);
            let failed = |source| MediaError::Read { path: path.to_owned(), offset: run.offset, source };
            file.read_exact_at(&mut buffer, run.offset).map_err(failed)?;
            lane.feed(&run, &buffer);
            left -= run.samples.len();
            bytes_read += run.bytes as u64;
        }
    }
    let mut tracks: Vec<_> = lanes.iter().map(|lane| lane.meter.close(&lane.facts)).collect();
    align(&mut tracks);
    let mut reading = MediaReading {
        container,
        size_bytes,
        bytes_read,
        tracks,
        declared_ms: movie.declared_duration_ms(),
        created_ms: movie.created_ms(),
        chapters: 0,
        defects: Vec::new(),
    };
    reading.defects = [no_media(&reading), per_track(&reading)].concat();
    Ok(reading)
}

/// Samples that lie together and are read together.
struct SampleBatch {
    offset: u64,
    bytes: usize,
    samples: Vec<Sample>,
}

/// One track on its way through the file.
struct TrackReader<'a> {
    chunks: Chunks<'a>,
    next: Option<Chunk>,
    samples: std::iter::Peekable<Samples<'a>>,
    /// From a composition time to when it is presented, ticks of the track.
    shift: i64,
    facts: StreamFacts,
    meter: TrackMeter,
}

impl<'a> TrackReader<'a> {
    fn new(index: usize, track: &'a Track, movie_timescale: u32) -> Self {
        let mut chunks = track.chunks();
        let facts = facts_of(index, track);
        let nal_length_bytes = track.entry().and_then(|entry| entry.nal_length_bytes);
        let framing = Framing::in_iso(&facts.codec, nal_length_bytes.map_or(4, usize::from));
        Self {
            next: chunks.next(),
            chunks,
            samples: track.samples().peekable(),
            shift: track.presentation_shift(movie_timescale),
            meter: TrackMeter::with_framing(&facts, framing, facts.time_base),
            facts,
        }
    }

    fn offset(&self) -> Option<u64> {
        self.next.map(|chunk| chunk.offset)
    }

    /// Goes to the next chunk; returns how many samples the one that begins now holds.
    fn begin_chunk(&mut self) -> usize {
        let samples = self.next.map_or(0, |chunk| chunk.samples);
        self.next = self.chunks.next();
        usize::try_from(samples).unwrap_or(usize::MAX)
    }

    /// The next samples of a chunk of which so many are left.
    fn run(&mut self, left: usize) -> SampleBatch {
        let mut samples: Vec<Sample> = Vec::new();
        let mut bytes = 0;
        while samples.len() < left {
            let fits = |s: &Sample| bytes == 0 || bytes + u64::from(s.size_bytes) <= TOGETHER_BYTES;
            let Some(sample) = self.samples.next_if(fits) else { break };
            bytes += u64::from(sample.size_bytes);
            samples.push(sample);
        }
        let offset = samples.first().map_or(0, |sample| sample.offset);
        SampleBatch { offset, bytes: usize::try_from(bytes).unwrap_or(usize::MAX), samples }
    }

    fn feed(&mut self, run: &SampleBatch, bytes: &[u8]) {
        let mut rest = bytes;
        for sample in &run.samples {
            let size = usize::try_from(sample.size_bytes).unwrap_or(usize::MAX).min(rest.len());
            let (payload, behind) = rest.split_at(size);
            rest = behind;
            let pts = Some(sample.pts.saturating_add(self.shift));
            let facts = PacketFacts {
                pts,
                presented: pts,
                dts: Some(sample.dts.saturating_add(self.shift)),
                duration: i64::from(sample.duration),
                is_key: sample.is_sync,
                is_corrupt: false,
            };
            self.meter.take(&facts, payload);
        }
    }
}

fn facts_of(index: usize, track: &Track) -> StreamFacts {
    let entry = track.entry();
    let size = entry.and_then(|e| e.dimensions).filter(|_| track.kind() == TrackKind::Video);
    StreamFacts {
        index,
        id: i32::try_from(track.id()).unwrap_or(0),
        kind: track.kind(),
        codec: track.codec(),
        extradata: Vec::new(),
        time_base: TimeBase { num: 1, den: i32::try_from(track.timescale()).unwrap_or(i32::MAX) },
        width: size.map(|(width, _)| u32::from(width)),
        height: size.map(|(_, height)| u32::from(height)),
        frame_rate: None,
        sample_rate_hz: entry.and_then(|e| e.sample_rate_hz),
        channels: entry.and_then(|e| e.channels),
        language: track.media.language(),
        declared_ms: None,
        declared_packets: Some(track.tables.count()),
        is_picture: false,
        delay: 0,
        attached: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isobmff::top_level;
    use std::fs::File;

    #[test]
    fn the_tables_tell_what_libavformat_tells() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sample_MP4_480.mp4");
        let mut file = File::open(&path).unwrap();
        let layout = top_level(&mut file, std::fs::metadata(&path).unwrap().len()).unwrap();
        let movie = Movie::read(&mut file, &layout).unwrap();
        let ours = read_by_tables(&path, Container::Mp4, &movie, PassControl::default()).unwrap();
        let theirs = crate::media::read(&path, Container::Mp4, PassControl::default()).unwrap();
        assert_eq!(ours.tracks.len(), 2);
        for (ours, theirs) in ours.tracks.iter().zip(&theirs.tracks) {
            assert_eq!((&ours.codec, ours.kind, ours.packets), (&theirs.codec, theirs.kind, theirs.packets));
            assert_eq!((ours.digest, ours.id_digest, ours.bytes), (theirs.digest, theirs.id_digest, theirs.bytes));
            assert_eq!((ours.keyframes, ours.width, ours.channels), (theirs.keyframes, theirs.width, theirs.channels));
            assert!((ours.duration_ms - theirs.duration_ms).abs() <= 1 && (ours.start_ms - theirs.start_ms).abs() <= 1);
        }
        assert_eq!(ours.defects, theirs.defects);
    }
}
