//! Where a recording stands: the states of the journey and the journal that remembers them.
//!
//! ```text
//! Candidate ─▶ Settled ─▶ Finished ─▶ Catalogued ─▶ Delivered(target…) ─▶ Retained | Freed
//!                              ╰ Quarantined(defects, never deleted)  ╰ Failed(class, attempts, due)
//! ```
//!
//! A [`Candidate`] becomes [`Settled`] only with [`Evidence`] that nobody writes it any more. From there on the
//! journal ([`Entry`]) keeps the chain; each step is flushed before the next one begins (promise 4).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Defect, Fingerprint, SpliceIntent, StartSource, VodRecord};
use crate::fault::Class;

/// What a file's name and place say about the recording, by the root's preset or template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameFacts {
    /// The ingest server's id of the stream, or the file name without its known suffixes.
    pub stream_id: String,
    /// Name of the finished file without extension, temporary suffix and directories.
    pub stem: String,
    /// Start of the recording, milliseconds since the Unix epoch, UTC, if the name says it.
    pub start_ms: Option<i64>,
    /// Rendition such as `480p500kbps`, if the name says it.
    pub rendition: Option<String>,
    /// Part or collision number, if the name says it.
    pub part: Option<u32>,
}

/// A file that may be a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Absolute path.
    pub path: PathBuf,
    /// The root it was found under: the configured one, else the directory given, else the file's parent.
    pub root: PathBuf,
    /// The preset that read its name (`antmedia`, …, `template`).
    pub server: String,
    /// Whether it bears a temporary name, as a crashed writer leaves it.
    pub is_temporary: bool,
    /// What its name says.
    pub facts: NameFacts,
    /// Its fingerprint when it was found.
    pub fingerprint: Fingerprint,
}

impl Candidate {
    /// Path relative to the root, or the file name when it lies outside.
    pub fn relative_path(&self) -> &Path {
        self.path.strip_prefix(&self.root).unwrap_or_else(|_| Path::new(self.path.file_name().unwrap_or_default()))
    }
}

/// Why we believe that nobody writes a file any more, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Evidence {
    /// `IN_CLOSE_WRITE` was seen and nothing was written since.
    CloseSeen,
    /// A rename to this name was seen and nothing was written since.
    RenameSeen,
    /// A read lease (`fcntl(F_SETLEASE, F_RDLCK)`) was granted: no process has it open for writing.
    Lease,
    /// Every process's open files were read and none holds it for writing.
    ProcScan,
    /// Only unchanged size and modification time, for this many seconds.
    Unchanged {
        /// Seconds without a change.
        for_s: u64,
    },
}

impl Evidence {
    /// Weak evidence never renames or removes the source and never finishes in place (design §4).
    pub const fn is_strong(self) -> bool {
        !matches!(self, Self::Unchanged { .. })
    }
}

/// A candidate nobody writes any more. Made only by `discover::settle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// The file.
    pub candidate: Candidate,
    /// Why it counts as settled.
    pub evidence: Evidence,
}

impl Settled {
    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.candidate.path
    }
}

/// Version of [`Entry`] as stored; raised when a reader of the old form would misread the new one.
pub const JOURNAL_VERSION: u32 = 1;

/// What the journal knows of one recording that is under way or has ended without a VoD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
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

/// A step that failed and is tried again from where the recording stands: the steps before it are not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Postponed {
    /// What to do about it.
    pub class: Class,
    /// What went wrong, for the operator.
    pub message: String,
    /// How often it was tried.
    pub tries: u32,
    /// When to try again, milliseconds since the Unix epoch.
    pub due_ms: i64,
}

/// The last durable step of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Step {
    /// An attempt has begun. Nothing but our own partial may have been written.
    Begun,
    /// A header is being put in front of the source where it stands. What it leaves when it is cut, and what becomes of
    /// that, is told by the intent and the file itself.
    Splicing {
        /// What is about to be done, and how to take it back.
        intent: Box<SpliceIntent>,
        /// The record that goes into the catalogue once it is done.
        record: Box<VodRecord>,
    },
    /// The finished file is complete and checked under `written_path`; it is about to appear as
    /// `record.file_path`. For a recording that is only renamed, `written_path` is the source itself.
    Publishing {
        /// Where the complete file stands now.
        written_path: PathBuf,
        /// Fingerprint of the complete file: tells after a crash whether the rename has happened.
        written: Fingerprint,
        /// The record that goes into the catalogue.
        record: Box<VodRecord>,
        /// Whether the source is removed once the record is durable.
        removes_source: bool,
    },
    /// The record is in the catalogue; the source still has to be removed (if it is to be).
    Catalogued {
        /// Id of the record.
        vod_id: String,
        /// Whether the source is removed next.
        removes_source: bool,
    },
    /// Nothing is left to do for the local file.
    Done {
        /// Id of the record.
        vod_id: String,
    },
    /// Left where it is, never deleted.
    Quarantined {
        /// Why.
        defects: Vec<Defect>,
    },
    /// An attempt failed.
    Failed {
        /// What to do about it.
        class: Class,
        /// What went wrong, for the operator.
        message: String,
        /// When to try again, milliseconds since the Unix epoch; `None` waits for a person.
        due_ms: Option<i64>,
    },
    /// Left out on the first start (`existing`), to be given to `process` by a person.
    LeftOut,
}

impl Step {
    /// The state's name as logs, journal, command line and documents call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Splicing { .. } => "splicing",
            Self::Publishing { .. } => "publishing",
            Self::Catalogued { .. } => "catalogued",
            Self::Done { .. } => "finished",
            Self::Quarantined { .. } => "quarantined",
            Self::Failed { .. } => "failed",
            Self::LeftOut => "left out",
        }
    }

    /// Whether start-up recovery has something to do.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Begun | Self::Splicing { .. } | Self::Publishing { .. } | Self::Catalogued { .. })
    }
}

/// Where the start time of a recording was taken from, kept with the time itself.
pub type Start = (i64, StartSource);
