//! Whether the directory that stands under a root's path is that root, and not the empty mount point of a disk that is not
//! mounted, or another directory.
//!
//! A root is remembered by the kind of its file system and the number of its directory, which do not change with a restart
//! as device numbers do, and by the id in its file (`.aftercast-root`) where it has one. What differs is taken for the root
//! only if a recording that the catalogue knows there is there. Else the root is *unavailable*: nothing that is not there
//! counts as gone, and nothing there is taken, until it is back.
//!
//! Where several nodes share a database, a root that another node has is left alone in the same way (`fleet::RootRefusal`).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::active_config::ActiveConfig;
use super::error::PipelineError;
use super::owning::OwnedRoots;
use super::shared::SharedClaims;
use crate::catalog::{Catalog, CatalogError};
use crate::discover::RootOptions;
use crate::durable;
use crate::fault::{Fault as _, chain};
use crate::fleet::{Fleet, RootAct, RootRefusal};
use crate::recording::name::printable;
use crate::recording::{Fingerprint, VodRecord};
use crate::stop::{self, Stop};

/// A session with the database has answered or ended by then.
const PASSING: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

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
    /// Other nodes, and what belongs to them.
    pub(super) fleet: Option<Fleet>,
    /// Roots that were said to be unavailable.
    pub(super) unavailable: UnavailableRoots,
    /// Roots that were said to be another's, and why.
    refused: Mutex<HashMap<PathBuf, RootRefusal>>,
    /// Recordings in shared roots that this node holds.
    pub(super) shared: SharedClaims,
    /// The roots that no other process may work in meanwhile.
    pub(super) owned: OwnedRoots,
}

impl Roots {
    pub(super) fn new(catalog: &Catalog, config: &ActiveConfig, fleet: Option<&Fleet>) -> Self {
        let (unavailable, owned) = (UnavailableRoots::default(), OwnedRoots::default());
        Self {
            catalog: catalog.clone(),
            config: config.clone(),
            fleet: fleet.cloned(),
            unavailable,
            refused: Mutex::default(),
            shared: SharedClaims::default(),
            owned,
        }
    }

    /// Why a root, or what lies at a path, is left alone, if another node has it.
    pub(super) fn refusal(&self, path: &Path, act: RootAct) -> Option<RootRefusal> {
        self.fleet.as_ref()?.allows(path, act).err()
    }

    /// Whether a path lies in a root that several nodes work on.
    pub(super) fn is_shared(&self, path: &Path) -> bool {
        let settings = self.config.settings();
        let above = settings.watch.roots.iter().filter(|root| path.starts_with(&root.path));
        above.max_by_key(|root| root.path.components().count()).is_some_and(|root| root.shared)
    }

    /// Whether a root is shared, and this node has not the first right to it now.
    pub(super) fn is_first_elsewhere(&self, root: &RootOptions) -> bool {
        let goes_first = |fleet: &Fleet| root.first_right && fleet.goes_first(&root.path);
        root.shared && !self.fleet.as_ref().is_some_and(goes_first)
    }

    /// Roots that were left alone because of other nodes and need not be any more.
    pub(super) fn reopened(&self) -> BTreeSet<PathBuf> {
        let said = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        said.keys().filter(|root| self.refusal(root, RootAct::Change).is_none()).cloned().collect()
    }

    /// Says once why a root is left alone, and once when that is over.
    fn say_refusal(&self, root: &Path, refusal: Option<&RootRefusal>) {
        let mut said = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match refusal {
            Some(refusal) => said.insert(root.to_owned(), refusal.clone()),
            None => said.remove(root),
        };
        if before.as_ref() == refusal {
            return;
        }
        match refusal {
            Some(refusal) if refusal.is_passing() => {
                info!(root = %printable(root), reason = chain(refusal), "root paused");
            }
            Some(refusal) => {
                error!(root = %printable(root), error = chain(refusal), hint = refusal.hint(), "root not watched");
            }
            None => info!(root = %printable(root), "root watched again"),
        }
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
    let refusal = ctx.refusal(root, RootAct::Change);
    ctx.say_refusal(root, refusal.as_ref());
    if refusal.is_some() {
        return false;
    }
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
    ctx.refusal(root, RootAct::Change).is_none() && look(ctx, root).unwrap_or(false)
}

/// An error if what lies at a path must not be changed or delivered by this node. Before each step that cannot be undone.
pub(super) fn may_change(ctx: &Roots, path: &Path) -> Result<(), PipelineError> {
    ctx.refusal(path, RootAct::Change).map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// Why a root must not be changed now, if that passes by itself.
pub(super) fn passing_refusal(ctx: &Roots, root: &Path) -> Option<RootRefusal> {
    ctx.refusal(root, RootAct::Change).filter(RootRefusal::is_passing)
}

/// The same as [`may_change`], for what took long to make: where the database is being asked, its answer is waited for.
pub(super) fn may_change_soon(ctx: &Roots, path: &Path, stop: &Stop) -> Result<(), PipelineError> {
    let begun = Instant::now();
    loop {
        match ctx.refusal(path, RootAct::Change) {
            Some(RootRefusal::Unconfirmed { .. }) if begun.elapsed() < PASSING && !stop.is_requested() => {
                std::thread::sleep(LOOK_AGAIN);
            }
            refusal => return refusal.map_or(Ok(()), |refusal| Err(refusal.into())),
        }
    }
}

/// An error if what lies at a path must not be deleted by this node.
pub(super) fn may_delete(ctx: &Roots, path: &Path) -> Result<(), PipelineError> {
    ctx.refusal(path, RootAct::Delete).map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// The same as an error.
pub(super) fn require(ctx: &Roots, root: &Path) -> Result<(), PipelineError> {
    may_change(ctx, root)?;
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
