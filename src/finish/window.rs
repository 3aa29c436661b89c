//! A file that is looked at here and there, a few bytes at a time, mostly forwards: headers of boxes and fragments.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::durable::ask_for;

/// Bytes that are read at once; most headers of fragments are shorter.
const WINDOW_BYTES: usize = 4 << 10;

/// So much is asked of the disk at a time, and so much of it is ahead of the reader at least.
const AHEAD_BYTES: u64 = 8 << 20;

/// Reads a file through a window that stays where it is until something outside of it is wanted. Moving asks nothing of
/// the kernel, and two looks at neighbouring bytes are one.
#[derive(Debug)]
pub(super) struct FileWindow<'a> {
    file: &'a File,
    /// Where in the file its first byte lies.
    begin: u64,
    len: u64,
    at: u64,
    /// What the window shows, and from where.
    from: u64,
    shown: Vec<u8>,
    /// Up to where the disk was asked for what comes; none where it is not asked.
    asked: Option<u64>,
}

impl<'a> FileWindow<'a> {
    /// Over a file of `len` bytes.
    pub(super) const fn new(file: &'a File, len: u64) -> Self {
        Self { file, begin: 0, len, at: 0, from: 0, shown: Vec::new(), asked: None }
    }

    /// Over the rest of a file from `begin` on, of `len` bytes, which count from there.
    pub(super) const fn behind(file: &'a File, begin: u64, len: u64) -> Self {
        let mut window = Self::new(file, len);
        window.begin = begin;
        window
    }

    /// For a file that is looked at from front to back: the disk is asked for all of it in time. The kernel does not see a
    /// run in small reads with gaps between them.
    pub(super) const fn asking_ahead(mut self) -> Self {
        self.asked = Some(0);
        self
    }

    fn ask_ahead(&mut self) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| self.at + AHEAD_BYTES > **asked && **asked < self.len) {
            let from = self.at.max(*asked);
            ask_for(self.file, &[(self.begin + from, AHEAD_BYTES)]);
            *asked = from + AHEAD_BYTES;
        }
    }

    /// What of the window lies at the present position and behind it.
    fn rest(&self) -> &[u8] {
        let skipped = self.at.checked_sub(self.from).and_then(|by| usize::try_from(by).ok());
        skipped.and_then(|by| self.shown.get(by..)).unwrap_or_default()
    }

    fn show(&mut self) -> io::Result<()> {
        self.ask_ahead();
        self.shown.resize(WINDOW_BYTES, 0);
        let read = self.file.read_at(&mut self.shown, self.begin + self.at);
        self.shown.truncate(*read.as_ref().unwrap_or(&0));
        self.from = self.at;
        read.map(drop)
    }
}

impl Read for FileWindow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest().is_empty() {
            if into.len() >= WINDOW_BYTES {
                self.ask_ahead();
                let read = self.file.read_at(into, self.begin + self.at)?;
                self.at += read as u64;
                return Ok(read);
            }
            self.show()?;
        }
        let there = self.rest();
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for FileWindow<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = moved(self.at, self.len, to)?;
        Ok(self.at)
    }
}

/// Where a reader of `len` bytes that stands at `at` is to go; a place before the first byte is an error.
pub(crate) fn moved(at: u64, len: u64, to: SeekFrom) -> io::Result<u64> {
    let at = match to {
        SeekFrom::Start(at) => Some(at),
        SeekFrom::End(distance) => len.checked_add_signed(distance),
        SeekFrom::Current(distance) => at.checked_add_signed(distance),
    };
    at.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    #[test]
    fn it_reads_what_a_file_reads_wherever_it_is_asked() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let len = bytes.len() as u64;
        let (mut ours, mut theirs) = (FileWindow::new(&file, len).asking_ahead(), Cursor::new(&bytes));
        let mut at = 1_u64;
        for length in [1, 3, 8, 100, 4095, 4096, 4097, 9000, 1, 20_000, 5, 2].repeat(40) {
            at = at * 48_271 % 22_000;
            let to = if at.is_multiple_of(3) {
                SeekFrom::Start(at)
            } else {
                SeekFrom::End(-i64::try_from(at % 19_000).unwrap())
            };
            assert_eq!(ours.seek(to).unwrap(), theirs.seek(to).unwrap());
            let (mut a, mut b) = (Vec::new(), Vec::new());
            ours.by_ref().take(length).read_to_end(&mut a).unwrap();
            theirs.by_ref().take(length).read_to_end(&mut b).unwrap();
            assert_eq!(a, b, "{length} bytes at {at}");
            let mut forward = [0; 4];
            let whole = (ours.read_exact(&mut forward).is_ok(), theirs.read_exact(&mut [0; 4]).is_ok());
            assert_eq!(whole.0, whole.1);
            assert_eq!(ours.seek(SeekFrom::Start(0)).unwrap(), 0);
        }
        assert!(ours.seek(SeekFrom::Current(-1)).is_err());
    }
}
