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
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

use super::error::PipelineError;
use super::house::{House, now_ms};
use super::postponing;
use super::publishing::{publish, stands};
use super::resuming::resume_one;
use super::roots;
use super::teaching;
use super::turns::Turn;
use crate::catalog::{Begun, CatalogError, Entry, JournalKey, Known, next_try_ms};
use crate::discover::Settled;
use crate::fault::{Class, Fault, chain};
use crate::finish::{self, Conclusion, FinishError, Names, Turn as _, Wish};
use crate::recording::journey::{Stage, Step};
use crate::recording::name::printable;
use crate::recording::{Defect, Fingerprint, SpliceIntent, VodRecord};
use crate::stop::{self, Stopped};

/// How a recording's journey ended, for now.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It is finished and catalogued.
    Finished(Box<VodRecord>),
    /// It was before.
    AlreadyFinished {
        /// Id of its record, if it has one.
        vod_id: Option<String>,
    },
    /// It cannot be finished and stays where it is.
    Quarantined(Vec<Defect>),
    /// It was left out on the first start.
    LeftOut,
    /// It came too far to begin again and cannot go on yet: it is carried on from where it stands.
    Postponed {
        /// Id of its record, if it has one.
        vod_id: Option<String>,
        /// What to do about it.
        class: Class,
        /// What is done, and what went wrong.
        message: String,
        /// What is safe and what to do.
        hint: Option<String>,
    },
    /// The attempt failed; the recording is where it was.
    Failed {
        /// What to do about it.
        class: Class,
        /// What went wrong.
        message: String,
        /// What is safe and what to do.
        hint: Option<String>,
    },
}

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
            quarantine(house, (&key, stage), settled, vec![Defect::KillsTheProcess { attempts }])
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

/// How a recording that the catalogue knows has ended.
pub fn ended_before(house: &House, path: &Path, fingerprint: &Fingerprint, known: &Known) -> Ended {
    match known {
        Known::LeftOut => Ended::LeftOut,
        Known::Quarantined => {
            let entry = house.catalog.entry_for(path, fingerprint).ok().flatten();
            let defects = entry.map(|e| e.step).and_then(|step| match step {
                Step::Quarantined { defects } => Some(defects),
                _ => None,
            });
            Ended::Quarantined(defects.unwrap_or_default())
        }
        Known::Failed { .. } => failed_before(house, path, fingerprint),
        other => Ended::AlreadyFinished { vod_id: other.vod_id().map(str::to_owned) },
    }
}

fn failed_before(house: &House, path: &Path, fingerprint: &Fingerprint) -> Ended {
    let entry = house.catalog.entry_for(path, fingerprint).ok().flatten();
    match entry.map(|e| e.step) {
        Some(Step::Failed { class, message, .. }) => Ended::Failed { class, message, hint: None },
        _ => Ended::AlreadyFinished { vod_id: None },
    }
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
    let choose = |wish: &Wish<'_>| reserve(house, key, settled, wish);
    let meter = house.meters.begin("finish", settled.path(), settled.candidate().fingerprint.size_bytes);
    let progress = |done_bytes, total_bytes| meter.set(done_bytes, total_bytes);
    let is_splicing = AtomicBool::new(false);
    let stage = || if is_splicing.load(Ordering::Relaxed) { Stage::Splicing } else { Stage::Begun };
    let remember = |intent: &SpliceIntent, record: &VodRecord| {
        remember(house, (key, stage()), intent, record)?;
        is_splicing.store(true, Ordering::Relaxed);
        Ok(())
    };
    let work = finish::Work {
        settled,
        options: &options,
        stop: house.stop.flag(),
        now_ms: now_ms(),
        choose_path: &choose,
        turn,
        progress: &progress,
        remember: &remember,
        references: &|| teaching::references(house, settled),
        owner: house.catalog.owner(),
    };
    let conclusion =
        stop::heeding(&house.stop, || finish::finish(&work)).map_err(|Stopped| PipelineError::Stopped)??;
    // What follows waits for the disk only.
    turn.pause();
    drop(meter);
    match conclusion {
        Conclusion::Quarantined(defects) => Ok(quarantine(house, (key, stage()), settled, defects)),
        Conclusion::Finished(finished) => {
            publish(house, (key, stage()), *finished).map(|record| Ended::Finished(Box::new(record)))
        }
    }
}

/// Journals what is about to be done to the source where it stands.
fn remember(
    house: &House,
    (key, from): (&JournalKey, Stage),
    intent: &SpliceIntent,
    record: &VodRecord,
) -> Result<(), FinishError> {
    let step = Step::Splicing { intent: Box::new(intent.clone()), record: Box::new(record.clone()) };
    let journalled = house.catalog.advance(key, from, step, now_ms());
    journalled.map_err(|e| FinishError::NotJournalled { source: Box::new(e) })?;
    // What changes the source now is short, and ends whole.
    stop::heed_no_more();
    Ok(())
}

/// Chooses a free final name and promises it to this recording, durably; the same one again after a cut.
fn reserve(house: &House, key: &JournalKey, settled: &Settled, wish: &Wish<'_>) -> Result<PathBuf, FinishError> {
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
    finish::finished_path(candidate, wish, &settings.finish, suffixes, &Claims { house, key })
        .ok_or(FinishError::TooManyNames { path: settled.path().to_owned() })
}

struct Claims<'a> {
    house: &'a House,
    key: &'a JournalKey,
}

impl Names for Claims<'_> {
    fn claim(&self, path: &Path) -> bool {
        // A catalogue that cannot be written must not lead to a name that is taken: the next step fails and says why.
        self.house.catalog.reserve_name(path, self.key).unwrap_or(false)
    }
}

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
                info!(path = %printable(settled.path()), "Carried on to its end.");
            }
            return ended;
        }
        Err(error) => error,
    };
    if let Some(ended) = postponing::postpone(house, key, &error) {
        return ended;
    }
    let class = error.class();
    let message = chain(&error);
    let journalled =
        take_back(house, key).and_then(|stage| give_up(house, (key, stage, attempt), settled, (class, &message)));
    match journalled {
        Ok(()) => drop(house.postponed.end(key)),
        Err(unwritten) => postponing::not_journalled(house, (key, attempt), settled, (&message, &unwritten)),
    }
    Ended::Failed { class, message, hint: error.hint() }
}

/// An attempt that failed with nothing left to be carried on: the journal says so before it says anything else. Returns where
/// the recording stands.
fn take_back(house: &House, key: &JournalKey) -> Result<Stage, CatalogError> {
    let entry = house.catalog.entry(key)?.ok_or(CatalogError::NotJournalled { key: *key })?;
    let stage = entry.stage();
    if !matches!(stage, Stage::Splicing | Stage::Publishing) {
        return Ok(stage);
    }
    house.catalog.advance(key, stage, Step::Begun, now_ms())?;
    Ok(Stage::Begun)
}

/// Ends an attempt that has left nothing.
fn give_up(
    house: &House,
    (key, stage, attempt): (&JournalKey, Stage, u32),
    settled: &Settled,
    (class, message): (Class, &str),
) -> Result<(), CatalogError> {
    // Another state of the file is another recording; the name that was reserved for this one is free for it.
    let is_another = matches!(stands(settled.path(), &settled.candidate().fingerprint), Ok(false))
        && roots::is_available(house, &settled.candidate().root);
    if is_another {
        return house.catalog.forget(key);
    }
    if class == Class::Cancelled {
        return house.catalog.cancel(key, now_ms());
    }
    let due_ms = next_try_ms(attempt, class, now_ms(), 0);
    warn!(path = %printable(settled.path()), class = ?class, error = message, "Not finished; the recording stays as it is.");
    house.catalog.advance(key, stage, Step::Failed { class, message: message.to_owned(), due_ms }, now_ms())
}

pub(super) fn quarantine(
    house: &House,
    (key, from): (&JournalKey, Stage),
    settled: &Settled,
    defects: Vec<Defect>,
) -> Ended {
    let reasons = defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    warn!(path = %printable(settled.path()), reasons, "Quarantined where it is; it is never deleted.");
    match house.catalog.advance(key, from, Step::Quarantined { defects: defects.clone() }, now_ms()) {
        Ok(()) => Ended::Quarantined(defects),
        Err(error) => {
            let attempt = house.catalog.entry(key).ok().flatten().map_or(0, |entry| entry.attempts);
            postponing::not_journalled(house, (key, attempt), settled, (&reasons, &error));
            failed(&error)
        }
    }
}

fn failed(error: &CatalogError) -> Ended {
    Ended::Failed { class: error.class(), message: chain(error), hint: error.hint() }
}
