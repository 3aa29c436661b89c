//! A file that is read ahead by a thread of its own once it is read from front to back, so that the kernel copies the
//! next bytes while the last ones are demuxed and digested.
//!
//! Reads here and there are answered directly; the thread starts only after a long run. Errors show where their bytes
//! would have been, never earlier, and are noted in the [`StreamMonitor`].

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::stream::StreamMonitor;

const BLOCK_BYTES: usize = 512 << 10;
/// Blocks that are asked for beyond the current one; bounds the memory.
const BLOCKS_AHEAD: usize = 6;
/// Bytes read in one run before the thread is started: small files and looks at a header never start one.
const RUN_BYTES: usize = 8 << 20;

/// Bytes of the file from an offset on; fewer than were asked for at the end of the file.
struct ReadBlock {
    at: u64,
    bytes: Vec<u8>,
    error: Option<io::Error>,
}

impl ReadBlock {
    fn covers(&self, position: u64) -> bool {
        position >= self.at && position - self.at < self.bytes.len() as u64
    }
}

/// The reading side that FFmpeg or a reader of ours owns.
pub(super) struct ReadAheadInput {
    file: Arc<File>,
    /// Where what is read begins in the file, and where it ends.
    begin: u64,
    end: u64,
    position: u64,
    /// Bytes read one after the other, and where the last of them was.
    run_bytes: u64,
    run_end: u64,
    current: Option<ReadBlock>,
    worker: Option<ReadAheadWorker>,
    tap: StreamMonitor,
}

/// The thread that reads ahead, and what it was asked for.
struct ReadAheadWorker {
    /// None once the thread is told to end.
    orders: Option<SyncSender<(u64, Vec<u8>)>>,
    blocks: Receiver<ReadBlock>,
    thread: Option<JoinHandle<()>>,
    asked: VecDeque<u64>,
    spare: Vec<Vec<u8>>,
}

impl ReadAheadInput {
    /// Reads a part of a file, whose bytes count from its beginning.
    pub(super) fn new(file: File, part: Range<u64>, tap: StreamMonitor) -> Self {
        let Range { start: begin, end } = part;
        let (file, run_end) = (Arc::new(file), begin);
        Self { file, begin, end, position: begin, run_bytes: 0, run_end, current: None, worker: None, tap }
    }

    fn has_now(&self) -> bool {
        self.current.as_ref().is_some_and(|block| block.covers(self.position))
    }

    /// The block at the present position, if the thread has it or is about to.
    fn block(&mut self) -> Option<&mut ReadBlock> {
        if !self.has_now() {
            let spent = self.current.take();
            self.current = self.worker.as_mut()?.take(self.position, spent);
        }
        self.current.as_mut()
    }

    fn read_ahead(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        if self.run_bytes < RUN_BYTES as u64 || !self.has_worker() {
            return None;
        }
        let position = self.position;
        let block = self.block()?;
        if let Some(error) = block.error.take() {
            self.current = None;
            return Some(Err(error));
        }
        let from = usize::try_from(position.checked_sub(block.at)?).ok()?;
        let there = block.bytes.get(from..)?;
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        Some(Ok(count))
    }

    fn has_worker(&mut self) -> bool {
        if self.worker.is_none() {
            self.worker = ReadAheadWorker::start(Arc::clone(&self.file)).ok();
        }
        self.worker.is_some()
    }

    fn moved(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        match &outcome {
            Ok(count) => {
                self.position += *count as u64;
                self.run_bytes += *count as u64;
                self.run_end = self.position;
                self.tap.reach(self.position);
            }
            Err(error) => self.tap.note(error),
        }
        outcome
    }
}

impl ReadAheadWorker {
    fn start(file: Arc<File>) -> io::Result<Self> {
        let (orders, inbox) = sync_channel::<(u64, Vec<u8>)>(BLOCKS_AHEAD);
        let (outbox, blocks) = sync_channel(BLOCKS_AHEAD);
        let thread = thread::Builder::new().name("read-ahead".into()).spawn(move || {
            for (at, buffer) in inbox {
                if outbox.send(fill(&file, at, buffer)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders: Some(orders), blocks, thread: Some(thread), asked: VecDeque::new(), spare: Vec::new() })
    }

    /// The block that begins at `position`; those that were asked for and begin elsewhere are dropped.
    fn take(&mut self, position: u64, spent: Option<ReadBlock>) -> Option<ReadBlock> {
        self.spare.extend(spent.map(|block| block.bytes));
        while self.asked.front().is_some_and(|at| *at != position) {
            self.asked.pop_front();
            self.spare.push(self.blocks.recv().ok()?.bytes);
        }
        let mut next = self.asked.back().map_or(position, |last| last + BLOCK_BYTES as u64);
        while self.asked.len() < BLOCKS_AHEAD {
            self.orders.as_ref()?.send((next, self.spare.pop().unwrap_or_default())).ok()?;
            self.asked.push_back(next);
            next += BLOCK_BYTES as u64;
        }
        self.asked.pop_front();
        self.blocks.recv().ok()
    }
}

/// Waits for the thread: nothing of ours may keep the file open any longer.
impl Drop for ReadAheadWorker {
    fn drop(&mut self) {
        self.orders = None;
        while self.blocks.recv().is_ok() {}
        // A thread that panicked has nothing left to give.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Reads a whole block or up to the end of the file.
fn fill(file: &File, at: u64, mut bytes: Vec<u8>) -> ReadBlock {
    bytes.resize(BLOCK_BYTES, 0);
    let mut have = 0;
    let mut error = None;
    while have < BLOCK_BYTES {
        match file.read_at(&mut bytes[have..], at + have as u64) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                error = Some(e);
                break;
            }
        }
    }
    bytes.truncate(have);
    // What was read before the error is handed out first; the next read meets the error itself.
    ReadBlock { at, error: error.filter(|_| have == 0), bytes }
}

impl Read for ReadAheadInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.position != self.run_end && !self.has_now() {
            self.run_bytes = 0;
        }
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let into = &mut into[..wanted];
        let outcome = match self.read_ahead(into) {
            Some(outcome) => outcome,
            None => self.file.read_at(into, self.position),
        };
        self.moved(outcome)
    }
}

impl Seek for ReadAheadInput {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => self.begin.checked_add(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        self.position = position.filter(|at| *at >= self.begin).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position - self.begin)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position - self.begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = RUN_BYTES + 5 * BLOCK_BYTES + 777;

    fn bytes() -> Vec<u8> {
        (0..u32::try_from(LENGTH).unwrap()).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
    }

    fn open(bytes: &[u8]) -> (ReadAheadInput, StreamMonitor, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let tap = StreamMonitor::default();
        (ReadAheadInput::new(file.reopen().unwrap(), 0..LENGTH as u64, tap.clone()), tap, file)
    }

    #[test]
    fn a_file_read_through_is_the_file() {
        let bytes = bytes();
        let (mut ahead, tap, _file) = open(&bytes);
        let mut read = Vec::new();
        ahead.read_to_end(&mut read).unwrap();
        assert!(read == bytes, "the same bytes");
        assert!(ahead.worker.is_some(), "read ahead");
        assert_eq!(tap.furthest(), bytes.len() as u64);
        assert_eq!(ahead.read(&mut [0; 10]).unwrap(), 0, "the end stays the end");
    }

    #[test]
    fn seeking_while_reading_ahead_gives_the_right_bytes() {
        let bytes = bytes();
        let (mut ahead, _tap, _file) = open(&bytes);
        io::copy(&mut ahead.by_ref().take(RUN_BYTES as u64 + 100_000), &mut io::sink()).unwrap();
        let mut piece = vec![0; 3 * BLOCK_BYTES];
        for at in [RUN_BYTES + 90_000, 5, RUN_BYTES + BLOCK_BYTES, LENGTH - piece.len(), 0] {
            ahead.seek(SeekFrom::Start(at as u64)).unwrap();
            ahead.read_exact(&mut piece).unwrap();
            assert!(piece == bytes[at..at + piece.len()], "at {at}");
        }
        assert_eq!(ahead.seek(SeekFrom::End(-1)).unwrap(), LENGTH as u64 - 1);
        assert_eq!(ahead.read(&mut piece).unwrap(), 1);
    }

    #[test]
    fn a_part_of_a_file_counts_from_its_beginning() {
        let bytes = bytes();
        let (_, tap, file) = open(&bytes);
        let part = 1000..LENGTH as u64 - 500;
        let expected = &bytes[1000..LENGTH - 500];
        let mut ahead = ReadAheadInput::new(file.reopen().unwrap(), part, tap.clone());
        let mut read = Vec::new();
        ahead.read_to_end(&mut read).unwrap();
        assert!(read == expected, "the same bytes");
        assert_eq!((ahead.stream_position().unwrap(), tap.furthest()), (expected.len() as u64, LENGTH as u64 - 500));
        assert_eq!(ahead.seek(SeekFrom::Start(7)).unwrap(), 7);
        let mut piece = [0; 9];
        ahead.read_exact(&mut piece).unwrap();
        assert_eq!(piece, expected[7..16]);
        assert_eq!(ahead.seek(SeekFrom::End(-1)).unwrap(), expected.len() as u64 - 1);
        assert!(ahead.seek(SeekFrom::Current(-i64::try_from(LENGTH).unwrap())).is_err());
    }

    #[test]
    fn a_short_file_starts_no_thread() {
        let (mut ahead, _tap, _file) = open(&bytes()[..100_000]);
        assert_eq!(io::copy(&mut ahead, &mut io::sink()).unwrap(), 100_000);
        assert!(ahead.worker.is_none());
    }

    #[test]
    fn an_error_keeps_its_kind_and_shows_at_its_place() {
        let tap = StreamMonitor::default();
        let directory = tempfile::tempdir().unwrap();
        let mut ahead = ReadAheadInput::new(File::open(directory.path()).unwrap(), 0..4096, tap.clone());
        ahead.run_bytes = RUN_BYTES as u64;
        assert_eq!(ahead.read(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(tap.take_error().unwrap().kind(), io::ErrorKind::IsADirectory);
        assert!(tap.take_error().is_none());
    }
}
