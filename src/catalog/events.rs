//! The event log as consumers see it: one for everybody, read by sequence number in pages, with a cursor for each consumer.
//!
//! Who reads too slowly loses the oldest events and is told how many; the slowest consumer is also named in the log of the
//! process. Delivery is at least once: a cursor is durable with the next transition, and after a power cut events may come again,
//! under the same numbers.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{CatalogError, Result};
use super::log::{
    Consumer, EventLimits, FIRST_KEY, OwnedEventRow, consumer, consumers, key, memory_of, number, number_in,
};
use super::rows::decode;
use super::shared::SharedCatalog;
use super::store::{LAST_EVENT_KEY, stop};
use super::tree::TreeId;
use crate::recording::Event;

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Logged")]
pub struct LoggedEvent {
    /// Its number; later events have greater ones.
    pub sequence: u64,
    /// When it was written, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A part of the log.
#[derive(Debug, Default)]
pub struct EventPage {
    /// The events in order.
    pub events: Vec<LoggedEvent>,
    /// Events that this version cannot read; they count as read.
    pub unreadable: Vec<CatalogError>,
    /// The last sequence number of this page: the next one begins after it.
    pub next: u64,
    /// Events that would have been here and were dropped before they were read.
    pub lost: u64,
}

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerStart {
    /// With the oldest event that is kept.
    Oldest,
    /// With what happens from now on.
    Now,
}

impl SharedCatalog {
    /// Keeps so much of the log from now on; what is beyond that goes with the events to come.
    pub fn limit_events(&self, limits: EventLimits) {
        *self.0.log.limits() = limits;
    }

    /// How much of the log is kept.
    pub fn event_limits(&self) -> EventLimits {
        *self.0.log.limits()
    }

    /// Events after a sequence number (0: from the oldest), in order, at most so many. What is read is durable: a power cut
    /// takes back no event that anybody was told, and its number is not given to another.
    pub fn events(&self, after: u64, limit: usize) -> Result<EventPage> {
        let end = self.store().number(LAST_EVENT_KEY)?;
        if self.store().durable_event() < end {
            self.store().flush("events read")?;
        }
        let first = self.store().number(FIRST_KEY)?.max(1);
        let lost = first.saturating_sub(1).saturating_sub(after);
        let mut page = EventPage { next: after.max(first.saturating_sub(1)), lost, ..EventPage::default() };
        if after >= end {
            return Ok(page);
        }
        let from = Bound::Included(key(after.saturating_add(1)).to_vec());
        let to = Bound::Included(key(end).to_vec());
        for row in self.store().range(TreeId::Events, (from, to))?.take(limit) {
            let (key, value) = row?;
            let Some(sequence) = number(&key) else { continue };
            match decode::<OwnedEventRow>(TreeId::Events, &key, &value) {
                Ok(OwnedEventRow { at_ms, event }) => page.events.push(LoggedEvent { sequence, at_ms, event }),
                Err(unreadable) => page.unreadable.push(unreadable),
            }
            page.next = sequence;
        }
        Ok(page)
    }

    /// The sequence number of the last event; 0 before the first.
    pub fn last_event(&self) -> Result<u64> {
        self.store().number(LAST_EVENT_KEY)
    }

    /// Adds a consumer, which then has a cursor of its own; one that is there keeps its place. Durable on return.
    pub fn add_consumer(&self, name: &str, from: ConsumerStart) -> Result<()> {
        self.store().transact(|tx| {
            if tx.get(TreeId::Meta, consumer(name))?.is_some() {
                return Ok(());
            }
            let cursor = match from {
                ConsumerStart::Oldest => number_in(tx, FIRST_KEY)?.max(1).saturating_sub(1),
                ConsumerStart::Now => number_in(tx, LAST_EVENT_KEY)?,
            };
            tx.put(TreeId::Meta, consumer(name), &cursor.to_be_bytes())
        })?;
        self.store().flush("event consumer added")
    }

    /// Forgets a consumer, its cursor and what it remembered. Not flushed: one that comes back is forgotten again.
    pub fn remove_consumer(&self, name: &str) -> Result<()> {
        self.store().transact(|tx| {
            tx.remove(TreeId::Meta, memory_of(name))?;
            tx.remove(TreeId::Meta, consumer(name))
        })
    }

    /// The last event that a consumer is done with, and what else it remembered; `None` if there is no such consumer.
    pub fn consumer(&self, name: &str) -> Result<Option<(u64, Option<Value>)>> {
        let cursor = self.store().get(TreeId::Meta, consumer(name))?.and_then(|cursor| number(&cursor));
        let Some(cursor) = cursor else { return Ok(None) };
        Ok(Some((cursor, self.store().read(TreeId::Meta, memory_of(name))?)))
    }

    /// Sets a consumer's cursor, also back, together with what else it remembers. Durable on return if that is asked for.
    pub fn note_consumer(&self, name: &str, up_to: u64, memory: Option<&Value>, is_durable: bool) -> Result<()> {
        self.store().transact(|tx| {
            tx.get(TreeId::Meta, consumer(name))?.ok_or_else(|| stop(no_such_consumer(name)))?;
            let up_to = up_to.min(number_in(tx, LAST_EVENT_KEY)?);
            tx.put(TreeId::Meta, consumer(name), &up_to.to_be_bytes())?;
            match memory {
                Some(memory) => tx.write(TreeId::Meta, memory_of(name), memory),
                None => tx.remove(TreeId::Meta, memory_of(name)),
            }
        })?;
        if is_durable { self.store().flush("event consumer noted") } else { Ok(()) }
    }

    /// Calls something whenever the log has grown, and whenever more of it is durable, for as long as the catalogue is open. It is
    /// called by whoever wrote, and must only wake somebody.
    pub fn when_heard(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.store().heard.add(listener);
    }

    /// The sequence number of the last event, and of the last that is known to be durable.
    pub fn end_of_events(&self) -> Result<(u64, u64)> {
        Ok((self.store().number(LAST_EVENT_KEY)?, self.store().durable_event()))
    }

    /// The sequence number of the oldest event that is kept; 1 if there was none yet.
    pub fn first_event(&self) -> Result<u64> {
        Ok(self.store().number(FIRST_KEY)?.max(1))
    }

    /// What a consumer has not read yet, from its cursor on, at most so many.
    pub fn unread_events(&self, name: &str, limit: usize) -> Result<EventPage> {
        let cursor = self.store().get(TreeId::Meta, consumer(name))?.and_then(|cursor| number(&cursor));
        self.events(cursor.ok_or_else(|| no_such_consumer(name))?, limit)
    }

    /// Moves a consumer's cursor to the last event that it is done with; it never goes back.
    pub fn acknowledge_events(&self, name: &str, up_to: u64) -> Result<()> {
        self.store().transact(|tx| {
            let cursor = tx.get(TreeId::Meta, consumer(name))?.ok_or_else(|| stop(no_such_consumer(name)))?;
            let up_to = up_to.min(number_in(tx, LAST_EVENT_KEY)?);
            if number(&cursor).is_some_and(|cursor| cursor >= up_to) {
                return Ok(());
            }
            tx.put(TreeId::Meta, consumer(name), &up_to.to_be_bytes())
        })
    }

    /// Every consumer, the slowest first.
    pub fn event_consumers(&self) -> Result<Vec<Consumer>> {
        consumers(self.store())
    }
}

fn no_such_consumer(name: &str) -> CatalogError {
    CatalogError::NoSuchConsumer { name: name.to_owned() }
}
