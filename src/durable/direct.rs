//! A large file written past the page cache: no memory is taken for what nobody reads again, and where it is asked for every
//! byte is read back and compared while the next ones are written.
//!
//! ```text
//! source ─ page cache ─▶ block ─ O_DIRECT ─▶ disk (─ O_DIRECT ─▶ the same block?) ─▶ next
//! ```
//!
//! What is read back comes from the disk or its own cache; a file system that takes `O_DIRECT` and answers from memory all the
//! same (`data=journal`, encrypted files) proves less.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;

use super::block::{AlignedBlock, BLOCK_BYTES};
use super::{FileError, Result, step};
use crate::threads::{SpawnedOrInline, spawn_or_run};

/// What a disk writes is a multiple of that, and so are the places in memory and in the file (`open(2)`, `O_DIRECT`).
const ALIGNMENT: usize = 4096;
/// Blocks under way at once: the disk is busy while others are read, written or compared.
const WORKERS: usize = 4;

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOutcome {
    /// Every byte was written and, where that was asked for, read back past the page cache and compared. The file is not
    /// synced yet.
    Done,
    /// The file system cannot do that; the partial is empty.
    NotHere,
    /// It was told to stop; the partial is of no use.
    Stopped,
}

/// Writes `head` and then ranges of another file into an existing partial.
///
/// `goes_on` hears how many bytes are there, about once a block, and says whether to go on.
pub fn copy_ranges_direct(
    from: &Path,
    to: &Path,
    head: &[u8],
    ranges: &[Range<u64>],
    reads_back: bool,
    goes_on: &dyn Fn(u64) -> bool,
) -> Result<CopyOutcome> {
    let source = super::open_to_read(from)?;
    let target = match past_the_cache(to, OFlags::RDWR | OFlags::TRUNC) {
        Ok(target) => target,
        Err(error) if is_refusal(&error) => return Ok(CopyOutcome::NotHere),
        Err(error) => return Err(FileError::on("open", to)(error)),
    };
    let copy = DirectCopy { reads_back, ..DirectCopy::new(&source, &target, head, ranges) };
    let done =
        copy.allocate().and_then(|()| copy.run(goes_on)).and_then(|done| target.set_len(copy.len).map(|()| done));
    match done {
        Ok(copied) => {
            step("partial written");
            Ok(copied)
        }
        Err(error) if is_refusal(&error) => {
            target.set_len(0).map_err(FileError::on("write", to))?;
            Ok(CopyOutcome::NotHere)
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(FileError::on("copy all of", from)(error)),
        Err(error) => Err(FileError::on("write", to)(error)),
    }
}

/// Opens a file that is read, and perhaps written, past the page cache.
pub(super) fn past_the_cache(path: &Path, flags: OFlags) -> io::Result<File> {
    super::open_regular(path, flags | OFlags::DIRECT)
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::OPNOTSUPP))
}

/// A copy under way.
struct DirectCopy<'a> {
    source: &'a File,
    target: &'a File,
    head: &'a [u8],
    /// Ranges of the source with their places in the target.
    ranges: Vec<(u64, Range<u64>)>,
    len: u64,
    reads_back: bool,
    /// Where the next block begins.
    next: AtomicU64,
}

impl<'a> DirectCopy<'a> {
    fn new(source: &'a File, target: &'a File, head: &'a [u8], ranges: &[Range<u64>]) -> Self {
        let mut len = head.len() as u64;
        let mut placed = Vec::new();
        for range in ranges {
            placed.push((len, range.clone()));
            len += range.end.saturating_sub(range.start);
        }
        Self { source, target, head, ranges: placed, len, reads_back: true, next: AtomicU64::new(0) }
    }

    /// Gives the file its blocks at once: writes into them go side by side, and a full disk says so now.
    fn allocate(&self) -> io::Result<()> {
        let bytes = self.len.next_multiple_of(ALIGNMENT as u64);
        match rustix::fs::fallocate(self.target, FallocateFlags::empty(), 0, bytes.max(1)) {
            Err(Errno::OPNOTSUPP) => self.target.set_len(bytes),
            other => Ok(other?),
        }
    }

    fn run(&self, goes_on: &dyn Fn(u64) -> bool) -> io::Result<CopyOutcome> {
        std::thread::scope(|scope| {
            let (told, hears) = channel();
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| {
                    let told = told.clone();
                    spawn_or_run(scope, move || self.work(&told))
                })
                .collect();
            drop(told);
            let (mut there, mut copied) = (0, CopyOutcome::Done);
            for bytes in hears {
                there += bytes;
                if !goes_on(there) {
                    copied = CopyOutcome::Stopped;
                    self.end();
                }
            }
            workers.into_iter().try_for_each(SpawnedOrInline::join).map(|()| copied)
        })
    }

    /// Lets no worker begin another block.
    fn end(&self) {
        self.next.store(self.len, Ordering::Relaxed);
    }

    /// Copies blocks until there are none left; a fault ends the other workers, too.
    fn work(&self, told: &Sender<u64>) -> io::Result<()> {
        let (mut written, mut read) = (AlignedBlock::new()?, AlignedBlock::new()?);
        loop {
            let at = self.next.fetch_add(BLOCK_BYTES, Ordering::Relaxed);
            if at >= self.len {
                return Ok(());
            }
            self.block(at, written.as_mut(), read.as_mut()).inspect_err(|_| self.end())?;
            let _ = told.send((self.len - at).min(BLOCK_BYTES));
        }
    }

    fn block(&self, at: u64, written: &mut [u8], read: &mut [u8]) -> io::Result<()> {
        let length = usize::try_from((self.len - at).min(BLOCK_BYTES)).unwrap_or(0);
        self.fill(at, &mut written[..length])?;
        let padded = length.next_multiple_of(ALIGNMENT);
        written[length..padded].fill(0);
        self.target.write_all_at(&written[..padded], at)?;
        if self.reads_back {
            self.target.read_exact_at(&mut read[..padded], at)?;
        }
        if !self.reads_back || written[..padded] == read[..padded] {
            return Ok(());
        }
        Err(io::Error::other(format!("the disk returned different data from what was written at byte {at}")))
    }

    /// Reads what belongs at a place of the target.
    fn fill(&self, at: u64, mut into: &mut [u8]) -> io::Result<()> {
        let mut at = at;
        if let Some(rest) = usize::try_from(at).ok().and_then(|at| self.head.get(at..)) {
            let (bytes, behind) = into.split_at_mut(rest.len().min(into.len()));
            bytes.copy_from_slice(&rest[..bytes.len()]);
            at += bytes.len() as u64;
            into = behind;
        }
        while !into.is_empty() {
            let behind = self.ranges.partition_point(|(place, _)| *place <= at);
            let (place, range) = &self.ranges[..behind].last().ok_or(io::ErrorKind::UnexpectedEof)?;
            let from = range.start + (at - place);
            let wanted = usize::try_from(range.end.saturating_sub(from)).unwrap_or(usize::MAX).min(into.len());
            let ahead = from + BLOCK_BYTES * WORKERS as u64;
            let _ = rustix::fs::fadvise(self.source, ahead, NonZeroU64::new(BLOCK_BYTES), Advice::WillNeed);
            let (bytes, rest) = into.split_at_mut(wanted);
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.source.read_exact_at(bytes, from)?;
            at += wanted as u64;
            into = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::durable::image::Image;

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
    }

    #[test]
    fn head_and_ranges_come_one_behind_the_other_whatever_their_lengths() {
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        for image in [Image::mount("ext4", 64, &[]), Image::mount("xfs", 320, &[])].into_iter().flatten() {
            let (from, to) = (image.path().join("from"), image.path().join("to"));
            for (head, len, cuts) in [
                (0, 1, &[(0, 1)][..]),
                (10, 4096, &[(0, 4096)]),
                (5000, 3 * block + 17, &[(0, 1), (3, 2_000_000), (2_000_001, 6_291_473)]),
                (2 * block + 1, block, &[(5, 900_000)]),
                (3, 10, &[]),
            ] {
                let cuts: Vec<Range<u64>> = cuts.iter().map(|(start, end)| *start..*end).collect();
                let (head, content) = (bytes(head), bytes(len));
                std::fs::write(&from, &content).unwrap();
                std::fs::write(&to, "what an earlier attempt left").unwrap();
                let told = Cell::new(0);
                let goes_on = |there| {
                    told.set(there);
                    true
                };
                assert_eq!(
                    copy_ranges_direct(&from, &to, &head, &cuts, head.len() % 2 == 0, &goes_on).unwrap(),
                    CopyOutcome::Done
                );
                assert_eq!(told.get(), std::fs::metadata(&to).unwrap().len());
                let piece =
                    |r: &Range<u64>| &content[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()];
                let expected = cuts.iter().fold(head, |all, range| [&all, piece(range)].concat());
                assert!(std::fs::read(&to).unwrap() == expected, "{len} bytes");
            }
        }
    }

    #[test]
    fn a_source_that_ends_early_and_a_full_disk_are_errors() {
        let Some(image) = Image::mount("ext4", 64, &[]) else { return };
        let (from, to) = (image.path().join("from"), image.path().join("to"));
        std::fs::write(&from, bytes(100_000)).unwrap();
        std::fs::write(&to, "").unwrap();
        let early =
            copy_ranges_direct(&from, &to, b"head", std::slice::from_ref(&(0..100_001)), true, &|_| true).unwrap_err();
        assert_eq!(early.source.kind(), io::ErrorKind::UnexpectedEof);
        let full = copy_ranges_direct(&from, &to, b"head", &vec![0..100_000; 10_000], true, &|_| true).unwrap_err();
        assert_eq!(full.source.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_file_system_without_a_way_past_the_cache_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("from");
        std::fs::write(&from, bytes(10)).unwrap();
        // Nothing of that file system is on a disk.
        let to = Path::new("/proc/self/comm");
        let copied = copy_ranges_direct(&from, to, b"", std::slice::from_ref(&(0..10)), true, &|_| true).unwrap();
        assert_eq!(copied, CopyOutcome::NotHere);
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let Some(image) = Image::mount("ext4", 64, &[]) else { return };
        let (from, to) = (image.path().join("from"), image.path().join("to"));
        std::fs::write(&from, bytes(20 << 20)).unwrap();
        std::fs::write(&to, "").unwrap();
        let stop = |_| false;
        let copied = copy_ranges_direct(&from, &to, b"", std::slice::from_ref(&(0..20 << 20)), true, &stop).unwrap();
        assert_eq!(copied, CopyOutcome::Stopped);
    }
}
