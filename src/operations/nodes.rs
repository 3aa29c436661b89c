//! The nodes of a fleet, what one has asked of another, and what happened on all of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Context, EventSelection, ItemSink, NoItem, Operation, OperationError};
use crate::catalog::LoggedEvent;
use crate::fleet::{CommandProgress, CommandState, FeedEvent, FeedPage, FeedQuery, Fleet, FleetNode};
use crate::recording::name::printable_text;

/// Events of a page at most, and those that are looked at for one.
const PAGE_LIMIT: usize = 1_000;
/// How a list is asked for that holds what all nodes have.
pub(super) const ALL: &str = "all";

/// All nodes that share the fleet database, by name; none where `[fleet]` is not configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListNodes {}

/// The nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeList {
    /// Each of them.
    pub items: Vec<NodeSummary>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSummary {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The version that it runs.
    pub version: String,
    /// Whether it is the node that was asked.
    pub is_this: bool,
    /// Whether the database has heard of it within the last 30 s.
    pub is_alive: bool,
    /// When the database heard of it last, milliseconds since the Unix epoch.
    pub last_seen_ms: i64,
    /// Where its HTTP interface is, if it says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub api_url: Option<String>,
}

impl Operation for ListNodes {
    type Item = NoItem;
    type Data = NodeList;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<NodeList, OperationError> {
        let Some(fleet) = &context.pipeline().fleet else { return Ok(NodeList::default()) };
        let summary = |node: FleetNode| NodeSummary {
            is_this: node.node_id == fleet.node_id(),
            id: node.node_id,
            name: node.name,
            version: node.version,
            is_alive: node.is_alive,
            last_seen_ms: node.seen_ms,
            api_url: node.api_url,
        };
        Ok(NodeList { items: fleet.nodes()?.into_iter().map(summary).collect() })
    }
}

fn fleet_of(context: &Context) -> Result<&Fleet, OperationError> {
    let alone = || OperationError::not_supported("this node is alone: `[fleet] database` is not set");
    context.pipeline().fleet.as_ref().ok_or_else(alone)
}

/// A command that a node was asked to do with a recording that it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShowCommand {
    /// Its id, as the answer 202 has it.
    pub id: String,
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CommandPhase {
    /// The node has not taken it yet.
    Waiting,
    /// The node does it.
    Taken,
    /// The node has answered.
    Done,
    /// The node did not take it in time; it is not done any more.
    Expired,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandSummary {
    /// Its id.
    pub id: String,
    /// Name of the node that it is for.
    pub node: String,
    /// `delete`, `verify` or `retry`.
    pub kind: String,
    /// Id of the VoD.
    pub vod_id: String,
    /// How far it has come.
    pub state: CommandPhase,
    /// When it was asked, milliseconds since the Unix epoch by the database's clock.
    pub asked_ms: i64,
    /// Until when the node may take it.
    pub expires_ms: i64,
    /// What the node answered: `items` and `data` of the operation, or an `error`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<Value>,
}

impl Operation for ShowCommand {
    type Item = NoItem;
    type Data = CommandSummary;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<CommandSummary, OperationError> {
        let found = fleet_of(context)?.command_state(&self.id)?;
        let unknown = || OperationError::not_found(format!("no command has the id `{}`", printable_text(&self.id)));
        let CommandState { id, node, kind, vod_id, progress, asked_ms, expires_ms, answer } =
            found.ok_or_else(unknown)?;
        let state = match progress {
            CommandProgress::Waiting => CommandPhase::Waiting,
            CommandProgress::Taken => CommandPhase::Taken,
            CommandProgress::Done => CommandPhase::Done,
            CommandProgress::Expired => CommandPhase::Expired,
        };
        Ok(CommandSummary { id, node, kind, vod_id, state, asked_ms, expires_ms, answer })
    }
}

/// What happened on all nodes, the oldest first, in the order in which the fleet database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListFleetEvents {
    /// The `next` of the page before; without: from the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many at most; a page has no more than 1,000.
    pub limit: usize,
    /// Only events of this node, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only these types, with `*` and `?`, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<String>,
    /// Only these streams, with `*` and `?`, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<String>,
}

impl Default for ListFleetEvents {
    fn default() -> Self {
        Self { after: None, limit: 100, node: None, types: None, streams: None }
    }
}

/// An event of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeEvent {
    /// Its place in the feed: the `after` that goes on behind it.
    pub cursor: String,
    /// The event, with its number in the node's own log.
    #[serde(flatten)]
    pub logged: LoggedEvent,
    /// The node.
    pub node: NodeName,
}

/// Which node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeName {
    /// Its identity.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A part of what happened on all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetEventPage {
    /// The events, the oldest first.
    pub items: Vec<NodeEvent>,
    /// The `after` of the next page. The page may be empty and there may be more all the same, where few events are wanted.
    pub next: String,
    /// Whether there is no more now.
    pub is_end: bool,
    /// Events that cannot be read, in words.
    pub unreadable: Vec<String>,
}

impl Operation for ListFleetEvents {
    type Item = NoItem;
    type Data = FleetEventPage;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<FleetEventPage, OperationError> {
        Ok(self.page(fleet_of(context)?.events(&self.query())?))
    }
}

impl ListFleetEvents {
    /// The same for somebody who follows the events.
    pub fn follow(&self, context: &Context) -> Result<FleetEventPage, OperationError> {
        Ok(self.page(fleet_of(context)?.followed_events(&self.query())?))
    }

    fn query(&self) -> FeedQuery {
        let node = self.node.clone().filter(|node| node != ALL);
        FeedQuery { node, after: self.after.clone(), limit: self.limit.clamp(1, PAGE_LIMIT) }
    }

    fn page(&self, page: FeedPage) -> FleetEventPage {
        FleetEventPage::of(page, &EventSelection::of(self.types.as_deref(), self.streams.as_deref()))
    }
}

impl FleetEventPage {
    fn of(page: FeedPage, wanted: &EventSelection) -> Self {
        let event = |event: FeedEvent| NodeEvent {
            cursor: event.cursor,
            logged: event.logged,
            node: NodeName { id: event.node_id, name: event.node_name },
        };
        let items = page.events.into_iter().filter(|event| wanted.wants(&event.logged)).map(event).collect();
        Self { items, next: page.next, is_end: page.is_end, unreadable: page.unreadable }
    }
}
