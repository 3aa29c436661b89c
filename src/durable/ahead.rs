//! A file read ahead of several threads past the page cache: a long recording that is looked through once takes no memory
//! from others, and the processor neither finds pages for it nor copies into them.
//!
//! ```text
//! disk ─ O_DIRECT ─▶ ring of blocks ◀─ looked into by every reader; what is not in it is read through the page cache
//! ```
//!
//! Every reader says which stretch it looks through. Workers keep the ring full from the rearmost stretch to some way ahead of the
//! foremost; how far these are from one another is up to the readers. Nobody waits for a block that is not being read already,
//! so that looks at odd places only cost time. Assumes that the file does not change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Advice, OFlags};
use rustix::io::ReadWriteFlags;

use super::block::{AlignedBlock, BLOCK_BYTES};
use super::direct::past_the_cache;

/// Blocks behind the rearmost reader that stay: what it goes on with may have begun there.
const BLOCKS_BEHIND: u64 = 1;
/// Blocks from the rearmost reader on that are there or on their way: the more, the less readers and disk wait for one another.
const BLOCKS: u64 = 16;
/// So many also where the readers are far from one another: from the foremost on.
const BLOCKS_AHEAD: u64 = 4;
/// A look further ahead than so many blocks does not move the ring of a reader that says nothing.
const BLOCKS_OF_A_STEP: u64 = 7;
/// Blocks under way at once.
const WORKERS: usize = 4;
/// Places that are looked at to tell whether a file is in memory.
const PLACES: u64 = 32;

/// A file with its ring.
#[derive(Debug)]
pub struct ReadAhead {
    file: File,
    len: u64,
    ring: Mutex<Ring>,
    changed: Condvar,
    _permit: RingPermit,
}

/// Whether there is a ring.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to have a ring.
#[derive(Debug)]
struct RingPermit(());

impl RingPermit {
    fn take() -> Option<Self> {
        (!IS_TAKEN.swap(true, Ordering::Acquire)).then_some(Self(()))
    }
}

impl Drop for RingPermit {
    fn drop(&mut self) {
        IS_TAKEN.store(false, Ordering::Release);
    }
}

#[derive(Debug, Default)]
struct Ring {
    blocks: BTreeMap<u64, Arc<RingBlock>>,
    under_way: BTreeSet<u64>,
    spare: Vec<AlignedBlock>,
    /// The block that is read next.
    next: u64,
    /// The blocks that each reader looks through, once it has begun.
    stretches: Vec<Option<Range<u64>>>,
    /// Where who says nothing is.
    lone: u64,
    is_over: bool,
}

#[derive(Debug)]
struct RingBlock {
    memory: AlignedBlock,
    len: usize,
}

impl Ring {
    /// The blocks from the rearmost reader to the foremost; where none has said anything, that of who reads.
    fn looked_through(&self) -> Range<u64> {
        let all = self.stretches.iter().flatten().cloned();
        all.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(self.lone..self.lone + 1)
    }

    /// The first block that is not to be read yet.
    fn filled_to(&self) -> u64 {
        let looked_through = self.looked_through();
        (looked_through.start + BLOCKS).max(looked_through.end + BLOCKS_AHEAD)
    }

    /// Whether a block is neither there nor on its way.
    fn is_wanted(&self, number: u64) -> bool {
        !self.blocks.contains_key(&number) && !self.under_way.contains(&number)
    }

    /// Notes that a block is being read now; the memory for it, if there is any left.
    fn begin(&mut self, number: u64) -> Option<AlignedBlock> {
        let memory = self.spare.pop().or_else(|| AlignedBlock::new().ok())?;
        self.under_way.insert(number);
        Some(memory)
    }

    /// Lets go what lies behind all that is looked at.
    fn let_go(&mut self) {
        let first = self.looked_through().start.saturating_sub(BLOCKS_BEHIND);
        let kept = self.blocks.split_off(&first);
        for block in std::mem::replace(&mut self.blocks, kept).into_values() {
            self.spare.extend(Arc::into_inner(block).map(|block| block.memory));
        }
        self.next = self.next.max(first);
    }
}

impl ReadAhead {
    /// For a file that lies on a disk and not in memory, and so many readers; `None` where reading past the page cache is not
    /// possible, costs more than it spares, or is done for another file already: one ring is memory enough.
    pub fn open(path: &Path, readers: usize) -> Option<Self> {
        let plain = super::open_to_read(path).ok()?;
        let len = plain.metadata().ok()?.len();
        if is_in_memory(&plain, len) {
            return None;
        }
        Self::past_the_cache(path, len, readers, RingPermit::take()?).ok()
    }

    fn past_the_cache(path: &Path, len: u64, readers: usize, permit: RingPermit) -> io::Result<Self> {
        let file = past_the_cache(path, OFlags::RDONLY)?;
        let ring = Mutex::new(Ring { stretches: vec![None; readers], ..Ring::default() });
        let ahead = Self { file, len, ring, changed: Condvar::new(), _permit: permit };
        // Some file systems open such a file and do not read it.
        ahead.read_block(0, AlignedBlock::new()?.as_mut())?;
        Ok(ahead)
    }

    /// Keeps the ring full while `work` goes on.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            (0..WORKERS).for_each(|_| self.begin(scope));
            // Also where the work ends in a panic: the scope waits for its threads.
            let _end = EndOnDrop(self);
            work()
        })
    }

    /// Without a worker each reader reads the blocks that it wants.
    fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let builder = std::thread::Builder::new().name("read-ahead".into());
        if let Err(error) = builder.spawn_scoped(scope, || self.work()) {
            tracing::debug!(error = crate::fault::chain(&error), "cannot start a thread to read ahead");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((number, memory)) = self.take_on() {
            self.fetch(number, memory);
        }
    }

    /// Reads a block that was taken on, into the ring.
    fn fetch(&self, number: u64, mut memory: AlignedBlock) -> Option<Arc<RingBlock>> {
        let read = self.read_block(number, memory.as_mut());
        let block = read.ok().map(|len| Arc::new(RingBlock { memory, len }));
        let mut ring = self.lock();
        ring.under_way.remove(&number);
        match &block {
            Some(block) => {
                ring.blocks.insert(number, Arc::clone(block));
            }
            // Whoever wants it reads it through the page cache, and says what is wrong.
            None => ring.is_over = true,
        }
        drop(ring);
        self.changed.notify_all();
        block
    }

    /// The next block to be read, once there is room for it.
    fn take_on(&self) -> Option<(u64, AlignedBlock)> {
        let mut ring = self.lock();
        loop {
            ring.let_go();
            if ring.is_over {
                return None;
            }
            let number = ring.next;
            if number < ring.filled_to() && number * BLOCK_BYTES < self.len {
                ring.next += 1;
                if ring.is_wanted(number) {
                    let memory = ring.begin(number);
                    ring.is_over = memory.is_none();
                    return memory.map(|memory| (number, memory));
                }
                continue;
            }
            ring = self.changed.wait(ring).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read_block(&self, number: u64, memory: &mut [u8]) -> io::Result<usize> {
        let expected = usize::try_from((self.len - number * BLOCK_BYTES).min(BLOCK_BYTES)).unwrap_or(0);
        let mut read = 0;
        while read < expected {
            match self.file.read_at(&mut memory[read..], number * BLOCK_BYTES + read as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(expected)
    }

    /// The reader of that number begins to look through a range of bytes.
    pub fn begins(&self, reader: usize, range: &Range<u64>) {
        let blocks = range.start / BLOCK_BYTES..range.end.min(self.len).div_ceil(BLOCK_BYTES);
        let mut ring = self.lock();
        // Who read before may have led the ring far ahead.
        ring.next = ring.next.min(blocks.start);
        if let Some(place) = ring.stretches.get_mut(reader) {
            *place = Some(blocks);
        }
        ring.let_go();
        drop(ring);
        self.changed.notify_all();
    }

    /// The block, if it is there or on its way, or wanted soon.
    fn block(&self, number: u64) -> Option<Arc<RingBlock>> {
        let mut ring = self.lock();
        // The ring goes with who says nothing, but not to where that takes one look.
        if (ring.lone + 1..ring.lone + BLOCKS_OF_A_STEP).contains(&number) && ring.stretches.iter().all(Option::is_none)
        {
            ring.lone = number;
            self.changed.notify_all();
        }
        loop {
            if let Some(block) = ring.blocks.get(&number) {
                return Some(Arc::clone(block));
            }
            if ring.is_wanted(number) {
                let looked_through = ring.looked_through();
                let end = ring.filled_to().max(looked_through.end + 2 * BLOCKS_AHEAD);
                let is_needed = (looked_through.start..end).contains(&number);
                if ring.is_over || !is_needed || number * BLOCK_BYTES >= self.len {
                    return None;
                }
                // The workers are behind: it is read here, and not once more when its turn comes.
                let memory = ring.begin(number)?;
                drop(ring);
                return self.fetch(number, memory);
            }
            ring = self.changed.wait(ring).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

struct EndOnDrop<'a>(&'a ReadAhead);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A reader that looks into the ring first.
#[derive(Debug)]
pub struct ReadAheadReader<'a, R> {
    /// Where there is one.
    ahead: Option<&'a ReadAhead>,
    /// Reads what is not in it, and stands where this one does.
    plain: R,
    at: u64,
}

impl<'a, R: Read + Seek> ReadAheadReader<'a, R> {
    /// At the first byte of what `plain` reads.
    pub const fn new(ahead: Option<&'a ReadAhead>, plain: R) -> Self {
        Self { ahead, plain, at: 0 }
    }
}

impl<R: Read + Seek> Read for ReadAheadReader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let found = self.ahead.and_then(|ahead| ahead.block(self.at / BLOCK_BYTES));
        let read = if let Some(block) = found {
            let from = usize::try_from(self.at % BLOCK_BYTES).unwrap_or(0);
            let there = block.memory.as_ref().get(from..block.len).unwrap_or_default();
            let count = there.len().min(into.len());
            into[..count].copy_from_slice(&there[..count]);
            self.plain.seek(SeekFrom::Start(self.at + count as u64))?;
            count
        } else {
            self.plain.read(into)?
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for ReadAheadReader<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.plain.seek(to)?;
        Ok(self.at)
    }
}

/// Whether a good part of a file is in memory: then the page cache is faster than the disk. The kernel may fetch the page of
/// each place that is asked about, so it is asked about others every time.
fn is_in_memory(file: &File, len: u64) -> bool {
    let share = len / PLACES;
    let chance = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    let is_there = |place: &u64| {
        let mut byte = [0];
        let mut into = [io::IoSliceMut::new(&mut byte)];
        let at = share * place + chance % share.max(1);
        rustix::io::preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT).is_ok_and(|read| read == 1)
    };
    let _ = rustix::fs::fadvise(file, 0, None, Advice::Random);
    (0..PLACES).filter(is_there).count() as u64 >= PLACES / 4
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::durable::image::Image;

    /// How long the recording of these tests is.
    const LENGTH: u64 = 96;

    /// A file of some blocks and a bit, on a file system that reads past the page cache.
    fn recording() -> Option<(Image, std::path::PathBuf, Vec<u8>)> {
        let image = Image::mount("ext4", 300, &[])?;
        let len = usize::try_from(LENGTH * BLOCK_BYTES + 777).unwrap();
        let period: Vec<u8> = (0..253_u32).map(|n| (n * 31 % 253).to_le_bytes()[0]).collect();
        let mut bytes = period.repeat(len / period.len() + 1);
        bytes.truncate(len);
        let path = image.path().join("x.mp4.tmp");
        std::fs::write(&path, &bytes).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        Some((image, path, bytes))
    }

    fn opened(path: &Path, bytes: &[u8], readers: usize) -> ReadAhead {
        ReadAhead::past_the_cache(path, bytes.len() as u64, readers, RingPermit(())).unwrap()
    }

    fn look(reader: &mut impl ReadSeek, at: u64, length: usize) -> Vec<u8> {
        let mut found = Vec::new();
        reader.seek(SeekFrom::Start(at)).unwrap();
        reader.take(length as u64).read_to_end(&mut found).unwrap();
        found
    }

    trait ReadSeek: Read + Seek {}
    impl<R: Read + Seek> ReadSeek for R {}

    fn part(bytes: &[u8], at: u64, length: usize) -> &[u8] {
        let at = usize::try_from(at).unwrap().min(bytes.len());
        &bytes[at..(at + length).min(bytes.len())]
    }

    #[test]
    fn every_reader_sees_the_file_and_the_ring_stays_small() {
        let Some((_image, path, bytes)) = recording() else { return };
        let ahead = opened(&path, &bytes, 3);
        let reader = || ReadAheadReader::new(Some(&ahead), File::open(&path).unwrap());
        // Two scouts and who follows them, never further apart than two chunks of four blocks.
        let together = Barrier::new(3);
        let look_through = |number: usize, mut reader: ReadAheadReader<'_, File>| {
            for round in 0..LENGTH / 8 {
                let from = (round * 8 + if number == 1 { 4 } else { 0 }) * BLOCK_BYTES;
                ahead.begins(number, &(from..from + 4 * BLOCK_BYTES));
                for step in 0..64 {
                    let at = from + step * (BLOCK_BYTES / 16);
                    assert_eq!(look(&mut reader, at, 130 << 10), part(&bytes, at, 130 << 10), "{at}");
                    let far = (at * 7 + step) % (bytes.len() as u64 + 5);
                    assert_eq!(look(&mut reader, far, 100), part(&bytes, far, 100), "{far}");
                }
                together.wait();
                let ring = ahead.lock();
                let held = ring.blocks.len() + ring.under_way.len() + ring.spare.len();
                // Behind, the stretches, ahead, what a reader that is ahead of the workers takes; and what is let go just now.
                assert!(held <= 28, "{held} in round {round}");
                drop(ring);
                together.wait();
            }
        };
        ahead.during(|| {
            std::thread::scope(|scope| {
                for number in 0..3 {
                    let (reader, look_through) = (reader(), &look_through);
                    scope.spawn(move || look_through(number, reader));
                }
            });
        });
        let mut reader = reader();
        assert_eq!(reader.seek(SeekFrom::End(-3)).unwrap(), bytes.len() as u64 - 3);
        assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
        assert!(ahead.lock().under_way.is_empty());
    }

    #[test]
    fn without_workers_the_ring_stays_small_too() {
        let Some((_image, path, bytes)) = recording() else { return };
        let ahead = opened(&path, &bytes, 1);
        let mut reader = ReadAheadReader::new(Some(&ahead), File::open(&path).unwrap());
        for at in (0..LENGTH * BLOCK_BYTES).step_by(1 << 21) {
            ahead.begins(0, &(at..at + BLOCK_BYTES));
            assert_eq!(look(&mut reader, at, 100), part(&bytes, at, 100));
            assert!(ahead.lock().blocks.len() <= 3);
        }
    }

    #[test]
    fn without_stretches_the_ring_goes_with_who_reads() {
        let Some((_image, path, bytes)) = recording() else { return };
        let ahead = opened(&path, &bytes, 2);
        // What it reads for itself is told apart: it is no more than the first bytes.
        let mut walk =
            ReadAheadReader::new(Some(&ahead), io::Cursor::new(&bytes[..usize::try_from(BLOCK_BYTES).unwrap()]));
        ahead.during(|| {
            let last = (LENGTH - 1) * BLOCK_BYTES;
            assert_eq!(look(&mut walk, last, 100), [0; 0], "a look far ahead moves nothing");
            let mut at = 0;
            while at < last {
                let mut ring = ahead.lock();
                while ring.is_wanted(at / BLOCK_BYTES) && !ring.is_over {
                    ring = ahead.changed.wait(ring).unwrap();
                }
                drop(ring);
                assert_eq!(look(&mut walk, at, 64 << 10), part(&bytes, at, 64 << 10), "{at}");
                at += 64 << 10;
            }
        });
    }

    #[test]
    fn a_file_that_ends_early_is_read_as_far_as_it_goes_and_a_panic_ends_the_workers() {
        let Some((_image, path, bytes)) = recording() else { return };
        let ahead = opened(&path, &bytes, 1);
        File::options().write(true).open(&path).unwrap().set_len(3 * BLOCK_BYTES).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ahead.during(|| {
                let mut reader = ReadAheadReader::new(Some(&ahead), File::open(&path).unwrap());
                ahead.begins(0, &(0..8 * BLOCK_BYTES));
                let at = 3 * BLOCK_BYTES - 10;
                assert_eq!(look(&mut reader, at, 100), part(&bytes, at, 10));
                assert_eq!(look(&mut reader, 5 * BLOCK_BYTES, 100), [0; 0]);
                panic!("what the walk met");
            });
        }));
        assert!(panicked.is_err() && ahead.lock().is_over);
    }

    #[test]
    fn what_is_in_memory_is_left_to_the_page_cache() {
        let Some((_image, path, _)) = recording() else { return };
        assert!(ReadAhead::open(&path, 2).is_none());
        let file = File::open(&path).unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let first = ReadAhead::open(&path, 2);
        assert!(first.is_some() && ReadAhead::open(&path, 2).is_none(), "one at a time");
        drop(first);
        assert!(ReadAhead::open(&path, 2).is_some(), "asking brings little into memory");
    }
}
