//! A new header in front of media that is not copied.
//!
//! ```text
//! ways ─▶ insert range   in place: prepare ─ (journal) ─ perform      recover, undo: the way on and the way back
//!       ├ reflink        beside it, sharing its blocks           ╮
//!       ├ copy range     beside it, copied inside the kernel     ├─ aside
//!       ╰ copy           beside it, read and written; a large    ╯
//!                        one past the page cache, each block read back
//! ```
//!
//! Which ways are tried is decided by [`ways`]; each says by trying whether it can be gone here. A file is changed
//! where it stands only under an exclusive lease and with its intent in the journal.

mod aside;
mod by_bytes;
mod in_place;
mod lease;
mod own;
mod prepare;
mod recover;
#[cfg(test)]
mod tests;
mod undo;
mod view;
mod ways;

pub(super) use aside::{AsideWrite, LEAST_DIRECT_BYTES, MediaProof, compact_plan_of, put_aside, wrapping_plan_of};
pub use by_bytes::{ByteRecovery, put_back_by_bytes};
pub(super) use in_place::InPlaceOutcome;
pub(super) use own::{can_insert, own_fragments, put_in_front_of_own};
pub(super) use prepare::{PreparedSplice, SpliceRequest, file_type_by, is_local_disk, prepare};
pub use recover::{SpliceRecovery, recover};
pub use undo::{UndoOutcome, undo};
pub(super) use ways::{SpliceConditions, ways, ways_of_salvage};

/// Largest block that is tried: bigalloc clusters and XFS realtime extents.
pub(super) const LARGEST_BLOCK_BYTES: u64 = 1 << 20;
