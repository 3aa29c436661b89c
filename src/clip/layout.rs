//! A clip as it is served: bytes in memory and ranges of files, one after the other.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::join::ClipPiece;
use super::place::Place;

/// A part of a clip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClipPart {
    /// Bytes of [`Clip::own`].
    Own(Range<usize>),
    /// Bytes of a file.
    File {
        /// Which one of [`Clip::files`].
        file: u32,
        /// Its byte range.
        range: Range<u64>,
    },
}

/// A virtual file. It holds no file open: one that changed since is found when it is read.
#[derive(Debug)]
pub struct Clip {
    /// Headers.
    pub(super) own: Vec<u8>,
    /// The files of the recordings, and where their bytes were when the clip was made.
    pub(super) files: Vec<(PathBuf, Place)>,
    /// The parts in order, each with where it begins in the clip.
    pub(super) parts: Vec<(u64, ClipPart)>,
    pub(super) len: u64,
    pub(super) etag: String,
    /// Whether some of the files are objects in stores.
    pub(super) is_stored: bool,
}

impl Clip {
    /// Length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes; a clip always has a header.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Names what it was made of: another span, or another state of a file, is another tag. Hex digits.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// What it takes in memory, bytes, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.own.len() + self.parts.len() * size_of::<(u64, ClipPart)>()) as u64
    }
}

/// A clip that is being laid out.
#[derive(Debug, Default)]
pub struct ClipBuilder {
    own: Vec<u8>,
    parts: Vec<(u64, ClipPart)>,
    len: u64,
}

impl ClipBuilder {
    /// Appends bytes.
    pub fn own(&mut self, bytes: &[u8]) {
        let start = self.own.len();
        self.own.extend(bytes);
        match self.parts.last_mut() {
            Some((_, ClipPart::Own(last))) if last.end == start => last.end = self.own.len(),
            _ => self.parts.push((self.len, ClipPart::Own(start..self.own.len()))),
        }
        self.len += bytes.len() as u64;
    }

    /// Appends a range of a file; one that goes on where the last one ends makes it longer.
    pub fn file(&mut self, file: u32, range: Range<u64>) {
        let bytes = range.end - range.start;
        match self.parts.last_mut() {
            Some((_, ClipPart::File { file: last, range: known })) if *last == file && known.end == range.start => {
                known.end = range.end;
            }
            _ => self.parts.push((self.len, ClipPart::File { file, range })),
        }
        self.len += bytes;
    }

    /// Appends everything of another one.
    pub fn append(&mut self, other: Self) {
        for (_, part) in other.parts {
            match part {
                ClipPart::Own(range) => self.own(&other.own[range]),
                ClipPart::File { file, range } => self.file(file, range),
            }
        }
    }

    /// Length so far in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// The clip.
    pub fn finish(self, pieces: &[ClipPiece], etag: String) -> Arc<Clip> {
        let files = pieces.iter().map(|piece| (piece.file.path.clone(), piece.file.place.clone())).collect();
        let is_stored = pieces.iter().any(|piece| matches!(piece.file.place, Place::Object(_)));
        Arc::new(Clip { own: self.own, files, parts: self.parts, len: self.len, etag, is_stored })
    }
}
