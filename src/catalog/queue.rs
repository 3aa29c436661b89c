//! The delivery queue: what goes where, what is due now, and how far each delivery has come.
//!
//! Assumes that whoever begins a delivery ends it with [`Catalog::delivered`](super::Catalog::delivered) or [`NodeCatalog::delivery_failed`], or with the
//! process; one that was begun is not handed out again meanwhile. Must not decide when to try again: that time is handed in.
//!
//! Which one is next is in `due`.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::due::{due_row, front_row};
use super::error::{CatalogError, Result};
use super::index::DueKey;
use super::listing::{self, Cursor, Listing};
use super::log::Appender;
use super::node::NodeCatalog;
use super::rows::decode;
use super::store::{Tx, TxAbort, stop};
use super::tree::TreeId;
use crate::fault::Class;
use crate::recording::{Asset, Delivery, DeliveryFacts, DeliveryState, Event};

/// Deliveries changed in one transaction.
const BATCH: usize = 1_000;

/// Which deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter<'a> {
    /// Only those that are not delivered yet.
    pub pending_only: bool,
    /// Only those to this target.
    pub target: Option<&'a str>,
    /// Where the page before ended; from the beginning if none.
    pub after: Option<Cursor>,
    /// How many at most; all if none.
    pub limit: Option<usize>,
}

/// Which deliveries a person wants tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry<'a> {
    /// All that are not delivered.
    All,
    /// One.
    One(&'a str),
}

impl NodeCatalog {
    /// Queues deliveries; those that are known already, whatever their state, stay as they are, unless the same files have
    /// changed since: then they are delivered again as they are now. Returns how many are queued.
    pub fn enqueue(&self, deliveries: &[Delivery]) -> Result<usize> {
        let queued = self.store().transact(|tx| enqueue_in(tx, deliveries))?;
        if queued > 0 {
            self.store().flush("delivery queued")?;
        }
        Ok(queued)
    }

    /// Begins an attempt and returns its number, from 1. `None` if it is under way or not waiting.
    ///
    /// The attempt is counted when it ends, and one that ends with the process is not: nothing is promised by it, the
    /// delivery waits in either case, and the store is asked. What an upload must remember is in the ledger before it goes on.
    pub fn begin_delivery(&self, id: &str, now_ms: i64) -> Result<Option<u32>> {
        if !self.in_flight().insert(id.to_owned()) {
            return Ok(None);
        }
        let delivery = self.delivery(id);
        let delivery = delivery.and_then(|d| d.ok_or_else(|| CatalogError::NoSuchDelivery { id: id.to_owned() }));
        let is_waiting = |d: &Delivery| matches!(d.state, DeliveryState::Waiting { .. });
        let begun = delivery.map(|d| is_waiting(&d).then(|| (d.attempts.saturating_add(1), d)));
        let begun = begun.map(|begun| begun.map(|(attempt, delivery)| self.tell_start(&delivery, attempt, now_ms)));
        crate::durable::step("delivery begun");
        if !matches!(begun, Ok(Some(_))) {
            self.in_flight().remove(id);
        }
        begun
    }

    /// Nothing depends on this event: a log that cannot be written now must not keep a delivery from being made.
    fn tell_start(&self, delivery: &Delivery, attempt: u32, now_ms: i64) -> u32 {
        let started = Event::DeliveryStarted { delivery: DeliveryFacts::of(delivery), attempt };
        if let Err(error) = self.logged(now_ms, |_, log| log.append(&started)) {
            tracing::debug!(
                delivery = delivery.id,
                error = crate::fault::chain(&error),
                "start of the delivery not logged"
            );
        }
        attempt
    }

    /// Remembers that an attempt failed: it waits until `due_ms`, or for a person if there is none; durable on return.
    pub fn delivery_failed(
        &self,
        id: &str,
        class: Class,
        message: &str,
        due_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<()> {
        self.end_delivery(id, now_ms, "delivery failed", |_, log, delivery| {
            let message = message.to_owned();
            delivery.state = match due_ms {
                Some(due_ms) => DeliveryState::Waiting { due_ms, last_fault: Some((class, message.clone())) },
                None => DeliveryState::Stuck { message: message.clone() },
            };
            let (attempt, delivery) = (delivery.attempts, DeliveryFacts::of(delivery));
            log.append(&Event::DeliveryFailed { delivery, attempt, class, message, due_ms })
        })
    }

    /// Ends an attempt that something else stopped, or keeps it from being begun: it is no failure, and no attempt; durable on return.
    pub fn delivery_stopped(&self, id: &str, by: (Class, &str), due_ms: i64, now_ms: i64) -> Result<()> {
        let attempts = u32::from(self.in_flight().contains(id));
        self.end_delivery(id, now_ms, "delivery failed", |_, _, delivery| {
            let last_fault = Some((by.0, by.1.to_owned()));
            delivery.attempts = delivery.attempts.saturating_sub(attempts);
            delivery.state = DeliveryState::Waiting { due_ms, last_fault };
            Ok(())
        })
    }

    /// Ends an attempt: counts it, and changes the delivery.
    pub(super) fn end_delivery(
        &self,
        id: &str,
        now_ms: i64,
        step: &'static str,
        change: impl Fn(&Tx<'_>, &Appender<'_>, &mut Delivery) -> std::result::Result<(), TxAbort>,
    ) -> Result<()> {
        let attempts = u32::from(self.in_flight().contains(id));
        let ended = self.logged(now_ms, |tx, log| {
            let old = delivery_in(tx, id)?;
            let mut new = Delivery { attempts: old.attempts.saturating_add(attempts), ..old.clone() };
            change(tx, log, &mut new)?;
            replace_in(tx, &old, &new)
        });
        let ended = ended.and_then(|()| self.store().flush(step));
        self.in_flight().remove(id);
        ended
    }

    /// Makes deliveries due now, as if they had failed once at most; those delivered or under way stay. Returns how many.
    pub fn retry(&self, which: Retry<'_>, now_ms: i64) -> Result<usize> {
        let mut retried = 0;
        match which {
            Retry::One(id) => retried += usize::from(self.retry_one(id, now_ms)?),
            Retry::All => self.each_pending(|delivery| {
                retried += usize::from(self.retry_one(&delivery.id, now_ms)?);
                Ok(())
            })?,
        }
        if retried > 0 {
            self.store().flush("delivery queued again")?;
        }
        Ok(retried)
    }

    fn retry_one(&self, id: &str, now_ms: i64) -> Result<bool> {
        if self.in_flight().contains(id) {
            return Ok(false);
        }
        self.store().transact(|tx| retry_in(tx, id, now_ms))
    }

    /// Makes due now what waits after a fault: its surroundings or the line may have been put in order. Returns how many.
    pub fn bring_back(&self, now_ms: i64) -> Result<usize> {
        let (mut brought, mut from) = (0, Bound::Unbounded);
        loop {
            let rows = self.store().range(TreeId::ByDue, (from, Bound::Unbounded))?.take(BATCH);
            let keys = rows.map(|row| row.map(|(key, _)| key)).collect::<Result<Vec<_>>>()?;
            // Not flushed: after a crash they wait a little longer.
            let Some(last) = keys.last() else { return Ok(brought) };
            let waiting = keys.iter().filter_map(|key| DueKey::read(key)).filter(|row| row.due_ms > now_ms);
            let waiting = waiting.map(|row| row.id).collect::<Vec<_>>();
            brought += self.store().transact(|tx| {
                waiting.iter().try_fold(0, |brought, id| Ok(brought + usize::from(bring_back_in(tx, id, now_ms)?)))
            })?;
            from = Bound::Excluded(last.to_vec());
        }
    }

    /// The same for some of them.
    pub fn bring_some_back(&self, ids: &BTreeSet<String>, now_ms: i64) -> Result<()> {
        for ids in ids.iter().collect::<Vec<_>>().chunks(BATCH) {
            self.store().transact(|tx| ids.iter().try_for_each(|id| bring_back_in(tx, id, now_ms).map(drop)))?;
        }
        Ok(())
    }

    /// Queues a delivery again that had ended well, because what it proved is not there any more; durable on return. False
    /// if it is not delivered, and so waits anyway or is under way.
    pub fn deliver_again(&self, id: &str, why: &str, now_ms: i64) -> Result<bool> {
        self.queue_again(id, why, now_ms, None)
    }

    /// Queues a delivery again, with an event that says why, if there is one to tell.
    pub(super) fn queue_again(&self, id: &str, why: &str, now_ms: i64, event: Option<&Event>) -> Result<bool> {
        let is_queued = self.logged(now_ms, |tx, log| {
            let Some(old) = tx.read::<Delivery>(TreeId::Deliveries, id)? else { return Ok(false) };
            if old.is_pending() {
                return Ok(false);
            }
            let last_fault = Some((Class::Transient, why.to_owned()));
            let state = DeliveryState::Waiting { due_ms: now_ms, last_fault };
            event.map_or(Ok(()), |event| log.append(event))?;
            replace_in(tx, &old, &Delivery { state, attempts: 0, ..old.clone() }).map(|()| true)
        })?;
        self.store().flush("delivery queued again")?;
        Ok(is_queued)
    }

    /// Every delivery that is not delivered, a page at a time.
    fn each_pending(&self, mut look: impl FnMut(&Delivery) -> Result<()>) -> Result<()> {
        let mut filter = DeliveryFilter { pending_only: true, limit: Some(BATCH), ..DeliveryFilter::default() };
        loop {
            let page = self.deliveries(&filter)?;
            page.items.iter().try_for_each(&mut look)?;
            match page.next {
                None => return Ok(()),
                after => filter.after = after,
            }
        }
    }

    /// Deliveries by id, from the cursor of the page before on.
    pub fn deliveries(&self, filter: &DeliveryFilter<'_>) -> Result<Listing<Delivery>> {
        let is_wanted = |delivery: &Delivery| {
            (!filter.pending_only || delivery.is_pending()) && filter.target.is_none_or(|t| t == delivery.target)
        };
        let rows = self.store().range(TreeId::Deliveries, (Cursor::bound(filter.after.as_ref()), Bound::Unbounded))?;
        listing::page(rows, filter.limit.unwrap_or(usize::MAX), |id, value| {
            Ok(Some(decode::<Delivery>(TreeId::Deliveries, id, value)?).filter(is_wanted))
        })
    }

    /// One delivery.
    pub fn delivery(&self, id: &str) -> Result<Option<Delivery>> {
        self.store().read(TreeId::Deliveries, id)
    }

    /// All deliveries of an asset, one per target, as the journal has them: what a permit to free is granted from.
    pub fn deliveries_of(&self, asset_id: &str) -> Result<Vec<Delivery>> {
        self.deliveries_beginning(&Delivery::id_of(asset_id, ""))
    }

    /// The deliveries of an asset that have not ended well.
    pub fn pending_for(&self, asset_id: &str) -> Result<Vec<Delivery>> {
        let mut pending = self.deliveries_of(asset_id)?;
        pending.retain(Delivery::is_pending);
        Ok(pending)
    }

    /// The deliveries of all assets of a VoD; the ids of such assets begin with the VoD's id.
    pub fn deliveries_of_vod(&self, vod_id: &str) -> Result<Vec<Delivery>> {
        let mut deliveries = self.deliveries_beginning(vod_id)?;
        deliveries.retain(|d| d.asset.id == vod_id || d.asset.vod_id.as_deref() == Some(vod_id));
        Ok(deliveries)
    }

    fn deliveries_beginning(&self, prefix: &str) -> Result<Vec<Delivery>> {
        let rows = self.store().prefix(TreeId::Deliveries, prefix.as_bytes())?;
        rows.map(|row| row.and_then(|(id, value)| decode(TreeId::Deliveries, &id, &value))).collect()
    }
}

fn delivery_in(tx: &Tx<'_>, id: &str) -> std::result::Result<Delivery, TxAbort> {
    let delivery = tx.read(TreeId::Deliveries, id)?;
    delivery.ok_or_else(|| stop(CatalogError::NoSuchDelivery { id: id.to_owned() }))
}

/// Queues what is not known yet or is not as it was; returns how many.
pub(super) fn enqueue_in(tx: &Tx<'_>, deliveries: &[Delivery]) -> std::result::Result<usize, TxAbort> {
    let mut queued = 0;
    for delivery in deliveries {
        let known = tx.read::<Delivery>(TreeId::Deliveries, &delivery.id)?;
        if known.as_ref().is_none_or(|known| has_changed(&known.asset, &delivery.asset)) {
            replace_in(tx, known.as_ref().unwrap_or(delivery), delivery)?;
            queued += 1;
        }
    }
    Ok(queued)
}

/// Whether the files of an asset are the same ones in another state: what was promised of them can never be kept, and what
/// was proven does not hold. A copy under another path changes nothing.
fn has_changed(known: &Asset, now: &Asset) -> bool {
    let mut pairs = known.files.iter().zip(&now.files);
    known.files.len() == now.files.len() && known.files != now.files && pairs.all(|(a, b)| a.path == b.path)
}

/// Writes a delivery and its place in the queue instead of the old one.
fn replace_in(tx: &Tx<'_>, old: &Delivery, new: &Delivery) -> std::result::Result<(), TxAbort> {
    remove_due_in(tx, old)?;
    if let Some(key) = due_row(new) {
        tx.put(TreeId::ByDue, key, b"")?;
    }
    tx.write(TreeId::Deliveries, &new.id, new)
}

/// Removes a delivery and its place in the queue.
pub(super) fn remove_in(tx: &Tx<'_>, delivery: &Delivery) -> std::result::Result<(), TxAbort> {
    remove_due_in(tx, delivery)?;
    tx.remove(TreeId::Deliveries, &delivery.id)
}

fn remove_due_in(tx: &Tx<'_>, delivery: &Delivery) -> std::result::Result<(), TxAbort> {
    tx.remove(TreeId::ByDue, front_row(delivery))?;
    due_row(delivery).map_or(Ok(()), |key| tx.remove(TreeId::ByDue, key))
}

fn bring_back_in(tx: &Tx<'_>, id: &str, now_ms: i64) -> std::result::Result<bool, TxAbort> {
    let old = match tx.read::<Delivery>(TreeId::Deliveries, id) {
        Ok(Some(old)) => old,
        Ok(None) | Err(TxAbort::Abort(CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. })) => {
            return Ok(false);
        }
        Err(other) => return Err(other),
    };
    let DeliveryState::Waiting { last_fault: Some(fault), .. } = &old.state else { return Ok(false) };
    let state = DeliveryState::Waiting { due_ms: now_ms, last_fault: Some(fault.clone()) };
    replace_in(tx, &old, &Delivery { state, ..old.clone() }).map(|()| true)
}

fn retry_in(tx: &Tx<'_>, id: &str, now_ms: i64) -> std::result::Result<bool, TxAbort> {
    let old = delivery_in(tx, id)?;
    let last_fault = match &old.state {
        DeliveryState::Delivered { .. } => return Ok(false),
        DeliveryState::Waiting { last_fault, .. } => last_fault.clone(),
        DeliveryState::Stuck { message } => Some((Class::Permanent, message.clone())),
    };
    let state = DeliveryState::Waiting { due_ms: now_ms, last_fault };
    // As if it had never failed; but whether it was ever tried is still known.
    replace_in(tx, &old, &Delivery { state, attempts: old.attempts.min(1), ..old.clone() }).map(|()| true)
}
