//! Reserved names: two recordings that are finished at the same time never choose the same name, and a recording that is
//! finished again after a crash gets the name it had.
//!
//! Assumes the caller looks at the disk itself; here is only what the catalogue knows: names of VoDs, also of those whose
//! local file was freed, and names that recordings under way have reserved.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::Result;
use super::index::{self, JournalKey};
use super::node::NodeCatalog;
use super::opened::Catalog;
use super::store::{Tx, TxAbort};
use super::tree::TreeId;
use crate::recording::{Fingerprint, VodRecord};

impl Catalog {
    /// Reserves the name of a finished file for a recording; one that it had reserved before is given back.
    ///
    /// False if another recording has it, or a VoD; the VoD whose finished file the recording itself is does not count, also
    /// where the file came back with another inode. Durable no later than the recording's next step.
    pub fn reserve_name(&self, path: &Path, key: &JournalKey) -> Result<bool> {
        let own = self.entry(key)?.map(|entry| entry.settled.candidate().clone()).filter(|own| own.path == path);
        let is_itself = |vod: &VodRecord| {
            is_file_of(vod, key) || own.as_ref().is_some_and(|own| own.fingerprint.same_state(&vod.fingerprint))
        };
        if !self.shared().vods_at(path)?.iter().all(is_itself) {
            return Ok(false);
        }
        self.store().transact(|tx| {
            match holder(tx, path)? {
                Some(holder) if holder != *key => return Ok(false),
                Some(_) => return Ok(true),
                None => release(tx, *key)?,
            }
            tx.put(TreeId::Names, by_name(path), key.stored().as_bytes())?;
            tx.put(TreeId::Names, by_key(*key), path.as_os_str().as_bytes())?;
            Ok(true)
        })
    }

    /// Whether a VoD has this name (its local file may have been freed), or a recording under way has reserved it.
    pub fn is_name_taken(&self, path: &Path) -> Result<bool> {
        let is_reserved = self.store().get(TreeId::Names, by_name(path))?.is_some();
        Ok(is_reserved || self.store().prefix(TreeId::ByPath, &index::path_prefix(path))?.next().transpose()?.is_some())
    }

    /// Whether a file is the finished file of a VoD at this path, also where it came back with another inode.
    pub fn is_file_of_vod(&self, path: &Path, fingerprint: &Fingerprint) -> Result<bool> {
        Ok(self.shared().vods_at(path)?.iter().any(|vod| vod.fingerprint.same_state(fingerprint)))
    }
}

impl NodeCatalog {
    /// The name a recording has reserved.
    pub fn reserved_by(&self, key: &JournalKey) -> Result<Option<PathBuf>> {
        let name = self.store().get(TreeId::Names, by_key(*key))?;
        Ok(name.map(|name| PathBuf::from(OsStr::from_bytes(&name))))
    }
}

/// Whether the journal's key is that of the VoD's finished file itself (taken again with `--again`).
fn is_file_of(vod: &VodRecord, key: &JournalKey) -> bool {
    JournalKey::of(&vod.file_path, &vod.fingerprint) == *key
}

pub(super) fn by_name(path: &Path) -> Vec<u8> {
    [b"p", path.as_os_str().as_bytes()].concat()
}

pub(super) fn by_key(key: JournalKey) -> Vec<u8> {
    [b"k", key.stored().as_bytes()].concat()
}

/// The recording under way that has reserved a name.
pub(super) fn holder(tx: &Tx<'_>, path: &Path) -> std::result::Result<Option<JournalKey>, TxAbort> {
    Ok(tx.get(TreeId::Names, by_name(path))?.and_then(|key| JournalKey::from_stored(&key)))
}

/// Gives back the name a recording has reserved, if it has one.
pub(super) fn release(tx: &Tx<'_>, key: JournalKey) -> std::result::Result<(), TxAbort> {
    if let Some(name) = tx.get(TreeId::Names, by_key(key))? {
        let path = Path::new(OsStr::from_bytes(&name));
        if holder(tx, path)? == Some(key) {
            tx.remove(TreeId::Names, by_name(path))?;
        }
        tx.remove(TreeId::Names, by_key(key))?;
    }
    Ok(())
}
