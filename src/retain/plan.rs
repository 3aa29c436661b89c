//! What would be freed now, and why the rest stays: the same plan for a dry run and for a run. Pure.
//!
//! Room is counted by file system: freeing on one that has enough helps none that has not. Freeing asks for a permit once
//! more, with the fingerprint as it is then, and asks the stores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::permit::{DueFree, KeepReason, PermitFacts, TargetView, due, proven_since};
use super::{DeleteLocal, RetainOptions};
use crate::recording::{Delivery, FileVersion, Kinds, VodRecord};

/// What the plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct FreeInventory<'a> {
    /// VoD records: all, or a page of them.
    pub records: &'a [VodRecord],
    /// Deliveries by the id of the VoD they belong to.
    pub deliveries: &'a BTreeMap<String, Vec<Delivery>>,
    /// Names of the targets that "delivered" needs.
    pub required: &'a [String],
    /// Which kinds of files are uploaded at all.
    pub uploaded: Kinds,
    /// What each finished file is now, by the id of its VoD; those that are not there are left out.
    pub on_disk: &'a BTreeMap<String, FileVersion>,
    /// What was found when the targets were compared with the roots.
    pub views: &'a [TargetView],
    /// The file system of each root that the records name; a root that is not there has room enough.
    pub volumes: &'a BTreeMap<PathBuf, Volume>,
    /// Bytes of all finished recordings that are still on disk and stay there.
    pub held_bytes: u64,
    /// The endpoints that are to see local files and are not done with them, by the id of the VoD.
    pub awaited: &'a BTreeMap<String, String>,
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
pub struct FreePlan {
    /// What would be freed, oldest proof first.
    pub frees: Vec<PlannedFree>,
    /// What stays, and why, by VoD id; records freed before are left out.
    pub kept: Vec<(String, KeepReason)>,
    /// Bytes still too much for `below_free` or `max_bytes` after everything that may go is gone: the operator must act.
    pub short_bytes: u64,
}

/// One VoD whose local files would be freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
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

/// A plan in the making, from one page of records after the other: it holds what will be freed, and not what was looked at.
#[derive(Debug)]
pub struct Planner<'a> {
    options: &'a RetainOptions,
    lists: RefusalFilter,
    held_bytes: u64,
    plan: FreePlan,
    /// By file system; all are one where the policy counts all recordings together.
    shares: BTreeMap<u64, VolumeShare>,
}

/// Which refusals a plan lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalFilter {
    /// All, for whoever reads the plan.
    All,
    /// Only the records whose file is not there.
    Missing,
}

/// What a file system has too much of, and the oldest that may go from it: as many as make up for that, and none more.
#[derive(Debug)]
struct VolumeShare {
    volume: Volume,
    excess_bytes: u64,
    /// By the time since which they are proven, and id.
    ready: BTreeMap<(i64, String), DueFree>,
    ready_bytes: u64,
    /// What may go and need not.
    spare: Vec<(i64, String)>,
}

impl VolumeShare {
    fn add(&mut self, proven_ms: i64, files: DueFree, lists: RefusalFilter) {
        self.ready_bytes = self.ready_bytes.saturating_add(files.bytes());
        self.ready.insert((proven_ms, files.vod_id().to_owned()), files);
        while let Some(newest) = self.ready.last_entry()
            && self.ready_bytes.saturating_sub(newest.get().bytes()) >= self.excess_bytes
        {
            let (key, files) = newest.remove_entry();
            self.ready_bytes = self.ready_bytes.saturating_sub(files.bytes());
            self.spare.extend((lists == RefusalFilter::All).then_some(key));
        }
    }
}

/// Plans what may be freed now.
pub fn plan(inventory: &FreeInventory<'_>, options: &RetainOptions) -> FreePlan {
    let mut planner = Planner::new(options, RefusalFilter::All, inventory.held_bytes);
    planner.add(inventory);
    planner.end()
}

impl<'a> Planner<'a> {
    /// An empty plan. `held_bytes` are those of all finished recordings that are on disk and stay there; only `max_bytes` asks
    /// for them.
    pub const fn new(options: &'a RetainOptions, lists: RefusalFilter, held_bytes: u64) -> Self {
        let plan = FreePlan { frees: Vec::new(), kept: Vec::new(), short_bytes: 0 };
        Self { options, lists, held_bytes, plan, shares: BTreeMap::new() }
    }

    /// Looks at a page of records.
    pub fn add(&mut self, inventory: &FreeInventory<'_>) {
        let (options, lists) = (self.options, self.lists);
        for record in inventory.records {
            let facts = inventory.facts(record, self.held_bytes);
            // A file system is short of room whether something on it may go or not.
            let share = self.share(inventory.volume(&record.root));
            match due(&facts, options) {
                Ok(files) => share.add(proven_since(&facts, options).unwrap_or(i64::MAX), files, lists),
                Err(refusal) => self.refuse(record, refusal),
            }
        }
    }

    /// The whole plan, the oldest proof on each file system first.
    pub fn end(mut self) -> FreePlan {
        let policy = self.options.delete_local;
        for (_, share) in std::mem::take(&mut self.shares) {
            let left_bytes = share.ready_bytes.saturating_sub(share.excess_bytes);
            let short_bytes = share.excess_bytes.saturating_sub(share.ready_bytes);
            let frees = share.ready.iter().map(|((proven_ms, _), files)| planned(files, &reason(policy, *proven_ms)));
            self.plan.frees.extend(frees);
            if matches!(policy, DeleteLocal::BelowFree(_) | DeleteLocal::MaxBytes(_)) {
                self.plan.short_bytes = self.plan.short_bytes.saturating_add(short_bytes);
            }
            self.plan.kept.extend(share.spare(policy, left_bytes));
        }
        self.plan
    }

    fn refuse(&mut self, record: &VodRecord, refusal: KeepReason) {
        let is_listed = self.lists == RefusalFilter::All && refusal != KeepReason::AlreadyFreed;
        if is_listed || refusal == KeepReason::LocalMissing {
            self.plan.kept.push((record.vod_id.clone(), refusal));
        }
    }

    /// The share that the records of a file system belong to.
    fn share(&mut self, volume: Volume) -> &mut VolumeShare {
        let (volume, excess_bytes) = match self.options.delete_local {
            DeleteLocal::BelowFree(watermark) => (volume, watermark.saturating_sub(volume.free_bytes)),
            DeleteLocal::MaxBytes(max) => {
                (Volume { device: EVERYWHERE, free_bytes: self.held_bytes }, self.held_bytes.saturating_sub(max))
            }
            _ => (Volume { device: EVERYWHERE, free_bytes: 0 }, u64::MAX),
        };
        let share = || VolumeShare { volume, excess_bytes, ready: BTreeMap::new(), ready_bytes: 0, spare: Vec::new() };
        self.shares.entry(volume.device).or_insert_with(share)
    }
}

/// The number of no device: the policy counts all recordings together.
const EVERYWHERE: u64 = 0;

impl VolumeShare {
    /// Why what may go stays, the oldest proof first; told what is freed beyond the excess.
    fn spare(mut self, policy: DeleteLocal, left_bytes: u64) -> impl Iterator<Item = (String, KeepReason)> {
        self.spare.sort();
        let before = self.volume.free_bytes;
        let enough = move || match policy {
            DeleteLocal::BelowFree(watermark) => {
                KeepReason::EnoughRoom { free_bytes: watermark.max(before).saturating_add(left_bytes) }
            }
            DeleteLocal::MaxBytes(max) => {
                KeepReason::WithinMax { held_bytes: max.min(before).saturating_sub(left_bytes) }
            }
            _ => KeepReason::AlreadyFreed,
        };
        self.spare.into_iter().map(move |(_, id)| (id, enough()))
    }
}

fn planned(files: &DueFree, reason: &str) -> PlannedFree {
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

impl<'a> FreeInventory<'a> {
    fn volume(&self, root: &Path) -> Volume {
        self.volumes.get(root).copied().unwrap_or(Volume { device: 0, free_bytes: u64::MAX })
    }

    fn facts(&self, record: &'a VodRecord, held_bytes: u64) -> PermitFacts<'a> {
        PermitFacts {
            record,
            deliveries: self.deliveries.get(&record.vod_id).map_or(&[], Vec::as_slice),
            required: self.required,
            uploaded: self.uploaded,
            seen_now: self.on_disk.get(&record.vod_id).copied(),
            confirmed: &[],
            views: self.views,
            free_bytes: self.volume(&record.root).free_bytes,
            held_bytes,
            awaited_by: self.awaited.get(&record.vod_id).map(String::as_str),
            now_ms: self.now_ms,
        }
    }
}
