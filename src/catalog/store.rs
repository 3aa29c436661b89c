//! The database under the catalogue: its trees, its transactions, and the one shell through which everything is written.
//!
//! Assumes the state directory's lock is held. Must not know what a recording is: keys and values only.
//!
//! What sled 0.34.7 was seen to do here, and what is done about it:
//!
//! - `flush` ends in `sync_file_range`, which neither empties the disk's cache nor makes a grown file's length durable:
//!   every [`Database::flush`] adds `fdatasync`.
//! - Values above 128 KiB go to files of their own that are never synced: they are synced here.
//! - A database file that was emptied or overwritten opens as an empty database: a marker file beside it tells a lost
//!   database from a new one. Other damage panics inside `open`: the panic is caught.
//! - After a failed write (disk full) later calls may never return: room is checked before every write, and after the first
//!   failure the database is not touched again, not even by its destructor.
//! - Every transaction rolls the log's buffer twice, every write of a buffer wakes all seven threads of sled, and a flush
//!   writes one more: where many small things happen, what need not be a transaction of its own is not one.
//! - The lock of a database closed a moment ago may still be held by a thread that is ending: opening tries again.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sled::transaction::TransactionError;
use sled::{IVec, Transactional, Tree};

use super::changed_ids::ChangedIds;
use super::counter::FlushCounter;
use super::error::{CatalogError, StorageError};
use super::listeners::Listeners;
use super::rows::{StoredValue, decode};
use super::shared_flush::SharedFlush;
use super::state_dir;
pub(super) use super::transaction::{ChangedRecord, Tx, TxAbort, stop};
use super::tree::TreeId;
use super::vod_count::VodCount;
use crate::durable;
use crate::recording::name::printable;

/// Version of the trees and their keys; a database with a greater one is refused.
pub(super) const SCHEMA_VERSION: u32 = 5;
const SCHEMA_KEY: &[u8] = b"schema";
/// Number of the last flush, in `meta`.
const FLUSHES_KEY: &[u8] = b"flushes";
/// Sequence number of the last event, in `meta`: it is known up to which one all are durable.
pub(super) const LAST_EVENT_KEY: &[u8] = b"last_event";
/// Revision of the last change of a record that was marked for a replica, in `meta`.
pub(super) const LAST_REVISION_KEY: &[u8] = b"last_revision";
/// In `meta`: there is a replica, and records that change are marked for it.
pub(super) const REPLICATED_KEY: &[u8] = b"replicated";
const MARKER_FILE: &str = "aftercast-schema";
/// Below this many free bytes nothing is written: sled grows by segments and does not survive a full disk.
pub(super) const RESERVE_BYTES: u64 = 8 << 20;
const CACHE_BYTES: u64 = 8 << 20;
/// Every start writes zeros up to the end of the last segment. Values longer than a quarter of one go to files of their own.
const SEGMENT_BYTES: usize = 256 << 10;
/// sled's own choice, which databases were made with before; a database keeps its segments for good.
const FORMER_SEGMENT_BYTES: usize = 512 << 10;
/// sled's own thread only collects garbage; what must be durable is flushed by [`Database::flush`].
const HOUSEKEEPING_MS: u64 = 30_000;

/// The open database.
pub(super) struct Database {
    path: PathBuf,
    db: sled::Db,
    trees: Vec<Tree>,
    file: File,
    synced_blobs: Mutex<HashSet<OsString>>,
    flushes: SharedFlush,
    counter: Option<FlushCounter>,
    durable_event: AtomicU64,
    durable_revision: AtomicU64,
    /// Whether records that change are marked for a replica.
    marks_changes: AtomicBool,
    has_failed: AtomicBool,
    /// Which records were changed.
    pub(super) touched: ChangedIds,
    pub(super) vod_count: VodCount,
    /// Called once when it fails.
    pub(super) when_failed: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Told when events were appended, and when they are durable.
    pub(super) heard: Listeners,
    /// Rows read so far.
    #[cfg(test)]
    pub(super) rows_read: std::sync::atomic::AtomicUsize,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database in a directory, or makes a new one.
    pub(super) fn open(path: &Path) -> Result<Self, CatalogError> {
        let damaged = |source| CatalogError::Damaged { path: path.to_owned(), source };
        require_room(path)?;
        state_dir::create(path)?;
        state_dir::make_private(path)?;
        sync_left(path)?;
        let db = open_patiently(path)?;
        state_dir::make_private(path)?;
        let trees = TreeId::ALL.iter().map(|tree| db.open_tree(tree.name())).collect::<sled::Result<Vec<_>>>();
        let trees = trees.map_err(|e| damaged(e.into()))?;
        let file = File::open(path.join("db")).map_err(|e| damaged(StorageError::of_io(&e)))?;
        let synced_blobs = Mutex::new(HashSet::new());
        let (flushes, has_failed) = (SharedFlush::default(), AtomicBool::new(false));
        let store = Self {
            path: path.to_owned(),
            db,
            trees,
            file,
            synced_blobs,
            flushes,
            counter: None,
            durable_event: AtomicU64::new(0),
            durable_revision: AtomicU64::new(0),
            marks_changes: AtomicBool::new(false),
            has_failed,
            touched: ChangedIds::default(),
            vod_count: VodCount::default(),
            when_failed: OnceLock::new(),
            heard: Listeners::default(),
            #[cfg(test)]
            rows_read: std::sync::atomic::AtomicUsize::new(0),
        };
        store.schema()?;
        store.mark_changes(store.get(TreeId::Meta, REPLICATED_KEY)?.is_some());
        Ok(store)
    }

    /// The version that the database was written with; a newer one is an error.
    pub(super) fn schema(&self) -> Result<u32, CatalogError> {
        let damaged = |words: &str| CatalogError::Damaged {
            path: self.path.clone(),
            source: StorageError::because(words.to_owned()),
        };
        let marker = self.path.join(MARKER_FILE);
        match self.get(TreeId::Meta, SCHEMA_KEY)? {
            None if marker.exists() => Err(damaged("its contents are gone")),
            None => self.write_schema().map(|()| SCHEMA_VERSION),
            Some(value) => match std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()) {
                Some(found) if found > SCHEMA_VERSION => {
                    Err(CatalogError::NewerSchema { path: self.path.clone(), found, known: SCHEMA_VERSION })
                }
                Some(found) if marker.exists() => Ok(found),
                Some(found) => write_marker(&self.path).map(|()| found),
                None => Err(damaged("its schema version is unreadable")),
            },
        }
    }

    /// Says that the database is as this version writes it.
    pub(super) fn write_schema(&self) -> Result<(), CatalogError> {
        self.transact(|tx| tx.put(TreeId::Meta, SCHEMA_KEY, SCHEMA_VERSION.to_string().as_bytes()))?;
        self.flush("catalogue created")?;
        write_marker(&self.path)
    }

    /// Reads one value.
    pub(super) fn get(&self, tree: TreeId, key: impl AsRef<[u8]>) -> Result<Option<IVec>, CatalogError> {
        self.refuse_after_failure()?;
        self.count_row();
        self.trees[tree as usize].get(key).map_err(|e| self.give_up(e))
    }

    /// Reads and decodes one value.
    pub(super) fn read<T: StoredValue>(&self, tree: TreeId, key: impl AsRef<[u8]>) -> Result<Option<T>, CatalogError> {
        let value = self.get(tree, key.as_ref())?;
        value.map(|value| decode(tree, key.as_ref(), &value)).transpose()
    }

    /// The rows of a range of keys, in order; reversible.
    pub(super) fn range(
        &self,
        tree: TreeId,
        (from, to): (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> Result<impl DoubleEndedIterator<Item = Result<(IVec, IVec), CatalogError>> + use<'_>, CatalogError> {
        self.refuse_after_failure()?;
        Ok(self.trees[tree as usize].range((from, to)).map(|row| self.seen(row)))
    }

    /// The rows whose keys begin with some bytes, in order.
    pub(super) fn prefix(
        &self,
        tree: TreeId,
        prefix: &[u8],
    ) -> Result<impl DoubleEndedIterator<Item = Result<(IVec, IVec), CatalogError>> + use<'_>, CatalogError> {
        self.refuse_after_failure()?;
        Ok(self.trees[tree as usize].scan_prefix(prefix).map(|row| self.seen(row)))
    }

    fn seen(&self, row: sled::Result<(IVec, IVec)>) -> Result<(IVec, IVec), CatalogError> {
        self.count_row();
        row.map_err(|e| self.give_up(e))
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "counts in tests alone"))]
    fn count_row(&self) {
        #[cfg(test)]
        self.rows_read.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes any trees at once: everything or nothing, also after a crash. Durable with the next [`Database::flush`].
    ///
    /// The function may run more than once and must read through the transaction only.
    pub(super) fn transact<A>(&self, change: impl Fn(&Tx<'_>) -> Result<A, TxAbort>) -> Result<A, CatalogError> {
        self.refuse_after_failure()?;
        require_room(&self.path)?;
        let vods = RefCell::new(Vec::new());
        let mut counted = self.vod_count.begin();
        let changed = self.trees.as_slice().transaction(|trees| {
            vods.borrow_mut().clear();
            let tx = Tx { trees, vods: &vods };
            let done = change(&tx)?;
            if self.marks_changes.load(Ordering::SeqCst) {
                tx.mark(&vods.borrow())?;
            }
            Ok((done, tx.added()?))
        });
        let changed = changed.map(|(done, added)| {
            counted.added = added;
            done
        });
        drop(counted);
        let vods = vods.into_inner();
        if !vods.is_empty() {
            self.touched.note(vods.into_iter().map(|(id, _)| id));
        }
        changed.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => self.give_up(error),
        })
    }

    /// Makes everything written so far survive a power loss, then passes the counting seam. Threads that ask at the same
    /// time share one flush.
    pub(super) fn flush(&self, step: &'static str) -> Result<(), CatalogError> {
        self.flushes.run(|| self.flush_now(step))?;
        durable::step(step);
        Ok(())
    }

    /// Number of the last flush that the database knows of.
    pub(super) fn flushes(&self) -> Result<u64, CatalogError> {
        self.number(FLUSHES_KEY)
    }

    /// The last event that is known to be durable.
    pub(super) fn durable_event(&self) -> u64 {
        self.durable_event.load(Ordering::SeqCst)
    }

    /// The last marked change that is known to be durable.
    pub(super) fn durable_revision(&self) -> u64 {
        self.durable_revision.load(Ordering::SeqCst)
    }

    /// Whether what changes is marked for a replica.
    pub(super) fn marks_changes(&self) -> bool {
        self.marks_changes.load(Ordering::SeqCst)
    }

    /// Whether records that change are marked for a replica from now on.
    pub(super) fn mark_changes(&self, are_marked: bool) {
        self.marks_changes.store(are_marked, Ordering::SeqCst);
    }

    /// A number in `meta`, 0 where there is none.
    pub(super) fn number(&self, key: &[u8]) -> Result<u64, CatalogError> {
        let number = self.get(TreeId::Meta, key)?;
        Ok(number.and_then(|number| number.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// Remembers a number in `meta`; durable with the next flush.
    pub(super) fn set_number(&self, key: &[u8], number: u64) -> Result<(), CatalogError> {
        self.transact(|tx| tx.put(TreeId::Meta, key, &number.to_be_bytes()))
    }

    /// Removes a tree that earlier versions had.
    pub(super) fn drop_former(&self, tree: &str) -> Result<(), CatalogError> {
        self.refuse_after_failure()?;
        self.db.drop_tree(tree).map(drop).map_err(|e| self.give_up(e))
    }

    /// The rows of a tree as the database has them. A failure is for the caller: the database is not given up for it.
    pub(super) fn raw_rows(&self, tree: TreeId) -> sled::Iter {
        self.trees[tree as usize].iter()
    }

    /// Counts every flush from now on.
    pub(super) fn count_flushes(&mut self, counter: FlushCounter) {
        self.counter = Some(counter);
    }

    fn flush_now(&self, step: &str) -> Result<(), CatalogError> {
        self.refuse_after_failure()?;
        let number = self.counter.as_ref().map(FlushCounter::next);
        if let Some(number) = number {
            let noted = self.trees[TreeId::Meta as usize].insert(FLUSHES_KEY, &number.to_be_bytes());
            noted.map_err(|e| self.give_up(e))?;
        }
        let (last_event, last_revision) = (self.number(LAST_EVENT_KEY)?, self.number(LAST_REVISION_KEY)?);
        self.db.flush().map_err(|e| self.give_up(e))?;
        durable::tell(durable::FileEvent::JournalWritten);
        let synced = self.sync_blobs().and_then(|()| self.file.sync_data());
        synced.map_err(|e| self.give_up(sled::Error::Io(e)))?;
        durable::tell(durable::FileEvent::JournalSynced(step));
        let is_news = self.durable_event.fetch_max(last_event, Ordering::SeqCst) < last_event;
        if self.durable_revision.fetch_max(last_revision, Ordering::SeqCst) < last_revision || is_news {
            self.heard.tell();
        }
        if let Some((counter, number)) = self.counter.as_ref().zip(number) {
            counter.note(number);
        }
        Ok(())
    }

    fn sync_blobs(&self) -> io::Result<()> {
        sync_blobs(&self.path, &mut self.synced_blobs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An error once the database has failed.
    pub(super) fn refuse_after_failure(&self) -> Result<(), CatalogError> {
        if self.has_failed.load(Ordering::SeqCst) { Err(StorageError::given_up().into()) } else { Ok(()) }
    }

    /// Remembers that the database failed, and keeps its destructor from ever running: it could wait for good.
    pub(super) fn give_up(&self, error: sled::Error) -> CatalogError {
        if !self.has_failed.swap(true, Ordering::SeqCst) {
            std::mem::forget((self.db.clone(), self.trees.clone()));
            tracing::error!(path = %printable(&self.path), error = crate::fault::chain(&error), "catalogue failed; it is not used again before a restart");
            self.when_failed.get().into_iter().for_each(|then| then());
        }
        error.into()
    }
}

/// Says beside a database that it is one of this program's, and not empty.
pub(super) fn write_marker(database: &Path) -> Result<(), CatalogError> {
    let on = |path: &Path| {
        let path = path.to_owned();
        move |source| CatalogError::StateDirectory { verb: "write", path, source }
    };
    let marker = &database.join(MARKER_FILE);
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(marker);
    let written = opened.and_then(|mut file| writeln!(file, "{SCHEMA_VERSION}").and_then(|()| file.sync_all()));
    written.map_err(on(marker))?;
    durable::tell(durable::FileEvent::Synced(marker));
    durable::sync_parent(marker)
        .and_then(|()| durable::sync_parent(database))
        .map_err(|e| on(&e.path.clone())(e.source))
}

/// Makes durable what a killed process left in the page cache: sled builds its snapshot on it and syncs that alone. After a power cut
/// the snapshot would name what the database has not, and sled refuses such a database as damaged.
fn sync_left(path: &Path) -> Result<(), CatalogError> {
    let db = path.join("db");
    let synced = sync_blobs(path, &mut HashSet::new()).and_then(|()| File::open(&db)).and_then(|file| file.sync_all());
    match synced {
        Ok(()) => durable::tell(durable::FileEvent::Synced(&db)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(state_dir::on("sync", &db)(e)),
    }
    Ok(())
}

/// Makes durable the values that have files of their own, but for those that are known to be.
fn sync_blobs(database: &Path, synced: &mut HashSet<OsString>) -> io::Result<()> {
    let directory = database.join("blobs");
    let mut there = HashSet::new();
    for blob in std::fs::read_dir(&directory)? {
        there.insert(blob?.file_name());
    }
    for blob in there.difference(synced) {
        let blob = directory.join(blob);
        match File::open(&blob).and_then(|file| file.sync_all()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => durable::tell(durable::FileEvent::Synced(&blob)),
        }
    }
    if there.iter().any(|blob| !synced.contains(blob)) {
        File::open(&directory)?.sync_all()?;
        durable::tell(durable::FileEvent::DirectorySynced(&directory));
    }
    *synced = there;
    Ok(())
}

fn require_room(path: &Path) -> Result<(), CatalogError> {
    #[cfg(test)]
    super::room::take(path)?;
    let nearest = path.ancestors().find(|p| p.exists()).unwrap_or(path);
    match durable::free_bytes(nearest) {
        Ok(free_bytes) if free_bytes < RESERVE_BYTES => Err(CatalogError::NoRoom { path: path.to_owned(), free_bytes }),
        _ => Ok(()),
    }
}

const OPEN_TRIES: u32 = 50;
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(20);

pub(super) fn open_patiently(path: &Path) -> Result<sled::Db, CatalogError> {
    let damaged = |source| CatalogError::Damaged { path: path.to_owned(), source };
    let mut segment_bytes = SEGMENT_BYTES;
    for _ in 0..OPEN_TRIES {
        match open_once(path, segment_bytes).map_err(damaged)? {
            Ok(db) => return Ok(db),
            Err(sled::Error::Unsupported(_)) if segment_bytes == SEGMENT_BYTES => segment_bytes = FORMER_SEGMENT_BYTES,
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => {
                std::thread::sleep(OPEN_AGAIN_AFTER);
            }
            Err(sled::Error::Io(source)) => {
                return Err(CatalogError::StateDirectory { verb: "open the catalogue", path: path.to_owned(), source });
            }
            Err(other) => return Err(damaged(other.into())),
        }
    }
    Err(CatalogError::InUse { path: path.to_owned(), pid: None })
}

fn open_once(path: &Path, segment_bytes: usize) -> Result<sled::Result<sled::Db>, StorageError> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(HOUSEKEEPING_MS));
    let config = config.segment_size(segment_bytes);
    catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        StorageError::because(format!("the database failed: {}", crate::recording::name::printable_text(words)))
    })
}
