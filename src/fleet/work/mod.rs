//! Work that nodes share: each item is done once, by whoever holds the token that was given out last for it.
//!
//! ```text
//! enqueue ─▶ ready ─claim▶ leased ─begin▶ ─┬─ finish ─▶ done
//!              ▲                            ├─ fail ───▶ ready later · failed
//!              │   holder gone: taken over  ╰─ give back
//!              ╰──────────────╯   (the second time after it was begun: quarantined)
//! ```
//!
//! A node holds what it has claimed as long as its heartbeat is confirmed; there is no clock but the database's. Whoever wakes up too
//! late finds another token: its result is thrown away, and [`SharedWork::is_still_mine`] forbids it the step that cannot be undone.
//! Nothing is worked on within a transaction.

mod batches;
mod claiming;
mod ending;
mod enqueuing;
mod item;
mod pages;
mod status;

use std::sync::Arc;

pub use batches::{BatchSpec, Batches, RunningBatch};
pub use claiming::WorkScope;
pub use ending::{WorkFailure, WorkResult};
pub use item::{NewWork, WorkItem};
pub use pages::{LIST, PageRules};
pub use status::{BatchState, BatchStatus, OutcomeCount};

use super::engine::Member;

/// Work of all nodes, as this one takes part in it. Its methods block.
#[derive(Debug, Clone)]
pub struct SharedWork(Arc<Member>);

impl SharedWork {
    pub(super) fn of(member: &Arc<Member>) -> Self {
        Self(Arc::clone(member))
    }
}
