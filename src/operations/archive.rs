//! The finished recordings as an archive with positions: a page from anywhere, sorted and searched, and how many there are.
//!
//! Beside [`ListVods`](super::ListVods), which goes from page to page by a cursor and needs no memory, these keep an index of all VoDs in
//! memory from the first call on.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fleet::query_of;
use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::catalog::{Order, Selection};
use crate::fleet::{Fleet, FleetOrder, FleetQuery};
use crate::recording::VodRecord;

/// VoDs of a page at most.
pub const MOST_SELECTED: usize = 1000;

/// VoDs of some roots from a position on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SelectVods {
    /// Which ones.
    pub of: VodFilter,
    /// By name instead of by creation date.
    pub by_name: bool,
    /// The last first.
    pub descending: bool,
    /// How many are left out before the first.
    pub offset: usize,
    /// How many at most; a page has no more than [`MOST_SELECTED`].
    pub limit: usize,
}

/// Which VoDs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VodFilter {
    /// Those of these roots.
    pub roots: Vec<PathBuf>,
    /// With a fleet: those of this application on all nodes, whatever their roots.
    pub app: Option<String>,
    /// Only those of this stream.
    pub stream: Option<String>,
    /// Only those whose id, name, stream id, stream name, description or metadata contains this, whatever the case.
    pub search: Option<String>,
}

impl VodFilter {
    /// Whom to ask where the VoDs of all nodes are wanted.
    fn fleet<'a>(&self, context: &'a Context) -> Option<&'a Fleet> {
        context.pipeline().fleet.as_ref().filter(|_| self.app.is_some())
    }

    fn selection(&self) -> Selection<'_> {
        let (stream, search) = (self.stream.as_deref(), self.search.as_deref());
        Selection { roots: &self.roots, stream, search, ..Selection::default() }
    }
}

impl Operation for SelectVods {
    type Item = NoItem;
    type Data = Vec<VodRecord>;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Vec<VodRecord>, OperationError> {
        if let Some(fleet) = self.of.fleet(context) {
            let order = if self.by_name { FleetOrder::Name } else { FleetOrder::Created };
            let (offset, limit) = (self.offset, self.limit.min(MOST_SELECTED));
            let query = FleetQuery { offset, limit, ..query_of(&self.of, order, self.descending) };
            return Ok(fleet.vods(&query)?.items.into_iter().map(|vod| vod.record).collect());
        }
        let order = if self.by_name { Order::Name } else { Order::Created };
        let selection = Selection { order, descending: self.descending, ..self.of.selection() };
        Ok(context.pipeline().catalog.shared().select(&selection, self.offset, self.limit.min(MOST_SELECTED))?)
    }
}

/// How many VoDs there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CountVods {
    /// Which ones.
    pub of: VodFilter,
}

/// The number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VodCount {
    /// How many.
    pub number: usize,
}

impl Operation for CountVods {
    type Item = NoItem;
    type Data = VodCount;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<VodCount, OperationError> {
        if let Some(fleet) = self.of.fleet(context) {
            let number = fleet.count_vods(&query_of(&self.of, FleetOrder::Created, false))?;
            return Ok(VodCount { number: usize::try_from(number).unwrap_or(usize::MAX) });
        }
        let number = context.pipeline().catalog.shared().count_selected(&self.of.selection())?;
        Ok(VodCount { number })
    }
}
