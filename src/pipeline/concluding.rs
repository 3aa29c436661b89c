//! The end of an attempt, journalled: nothing that stands is forgotten, and nothing is said to stand that does not.

use tracing::{info, warn};

use super::error::PipelineError;
use super::journaling::Journaling;
use super::outcome::JourneyOutcome;
use super::position::Position;
use super::postponing;
use super::publishing::stands;
use super::roots;
use crate::catalog::{CatalogError, JournalKey, next_try_ms};
use crate::discover::Settled;
use crate::fault::{Class, Fault, chain};
use crate::recording::Defect;
use crate::recording::journey::{Stage, Step};
use crate::recording::name::printable;

/// Ends an attempt as it came out.
pub(super) fn conclude(
    ctx: &Journaling,
    key: &JournalKey,
    settled: &Settled,
    attempt: u32,
    outcome: Result<JourneyOutcome, PipelineError>,
) -> JourneyOutcome {
    let error = match outcome {
        Ok(ended) => {
            if ctx.postponed.end(key) {
                info!(path = %printable(settled.path()), "postponed recording completed");
            }
            return ended;
        }
        Err(error) => error,
    };
    if let Some(ended) = postponing::postpone(ctx, key, &error) {
        return ended;
    }
    let failure = AttemptFailure { class: error.class(), message: chain(&error) };
    let journalled = take_back(ctx, key).and_then(|position| give_up(ctx, position, settled, attempt, &failure));
    let AttemptFailure { class, message } = failure;
    match journalled {
        Ok(()) => drop(ctx.postponed.end(key)),
        Err(unwritten) => postponing::not_journalled(ctx, key, attempt, settled, &message, &unwritten),
    }
    JourneyOutcome::Failed { class, message, hint: error.hint() }
}

/// Why an attempt ended.
struct AttemptFailure {
    class: Class,
    message: String,
}

/// An attempt that failed with nothing left to be carried on: the journal says so before it says anything else.
fn take_back(ctx: &Journaling, key: &JournalKey) -> Result<Position, CatalogError> {
    let entry = ctx.catalog.entry(key)?.ok_or(CatalogError::NotJournalled { key: *key })?;
    let mut position = Position { key: *key, stage: entry.stage() };
    if matches!(position.stage, Stage::Splicing | Stage::Publishing) {
        position.advance(ctx, Step::Begun)?;
    }
    Ok(position)
}

/// Ends an attempt that has left nothing.
fn give_up(
    ctx: &Journaling,
    mut position: Position,
    settled: &Settled,
    attempt: u32,
    failure: &AttemptFailure,
) -> Result<(), CatalogError> {
    let AttemptFailure { class, message } = failure;
    // Another state of the file is another recording; the name that was reserved for this one is free for it.
    let is_another = matches!(stands(settled.path(), &settled.candidate().fingerprint), Ok(false))
        && roots::is_available(&ctx.roots, &settled.candidate().root);
    if is_another {
        return ctx.catalog.forget(&position.key);
    }
    if *class == Class::Cancelled {
        return ctx.catalog.cancel(&position.key, ctx.clock.now_ms());
    }
    let due_ms = next_try_ms(attempt, *class, ctx.clock.now_ms(), 0);
    warn!(path = %printable(settled.path()), class = class.name(), error = message, "not finished; the recording is unchanged");
    position.advance(ctx, Step::Failed { class: *class, message: message.clone(), due_ms })
}

/// Leaves a recording where it is, for good.
pub(super) fn quarantine(
    ctx: &Journaling,
    mut position: Position,
    settled: &Settled,
    defects: Vec<Defect>,
) -> JourneyOutcome {
    let reasons = defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    warn!(path = %printable(settled.path()), reasons, "quarantined; the file stays in place and is never deleted");
    match position.advance(ctx, Step::Quarantined { defects: defects.clone() }) {
        Ok(()) => JourneyOutcome::Quarantined { defects },
        Err(error) => {
            let key = &position.key;
            let attempt = ctx.catalog.entry(key).ok().flatten().map_or(0, |entry| entry.attempts);
            postponing::not_journalled(ctx, key, attempt, settled, &reasons, &error);
            failed(&error)
        }
    }
}

/// What is said of a recording that the journal could not be told of.
pub(super) fn failed(error: &CatalogError) -> JourneyOutcome {
    JourneyOutcome::Failed { class: error.class(), message: chain(error), hint: error.hint() }
}
