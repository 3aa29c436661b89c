//! The catalogue's VoDs: a page, one, all of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet::{self, ListedVod};
use super::{Context, ItemSink, NoItem, Operation, OperationError, cursor};
use crate::catalog::{Marks, Order, Selection, VodQuery};
use crate::fault::chain;
use crate::pipeline::PipelineContext;
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
