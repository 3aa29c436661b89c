//! A file read as if some of its bytes were others.

use std::io::{self, Read, Seek, SeekFrom};

/// Four bytes that a file should hold, and where.
pub type Patch = (u64, [u8; 4]);

/// A reader over another one.
#[derive(Debug)]
pub struct PatchedReader<'a, R> {
    reader: &'a mut R,
    patches: &'a [Patch],
    at: u64,
}

impl<'a, R: Read + Seek> PatchedReader<'a, R> {
    /// Reads `reader` with the bytes of `patches` in place of its own; these lie in ascending order.
    pub const fn new(reader: &'a mut R, patches: &'a [Patch]) -> Self {
        Self { reader, patches, at: 0 }
    }
}

impl<R: Read + Seek> Read for PatchedReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        let end = self.at + length as u64;
        let first = self.patches.partition_point(|(at, _)| at + 4 <= self.at);
        for (at, bytes) in self.patches[first..].iter().take_while(|(at, _)| *at < end) {
            for (place, byte) in (*at..).zip(bytes) {
                let index = place.checked_sub(self.at).and_then(|index| usize::try_from(index).ok());
                if let Some(slot) = index.and_then(|index| buffer[..length].get_mut(index)) {
                    *slot = *byte;
                }
            }
        }
        self.at = end;
        Ok(length)
    }
}

impl<R: Read + Seek> Seek for PatchedReader<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.reader.seek(to)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patched_bytes_are_seen_from_every_side() {
        let mut reader = io::Cursor::new([0_u8; 20]);
        let patches = [(4, [1, 2, 3, 4]), (14, [5, 6, 7, 8])];
        let mut read = PatchedReader::new(&mut reader, &patches);
        let mut all = Vec::new();
        for chunk in [5, 1, 10, 4] {
            let mut bytes = vec![9; chunk];
            read.read_exact(&mut bytes).unwrap();
            all.extend(bytes);
        }
        assert_eq!(all, [0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0]);
        read.seek(SeekFrom::Start(6)).unwrap();
        let mut two = [0; 2];
        read.read_exact(&mut two).unwrap();
        assert_eq!(two, [3, 4]);
    }
}
