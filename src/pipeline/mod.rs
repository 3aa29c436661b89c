//! The order of the stages, the rayon pool, bounded queues, retries, start-up recovery.
//!
//! This room decides nothing about media, names, stores or retention: it asks the rooms that do, journals each step
//! before the next begins, and sees to it that nothing is done twice. It must not print.

mod active_config;
mod batch;
mod clearing;
mod concluding;
mod confirming;
mod context;
mod converting;
mod courier;
mod courier_notify;
mod delivering;
mod discovering;
mod engine;
mod error;
mod existing;
mod fencing;
mod finding;
mod freeing;
mod growing;
mod handles;
mod journaling;
mod journey;
mod learning;
mod leaving;
mod meters;
mod orders;
mod outcome;
mod owning;
mod pauses;
mod pictures;
mod planning;
mod pool;
mod position;
mod postponing;
mod pruning;
mod publishing;
mod queueing;
mod rebuilding;
mod redelivering;
mod remembering;
mod removing;
mod rescans;
mod restoring;
mod resuming;
mod roots;
mod shared;
mod sidecars;
mod teaching;
#[cfg(test)]
mod tests;
mod undoing;
mod views;
mod watching;

pub use crate::stop::Stop;
pub use active_config::{ActiveConfig, ConfigSnapshot, PipelineSettings};
pub use batch::{Batch, BatchPart, BatchReport, OutcomeSink, run};
pub use context::{OpeningOptions, PipelineContext};
pub use delivering::Delivering;
pub use discovering::Discovering;
pub use engine::Engine;
pub use error::PipelineError;
pub use fencing::{FenceGuard, Fences, NextStep};
pub use finding::{InputPath, NameOverrides, configured_places, places_of};
pub use freeing::{free_what_is_due, plan as retention_plan};
pub use growing::{Awaited, Growing, Unsettled, growing};
pub use journaling::Journaling;
pub use meters::{Meter, MeterReading, Meters};
pub use orders::Control;
pub use outcome::JourneyOutcome;
pub use pictures::{PictureOptions, remove_pictures};
pub use planning::{PlannedItem, RunPlan, plan};
pub use pool::threads_for;
pub use rebuilding::{RebuildResult, rebuild};
pub use redelivering::{CopyCheck, note_look};
pub use removing::{
    LeftFile, OwnedObject, Removing, begin_removal, keep_objects, objects_of, remove_local, require_deletable,
};
pub use rescans::{RescanRefusal, Rescans, ScannedRoot};
pub use resuming::clear_up;
pub use roots::Roots;
pub use sidecars::{remove_sidecar, sidecar_edited};
pub use teaching::teach;
pub use undoing::{UndoResult, undo};
pub use watching::watch;
