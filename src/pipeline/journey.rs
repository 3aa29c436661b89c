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
use super::context::PipelineContext;
use super::error::PipelineError;
use super::fencing::NextStep;
use super::journaling::Journaling;
use super::outcome::{JourneyOutcome, ended_before};
use super::position::Position;
use super::postponing;
use super::publishing::publish;
use super::resuming::resume_one;
use super::roots;
use super::shared::{self, HeldClaim};
use super::teaching;
use crate::catalog::{BeginOutcome, CatalogError, JournalEntry, JournalKey};
use crate::cpu_permits::CpuPermit;
use crate::discover::Settled;
use crate::finish::{self, Conclusion, FinishError, FinishJob, FinishPhase, NameRequest, PendingChange};
use crate::recording::Defect;
use crate::recording::journey::{Stage, Step};
use crate::stop::{self, Stopped};

/// A recording up to this size is begun while others are worked on; its turn comes soon all the same.
const SMALL_BYTES: u64 = 16 << 20;

/// Takes one settled recording through to the catalogue. The permit to compute is held when this is called.
pub fn run(ctx: &PipelineContext, settled: &Settled, cpu_permit: &CpuPermit<'_>) -> JourneyOutcome {
    let isolation = &ctx.journaling.isolation;
    let is_suspect = ctx.catalog.is_suspect(settled.path(), &settled.candidate().fingerprint).unwrap_or(false);
    if is_suspect {
        // Alone, before its attempt is journalled: another death is not held against files that happened to be there.
        let _alone = cpu_permit.lend(|| isolation.write().unwrap_or_else(PoisonError::into_inner));
        return run_from_journal(ctx, settled, cpu_permit);
    }
    let shared = isolation.try_read().ok();
    let _shared =
        shared.unwrap_or_else(|| cpu_permit.lend(|| isolation.read().unwrap_or_else(PoisonError::into_inner)));
    run_from_journal(ctx, settled, cpu_permit)
}

fn run_from_journal(ctx: &PipelineContext, settled: &Settled, cpu_permit: &CpuPermit<'_>) -> JourneyOutcome {
    let key = JournalKey::of(settled.path(), &settled.candidate().fingerprint);
    if let Some(ended) = ctx.journaling.postponed.holds_back(settled.path(), &key) {
        return ended;
    }
    let begin = || ctx.catalog.begin(settled, ctx.clock.now_ms());
    let is_small = settled.candidate().fingerprint.size_bytes <= SMALL_BYTES;
    let outcome = if is_small { cpu_permit.lend(begin) } else { begin() };
    ctx.journaling.postponed.begun(&key, outcome.is_ok());
    match outcome {
        Err(error) => {
            postponing::not_begun(&ctx.journaling, &key, settled, &error);
            failed(&error)
        }
        Ok(BeginOutcome::Known(known)) => {
            ended_before(&ctx.journaling, settled.path(), &settled.candidate().fingerprint, &known)
        }
        Ok(BeginOutcome::KillsTheProcess { key, attempts, stage }) => {
            quarantine(&ctx.journaling, Position { key, stage }, settled, vec![Defect::KillsTheProcess { attempts }])
        }
        Ok(BeginOutcome::Attempt { key, attempt, .. }) => conclude(
            &ctx.journaling,
            &key,
            settled,
            attempt,
            guarded(|| attempt_journey(ctx, &key, settled, cpu_permit)),
        ),
        Ok(BeginOutcome::Interrupted { key, entry }) => conclude(
            &ctx.journaling,
            &key,
            settled,
            entry.attempts,
            guarded(|| continue_journey(ctx, &key, &entry, cpu_permit)),
        ),
    }
}

/// A panic is a fault of this program with this one recording: it is journalled, and the others go on.
fn guarded(journey: impl FnOnce() -> Result<JourneyOutcome, PipelineError>) -> Result<JourneyOutcome, PipelineError> {
    catch_unwind(AssertUnwindSafe(journey)).unwrap_or(Err(PipelineError::Panicked))
}

fn continue_journey(
    ctx: &PipelineContext,
    key: &JournalKey,
    entry: &JournalEntry,
    cpu_permit: &CpuPermit<'_>,
) -> Result<JourneyOutcome, PipelineError> {
    if !resume_one(ctx, key, entry)? {
        return attempt_journey(ctx, key, &entry.settled, cpu_permit);
    }
    let vod_id = match &entry.step {
        Step::Splicing { record, .. } | Step::Publishing { record, .. } => Some(record.vod_id.clone()),
        Step::Catalogued { vod_id, .. } | Step::Done { vod_id } => Some(vod_id.clone()),
        _ => None,
    };
    Ok(JourneyOutcome::AlreadyFinished { vod_id })
}

fn attempt_journey(
    ctx: &PipelineContext,
    key: &JournalKey,
    settled: &Settled,
    cpu_permit: &CpuPermit<'_>,
) -> Result<JourneyOutcome, PipelineError> {
    let options = ctx.settings().finish_of(settled.candidate());
    shared::require_claim(ctx, key, settled.path())?;
    let claim = ctx.roots.shared.held(key);
    if let Some(claim) = &claim {
        cpu_permit.lend(|| shared::begin(ctx, settled.path(), claim))?;
    }
    let owner = claim.as_ref().map_or_else(|| ctx.catalog.owner().clone(), HeldClaim::owner);
    let meter = ctx.meters.begin("finish", settled.path(), settled.candidate().fingerprint.size_bytes);
    let work = FinishJob {
        settled,
        options: &options,
        stop: ctx.stop.flag(),
        now_ms: ctx.clock.now_ms(),
        progress: meter.progress(),
        cpu_permit,
        owner: &owner,
        decoder: ctx.program.as_deref(),
    };
    let mut position = Position { key: *key, stage: Stage::Begun };
    let conclusion = stop::stoppable(&ctx.stop, || carry_out(ctx, &mut position, work))
        .map_err(|Stopped| PipelineError::Stopped)??;
    // What follows waits for the disk only.
    cpu_permit.pause();
    drop(meter);
    match conclusion {
        Conclusion::Quarantined(defects) => Ok(quarantine(&ctx.journaling, position, settled, defects)),
        Conclusion::Finished(finished) => {
            if let Some(claim) = claim {
                let record = shared::publish(ctx, position, *finished, &claim)?;
                return Ok(record.map_or(JourneyOutcome::AlreadyFinished { vod_id: None }, |record| {
                    JourneyOutcome::Finished { vod: Box::new(record) }
                }));
            }
            publish(ctx, position, *finished).map(|record| JourneyOutcome::Finished { vod: Box::new(record) })
        }
    }
}

/// One phase after another; between two of them names are reserved and promises journalled.
fn carry_out(ctx: &PipelineContext, position: &mut Position, work: FinishJob<'_>) -> Result<Conclusion, PipelineError> {
    let prepared = finish::prepare(work)?;
    let needs_references = prepared.needs_references();
    let references = if needs_references { teaching::references(&ctx.journaling, work.settled) } else { Vec::new() };
    let mut phase = prepared.begin(&references)?;
    loop {
        phase = match phase {
            FinishPhase::Unnamed(unnamed) => {
                let path = reserve(&ctx.journaling, &position.key, work.settled, unnamed.name_request())?;
                let next = NextStep::Write { path: &path, owner: work.owner };
                work.cpu_permit.lend(|| ctx.fences.require(work.settled.path(), &next))?;
                unnamed.named(path)?
            }
            FinishPhase::Change(change) => {
                remember(&ctx.journaling, position, &change)?;
                change.perform()?
            }
            FinishPhase::Ended(conclusion) => return Ok(conclusion),
        }
    }
}

/// Journals what is about to be done to the source where it stands.
fn remember(ctx: &Journaling, position: &mut Position, change: &PendingChange<'_>) -> Result<(), PipelineError> {
    roots::may_change(&ctx.roots, &change.intent.path)?;
    let (intent, record) = (Box::new(change.intent.clone()), Box::new(change.record.clone()));
    let journalled = position.advance(ctx, Step::Splicing { intent, record });
    journalled.map_err(|e| FinishError::NotJournalled { source: Box::new(e) })?;
    // What changes the source now is short, and ends whole.
    stop::ignore_from_here();
    Ok(())
}

/// The name under which another node, which died of it or after it, has published this recording.
fn published_before(ctx: &Journaling, key: &JournalKey, name_request: &NameRequest) -> Option<PathBuf> {
    let claim = ctx.roots.shared.held(key)?;
    let path = claim.published_path()?;
    let has_extension = path.extension().is_some_and(|e| e == name_request.extension);
    let is_it = has_extension && shared::is_published_before(&claim, &path);
    (is_it && ctx.catalog.reserve_name(&path, key).unwrap_or(false)).then_some(path)
}

/// Chooses the final name. What a holder before has left aside for it, in whatever directory that is, is removed.
fn reserve(
    ctx: &Journaling,
    key: &JournalKey,
    settled: &Settled,
    name_request: &NameRequest,
) -> Result<PathBuf, FinishError> {
    let path = choose_name(ctx, key, settled, name_request)?;
    if let Some(claim) = ctx.roots.shared.held(key) {
        shared::clear_former(&claim, &path);
    }
    Ok(path)
}

/// Chooses a free final name and promises it to this recording, durably; the same one again after a cut.
fn choose_name(
    ctx: &Journaling,
    key: &JournalKey,
    settled: &Settled,
    name_request: &NameRequest,
) -> Result<PathBuf, FinishError> {
    let _one_at_a_time = ctx.naming.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = ctx.config.settings();
    let suffixes = &settings.watch.temporary_suffixes;
    let candidate = settled.candidate();
    let unreadable = |e: CatalogError| FinishError::NoName { source: Box::new(e) };
    if let Some(path) = published_before(ctx, key, name_request) {
        return Ok(path);
    }
    if let Some(path) = ctx.catalog.reserved_by(key).map_err(unreadable)?
        && path.extension().is_some_and(|e| e == name_request.extension)
        && finish::is_free(&path, candidate, name_request, suffixes)
    {
        return Ok(path);
    }
    // A catalogue that cannot be written must not lead to a name that is taken: the next step fails and says why.
    let is_ours = |path: &PathBuf| ctx.catalog.reserve_name(path, key).unwrap_or(false);
    let mut free = finish::free_paths(candidate, name_request, &settings.finish, suffixes);
    free.find(is_ours).ok_or(FinishError::TooManyNames { path: settled.path().to_owned() })
}
