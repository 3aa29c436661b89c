//! What would be freed now, and why the rest stays: the same plan for a dry run and for a run. Pure.
//!
//! The plan takes each file's fingerprint from its record; freeing asks for a permit with the fingerprint as it is then.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::permit::{Facts, Permit, Refusal, permit, proven_since};
use super::{DeleteLocal, Options};
use crate::recording::{Delivery, Kinds, VodRecord};

/// What the plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inventory<'a> {
    /// Every VoD record.
    pub records: &'a [VodRecord],
    /// Deliveries by the id of the VoD they belong to.
    pub deliveries: &'a BTreeMap<String, Vec<Delivery>>,
    /// Names of the targets that "delivered" needs.
    pub required: &'a [String],
    /// Which kinds of files are uploaded at all.
    pub uploaded: Kinds,
    /// Bytes free now on the file system of the records' files.
    pub free_bytes: u64,
    /// The time now, milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What would be freed, oldest proof first.
    pub frees: Vec<PlannedFree>,
    /// What stays, and why, by VoD id; records freed before are left out.
    pub kept: Vec<(String, Refusal)>,
    /// Bytes still too much for `below_free` or `max_bytes` after everything that may go is gone: the operator must act.
    pub short_bytes: u64,
}

/// One VoD whose local files would be freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFree {
    /// Its id.
    pub vod_id: String,
    /// Its finished file.
    pub path: PathBuf,
    /// Bytes that this frees, companions included.
    pub bytes: u64,
    /// Why it may go.
    pub reason: String,
}

/// Plans what may be freed now.
pub fn plan(inventory: &Inventory<'_>, options: &Options) -> Plan {
    let mut due: Vec<(i64, Permit)> = Vec::new();
    let mut plan = Plan::default();
    for record in inventory.records {
        let facts = inventory.facts(record);
        let proven_ms = proven_since(&facts, options);
        match permit(&facts, options) {
            Ok(permit) => due.push((proven_ms.unwrap_or(i64::MAX), permit)),
            Err(Refusal::AlreadyFreed) => {}
            Err(refusal) => plan.kept.push((record.vod_id.clone(), refusal)),
        }
    }
    due.sort_by(|(a, x), (b, y)| (a, x.vod_id()).cmp(&(b, y.vod_id())));
    let policy = options.delete_local;
    match policy {
        DeleteLocal::BelowFree(watermark) => {
            let excess_bytes = watermark.saturating_sub(inventory.free_bytes);
            plan.take_excess(excess_bytes, due, policy, |left| Refusal::EnoughRoom { free_bytes: watermark + left });
        }
        DeleteLocal::MaxBytes(max) => {
            let excess_bytes = inventory.held_bytes().saturating_sub(max);
            plan.take_excess(excess_bytes, due, policy, |left| Refusal::WithinMax {
                held_bytes: max.saturating_sub(left),
            });
        }
        policy => plan.frees = due.iter().map(|(ms, permit)| planned(permit, &reason(policy, *ms))).collect(),
    }
    plan
}

impl Plan {
    /// Oldest proof first, only as much as is too much; `enough` says why the rest stays, told what was freed beyond that.
    fn take_excess(
        &mut self,
        excess_bytes: u64,
        due: Vec<(i64, Permit)>,
        policy: DeleteLocal,
        enough: impl Fn(u64) -> Refusal,
    ) {
        let mut freed_bytes = 0u64;
        for (proven_ms, permit) in due {
            if freed_bytes >= excess_bytes {
                self.kept.push((permit.vod_id().to_owned(), enough(freed_bytes - excess_bytes)));
                continue;
            }
            freed_bytes = freed_bytes.saturating_add(permit.bytes());
            self.frees.push(planned(&permit, &reason(policy, proven_ms)));
        }
        self.short_bytes = excess_bytes.saturating_sub(freed_bytes);
    }
}

fn planned(permit: &Permit, reason: &str) -> PlannedFree {
    let (vod_id, path) = (permit.vod_id().to_owned(), permit.path().to_owned());
    PlannedFree { vod_id, path, bytes: permit.bytes(), reason: reason.to_owned() }
}

fn reason(policy: DeleteLocal, proven_ms: i64) -> String {
    let when = jiff::Timestamp::from_millisecond(proven_ms).map_or_else(|_| "?".into(), |t| t.to_string());
    match policy {
        DeleteLocal::BelowFree(bytes) => {
            format!("less than {bytes} bytes free; proven in every required target since {when}")
        }
        DeleteLocal::MaxBytes(bytes) => {
            format!("more than {bytes} bytes of recordings; proven in every required target since {when}")
        }
        _ => format!("proven in every required target since {when}"),
    }
}

impl<'a> Inventory<'a> {
    fn held_bytes(&self) -> u64 {
        self.records.iter().filter(|r| r.freed_at.is_none()).map(|r| r.file_size).sum()
    }

    fn facts(&self, record: &'a VodRecord) -> Facts<'a> {
        Facts {
            record,
            deliveries: self.deliveries.get(&record.vod_id).map_or(&[], Vec::as_slice),
            required: self.required,
            uploaded: self.uploaded,
            fingerprint_now: Some(record.fingerprint),
            free_bytes: self.free_bytes,
            held_bytes: self.held_bytes(),
            now_ms: self.now_ms,
        }
    }
}
