//! What belongs to a VoD on the disk and in the stores: what its deletion removes, by what was proven there and by no name
//! pattern.

use std::sync::{Arc, Mutex, RwLock};

use tracing::warn;

use super::active_config::ActiveConfig;
use super::error::PipelineError;
use super::handles::Handles;
use super::leaving;
use super::remembering::{self, Asking};
use super::roots::{self, Roots};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::durable::{self, KeptBecause, RemovalOutcome};
use crate::fault::chain;
use crate::fleet::ObjectHolder;
use crate::recording::{DeliveryState, RemoteObject, VodRecord};
use crate::stop::Stop;

/// What it takes to remove files.
#[derive(Debug)]
pub struct Removing {
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) stop: Stop,
    pub(super) config: ActiveConfig,
    pub(super) roots: Arc<Roots>,
    /// Serialises granting a permit and using it.
    pub(super) permits: Mutex<()>,
    /// Held for reading while a file is given up; who puts back what a cut left aside has it to itself.
    pub(super) asides: RwLock<()>,
}

impl Removing {
    pub(super) fn of(handles: &Handles) -> Self {
        Self {
            catalog: handles.catalog.clone(),
            clock: handles.clock.clone(),
            stop: handles.stop.clone(),
            config: handles.config.clone(),
            roots: Arc::clone(&handles.roots),
            permits: Mutex::default(),
            asides: RwLock::default(),
        }
    }
}

/// An object of a VoD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedObject {
    /// The asset it was delivered for: the VoD itself, its poster, its kept original, a sidecar.
    pub asset_id: String,
    /// The object as its delivery proved it.
    pub object: RemoteObject,
    /// Another VoD that names the same object, which must not be taken from it.
    pub also_of: Option<String>,
    /// Name of the node that has that VoD, if it is another one.
    pub other_node: Option<String>,
}

impl OwnedObject {
    fn keyed(&self) -> (&str, &RemoteObject) {
        (&self.asset_id, &self.object)
    }

    /// Whether only other nodes can be in the way of its deletion.
    const fn is_asked(&self) -> bool {
        self.also_of.is_none() || self.other_node.is_some()
    }
}

/// Why the local file of a VoD is there still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftFile {
    /// To be read after its name.
    pub reason: &'static str,
    /// Whether it is removed later, if nobody writes to it.
    pub is_pending: bool,
}

impl LeftFile {
    const fn for_good(reason: &'static str) -> Self {
        Self { reason, is_pending: false }
    }

    const fn for_now(reason: &'static str) -> Self {
        Self { reason, is_pending: true }
    }
}

/// The objects that the record of a VoD names and those of what belongs to it, in every target. Whether another node has one, too, only
/// the fleet's database knows: while it is away, that is an error.
pub fn objects_of(ctx: &Removing, vod: &VodRecord) -> Result<Vec<OwnedObject>, PipelineError> {
    let own = |asset_id: &str, object: &RemoteObject| OwnedObject {
        asset_id: asset_id.to_owned(),
        object: object.clone(),
        also_of: None,
        other_node: None,
    };
    let mut owned: Vec<_> = vod.remote.iter().map(|object| own(&vod.vod_id, object)).collect();
    for delivery in ctx.catalog.deliveries_of_vod(&vod.vod_id)? {
        let DeliveryState::Delivered { objects } = &delivery.state else { continue };
        for object in objects {
            if !owned.iter().any(|o| is_same(&o.object, object)) {
                owned.push(own(&delivery.asset.id, object));
            }
        }
    }
    for owned in &mut owned {
        let others = ctx.catalog.shared().vods_with_object(&owned.object.target, &owned.object.key)?;
        owned.also_of = others.into_iter().find(|id| *id != vod.vod_id);
    }
    ask_elsewhere(ctx, &mut owned, Asking::ToSay)?;
    Ok(owned)
}

/// Begins the deletion of objects: what another node has by now is noted, and is not to be deleted. No other node takes the rest.
pub fn begin_removal(ctx: &Removing, owned: &mut [OwnedObject]) -> Result<(), PipelineError> {
    ask_elsewhere(ctx, owned, Asking::BeforeRemoval)
}

/// Objects stay this node's: not all of them could be deleted, or it is not known whether that has begun.
pub fn keep_objects(ctx: &Removing, owned: &[OwnedObject]) {
    let Some(fleet) = &ctx.roots.fleet else { return };
    let targets = ctx.config.targets();
    let places: Vec<_> = owned.iter().filter_map(|owned| targets.shared_place(&owned.object)).collect();
    if places.is_empty() {
        return;
    }
    if let Err(error) = fleet.take_removal_back(&places) {
        let hint = "Delete the VoD again when the fleet database answers, or restart aftercast to keep it.";
        warn!(error = chain(&error), hint, "other nodes take objects of a VoD for deleted that are not");
    }
}

/// Asks what another node has of those that no other VoD of this node has: what one has is not deleted, and stays this node's.
fn ask_elsewhere(ctx: &Removing, owned: &mut [OwnedObject], why: Asking) -> Result<(), PipelineError> {
    let (fleet, targets) = (ctx.roots.fleet.as_ref(), ctx.config.targets());
    let mut asked: Vec<_> = owned.iter_mut().filter(|owned| owned.is_asked()).collect();
    let elsewhere = remembering::holders_elsewhere(fleet, &targets, asked.iter().map(|owned| owned.keyed()), why)?;
    for (owned, holder) in asked.iter_mut().zip(elsewhere) {
        let vod_id = |holder: &ObjectHolder| holder.asset_id.split('.').next().unwrap_or_default().to_owned();
        owned.also_of = holder.as_ref().map(vod_id);
        owned.other_node = holder.map(|holder| holder.node);
    }
    Ok(())
}

/// Removes the local file of a VoD if it still is the one that was catalogued. Says why it stays.
pub fn remove_local(ctx: &Removing, vod: &VodRecord) -> Result<Option<LeftFile>, PipelineError> {
    if !roots::is_available(&ctx.roots, &vod.root) {
        return Ok(Some(LeftFile::for_good("its root is not available")));
    }
    let changed = Some(LeftFile::for_good("it differs from the catalogued file"));
    let seen = match durable::seen(&vod.file_path) {
        Err(error) if error.is_missing() => return Ok(None),
        other => other?,
    };
    if seen.fingerprint != vod.fingerprint {
        return Ok(changed);
    }
    Ok(match leaving::give_up(ctx, &vod.file_path, &seen)? {
        RemovalOutcome::Removed | RemovalOutcome::Missing => None,
        RemovalOutcome::Kept { why: KeptBecause::Changed, .. } => changed,
        RemovalOutcome::Kept { why: KeptBecause::InUse, .. } => {
            let reason = "a process has it open for writing; it is removed when it is closed, if it is unchanged";
            Some(LeftFile::for_now(reason))
        }
        RemovalOutcome::Aside { .. } => {
            Some(LeftFile::for_now("moved aside; it is removed after being unchanged for `quiet`"))
        }
    })
}

/// An error if what belongs to a VoD is not this node's to delete: another one has its root, or that cannot be told now.
pub fn require_deletable(ctx: &Removing, vod: &VodRecord) -> Result<(), PipelineError> {
    roots::may_delete(&ctx.roots, &vod.root)
}

fn is_same(a: &RemoteObject, b: &RemoteObject) -> bool {
    a.target == b.target && a.key == b.key
}
