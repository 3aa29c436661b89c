//! Sample payloads: the one place where the body of an `mdat` is read, to digest it and to follow its NAL units.
//!
//! Samples are read in the order in which they lie in the file, whole chunks at a time, through a buffer of fixed size.
//! Of samples that reach past the end of the file, what is there is read.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::build::MAX_SAMPLES_PER_TRACK;
use super::error::IsoError;
use super::movie::Movie;
use super::nal::NalChain;
use super::samples::{Chunk, Chunks, Sample};
use super::track::Track;
use crate::recording::{Defect, ID_SAMPLES};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// What reading every packet of a movie found; the tracks in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketCheck {
    /// BLAKE3 of all payloads of each track in decoding order.
    pub digests: Vec<[u8; 32]>,
    /// Tracks with samples whose NAL units do not fill them exactly.
    pub defects: Vec<Defect>,
}

/// For each track in file order, its number of samples and the SHA-256 of the payloads of its first [`ID_SAMPLES`]
/// samples, as [`vod_id`](crate::recording::vod_id) takes them. A track in another file has the digest of nothing.
pub fn first_payload_digests<R: Read + Seek>(reader: &mut R, movie: &Movie) -> Result<Vec<(u64, [u8; 32])>, IsoError> {
    let mut media = BufferedMedia::new(reader, BUFFER_BYTES / 8)?;
    let mut digests = Vec::with_capacity(movie.tracks.len());
    for track in &movie.tracks {
        let mut hash = Sha256::new();
        for sample in own_samples(track).take(ID_SAMPLES) {
            media.stream(sample.offset, u64::from(sample.size_bytes), |bytes| hash.update(bytes))?;
        }
        digests.push((track.tables.count(), hash.finalize().into()));
    }
    Ok(digests)
}

/// For each track in file order, the BLAKE3 of all its payloads in decoding order.
pub fn payload_digests<R: Read + Seek>(reader: &mut R, movie: &Movie) -> Result<Vec<[u8; 32]>, IsoError> {
    Ok(check_packets(reader, movie)?.digests)
}

/// Reads every payload once: digests, and for H.264 and H.265 whether NAL units fill each sample exactly
/// (ISO/IEC 14496-15 §5.3.3, §8.3.3). Encrypted samples are digested only.
pub fn check_packets<R: Read + Seek>(reader: &mut R, movie: &Movie) -> Result<PacketCheck, IsoError> {
    let mut media = BufferedMedia::new(reader, BUFFER_BYTES)?;
    let mut lanes: Vec<TrackPayloads<'_>> = movie.tracks.iter().map(TrackPayloads::new).collect();
    while let Some((lane, chunk)) = next_chunk(&mut lanes) {
        lane.nal.begin_chunk(chunk.description_index);
        media.stream(chunk.offset, chunk.size_bytes, |bytes| {
            lane.hash.update(bytes);
            lane.nal.feed(bytes);
        })?;
    }
    let broken = |(track, lane): (u32, &TrackPayloads<'_>)| {
        let errors = lane.nal.broken();
        (errors > 0).then_some(Defect::Undecodable { track, errors })
    };
    let defects = (1..).zip(&lanes).filter_map(broken).collect();
    Ok(PacketCheck { defects, digests: lanes.into_iter().map(|lane| *lane.hash.finalize().as_bytes()).collect() })
}

/// The samples of a track that lie in this file.
fn own_samples(track: &Track) -> impl Iterator<Item = Sample> {
    let limit = if track.is_external() { 0 } else { usize::try_from(MAX_SAMPLES_PER_TRACK).unwrap_or(usize::MAX) };
    track.samples().take(limit)
}

/// One track on its way through the file.
struct TrackPayloads<'a> {
    chunks: Chunks<'a>,
    next: Option<Chunk>,
    hash: blake3::Hasher,
    nal: NalChain<'a>,
}

impl<'a> TrackPayloads<'a> {
    fn new(track: &'a Track) -> Self {
        let mut chunks = track.chunks();
        let next = if track.is_external() { None } else { chunks.next() };
        Self { chunks, next, hash: blake3::Hasher::new(), nal: NalChain::new(track) }
    }
}

/// The chunk that lies first in the file among the tracks' next ones, and its track.
fn next_chunk<'l, 'a>(lanes: &'l mut [TrackPayloads<'a>]) -> Option<(&'l mut TrackPayloads<'a>, Chunk)> {
    let is_ready = |lane: &&mut TrackPayloads<'_>| lane.next.is_some();
    let lane = lanes.iter_mut().filter(is_ready).min_by_key(|lane| lane.next.map(|chunk| chunk.offset))?;
    let chunk = lane.next?;
    lane.next = lane.chunks.next();
    Some((lane, chunk))
}

/// A buffered reader that keeps its buffer when it steps on by a little.
struct BufferedMedia<'r, R> {
    reader: BufReader<&'r mut R>,
    at: u64,
    len: u64,
}

impl<'r, R: Read + Seek> BufferedMedia<'r, R> {
    fn new(reader: &'r mut R, buffer_bytes: usize) -> Result<Self, IsoError> {
        let len = reader.seek(SeekFrom::End(0)).map_err(IsoError::io(0))?;
        Ok(Self { reader: BufReader::with_capacity(buffer_bytes, reader), at: len, len })
    }

    /// Hands on the bytes of a range, piece by piece, as far as the file has them.
    fn stream(&mut self, offset: u64, size_bytes: u64, mut take: impl FnMut(&[u8])) -> Result<(), IsoError> {
        let mut left = size_bytes.min(self.len.saturating_sub(offset));
        if left > 0 {
            self.go_to(offset).map_err(IsoError::io(offset))?;
        }
        while left > 0 {
            crate::stop::check();
            let buffered = self.reader.fill_buf().map_err(IsoError::io(self.at))?;
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffered.len());
            if len == 0 {
                return Err(IsoError::io(self.at)(std::io::ErrorKind::UnexpectedEof.into()));
            }
            take(&buffered[..len]);
            self.reader.consume(len);
            self.at += len as u64;
            left -= len as u64;
        }
        Ok(())
    }

    fn go_to(&mut self, offset: u64) -> std::io::Result<()> {
        match i64::try_from(i128::from(offset) - i128::from(self.at)) {
            Ok(distance) => self.reader.seek_relative(distance)?,
            Err(_) => drop(self.reader.seek(SeekFrom::Start(offset))?),
        }
        self.at = offset;
        Ok(())
    }
}
