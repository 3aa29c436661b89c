//! Keys: how records are found again without a scan. Pure.
//!
//! ```text
//! by_stream   stream id · 0 · start (8) · vod id
//! by_created  creation date (8) · vod id
//! by_path     path · 0 · vod id
//! by_object   digest of target and key (16) · vod id
//! unfreed     creation date (8) · vod id, while the local file is not freed
//! by_due      target · 0 · due time (8) · newest first (8) · delivery id
//! ```
//!
//! Times are milliseconds since the Unix epoch, stored so that bytes sort as numbers do. The index rows are made from the
//! records alone, so they can be checked and made again.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use super::tree::TreeId;
use crate::recording::{Fingerprint, VodRecord};

const KEY_BYTES: usize = 16;
const OBJECT_BYTES: usize = 16;

/// The journal's key of a source: the same for the same file under the same path, as long as nobody changes it.
///
/// Made from path, inode, size and modification time. The device number is left out on purpose: network, overlay and
/// Btrfs mounts get another one at every mount, and a restart must not make every known file a new recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalKey([u8; KEY_BYTES]);

impl JournalKey {
    /// The key of a file with this path and fingerprint.
    pub fn of(path: &Path, fingerprint: &Fingerprint) -> Self {
        let path = path.as_os_str().as_bytes();
        let mut hash = blake3::Hasher::new();
        hash.update(&(path.len() as u64).to_be_bytes());
        hash.update(path);
        hash.update(&fingerprint.inode.to_be_bytes());
        hash.update(&fingerprint.size_bytes.to_be_bytes());
        hash.update(&fingerprint.mtime_ns.to_be_bytes());
        let mut key = [0; KEY_BYTES];
        hash.finalize_xof().fill(&mut key);
        Self(key)
    }

    /// As it is stored: hex digits, readable in a dump.
    pub(super) fn stored(self) -> String {
        self.to_string()
    }

    /// The key itself, where it is not read by people.
    pub(super) const fn bytes(self) -> [u8; KEY_BYTES] {
        self.0
    }

    pub(super) const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) fn from_stored(key: &[u8]) -> Option<Self> {
        std::str::from_utf8(key).ok()?.parse().ok()
    }
}

impl fmt::Display for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Text that is no key of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a journal key: it must be 32 hex digits")]
pub struct NotAKey;

impl FromStr for JournalKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let mut key = [0; KEY_BYTES];
        hex::decode_to_slice(text, &mut key).map(|()| Self(key)).map_err(|_| NotAKey)
    }
}

/// One row of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexRow {
    pub tree: TreeId,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// A time so that bytes sort as times do.
pub(super) fn ordered(ms: i64) -> [u8; 8] {
    (ms.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The time back from its ordered form at the beginning of a key.
pub(super) fn from_ordered(key: &[u8]) -> Option<i64> {
    let bytes = key.get(..8)?.try_into().ok()?;
    Some((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

/// All rows of `by_stream` that can belong to a stream begin with this.
pub(super) fn stream_prefix(stream_id: &str) -> Vec<u8> {
    [stream_id.as_bytes(), &[0]].concat()
}

/// All rows of `by_path` of one path begin with this; a path holds no NUL.
pub(super) fn path_prefix(path: &Path) -> Vec<u8> {
    [path.as_os_str().as_bytes(), &[0]].concat()
}

/// All rows of `by_object` of one object begin with this; a target's name holds no NUL.
pub(super) fn object_prefix(target: &str, key: &str) -> [u8; OBJECT_BYTES] {
    let mut hash = blake3::Hasher::new();
    hash.update(target.as_bytes()).update(&[0]).update(key.as_bytes());
    let mut prefix = [0; OBJECT_BYTES];
    hash.finalize_xof().fill(&mut prefix);
    prefix
}

/// Key of a record in `by_stream`.
pub(super) fn stream_key(record: &VodRecord) -> Vec<u8> {
    let time = ordered(record.start_time);
    [&stream_prefix(&record.stream_id), &time[..], record.vod_id.as_bytes()].concat()
}

/// Key of a record in `by_created` and `unfreed`.
pub(super) fn created_key(record: &VodRecord) -> Vec<u8> {
    [&ordered(record.creation_date)[..], record.vod_id.as_bytes()].concat()
}

/// The index rows of a record.
pub(super) fn rows(record: &VodRecord) -> Vec<IndexRow> {
    let id = record.vod_id.as_bytes();
    let row = |tree, key| IndexRow { tree, key, value: id.to_vec() };
    let mut rows = vec![
        row(TreeId::ByStream, stream_key(record)),
        row(TreeId::ByCreated, created_key(record)),
        row(TreeId::ByPath, [&path_prefix(&record.file_path), id].concat()),
    ];
    let objects = record.remote.iter().map(|object| object_prefix(&object.target, &object.key));
    rows.extend(objects.map(|object| row(TreeId::ByObject, [&object[..], id].concat())));
    rows.extend(record.freed_at.is_none().then(|| row(TreeId::Unfreed, created_key(record))));
    rows
}

/// What a row of `known` says about a file, in its first byte; the VoD id follows.
pub(super) const FINISHED: u8 = b'f';
/// The kept original of a VoD.
pub(super) const ORIGINAL: u8 = b'o';

/// The source of a VoD whose journal entry was dropped when the database was compacted.
pub(super) const SOURCE: u8 = b's';

/// The rows by which the record's files are known and never taken again.
pub(super) fn known_rows(record: &VodRecord) -> Vec<IndexRow> {
    let row = |path, fingerprint, role: u8| IndexRow {
        tree: TreeId::Known,
        key: JournalKey::of(path, fingerprint).stored().into_bytes(),
        value: [&[role], record.vod_id.as_bytes()].concat(),
    };
    let original = record.original_path.as_deref().map(|path| row(path, &record.source, ORIGINAL));
    original.into_iter().chain([row(&record.file_path, &record.fingerprint, FINISHED)]).collect()
}

/// All rows of `by_due` of one target begin with this; a target's name holds no NUL.
pub(super) fn target_prefix(target: &str) -> Vec<u8> {
    [target.as_bytes(), &[0]].concat()
}

/// Key of a delivery in `by_due`: for its target the earliest due first, among those the last queued, so that what finishes
/// now overtakes the backlog.
pub(super) fn due_key(target: &str, due_ms: i64, queued_ms: i64, delivery_id: &str) -> Vec<u8> {
    let newest_first = ordered(queued_ms).map(|byte| !byte);
    [target.as_bytes(), &[0], &ordered(due_ms), &newest_first, delivery_id.as_bytes()].concat()
}

/// What a key of `by_due` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DueKey<'a> {
    pub target: &'a str,
    pub due_ms: i64,
    /// Sorts the last queued first, for any target.
    pub rank: &'a [u8],
    pub id: &'a str,
}

impl<'a> DueKey<'a> {
    /// `None` if it is not such a key.
    pub fn read(key: &'a [u8]) -> Option<Self> {
        let at = key.iter().position(|byte| *byte == 0)?;
        let (target, rest) = (std::str::from_utf8(&key[..at]).ok()?, &key[at + 1..]);
        let id = std::str::from_utf8(rest.get(16..)?).ok()?;
        Some(Self { target, due_ms: from_ordered(rest)?, rank: &rest[8..], id })
    }

    /// When it was queued, milliseconds since the Unix epoch.
    pub fn queued_ms(&self) -> i64 {
        let bytes: Vec<u8> = self.rank.iter().take(8).map(|byte| !byte).collect();
        from_ordered(&bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_bytes() {
        let times = [i64::MIN, -1, 0, 1, 1_772_634_615_000, i64::MAX];
        assert!(times.is_sorted_by_key(|ms| ordered(*ms)));
        assert!(times.iter().all(|ms| from_ordered(&ordered(*ms)) == Some(*ms)));
    }

    #[test]
    fn the_earliest_due_comes_first_and_among_those_the_last_queued() {
        let keys =
            [due_key("t", 1, 5, "a"), due_key("t", 1, 4, "a"), due_key("t", 2, 9, "a"), due_key("t2", 0, 9, "b")];
        assert!(keys.is_sorted());
        let read = DueKey::read(&keys[1]).unwrap();
        assert_eq!((read.target, read.due_ms, read.queued_ms(), read.id), ("t", 1, 4, "a"));
        assert!(DueKey::read(&keys[3]).unwrap().rank < read.rank, "queued later");
        assert_eq!([DueKey::read(b"t"), DueKey::read(b"t\0short"), DueKey::read(b"")], [None; 3]);
    }

    #[test]
    fn a_key_of_the_journal_depends_on_path_and_content_but_not_on_the_mount() {
        let fingerprint = Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 };
        let key = JournalKey::of(Path::new("/a"), &fingerprint);
        assert_eq!(key, JournalKey::of(Path::new("/a"), &Fingerprint { device: 9, ..fingerprint }));
        assert_ne!(key, JournalKey::of(Path::new("/b"), &fingerprint));
        assert_ne!(key, JournalKey::of(Path::new("/a"), &Fingerprint { inode: 9, ..fingerprint }));
        assert_ne!(key, JournalKey::of(Path::new("/a"), &Fingerprint { size_bytes: 9, ..fingerprint }));
        assert_ne!(key, JournalKey::of(Path::new("/a"), &Fingerprint { mtime_ns: 9, ..fingerprint }));
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("xyz".parse::<JournalKey>(), Err(NotAKey));
    }
}
