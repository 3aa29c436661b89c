//! One recording in the journal, as it is stored.

use serde::{Deserialize, Serialize};

use crate::discover::Settled;
use crate::recording::journey::{Postponed, Stage, Step};

/// Version of [`JournalEntry`] as stored; raised when a reader of the old form would misread the new one.
pub const JOURNAL_VERSION: u32 = 1;

/// What the journal knows of one recording: under way, ended without a VoD, or done a short while ago.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// [`JOURNAL_VERSION`] of the writer.
    pub version: u32,
    /// The settled recording.
    pub settled: Settled,
    /// The last step that is known to be durable.
    pub step: Step,
    /// Attempts begun so far; raised and flushed before an attempt starts (promise 6).
    pub attempts: u32,
    /// When this entry last changed, milliseconds since the Unix epoch.
    pub changed_ms: i64,
    /// Why the step that follows could not be done yet, if it could not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub postponed: Option<Postponed>,
}

impl JournalEntry {
    /// The stage that it stands at.
    pub const fn stage(&self) -> Stage {
        self.step.stage()
    }

    /// Whether an attempt is under way of which nothing is finished: a process that ended here died of it, or beside it.
    pub(super) const fn is_attempt(&self) -> bool {
        matches!(self.step, Step::Begun | Step::Splicing { .. })
    }

    pub(super) fn first(settled: Settled, step: Step, attempts: u32, now_ms: i64) -> Self {
        Self { version: JOURNAL_VERSION, settled, step, attempts, changed_ms: now_ms, postponed: None }
    }

    /// The same recording at another step. What was postponed before is over.
    pub(super) fn at(self, step: Step, now_ms: i64) -> Self {
        Self { step, changed_ms: now_ms, postponed: None, ..self }
    }
}
