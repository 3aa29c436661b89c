//! One open file that is changed where it stands: blocks put in or taken out, bytes written, an end cut off.
//!
//! Everything goes through one open file description, so that an exclusive lease on it holds while the work is done.
//! It must not decide the order of the operations: that is the splice's, and each of them passes [`step`](super::step).

use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags};

use super::advice::store_and_drop;
use super::beneath::{OpenDirectory, is_descriptor};
use super::extents::{self, Extents};
use super::{FileError, FileEvent, Result, step, tell};
use crate::recording::Fingerprint;
use crate::threads::spawn_or_run;

/// A page of memory, or a part of one.
const PAGE_BYTES: u64 = 4096;
/// Pages are written back and dropped so many bytes at a time.
const DROPPED_TOGETHER_BYTES: u64 = 32 << 20;

/// A file that is open for being changed where it stands.
#[derive(Debug)]
pub struct InPlaceEditor {
    file: File,
    path: PathBuf,
}

/// One operation on such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlaceOp<'a> {
    /// Puts empty blocks in at an offset; what lies behind moves (`FALLOC_FL_INSERT_RANGE`).
    Insert {
        /// Byte offset, a multiple of the block.
        at: u64,
        /// How many bytes, a multiple of the block.
        bytes: u64,
    },
    /// Takes blocks out at an offset (`FALLOC_FL_COLLAPSE_RANGE`).
    Collapse {
        /// Byte offset, a multiple of the block.
        at: u64,
        /// How many bytes, a multiple of the block.
        bytes: u64,
    },
    /// Writes bytes at an offset.
    Write {
        /// Byte offset.
        at: u64,
        /// What is written.
        bytes: &'a [u8],
    },
    /// Cuts off everything behind a length.
    Truncate {
        /// The new length in bytes.
        len: u64,
    },
    /// Sets the modification time.
    SetModified {
        /// Nanoseconds since the Unix epoch.
        ns: i64,
    },
    /// Makes data, and what is needed to find it, durable.
    SyncData,
    /// Makes everything durable.
    Sync,
}

impl InPlaceOp<'_> {
    /// Its name at the counting seam.
    const fn name(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "range inserted",
            Self::Collapse { .. } => "range collapsed",
            Self::Write { .. } => "written in place",
            Self::Truncate { .. } => "truncated in place",
            Self::SetModified { .. } => "time set in place",
            Self::SyncData => "data synced in place",
            Self::Sync => "synced in place",
        }
    }

    const fn verb(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "insert a range into",
            Self::Collapse { .. } => "collapse a range of",
            Self::Write { .. } => "write",
            Self::Truncate { .. } => "truncate",
            Self::SetModified { .. } => "set the time of",
            Self::SyncData | Self::Sync => "sync",
        }
    }
}

impl InPlaceEditor {
    /// Opens an existing file for reading and writing, without waiting for anybody's lease and without following a link.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || {
            if is_descriptor(path) {
                return super::open_regular(path, OFlags::RDWR);
            }
            let (directory, name) = OpenDirectory::of(path)?;
            directory.open_file(name, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty())
        };
        let file = open().map_err(FileError::on("open", path))?;
        // What is read of it lies far apart; reading ahead would read most of the media. Advice only.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
        Ok(Self { file, path: path.to_owned() })
    }

    /// The file, for reading and for a lease.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its fingerprint and its number of hard links, now.
    pub fn state(&self) -> Result<(Fingerprint, u64)> {
        let metadata = self.file.metadata().map_err(FileError::on("read the metadata of", &self.path))?;
        Ok((Fingerprint::of(&metadata), metadata.nlink()))
    }

    /// The magic number of its file system and the size of its blocks in bytes.
    pub fn file_system(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::fstatfs(&self.file).map_err(|e| self.error("read the file system of", e.into()))?;
        let block_bytes = u64::try_from(stat.f_bsize).unwrap_or(4096);
        Ok((super::magic_number(stat.f_type), block_bytes.max(512)))
    }

    /// Where its bytes lie on the device; `None` if that cannot be told for good (delayed, inline, shared, encoded).
    pub fn extents(&self) -> Result<Option<Extents>> {
        extents::read(&self.file).map_err(|e| self.error("read the extents of", e))
    }

    /// Writes back what waits and drops the file's pages from memory, by one thread for each core and piece by piece, so that
    /// the disk and the processors are busy together. Advice only: nothing is durable by this, what is read meanwhile comes
    /// from the disk again, and the kernel may keep what it likes.
    pub fn drop_pages(&self) {
        let len = self.file.metadata().map_or(0, |metadata| metadata.len());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                spawn_or_run(scope, || {
                    let piece = || next.fetch_add(DROPPED_TOGETHER_BYTES, Ordering::Relaxed);
                    let pieces =
                        std::iter::repeat_with(piece).take_while(|start| *start < len && !crate::stop::is_wanted());
                    pieces.for_each(|start| store_and_drop(&self.file, &(start..start + DROPPED_TOGETHER_BYTES)));
                });
            }
        });
    }

    /// Does one operation.
    #[track_caller]
    pub fn perform(&self, operation: InPlaceOp<'_>) -> Result<()> {
        #[cfg(test)]
        tape::before(&operation).map_err(|e| self.error(operation.verb(), e))?;
        self.do_it(operation).map_err(|e| self.error(operation.verb(), e))?;
        match operation {
            // A file that has no name yet is gone after a power cut.
            _ if is_descriptor(&self.path) => {}
            InPlaceOp::SyncData | InPlaceOp::Sync => tell(FileEvent::Synced(&self.path)),
            change => tell(FileEvent::Changed(&self.path, change)),
        }
        step(operation.name());
        Ok(())
    }

    fn do_it(&self, operation: InPlaceOp<'_>) -> io::Result<()> {
        match operation {
            InPlaceOp::Insert { at, bytes } => self.allocate(FallocateFlags::INSERT_RANGE, at, bytes),
            InPlaceOp::Collapse { at, bytes } => self.allocate(FallocateFlags::COLLAPSE_RANGE, at, bytes),
            InPlaceOp::Write { at, bytes } => self.write(at, bytes),
            InPlaceOp::Truncate { len } => self.file.set_len(len),
            InPlaceOp::SetModified { ns } => self.file.set_times(FileTimes::new().set_modified(moment(ns))),
            InPlaceOp::SyncData => self.file.sync_data(),
            InPlaceOp::Sync => self.file.sync_all(),
        }
    }

    /// The rest of the first page is written by itself: the kernel gathers what is written at once in one large folio, and a
    /// sector that is written into that later, as the commit mark is, would make all of it be written again.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let in_page = (at.next_multiple_of(PAGE_BYTES) - at).min(bytes.len() as u64);
        let (first, rest) = bytes.split_at(usize::try_from(in_page).unwrap_or(0));
        self.file.write_all_at(first, at)?;
        self.file.write_all_at(rest, at + in_page)
    }

    fn allocate(&self, flags: FallocateFlags, at: u64, bytes: u64) -> io::Result<()> {
        // Not repeated when a signal interrupts it: what was done by then is for the caller to find out.
        rustix::fs::fallocate(&self.file, flags, at, bytes).map_err(io::Error::from)
    }

    fn error(&self, verb: &'static str, source: io::Error) -> FileError {
        FileError { verb, path: self.path.clone(), source }
    }
}

fn moment(ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

/// For tests: what was done, and the end of the process after so many operations.
#[cfg(test)]
pub(crate) mod tape {
    use std::cell::RefCell;
    use std::io;

    use super::InPlaceOp;

    /// An operation as it was recorded.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum RecordedOp {
        Insert(u64, u64),
        Collapse(u64, u64),
        Write(u64, Vec<u8>),
        Truncate(u64),
        SetModified(i64),
        Sync,
    }

    impl RecordedOp {
        pub(crate) fn of(operation: &InPlaceOp<'_>) -> Self {
            match *operation {
                InPlaceOp::Insert { at, bytes } => Self::Insert(at, bytes),
                InPlaceOp::Collapse { at, bytes } => Self::Collapse(at, bytes),
                InPlaceOp::Write { at, bytes } => Self::Write(at, bytes.to_vec()),
                InPlaceOp::Truncate { len } => Self::Truncate(len),
                InPlaceOp::SetModified { ns } => Self::SetModified(ns),
                InPlaceOp::SyncData | InPlaceOp::Sync => Self::Sync,
            }
        }

        /// The operation again.
        pub(crate) fn operation(&self) -> InPlaceOp<'_> {
            match self {
                Self::Insert(at, bytes) => InPlaceOp::Insert { at: *at, bytes: *bytes },
                Self::Collapse(at, bytes) => InPlaceOp::Collapse { at: *at, bytes: *bytes },
                Self::Write(at, bytes) => InPlaceOp::Write { at: *at, bytes },
                Self::Truncate(len) => InPlaceOp::Truncate { len: *len },
                Self::SetModified(ns) => InPlaceOp::SetModified { ns: *ns },
                Self::Sync => InPlaceOp::Sync,
            }
        }
    }

    #[derive(Default)]
    struct OpTape {
        done: Vec<RecordedOp>,
        ends_after: Option<usize>,
    }

    thread_local! {
        static TAPE: RefCell<OpTape> = RefCell::default();
    }

    /// Begins a new tape for this thread; after so many operations every further one fails and does nothing.
    pub(crate) fn begin(ends_after: Option<usize>) {
        TAPE.with_borrow_mut(|tape| *tape = OpTape { done: Vec::new(), ends_after });
    }

    /// Ends the tape and returns what was done.
    pub(crate) fn end() -> Vec<RecordedOp> {
        TAPE.with_borrow_mut(std::mem::take).done
    }

    pub(super) fn before(operation: &InPlaceOp<'_>) -> io::Result<()> {
        TAPE.with_borrow_mut(|tape| {
            if tape.ends_after.is_some_and(|n| tape.done.len() >= n) {
                return Err(io::Error::other("the process has ended"));
            }
            tape.done.push(RecordedOp::of(operation));
            Ok(())
        })
    }
}
