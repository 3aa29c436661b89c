//! Frees local files by the plan that `retain` makes; each only with a permit (promise 3).

use tracing::{info, warn};

use super::house::{House, now_ms};
use crate::durable;
use crate::fault::chain;
use crate::recording::VodRecord;
use crate::retain::{self, DeleteLocal, Plan};

/// Records looked at in one sweep; the next sweep goes on.
const PAGE: usize = 10_000;

/// Makes the plan for now; what `retain --dry-run` prints and [`free_what_is_due`] applies.
pub fn plan(house: &House) -> Plan {
    let settings = house.settings();
    let records = house.catalog.unfreed_vods(PAGE).unwrap_or_else(|error| {
        warn!(error = chain(&error), "The catalogue cannot be read; nothing is freed.");
        Vec::new()
    });
    let required = required_targets(house);
    let free_bytes = free_bytes(&records);
    retain::plan(&records, &settings.retain, &required, free_bytes, now_ms())
}

/// Names of the targets that must hold a file before it may be freed.
pub fn required_targets(house: &House) -> Vec<String> {
    let settings = house.settings();
    settings.deliver.targets.iter().filter(|t| t.required).map(|t| t.name.clone()).collect()
}

/// The least free space of the file systems that hold the records' files.
fn free_bytes(records: &[VodRecord]) -> u64 {
    let roots: std::collections::BTreeSet<_> = records.iter().map(|r| &r.root).collect();
    roots.into_iter().filter_map(|root| durable::free_bytes(root).ok()).min().unwrap_or(u64::MAX)
}

/// Applies the plan; returns how many files were freed.
pub fn free_what_is_due(house: &House) -> usize {
    if house.settings().retain.delete_local == DeleteLocal::Never {
        return 0;
    }
    let plan = plan(house);
    plan.frees.iter().filter(|free| free_one(house, &free.vod_id)).count()
}

fn free_one(house: &House, vod_id: &str) -> bool {
    // The record is read back: the permit is granted on what the journal holds, not on what memory believes.
    let Ok(Some(record)) = house.catalog.vod(vod_id) else { return false };
    let settings = house.settings();
    let now = match durable::fingerprint(&record.file_path) {
        Ok(now) => now,
        Err(error) if error.is_missing() => return house.catalog.freed(vod_id, now_ms()).is_ok(),
        Err(error) => {
            warn!(error = chain(&error), "A delivered file cannot be looked at; it stays.");
            return false;
        }
    };
    match retain::permit(&record, &settings.retain, &required_targets(house), &now, now_ms()) {
        Err(refusal) => {
            warn!(vod_id, reason = %refusal, "A planned file may not be freed; it stays.");
            false
        }
        Ok(permit) => match retain::free(permit) {
            Ok(_) => {
                info!(vod_id, path = %record.file_path.display(), "Freed; every required target holds it.");
                house.catalog.freed(vod_id, now_ms()).is_ok()
            }
            Err(error) => {
                warn!(vod_id, error = chain(&error), "A delivered file could not be freed; tried again later.");
                false
            }
        },
    }
}
