//! How much a playlist or manifest may ask for: a few KiB of text must not cost GiB of memory or minutes of a scan.
//!
//! One that asks for more is refused as a whole: what it names is not known then, so the caller must not take a segment for a
//! recording. The numbers are listed in `docs/limits.md`.

use std::path::Path;

use crate::discover::error::DiscoverError;

/// Largest playlist that is read: three days of one-second segments with a date each.
pub(super) const MAX_PLAYLIST_BYTES: u64 = 32 << 20;
/// A playlist from [`SPARSE_FROM_BYTES`] on has at least one byte on the disk for so many that it claims: a hole of 32 MiB costs
/// its writer nothing, and no server makes one.
pub(super) const MAX_SPARSE_RATIO: u64 = 64;
/// Below this size a file system may keep a file in its inode, with no block at all.
pub(super) const SPARSE_FROM_BYTES: u64 = 1 << 20;
/// Bytes that are read of all playlists of one directory together, those that are read twice counted twice.
pub(super) const MAX_DIRECTORY_BYTES: u64 = 512 << 20;
/// Names in one playlist or manifest: three days of one-second segments.
pub(super) const MAX_NAMES: usize = 1 << 18;
/// Longest name, bytes: no path on Linux is longer (`PATH_MAX`). A longer one names no file and is passed over.
pub(super) const MAX_NAME_BYTES: usize = 4096;
/// Names that the templates of a manifest come to, one for each template and representation that differ: 45 representations
/// with two templates each.
pub(super) const MAX_FILLED_NAMES: usize = 4096;
/// Numbers and times in one file name of a template.
pub(super) const MAX_OPEN_FIELDS: usize = 8;
/// Depth to which playlists name playlists. RFC 8216 knows two.
pub(super) const MAX_DEPTH: usize = 4;
/// Directories below that the playlists of one directory name files in.
pub(super) const MAX_DIRECTORIES_BELOW: usize = 1024;
/// Looks at file names that come to nothing, for all playlists of one directory: names of files that are gone, names that a
/// template does not match.
pub(super) const MAX_VAIN_LOOKS: u64 = 1 << 20;
/// How often the playlists of one directory name each of its files, on average.
pub(super) const MAX_MENTIONS_PER_FILE: u64 = 8;
/// So many mentions are always allowed.
pub(super) const FREE_MENTIONS: u64 = 4096;

/// A limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LimitExceeded {
    pub(super) what: &'static str,
    pub(super) limit: u64,
}

impl LimitExceeded {
    pub(super) fn of(self, playlist: &Path) -> DiscoverError {
        let Self { what, limit } = self;
        DiscoverError::PlaylistRefused { path: playlist.to_owned(), what, limit, others: false }
    }
}

/// What the playlists of one directory have used up together.
#[derive(Debug, Default)]
pub(super) struct LimitUsage {
    bytes: u64,
    vain_looks: u64,
    mentions: u64,
    files: u64,
}

impl LimitUsage {
    /// Bytes of a playlist that are about to be read.
    pub(super) fn read(&mut self, bytes: u64) -> Result<(), LimitExceeded> {
        self.bytes = self.bytes.saturating_add(bytes);
        check(self.bytes, MAX_DIRECTORY_BYTES, "bytes in the playlists of its directory")
    }

    /// Looks that came to nothing.
    pub(super) fn look_in_vain(&mut self, looks: u64) -> Result<(), LimitExceeded> {
        self.vain_looks = self.vain_looks.saturating_add(looks);
        check(self.vain_looks, MAX_VAIN_LOOKS, "missing files listed in the playlists of its directory")
    }

    /// So many more files may be mentioned.
    pub(super) fn add_files(&mut self, files: usize) {
        self.files = self.files.saturating_add(files as u64);
    }

    /// A file that a playlist names.
    pub(super) fn mention(&mut self, files: usize) -> Result<(), LimitExceeded> {
        self.mentions = self.mentions.saturating_add(files as u64);
        let limit = FREE_MENTIONS.saturating_add(MAX_MENTIONS_PER_FILE.saturating_mul(self.files));
        check(self.mentions, limit, "mentions of files in the playlists of its directory")
    }
}

fn check(found: u64, limit: u64, what: &'static str) -> Result<(), LimitExceeded> {
    if found > limit { Err(LimitExceeded { what, limit }) } else { Ok(()) }
}

/// Whether a list of names of one playlist has room for another.
pub(super) fn has_room(names: usize) -> Result<(), LimitExceeded> {
    check(names as u64 + 1, MAX_NAMES as u64, "file names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_ends_at_its_limit_and_not_before() {
        let mut spent = LimitUsage::default();
        assert!(spent.read(MAX_DIRECTORY_BYTES).is_ok() && spent.read(1).is_err());
        assert!(spent.look_in_vain(MAX_VAIN_LOOKS).is_ok() && spent.look_in_vain(1).is_err());
        spent.add_files(10);
        let most = usize::try_from(FREE_MENTIONS + 10 * MAX_MENTIONS_PER_FILE).unwrap();
        assert!(spent.mention(most).is_ok() && spent.mention(1).is_err());
        assert!(has_room(MAX_NAMES - 1).is_ok() && has_room(MAX_NAMES).is_err());
    }
}
