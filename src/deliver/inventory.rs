//! What a store holds of ours: recordings whose catalogue was lost are told by their objects.
//!
//! A listing says keys and sizes alone, so every object that may be a recording is asked for its metadata with one HEAD; those
//! of other programs say nothing of ours and are left out. A directory has no metadata: its files are given by their paths.
//! Reads only.

use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};

use super::attributes::ObjectAttributes;
use super::bucket::{Bucket, key_of};
use super::diagnose::Verb;
use super::directory::DirectoryTarget;
use super::error::{DeliverError, Result};
use super::location::TargetLocation;
use super::target::RemoteState;
use crate::durable;
use crate::recording::{Container, RemoteObject};
use crate::stop::Stop;

/// HEAD requests under way at once.
const AT_ONCE: usize = 16;
/// Directories below a target that are entered at most one inside the other.
const DEEPEST: usize = 32;

/// Whose recording an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectOrigin {
    /// By its metadata.
    Metadata(ObjectAttributes),
    /// By the file itself, at this path.
    File(PathBuf),
}

/// A finished recording in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryObject {
    /// Its key without the target's prefix.
    pub relative_key: String,
    /// The object as the store reports it now. It proves nothing about any local file.
    pub object: RemoteObject,
    /// When it was written, milliseconds since the Unix epoch.
    pub modified_ms: i64,
    /// Its container, by its extension.
    pub container: Container,
    /// Whose it is.
    pub told: ObjectOrigin,
}

/// One look through a target.
pub(super) struct InventoryScan<'a> {
    pub target: &'a str,
    pub place: &'a TargetLocation,
    pub now_ms: i64,
    pub cancel: &'a Stop,
    /// Whether an object needs no look.
    pub is_known: &'a dyn Fn(&str) -> bool,
}

impl InventoryScan<'_> {
    /// The container of a key that may be a finished recording's and is not known yet.
    fn wanted(&self, key: &str) -> Option<Container> {
        let container = key.rsplit_once('.').and_then(|(_, extension)| Container::from_extension(extension))?;
        let is_finished = container != Container::Flv && !container.may_be_segment();
        let name = Path::new(key).file_name()?;
        (is_finished && !durable::is_partial(name) && !(self.is_known)(key)).then_some(container)
    }

    fn check(&self) -> Result<()> {
        if self.cancel.is_requested() { Err(DeliverError::Cancelled) } else { Ok(()) }
    }

    fn stored(&self, key: String, state: RemoteState, container: Container, told: ObjectOrigin) -> InventoryObject {
        let prefix = self.place.prefix();
        let relative_key = key.strip_prefix(prefix).unwrap_or(&key).trim_start_matches('/').to_owned();
        let modified_ms = state.modified_ms;
        let object = RemoteObject {
            target: self.target.to_owned(),
            url: self.place.url_of(&key),
            key,
            size_bytes: state.size_bytes,
            etag: state.etag,
            version: state.version,
            checksum: state.checksum,
            checksum_compared: false,
            verified_ms: self.now_ms,
            // Of no file: nothing is ever freed on it.
            source: crate::recording::Fingerprint { device: 0, inode: 0, size_bytes: state.size_bytes, mtime_ns: 0 },
            source_changed_ns: None,
            is_progressive_copy: false,
            differs: None,
            differs_when_read: false,
        };
        InventoryObject { relative_key, object, modified_ms, container, told }
    }
}

/// What a bucket holds below the target's prefix. `counted` is told how many objects are going to be asked.
pub(super) async fn of_bucket(
    bucket: &Bucket,
    look: &InventoryScan<'_>,
    counted: &dyn Fn(usize),
    each: &mut dyn FnMut(InventoryObject),
) -> Result<()> {
    let keys = keys_of(bucket, look).await?;
    counted(keys.len());
    let ask = |(key, container): (String, Container)| async move {
        look.check()?;
        Ok::<_, DeliverError>(bucket.head(&key).await?.map(|held| (key, container, held)))
    };
    let mut answers = futures::stream::iter(keys).map(ask).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.try_next().await? {
        // Gone since the listing, or of another program.
        let Some((key, container, held)) = answer else { continue };
        let Some(description) = held.description.clone() else { continue };
        each(look.stored(key, held.into(), container, ObjectOrigin::Metadata(description)));
    }
    Ok(())
}

/// Every key that is wanted; the store gives a thousand an answer.
async fn keys_of(bucket: &Bucket, look: &InventoryScan<'_>) -> Result<Vec<(String, Container)>> {
    let prefix = look.place.prefix();
    let below = (!prefix.is_empty()).then(|| key_of(prefix));
    let mut listing = bucket.backend.store.list(below.as_ref());
    let mut keys = Vec::new();
    loop {
        look.check()?;
        let found = listing.try_next().await.map_err(|error| bucket.fault(Verb::List, prefix, error, None))?;
        let Some(found) = found else { return Ok(keys) };
        let key = found.location.to_string();
        keys.extend(look.wanted(&key).map(|container| (key, container)));
    }
}

/// What a directory holds. Links are not followed.
pub(super) fn of_directory(
    directory: &DirectoryTarget,
    look: &InventoryScan<'_>,
    counted: &dyn Fn(usize),
    each: &mut dyn FnMut(InventoryObject),
) -> Result<()> {
    directory.ensure()?;
    let mut files = Vec::new();
    walk(directory, look, &directory.base, DEEPEST, &mut files)?;
    counted(files.len());
    for (path, key, container) in files {
        look.check()?;
        let Some(state) = directory.head(&key)? else { continue };
        each(look.stored(key, state.into(), container, ObjectOrigin::File(path)));
    }
    Ok(())
}

fn walk(
    directory: &DirectoryTarget,
    look: &InventoryScan<'_>,
    below: &Path,
    deeper: usize,
    files: &mut Vec<(PathBuf, String, Container)>,
) -> Result<()> {
    look.check()?;
    let failed = |source| {
        DeliverError::disk(&directory.target)(durable::FileError { verb: "read", path: below.to_owned(), source })
    };
    for entry in std::fs::read_dir(below).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if kind.is_dir() && deeper > 0 {
            walk(directory, look, &path, deeper - 1, files)?;
        }
        let relative = path.strip_prefix(&directory.base).ok().and_then(Path::to_str).filter(|_| kind.is_file());
        let wanted = relative.and_then(|key| Some((key.to_owned(), look.wanted(key)?)));
        files.extend(wanted.map(|(key, container)| (path.clone(), key, container)));
    }
    Ok(())
}
