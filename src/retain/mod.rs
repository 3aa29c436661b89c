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

pub use free::{AsideFile, FreeError, FreedVod, free};
pub use options::*;
pub use permit::{
    ANSWER_MAX_AGE_MS, Confirmation, ConfirmationRequest, KeepReason, Permit, PermitFacts, TargetView, VIEW_MAX_AGE_MS,
    permit, questions, to_be_compared, to_be_looked_at,
};
pub use plan::{FreeInventory, FreePlan, PlannedFree, Planner, RefusalFilter, Volume, plan};
