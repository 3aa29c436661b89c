//! What would be freed now, and why the rest stays: the same plan for a dry run and for a run. Pure.
//!
//! Room is counted by file system: freeing on one that has enough helps none that has not. Freeing asks for a permit once
//! more, with the fingerprint as it is then, and asks the stores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::permit::{Due, Facts, Refusal, Viewed, due, proven_since};
use super::{DeleteLocal, Options};
use crate::recording::{Delivery, Kinds, Seen, VodRecord};

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
    /// What each finished file is now, by the id of its VoD; those that are not there are left out.
    pub on_disk: &'a BTreeMap<String, Seen>,
    /// What was found when the targets were compared with the roots.
    pub views: &'a [Viewed],
    /// The file system of each root that the records name; a root that is not there has room enough.
    pub volumes: &'a BTreeMap<PathBuf, Volume>,
    /// Bytes of all finished recordings that are still on disk and stay there.
    pub held_bytes: u64,
    /// The time now, milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Its device number.
    pub device: u64,
    /// Bytes free now.
    pub free_bytes: u64,
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
    /// Bytes of the finished file alone.
    pub finished_bytes: u64,
    /// Why it may go.
    pub reason: String,
}

/// A file that may go: since when it is proven, its file system, what goes.
struct Ready {
    proven_ms: i64,
    device: u64,
    files: Due,
}

/// Plans what may be freed now.
pub fn plan(inventory: &Inventory<'_>, options: &Options) -> Plan {
    let mut ready = Vec::new();
    let mut plan = Plan::default();
    let held_bytes = inventory.held_bytes;
    for record in inventory.records {
        let facts = inventory.facts(record, held_bytes);
        let proven_ms = proven_since(&facts, options).unwrap_or(i64::MAX);
        match due(&facts, options) {
            Ok(files) => ready.push(Ready { proven_ms, device: inventory.volume(&record.root).device, files }),
            Err(Refusal::AlreadyFreed) => {}
            Err(refusal) => plan.kept.push((record.vod_id.clone(), refusal)),
        }
    }
    ready.sort_by(|a, b| (a.proven_ms, a.files.vod_id()).cmp(&(b.proven_ms, b.files.vod_id())));
    let policy = options.delete_local;
    match policy {
        DeleteLocal::BelowFree(watermark) => {
            for volume in inventory.each_volume() {
                let excess_bytes = watermark.saturating_sub(volume.free_bytes);
                let (here, elsewhere) = ready.into_iter().partition(|r| r.device == volume.device);
                ready = elsewhere;
                plan.take_excess(excess_bytes, here, policy, |left| Refusal::EnoughRoom {
                    free_bytes: watermark.max(volume.free_bytes).saturating_add(left),
                });
            }
        }
        DeleteLocal::MaxBytes(max) => {
            let excess_bytes = held_bytes.saturating_sub(max);
            plan.take_excess(excess_bytes, ready, policy, |left| Refusal::WithinMax {
                held_bytes: max.min(held_bytes).saturating_sub(left),
            });
        }
        policy => plan.frees = ready.iter().map(|r| planned(&r.files, &reason(policy, r.proven_ms))).collect(),
    }
    plan
}

impl Plan {
    /// Oldest proof first, only as much as is too much; `enough` says why the rest stays, told what was freed beyond that.
    fn take_excess(
        &mut self,
        excess_bytes: u64,
        ready: Vec<Ready>,
        policy: DeleteLocal,
        enough: impl Fn(u64) -> Refusal,
    ) {
        let mut freed_bytes = 0u64;
        for Ready { proven_ms, files, .. } in ready {
            if freed_bytes >= excess_bytes {
                self.kept.push((files.vod_id().to_owned(), enough(freed_bytes - excess_bytes)));
                continue;
            }
            freed_bytes = freed_bytes.saturating_add(files.bytes());
            self.frees.push(planned(&files, &reason(policy, proven_ms)));
        }
        self.short_bytes = self.short_bytes.saturating_add(excess_bytes.saturating_sub(freed_bytes));
    }
}

fn planned(files: &Due, reason: &str) -> PlannedFree {
    let (vod_id, path) = (files.vod_id().to_owned(), files.path().to_owned());
    PlannedFree {
        vod_id,
        path,
        bytes: files.bytes(),
        finished_bytes: files.finished_bytes(),
        reason: reason.to_owned(),
    }
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
    /// The file systems that hold records, each once.
    fn each_volume(&self) -> impl Iterator<Item = Volume> {
        let by_device: BTreeMap<u64, Volume> =
            self.records.iter().map(|record| self.volume(&record.root)).map(|v| (v.device, v)).collect();
        by_device.into_values()
    }

    fn volume(&self, root: &Path) -> Volume {
        self.volumes.get(root).copied().unwrap_or(Volume { device: 0, free_bytes: u64::MAX })
    }

    fn facts(&self, record: &'a VodRecord, held_bytes: u64) -> Facts<'a> {
        Facts {
            record,
            deliveries: self.deliveries.get(&record.vod_id).map_or(&[], Vec::as_slice),
            required: self.required,
            uploaded: self.uploaded,
            seen_now: self.on_disk.get(&record.vod_id).copied(),
            confirmed: &[],
            views: self.views,
            free_bytes: self.volume(&record.root).free_bytes,
            held_bytes,
            now_ms: self.now_ms,
        }
    }
}
