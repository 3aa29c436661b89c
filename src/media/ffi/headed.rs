//! A file behind a header that is only in memory: libavformat reads both as one file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::stream::StreamMonitor;

/// The reading side that FFmpeg owns.
pub(super) struct HeadedInput {
    header: Vec<u8>,
    file: File,
    /// How far the file is read, without the header.
    end: u64,
    position: u64,
    tap: StreamMonitor,
}

impl HeadedInput {
    /// The header, then the first `end` bytes of the file.
    pub(super) const fn new(header: Vec<u8>, file: File, end: u64, tap: StreamMonitor) -> Self {
        Self { header, file, end, position: 0, tap }
    }

    fn len(&self) -> u64 {
        self.end.saturating_add(self.header.len() as u64)
    }

    fn read_at_position(&self, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(self.position).unwrap_or(usize::MAX);
        if let Some(rest) = self.header.get(from..).filter(|rest| !rest.is_empty()) {
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            return Ok(count);
        }
        let left = usize::try_from(self.len().saturating_sub(self.position)).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        self.file.read_at(&mut into[..count], self.position - self.header.len() as u64)
    }
}

impl Read for HeadedInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let outcome = self.read_at_position(into);
        match &outcome {
            Ok(count) => self.position += *count as u64,
            Err(error) => self.tap.note(error),
        }
        outcome
    }
}

impl Seek for HeadedInput {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
        };
        self.position = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_file_are_read_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"behind it, and more").unwrap();
        let mut headed = HeadedInput::new(b"header ".to_vec(), File::open(&path).unwrap(), 9, StreamMonitor::default());
        let mut all = String::new();
        headed.read_to_string(&mut all).unwrap();
        assert_eq!(all, "header behind it");
        assert_eq!(headed.seek(SeekFrom::End(-2)).unwrap(), 14);
        let mut last = String::new();
        headed.read_to_string(&mut last).unwrap();
        assert_eq!(last, "it");
        headed.seek(SeekFrom::Start(1000)).unwrap();
        assert_eq!(headed.read(&mut [0; 4]).unwrap(), 0);
        assert!(headed.seek(SeekFrom::Current(-2000)).is_err());
    }
}
