//! Transitions that change what exists and what this node does at once.
//!
//! What makes a finished recording a VoD: record, index rows, journal step, queued deliveries and events appear together or
//! not at all (promises 4 and 5), and the same commit repeated after a crash changes nothing that a user could see.

use super::error::{CatalogError, Result};
use super::index::{self, JournalKey};
use super::opened::Catalog;
use super::records::{add_vod, write_vod};
use super::store::{Tx, TxAbort, stop};
use super::tree::TreeId;
use super::{journal, queue, targets};
use crate::recording::journey::{Stage, Step};
use crate::recording::{
    Delivery, DeliveryFacts, DeliveryState, Event, Kind, ObjectFacts, RecordingFacts, RemoteObject, VodFacts, VodRecord,
};

/// What a commit did.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The record as it stands in the catalogue now.
    pub record: VodRecord,
    /// Whether the VoD was not there before.
    pub is_new: bool,
    /// How many deliveries were queued; those already known keep their state.
    pub queued: usize,
}

impl Catalog {
    /// Makes a journalled recording a VoD and queues its deliveries; durable on return.
    ///
    /// The journal goes to [`Step::Catalogued`] if the source is still to be removed, else to [`Step::Done`]; that is refused
    /// for a recording that is not under way. A VoD of this
    /// id that is already there keeps its creation date and its remote copies. If it lies under another path, as the
    /// copy of a file does, it stays as it is and the new file is only remembered as known; the caller sees that in
    /// [`Committed::record`].
    pub fn commit_vod(
        &self,
        key: &JournalKey,
        record: &VodRecord,
        deliveries: &[Delivery],
        removes_source: bool,
        now_ms: i64,
    ) -> Result<Committed> {
        let committed = self.logged(now_ms, |tx, log| {
            let entry = journal::entry_in(tx, *key)?;
            let recording = RecordingFacts::of(key.to_string(), entry.settled.candidate());
            let vod_id = record.vod_id.clone();
            let to = if removes_source { Step::Catalogued { vod_id, removes_source } } else { Step::Done { vod_id } };
            // A commit that is repeated finds itself done.
            let is_repeated = matches!(entry.stage(), Stage::Catalogued | Stage::Done);
            if !is_repeated {
                journal::move_in(tx, *key, entry, to, now_ms)?;
            }
            let (record, is_new) = add_vod(tx, record)?;
            let queued = queue::enqueue_in(tx, deliveries)?;
            if !is_repeated {
                log.append(&Event::finished(recording, &record))?;
            }
            if is_new {
                log.append(&Event::Catalogued { vod: VodFacts::of(&record) })?;
            }
            Ok(Committed { record, is_new, queued })
        })?;
        self.store().flush("vod catalogued")?;
        Ok(committed)
    }

    /// Puts pictures into a VoD's record and queues their deliveries, with an event; durable on return. The function may run more than
    /// once.
    pub fn add_pictures(
        &self,
        id: &str,
        change: impl Fn(&mut VodRecord),
        deliveries: &[Delivery],
        now_ms: i64,
    ) -> Result<VodRecord> {
        let record = self.logged(now_ms, |tx, log| {
            let old = tx.read::<VodRecord>(TreeId::Vods, id)?;
            let old = old.ok_or_else(|| stop(CatalogError::NoSuchVod { id: id.to_owned() }))?;
            let mut new = old.clone();
            change(&mut new);
            write_vod(tx, Some(&old), &new)?;
            queue::enqueue_in(tx, deliveries)?;
            log.append(&Event::Pictured { vod: VodFacts::of(&new), missing: new.pictures.missing.clone() })?;
            Ok(new)
        })?;
        self.store().flush("pictures catalogued")?;
        Ok(record)
    }

    /// Remembers that every file is in the store, in the delivery and in its VoD's record together; durable on return. If the
    /// delivery was given other files meanwhile, what was proven of the old ones does not count, and it is due again.
    pub fn delivered(&self, id: &str, objects: &[RemoteObject], now_ms: i64) -> Result<()> {
        self.end_delivery(id, now_ms, "delivered", |tx, log, delivery| {
            let mut pairs = objects.iter().zip(&delivery.asset.files);
            if pairs.any(|(object, file)| object.source != file.fingerprint) {
                delivery.state = DeliveryState::Waiting { due_ms: now_ms, last_fault: None };
                return Ok(());
            }
            delivery.state = DeliveryState::Delivered { objects: objects.to_vec() };
            let vod = add_remote(tx, delivery, objects)?;
            let codecs: Vec<_> = vod.iter().flat_map(|vod| &vod.tracks).map(|track| track.codec.clone()).collect();
            let objects: Vec<_> = objects.iter().map(ObjectFacts::of).collect();
            let (facts, first) = (DeliveryFacts::of(delivery), objects.first().cloned());
            log.append(&Event::Delivered { delivery: facts, codecs: codecs.clone(), objects })?;
            if let Some((vod, object)) = vod.as_ref().map(VodFacts::of).zip(first) {
                log.append(&Event::Available { vod, codecs, object })?;
            }
            targets::resume_in(tx, log, &delivery.target)
        })
    }

    /// Queues a delivery again because an object that belongs to a VoD is not as it was proven, which is an event.
    pub fn deliver_what_differs(
        &self,
        id: &str,
        why: &str,
        (vod, object, difference): (&VodRecord, &RemoteObject, &str),
        now_ms: i64,
    ) -> Result<bool> {
        self.queue_again(id, why, now_ms, Some(&Event::differs(vod, object, difference)))
    }

    /// Removes a record, its index rows and its deliveries; durable on return. Its files stay, and stay known: no scan makes
    /// the VoD again (`forget` and `begin` do).
    pub fn delete_vod(&self, id: &str, now_ms: i64) -> Result<VodRecord> {
        self.remove_vod(id, now_ms, |vod| Event::Deleted { vod })
    }

    /// The same, because the splice of its file was undone: the recording is what it was.
    pub fn undone(&self, id: &str, now_ms: i64) -> Result<VodRecord> {
        self.remove_vod(id, now_ms, |vod| Event::Undone { vod })
    }

    fn remove_vod(&self, id: &str, now_ms: i64, event: impl Fn(VodFacts) -> Event) -> Result<VodRecord> {
        let deliveries = self.deliveries_of_vod(id)?;
        let deleted = self.logged(now_ms, |tx, log| {
            let vod = tx.read::<VodRecord>(TreeId::Vods, id)?;
            let vod = vod.ok_or_else(|| stop(CatalogError::NoSuchVod { id: id.to_owned() }))?;
            for row in index::rows(&vod) {
                tx.remove(row.tree, row.key)?;
            }
            deliveries.iter().try_for_each(|delivery| queue::remove_in(tx, delivery))?;
            tx.remove(TreeId::Vods, id)?;
            log.append(&event(VodFacts::of(&vod)))?;
            Ok(vod)
        })?;
        self.store().flush("vod deleted")?;
        self.remove_notes(id);
        Ok(deleted)
    }
}

/// Notes the copies of a finished file in its VoD's record; those of posters and originals are not the VoD's own. Returns the
/// record, if it is one.
fn add_remote(
    tx: &Tx<'_>,
    delivery: &Delivery,
    objects: &[RemoteObject],
) -> std::result::Result<Option<VodRecord>, TxAbort> {
    let Some(vod_id) = delivery.asset.vod_id.as_deref().filter(|_| delivery.asset.kind == Kind::Recording) else {
        return Ok(None);
    };
    let Some(old) = tx.read::<VodRecord>(TreeId::Vods, vod_id)? else { return Ok(None) };
    let mut new = old.clone();
    new.remote.retain(|object| object.target != delivery.target);
    new.remote.extend_from_slice(objects);
    write_vod(tx, Some(&old), &new)?;
    Ok(Some(new))
}
