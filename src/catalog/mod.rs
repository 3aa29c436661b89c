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

mod cached_search;
mod changed_ids;
mod check;
mod commit;
mod compact;
mod counter;
mod due;
mod ended;
mod entry;
mod error;
mod events;
mod identity;
mod index;
mod inner;
mod journal;
mod known;
mod layout;
mod ledger;
mod listeners;
mod listing;
mod lock;
mod log;
mod marks;
mod names;
mod newest;
mod node;
mod notes;
mod opened;
mod packing;
mod pruning;
mod queue;
mod rebuild;
mod records;
mod replica;
mod retry;
#[cfg(test)]
pub(crate) mod room;
mod rows;
mod selecting;
mod shared;
mod shared_flush;
mod stale_mark;
mod state_dir;
mod store;
mod targets;
#[cfg(test)]
mod tests;
mod texts;
mod transaction;
mod tree;
mod upgrade;
mod vod_count;
mod vod_index;
mod vods;
mod waiting;

pub use check::CheckResult;
pub use commit::Committed;
pub use due::{Backlog, DueFilter, NextDue};
pub use entry::{JOURNAL_VERSION, JournalEntry};
pub use error::{CatalogError, Result, StorageError, UntrustedReason};
pub use events::{ConsumerStart, EventPage, LoggedEvent};
pub use identity::{NODE_ID_FILE, is_node_id, known_node_id, node_id};
pub use index::{JournalKey, NotAKey};
pub use journal::BeginOutcome;
pub use known::KnownFile;
pub use listing::{Cursor, Listing};
pub use log::{Consumer, EventLimits};
pub use marks::Marks;
pub use node::NodeCatalog;
pub use opened::Catalog;
pub use queue::{DeliveryFilter, Retry};
pub use rebuild::MergeCounts;
pub use replica::MarkedVod;
pub use retry::next_try_ms;
pub use shared::SharedCatalog;
pub use state_dir::{StateDirAccess, prepare_state_dir};
pub use vod_index::{Order, Selection};
pub use vods::VodQuery;
