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
//! Whatever is written is reopened and compared with its source before it is handed over; publishing it under its
//! final name is the pipeline's, which journals that first. The source is only ever read here, but for a splice in
//! place, whose intent the pipeline journals before a block moves.

mod closer;
mod container;
mod decide;
mod describe;
mod error;
mod front;
mod identity;
mod indexing;
mod inspect;
mod keep;
mod options;
mod place;
mod produce;
mod progressive;
mod proof;
mod remux;
mod salvaging;
mod sameness;
mod splice;
mod tagged;
mod unjournalled;
mod window;

pub use container::finished_container;
pub use decide::{Action, Plan, decide};
pub use describe::{Description, describe};
pub use error::FinishError;
pub use identity::{Made, Making, record_of_finished, start_of};
#[cfg(test)]
pub(crate) use indexing::{Indexing, index};
pub use indexing::{Tables, tables_over_flv};
pub use inspect::{Inspection, Iso, inspect};
pub use options::*;
pub use place::{Names, Wish, finished_path, is_free};
pub use produce::{Alone, ChoosePath, Conclusion, Finished, References, Remember, Turn, Work, finish};
pub use progressive::{ProgressiveCopy, progressive_copy};
pub use salvaging::{reference_of, siblings};
pub use splice::{ByBytes, Recovered, Undone, put_back_by_bytes, recover, undo};
pub use unjournalled::{never_in_place, settled_as_given};
