//! Attempts that ended although the journal could not say so: what keeps an orderly end from being counted as a death.
//!
//! The notes lie in a small file whose blocks are written when the catalogue is opened, so that a file system without room
//! takes them all the same. Assumes that one process owns the state directory; must not be read but at the start.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::CatalogError;
use super::index::JournalKey;
use super::state_dir::on;
use crate::durable;

/// Notes that fit. Whatever is beyond them counts as a death.
const NOTES: usize = 2_048;
const KEY_BYTES: usize = 16;
const SUM_BYTES: usize = 4;
const NOTE_BYTES: usize = KEY_BYTES + size_of::<u32>() + SUM_BYTES;

/// An attempt: the journal's key and its number.
pub(super) type AttemptId = (JournalKey, u32);

/// The file of notes.
#[derive(Debug)]
pub(super) struct EndedAttempts {
    path: PathBuf,
    file: File,
    noted: Mutex<usize>,
}

impl EndedAttempts {
    /// Opens the file of a state directory, or makes it; returns what was noted since it was last emptied.
    pub(super) fn open(state_dir: &Path) -> Result<(Self, BTreeSet<AttemptId>), CatalogError> {
        let path = state_dir.join("ended-attempts");
        let notes = read(&path).map_err(on("read", &path))?;
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(on("open", &path))?;
        let this = Self { path, file, noted: Mutex::new(notes.len()) };
        if this.file.metadata().map_err(on("read", &this.path))?.len() != (NOTES * NOTE_BYTES) as u64 {
            this.keep(&notes)?;
        }
        Ok((this, notes))
    }

    /// Where the notes are.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Notes that an attempt ended in order; durable on return.
    pub(super) fn note(&self, (key, attempt): AttemptId) -> io::Result<()> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted >= NOTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(&note_of(key, attempt), (*noted * NOTE_BYTES) as u64)?;
        self.file.sync_data()?;
        *noted += 1;
        Ok(())
    }

    /// Keeps some of the notes only. Writes all blocks, so that none is missing when it counts.
    pub(super) fn keep(&self, kept: &BTreeSet<AttemptId>) -> Result<(), CatalogError> {
        let mut bytes = kept.iter().flat_map(|(key, attempt)| note_of(*key, *attempt)).collect::<Vec<_>>();
        bytes.resize(NOTES * NOTE_BYTES, 0);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.file.write_all_at(&bytes, 0).and_then(|()| self.file.set_len(bytes.len() as u64));
        written.and_then(|()| self.file.sync_all()).map_err(on("write", &self.path))?;
        *noted = kept.len();
        durable::sync_parent(&self.path).map_err(|e| on("sync", &e.path.clone())(e.source))
    }
}

fn note_of(key: JournalKey, attempt: u32) -> [u8; NOTE_BYTES] {
    let mut note = [0; NOTE_BYTES];
    note[..KEY_BYTES].copy_from_slice(&key.bytes());
    note[KEY_BYTES..NOTE_BYTES - SUM_BYTES].copy_from_slice(&attempt.to_be_bytes());
    let sum = blake3::hash(&note[..NOTE_BYTES - SUM_BYTES]);
    note[NOTE_BYTES - SUM_BYTES..].copy_from_slice(&sum.as_bytes()[..SUM_BYTES]);
    note
}

/// The notes of a file; what is torn or empty is none.
fn read(path: &Path) -> io::Result<BTreeSet<AttemptId>> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other?,
    };
    let attempt = |note: &[u8]| {
        let (key, rest) = note.split_first_chunk::<KEY_BYTES>()?;
        let attempt = u32::from_be_bytes(*rest.first_chunk()?);
        let key = JournalKey::from_bytes(*key);
        (note == note_of(key, attempt)).then_some((key, attempt))
    };
    Ok(bytes.chunks_exact(NOTE_BYTES).take(NOTES).filter_map(attempt).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Fingerprint;

    fn key(inode: u64) -> JournalKey {
        JournalKey::of(Path::new("/x"), &Fingerprint { device: 0, inode, size_bytes: 0, mtime_ns: 0 })
    }

    #[test]
    fn notes_are_there_after_a_restart_until_they_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (notes, none) = EndedAttempts::open(dir.path()).unwrap();
        assert!(none.is_empty());
        let size = std::fs::metadata(&notes.path).unwrap().len();
        notes.note((key(1), 7)).unwrap();
        notes.note((key(2), 1)).unwrap();
        assert_eq!(std::fs::metadata(&notes.path).unwrap().len(), size, "a note needs no room");
        let (again, found) = EndedAttempts::open(dir.path()).unwrap();
        assert_eq!(found, BTreeSet::from([(key(1), 7), (key(2), 1)]));
        again.keep(&BTreeSet::from([(key(2), 1)])).unwrap();
        again.note((key(3), 3)).unwrap();
        assert_eq!(EndedAttempts::open(dir.path()).unwrap().1, BTreeSet::from([(key(2), 1), (key(3), 3)]));
    }

    #[test]
    fn a_torn_note_is_none_and_a_full_file_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (notes, _) = EndedAttempts::open(dir.path()).unwrap();
        for attempt in 0..u32::try_from(NOTES).unwrap() {
            *notes.noted.lock().unwrap() = attempt as usize;
            notes.file.write_all_at(&note_of(key(1), attempt), u64::from(attempt) * NOTE_BYTES as u64).unwrap();
        }
        *notes.noted.lock().unwrap() = NOTES;
        assert!(notes.note((key(1), 9)).is_err());
        notes.file.write_all_at(b"x", 3).unwrap();
        assert_eq!(EndedAttempts::open(dir.path()).unwrap().1.len(), NOTES - 1);
    }
}
