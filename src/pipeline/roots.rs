//! Whether the directory that stands under a root's path is that root, and not the empty mount point of a disk that is not
//! mounted, or another directory.
//!
//! A root is remembered by the kind of its file system and the number of its directory, which do not change with a restart
//! as device numbers do, and by the id in its file (`.aftercast-root`) where it has one. What differs is taken for the root
//! only if a recording that the catalogue knows there is there. Else the root is *unavailable*: nothing that is not there
//! counts as gone, and nothing there is taken, until it is back.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::active_config::ActiveConfig;
use super::error::PipelineError;
use super::owning::OwnedRoots;
use crate::catalog::{Catalog, CatalogError};
use crate::durable;
use crate::fault::chain;
use crate::recording::name::printable;
use crate::recording::{Fingerprint, VodRecord};
use crate::stop;

/// Where the identities are remembered.
const ROWS: &str = "root/";
/// Roots that were said to be unavailable.
#[derive(Debug, Default)]
pub struct UnavailableRoots(Mutex<HashSet<PathBuf>>);

impl UnavailableRoots {
    pub(super) fn holds(&self, root: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(root)
    }

    /// Whether that is news.
    fn put(&self, root: &Path, is_unavailable: bool) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_unavailable { said.insert(root.to_owned()) } else { said.remove(root) }
    }
}

/// What it takes to know a root, and which roots are ours.
#[derive(Debug)]
pub struct Roots {
    catalog: Catalog,
    config: ActiveConfig,
    /// Roots that were said to be unavailable.
    pub(super) unavailable: UnavailableRoots,
    /// The roots that no other process may work in meanwhile.
    pub(super) owned: OwnedRoots,
}

impl Roots {
    pub(super) fn new(catalog: &Catalog, config: &ActiveConfig) -> Self {
        let (unavailable, owned) = (UnavailableRoots::default(), OwnedRoots::default());
        Self { catalog: catalog.clone(), config: config.clone(), unavailable, owned }
    }
}

/// What a root is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RootIdentity {
    /// Magic number of its file system.
    file_system: u64,
    /// Number of its directory.
    inode: u64,
    /// The id in its file, if it is a root of the configuration; others keep no file.
    root_id: Option<String>,
}

impl RootIdentity {
    /// Of what stands under a path now; `None` if nothing does that can be read.
    fn of(ctx: &Roots, root: &Path) -> Option<Self> {
        let metadata = fs::metadata(root).ok().filter(fs::Metadata::is_dir)?;
        let file_system = durable::file_system(root).ok()?;
        let is_configured = ctx.config.settings().watch.roots.iter().any(|configured| configured.path == root);
        let root_id = is_configured.then(|| durable::owner_of(root)).flatten().map(|owner| owner.root_id);
        Some(Self { file_system, inode: metadata.ino(), root_id })
    }

    /// Whether another is the same root now. One that had an id and has none may be another disk of the same kind.
    fn is_same(&self, now: &Self) -> bool {
        match (&self.root_id, &now.root_id) {
            (Some(known), now) => now.as_ref() == Some(known),
            (None, _) => (self.file_system, self.inode) == (now.file_system, now.inode),
        }
    }
}

/// Whether a root is there; said once when it is not, and once when it is back.
pub(super) fn is_available(ctx: &Roots, root: &Path) -> bool {
    match look(ctx, root) {
        Ok(true) => {
            if ctx.unavailable.put(root, false) {
                info!(root = %printable(root), "root available again");
            }
            true
        }
        Ok(false) => {
            if ctx.unavailable.put(root, true) {
                let hint = "Nothing there is changed, freed or forgotten until it is available again. Mount it, or \
                     correct the path.";
                error!(root = %printable(root), hint, "root not available: not mounted, or replaced by another directory");
            }
            false
        }
        Err(error) => {
            warn!(root = %printable(root), error = chain(&error), "cannot check the root; nothing there is changed");
            false
        }
    }
}

/// The same without a word: not there, too, where nobody can tell.
pub(super) fn is_there(ctx: &Roots, root: &Path) -> bool {
    look(ctx, root).unwrap_or(false)
}

/// The same as an error.
pub(super) fn require(ctx: &Roots, root: &Path) -> Result<(), PipelineError> {
    if is_available(ctx, root) { Ok(()) } else { Err(PipelineError::RootUnavailable { root: root.to_owned() }) }
}

fn look(ctx: &Roots, root: &Path) -> Result<bool, CatalogError> {
    let row = format!("{ROWS}{}", blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex());
    let known = ctx.catalog.ledger(&row)?;
    let known: Option<RootIdentity> = known.and_then(|state| serde_json::from_value(state).ok());
    let Some(now) = RootIdentity::of(ctx, root) else {
        // Of a root that never was there the scan says so itself.
        return Ok(known.is_none() && !holds_records(ctx, root)?);
    };
    let is_it = match &known {
        Some(known) if known.is_same(&now) => true,
        _ => !holds_records(ctx, root)? || holds_a_recording(ctx, root)?,
    };
    if is_it && known.as_ref() != Some(&now) {
        ctx.catalog.put_ledger(&row, &serde_json::to_value(&now).unwrap_or_default())?;
    }
    Ok(is_it)
}

/// Whether the catalogue has local files there.
fn holds_records(ctx: &Roots, root: &Path) -> Result<bool, CatalogError> {
    any_record(ctx, root, |_| true)
}

/// Local files that are looked for at a root that has changed. Where it was restored, most are there; where it is not mounted none is,
/// and a look at a million of them would take half a minute, each time.
const MOST_FILES: usize = 10_000;

/// Whether one of them is there as it was, told without device and inode: it may have been restored.
fn holds_a_recording(ctx: &Roots, root: &Path) -> Result<bool, CatalogError> {
    let is_there =
        |path: &Path, as_it_was: &Fingerprint| durable::fingerprint(path).is_ok_and(|now| now.same_state(as_it_was));
    let mut left = MOST_FILES;
    let mut found = false;
    any_record(ctx, root, |vod| {
        left -= 1;
        found = is_there(&vod.file_path, &vod.fingerprint);
        found || left == 0
    })?;
    Ok(found)
}

/// Whether some VoD whose local file is not freed lies there and is such a one.
fn any_record(ctx: &Roots, root: &Path, mut is_it: impl FnMut(&VodRecord) -> bool) -> Result<bool, CatalogError> {
    for vod in ctx.catalog.shared().unfreed()? {
        let vod = vod?;
        stop::check();
        if vod.root == root && is_it(&vod) {
            return Ok(true);
        }
    }
    Ok(false)
}
