//! "Unchanged since seen": inode, size and modification time of a file.

use std::fs::Metadata;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells whether a file is still the one that was seen. It is no identity of the content.
///
/// Two with different device numbers may be equal: network file systems, FUSE, overlay and Btrfs get another number at every mount, and
/// what was noted before it must still be found unchanged. Whether two files of one moment are the same, [`Self::same_file`] says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// Device number of the file system when it was seen.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Modification time, nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
}

impl Fingerprint {
    /// Takes the fingerprint from a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            mtime_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        }
    }

    /// Modification time in whole milliseconds since the Unix epoch.
    pub const fn mtime_ms(&self) -> i64 {
        self.mtime_ns.div_euclid(1_000_000)
    }

    /// Whether length and modification time agree: under the same path the same file, even if it was restored or moved to
    /// another disk since, or the kernel numbers its devices differently after a reboot.
    pub const fn same_state(&self, other: &Self) -> bool {
        self.size_bytes == other.size_bytes && self.mtime_ns == other.mtime_ns
    }

    /// Whether both, seen while nothing was mounted anew, are the same directory entry's file, whatever its length.
    pub const fn same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.same_inode(other)
    }

    /// Whether both, seen under one path, are the same file, whatever its length, also if the file system was mounted anew meanwhile.
    pub const fn same_inode(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.same_inode(other) && self.same_state(other)
    }
}

impl Eq for Fingerprint {}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.inode, self.size_bytes, self.mtime_ns).hash(state);
    }
}

/// A file at one moment. Two that are equal had the same content, whoever put a modification time back meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Seen")]
pub struct FileVersion {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// When its inode changed last (`ctime`), nanoseconds since the Unix epoch. The kernel alone sets it: with every write,
    /// and also with a rename, a link, and a change of owner or mode.
    pub changed_ns: i64,
}

impl FileVersion {
    /// Takes both from a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        let changed_ns = metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec());
        Self { fingerprint: Fingerprint::of(metadata), changed_ns }
    }
}
