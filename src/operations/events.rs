//! The event log: a page of it, its events as they come, and sending them to an endpoint again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::announce::{AnnounceError, is_like};
use crate::catalog::{EventPage, LoggedEvent};
use crate::fault::chain;

/// Events of a page at most, and those that are looked at for one.
const PAGE_LIMIT: usize = 1_000;
/// Events read at once for a listener.
const READ_AT_ONCE: usize = 100;

/// A page of the log, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListEvents {
    /// Only events after this sequence number; 0: from the oldest.
    pub after: u64,
    /// How many at most; a page has no more than 1,000.
    pub limit: usize,
    /// Only these types, with `*` and `?`, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<String>,
    /// Only these streams, with `*` and `?`, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<String>,
}

impl Default for ListEvents {
    fn default() -> Self {
        Self { after: 0, limit: 100, types: None, streams: None }
    }
}

/// A part of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogPage {
    /// The events, the oldest first.
    pub items: Vec<LoggedEvent>,
    /// The `after` of the next page. The page may be empty and the log go on all the same, where few events are wanted.
    pub next: u64,
    /// The last sequence number of the log: with `next` the same, this is the end.
    pub last: u64,
    /// Events after `after` that were dropped.
    pub lost: u64,
    /// Events that cannot be read, in words.
    pub unreadable: Vec<String>,
}

/// Which events of a log are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventSelection {
    types: Vec<String>,
    streams: Vec<String>,
}

impl EventSelection {
    /// As they are named, separated by commas; all where nothing is named.
    pub fn of(types: Option<&str>, streams: Option<&str>) -> Self {
        let patterns = |text: Option<&str>| {
            let patterns = text.unwrap_or_default().split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
            patterns.map(str::to_owned).collect()
        };
        Self { types: patterns(types), streams: patterns(streams) }
    }

    /// Whether this one is.
    pub fn wants(&self, logged: &LoggedEvent) -> bool {
        let is_of_stream = || logged.event.stream_id().is_some_and(|stream| is_like(stream, &self.streams));
        is_like(logged.event.name(), &self.types) && (self.streams.is_empty() || is_of_stream())
    }
}

impl Operation for ListEvents {
    type Item = NoItem;
    type Data = LogPage;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<LogPage, OperationError> {
        let (shared, wanted) =
            (context.pipeline().catalog.shared(), EventSelection::of(self.types.as_deref(), self.streams.as_deref()));
        let (last, limit) = (shared.end_of_events()?.0, self.limit.min(PAGE_LIMIT));
        let EventPage { mut events, unreadable, mut next, lost } = shared.events(self.after, PAGE_LIMIT)?;
        events.retain(|logged| wanted.wants(logged));
        if events.len() > limit {
            events.truncate(limit);
            next = events.last().map_or(self.after, |logged| logged.sequence);
        }
        let unreadable = unreadable.iter().map(|error| chain(error)).collect();
        Ok(LogPage { items: events, next, last: last.max(next), lost, unreadable })
    }
}

/// The events of the log as they come, until the client goes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FollowEvents {
    /// Only events after this sequence number; 0: from the oldest. Without: those that come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only these types, with `*` and `?`, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<String>,
    /// Only these streams, with `*` and `?`, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<String>,
    /// End with what is there.
    pub ends: bool,
}

/// How far a listener has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Followed {
    /// The last sequence number that was looked at.
    pub next: u64,
    /// Events that were dropped before they were read.
    pub lost: u64,
}

impl Operation for FollowEvents {
    type Item = LoggedEvent;
    type Data = Followed;

    fn run(&self, context: &Context, tell: ItemSink<'_, LoggedEvent>) -> Result<Followed, OperationError> {
        let ctx = context.pipeline();
        let (shared, wanted) =
            (ctx.catalog.shared(), EventSelection::of(self.types.as_deref(), self.streams.as_deref()));
        let mut listener = ctx.announcer.appended().listen();
        let mut followed =
            Followed { next: self.after.map_or_else(|| shared.end_of_events().map(|end| end.0), Ok)?, lost: 0 };
        loop {
            context.go_on()?;
            let page = shared.events(followed.next, READ_AT_ONCE)?;
            let is_end = page.next == followed.next;
            (followed.next, followed.lost) = (page.next, followed.lost + page.lost);
            page.events.into_iter().filter(|logged| wanted.wants(logged)).try_for_each(&mut *tell)?;
            if !is_end {
                continue;
            }
            // In a process of its own nothing else happens.
            if self.ends || context.is_alone() {
                return Ok(followed);
            }
            listener.wait_after(followed.next, &ctx.runtime, context.stop())?;
        }
    }
}

/// Sends events to an endpoint again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayEvents {
    /// Its name: `webhook/NAME`, `command/NAME` or NAME.
    pub endpoint: String,
    /// The first sequence number that is sent again.
    pub from: u64,
}

/// What is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// The endpoint.
    pub endpoint: String,
    /// The first sequence number that is sent again: the one wished for, or the oldest that is kept.
    pub from: u64,
    /// The last one that there is now.
    pub last: u64,
}

impl Operation for ReplayEvents {
    type Item = NoItem;
    type Data = Replay;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<Replay, OperationError> {
        let replayed = context.pipeline().announcer.replay(&self.endpoint, self.from).map_err(|error| match error {
            AnnounceError::NoSuchEndpoint(_) => {
                let said = OperationError::in_one_line(&error);
                OperationError { next_step: said.next_step, ..OperationError::not_found(said.detail) }
            }
            other => other.into(),
        })?;
        Ok(Replay { endpoint: replayed.endpoint, from: replayed.from, last: replayed.last })
    }
}
