//! Recordings that lie in a bucket: finds them page by page, judges them by ranges, and finishes them where they lie.
//!
//! ```text
//! list a page ─▶ judge by headers ─┬─ complete
//!                                  ├─ a header is all that it needs ─▶ inside   the store copies the media itself
//!                                  ╰─ its media has to be read ─▶ scratch       down, finished like any file, up
//! ```
//!
//! No object is ever replaced, and no original removed. There is no record of it in the catalogue: what is noted is which object was made of which.
//!
//! It must not keep more than a page of a listing, nor decide what a recording needs (`finish` does).

mod error;
mod inside;
mod item;
mod judging;
mod naming;
mod options;
mod reader;
mod run;
mod scratch;
mod siblings;

pub use error::ArchiveError;
pub use item::{ArchiveItem, ArchiveReport, ItemState, ItemWay, Transferred};
pub use options::ArchiveOptions;
pub use run::{ArchiveJob, ArchiveRun, run};
