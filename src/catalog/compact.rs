//! Compaction: a database that has grown far beyond what it holds is copied into a fresh one and exchanged for it.
//!
//! sled reuses the room of old values only in part: recordings that were written one by one take twice what they take in a
//! copy. The copy lies beside the database, is synced and compared with it row by row, and takes its name with one
//! `renameat2(RENAME_EXCHANGE)`: at every moment a complete database has the name, and whatever lies under the other name
//! is removed at the next start. Journal entries that are done become one short row each, by which a scan knows the source,
//! and values of an earlier version are packed as this one does.
//!
//! It must never keep a catalogue from opening: whatever goes wrong before the exchange leaves the database as it is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use sled::{Batch, IVec, Tree};

use super::entry::JournalEntry;
use super::error::{CatalogError, Result};
use super::index::SOURCE;
use super::layout::database_path;
use super::packing::repack;
use super::rows::decode;
use super::state_dir;
use super::store::{Database, RESERVE_BYTES, open_patiently, write_marker};
use super::tree::TreeId;
use crate::durable;
use crate::fault::chain;
use crate::recording::journey::Step;
use crate::recording::name::printable;

/// Smaller databases are left alone.
const LEAST_BYTES: u64 = 16 << 20;
/// How long it may take at a start; a database that takes longer is left as it is until it has grown again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a closed database may still be held by a thread of its own.
const CLOSING: Duration = Duration::from_secs(5);
/// Size of the database when it was last compacted, or left as it was, in `meta`.
const COMPACTED_KEY: &[u8] = b"compacted_bytes";
/// Rows between two looks at the clock.
const LOOKS_EVERY: u64 = 500;

/// When a database is compacted, and how long that may take.
#[derive(Clone, Copy)]
pub(super) struct CompactionLimits<'a> {
    pub least_bytes: u64,
    pub patience: Duration,
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl<'a> CompactionLimits<'a> {
    pub fn of_a_start(is_stopped: &'a dyn Fn() -> bool) -> Self {
        Self { least_bytes: LEAST_BYTES, patience: PATIENCE, is_stopped }
    }
}

/// Why a database stays as it is.
#[derive(Debug, thiserror::Error)]
enum NotCompacted {
    #[error("the process is shutting down")]
    Stopped,
    #[error("{0}")]
    Because(&'static str),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the copy cannot be made durable")]
    Io(#[from] io::Error),
}

impl From<sled::Error> for NotCompacted {
    fn from(error: sled::Error) -> Self {
        Self::Catalog(error.into())
    }
}

const TOO_LONG: NotCompacted =
    NotCompacted::Because("compaction takes too long; it is retried when the database has grown by a quarter");

/// Name of the copy while it is made, and of what it took the place of.
fn aside(state_dir: &Path) -> PathBuf {
    state_dir.join("catalog.compacting")
}

/// Removes what a cut left under the other name. The database has opened: what lies there is not needed.
pub(super) fn remove_leftover(state_dir: &Path) -> Result<()> {
    let path = aside(state_dir);
    match fs::remove_dir_all(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(|source| CatalogError::StateDirectory { verb: "remove", path: path.clone(), source })?;
            durable::step("compaction cleaned up");
            Ok(())
        }
    }
}

/// Compacts a database that has grown by a quarter since it was last compacted. Returns the one to go on with.
pub(super) fn compact(state_dir: &Path, store: Database, limits: CompactionLimits<'_>) -> Result<Database> {
    let database = database_path(state_dir);
    let bytes = file_bytes(&database);
    let before = store.number(COMPACTED_KEY)?;
    if bytes < limits.least_bytes || bytes < before.saturating_add(before / 4) {
        return Ok(store);
    }
    let begun = Instant::now();
    tracing::info!(path = %printable(&database), bytes, "compacting the catalogue");
    let made = fill(state_dir, &store, bytes, begun, limits);
    let made = made.and_then(|rows| check(state_dir, rows, begun, limits));
    // What the old database still writes when it is closed must not reach the new one under its name.
    drop(store);
    let exchanged = made.and_then(|()| exchange(state_dir));
    let left = exchanged.err();
    let store = Database::open(&database)?;
    let after = file_bytes(&database);
    match &left {
        None => tracing::info!(before = bytes, after, ms = begun.elapsed().as_millis(), "catalogue compacted"),
        Some(why) => tracing::warn!(error = chain(why), bytes, "catalogue not compacted; using it unchanged"),
    }
    if !matches!(left, Some(NotCompacted::Stopped)) {
        store.set_number(COMPACTED_KEY, after)?;
    }
    remove_leftover(state_dir)?;
    Ok(store)
}

/// What a file of the database takes on the disk.
fn file_bytes(database: &Path) -> u64 {
    fs::metadata(database.join("db")).map_or(0, |file| file.blocks() * 512)
}

/// The rows of a database: how many, and a sum of their digests in which their order does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct RowsDigest {
    count: u64,
    sum: u128,
}

impl RowsDigest {
    fn add(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        let mut hash = blake3::Hasher::new();
        hash.update(tree.name().as_bytes()).update(&[0]).update(&(key.len() as u64).to_be_bytes());
        hash.update(key).update(value);
        let mut digest = [0; 16];
        hash.finalize_xof().fill(&mut digest);
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(digest));
        self.count += 1;
    }
}

fn require_time(
    rows: RowsDigest,
    begun: Instant,
    limits: CompactionLimits<'_>,
) -> std::result::Result<(), NotCompacted> {
    if !rows.count.is_multiple_of(LOOKS_EVERY) {
        return Ok(());
    }
    if (limits.is_stopped)() {
        return Err(NotCompacted::Stopped);
    }
    if begun.elapsed() > limits.patience { Err(TOO_LONG) } else { Ok(()) }
}

/// Copies every row into a fresh database, and closes it. A page that is damaged makes the database panic.
fn fill(
    state_dir: &Path,
    store: &Database,
    bytes: u64,
    begun: Instant,
    limits: CompactionLimits<'_>,
) -> std::result::Result<RowsDigest, NotCompacted> {
    let path = aside(state_dir);
    if durable::free_bytes(state_dir).is_ok_and(|free| free < bytes.saturating_add(2 * RESERVE_BYTES)) {
        return Err(NotCompacted::Because("not enough disk space for a copy"));
    }
    remove_leftover(state_dir)?;
    state_dir::create(&path)?;
    let copied = catch_unwind(AssertUnwindSafe(|| copy(store, &path, begun, limits)));
    let rows = copied.unwrap_or(Err(NotCompacted::Because("the database cannot be read completely")))?;
    state_dir::make_private(&path)?;
    wait_until_closed(&path)?;
    durable::step("compaction copied");
    Ok(rows)
}

fn copy(
    store: &Database,
    to: &Path,
    begun: Instant,
    limits: CompactionLimits<'_>,
) -> std::result::Result<RowsDigest, NotCompacted> {
    let db = open_patiently(to)?;
    let trees = TreeId::ALL.iter().map(|tree| db.open_tree(tree.name())).collect::<sled::Result<Vec<_>>>()?;
    let mut copied = CompactedCopy { rows: RowsDigest::default(), trees, batches: Default::default() };
    for tree in TreeId::ALL {
        for row in store.raw_rows(tree) {
            let (key, value) = row?;
            match done(tree, &key, &value) {
                // `known` stands before the journal: it is copied already.
                Some(source) if !copied.has(TreeId::Known, &key)? => copied.put(TreeId::Known, key, source)?,
                Some(_) => {}
                None => {
                    let value = repack(&value).map_or(value, IVec::from);
                    copied.put(tree, key, value)?;
                }
            }
            require_time(copied.rows, begun, limits)?;
        }
        copied.write(TreeId::Known)?;
        copied.write(tree)?;
    }
    db.flush()?;
    Ok(copied.rows)
}

/// Rows written together. sled takes them in no order, and its pages are filled better by that than by rows in order, which
/// leave every page half empty: 3.4 KB a recording instead of 4.3.
const BATCH: usize = 2_000;

/// The fresh database.
struct CompactedCopy {
    rows: RowsDigest,
    trees: Vec<Tree>,
    batches: [(usize, Batch); TreeId::ALL.len()],
}

impl CompactedCopy {
    fn has(&self, tree: TreeId, key: &[u8]) -> sled::Result<bool> {
        self.trees[tree as usize].contains_key(key)
    }

    fn put(&mut self, tree: TreeId, key: IVec, value: IVec) -> sled::Result<()> {
        self.rows.add(tree, &key, &value);
        let (waiting, batch) = &mut self.batches[tree as usize];
        batch.insert(key, value);
        *waiting += 1;
        if *waiting < BATCH { Ok(()) } else { self.write(tree) }
    }

    fn write(&mut self, tree: TreeId) -> sled::Result<()> {
        let (_, batch) = std::mem::take(&mut self.batches[tree as usize]);
        self.trees[tree as usize].apply_batch(batch)
    }
}

/// What is kept of a journal entry that is done: that the file is the source of a VoD. All else is in the VoD's record.
fn done(tree: TreeId, key: &[u8], value: &[u8]) -> Option<IVec> {
    if tree != TreeId::Journal {
        return None;
    }
    let Step::Done { vod_id } = decode::<JournalEntry>(tree, key, value).ok()?.step else { return None };
    Some([&[SOURCE], vod_id.as_bytes()].concat().into())
}

/// Makes the copy durable, opens it again and compares it.
fn check(
    state_dir: &Path,
    expected: RowsDigest,
    begun: Instant,
    limits: CompactionLimits<'_>,
) -> std::result::Result<(), NotCompacted> {
    let path = aside(state_dir);
    write_marker(&path)?;
    let store = Database::open(&path)?;
    let mut found = RowsDigest::default();
    for tree in TreeId::ALL {
        for row in store.raw_rows(tree) {
            let (key, value) = row?;
            found.add(tree, &key, &value);
            require_time(found, begun, limits)?;
        }
    }
    drop(store);
    if found != expected {
        return Err(NotCompacted::Because("the copy differs from the database"));
    }
    wait_until_closed(&path)?;
    sync_all(&path)?;
    durable::sync_parent(&path).map_err(|error| error.source)?;
    durable::step("compaction durable");
    Ok(())
}

fn exchange(state_dir: &Path) -> std::result::Result<(), NotCompacted> {
    let (database, copy) = (database_path(state_dir), aside(state_dir));
    wait_until_closed(&database)?;
    renameat_with(CWD, &copy, CWD, &database, RenameFlags::EXCHANGE).map_err(io::Error::from)?;
    durable::step("compaction exchanged");
    durable::sync_parent(&database).map_err(|error| error.source)?;
    durable::step("compaction synced");
    Ok(())
}

/// Waits until no thread has the database open any more: its lock is free.
fn wait_until_closed(database: &Path) -> std::result::Result<(), NotCompacted> {
    let begun = Instant::now();
    loop {
        let file = File::open(database.join("db"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(_) if begun.elapsed() < CLOSING => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return Err(NotCompacted::Because("a closed database stays locked")),
        }
    }
}

fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
    }
    File::open(directory)?.sync_all()
}
