//! The end of an attempt, journalled: nothing that stands is forgotten, and nothing is said to stand that does not.

use tracing::{info, warn};

use super::ended::Ended;
use super::error::PipelineError;
use super::house::{House, now_ms};
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
    house: &House,
    key: &JournalKey,
    settled: &Settled,
    attempt: u32,
    outcome: Result<Ended, PipelineError>,
) -> Ended {
    let error = match outcome {
        Ok(ended) => {
            if house.postponed.end(key) {
                info!(path = %printable(settled.path()), "postponed recording completed");
            }
            return ended;
        }
        Err(error) => error,
    };
    if let Some(ended) = postponing::postpone(house, key, &error) {
        return ended;
    }
    let failure = Failure { class: error.class(), message: chain(&error) };
    let journalled = take_back(house, key).and_then(|position| give_up(house, position, settled, attempt, &failure));
    let Failure { class, message } = failure;
    match journalled {
        Ok(()) => drop(house.postponed.end(key)),
        Err(unwritten) => postponing::not_journalled(house, key, attempt, settled, &message, &unwritten),
    }
    Ended::Failed { class, message, hint: error.hint() }
}

/// Why an attempt ended.
struct Failure {
    class: Class,
    message: String,
}

/// An attempt that failed with nothing left to be carried on: the journal says so before it says anything else.
fn take_back(house: &House, key: &JournalKey) -> Result<Position, CatalogError> {
    let entry = house.catalog.entry(key)?.ok_or(CatalogError::NotJournalled { key: *key })?;
    let mut position = Position { key: *key, stage: entry.stage() };
    if matches!(position.stage, Stage::Splicing | Stage::Publishing) {
        position.advance(house, Step::Begun)?;
    }
    Ok(position)
}

/// Ends an attempt that has left nothing.
fn give_up(
    house: &House,
    mut position: Position,
    settled: &Settled,
    attempt: u32,
    failure: &Failure,
) -> Result<(), CatalogError> {
    let Failure { class, message } = failure;
    // Another state of the file is another recording; the name that was reserved for this one is free for it.
    let is_another = matches!(stands(settled.path(), &settled.candidate().fingerprint), Ok(false))
        && roots::is_available(house, &settled.candidate().root);
    if is_another {
        return house.catalog.forget(&position.key);
    }
    if *class == Class::Cancelled {
        return house.catalog.cancel(&position.key, now_ms());
    }
    let due_ms = next_try_ms(attempt, *class, now_ms(), 0);
    warn!(path = %printable(settled.path()), class = class.name(), error = message, "not finished; the recording is unchanged");
    position.advance(house, Step::Failed { class: *class, message: message.clone(), due_ms })
}

/// Leaves a recording where it is, for good.
pub(super) fn quarantine(house: &House, mut position: Position, settled: &Settled, defects: Vec<Defect>) -> Ended {
    let reasons = defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    warn!(path = %printable(settled.path()), reasons, "quarantined; the file stays in place and is never deleted");
    match position.advance(house, Step::Quarantined { defects: defects.clone() }) {
        Ok(()) => Ended::Quarantined { defects },
        Err(error) => {
            let key = &position.key;
            let attempt = house.catalog.entry(key).ok().flatten().map_or(0, |entry| entry.attempts);
            postponing::not_journalled(house, key, attempt, settled, &reasons, &error);
            failed(&error)
        }
    }
}

/// What is said of a recording that the journal could not be told of.
pub(super) fn failed(error: &CatalogError) -> Ended {
    Ended::Failed { class: error.class(), message: chain(error), hint: error.hint() }
}
