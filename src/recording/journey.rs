//! Where a recording stands: the states of the journey and the journal that remembers them.
//!
//! ```text
//! Candidate ─▶ Settled ─▶ Finished ─▶ Catalogued ─▶ Delivered(target…) ─▶ Retained | Freed
//!                              ╰ Quarantined(defects, never deleted)  ╰ Failed(class, attempts, due)
//! ```
//!
//! A [`Candidate`] becomes `discover::Settled` only with [`Evidence`] that nobody writes it any more. From there on the
//! journal (`catalog::Entry`) keeps the chain; each step is flushed before the next one begins (promise 4). Which step may
//! follow which is one table, [`Stage::may_become`]: behind *publishing* there is only forward.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Defect, Fingerprint, SpliceIntent, StartSource, VodRecord};
use crate::fault::Class;

/// What a file's name and place say about the recording, by the root's preset or template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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

/// A step that failed and is tried again from where the recording stands: the steps before it are not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Whether the recording is quarantined and can be finished as soon as something says how its stream is coded.
    pub fn lacks_parameters(&self) -> bool {
        matches!(self, Self::Quarantined { defects } if defects.iter().any(Defect::is_missing_parameters))
    }

    /// Which step it is, without what it carries.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Begun => Stage::Begun,
            Self::Splicing { .. } => Stage::Splicing,
            Self::Publishing { .. } => Stage::Publishing,
            Self::Catalogued { .. } => Stage::Catalogued,
            Self::Done { .. } => Stage::Done,
            Self::Quarantined { .. } => Stage::Quarantined,
            Self::Failed { .. } => Stage::Failed,
            Self::LeftOut => Stage::LeftOut,
        }
    }

    /// The state's name as logs, journal, command line and documents call it.
    pub const fn name(&self) -> &'static str {
        self.stage().name()
    }

    /// Whether start-up recovery has something to do.
    pub const fn is_open(&self) -> bool {
        self.stage().is_open()
    }
}

/// A [`Step`] without what it carries: what the rules of the journey speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// [`Step::Begun`].
    Begun,
    /// [`Step::Splicing`].
    Splicing,
    /// [`Step::Publishing`].
    Publishing,
    /// [`Step::Catalogued`].
    Catalogued,
    /// [`Step::Done`].
    Done,
    /// [`Step::Quarantined`].
    Quarantined,
    /// [`Step::Failed`].
    Failed,
    /// [`Step::LeftOut`].
    LeftOut,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Begun,
        Self::Splicing,
        Self::Publishing,
        Self::Catalogued,
        Self::Done,
        Self::Quarantined,
        Self::Failed,
        Self::LeftOut,
    ];

    /// The stages that may follow this one.
    ///
    /// A recording that is being spliced or published comes back to *begun* only once what was written is proven to be taken
    /// back or gone: the source is what it was, and no finished file stands. So an attempt that merely failed there can
    /// neither fail nor be quarantined from where it stands, and what is in the catalogue only comes to its end.
    const fn next(self) -> &'static [Self] {
        match self {
            Self::Begun => {
                &[Self::Begun, Self::Splicing, Self::Publishing, Self::Done, Self::Quarantined, Self::Failed]
            }
            // Again, with a larger block; quarantined, where what a cut left tells neither the way on nor the way back.
            Self::Splicing => &[Self::Begun, Self::Splicing, Self::Publishing, Self::Done, Self::Quarantined],
            Self::Publishing => &[Self::Begun, Self::Catalogued, Self::Done],
            Self::Catalogued => &[Self::Done],
            // A quarantined recording is tried again when its stream's parameters become known.
            Self::Quarantined => &[Self::Failed],
            Self::Failed => &[Self::Begun, Self::Quarantined],
            Self::Done | Self::LeftOut => &[],
        }
    }

    /// Whether a recording at this stage may come to another.
    pub fn may_become(self, to: Self) -> bool {
        self.next().contains(&to)
    }

    /// Whether the journal may begin with it.
    pub const fn may_be_first(self) -> bool {
        matches!(self, Self::Begun | Self::LeftOut)
    }

    /// Whether the recording may be forgotten, and so be taken as if it were new: nothing of it would be left half done, and
    /// nothing that is in the catalogue would be finished again without a person asking for it.
    pub const fn may_be_forgotten(self) -> bool {
        !matches!(self, Self::Splicing | Self::Publishing | Self::Catalogued)
    }

    /// Whether start-up recovery has something to do.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Begun | Self::Splicing | Self::Publishing | Self::Catalogued)
    }

    /// The stage's name as logs, journal, command line and documents call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Splicing => "splicing",
            Self::Publishing => "publishing",
            Self::Catalogued => "catalogued",
            Self::Done => "finished",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::LeftOut => "left out",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the start time of a recording was taken from, kept with the time itself.
pub type StartTime = (i64, StartSource);

#[cfg(test)]
mod tests {
    use super::*;

    /// A row for each stage, a column for each in the order of [`Stage::ALL`]; `x` where the one may become the other.
    const TABLE: [(Stage, &str); 8] = [
        //                    B S P C D Q F L
        (Stage::Begun, "      x x x . x x x ."),
        (Stage::Splicing, "   x x x . x x . ."),
        (Stage::Publishing, " x . . x x . . ."),
        (Stage::Catalogued, " . . . . x . . ."),
        (Stage::Done, "       . . . . . . . ."),
        (Stage::Quarantined, ". . . . . . x ."),
        (Stage::Failed, "     x . . . . x . ."),
        (Stage::LeftOut, "    . . . . . . . ."),
    ];

    #[test]
    fn every_pair_of_stages_is_allowed_or_refused_as_the_table_says() {
        for (from, row) in TABLE {
            let allowed = row.split_whitespace().map(|cell| cell == "x");
            for (to, is_allowed) in Stage::ALL.into_iter().zip(allowed) {
                assert_eq!(from.may_become(to), is_allowed, "{from} to {to}");
            }
        }
    }

    /// Everything that can be reached from a stage.
    fn reachable(from: Stage) -> Vec<Stage> {
        let mut found = from.next().to_vec();
        let mut at = 0;
        while let Some(stage) = found.get(at).copied() {
            found.extend(stage.next().iter().filter(|next| !found.contains(next)).copied().collect::<Vec<_>>());
            at += 1;
        }
        found
    }

    #[test]
    fn no_way_leads_from_the_catalogue_to_another_attempt() {
        assert_eq!(reachable(Stage::Catalogued), [Stage::Done]);
        assert_eq!(reachable(Stage::Done), []);
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_half_done() {
        for stage in Stage::ALL {
            let is_half_done = stage.is_open() && stage != Stage::Begun;
            assert_eq!(stage.may_be_forgotten(), !is_half_done, "{stage}");
        }
        assert_eq!(Stage::ALL.map(Stage::may_be_first).iter().filter(|may| **may).count(), 2);
    }
}
