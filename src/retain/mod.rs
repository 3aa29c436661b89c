//! What may be freed locally: policy and proof give a plan, a permit frees.
//!
//! Deciding is pure ([`plan`], [`permit`]); only [`free`] touches the disk. Never freed: what no required target is
//! proven to hold, quarantined recordings (they have no record), kinds outside the mask, and directories.

mod free;
mod options;
mod permit;
mod plan;
#[cfg(test)]
mod tests;

pub use free::{FreeError, Freed, Waiting, free};
pub use options::*;
pub use permit::{
    ANSWER_MAX_AGE_MS, Confirmation, Facts, Permit, Question, Refusal, VIEW_MAX_AGE_MS, Viewed, permit, questions,
    to_be_compared, to_be_looked_at,
};
pub use plan::{Inventory, Lists, Plan, PlannedFree, Planner, Volume, plan};
