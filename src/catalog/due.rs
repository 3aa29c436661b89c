//! Which delivery is next: the index `by_due`, which has the rows of each target together.
//!
//! A target that waits as a whole is passed over by its name: what is found, and what it costs to find it, does not depend
//! on how much is queued for it. Assumes that rows are written together with their deliveries (`queue`); a row that leads
//! nowhere is dropped here.
//!
//! Rows whose time has come are moved to the front of their target's, where they stand newest first: so a recording that
//! finishes now overtakes a backlog that has been due for long.

use std::collections::BTreeMap;
use std::ops::Bound;

use sled::IVec;

use super::error::{CatalogError, Result};
use super::index::{DueKey, due_key, ordered, target_prefix};
use super::node::NodeCatalog;
use super::store::{Tx, TxAbort};
use super::tree::TreeId;
use crate::recording::{Delivery, DeliveryState};

/// The time of rows that are due already.
const DUE_MS: i64 = i64::MIN;
/// Rows moved to the front in one transaction.
const BATCH: usize = 1_000;

/// What a search of the queue found.
#[derive(Debug, Clone, PartialEq)]
pub enum NextDue {
    /// The most urgent delivery that is due.
    Due(Box<Delivery>),
    /// Nothing is due before this time, milliseconds since the Unix epoch.
    At(i64),
    /// Nothing waits.
    Nothing,
}

/// Which deliveries a search may find.
pub struct DueFilter<'a> {
    /// Of which targets.
    pub may_try: &'a dyn Fn(&str) -> bool,
    /// Which of them, by id; those that are begun are never found.
    pub is_free: &'a dyn Fn(&str) -> bool,
}

impl DueFilter<'_> {
    /// All that are not begun.
    pub const ALL: DueFilter<'static> = DueFilter { may_try: &|_| true, is_free: &|_| true };
}

impl std::fmt::Debug for DueFilter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DueFilter").finish_non_exhaustive()
    }
}

/// What waits for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Deliveries that wait.
    pub deliveries: u64,
    /// When the first of them was queued, milliseconds since the Unix epoch.
    pub oldest_ms: i64,
}

impl NodeCatalog {
    /// What waits, by target. Reads the keys of all waiting deliveries and no value.
    pub fn backlog(&self) -> Result<BTreeMap<String, Backlog>> {
        let mut backlog = BTreeMap::<String, Backlog>::new();
        for row in self.store().prefix(TreeId::ByDue, b"")? {
            let (key, _) = row?;
            let Some(read) = DueKey::read(&key) else { continue };
            let queued_ms = read.queued_ms();
            match backlog.get_mut(read.target) {
                Some(known) => {
                    *known = Backlog { deliveries: known.deliveries + 1, oldest_ms: known.oldest_ms.min(queued_ms) };
                }
                None => drop(backlog.insert(read.target.to_owned(), Backlog { deliveries: 1, oldest_ms: queued_ms })),
            }
        }
        Ok(backlog)
    }

    /// The most urgent delivery of all that may be tried: of those that are due the last queued, whatever its target.
    pub fn next_due(&self, now_ms: i64, among: &DueFilter<'_>) -> Result<NextDue> {
        loop {
            let heads = self.heads(Some(now_ms), among)?;
            let keys: Vec<_> = heads.iter().filter_map(|key| DueKey::read(key)).collect();
            let Some(first) = keys.iter().filter(|key| key.due_ms == DUE_MS).min_by_key(|key| key.rank) else {
                return Ok(keys.iter().map(|key| key.due_ms).min().map_or(NextDue::Nothing, NextDue::At));
            };
            if let Some(delivery) = self.due_delivery(first)? {
                return Ok(NextDue::Due(Box::new(delivery)));
            }
        }
    }

    /// When the next delivery that is not under way is due, milliseconds since the Unix epoch; a time in the past means now.
    pub fn next_due_ms(&self) -> Result<Option<i64>> {
        let heads = self.heads(None, &DueFilter::ALL)?;
        Ok(heads.iter().filter_map(|key| DueKey::read(key)).map(|key| key.due_ms).min())
    }

    /// The first row of each target that may be tried. With the time now, rows that are due by then are at the front.
    fn heads(&self, now_ms: Option<i64>, among: &DueFilter<'_>) -> Result<Vec<IVec>> {
        let mut heads = Vec::new();
        let mut from = Bound::Unbounded;
        while let Some(row) = self.store().range(TreeId::ByDue, (from, Bound::Unbounded))?.next() {
            let (key, _) = row?;
            let Some(read) = DueKey::read(&key) else {
                self.drop_due_row(&key)?;
                from = Bound::Excluded(key.to_vec());
                continue;
            };
            if (among.may_try)(read.target) {
                now_ms.map_or(Ok(()), |now_ms| self.bring_forward(read.target, now_ms))?;
                heads.extend(self.head_of(read.target, among)?);
            }
            // Past all rows of this target: its name is followed by a zero in each of them.
            from = Bound::Included([read.target.as_bytes(), &[1]].concat());
        }
        Ok(heads)
    }

    fn head_of(&self, target: &str, among: &DueFilter<'_>) -> Result<Option<IVec>> {
        let in_flight = self.in_flight().clone();
        let is_free = |id: &str| !in_flight.contains(id) && (among.is_free)(id);
        for row in self.store().prefix(TreeId::ByDue, &target_prefix(target))? {
            let (key, _) = row?;
            match DueKey::read(&key) {
                Some(read) if is_free(read.id) => return Ok(Some(key)),
                Some(_) => {}
                None => self.drop_due_row(&key)?,
            }
        }
        Ok(None)
    }

    /// The delivery behind a row that is due; a row that leads to none is dropped, or the queue would never be empty.
    fn due_delivery(&self, row: &DueKey<'_>) -> Result<Option<Delivery>> {
        match self.store().read::<Delivery>(TreeId::Deliveries, row.id) {
            Ok(Some(delivery)) if matches!(delivery.state, DeliveryState::Waiting { .. }) => return Ok(Some(delivery)),
            Ok(_) => {}
            Err(error @ CatalogError::NewerRow { .. }) => {
                tracing::error!(
                    delivery = row.id,
                    error = crate::fault::chain(&error),
                    "delivery was written by a newer version; it stays in the queue"
                );
                // It stays in the queue, and this process does not look at it again.
                self.in_flight().insert(row.id.to_owned());
                return Ok(None);
            }
            Err(error @ CatalogError::Unreadable { .. }) => {
                tracing::error!(
                    delivery = row.id,
                    error = crate::fault::chain(&error),
                    "delivery removed from the queue: cannot be read"
                );
            }
            Err(other) => return Err(other),
        }
        let key = [&target_prefix(row.target)[..], &ordered(row.due_ms), row.rank].concat();
        self.drop_due_row(&key).map(|()| None)
    }

    fn drop_due_row(&self, key: &[u8]) -> Result<()> {
        self.store().transact(|tx| tx.remove(TreeId::ByDue, key))
    }

    /// Moves the rows of a target whose time has come to the front. An index only: not flushed.
    fn bring_forward(&self, target: &str, now_ms: i64) -> Result<()> {
        let at = |ms: i64| [&target_prefix(target)[..], &ordered(ms)].concat();
        let from = Bound::Included(at(DUE_MS.saturating_add(1)));
        let to = Bound::Excluded(at(now_ms.saturating_add(1)));
        let keys = self.store().range(TreeId::ByDue, (from, to))?.map(|row| row.map(|(key, _)| key));
        for batch in keys.collect::<Result<Vec<_>>>()?.chunks(BATCH) {
            self.store().transact(|tx| batch.iter().try_for_each(|key| bring_forward_in(tx, key)))?;
        }
        Ok(())
    }
}

/// Where a delivery stands in the queue before its time has come.
pub(super) fn due_row(delivery: &Delivery) -> Option<Vec<u8>> {
    match &delivery.state {
        DeliveryState::Waiting { due_ms, .. } => {
            Some(due_key(&delivery.target, *due_ms, delivery.queued_ms, &delivery.id))
        }
        _ => None,
    }
}

/// Where a delivery stands in the queue once its time has come.
pub(super) fn front_row(delivery: &Delivery) -> Vec<u8> {
    due_key(&delivery.target, DUE_MS, delivery.queued_ms, &delivery.id)
}

fn bring_forward_in(tx: &Tx<'_>, key: &[u8]) -> std::result::Result<(), TxAbort> {
    if let Some(read) = DueKey::read(key)
        && tx.get(TreeId::ByDue, key)?.is_some()
    {
        tx.remove(TreeId::ByDue, key)?;
        let front = [&target_prefix(read.target)[..], &ordered(DUE_MS), read.rank].concat();
        tx.put(TreeId::ByDue, front, b"")?;
    }
    Ok(())
}
