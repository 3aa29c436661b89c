//! The catalogue's VoDs: a page, one, all of them, and deleting one.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addressed::{VodHolder, ask_holder, holder_of};
use super::fleet::{self, ListedVod};
use super::{Context, ItemSink, NoItem, Operation, OperationError, cursor};
use crate::catalog::{Marks, Order, Selection, VodQuery};
use crate::deliver::{DeliverError, Removal};
use crate::fault::chain;
use crate::fleet::CommandKind;
use crate::pipeline::{self, OwnedObject, PipelineContext, PipelineError};
use crate::recording::{Outcome, VodRecord};

/// VoDs of a page at most: what a listing holds in memory at once.
pub(super) const PAGE_LIMIT: usize = 1000;

/// A page of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListVods {
    /// Only this stream, by start time; otherwise all, by creation date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// How many at most; a page has no more than 1,000.
    pub limit: usize,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// From this position on, by start time whatever the stream: the answer then has the `total`. Not with `after`, `fromMs`, `toMs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// The oldest first instead of the newest.
    pub oldest_first: bool,
    /// Only those that were made this way: `kept`, `spliced`, `remuxed` or `salvaged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Only those in this state: `local` (with a local file), `freed`, `delivered` (with a copy in a store) or `defective`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<VodState>,
    /// Only those that were still being recorded at this time or later, milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Only those whose recording began before this time, milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// Only those with this text, in any case, in id, name, stream, description or metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only those of this node, by name or id; `this`: only those of the node that is asked, without asking the fleet database; `all`: all
    /// nodes'. Without it, all nodes' where `[fleet]` is configured; with `offset` and without it, this node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Default for ListVods {
    fn default() -> Self {
        Self {
            stream: None,
            limit: 100,
            after: None,
            offset: None,
            oldest_first: false,
            outcome: None,
            state: None,
            from_ms: None,
            to_ms: None,
            text: None,
            node: None,
        }
    }
}

/// What a VoD is or has, for [`ListVods`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VodState {
    /// Its file is on this disk.
    Local,
    /// Its local file was freed.
    Freed,
    /// A store holds a proven copy.
    Delivered,
    /// Something is wrong with it or was repaired.
    Defective,
}

impl VodState {
    const fn holds(self, vod: &VodRecord) -> bool {
        match self {
            Self::Local => vod.freed_at.is_none(),
            Self::Freed => vod.freed_at.is_some(),
            Self::Delivered => !vod.remote.is_empty(),
            Self::Defective => !vod.defects.is_empty(),
        }
    }
}

impl ListVods {
    fn has_filter(&self) -> bool {
        let Self { outcome, state, from_ms, to_ms, text, .. } = self;
        outcome.is_some() || state.is_some() || from_ms.is_some() || to_ms.is_some() || text.is_some()
    }

    fn wants(&self, vod: &VodRecord) -> bool {
        self.outcome.is_none_or(|outcome| outcome == vod.outcome)
            && self.state.is_none_or(|state| state.holds(vod))
            && self.from_ms.is_none_or(|from| vod.start_time.saturating_add(vod.duration) >= from)
            && self.to_ms.is_none_or(|to| vod.start_time < to)
            && self.text.as_deref().is_none_or(|text| has_text(vod, &text.to_lowercase()))
    }
}

fn has_text(vod: &VodRecord, text: &str) -> bool {
    let own = [&vod.vod_id, &vod.vod_name, &vod.stream_id, &vod.stream_name].into_iter();
    let notes = vod.description.iter().chain(vod.metadata.values());
    own.chain(notes).any(|field| field.to_lowercase().contains(text))
}

/// The page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VodPage {
    /// The VoDs in order.
    pub items: Vec<ListedVod>,
    /// Where the next page begins, if there is more.
    pub next: Option<String>,
    /// How many there are in all, if the page was asked for by its `offset`; of all nodes' VoDs, no more than 100,000 are counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total: Option<usize>,
    /// Records that cannot be read, in words; they count as items of the page.
    pub unreadable: Vec<String>,
}

impl Operation for ListVods {
    type Item = NoItem;
    type Data = VodPage;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<VodPage, OperationError> {
        if let Some(page) = fleet::listed(context, self)? {
            return Ok(page);
        }
        if let Some(offset) = self.offset {
            return self.at(context, offset);
        }
        let after = cursor(self.after.as_deref())?;
        let limit = self.limit.min(PAGE_LIMIT);
        let mut page = VodQuery { after, limit, newest_first: !self.oldest_first, stream: self.stream.as_deref() };
        let mut found = VodPage { items: Vec::new(), next: None, total: None, unreadable: Vec::new() };
        loop {
            context.go_on()?;
            let listing = context.pipeline().catalog.shared().vods(&page)?;
            found.items.extend(listing.items.into_iter().filter(|vod| self.wants(vod)).map(ListedVod::from));
            found.unreadable.extend(listing.unreadable.iter().map(|error| chain(error)));
            found.next = listing.next.as_ref().map(ToString::to_string);
            // No more than is still missing is read at once, so that the cursor stands behind the last item.
            let missing = limit.saturating_sub(found.items.len() + found.unreadable.len());
            if listing.next.is_none() || missing == 0 || !self.has_filter() {
                return Ok(found);
            }
            page = VodQuery { after: listing.next, limit: missing, ..page };
        }
    }
}

impl ListVods {
    /// The page at a position, through the index in memory.
    fn at(&self, context: &Context, offset: usize) -> Result<VodPage, OperationError> {
        if self.after.is_some() || self.from_ms.is_some() || self.to_ms.is_some() {
            return Err(OperationError::invalid("`offset` cannot be combined with `after`, `fromMs` or `toMs`"));
        }
        let chosen = Chosen {
            stream: self.stream.as_deref(),
            text: self.text.as_deref(),
            outcome: self.outcome,
            state: self.state,
        };
        let selection = Selection { descending: !self.oldest_first, ..chosen.selection() };
        let shared = context.pipeline().catalog.shared();
        let items =
            shared.select(&selection, offset, self.limit.min(PAGE_LIMIT))?.into_iter().map(ListedVod::from).collect();
        let total = Some(shared.count_selected(&selection)?);
        Ok(VodPage { items, next: None, total, unreadable: Vec::new() })
    }
}

/// What VoDs are chosen by where the index in memory is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chosen<'a> {
    pub stream: Option<&'a str>,
    pub text: Option<&'a str>,
    pub outcome: Option<Outcome>,
    pub state: Option<VodState>,
}

impl<'a> Chosen<'a> {
    /// All of these, by start time.
    pub(super) fn selection(self) -> Selection<'a> {
        let marks = self.outcome.map_or_else(Marks::default, |outcome| Marks::default().outcome(outcome));
        let marks = match self.state {
            None => marks,
            Some(VodState::Local) => marks.freed(false),
            Some(VodState::Freed) => marks.freed(true),
            Some(VodState::Delivered) => marks.delivered(),
            Some(VodState::Defective) => marks.defective(),
        };
        let (stream, search) = (self.stream, self.text);
        Selection { everywhere: true, stream, search, marks, order: Order::Start, ..Selection::default() }
    }
}

/// One VoD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShowVod {
    /// Its id.
    pub id: String,
}

impl Operation for ShowVod {
    type Item = NoItem;
    type Data = ListedVod;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<ListedVod, OperationError> {
        let ctx = context.pipeline();
        match ctx.catalog.shared().vod(&self.id)? {
            Some(vod) => Ok(vod.into()),
            None => fleet::elsewhere(ctx, &self.id),
        }
    }
}

pub(super) fn known(ctx: &PipelineContext, id: &str) -> Result<VodRecord, OperationError> {
    ctx.catalog.shared().vod(id)?.ok_or_else(|| fleet::not_here(ctx, id))
}

/// Every VoD, the oldest first, one item each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportVods {}

/// How many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    /// VoDs told.
    pub vods: u64,
}

impl Operation for ExportVods {
    type Item = VodRecord;
    type Data = Exported;

    fn run(&self, context: &Context, tell: ItemSink<'_, VodRecord>) -> Result<Exported, OperationError> {
        let mut vods = 0;
        for vod in context.pipeline().catalog.shared().all_vods()? {
            context.go_on()?;
            tell(vod?)?;
            vods += 1;
        }
        Ok(Exported { vods })
    }
}

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
        begin_removal(ctx, &mut owned)?;
        deletion.objects = owned.iter().map(DeletedObject::of).collect();
        delete_objects(ctx, &owned, &mut deletion.objects)
            .inspect_err(|_| pipeline::keep_objects(&ctx.removing, &owned))?;
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
        Ok(Deletion { is_deleted: true, ..deletion })
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
