//! A `file://` target: copies into a directory, by the rules of `durable`, and reads every copy back.
//!
//! The directory itself is created only if its parent is there: the mount point of a disk that is not mounted must not
//! be filled silently. It must not replace a file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::error::{DeliverError, Result};
use super::source::UploadSource;
use super::transfer::{Proof, TransferOutcome, UploadContext};
use crate::durable::{self, FileError, Partial};
use crate::recording::Fingerprint;
use crate::recording::name::printable;

/// A directory as a target.
#[derive(Debug)]
pub(super) struct DirectoryTarget {
    /// Name of the target, for errors.
    pub target: String,
    /// Where it is.
    pub base: PathBuf,
}

impl DirectoryTarget {
    /// Makes sure that the directory is there.
    pub fn ensure(&self) -> Result<()> {
        if self.base.is_dir() {
            return Ok(());
        }
        if !self.base.parent().is_some_and(Path::is_dir) {
            return Err(DeliverError::DirectoryMissing { target: self.target.clone(), path: self.base.clone() });
        }
        durable::create_directories(&self.base).map_err(DeliverError::disk(&self.target))
    }

    /// Where a key is stored. Keys come from `object_key`, which leaves no way up; anything else is not followed.
    pub fn path_of(&self, key: &str) -> PathBuf {
        let below = Path::new(key).components().filter(|c| matches!(c, Component::Normal(_)));
        self.base.join(below.collect::<PathBuf>())
    }

    /// Size, and modification time in milliseconds, of what stands under a key.
    pub fn head(&self, key: &str) -> Result<Option<(u64, i64)>> {
        Ok(self.fingerprint(key)?.map(|seen| (seen.size_bytes, seen.mtime_ms())))
    }

    /// The file under a key.
    pub fn fingerprint(&self, key: &str) -> Result<Option<Fingerprint>> {
        self.ensure()?;
        match durable::fingerprint(&self.path_of(key)) {
            Ok(seen) => Ok(Some(seen)),
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(DeliverError::disk(&self.target)(e)),
        }
    }

    /// Removes what stands under a key; its absence is a success.
    pub fn delete(&self, key: &str) -> Result<()> {
        durable::remove(&self.path_of(key)).map_err(DeliverError::disk(&self.target))
    }

    /// The beginning of the file under a key.
    pub fn read(&self, key: &str, most_bytes: u64) -> Result<Vec<u8>> {
        let path = self.path_of(key);
        let mut bytes = Vec::new();
        let opened = durable::open_to_read(&path).map_err(DeliverError::disk(&self.target))?;
        let read = opened.take(most_bytes).read_to_end(&mut bytes);
        let failed = |source| DeliverError::disk(&self.target)(FileError { verb: "read", path, source });
        read.map(|_| bytes).map_err(failed)
    }

    /// Whether what stands under a key already is this file; `None` for other content.
    pub fn adopt(
        &self,
        key: &str,
        size_bytes: u64,
        source: &UploadSource,
        ctx: &UploadContext<'_>,
    ) -> Result<Option<Proof>> {
        let there = durable::fingerprint(&self.path_of(key)).map_err(DeliverError::disk(&self.target))?;
        if there.same_file(&Fingerprint::of(source.metadata())) {
            return Err(self.is_the_recording(key));
        }
        if size_bytes != source.size_bytes() {
            return Ok(None);
        }
        let theirs = self.digest(&self.path_of(key), ctx)?;
        source.rewind()?;
        let ours = read_through(source, ctx, |_| Ok(()))?;
        Ok((ours == theirs).then(|| proof(size_bytes, &ours)))
    }

    /// By another mount or a link the directory is the one of the recordings: what is proven there is no copy.
    pub fn is_the_recording(&self, key: &str) -> DeliverError {
        let problem = format!("`{}` is the recording itself", printable(&self.path_of(key)));
        let advice = "Put the target into a directory that is not another path to the recordings.";
        DeliverError::configuration(&self.target, problem, advice)
    }

    /// Copies the file, durably, and compares the copy with what was read.
    pub fn send(&self, key: &str, source: &UploadSource, ctx: &UploadContext<'_>) -> Result<TransferOutcome> {
        let path = self.path_of(key);
        if let Some(parent) = path.parent() {
            durable::create_directories(parent).map_err(DeliverError::disk(&self.target))?;
        }
        source.rewind()?;
        let partial = Partial::create(&path, &ctx.ledger.owner()).map_err(DeliverError::disk(&self.target))?;
        let ours = self.fill(partial.path(), source, ctx)?;
        source.check()?;
        let sealed = partial.seal(source.metadata()).map_err(DeliverError::disk(&self.target))?;
        let theirs = self.digest(&sealed.path, ctx)?;
        if theirs != ours || sealed.fingerprint.size_bytes != source.size_bytes() {
            let _ = durable::remove(&sealed.path);
            return Err(self.mismatch(key, &ours, &theirs));
        }
        match durable::rename_no_replace(&sealed.path, &path) {
            // What failed after the rename is tried again: the copy is then found under its name.
            Ok(named) => {
                named.durably().map_err(DeliverError::disk(&self.target))?;
                Ok(TransferOutcome::Here(proof(source.size_bytes(), &ours)))
            }
            Err(e) => {
                let _ = durable::remove(&sealed.path);
                if e.is_taken() { Ok(TransferOutcome::Taken) } else { Err(DeliverError::disk(&self.target)(e)) }
            }
        }
    }

    fn fill(&self, path: &Path, source: &UploadSource, ctx: &UploadContext<'_>) -> Result<String> {
        let failed = |verb| move |e| FileError { verb, path: path.to_owned(), source: e };
        let opened = File::options().write(true).open(path).map_err(failed("open"));
        let mut file = opened.map_err(DeliverError::disk(&self.target))?;
        read_through(source, ctx, |bytes| {
            file.write_all(bytes).map_err(failed("write")).map_err(DeliverError::disk(&self.target))?;
            (ctx.progress)(bytes.len() as u64);
            Ok(())
        })
    }

    /// BLAKE3 of a file, read from the device and not from what writing left in memory, where that can be asked for.
    pub fn digest(&self, path: &Path, ctx: &UploadContext<'_>) -> Result<String> {
        let failed = |e| DeliverError::disk(&self.target)(FileError { verb: "read", path: path.to_owned(), source: e });
        let mut file = durable::open_to_read(path).map_err(|e| failed(e.source))?;
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            ctx.check()?;
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finalize().to_hex().to_string()),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(e)),
            };
        }
    }

    fn mismatch(&self, key: &str, ours: &str, theirs: &str) -> DeliverError {
        DeliverError::Mismatch {
            target: self.target.clone(),
            key: key.to_owned(),
            what: "the checksum",
            ours: format!("blake3:{ours}"),
            theirs: format!("blake3:{theirs}"),
        }
    }
}

const CHUNK_BYTES: usize = 1024 * 1024;

fn proof(size_bytes: u64, digest: &str) -> Proof {
    Proof { size_bytes, etag: None, version: None, checksum: Some(format!("blake3:{digest}")) }
}

/// Reads the source to its end, hands on every chunk, and gives the BLAKE3 of all.
fn read_through(
    source: &UploadSource,
    ctx: &UploadContext<'_>,
    mut hand_on: impl FnMut(&[u8]) -> Result<()>,
) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut left = source.size_bytes();
    while left > 0 {
        ctx.check()?;
        let bytes = source.next(left.min(CHUNK_BYTES as u64))?;
        hasher.update(&bytes);
        hand_on(&bytes)?;
        left -= bytes.len() as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
