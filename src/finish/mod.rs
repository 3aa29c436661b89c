//! Decides what a recording needs and produces the finished file: keep | splice | remux | salvage | quarantine.
//!
//! ```text
//! inspect ─▶ decide ─▶ keep      the file is complete: it only gets its final name
//!                    ├ splice    its header goes to its front, in place or beside it ([`splice`]); of FLV, sample tables
//!                    │           over its packets ([`indexing`])
//!                    ├ remux     its packets go into a new container in one pass
//!                    ├ salvage   its sample tables are rebuilt and go to the front of its media
//!                    ╰ quarantine  left where it is, with its defects
//! ```
//!
//! ```text
//! prepare ─▶ PreparedRecording ─begin─▶ Unnamed ─(a name is reserved) named─▶ Ended: Finished | Quarantined
//!                                                ╰▶ PendingChange ─(it is journalled) perform─▶ Ended | Unnamed (another way)
//! ```
//!
//! Whatever is written is reopened and compared with its source before it is handed over; publishing it under its
//! final name is the pipeline's, which journals that first. The source is only ever read here, but for a splice in
//! place, whose intent the pipeline journals before a block moves. Values go down and come back; nothing here calls up.

mod closer;
mod container;
mod decide;
mod decoding;
mod describe;
mod elsewhere;
mod error;
mod front;
mod identity;
mod indexing;
mod inspect;
mod keep;
mod kept;
mod options;
mod phases;
mod place;
mod progressive;
mod proof;
mod remux;
mod salvaging;
mod sameness;
mod splice;
mod tagged;
mod unjournalled;
mod window;
mod work;

pub use container::finished_container;
pub use decide::{FinishAction, FinishPlan, decide};
pub use describe::{Description, describe};
pub use elsewhere::{BodyForm, PlanElsewhere, plan_elsewhere, reference_elsewhere};
pub use error::FinishError;
pub use identity::{FinishedFile, Provenance, record_of_finished, start_of};
#[cfg(test)]
pub(crate) use indexing::{IndexOutcome, index};
pub use indexing::{Tables, tables_over_flv};
pub use inspect::{HEAD_BYTES, Inspection, Iso, IsoHeader, inspect, inspect_headers};
pub use options::*;
pub use phases::{PreparedRecording, prepare};
pub use place::{NameRequest, free_paths, is_free};
pub use progressive::{ProgressiveCopy, progressive_copy};
pub use salvaging::{reference_in, reference_of, siblings};
pub use splice::{ByteRecovery, SpliceRecovery, UndoOutcome, put_back_by_bytes, recover, undo};
pub use unjournalled::{finish_beside, finish_beside_named, settled_as_given};
pub(crate) use window::moved;
pub use work::{Conclusion, FinishJob, FinishPhase, Finished, PendingChange, Unnamed};
