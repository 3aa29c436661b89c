//! A count of the flushes beside the database: by it a database that opens as an earlier state is known to be one.
//!
//! The number of a flush goes into the database with what it makes durable, and into a small file of its own afterwards. So
//! the file never runs ahead of what is durable; a database whose number is smaller than the file's has lost flushes.
//! The file is written in place after every flush and synced at most once a second: a power cut may set it back, and then
//! the loss of what was flushed since is not seen.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::CatalogError;
use super::state_dir::{on, write_whole};

/// Its name in the state directory.
const FILE: &str = "catalog.flushes";
const NUMBER_BYTES: usize = 8;
const SUM_BYTES: usize = 8;
/// How far a power cut sets the count back at most, as far as this program can see to it.
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// What the file said when the database was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordedFlushes {
    /// There was none, as in a state directory of an older version.
    Nothing,
    /// So many flushes are durable at least.
    Flushes(u64),
    /// It is damaged, and what is beside it may be, too.
    Unreadable,
}

impl RecordedFlushes {
    /// Whether a database with this count has lost flushes, or may have.
    pub(super) const fn is_ahead_of(self, in_database: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Flushes(durable) => in_database < durable,
            Self::Unreadable => true,
        }
    }
}

/// The count.
#[derive(Debug)]
pub(super) struct FlushCounter {
    file: File,
    last: AtomicU64,
    synced: Mutex<Instant>,
}

impl FlushCounter {
    /// What the count of a state directory is.
    pub(super) fn read(state_dir: &Path) -> Result<RecordedFlushes, CatalogError> {
        let path = state_dir.join(FILE);
        match std::fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(RecordedFlushes::Nothing),
            Err(e) => Err(on("read", &path)(e)),
            Ok(bytes) => Ok(number_in(&bytes).map_or(RecordedFlushes::Unreadable, RecordedFlushes::Flushes)),
        }
    }

    /// Goes on from the count of the database or of the file, whichever is greater.
    pub(super) fn open(state_dir: &Path, counted: RecordedFlushes, in_database: u64) -> Result<Self, CatalogError> {
        let path = state_dir.join(FILE);
        let last = match counted {
            RecordedFlushes::Flushes(durable) => durable.max(in_database),
            RecordedFlushes::Nothing | RecordedFlushes::Unreadable => in_database,
        };
        if !matches!(counted, RecordedFlushes::Flushes(_)) {
            write_whole(&path, &bytes_of(last))?;
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(on("open", &path))?;
        Ok(Self { file, last: AtomicU64::new(last), synced: Mutex::new(Instant::now()) })
    }

    /// The number of the next flush. One flush at a time asks.
    pub(super) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    /// Notes that a flush is durable. What fails here only leaves the count behind.
    pub(super) fn note(&self, flush: u64) {
        if self.file.write_all_at(&bytes_of(flush), 0).is_err() {
            return;
        }
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.elapsed() >= SYNC_AFTER {
            let _ = self.file.sync_data();
            *synced = Instant::now();
        }
    }
}

impl Drop for FlushCounter {
    fn drop(&mut self) {
        let _ = self.file.sync_data();
    }
}

fn bytes_of(number: u64) -> [u8; NUMBER_BYTES + SUM_BYTES] {
    let mut bytes = [0; NUMBER_BYTES + SUM_BYTES];
    let number = number.to_be_bytes();
    bytes[..NUMBER_BYTES].copy_from_slice(&number);
    bytes[NUMBER_BYTES..].copy_from_slice(&blake3::hash(&number).as_bytes()[..SUM_BYTES]);
    bytes
}

fn number_in(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(*bytes.first_chunk()?);
    (bytes == bytes_of(number)).then_some(number)
}
