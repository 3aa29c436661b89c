//! The local file of a delivery: opened once, read in order, and checked to be the one that was promised.
//!
//! A file that another process appends to, rewrites or replaces while it is read gives a torn object; so the fingerprint
//! is compared before, during and after the reads, on the open file and on the path, and with it the time of the last
//! change of the inode, which nobody can set back as `touch` and `rsync` set back that of the content.

use std::cell::Cell;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::error::{DeliverError, Result};
use crate::durable::{self, FileError};
use crate::recording::{AssetFile, FileVersion, Fingerprint};

/// One open local file, and what its object has behind it.
#[derive(Debug)]
pub(super) struct UploadSource {
    file: File,
    promised: AssetFile,
    metadata: Metadata,
    /// Where the next bytes are read.
    position: Cell<u64>,
}

impl UploadSource {
    /// Opens a file and compares it with what was queued.
    pub fn open(promised: &AssetFile) -> Result<Self> {
        let stands_in = promised.stand_in.as_ref().map(|copy| AssetFile::new(copy.path.clone(), copy.fingerprint));
        let promised = stands_in.as_ref().unwrap_or(promised);
        let path = &promised.path;
        let file = durable::open_to_read(path).map_err(DeliverError::Source)?;
        let metadata =
            file.metadata().map_err(FileError::on("read the metadata of", path)).map_err(DeliverError::Source)?;
        let source = Self { file, promised: promised.clone(), metadata, position: Cell::new(0) };
        source.check()?;
        Ok(source)
    }

    pub fn path(&self) -> &Path {
        &self.promised.path
    }

    /// Bytes of the object.
    pub fn size_bytes(&self) -> u64 {
        self.file_bytes() + self.promised.ending.len() as u64
    }

    const fn file_bytes(&self) -> u64 {
        self.promised.fingerprint.size_bytes
    }

    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What it was when it was queued.
    pub fn fingerprint(&self) -> Fingerprint {
        self.promised.fingerprint
    }

    /// When its inode changed last before it was opened, nanoseconds since the Unix epoch.
    pub fn changed_ns(&self) -> i64 {
        changed_ns(&self.metadata)
    }

    /// Goes back to the beginning.
    pub fn rewind(&self) -> Result<()> {
        self.seek(0)
    }

    fn seek(&self, to: u64) -> Result<()> {
        self.position.set(to);
        let sought = (&self.file).seek(SeekFrom::Start(to.min(self.file_bytes())));
        sought.map(drop).map_err(FileError::on("read", self.path())).map_err(DeliverError::Source)
    }

    /// Fills a buffer with the bytes at an offset.
    pub fn at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.seek(offset)?;
        self.read(buffer)
    }

    /// Reads the next `len` bytes exactly.
    pub fn next(&self, len: u64) -> Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.read(&mut bytes)?;
        Ok(bytes.into())
    }

    fn read(&self, buffer: &mut [u8]) -> Result<()> {
        let begin = self.position.get();
        let in_file = usize::try_from(self.file_bytes().saturating_sub(begin)).unwrap_or(usize::MAX).min(buffer.len());
        let (of_file, behind) = buffer.split_at_mut(in_file);
        match (&self.file).read_exact(of_file) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(DeliverError::changed(self.path())),
            read => read.map_err(FileError::on("read", self.path())).map_err(DeliverError::Source)?,
        }
        if !self.is_as_opened(self.file.metadata())? {
            return Err(DeliverError::changed(self.path()));
        }
        let skipped = begin.saturating_add(in_file as u64).saturating_sub(self.file_bytes());
        let ending = self.promised.ending.as_bytes();
        let ending = ending.get(usize::try_from(skipped).unwrap_or(usize::MAX)..).unwrap_or_default();
        let Some(ending) = ending.get(..behind.len()) else { return Err(DeliverError::changed(self.path())) };
        behind.copy_from_slice(ending);
        self.position.set(begin + buffer.len() as u64);
        Ok(())
    }

    fn is_as_opened(&self, now: std::io::Result<Metadata>) -> Result<bool> {
        let now = now.map_err(FileError::on("read the metadata of", self.path())).map_err(DeliverError::Source)?;
        Ok(Fingerprint::of(&now) == self.promised.fingerprint && changed_ns(&now) == self.changed_ns())
    }

    /// Whether the open file and the path are still what was promised.
    pub fn check(&self) -> Result<()> {
        let is_same =
            self.is_as_opened(fs::symlink_metadata(self.path()))? && self.is_as_opened(self.file.metadata())?;
        if is_same { Ok(()) } else { Err(DeliverError::changed(self.path())) }
    }
}

fn changed_ns(metadata: &Metadata) -> i64 {
    FileVersion::of(metadata).changed_ns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;
    use std::fs::OpenOptions;

    fn promised(path: &Path) -> AssetFile {
        AssetFile::new(path.to_owned(), durable::fingerprint(path).unwrap())
    }

    #[test]
    fn a_file_that_grows_or_is_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4");
        fs::write(&path, "0123456789").unwrap();
        let source = UploadSource::open(&promised(&path)).unwrap();
        assert_eq!(&source.next(4).unwrap()[..], b"0123");

        let replacement = dir.path().join("y.mp4");
        fs::write(&replacement, "0123456789").unwrap();
        fs::rename(&replacement, &path).unwrap();
        assert!(matches!(source.check(), Err(DeliverError::SourceChanged { .. })));

        let source = UploadSource::open(&promised(&path)).unwrap();
        let append = || OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut append(), b"more").unwrap();
        assert!(matches!(source.next(4), Err(DeliverError::SourceChanged { .. })));
    }

    #[test]
    fn a_symbolic_link_is_not_followed_and_a_missing_file_is_permanent() {
        use crate::fault::{Class, Fault};
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("x.mp4"), dir.path().join("link.mp4"));
        fs::write(&path, "x").unwrap();
        let asked = promised(&path);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(UploadSource::open(&AssetFile { path: link, ..asked.clone() }).is_err());
        fs::remove_file(&path).unwrap();
        assert_eq!(UploadSource::open(&asked).unwrap_err().class(), Class::Permanent);
    }

    #[test]
    fn a_rewrite_is_noticed_although_length_and_time_are_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4");
        fs::write(&path, "0123456789").unwrap();
        let source = UploadSource::open(&promised(&path)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let rewritten = OpenOptions::new().write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut &rewritten, b"9876543210").unwrap();
        rewritten.set_modified(source.metadata().modified().unwrap()).unwrap();
        assert_eq!(durable::fingerprint(&path).unwrap(), source.fingerprint());
        assert!(matches!(source.check(), Err(DeliverError::SourceChanged { .. })));
        assert!(matches!(source.next(4), Err(DeliverError::SourceChanged { .. })));
    }

    #[test]
    fn an_ending_is_read_behind_the_file_wherever_the_cuts_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.m3u8");
        fs::write(&path, "0123").unwrap();
        let source = UploadSource::open(&AssetFile { ending: "\nEND".into(), ..promised(&path) }).unwrap();
        assert_eq!(source.size_bytes(), 8);
        for cut in 1..=8 {
            source.rewind().unwrap();
            let lens = (0..8).step_by(cut).map(|at| cut.min(8 - at) as u64);
            let read: Vec<u8> = lens.flat_map(|len| source.next(len).unwrap()).collect();
            assert_eq!(read, b"0123\nEND", "{cut}");
        }
        for (offset, len, read) in [(6, 2, b"ND".as_slice()), (2, 3, b"23\n")] {
            let mut buffer = vec![0; len];
            source.at(offset, &mut buffer).unwrap();
            assert_eq!(buffer, read);
        }
    }
}
