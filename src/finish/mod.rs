//! Decides what a recording needs and produces the finished file: keep | splice | remux | salvage | quarantine.
//!
//! ```text
//! inspect ─▶ decide ─▶ keep      the file is complete: it only gets its final name
//!                    ├ splice    its header goes to the front of a copy made inside the kernel
//!                    ├ remux     its packets go into a new container in one pass
//!                    ├ salvage   its sample tables are rebuilt and go to the front of a copy
//!                    ╰ quarantine  left where it is, with its defects
//! ```
//!
//! Whatever is written is written aside, reopened and compared with its source before it is handed over; publishing
//! it under its final name is the pipeline's, which journals that first. The source is only ever read here.

mod container;
mod decide;
mod describe;
mod error;
mod identity;
mod inspect;
mod options;
mod place;
mod produce;
mod salvaging;
mod sameness;

pub use container::finished_container;
pub use decide::{Action, Plan, decide};
pub use describe::{Description, describe};
pub use error::FinishError;
pub use identity::{Made, Making, record_of_finished, start_of};
pub use inspect::{Inspection, Iso, inspect};
pub use options::*;
pub use place::{Names, Wish, finished_path, is_free};
pub use produce::{ChoosePath, Conclusion, Finished, References, Work, finish};
pub use salvaging::{reference_of, siblings};
