//! Reads an object by ranges, in few and larger pieces, as if it were a file.
//!
//! Headers lie at the beginning and at the end of a recording: the last pieces are kept, and a piece that follows another is larger.
//! It must not read without a bound: headers that lie all over an object are given up ([`RangeReader::is_scattered`]).

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use super::error::ArchiveError;
use crate::deliver::{PinnedObject, Targets};
use crate::fault::raw_chain;
use crate::finish;

/// The first piece, and the largest one.
const LEAST_PIECE_BYTES: u64 = 64 << 10;
const MOST_PIECE_BYTES: u64 = 4 << 20;
/// Pieces that are kept.
const KEPT: usize = 4;
/// Pieces of one object: reading all of it is quicker than more.
const MOST_PIECES: u64 = 128;

/// Reads one state of an object.
#[derive(Debug)]
pub struct RangeReader<'a> {
    targets: &'a Targets,
    object: &'a PinnedObject,
    at: u64,
    pieces: VecDeque<(u64, Vec<u8>)>,
    next_bytes: u64,
    requests: u64,
    read_bytes: u64,
    failed: Option<ArchiveError>,
    is_scattered: bool,
}

impl<'a> RangeReader<'a> {
    /// From its beginning on.
    pub fn new(targets: &'a Targets, object: &'a PinnedObject) -> Self {
        let (pieces, next_bytes) = (VecDeque::new(), LEAST_PIECE_BYTES);
        let (failed, is_scattered) = (None, false);
        Self { targets, object, at: 0, pieces, next_bytes, requests: 0, read_bytes: 0, failed, is_scattered }
    }

    /// Requests so far, and the bytes that came.
    pub const fn used(&self) -> (u64, u64) {
        (self.requests, self.read_bytes)
    }

    /// Why reading failed, if it was not the format.
    pub fn failure(&mut self) -> Option<ArchiveError> {
        self.failed.take()
    }

    /// Whether so much lies all over the object that the rest was not read.
    pub const fn is_scattered(&self) -> bool {
        self.is_scattered
    }

    /// What is kept of the bytes from the present place on.
    fn here(&self) -> Option<&[u8]> {
        let in_piece = |(start, bytes): &(u64, Vec<u8>)| *start <= self.at && self.at < start + bytes.len() as u64;
        let (start, bytes) = self.pieces.iter().find(|piece| in_piece(piece))?;
        bytes.get(usize::try_from(self.at - start).ok()?..)
    }

    fn fetch(&mut self, wanted: usize) -> io::Result<()> {
        if self.requests >= MOST_PIECES {
            self.is_scattered = true;
            return Err(io::Error::other("its headers lie all over the object"));
        }
        let follows = self.pieces.back().is_some_and(|(start, bytes)| start + bytes.len() as u64 == self.at);
        self.next_bytes = if follows { (self.next_bytes * 4).min(MOST_PIECE_BYTES) } else { LEAST_PIECE_BYTES };
        let bytes = self.next_bytes.max(wanted as u64).min(MOST_PIECE_BYTES);
        let end = self.at.saturating_add(bytes).min(self.object.size_bytes);
        self.requests += 1;
        let read = self.targets.read(self.object, self.at..end);
        let changed = || ArchiveError::Changed { key: self.object.key.clone() };
        match read.map_err(ArchiveError::from).and_then(|read| read.ok_or_else(changed)) {
            Ok(read) => {
                self.read_bytes += read.len() as u64;
                self.pieces.push_back((self.at, read));
                if self.pieces.len() > KEPT {
                    self.pieces.pop_front();
                }
                Ok(())
            }
            Err(error) => {
                let said = raw_chain(&error);
                self.failed = Some(error);
                Err(io::Error::other(said))
            }
        }
    }
}

impl Read for RangeReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.object.size_bytes || into.is_empty() {
            return Ok(0);
        }
        if self.here().is_none() {
            self.fetch(into.len())?;
        }
        let from = self.here().unwrap_or_default();
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for RangeReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = finish::moved(self.at, self.object.size_bytes, to)?;
        Ok(self.at)
    }
}
