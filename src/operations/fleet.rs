//! VoDs of other nodes: what the fleet database lists, whose a VoD is, and where its media can be had.
//!
//! What the database says was written by other nodes and is not trusted: it names a copy only where a target of this node has the
//! object below its prefix, and a node only by an HTTP address.

use std::ops::Deref;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::VodFilter;
use super::media::{MediaCopy, VALID};
use super::nodes::ALL;
use super::vods::{ListVods, PAGE_LIMIT, VodPage, VodState};
use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::deliver::{Link, LinkOptions};
use crate::fleet::{FleetError, FleetOrder, FleetQuery, FleetVod, NodeOfVod, VodFlag};
use crate::pipeline::PipelineContext;
use crate::recording::VodRecord;
use crate::recording::name::{format_time, printable_text};

/// How a list is asked for that holds only what this node has.
pub(super) const THIS: &str = "this";

/// A VoD with the node that has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedVod {
    /// The record.
    #[serde(flatten)]
    pub vod: VodRecord,
    /// Its node, where several nodes were asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<VodNode>,
}

impl From<VodRecord> for ListedVod {
    fn from(vod: VodRecord) -> Self {
        Self { vod, node: None }
    }
}

impl Deref for ListedVod {
    type Target = VodRecord;

    fn deref(&self) -> &VodRecord {
        &self.vod
    }
}

/// The node that has a VoD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VodNode {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is the node that was asked.
    pub is_this: bool,
    /// Whether the database has heard of it within the last 30 s.
    pub is_alive: bool,
    /// When the database heard of it last, milliseconds since the Unix epoch.
    pub last_seen_ms: i64,
    /// Which application the VoD's root is on it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// Where its HTTP interface is, if it says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub api_url: Option<String>,
    /// Since when the node does not know the VoD any more although it was not deleted, milliseconds since the Unix epoch. A store still
    /// has a copy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unknown_since_ms: Option<i64>,
}

impl ListedVod {
    fn of(FleetVod { record, node }: FleetVod, this: &str) -> Self {
        let NodeOfVod { node_id, name, api_url, is_alive, seen_ms, app, unknown_since_ms } = node;
        let (is_this, last_seen_ms) = (node_id == this, seen_ms);
        let node = VodNode { id: node_id, name, is_this, is_alive, last_seen_ms, app, api_url, unknown_since_ms };
        Self { vod: record, node: Some(node) }
    }
}

/// How this node stands to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// Identity of this node.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// Whether the database has confirmed a heartbeat within the last 20 s and nothing has failed since.
    pub is_connected: bool,
    /// What is in the way, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The epoch that this process runs under; each start has a greater one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<i64>,
    /// VoDs whose last change the database has not been told about.
    pub waiting_vods: u64,
    /// Events that it has not been told about.
    pub waiting_events: u64,
    /// Settings that have no effect here because of another node, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
}

impl FleetStatus {
    pub(super) fn of(ctx: &PipelineContext) -> Result<Option<Self>, OperationError> {
        let Some(fleet) = &ctx.fleet else { return Ok(None) };
        let health = fleet.health()?;
        Ok(Some(Self {
            node_id: health.node_id,
            name: health.name,
            is_connected: health.is_connected,
            problem: health.problem,
            hint: health.hint,
            epoch: health.epoch,
            waiting_vods: health.waiting_vods,
            waiting_events: health.waiting_events,
            warnings: fleet.second_rights().iter().map(|second| format!("{second}. {}", second.hint())).collect(),
        }))
    }

    /// What works only in part, in words.
    pub fn degraded(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!("the other nodes do not see this node's changes: {problem}"))
    }
}

/// The page where all nodes are asked for, or a certain other one.
pub(super) fn listed(context: &Context, wanted: &ListVods) -> Result<Option<VodPage>, OperationError> {
    let names_node = wanted.node.as_deref().is_some_and(|node| node != THIS);
    let Some(fleet) = &context.pipeline().fleet else {
        let refused = || OperationError::invalid("`node` needs `[fleet] database`: this node is alone");
        return if names_node { Err(refused()) } else { Ok(None) };
    };
    if (wanted.offset.is_some() && !names_node) || wanted.node.as_deref() == Some(THIS) {
        return Ok(None);
    }
    if wanted.offset.is_some() && wanted.after.is_some() {
        return Err(OperationError::invalid("`offset` cannot be combined with `after`"));
    }
    let query = query(wanted);
    let page = fleet.vods(&query).map_err(or_this)?;
    let total = wanted.offset.map(|_| fleet.count_vods(&query)).transpose().map_err(or_this)?;
    let total = total.map(|total| usize::try_from(total).unwrap_or(usize::MAX));
    let items = page.items.into_iter().map(|vod| ListedVod::of(vod, fleet.node_id())).collect();
    // A position goes on by itself.
    let next = page.next.filter(|_| total.is_none());
    Ok(Some(VodPage { items, next, total, unreadable: page.unreadable }))
}

/// An error of a list of all nodes: what this node has can still be listed.
pub(super) fn or_this(error: FleetError) -> OperationError {
    OperationError::from(error).or_next_step("`node=this` (`--node this`) lists what this node has.")
}

fn query(wanted: &ListVods) -> FleetQuery {
    let is_by_start = wanted.stream.is_some() || wanted.offset.is_some();
    FleetQuery {
        node: wanted.node.clone().filter(|node| node != ALL),
        app: None,
        stream: wanted.stream.clone(),
        order: if is_by_start { FleetOrder::Start } else { FleetOrder::Created },
        offset: wanted.offset.unwrap_or(0),
        limit: wanted.limit.min(PAGE_LIMIT),
        after: wanted.after.clone(),
        newest_first: !wanted.oldest_first,
        outcome: wanted.outcome,
        flag: wanted.state.map(flag_of),
        from_ms: wanted.from_ms,
        to_ms: wanted.to_ms,
        text: wanted.text.clone(),
    }
}

pub(super) const fn flag_of(state: VodState) -> VodFlag {
    match state {
        VodState::Local => VodFlag::Local,
        VodState::Freed => VodFlag::Freed,
        VodState::Delivered => VodFlag::Delivered,
        VodState::Defective => VodFlag::Defective,
    }
}

/// The question after the VoDs of an application on all nodes.
pub(super) fn query_of(of: &VodFilter, order: FleetOrder, newest_first: bool) -> FleetQuery {
    let (app, stream, text) = (of.app.clone(), of.stream.clone(), of.search.clone());
    FleetQuery { app, stream, order, newest_first, text, ..FleetQuery::default() }
}

/// Finds the VoD that an application has under one of some paths below its roots, on whatever node. More than one node may have such a
/// path: `is_it` says of a record whether it is meant.
pub fn find_in_app(
    context: &Context,
    app: &str,
    paths: &[String],
    is_it: impl Fn(&VodRecord) -> bool,
) -> Result<Option<ListedVod>, OperationError> {
    let Some(fleet) = &context.pipeline().fleet else { return Ok(None) };
    let found = fleet.vods_at(app, paths)?.into_iter().find(|vod| is_it(&vod.record));
    Ok(found.map(|vod| ListedVod::of(vod, fleet.node_id())))
}

/// A time of the database as people read it.
pub(super) fn away_since(seen_ms: i64) -> String {
    format_time(seen_ms, &TimeZone::UTC, "%Y-%m-%dT%H:%M:%SZ").unwrap_or_default()
}

fn unknown(id: &str) -> OperationError {
    OperationError::not_found(format!("no VoD has the id `{}`", printable_text(id)))
}

/// A VoD that this node does not have, from the node that has it.
pub(super) fn elsewhere(ctx: &PipelineContext, id: &str) -> Result<ListedVod, OperationError> {
    let fleet = ctx.fleet.as_ref().ok_or_else(|| unknown(id))?;
    let vod = fleet.vod(id)?.ok_or_else(|| unknown(id))?;
    Ok(ListedVod::of(vod, fleet.node_id()))
}

/// Why something cannot be done here with a VoD that this node does not have.
pub(super) fn not_here(ctx: &PipelineContext, id: &str) -> OperationError {
    let found = ctx.fleet.as_ref().map_or(Ok(None), |fleet| fleet.vod(id));
    not_here_by(ctx, id, found)
}

/// The same, with what the database said about it.
pub(super) fn not_here_by(
    ctx: &PipelineContext,
    id: &str,
    found: Result<Option<FleetVod>, FleetError>,
) -> OperationError {
    let Some(fleet) = &ctx.fleet else { return unknown(id) };
    match found {
        Ok(Some(vod)) if vod.node.node_id == fleet.node_id() => unknown(id).with_next_step(
            "The fleet database lists it for this node, whose catalogue does not know it any more: a backup was restored, or the catalogue was \
             rebuilt. `aftercast catalog rebuild` looks for its file.",
        ),
        Ok(Some(vod)) => of_another(&vod),
        Ok(None) => unknown(id),
        Err(error) => unknown(id).with_next_step(format!(
            "It may be another node's: the fleet database cannot be asked now ({}).",
            crate::fault::chain(&error)
        )),
    }
}

fn of_another(vod: &FleetVod) -> OperationError {
    let (id, name) = (printable_text(&vod.record.vod_id), printable_text(&vod.node.name));
    let error = OperationError::other_node(format!("the VoD `{id}` belongs to the node `{name}`; nothing was changed"));
    let at = vod.node.api_url.as_deref().map_or_else(String::new, |url| format!(", or ask {}", printable_text(url)));
    error.with_next_step(if vod.node.is_alive {
        format!("Run the same command on `{name}`{at}.")
    } else {
        format!("`{name}` is not running: start it, then run the same command there.")
    })
}

/// Where the media of another node's VoD can be had: in a store, or at its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MediaElsewhere {
    /// Its id.
    pub id: String,
    /// Whether it is wanted as a download under its name.
    pub as_download: bool,
    /// Whether only the head of the answer is wanted.
    pub head: bool,
}

impl Operation for MediaElsewhere {
    type Item = NoItem;
    type Data = MediaCopy;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<MediaCopy, OperationError> {
        let ctx = context.pipeline();
        let ListedVod { vod, node } = elsewhere(ctx, &self.id)?;
        if let Some(url) = self.in_a_store(ctx, &vod) {
            return Ok(MediaCopy::Url(url));
        }
        let node = node.filter(|node| !node.is_this).ok_or_else(|| unknown(&self.id))?;
        match &node.api_url {
            Some(url) if node.is_alive => Ok(MediaCopy::Url(self.at_its_node(url))),
            _ => Err(self.out_of_reach(&node)),
        }
    }
}

impl MediaElsewhere {
    /// In a store that this node is configured for, too.
    fn in_a_store(&self, ctx: &PipelineContext, vod: &VodRecord) -> Option<String> {
        let targets = ctx.targets();
        let download_name = self.as_download.then_some(vod.vod_name.as_str());
        let reader = LinkOptions { valid: VALID, wants_head: self.head, download_name };
        let objects = vod.remote.iter().filter(|object| object.differs.is_none() && targets.reaches(object));
        objects.filter_map(|object| targets.link(object, &reader).ok()).find_map(|link| match link {
            Link::Url(url) => Some(url),
            // The same path here may be another disk.
            Link::File(_) => None,
        })
    }

    fn at_its_node(&self, api_url: &str) -> String {
        let id = percent_encoding::utf8_percent_encode(&self.id, percent_encoding::NON_ALPHANUMERIC);
        let query = if self.as_download { "?download=1" } else { "" };
        format!("{api_url}/api/v1/vods/{id}/media{query}")
    }

    fn out_of_reach(&self, node: &VodNode) -> OperationError {
        let (id, name) = (printable_text(&self.id), printable_text(&node.name));
        let only_there = format!("the media of the VoD `{id}` is only on the node `{name}`");
        if node.is_alive {
            return OperationError::other_node(only_there).with_next_step(format!(
                "Set `fleet.api_url` on `{name}`, or a target of the same name and URL on this node."
            ));
        }
        let since = away_since(node.last_seen_ms);
        OperationError::node_away(format!("{only_there}, unreachable since {since}"))
            .with_next_step(format!("Start `{name}`."))
    }
}
