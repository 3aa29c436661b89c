//! Deleting VoDs: the record, the local file, and exactly the objects that were delivered for it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addressed::{VodHolder, ask_holder, holder_of};
use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::deliver::{DeliverError, Removal};
use crate::fleet::CommandKind;
use crate::pipeline::{self, OwnedObject, PipelineContext, PipelineError};
use crate::recording::VodRecord;

/// Deletes a VoD: the record, its local file, and exactly the objects that were delivered for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument of its own")]
pub struct DeleteVod {
    /// Its id.
    pub id: String,
    /// Keep the local file.
    #[serde(default)]
    pub keep_file: bool,
    /// Keep the objects in the stores.
    #[serde(default)]
    pub keep_objects: bool,
    /// Only say what would be deleted.
    #[serde(default)]
    pub dry_run: bool,
    /// If another node has it, which is away: leave that to the node for when it is back, within 7 days.
    #[serde(default)]
    pub queue: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Id of the VoD.
    pub vod_id: String,
    /// Whether its record is deleted.
    pub is_deleted: bool,
    /// Its objects in the stores.
    pub objects: Vec<DeletedObject>,
    /// Its local file, unless that was freed before or is kept.
    pub file: Option<DeletedFile>,
}

/// An object in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletedObject {
    /// Where it is, or was.
    pub url: String,
    /// Another VoD that references it, too: it is kept for that one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub also_of: Option<String>,
    /// Name of the node that has that VoD, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub other_node: Option<String>,
    /// How it differs from what was delivered, if it does: then it was left.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left: Option<String>,
}

/// A local file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletedFile {
    /// Its path.
    pub path: PathBuf,
    /// Why it was left, if it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left: Option<String>,
}

impl Operation for DeleteVod {
    type Item = NoItem;
    type Data = Deletion;

    fn run(&self, context: &Context, tell: ItemSink<'_, NoItem>) -> Result<Deletion, OperationError> {
        match holder_of(context, &self.id)? {
            VodHolder::Here(vod) => self.delete(context, &vod),
            VodHolder::Other(vod) => ask_holder(context, &vod, (CommandKind::Delete, self, self.queue), tell),
        }
    }
}

impl DeleteVod {
    fn delete(&self, context: &Context, vod: &VodRecord) -> Result<Deletion, OperationError> {
        let ctx = context.pipeline();
        let mut owned = if self.keep_objects { Vec::new() } else { owned_objects(ctx, vod)? };
        let is_local = vod.freed_at.is_none() && !self.keep_file;
        let mut deletion = Deletion {
            vod_id: vod.vod_id.clone(),
            is_deleted: false,
            objects: owned.iter().map(DeletedObject::of).collect(),
            file: is_local.then(|| DeletedFile { path: vod.file_path.clone(), left: None }),
        };
        if self.dry_run {
            return Ok(deletion);
        }
        // Whoever has adopted the root has its objects, too.
        pipeline::require_deletable(&ctx.removing, vod)?;
        require_targets(ctx, &owned)?;
        self.carry_out(ctx, vod, &mut owned, &mut deletion)
            .inspect_err(|_| pipeline::keep_objects(&ctx.removing, &owned))?;
        Ok(Deletion { is_deleted: true, ..deletion })
    }

    /// What follows once it is clear that it may be deleted.
    fn carry_out(
        &self,
        ctx: &PipelineContext,
        vod: &VodRecord,
        owned: &mut [OwnedObject],
        deletion: &mut Deletion,
    ) -> Result<(), OperationError> {
        begin_removal(ctx, owned)?;
        deletion.objects = owned.iter().map(DeletedObject::of).collect();
        delete_objects(ctx, owned, &mut deletion.objects)?;
        let mut is_file_going = vod.freed_at.is_some();
        if let Some(file) = &mut deletion.file {
            let left = pipeline::remove_local(&ctx.removing, vod)?;
            is_file_going = left.is_none_or(|left| left.is_pending);
            file.left = left.map(|left| left.reason.to_owned());
        }
        if !self.keep_file {
            pipeline::remove_pictures(ctx, vod);
        }
        if is_file_going {
            pipeline::remove_sidecar(vod);
        }
        ctx.catalog.delete_vod(&self.id, ctx.clock.now_ms())?;
        Ok(())
    }
}

/// Deletes several VoDs, one after the other. Those that fail are told and the rest go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument of its own")]
pub struct DeleteVods {
    /// Their ids.
    pub ids: Vec<String>,
    /// Keep the local files.
    #[serde(default)]
    pub keep_file: bool,
    /// Keep the objects in the stores.
    #[serde(default)]
    pub keep_objects: bool,
    /// Only say what would be deleted.
    #[serde(default)]
    pub dry_run: bool,
    /// If another node has one, which is away: leave that to the node for when it is back, within 7 days.
    #[serde(default)]
    pub queue: bool,
}

/// What became of one of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeletedOne {
    /// It is deleted, or would be.
    Deletion(Deletion),
    /// It is not.
    Failed {
        /// Id of the VoD.
        #[serde(rename = "vodId")]
        vod_id: String,
        /// Why.
        error: OperationError,
    },
}

/// How many there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletedVods {
    /// VoDs that are deleted, or would be.
    pub deleted: u64,
    /// VoDs that are not.
    pub failed: u64,
}

impl Operation for DeleteVods {
    type Item = DeletedOne;
    type Data = DeletedVods;

    fn run(&self, context: &Context, tell: ItemSink<'_, DeletedOne>) -> Result<DeletedVods, OperationError> {
        let mut counts = DeletedVods::default();
        for id in &self.ids {
            context.go_on()?;
            let Self { keep_file, keep_objects, dry_run, .. } = *self;
            let one = DeleteVod { id: id.clone(), keep_file, keep_objects, dry_run, queue: self.queue };
            match one.run(context, &mut |nothing| match nothing {}) {
                Ok(deletion) => {
                    counts.deleted += 1;
                    tell(DeletedOne::Deletion(deletion))?;
                }
                Err(error) => {
                    counts.failed += 1;
                    tell(DeletedOne::Failed { vod_id: id.clone(), error })?;
                }
            }
        }
        Ok(counts)
    }
}

impl DeletedObject {
    fn of(owned: &OwnedObject) -> Self {
        let (also_of, other_node) = (owned.also_of.clone(), owned.other_node.clone());
        Self { url: owned.object.url.clone(), also_of, other_node, left: None }
    }
}

/// The objects of a VoD, with who else has them.
fn owned_objects(ctx: &PipelineContext, vod: &VodRecord) -> Result<Vec<OwnedObject>, OperationError> {
    pipeline::objects_of(&ctx.removing, vod).map_err(not_asked)
}

/// The same right before they are deleted: from here on, no other node takes them.
fn begin_removal(ctx: &PipelineContext, owned: &mut [OwnedObject]) -> Result<(), OperationError> {
    pipeline::begin_removal(&ctx.removing, owned).map_err(not_asked)
}

fn not_asked(error: PipelineError) -> OperationError {
    match error {
        PipelineError::Fleet(error) => OperationError::from(error).or_next_step(
            "Nothing was deleted: another node may have the same objects. Try again when the fleet database answers; \
             `keepObjects` (`--keep-objects`) deletes the VoD and leaves its objects.",
        ),
        error => error.into(),
    }
}

/// Nothing is removed anywhere before it is clear that every target can be asked.
fn require_targets(ctx: &PipelineContext, owned: &[OwnedObject]) -> Result<(), OperationError> {
    let targets = ctx.targets();
    match owned.iter().find(|owned| !targets.names().any(|name| name == owned.object.target)) {
        Some(unknown) => Err(DeliverError::UnknownTarget(unknown.object.target.clone()).into()),
        None => Ok(()),
    }
}

/// Removes objects that are still what was delivered; what somebody else has put under their keys stays.
fn delete_objects(
    ctx: &PipelineContext,
    owned: &[OwnedObject],
    said: &mut [DeletedObject],
) -> Result<(), OperationError> {
    let targets = ctx.targets();
    for (OwnedObject { asset_id, object, .. }, said) in owned.iter().zip(said).filter(|(o, _)| o.also_of.is_none()) {
        if let Removal::Left { difference } = targets.remove(asset_id, object)? {
            said.left = Some(difference);
        }
    }
    Ok(())
}
