//! One recording's way from settled to catalogued, in the order that lets every step be cut (promise 4).
//!
//! 1. The attempt is journalled before anything is read (promise 6).
//! 2. The final name is reserved before the partial beside it is written.
//! 3. The complete, compared file is journalled as *publishing* before it is renamed (promise 2).
//! 4. Record, index rows and deliveries appear in one transaction.
//! 5. Only then is the source removed, if it is to be removed at all (promises 1 and 7).
//!
//! `publishing` has steps 3 to 5; `resuming` goes on from whatever step the journal holds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::PoisonError;

use super::concluding::{conclude, failed, quarantine};
use super::ended::{Ended, ended_before};
use super::error::PipelineError;
use super::house::{House, now_ms};
use super::position::Position;
use super::postponing;
use super::publishing::publish;
use super::resuming::resume_one;
use super::teaching;
use crate::catalog::{Begun, CatalogError, Entry, JournalKey};
use crate::discover::Settled;
use crate::finish::{self, Conclusion, FinishError, Phase, Promise, Wish, Work};
use crate::recording::Defect;
use crate::recording::journey::{Stage, Step};
use crate::stop::{self, Stopped};
use crate::turns::Turn;

/// A recording up to this size is begun while others are worked on; its turn comes soon all the same.
const SMALL_BYTES: u64 = 16 << 20;

/// Takes one settled recording through to the catalogue. The turn is held when this is called.
pub fn travel(house: &House, settled: &Settled, turn: &Turn<'_>) -> Ended {
    let company = &house.company;
    let is_suspect = house.catalog.is_suspect(settled.path(), &settled.candidate().fingerprint).unwrap_or(false);
    if is_suspect {
        // Alone, before its attempt is journalled: another death is not held against files that happened to be there.
        let _alone = turn.lend(|| company.write().unwrap_or_else(PoisonError::into_inner));
        return travel_on(house, settled, turn);
    }
    let in_company = company.try_read().ok();
    let _in_company =
        in_company.unwrap_or_else(|| turn.lend(|| company.read().unwrap_or_else(PoisonError::into_inner)));
    travel_on(house, settled, turn)
}

fn travel_on(house: &House, settled: &Settled, turn: &Turn<'_>) -> Ended {
    let key = JournalKey::of(settled.path(), &settled.candidate().fingerprint);
    if let Some(ended) = house.postponed.holds_back(settled.path(), &key) {
        return ended;
    }
    let begin = || house.catalog.begin(settled, now_ms());
    let is_small = settled.candidate().fingerprint.size_bytes <= SMALL_BYTES;
    let outcome = if is_small { turn.lend(begin) } else { begin() };
    house.postponed.begun(&key, outcome.is_ok());
    match outcome {
        Err(error) => {
            postponing::not_begun(house, &key, settled, &error);
            failed(&error)
        }
        Ok(Begun::Known(known)) => ended_before(house, settled.path(), &settled.candidate().fingerprint, &known),
        Ok(Begun::KillsTheProcess { key, attempts, stage }) => {
            quarantine(house, Position { key, stage }, settled, vec![Defect::KillsTheProcess { attempts }])
        }
        Ok(Begun::Attempt { key, attempt, .. }) => {
            conclude(house, &key, settled, attempt, guarded(|| attempt_journey(house, &key, settled, turn)))
        }
        Ok(Begun::Interrupted { key, entry }) => {
            conclude(house, &key, settled, entry.attempts, guarded(|| continue_journey(house, &key, &entry, turn)))
        }
    }
}

/// A panic is a fault of this program with this one recording: it is journalled, and the others go on.
fn guarded(journey: impl FnOnce() -> Result<Ended, PipelineError>) -> Result<Ended, PipelineError> {
    catch_unwind(AssertUnwindSafe(journey)).unwrap_or(Err(PipelineError::Panicked))
}

fn continue_journey(house: &House, key: &JournalKey, entry: &Entry, turn: &Turn<'_>) -> Result<Ended, PipelineError> {
    if !resume_one(house, key, entry)? {
        return attempt_journey(house, key, &entry.settled, turn);
    }
    let vod_id = match &entry.step {
        Step::Splicing { record, .. } | Step::Publishing { record, .. } => Some(record.vod_id.clone()),
        Step::Catalogued { vod_id, .. } | Step::Done { vod_id } => Some(vod_id.clone()),
        _ => None,
    };
    Ok(Ended::AlreadyFinished { vod_id })
}

fn attempt_journey(
    house: &House,
    key: &JournalKey,
    settled: &Settled,
    turn: &Turn<'_>,
) -> Result<Ended, PipelineError> {
    let options = house.settings().finish_of(settled.candidate());
    let meter = house.meters.begin("finish", settled.path(), settled.candidate().fingerprint.size_bytes);
    let work = Work {
        settled,
        options: &options,
        stop: house.stop.flag(),
        now_ms: now_ms(),
        progress: meter.progress(),
        turn,
        owner: house.catalog.owner(),
    };
    let mut position = Position { key: *key, stage: Stage::Begun };
    let conclusion = stop::heeding(&house.stop, || carry_out(house, &mut position, work))
        .map_err(|Stopped| PipelineError::Stopped)??;
    // What follows waits for the disk only.
    turn.pause();
    drop(meter);
    match conclusion {
        Conclusion::Quarantined(defects) => Ok(quarantine(house, position, settled, defects)),
        Conclusion::Finished(finished) => {
            publish(house, position, *finished).map(|record| Ended::Finished { vod: Box::new(record) })
        }
    }
}

/// One phase after another; between two of them names are reserved and promises journalled.
fn carry_out(house: &House, position: &mut Position, work: Work<'_>) -> Result<Conclusion, PipelineError> {
    let prepared = finish::prepare(work)?;
    let needs_references = prepared.needs_references();
    let references = if needs_references { teaching::references(house, work.settled) } else { Vec::new() };
    let mut phase = prepared.begin(&references)?;
    loop {
        phase = match phase {
            Phase::Unnamed(unnamed) => {
                let path = reserve(house, &position.key, work.settled, unnamed.wish())?;
                unnamed.named(path)?
            }
            Phase::Promise(promise) => {
                remember(house, position, &promise)?;
                promise.perform()?
            }
            Phase::Ended(conclusion) => return Ok(conclusion),
        }
    }
}

/// Journals what is about to be done to the source where it stands.
fn remember(house: &House, position: &mut Position, promise: &Promise<'_>) -> Result<(), FinishError> {
    let (intent, record) = (Box::new(promise.intent.clone()), Box::new(promise.record.clone()));
    let journalled = position.advance(house, Step::Splicing { intent, record });
    journalled.map_err(|e| FinishError::NotJournalled { source: Box::new(e) })?;
    // What changes the source now is short, and ends whole.
    stop::heed_no_more();
    Ok(())
}

/// Chooses a free final name and promises it to this recording, durably; the same one again after a cut.
fn reserve(house: &House, key: &JournalKey, settled: &Settled, wish: &Wish) -> Result<PathBuf, FinishError> {
    let _one_at_a_time = house.naming.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = house.settings();
    let suffixes = &settings.watch.temporary_suffixes;
    let candidate = settled.candidate();
    let unreadable = |e: CatalogError| FinishError::NoName { source: Box::new(e) };
    if let Some(path) = house.catalog.reserved_by(key).map_err(unreadable)?
        && path.extension().is_some_and(|e| e == wish.extension)
        && finish::is_free(&path, candidate, wish, suffixes)
    {
        return Ok(path);
    }
    // A catalogue that cannot be written must not lead to a name that is taken: the next step fails and says why.
    let is_ours = |path: &PathBuf| house.catalog.reserve_name(path, key).unwrap_or(false);
    let mut free = finish::free_paths(candidate, wish, &settings.finish, suffixes);
    free.find(is_ours).ok_or(FinishError::TooManyNames { path: settled.path().to_owned() })
}
