//! The local file of a delivery: opened once, read in order, and checked to be the one that was promised.
//!
//! A file that another process appends to, rewrites or replaces while it is read gives a torn object; so the fingerprint
//! is compared before, during and after the reads, on the open file and on the path.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;

use super::error::{DeliverError, Result};
use crate::durable::{self, FileError};
use crate::recording::{AssetFile, Fingerprint};

/// One open local file.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    promised: AssetFile,
    metadata: Metadata,
}

/// Neither follow a symbolic link nor wait for the writer of a pipe.
const OPEN_FLAGS: rustix::fs::OFlags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK);

impl Source {
    /// Opens a file and compares it with what was queued.
    pub fn open(promised: &AssetFile) -> Result<Self> {
        let path = &promised.path;
        let flags = OPEN_FLAGS.bits().cast_signed();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = opened.map_err(FileError::on("read", path)).map_err(DeliverError::Source)?;
        let metadata =
            file.metadata().map_err(FileError::on("read the state of", path)).map_err(DeliverError::Source)?;
        let source = Self { file, promised: promised.clone(), metadata };
        source.check()?;
        Ok(source)
    }

    pub fn path(&self) -> &Path {
        &self.promised.path
    }

    pub fn size_bytes(&self) -> u64 {
        self.promised.fingerprint.size_bytes
    }

    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Goes back to the beginning.
    pub fn rewind(&self) -> Result<()> {
        let sought = (&self.file).seek(SeekFrom::Start(0));
        sought.map(drop).map_err(FileError::on("read", self.path())).map_err(DeliverError::Source)
    }

    /// What it was when it was queued.
    pub fn fingerprint(&self) -> Fingerprint {
        self.promised.fingerprint
    }

    /// Reads `len` bytes at an offset exactly.
    pub fn at(&self, offset: u64, len: u64) -> Result<Bytes> {
        let sought = (&self.file).seek(SeekFrom::Start(offset));
        sought.map_err(FileError::on("read", self.path())).map_err(DeliverError::Source)?;
        self.next(len)
    }

    /// Reads the next `len` bytes exactly.
    pub fn next(&self, len: u64) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        let read = (&self.file).take(len).read_to_end(&mut bytes);
        read.map_err(FileError::on("read", self.path())).map_err(DeliverError::Source)?;
        let is_short = (bytes.len() as u64) < len;
        if is_short || self.seen()? != self.promised.fingerprint {
            return Err(DeliverError::changed(self.path()));
        }
        Ok(bytes.into())
    }

    fn seen(&self) -> Result<Fingerprint> {
        let seen = self.file.metadata().map_err(FileError::on("read the state of", self.path()));
        seen.map(|m| Fingerprint::of(&m)).map_err(DeliverError::Source)
    }

    /// Whether the open file and the path are still what was promised.
    pub fn check(&self) -> Result<()> {
        let by_path = durable::fingerprint(self.path()).map_err(DeliverError::Source)?;
        let is_same = by_path == self.promised.fingerprint && self.seen()? == self.promised.fingerprint;
        if is_same { Ok(()) } else { Err(DeliverError::changed(self.path())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promised(path: &Path) -> AssetFile {
        AssetFile { path: path.to_owned(), fingerprint: durable::fingerprint(path).unwrap() }
    }

    #[test]
    fn a_file_that_grows_or_is_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4");
        std::fs::write(&path, "0123456789").unwrap();
        let source = Source::open(&promised(&path)).unwrap();
        assert_eq!(&source.next(4).unwrap()[..], b"0123");

        let replacement = dir.path().join("y.mp4");
        std::fs::write(&replacement, "0123456789").unwrap();
        std::fs::rename(&replacement, &path).unwrap();
        assert!(matches!(source.check(), Err(DeliverError::SourceChanged { .. })));

        let source = Source::open(&promised(&path)).unwrap();
        let append = || OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut append(), b"more").unwrap();
        assert!(matches!(source.next(4), Err(DeliverError::SourceChanged { .. })));
    }

    #[test]
    fn a_symbolic_link_is_not_followed_and_a_missing_file_is_permanent() {
        use crate::fault::{Class, Fault};
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("x.mp4"), dir.path().join("link.mp4"));
        std::fs::write(&path, "x").unwrap();
        let asked = promised(&path);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Source::open(&AssetFile { path: link, ..asked.clone() }).is_err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Source::open(&asked).unwrap_err().class(), Class::Permanent);
    }
}
