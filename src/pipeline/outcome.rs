//! How a journey ended, for now, in words for whoever asked.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journaling::Journaling;
use crate::catalog::KnownFile;
use crate::fault::Class;
use crate::recording::journey::Step;
use crate::recording::{Defect, Fingerprint, VodRecord};

/// How a recording's journey ended, for now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[schemars(rename = "Ended")]
pub enum JourneyOutcome {
    /// It is finished and catalogued.
    Finished {
        /// Its record.
        vod: Box<VodRecord>,
    },
    /// It was before.
    #[serde(rename = "already finished")]
    AlreadyFinished {
        /// Id of its record, if it has one.
        vod_id: Option<String>,
    },
    /// It cannot be finished and stays where it is.
    Quarantined {
        /// What is wrong with it.
        defects: Vec<Defect>,
    },
    /// It was left out on the first start.
    #[serde(rename = "left out")]
    LeftOut,
    /// It came too far to begin again and cannot go on yet: it is carried on from where it stands.
    Postponed {
        /// Id of its record, if it has one.
        vod_id: Option<String>,
        /// What to do about it.
        class: Class,
        /// What is done, and what went wrong.
        message: String,
        /// What is safe and what to do.
        hint: Option<String>,
    },
    /// The attempt failed; the recording is where it was.
    Failed {
        /// What to do about it.
        class: Class,
        /// What went wrong.
        message: String,
        /// What is safe and what to do.
        hint: Option<String>,
    },
}

impl JourneyOutcome {
    /// Whether it can be finished as soon as something says how its stream is coded.
    pub fn lacks_parameters(&self) -> bool {
        matches!(self, Self::Quarantined { defects } if defects.iter().any(Defect::is_missing_parameters))
    }
}

/// How a recording that the catalogue knows has ended.
pub fn ended_before(ctx: &Journaling, path: &Path, fingerprint: &Fingerprint, known: &KnownFile) -> JourneyOutcome {
    match known {
        KnownFile::LeftOut => JourneyOutcome::LeftOut,
        KnownFile::Quarantined => {
            let entry = ctx.catalog.entry_for(path, fingerprint).ok().flatten();
            let defects = entry.map(|e| e.step).and_then(|step| match step {
                Step::Quarantined { defects } => Some(defects),
                _ => None,
            });
            JourneyOutcome::Quarantined { defects: defects.unwrap_or_default() }
        }
        KnownFile::Failed { .. } => failed_before(ctx, path, fingerprint),
        other => JourneyOutcome::AlreadyFinished { vod_id: other.vod_id().map(str::to_owned) },
    }
}

fn failed_before(ctx: &Journaling, path: &Path, fingerprint: &Fingerprint) -> JourneyOutcome {
    let entry = ctx.catalog.entry_for(path, fingerprint).ok().flatten();
    match entry.map(|e| e.step) {
        Some(Step::Failed { class, message, .. }) => JourneyOutcome::Failed { class, message, hint: None },
        _ => JourneyOutcome::AlreadyFinished { vod_id: None },
    }
}
