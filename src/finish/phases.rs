//! From a settled recording to its first phase: what it is, what it needs, and who does that.

use super::decide::{FinishAction, FinishPlan, decide};
use super::front::{front, indexed_front};
use super::inspect::{Inspection, inspect};
use super::keep::keep;
use super::remux::remux;
use super::salvaging::{SalvageFindings, salvage, taught_by, write_salvaged};
use super::tagged::{self, TagInspection};
use super::work::{Conclusion, FinishAttempt, FinishJob, FinishPhase, hopeless};
use super::{FinishError, FinishOptions};
use crate::durable;
use crate::recording::{Container, Defect, FileVersion};
use crate::salvage::{Origin, Reference};
use crate::threads;

/// A recording that was looked at: what its headers tell, and what is to be done with it.
#[derive(Debug)]
pub struct PreparedRecording<'a> {
    work: FinishJob<'a>,
    before: FileVersion,
    inspection: Inspection,
    plan: FinishPlan,
}

/// Looks at a recording and decides what it needs.
pub fn prepare(work: FinishJob<'_>) -> Result<PreparedRecording<'_>, FinishError> {
    let source = work.settled.path();
    let before = durable::seen(source)?;
    let inspection = inspect(source)?;
    let plan = decide(&inspection, work.options);
    Ok(PreparedRecording { work, before, inspection, plan })
}

impl<'a> PreparedRecording<'a> {
    /// Whether it may not say itself how it is coded: then sound recordings of its stream are asked for.
    pub fn needs_references(&self) -> bool {
        self.plan.action == FinishAction::Salvage
    }

    /// Reads on as far as is needed to know what the finished file wants to be called. `references`: sound recordings of the
    /// same stream, if it needs them.
    pub fn begin(self, references: &[Reference]) -> Result<FinishPhase<'a>, FinishError> {
        let Self { work, before, mut inspection, mut plan } = self;
        let found = match plan.action {
            FinishAction::Salvage => look_through(&work, &mut inspection, &mut plan, references)?,
            _ => None,
        };
        let is_whole_movie = matches!(plan.action, FinishAction::Keep | FinishAction::Front);
        let teaches = inspection.movie().filter(|_| is_whole_movie).and_then(|movie| taught_by(movie, Origin::Stream));
        let attempt = FinishAttempt { work, before, is_ours: false, teaches };
        match (plan.action, found) {
            (FinishAction::Salvage, Some(Ok(found))) => salvaged(attempt, inspection, plan.container, found),
            (FinishAction::Quarantine(defects), _) | (FinishAction::Salvage, Some(Err(defects))) => {
                Ok(FinishPhase::Ended(Conclusion::Quarantined(defects)))
            }
            (FinishAction::Salvage, None) => Ok(FinishPhase::Ended(Conclusion::Quarantined(inspection.defects))),
            (action, _) => sound(attempt, inspection, &action, plan.container),
        }
    }
}

/// Salvage that may find nothing, and then says why.
type SalvageResult = Option<Result<SalvageFindings, Vec<Defect>>>;

/// To look through all of a crashed recording must not cost a live server its processor.
///
/// One whose own tables are whole, and behind which nothing more is found, is finished by them: the plan is another then.
fn look_through(
    work: &FinishJob<'_>,
    inspection: &mut Inspection,
    plan: &mut FinishPlan,
    references: &[Reference],
) -> Result<SalvageResult, FinishError> {
    let (looked_at, container) = (&*inspection, plan.container);
    let found = at_lower_priority(work.options, || salvage(work, looked_at, container, references))?;
    match (found, inspection.unexplained.take()) {
        (Err(_), Some(defect)) => {
            inspection.is_hit = false;
            inspection.defects.push(defect);
            *plan = decide(inspection, work.options);
            Ok(None)
        }
        (found, _) => Ok(Some(found)),
    }
}

fn at_lower_priority<T: Send>(options: &FinishOptions, work: impl FnOnce() -> T + Send) -> T {
    threads::at_lower_priority(options.background_nice, work)
}

fn salvaged(
    attempt: FinishAttempt<'_>,
    inspection: Inspection,
    container: Container,
    found: SalvageFindings,
) -> Result<FinishPhase<'_>, FinishError> {
    let (said, options) = (inspection.defects.clone(), attempt.work.options);
    let written = at_lower_priority(options, || write_salvaged(attempt, inspection, container, found));
    written.or_else(|error| hopeless(error, &said))
}

/// A recording whose packets can be read.
fn sound<'a>(
    attempt: FinishAttempt<'a>,
    mut inspection: Inspection,
    action: &FinishAction,
    container: Container,
) -> Result<FinishPhase<'a>, FinishError> {
    let tagged = match action {
        FinishAction::Index => tagged::look(&attempt.work, &mut inspection, container),
        FinishAction::Remux => tagged::look_before_remux(&attempt.work, &mut inspection, container),
        _ => Ok(TagInspection::NotAsked),
    };
    let said = inspection.defects.clone();
    let phase = tagged.and_then(|tagged| match (action, tagged) {
        (_, TagInspection::Indexed(indexed)) => indexed_front(attempt, inspection, container, *indexed),
        (_, TagInspection::Remux(container)) => Ok(remux(attempt, inspection, container)),
        (FinishAction::Keep, TagInspection::NotAsked) => keep(attempt, inspection, container),
        (_, TagInspection::NotAsked) => front(attempt, inspection, container),
    });
    phase.or_else(|error| hopeless(error, &said))
}
