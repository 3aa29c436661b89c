//! The VoD index: records, the journal of recordings under way, the delivery queue, and what must be remembered between
//! starts.
//!
//! Assumes that one process owns the state directory (a lock sees to it) and that callers pass the time. It never opens
//! a recording and never decides what happens to one: it remembers, and it promises that what it says was remembered
//! is on the disk (promises 4 and 6).
//!
//! ```text
//! begin ─▶ reserve_name ─▶ advance(Publishing) ─▶ commit_vod ─▶ advance(Done)
//!   │                                                  ╰─▶ due ─▶ begin_delivery ─▶ delivered | delivery_failed
//!   ╰▶ Known · Interrupted (continue it) · KillsTheProcess (quarantine it)
//! ```
//!
//! Three rules hold at every moment, also after SIGKILL or power loss, and [`Catalog::check`] verifies the last two:
//!
//! 1. A method that promises durability returns only after the write is on the disk; nothing later overtakes it.
//! 2. A VoD, its index rows, its queued deliveries and the journal's word that it is catalogued appear together.
//! 3. Index rows are made from records alone: losing or doubling one loses nothing.

mod behind;
mod check;
mod commit;
mod compact;
mod counter;
mod due;
mod ended;
mod entry;
mod error;
mod events;
mod heard;
mod index;
mod inner;
mod journal;
mod known;
mod layout;
mod ledger;
mod listing;
mod lock;
mod log;
mod marks;
mod names;
mod node;
mod notes;
mod opened;
mod packing;
mod pruning;
mod queue;
mod ranked;
mod rebuild;
mod records;
mod retry;
#[cfg(test)]
pub(crate) mod room;
mod rows;
mod searched;
mod selecting;
mod shared;
mod shared_flush;
mod state_dir;
mod store;
mod targets;
#[cfg(test)]
mod tests;
mod texts;
mod touched;
mod tree;
mod upgrade;
mod vods;
mod waiting;

pub use check::Checked;
pub use commit::Committed;
pub use due::{Among, Backlog, Next};
pub use entry::{Entry, JOURNAL_VERSION};
pub use error::{CatalogError, Distrust, Result, StorageError};
pub use events::{Beginning, EventPage, Logged};
pub use index::{JournalKey, NotAKey};
pub use journal::Begun;
pub use known::Known;
pub use listing::{Cursor, Listing};
pub use log::{Consumer, EventLimits};
pub use marks::Marks;
pub use node::Node;
pub use opened::Catalog;
pub use queue::{DeliveryFilter, Retry};
pub use ranked::{Order, Selection};
pub use rebuild::Merged;
pub use retry::next_try_ms;
pub use shared::Shared;
pub use state_dir::{Access, prepare_state_dir};
pub use vods::Page;
