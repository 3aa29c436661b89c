//! Reading a range of a clip.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::error::ClipError;
use super::layout::{Clip, Part};
use crate::durable::{self, FileError};
use crate::recording::Fingerprint;

/// Reads a range of a clip from its beginning to its end; one file is open at a time.
#[derive(Debug)]
pub struct ClipReader {
    clip: Arc<Clip>,
    left: Range<u64>,
    open: Option<(u32, File)>,
}

impl ClipReader {
    /// A reader of a byte range, which is clipped to the clip.
    pub fn new(clip: Arc<Clip>, range: Range<u64>) -> Self {
        let end = range.end.min(clip.len());
        Self { left: range.start.min(end)..end, clip, open: None }
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
            Part::Own(range) => {
                let from = range.start + usize::try_from(within).unwrap_or(usize::MAX);
                into.copy_from_slice(&clip.own[from..from + len]);
            }
            Part::File { file, range } => self.read(*file, range.start + within, into)?,
        }
        Ok(len)
    }

    fn read(&mut self, file: u32, at: u64, into: &mut [u8]) -> Result<(), ClipError> {
        let clip = Arc::clone(&self.clip);
        let (path, fingerprint) = &clip.files[file as usize];
        if self.open.as_ref().is_none_or(|(open, _)| *open != file) {
            let opened = durable::open_to_read(path)?;
            let metadata = opened.metadata().map_err(FileError::on("read the state of", path))?;
            if Fingerprint::of(&metadata) != *fingerprint {
                return Err(ClipError::Changed { path: path.clone() });
            }
            self.open = Some((file, opened));
        }
        let Some((_, open)) = &self.open else { return Ok(()) };
        open.read_exact_at(into, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ClipError::Changed { path: path.clone() },
            _ => FileError::on("read", path)(error).into(),
        })
    }
}
