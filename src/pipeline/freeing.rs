//! Frees local files by the plan that `retain` makes; each only with a permit (promise 3).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use tracing::{error, info, warn};

use super::confirming;
use super::house::{House, now_ms};
use crate::catalog::CatalogError;
use crate::durable;
use crate::fault::chain;
use crate::recording::{Delivery, DeliveryState, RemoteObject, VodRecord};
use crate::retain::{self, DeleteLocal, Facts, Inventory, Permit, Plan, Refusal, Volume};

/// A run of freeing on a thread of its own: it asks the stores, and nobody waits for those.
#[derive(Debug, Default)]
pub(super) struct Beside(Option<JoinHandle<()>>);

impl Beside {
    /// Begins a run, unless the last one is still under way.
    pub(super) fn begin(&mut self, house: &Arc<House>) {
        if self.0.as_ref().is_some_and(|run| !run.is_finished()) {
            return;
        }
        let house = Arc::clone(house);
        let run = std::thread::Builder::new().name("freeing".into()).spawn(move || {
            free_what_is_due(&house);
        });
        match run {
            Ok(run) => self.0 = Some(run),
            Err(error) => warn!(error = chain(&error), "No thread is left to free local files; tried again later."),
        }
    }

    /// Waits for the end of a run, which sees the wish to stop.
    pub(super) fn join(&mut self) {
        if let Some(run) = self.0.take() {
            let _ = run.join();
        }
    }
}

/// Makes the plan for now; what `retain --dry-run` prints and [`free_what_is_due`] applies.
pub fn plan(house: &House) -> Result<Plan, CatalogError> {
    Ok(plan_for(house, &house.catalog.unfreed_vods(usize::MAX)?)?.0)
}

/// The plan, and the bytes of all records.
fn plan_for(house: &House, records: &[VodRecord]) -> Result<(Plan, u64), CatalogError> {
    let settings = house.settings();
    let (mut deliveries, mut on_disk, mut volumes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for vod in records {
        deliveries.insert(vod.vod_id.clone(), house.catalog.deliveries_of_vod(&vod.vod_id)?);
        on_disk.extend(durable::fingerprint(&vod.file_path).ok().map(|now| (vod.vod_id.clone(), now)));
        if !volumes.contains_key(&vod.root)
            && let Some(volume) = volume(&vod.root)
        {
            volumes.insert(vod.root.clone(), volume);
        }
    }
    let inventory = Inventory {
        records,
        deliveries: &deliveries,
        required: &house.targets().required(),
        uploaded: settings.deliver.upload_extensions,
        on_disk: &on_disk,
        volumes: &volumes,
        now_ms: now_ms(),
    };
    Ok((retain::plan(&inventory, &settings.retain), records.iter().map(|r| r.file_size).sum()))
}

fn volume(root: &Path) -> Option<Volume> {
    let device = durable::fingerprint(root).ok()?.device;
    Some(Volume { device, free_bytes: durable::free_bytes(root).ok()? })
}

/// Applies the plan; returns how many VoDs were freed.
pub fn free_what_is_due(house: &House) -> usize {
    if house.settings().retain.delete_local == DeleteLocal::Never {
        return 0;
    }
    if house.catalog.is_behind() {
        error!("nothing is freed: the catalogue is an older state of itself; run `aftercast catalog rebuild`");
        return 0;
    }
    let records = match house.catalog.unfreed_vods(usize::MAX) {
        Ok(records) => records,
        Err(fault) => return unreadable(&fault),
    };
    match plan_for(house, &records) {
        Err(fault) => unreadable(&fault),
        Ok((plan, held_bytes)) => apply(house, &plan, held_bytes),
    }
}

fn unreadable(fault: &CatalogError) -> usize {
    warn!(error = chain(fault), "The catalogue cannot be read; nothing is freed.");
    0
}

/// Each file is freed by a permit of its own; what is left on disk is counted along.
fn apply(house: &House, plan: &Plan, mut held_bytes: u64) -> usize {
    if plan.short_bytes > 0 {
        error!(short_bytes = plan.short_bytes, "The disk is short of room and nothing more may be freed.");
    }
    for (vod_id, _) in plan.kept.iter().filter(|(_, why)| *why == Refusal::LocalMissing) {
        free_vod(house, vod_id, held_bytes);
    }
    let mut freed = 0;
    for planned in plan.frees.iter().take_while(|_| !house.stop.is_requested()) {
        if free_vod(house, &planned.vod_id, held_bytes) {
            freed += 1;
            held_bytes = held_bytes.saturating_sub(planned.finished_bytes);
        }
    }
    freed
}

/// A process that dies between removing a file and noting it leaves a record of a file that is gone; every required
/// target was proven to hold it before, and that is all a freed record says.
fn note_what_is_gone(house: &House, record: &VodRecord) -> Result<(), CatalogError> {
    if house.targets().required().iter().all(|target| record.remote_in(target).is_some()) {
        house.catalog.freed(&record.vod_id, now_ms())?;
    }
    Ok(())
}

/// Frees one VoD right after its delivery, where the policy says so.
pub fn free_if_due(house: &House, vod_id: &str) {
    if house.settings().retain.delete_local == DeleteLocal::Delivered {
        free_vod(house, vod_id, 0);
    }
}

/// Asks the stores what they have not answered within the last minute, and frees what they confirm. `held_bytes` are those
/// of all finished recordings on disk; only `max_bytes` asks for them.
fn free_vod(house: &House, vod_id: &str, held_bytes: u64) -> bool {
    if house.catalog.is_behind() {
        return false;
    }
    let freed = with_facts(house, vod_id, held_bytes, retain::questions).and_then(|questions| {
        confirming::ask(house, vod_id, &questions.unwrap_or_default());
        free_if_granted(house, vod_id, held_bytes)
    });
    freed.unwrap_or_else(|fault| {
        warn!(vod_id, error = chain(&fault), "The catalogue cannot be read; nothing is freed.");
        false
    })
}

/// One at a time, so that a permit is used before another is granted for the same file.
fn free_if_granted(house: &House, vod_id: &str, held_bytes: u64) -> Result<bool, CatalogError> {
    let _one_at_a_time = house.freeing.lock().unwrap_or_else(PoisonError::into_inner);
    let decide = |facts: &Facts<'_>, options: &retain::Options| (facts.record.clone(), retain::permit(facts, options));
    match with_facts(house, vod_id, held_bytes, decide)? {
        Some((_, Ok(permit))) => Ok(free_with(house, permit)),
        Some((record, Err(Refusal::LocalMissing))) => note_what_is_gone(house, &record).map(|()| false),
        Some((_, Err(refusal))) => {
            tracing::debug!(vod_id, reason = %refusal, "The local file stays.");
            Ok(false)
        }
        None => Ok(false),
    }
}

/// The record is read back: what is decided is decided on what the journal holds, not on what memory believes. `None` if
/// there is no record, or its file is freed.
fn with_facts<T>(
    house: &House,
    vod_id: &str,
    held_bytes: u64,
    decide: impl FnOnce(&Facts<'_>, &retain::Options) -> T,
) -> Result<Option<T>, CatalogError> {
    let settings = house.settings();
    let Some(record) = house.catalog.vod(vod_id)?.filter(|r| r.freed_at.is_none()) else { return Ok(None) };
    let deliveries = house.catalog.deliveries_of_vod(vod_id)?;
    let facts = Facts {
        record: &record,
        deliveries: &deliveries,
        required: &house.targets().required(),
        uploaded: settings.deliver.upload_extensions,
        fingerprint_now: durable::fingerprint(&record.file_path).ok(),
        confirmed: &house.answers.about(record.remote.iter().chain(deliveries.iter().flat_map(objects_of))),
        free_bytes: durable::free_bytes(&record.root).unwrap_or(u64::MAX),
        held_bytes,
        now_ms: now_ms(),
    };
    Ok(Some(decide(&facts, &settings.retain)))
}

fn objects_of(delivery: &Delivery) -> &[RemoteObject] {
    match &delivery.state {
        DeliveryState::Delivered { objects } => objects,
        _ => &[],
    }
}

fn free_with(house: &House, permit: Permit) -> bool {
    let vod_id = permit.vod_id().to_owned();
    if let Err(fault) = retain::free(permit) {
        warn!(vod_id, error = chain(&fault), "A delivered file could not be freed; tried again later.");
        false
    } else {
        info!(vod_id, "Freed; every required target holds it.");
        let noted = house.catalog.freed(&vod_id, now_ms());
        noted.inspect_err(|fault| warn!(vod_id, error = chain(fault), "The freeing could not be noted.")).is_ok()
    }
}
