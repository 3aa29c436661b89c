//! Whether a file has been dealt with: the question that every rescan asks of every file.
//!
//! Two point lookups and no write, so that ten rescans of a finished tree cost little and change nothing. A file that was
//! written again has another fingerprint and is unknown.

use std::path::Path;

use serde::Deserialize;

use super::error::Result;
use super::index::{FINISHED, JournalKey, ORIGINAL, SOURCE};
use super::node::NodeCatalog;
use super::rows::StoredValue;
use super::tree::TreeId;
use crate::recording::Fingerprint;
use crate::recording::journey::Step;

/// What the catalogue knows of a file with this path and fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownFile {
    /// Nothing: it may be taken.
    Unknown,
    /// It is the finished file of a VoD, also of one that was deleted from the catalogue.
    Finished {
        /// Id of the VoD.
        vod_id: String,
    },
    /// It is the original that was kept beside the finished file of a VoD.
    Original {
        /// Id of the VoD.
        vod_id: String,
    },
    /// It was finished into a VoD.
    Source {
        /// Id of the VoD.
        vod_id: String,
    },
    /// Work on it has begun; start-up recovery continues it.
    UnderWay,
    /// An attempt failed.
    Failed {
        /// When to try again, milliseconds since the Unix epoch; `None` waits for a person.
        due_ms: Option<i64>,
    },
    /// It is quarantined.
    Quarantined,
    /// It was left out on the first start.
    LeftOut,
}

impl KnownFile {
    /// Whether a scan may take it now: it is unknown, or the time of its next try has come.
    pub fn may_be_taken(&self, now_ms: i64) -> bool {
        match self {
            Self::Unknown => true,
            Self::Failed { due_ms } => due_ms.is_some_and(|due| due <= now_ms),
            _ => false,
        }
    }

    /// The VoD it belongs to.
    pub fn vod_id(&self) -> Option<&str> {
        match self {
            Self::Finished { vod_id } | Self::Original { vod_id } | Self::Source { vod_id } => Some(vod_id),
            _ => None,
        }
    }

    pub(super) fn from_step(step: &Step) -> Self {
        match step {
            Step::Begun | Step::Splicing { .. } | Step::Publishing { .. } | Step::Catalogued { .. } => Self::UnderWay,
            Step::Done { vod_id } => Self::Source { vod_id: vod_id.clone() },
            Step::Quarantined { .. } => Self::Quarantined,
            Step::Failed { due_ms, .. } => Self::Failed { due_ms: *due_ms },
            Step::LeftOut => Self::LeftOut,
        }
    }

    pub(super) fn from_row(row: Option<&[u8]>) -> Self {
        let id = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
        match row {
            Some([FINISHED, vod_id @ ..]) => Self::Finished { vod_id: id(vod_id) },
            Some([ORIGINAL, vod_id @ ..]) => Self::Original { vod_id: id(vod_id) },
            Some([SOURCE, vod_id @ ..]) => Self::Source { vod_id: id(vod_id) },
            _ => Self::Unknown,
        }
    }
}

/// As much of a journal entry as the question needs.
#[derive(Deserialize)]
struct StepOnly {
    step: Step,
}

/// Read without a look at its version: what it says is not written again.
impl StoredValue for StepOnly {}

impl NodeCatalog {
    /// What is known of a file with this path and fingerprint. Writes nothing.
    pub fn knows(&self, path: &Path, fingerprint: &Fingerprint) -> Result<KnownFile> {
        let key = JournalKey::of(path, fingerprint).stored();
        match KnownFile::from_row(self.store().get(TreeId::Known, &key)?.as_deref()) {
            KnownFile::Unknown => {
                let standing = self.store().read::<StepOnly>(TreeId::Journal, &key)?;
                Ok(standing.map_or(KnownFile::Unknown, |standing| KnownFile::from_step(&standing.step)))
            }
            known => Ok(known),
        }
    }
}
