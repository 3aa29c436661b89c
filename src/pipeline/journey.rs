//! One recording's way from settled to catalogued, in the order that lets every step be cut (promise 4).
//!
//! 1. The attempt is journalled before anything is read (promise 6).
//! 2. The final name is reserved before the partial beside it is written.
//! 3. The complete, compared file is journalled as *publishing* before it is renamed (promise 2).
//! 4. Record, index rows and deliveries appear in one transaction.
//! 5. Only then is the source removed, if it is to be removed at all (promises 1 and 7).
//!
//! [`resume`] goes on from whatever step the journal holds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use tracing::{info, warn};

use super::clearing::clear_source;
use super::error::PipelineError;
use super::house::{House, now_ms};
use super::postponing;
use super::queueing;
use super::roots;
use super::teaching;
use super::turns::Turn;
use crate::catalog::{Begun, CatalogError, JournalKey, Known, next_try_ms};
use crate::durable::{self, FileError};
use crate::fault::{Class, Fault, chain};
use crate::finish::{self, Conclusion, FinishError, Finished, Names, Recovered, Turn as _, Wish};
use crate::recording::journey::{Entry, Settled, Step};
use crate::recording::name::printable;
use crate::recording::{Defect, Fingerprint, SpliceIntent, VodRecord};
use crate::salvage::Reference;
use crate::stop::{self, Stopped};

/// How a recording's journey ended, for now.
#[derive(Debug)]
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
    let is_suspect = house.catalog.is_suspect(settled.path(), &settled.candidate.fingerprint).unwrap_or(false);
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
    let key = JournalKey::of(settled.path(), &settled.candidate.fingerprint);
    if let Some(ended) = house.postponed.holds_back(settled.path(), &key) {
        return ended;
    }
    let begin = || house.catalog.begin(settled, now_ms());
    let is_small = settled.candidate.fingerprint.size_bytes <= SMALL_BYTES;
    let outcome = if is_small { turn.lend(begin) } else { begin() };
    house.postponed.begun(&key, outcome.is_ok());
    match outcome {
        Err(error) => {
            postponing::not_begun(house, &key, settled, &error);
            failed(&error)
        }
        Ok(Begun::Known(known)) => ended_before(house, settled.path(), &settled.candidate.fingerprint, &known),
        Ok(Begun::KillsTheProcess { key, attempts }) => {
            quarantine(house, &key, settled, vec![Defect::KillsTheProcess { attempts }])
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
    let options = house.settings().finish_of(&settled.candidate);
    let choose = |wish: &Wish<'_>| reserve(house, key, settled, wish);
    let meter = house.meters.begin("finish", settled.path(), settled.candidate.fingerprint.size_bytes);
    let progress = |done_bytes, total_bytes| meter.set(done_bytes, total_bytes);
    let remember = |intent: &SpliceIntent, record: &VodRecord| remember(house, key, intent, record);
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
        Conclusion::Quarantined(defects) => Ok(quarantine(house, key, settled, defects)),
        Conclusion::Finished(finished) => {
            publish(house, key, *finished).map(|record| Ended::Finished(Box::new(record)))
        }
    }
}

/// Journals what is about to be done to the source where it stands.
fn remember(house: &House, key: &JournalKey, intent: &SpliceIntent, record: &VodRecord) -> Result<(), FinishError> {
    let step = Step::Splicing { intent: Box::new(intent.clone()), record: Box::new(record.clone()) };
    let journalled = house.catalog.set_step(key, step, now_ms());
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
    let candidate = &settled.candidate;
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

/// Journal, rename, catalogue, clear the source: steps 3 to 5.
fn publish(house: &House, key: &JournalKey, finished: Finished) -> Result<VodRecord, PipelineError> {
    for warning in &finished.warnings {
        warn!(path = %printable(&finished.record.file_path), warning, "Finished with a reservation.");
    }
    let Finished { written_path, written, record, removes_source, teaches, .. } = finished;
    if written_path != record.file_path {
        let step = Step::Publishing {
            written_path: written_path.clone(),
            written,
            record: Box::new(record.clone()),
            removes_source,
        };
        if record.file_path == record.source_path {
            // What its writer never made durable must not be lost before its place is taken: then neither name were whole.
            durable::sync_file(&record.source_path)?;
        }
        if let Err(error) = house.catalog.set_step(key, step, now_ms()) {
            // Nothing knows of it: it is made again.
            durable::remove_own(&written_path)?;
            return Err(error.into());
        }
        if let Err(error) = appear(&written_path, &written, &record) {
            // Once it has its name only what comes after the rename can have failed: then it is published.
            if !stands_at(&record.file_path, &written) {
                durable::remove_own(&written_path)?;
            }
            return Err(error.into());
        }
    }
    commit(house, key, record, removes_source, teaches)
}

/// Gives the complete file its final name. Only the source itself is ever replaced, and only as it was compared.
fn appear(written_path: &Path, written: &Fingerprint, record: &VodRecord) -> Result<(), FileError> {
    if record.file_path == record.source_path && durable::fingerprint(&record.source_path)? == record.source {
        durable::replace(written_path, &record.source_path, written)
    } else {
        durable::publish(written_path, &record.file_path, written)
    }
}

fn commit(
    house: &House,
    key: &JournalKey,
    mut record: VodRecord,
    removes_source: bool,
    teaches: Option<Reference>,
) -> Result<VodRecord, PipelineError> {
    // What took the place of its source has nothing left to remove.
    let removes_source = removes_source && record.source_path != record.file_path;
    record.preview_file_path = queueing::preview_of(&record.file_path, &record.root);
    let deliveries = queueing::deliveries_for(house, &record);
    house.catalog.commit_vod(key, &record, &deliveries, removes_source, now_ms())?;
    house.bell.ring();
    teaching::remember(house, &record, teaches);
    info!(
        vod_id = record.vod_id,
        path = %printable(&record.file_path),
        stream = record.stream_id,
        duration_ms = record.duration,
        outcome = ?record.outcome,
        defects = record.defects.len(),
        "Finished and catalogued.",
    );
    if removes_source {
        clear_source(house, key, &record)?;
    }
    Ok(record)
}

fn conclude(
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
    // Another state of the file is another recording; the name that was reserved for this one is free for it.
    let is_another = !stands_at(settled.path(), &settled.candidate.fingerprint)
        && is_not_ours_yet(house, key)
        && roots::is_available(house, &settled.candidate.root);
    let journalled = if is_another {
        house.catalog.forget(key)
    } else if class == Class::Cancelled {
        house.catalog.cancel(key, now_ms())
    } else {
        let due_ms = next_try_ms(attempt, class, now_ms(), 0);
        warn!(path = %printable(settled.path()), class = ?class, error = message, "Not finished; the recording stays as it is.");
        house.catalog.set_step(key, Step::Failed { class, message: message.clone(), due_ms }, now_ms())
    };
    match journalled {
        Ok(()) => drop(house.postponed.end(key)),
        Err(unwritten) => postponing::not_journalled(house, (key, attempt), settled, (&message, &unwritten)),
    }
    Ended::Failed { class, message, hint: error.hint() }
}

/// Whether the journal holds nothing that would have to be carried on without the source.
fn is_not_ours_yet(house: &House, key: &JournalKey) -> bool {
    let entry = house.catalog.entry(key).ok().flatten();
    entry.is_none_or(|e| matches!(e.step, Step::Begun | Step::Failed { .. }))
}

fn quarantine(house: &House, key: &JournalKey, settled: &Settled, defects: Vec<Defect>) -> Ended {
    let reasons = defects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    warn!(path = %printable(settled.path()), reasons, "Quarantined where it is; it is never deleted.");
    match house.catalog.set_step(key, Step::Quarantined { defects: defects.clone() }, now_ms()) {
        Ok(()) => {
            house.waiting.add(*key, &settled.candidate.facts.stream_id, &defects);
            Ended::Quarantined(defects)
        }
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

/// Carries on with everything the journal says was under way when the last process ended.
///
/// Recordings that must begin again are returned; the others are at their end already.
pub fn resume(house: &House) -> Result<Vec<Settled>, CatalogError> {
    let mut again = Vec::new();
    for (key, entry) in house.catalog.open_entries()?.items {
        match resume_one(house, &key, &entry) {
            Ok(true) => {}
            Ok(false) => again.push(entry.settled),
            Err(error) => drop(conclude(house, &key, &entry.settled, entry.attempts, Err(error))),
        }
    }
    Ok(again)
}

/// Returns whether the recording is at its end; `false` means that it has to begin again.
fn resume_one(house: &House, key: &JournalKey, entry: &Entry) -> Result<bool, PipelineError> {
    roots::require(house, &entry.settled.candidate.root)?;
    match &entry.step {
        Step::Splicing { intent, record } => resume_splice(house, key, entry, (intent, record)),
        Step::Publishing { written_path, written, record, removes_source } => {
            let mut removes_source = *removes_source;
            if stands_at(&record.file_path, written) {
                removes_source |= give_up_old_name(written_path, written, record)?;
            } else if stands_at(written_path, written) {
                match appear(written_path, written, record) {
                    Err(error) if error.is_taken() => return begin_again(house, key, entry),
                    other => other?,
                }
            } else {
                return begin_again(house, key, entry);
            }
            commit(house, key, (**record).clone(), removes_source, None).map(|_| true)
        }
        Step::Catalogued { vod_id, removes_source } => {
            let record = house.catalog.vod(vod_id)?;
            match record {
                Some(record) if *removes_source => clear_source(house, key, &record)?,
                _ => house.catalog.set_step(key, Step::Done { vod_id: vod_id.clone() }, now_ms())?,
            }
            Ok(true)
        }
        _ => begin_again(house, key, entry),
    }
}

/// The cut may have left the file under both names: the new one was durable, or linked, before the old one was given up.
/// Says whether the old one is that of the source and stays for now.
fn give_up_old_name(written_path: &Path, written: &Fingerprint, record: &VodRecord) -> Result<bool, FileError> {
    let mut stays = false;
    if written_path != record.file_path && stands_at(written_path, written) {
        match durable::remove(written_path) {
            // Linked under its final name, and nobody may take the old one away: a source to be removed like any other.
            Err(_) if written_path == record.source_path => stays = true,
            other => other?,
        }
    }
    // The last process may have ended between the rename and its sync, or the sync itself failed.
    durable::sync_parent(&record.file_path).map(|()| stays)
}

/// A splice in place that was cut is completed where its header is durable, and taken back where it is not.
fn resume_splice(
    house: &House,
    key: &JournalKey,
    entry: &Entry,
    (intent, record): (&SpliceIntent, &VodRecord),
) -> Result<bool, PipelineError> {
    let path = &intent.path;
    match finish::recover(intent)? {
        Recovered::Finished => {
            info!(path = %printable(path), "A splice in place that was cut is completed.");
            let (written_path, written) = (path.clone(), intent.after);
            let record = record.clone();
            let finished =
                Finished { written_path, written, record, removes_source: false, warnings: Vec::new(), teaches: None };
            publish(house, key, finished).map(|_| true)
        }
        Recovered::AsBefore => {
            info!(path = %printable(path), "A splice in place that was cut is taken back.");
            begin_again(house, key, entry)
        }
        Recovered::Gone => begin_again(house, key, entry),
        Recovered::Unclear(why) => {
            let detail = format!("a splice in place was cut and cannot be taken back by itself: {why}");
            quarantine(house, key, &entry.settled, vec![Defect::Malformed { offset: None, detail }]);
            Ok(true)
        }
    }
}

/// Whether a file is there as it was.
pub(super) fn stands_at(path: &Path, expected: &Fingerprint) -> bool {
    durable::fingerprint(path).is_ok_and(|now| now == *expected)
}

/// Removes what the cut attempt wrote aside. The reserved name stays promised, so that the same one is used again; unless
/// the source is gone or has changed: what is there now is another recording, and the scan finds it.
fn begin_again(house: &House, key: &JournalKey, entry: &Entry) -> Result<bool, PipelineError> {
    // Beside the reserved name, or beside the source where another name was reserved at the last moment.
    let names = house.catalog.reserved_by(key)?.into_iter().chain([entry.settled.path().to_owned()]);
    for name in names {
        durable::remove_partials(&name, house.catalog.owner())?;
    }
    house.catalog.set_step(key, Step::Begun, now_ms())?;
    if !stands_at(entry.settled.path(), &entry.settled.candidate.fingerprint) {
        house.catalog.forget(key)?;
        return Ok(true);
    }
    Ok(false)
}
