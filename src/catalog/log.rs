//! How events are stored: appended in the transaction of what they tell of, bounded in number and age.
//!
//! So none is lost and none tells of what did not happen. Sequence numbers begin at 1, have no gaps and are never given twice.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::rows::{StoredValue, decode};
use super::store::{Database, LAST_EVENT_KEY, Tx, TxAbort};
use super::tree::TreeId;
use crate::recording::{EVENT_VERSION, Event};

/// Sequence number of the oldest event that is kept, in `meta`.
pub(super) const FIRST_KEY: &[u8] = b"first_event";
/// Before the name of a consumer, in `meta`; the value is the last sequence number that it is done with.
const CONSUMER: &str = "consumer/";
/// Before the name of a consumer, in `meta`; the value is what else it remembers.
const MEMORY: &str = "consumer_memory/";
/// Events dropped in one transaction at most.
const MOST_DROPPED: u64 = 500;
/// Where the log is longer than it may be, so much of it goes at once.
const DROPPED_PART: u64 = 64;
/// The age of the oldest event is looked at once in so many.
const AGE_LOOKS: u64 = 64;
/// A consumer that loses events is named once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// Events that are kept at most. Default 10,000.
    pub keep: u64,
    /// How long an event is kept at most. Default 30 days.
    pub keep_for: Duration,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { keep: 10_000, keep_for: Duration::from_secs(30 * 24 * 3_600) }
    }
}

/// A named reader of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// The last sequence number that it is done with.
    pub cursor: u64,
    /// Events that it has not read yet, those that were dropped included.
    pub lag: u64,
}

/// An event as it is stored.
#[derive(Serialize)]
struct EventRow<'a> {
    version: u32,
    #[serde(rename = "atMs")]
    at_ms: i64,
    #[serde(flatten)]
    event: &'a Event,
}

/// The same as it is read.
#[derive(Deserialize)]
pub(super) struct OwnedEventRow {
    #[serde(rename = "atMs")]
    pub at_ms: i64,
    #[serde(flatten)]
    pub event: Event,
}

impl StoredValue for OwnedEventRow {
    const VERSION: Option<u32> = Some(EVENT_VERSION);
}

/// How old an event is, without the rest of it.
#[derive(Deserialize)]
struct EventAge {
    #[serde(rename = "atMs")]
    at_ms: i64,
}

impl StoredValue for EventAge {}

/// What an open catalogue knows of its log besides what is stored.
#[derive(Debug, Default)]
pub(super) struct LogState {
    limits: Mutex<EventLimits>,
    said: Mutex<Option<Instant>>,
}

impl LogState {
    pub(super) fn limits(&self) -> MutexGuard<'_, EventLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to name a consumer again.
    fn may_say(&self) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|at| at.elapsed() >= SAID_EVERY);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }
}

/// Writes events in a transaction.
pub(super) struct Appender<'a> {
    pub tx: &'a Tx<'a>,
    pub limits: EventLimits,
    pub now_ms: i64,
    /// The last event that was dropped, 0 if none.
    pub dropped: &'a Cell<u64>,
    /// Whether anything was appended.
    pub has_appended: &'a Cell<bool>,
}

impl Appender<'_> {
    /// Appends an event, and drops what is beyond the limits, a few at a time.
    pub(super) fn append(&self, event: &Event) -> std::result::Result<(), TxAbort> {
        let sequence = number_in(self.tx, LAST_EVENT_KEY)?.saturating_add(1);
        self.tx.put(TreeId::Meta, LAST_EVENT_KEY, &sequence.to_be_bytes())?;
        self.tx.write(
            TreeId::Events,
            key(sequence),
            &EventRow { version: EVENT_VERSION, at_ms: self.now_ms, event },
        )?;
        self.has_appended.set(true);
        self.trim(sequence)
    }

    fn trim(&self, last: u64) -> std::result::Result<(), TxAbort> {
        let first = number_in(self.tx, FIRST_KEY)?.max(1);
        let over = last.saturating_add(1).saturating_sub(first).saturating_sub(self.limits.keep.max(1));
        let wanted = if over == 0 { 0 } else { over.max(self.limits.keep / DROPPED_PART) };
        let end = first.saturating_add(wanted.min(MOST_DROPPED)).min(last);
        let mut next = first;
        while next < end || (last.is_multiple_of(AGE_LOOKS) && self.is_too_old(next, first, last)?) {
            self.tx.remove(TreeId::Events, key(next))?;
            next = next.saturating_add(1);
        }
        if next == first {
            return Ok(());
        }
        self.dropped.set(next.saturating_sub(1));
        self.tx.put(TreeId::Meta, FIRST_KEY, &next.to_be_bytes())
    }

    /// Whether an event has been kept for too long, and there is room for it among those that are dropped now.
    fn is_too_old(&self, event: u64, first: u64, last: u64) -> std::result::Result<bool, TxAbort> {
        if event >= last || event.saturating_sub(first) >= MOST_DROPPED {
            return Ok(false);
        }
        let Some(stored) = self.tx.get(TreeId::Events, key(event))? else { return Ok(true) };
        let age = decode::<EventAge>(TreeId::Events, &key(event), &stored).ok();
        let keep_for_ms = i64::try_from(self.limits.keep_for.as_millis()).unwrap_or(i64::MAX);
        Ok(age.is_some_and(|age| self.now_ms.saturating_sub(age.at_ms) > keep_for_ms))
    }
}

pub(super) const fn key(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn number_in(tx: &Tx<'_>, name: &[u8]) -> std::result::Result<u64, TxAbort> {
    Ok(tx.get(TreeId::Meta, name)?.and_then(|value| number(&value)).unwrap_or(0))
}

pub(super) fn consumer(name: &str) -> String {
    format!("{CONSUMER}{name}")
}

/// Under which key what a consumer remembers besides its cursor is kept.
pub(super) fn memory_of(name: &str) -> String {
    format!("{MEMORY}{name}")
}

/// Every consumer, the slowest first.
pub(super) fn consumers(store: &Database) -> Result<Vec<Consumer>> {
    let last = store.number(LAST_EVENT_KEY)?;
    let mut consumers = Vec::new();
    for row in store.prefix(TreeId::Meta, CONSUMER.as_bytes())? {
        let (key, cursor) = row?;
        let cursor = number(&cursor).unwrap_or(0);
        let name = String::from_utf8_lossy(&key[CONSUMER.len()..]).into_owned();
        consumers.push(Consumer { name, cursor, lag: last.saturating_sub(cursor) });
    }
    consumers.sort_by_key(|consumer| consumer.cursor);
    Ok(consumers)
}

impl LogState {
    /// Names the slowest consumer, if it has not read what was dropped up to an event.
    pub(super) fn name_the_slowest(&self, store: &Database, dropped: u64) {
        let Ok(consumers) = consumers(store) else { return };
        if let Some(Consumer { name, cursor, .. }) = consumers.first().filter(|c| c.cursor < dropped)
            && self.may_say()
        {
            tracing::warn!(
                consumer = %crate::recording::name::printable_text(name),
                lost = dropped.saturating_sub(*cursor),
                "events dropped before the slowest consumer read them; see [events] keep and keep_for"
            );
        }
    }
}

/// Before the first event of a database whose events were kept in another form: numbers go on, and nothing is kept.
pub(super) fn begin_anew(store: &Database) -> Result<()> {
    let next = store.number(LAST_EVENT_KEY)?.saturating_add(1);
    store.set_number(FIRST_KEY, next)
}
