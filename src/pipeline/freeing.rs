//! Frees local files by the plan that `retain` makes; each only with a permit (promise 3).

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info, warn};

use super::house::{House, now_ms};
use crate::catalog::CatalogError;
use crate::durable;
use crate::fault::chain;
use crate::recording::VodRecord;
use crate::retain::{self, DeleteLocal, Facts, Inventory, Permit, Plan, Refusal};

/// Makes the plan for now; what `retain --dry-run` prints and [`free_what_is_due`] applies.
pub fn plan(house: &House) -> Result<Plan, CatalogError> {
    let settings = house.settings();
    let mut records = Vec::new();
    for vod in house.catalog.all_vods()? {
        let vod = vod?;
        if vod.freed_at.is_none() {
            records.push(vod);
        }
    }
    let mut deliveries = BTreeMap::new();
    for vod in &records {
        deliveries.insert(vod.vod_id.clone(), house.catalog.deliveries_of_vod(&vod.vod_id)?);
    }
    let inventory = Inventory {
        records: &records,
        deliveries: &deliveries,
        required: &house.targets().required(),
        uploaded: settings.deliver.upload_extensions,
        free_bytes: free_bytes(&records),
        now_ms: now_ms(),
    };
    Ok(retain::plan(&inventory, &settings.retain))
}

/// The least free space of the file systems that hold the records' files.
fn free_bytes(records: &[VodRecord]) -> u64 {
    let roots: BTreeSet<_> = records.iter().map(|r| &r.root).collect();
    roots.into_iter().filter_map(|root| durable::free_bytes(root).ok()).min().unwrap_or(u64::MAX)
}

/// Applies the plan; returns how many VoDs were freed.
pub fn free_what_is_due(house: &House) -> usize {
    if house.settings().retain.delete_local == DeleteLocal::Never {
        return 0;
    }
    match plan(house) {
        Err(fault) => {
            warn!(error = chain(&fault), "The catalogue cannot be read; nothing is freed.");
            0
        }
        Ok(plan) => {
            if plan.short_bytes > 0 {
                error!(short_bytes = plan.short_bytes, "The disk is short of room and nothing more may be freed.");
            }
            plan.frees.iter().filter(|planned| free_vod(house, &planned.vod_id)).count()
        }
    }
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
        free_vod(house, vod_id);
    }
}

/// The record is read back: the permit is granted on what the journal holds, not on what memory believes.
fn free_vod(house: &House, vod_id: &str) -> bool {
    match permit(house, vod_id) {
        Ok(Some(permit)) => free_with(house, permit),
        Ok(None) => false,
        Err(fault) => {
            warn!(vod_id, error = chain(&fault), "The catalogue cannot be read; nothing is freed.");
            false
        }
    }
}

fn permit(house: &House, vod_id: &str) -> Result<Option<Permit>, CatalogError> {
    let settings = house.settings();
    let Some(record) = house.catalog.vod(vod_id)?.filter(|r| r.freed_at.is_none()) else { return Ok(None) };
    let facts = Facts {
        record: &record,
        deliveries: &house.catalog.deliveries_of_vod(vod_id)?,
        required: &house.targets().required(),
        uploaded: settings.deliver.upload_extensions,
        fingerprint_now: durable::fingerprint(&record.file_path).ok(),
        free_bytes: durable::free_bytes(&record.root).unwrap_or(u64::MAX),
        held_bytes: held_bytes(house)?,
        now_ms: now_ms(),
    };
    match retain::permit(&facts, &settings.retain) {
        Ok(permit) => Ok(Some(permit)),
        Err(Refusal::LocalMissing) => {
            note_what_is_gone(house, &record)?;
            Ok(None)
        }
        Err(refusal) => {
            tracing::debug!(vod_id, reason = %refusal, "The local file stays.");
            Ok(None)
        }
    }
}

/// Counted only where the policy asks for it: it reads every record that is not freed.
fn held_bytes(house: &House) -> Result<u64, CatalogError> {
    if !matches!(house.settings().retain.delete_local, DeleteLocal::MaxBytes(_)) {
        return Ok(0);
    }
    let mut held = 0u64;
    for vod in house.catalog.all_vods()? {
        let vod = vod?;
        held += if vod.freed_at.is_none() { vod.file_size } else { 0 };
    }
    Ok(held)
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
