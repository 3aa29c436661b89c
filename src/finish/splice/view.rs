//! A file as it would read with some of its bytes taken out, and others put in: what a splice is checked on before
//! anything is written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::finish::window::moved;

/// A stretch of a view.
#[derive(Debug, Clone)]
pub(super) enum ViewPiece<'a> {
    /// Bytes in memory.
    Memory(&'a [u8]),
    /// A range of the file.
    File(Range<u64>),
}

impl ViewPiece<'_> {
    const fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(range) => range.end.saturating_sub(range.start),
        }
    }
}

/// Pieces one after the other, read through one open file.
#[derive(Debug)]
pub(super) struct PieceView<'a> {
    file: &'a File,
    /// Each piece with its place in the view.
    pieces: Vec<(u64, ViewPiece<'a>)>,
    len: u64,
    at: u64,
}

impl<'a> PieceView<'a> {
    pub(super) fn new(file: &'a File, pieces: impl IntoIterator<Item = ViewPiece<'a>>) -> Self {
        let mut len = 0;
        let placed = pieces.into_iter().filter(|p| p.len() > 0).map(|piece| {
            let at = len;
            len += piece.len();
            (at, piece)
        });
        let pieces = placed.collect();
        Self { file, pieces, len, at: 0 }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }
}

impl Read for PieceView<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let behind = self.pieces.partition_point(|(at, _)| *at <= self.at);
        let Some((start, piece)) = behind.checked_sub(1).and_then(|i| self.pieces.get(i)) else { return Ok(0) };
        let within = self.at - start;
        let left = usize::try_from(piece.len().saturating_sub(within)).unwrap_or(usize::MAX);
        let len = into.len().min(left);
        let read = match piece {
            ViewPiece::Memory(bytes) => {
                let from = usize::try_from(within).unwrap_or(usize::MAX).min(bytes.len());
                into[..len].copy_from_slice(&bytes[from..from + len]);
                len
            }
            ViewPiece::File(range) => self.file.read_at(&mut into[..len], range.start + within)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for PieceView<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = moved(self.at, self.len, to)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_read_as_one_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let pieces = [ViewPiece::Memory(b"ab"), ViewPiece::File(0..3), ViewPiece::Memory(b""), ViewPiece::File(7..10)];
        let mut view = PieceView::new(&file, pieces);
        let mut read = String::new();
        view.read_to_string(&mut read).unwrap();
        assert_eq!((read.as_str(), view.len()), ("ab012789", 8));
        view.seek(SeekFrom::End(-2)).unwrap();
        read.clear();
        view.read_to_string(&mut read).unwrap();
        assert_eq!(read, "89");
        assert!(view.seek(SeekFrom::Current(-9)).is_err());
    }
}
