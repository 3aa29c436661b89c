//! A file that is written by a thread of its own, so that reading and digesting go on while the disk is busy.
//!
//! Bytes are written at the position they were given for; seeking costs nothing and waits for nothing. An error shows
//! at the next write or, at the latest, in [`WriteDrain::wait`], which must be called before the file is used.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::stream::StreamMonitor;
use crate::durable;

/// Pieces on their way, of a megabyte at most; they bound the memory. A fragment is written in some pieces.
const IN_FLIGHT: usize = 16;

enum WriteCommand {
    Write { at: u64, bytes: Vec<u8> },
    Report(Sender<()>),
    Stop,
}

/// The writing side that FFmpeg owns.
#[derive(Debug)]
pub(super) struct WriteBehind {
    orders: SyncSender<WriteCommand>,
    spent: Receiver<Vec<u8>>,
    position: u64,
    end: u64,
    tap: StreamMonitor,
}

/// The other end, which knows when all is written.
#[derive(Debug)]
pub(super) struct WriteDrain {
    orders: SyncSender<WriteCommand>,
    thread: Option<JoinHandle<()>>,
    tap: StreamMonitor,
}

impl WriteBehind {
    /// Starts the thread. It ends with the [`WriteDrain`].
    pub(super) fn start(file: File, tap: StreamMonitor) -> io::Result<(Self, WriteDrain)> {
        let (orders, inbox) = sync_channel(IN_FLIGHT);
        let (give_back, spent) = channel();
        let thread_tap = tap.clone();
        let thread = thread::Builder::new()
            .name("write-behind".into())
            .spawn(move || serve(&file, &inbox, &give_back, &thread_tap))?;
        let drain = WriteDrain { orders: orders.clone(), thread: Some(thread), tap: tap.clone() };
        Ok((Self { orders, spent, position: 0, end: 0, tap }, drain))
    }
}

/// An attempt that is given up must not write into the next one's file, and nothing of ours may keep the file open: who
/// wants a lease on it would not get one.
impl Drop for WriteDrain {
    fn drop(&mut self) {
        // A thread that is gone already needs no word, and one that panicked has nothing left to give.
        let _ = self.orders.send(WriteCommand::Stop);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl WriteDrain {
    /// Notes what the system said about the same file elsewhere.
    pub(super) fn note(&self, error: &io::Error) {
        self.tap.note(error);
    }

    /// Waits until everything that was handed over is in the kernel's hands. Errors are in the tap.
    pub(super) fn wait(&self) {
        let (done, reported) = channel();
        if self.orders.send(WriteCommand::Report(done)).is_ok() {
            // A thread that died drops its end, which wakes this one as well.
            let _ = reported.recv();
        }
    }
}

fn serve(file: &File, inbox: &Receiver<WriteCommand>, give_back: &Sender<Vec<u8>>, tap: &StreamMonitor) {
    let mut waiting = 0..0;
    for order in inbox {
        match order {
            WriteCommand::Write { at, mut bytes } => {
                if let Err(error) = if tap.has_error() { Ok(()) } else { file.write_all_at(&bytes, at) } {
                    tap.note(&error);
                }
                waiting = waiting_after(file, waiting, at..at + bytes.len() as u64);
                bytes.clear();
                // The other half may be gone already; then nobody needs the buffer.
                let _ = give_back.send(bytes);
            }
            WriteCommand::Report(done) => drop(done.send(())),
            WriteCommand::Stop => return,
        }
    }
}

/// Bytes that are gathered before the kernel is asked to begin to store them.
const STORED_TOGETHER_BYTES: u64 = 16 << 20;

/// The range that still waits after another was written. Once it is long enough the disk begins on it, so that little is
/// left to be waited for when the file is synced; by itself the kernel would wait for a good part of the memory to fill.
fn waiting_after(file: &File, waiting: Range<u64>, written: Range<u64>) -> Range<u64> {
    let waiting = if written.start == waiting.end { waiting.start..written.end } else { written };
    if waiting.end - waiting.start < STORED_TOGETHER_BYTES {
        return waiting;
    }
    durable::begin_to_store(file, &waiting);
    waiting.end..waiting.end
}

impl Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tap.has_error() {
            return Err(io::ErrorKind::Other.into());
        }
        let mut buffer = self.spent.try_recv().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        let order = WriteCommand::Write { at: self.position, bytes: buffer };
        self.orders.send(order).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.position += bytes.len() as u64;
        self.end = self.end.max(self.position);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for WriteBehind {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_land_where_they_were_meant_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let tap = StreamMonitor::default();
        let (mut behind, drain) = WriteBehind::start(file.reopen().unwrap(), tap.clone()).unwrap();
        behind.write_all(b"0000media").unwrap();
        behind.seek(SeekFrom::Start(0)).unwrap();
        behind.write_all(b"size").unwrap();
        assert_eq!(behind.seek(SeekFrom::End(0)).unwrap(), 9);
        behind.write_all(b"index").unwrap();
        drain.wait();
        assert!(tap.take_error().is_none());
        assert_eq!(std::fs::read(file.path()).unwrap(), b"sizemediaindex");
    }

    #[test]
    fn long_stretches_begin_to_be_stored_and_a_jump_begins_another() {
        let file = tempfile::tempfile().unwrap();
        let waits = waiting_after(&file, 0..0, 0..100);
        let waits = waiting_after(&file, waits, 100..STORED_TOGETHER_BYTES - 1);
        assert_eq!(waits, 0..STORED_TOGETHER_BYTES - 1);
        assert_eq!(waiting_after(&file, waits.clone(), 8..12), 8..12, "a jump back");
        let stored = waiting_after(&file, waits, STORED_TOGETHER_BYTES - 1..STORED_TOGETHER_BYTES + 5);
        assert!(stored.is_empty() && stored.end == STORED_TOGETHER_BYTES + 5);
    }

    #[test]
    fn nothing_keeps_the_file_open_afterwards() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (mut behind, drain) = WriteBehind::start(file.reopen().unwrap(), StreamMonitor::default()).unwrap();
        behind.write_all(b"x").unwrap();
        drop((behind, drain));
        let name = file.path().to_owned();
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let ours = open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == name)).count();
        assert_eq!(ours, 1, "only the test's own");
    }

    #[test]
    fn a_full_disk_shows_at_the_latest_when_waiting() {
        let tap = StreamMonitor::default();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (mut behind, drain) = WriteBehind::start(full, tap.clone()).unwrap();
        behind.write_all(b"x").unwrap();
        drain.wait();
        assert!(behind.write_all(b"y").is_err());
        assert_eq!(tap.take_error().unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
