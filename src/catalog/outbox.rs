//! Events that wait to be announced. They are written in the transaction of what they tell of, so that none is lost and none
//! tells of what did not happen; who announces them drops them afterwards.

use std::ops::Bound;

use serde_json::{Value, json};

use super::store::{In, Stop, Tx, decode};
use super::vods::Listing;
use super::{Catalog, Result};
use crate::recording::VodRecord;

const LAST_KEY: &[u8] = b"last_event";
/// Events that are kept for whoever reads them; older ones are dropped.
pub(super) const MOST_EVENTS: u64 = 10_000;
/// How long an event is kept at most.
pub(super) const OLDEST_MS: i64 = 90 * 24 * 3_600 * 1_000;
/// Of events beyond that, dropped with each new one: a state directory that kept all of them comes down by and by.
const DROPPED_AT_ONCE: u64 = 4;
/// The oldest event that may be there.
const FIRST_KEY: &[u8] = b"first_event";

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number; later events have greater ones.
    pub id: u64,
    /// What happened; `event` names it.
    pub body: Value,
}

impl Catalog {
    /// Adds an event and returns its number; durable on return.
    pub fn announce(&self, body: &Value) -> Result<u64> {
        let id = self.store().transact(|tx| {
            announce_in(tx, body)?;
            last_in(tx)
        })?;
        self.store().flush("event written")?;
        Ok(id)
    }

    /// Events after a number (0: from the first), in order.
    pub fn events(&self, after: u64, limit: usize) -> Result<Listing<Event>> {
        let mut events = Listing::default();
        let from = after.saturating_add(1).to_be_bytes().to_vec();
        for row in self.store().range(In::Outbox, (Bound::Included(from), Bound::Unbounded))?.take(limit) {
            let (key, value) = row?;
            let body = decode(In::Outbox, &key, &value);
            events.add(body.map(|body| number(&key).map(|id| Event { id, body })));
        }
        Ok(events)
    }

    /// Drops the events up to a number, itself included. Not flushed: one that comes back is announced twice, which those who
    /// listen must bear anyway.
    pub fn drop_events(&self, up_to: u64) -> Result<()> {
        let to = up_to.saturating_add(1).to_be_bytes().to_vec();
        let keys =
            self.store().range(In::Outbox, (Bound::Unbounded, Bound::Excluded(to)))?.map(|row| row.map(|(key, _)| key));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        self.store().transact(|tx| keys.iter().try_for_each(|key| tx.remove(In::Outbox, key)))
    }
}

fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

fn last_in(tx: &Tx<'_>) -> std::result::Result<u64, Stop> {
    Ok(tx.get(In::Meta, LAST_KEY)?.and_then(|last| number(&last)).unwrap_or(0))
}

/// Adds an event to a transaction.
pub(super) fn announce_in(tx: &Tx<'_>, body: &Value) -> std::result::Result<(), Stop> {
    let last = last_in(tx)?.saturating_add(1);
    drop_oldest_in(tx, last, body["atMs"].as_i64())?;
    tx.put(In::Meta, LAST_KEY, &last.to_be_bytes())?;
    tx.write(In::Outbox, last.to_be_bytes(), body)
}

/// Drops what is beyond [`MOST_EVENTS`] or older than [`OLDEST_MS`], a few at a time.
fn drop_oldest_in(tx: &Tx<'_>, last: u64, now_ms: Option<i64>) -> std::result::Result<(), Stop> {
    let oldest_kept = last.saturating_sub(MOST_EVENTS).saturating_add(1);
    let first = tx.get(In::Meta, FIRST_KEY)?.and_then(|first| number(&first)).unwrap_or(1);
    let mut next = first;
    for event in first..last.min(first.saturating_add(DROPPED_AT_ONCE)) {
        if event >= oldest_kept && !is_too_old(tx, event, now_ms)? {
            break;
        }
        tx.remove(In::Outbox, event.to_be_bytes())?;
        next = event.saturating_add(1);
    }
    if next == first { Ok(()) } else { tx.put(In::Meta, FIRST_KEY, &next.to_be_bytes()) }
}

/// Whether an event is not there any more, or is one that nobody has read for too long.
fn is_too_old(tx: &Tx<'_>, event: u64, now_ms: Option<i64>) -> std::result::Result<bool, Stop> {
    let Some(stored) = tx.get(In::Outbox, event.to_be_bytes())? else { return Ok(true) };
    let body = decode::<Value>(In::Outbox, &event.to_be_bytes(), &stored).ok();
    let at_ms = body.and_then(|body| body["atMs"].as_i64());
    Ok(at_ms.zip(now_ms).is_some_and(|(at, now)| now.saturating_sub(at) > OLDEST_MS))
}

/// An event about a VoD.
pub(super) fn about_vod(event: &str, vod: &VodRecord, now_ms: i64) -> Value {
    json!({
        "event": event, "vodId": vod.vod_id, "streamId": vod.stream_id, "vodName": vod.vod_name,
        "filePath": vod.file_path, "atMs": now_ms,
    })
}
