//! Digests of sample payloads: the one place where the body of an `mdat` is read.
//!
//! Samples are read in the order in which they lie in the file, whole chunks at a time, through a buffer of fixed size.
//! Payloads that the file does not have are an error; a validated movie has them all.

use std::io::{Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::error::IsoError;
use super::movie::Movie;
use super::samples::{Chunk, Chunks};
use crate::recording::ID_SAMPLES;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// For each track in file order, its number of samples and the SHA-256 of the payloads of its first [`ID_SAMPLES`]
/// samples, as [`vod_id`](crate::recording::vod_id) takes them. A track in another file has the digest of nothing.
pub fn first_payload_digests<R: Read + Seek>(reader: &mut R, movie: &Movie) -> Result<Vec<(u64, [u8; 32])>, IsoError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut digests = Vec::with_capacity(movie.tracks.len());
    for track in &movie.tracks {
        let mut hash = Sha256::new();
        for sample in track.samples().take(if track.is_external() { 0 } else { ID_SAMPLES }) {
            stream(reader, &mut buffer, sample.offset, u64::from(sample.size_bytes), |bytes| hash.update(bytes))?;
        }
        digests.push((track.tables.count(), hash.finalize().into()));
    }
    Ok(digests)
}

/// For each track in file order, the BLAKE3 of all its payloads in decoding order.
pub fn payload_digests<R: Read + Seek>(reader: &mut R, movie: &Movie) -> Result<Vec<[u8; 32]>, IsoError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut lanes: Vec<Lane<'_>> =
        movie.tracks.iter().map(|track| Lane::new(track.chunks(), track.is_external())).collect();
    while let Some(lane) = next_lane(&mut lanes) {
        let Some(chunk) = lane.next.take() else { break };
        let hash = &mut lane.hash;
        stream(reader, &mut buffer, chunk.offset, chunk.size_bytes, |bytes| {
            hash.update(bytes);
        })?;
        lane.next = lane.chunks.next();
    }
    Ok(lanes.into_iter().map(|lane| *lane.hash.finalize().as_bytes()).collect())
}

/// One track on its way through the file.
struct Lane<'a> {
    chunks: Chunks<'a>,
    next: Option<Chunk>,
    hash: blake3::Hasher,
}

impl<'a> Lane<'a> {
    fn new(mut chunks: Chunks<'a>, is_external: bool) -> Self {
        let next = if is_external { None } else { chunks.next() };
        Self { chunks, next, hash: blake3::Hasher::new() }
    }
}

/// The track whose next chunk lies first in the file.
fn next_lane<'l, 'a>(lanes: &'l mut [Lane<'a>]) -> Option<&'l mut Lane<'a>> {
    lanes.iter_mut().filter(|lane| lane.next.is_some()).min_by_key(|lane| lane.next.map(|chunk| chunk.offset))
}

fn stream<R: Read + Seek>(
    reader: &mut R,
    buffer: &mut [u8],
    offset: u64,
    size_bytes: u64,
    mut take: impl FnMut(&[u8]),
) -> Result<(), IsoError> {
    reader.seek(SeekFrom::Start(offset)).map_err(IsoError::io(offset))?;
    let mut left = size_bytes;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        reader.read_exact(&mut buffer[..len]).map_err(IsoError::io(offset))?;
        take(&buffer[..len]);
        left -= len as u64;
    }
    Ok(())
}
