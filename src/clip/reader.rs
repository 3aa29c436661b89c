//! Reading a range of a clip.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::ClipError;
use super::layout::{Clip, ClipPart};
use super::place::Place;
use super::stores::Stores;
use crate::deliver::PinnedObject;
use crate::durable::{self, FileError};
use crate::recording::Fingerprint;

/// Reads a range of a clip from its beginning to its end; one file is open at a time.
#[derive(Debug)]
pub struct ClipReader {
    clip: Arc<Clip>,
    stores: Stores,
    left: Range<u64>,
    open: Option<(u32, File)>,
}

impl ClipReader {
    /// A reader of a byte range, which is clipped to the clip.
    pub fn new(clip: Arc<Clip>, stores: Stores, range: Range<u64>) -> Self {
        let end = range.end.min(clip.len());
        Self { left: range.start.min(end)..end, clip, stores, open: None }
    }

    /// Whether a part of what is left is read from a store.
    pub fn asks_stores(&self) -> bool {
        self.clip.is_stored && self.object_parts().next().is_some()
    }

    /// Reads the first bytes that come from a store, so that one that cannot be read is known before anything was sent.
    pub fn begin(&mut self) -> Result<(), ClipError> {
        let first = self.object_parts().next().map(|(path, object, at)| (path.clone(), Arc::clone(object), at));
        let Some((path, object, at)) = first else { return Ok(()) };
        self.stores.fill(&path, &object, at, &mut [0]).map(drop)
    }

    /// The parts of what is left that are in stores: path of the recording, the object, and where in it the part begins.
    fn object_parts(&self) -> impl Iterator<Item = (&PathBuf, &Arc<PinnedObject>, u64)> {
        let parts = &self.clip.parts;
        let from = parts.partition_point(|(start, _)| *start <= self.left.start).saturating_sub(1);
        let until = parts.partition_point(|(start, _)| *start < self.left.end);
        parts.get(from..until).unwrap_or_default().iter().filter_map(|(start, part)| {
            let ClipPart::File { file, range } = part else { return None };
            let (path, Place::Object(object)) = &self.clip.files[*file as usize] else { return None };
            Some((path, object, range.start + self.left.start.saturating_sub(*start)))
        })
    }

    /// The next bytes, at most `limit` (not 0); none at the end.
    ///
    /// # Errors
    /// [`ClipError::Changed`] if a file is no longer the one that the clip was made of.
    pub fn next_bytes(&mut self, limit: usize) -> Result<Vec<u8>, ClipError> {
        let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(limit)];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = self.fill(&mut bytes[filled..])?;
            filled += read;
            self.left.start += read as u64;
        }
        Ok(bytes)
    }

    /// Fills the beginning of a buffer from the part that the next byte is in; says how far.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, ClipError> {
        let clip = Arc::clone(&self.clip);
        let behind = clip.parts.partition_point(|(start, _)| *start <= self.left.start);
        let end = clip.parts.get(behind).map_or(clip.len, |(start, _)| *start);
        let Some((start, part)) = behind.checked_sub(1).and_then(|at| clip.parts.get(at)) else {
            return Ok(into.len());
        };
        let within = self.left.start - start;
        let len = usize::try_from(end - self.left.start).unwrap_or(usize::MAX).min(into.len());
        let into = &mut into[..len];
        match part {
            ClipPart::Own(range) => {
                let from = range.start + usize::try_from(within).unwrap_or(usize::MAX);
                into.copy_from_slice(&clip.own[from..from + len]);
            }
            ClipPart::File { file, range } => return self.read(*file, range.start + within, into),
        }
        Ok(len)
    }

    fn read(&mut self, file: u32, at: u64, into: &mut [u8]) -> Result<usize, ClipError> {
        let clip = Arc::clone(&self.clip);
        let (recording, place) = &clip.files[file as usize];
        let (path, fingerprint) = match place {
            Place::File { path, fingerprint } => (path, fingerprint),
            Place::Object(object) => return self.stores.fill(recording, object, at, into),
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != file) {
            let opened = durable::open_to_read(path)?;
            let metadata = opened.metadata().map_err(FileError::on("read the state of", path))?;
            if Fingerprint::of(&metadata) != *fingerprint {
                return Err(ClipError::Changed { path: path.clone() });
            }
            self.open = Some((file, opened));
        }
        let Some((_, open)) = &self.open else { return Ok(0) };
        open.read_exact_at(into, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ClipError::Changed { path: path.clone() },
            _ => ClipError::from(FileError::on("read", path)(error)),
        })?;
        Ok(into.len())
    }
}
