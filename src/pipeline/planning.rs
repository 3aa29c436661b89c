//! What a run would do: the same finding, settling and deciding as a run, applied to nothing.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::discovering::Discovering;
use super::finding::{self, InputPath};
use crate::catalog::KnownFile;
use crate::discover::{DiscoverError, Mode, Problem, SettleOutcome, Settled};
use crate::fault::chain;
use crate::finish::{self, FinishAction, NameRequest};
use crate::recording::journey::Candidate;
use crate::recording::name::shown;
use crate::recording::{Defect, Shard};

/// The plan of a run.
#[derive(Debug, Default)]
pub struct RunPlan {
    /// One line per recording or unit.
    pub items: Vec<PlannedItem>,
    /// Places that could not be read.
    pub problems: Vec<Problem>,
}

/// What would be done with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedItem {
    /// The file.
    #[serde(serialize_with = "shown")]
    #[schemars(with = "PathBuf")]
    pub path: PathBuf,
    /// What would be done, in a few words.
    pub plan: String,
    /// The name of the finished file, where there would be one.
    pub to: Option<PathBuf>,
    /// What is wrong with it, as far as headers tell.
    pub defects: Vec<Defect>,
}

impl PlannedItem {
    fn new(path: &Path, plan: impl Into<String>) -> Self {
        Self { path: path.to_owned(), plan: plan.into(), to: None, defects: Vec::new() }
    }
}

/// Plans a run over places, or over a part of what lies there.
pub fn plan(
    ctx: &Discovering,
    places: &[InputPath],
    shard: Option<Shard>,
    mode: Mode,
) -> Result<RunPlan, DiscoverError> {
    let found = finding::find(ctx, places, shard)?;
    let mut items: Vec<_> = found.candidates.into_iter().map(|candidate| plan_one(ctx, candidate, mode)).collect();
    items.extend(
        found.waiting.iter().map(|path| PlannedItem::new(path, "wait: a temporary file of its name is being written")),
    );
    items.extend(found.unhandled.iter().map(|path| PlannedItem::new(path, "not handled")));
    items.extend(found.units.iter().map(|(unit, _)| {
        PlannedItem::new(&unit.playlist, if unit.ready.is_ready() { "deliver as a unit" } else { "wait: a live unit" })
    }));
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(RunPlan { items, problems: found.problems })
}

fn plan_one(ctx: &Discovering, candidate: Candidate, mode: Mode) -> PlannedItem {
    let path = candidate.path.clone();
    match ctx.catalog.knows(&path, &candidate.fingerprint) {
        Err(error) => return PlannedItem::new(&path, format!("unknown: {}", chain(&error))),
        Ok(KnownFile::Unknown | KnownFile::Failed { .. } | KnownFile::UnderWay) => {}
        Ok(KnownFile::Quarantined) => return PlannedItem::new(&path, "stays quarantined"),
        Ok(KnownFile::LeftOut) => return PlannedItem::new(&path, "stays left out"),
        Ok(_) => return PlannedItem::new(&path, "already finished"),
    }
    match ctx.config.settler().settle(candidate, None, mode, ctx.clock.now_ms()) {
        SettleOutcome::Settled(settled) => plan_settled(ctx, &settled),
        SettleOutcome::Wait { reason, .. } => PlannedItem::new(&path, format!("wait: {reason}")),
        SettleOutcome::Changed(_) => PlannedItem::new(&path, "wait: it is changing"),
        SettleOutcome::InUnit => PlannedItem::new(&path, "part of a unit"),
        SettleOutcome::Gone => PlannedItem::new(&path, "gone"),
    }
}

/// Nothing is promised in a plan: a name is free unless a VoD has it.
fn is_free(ctx: &Discovering, own: &Candidate, path: &Path) -> bool {
    let is_itself = path == own.path && ctx.catalog.is_file_of_vod(path, &own.fingerprint).unwrap_or(false);
    is_itself || !ctx.catalog.is_name_taken(path).unwrap_or(true)
}

fn plan_settled(ctx: &Discovering, settled: &Settled) -> PlannedItem {
    let path = settled.path();
    let settings = ctx.config.settings();
    let inspection = match finish::inspect(path) {
        Ok(inspection) => inspection,
        Err(error) => return PlannedItem::new(path, format!("fail: {}", chain(&error))),
    };
    let plan = finish::decide(&inspection, &settings.finish_of(settled.candidate()));
    let to = (!matches!(plan.action, FinishAction::Quarantine(_))).then(|| {
        let start =
            finish::start_of(settled.candidate(), inspection.created_ms(), inspection.declared_ms().unwrap_or(0));
        let is_kept = plan.action == FinishAction::Keep;
        let may_be_own = is_kept || !inspection.defects.iter().any(Defect::leaves_something_out);
        let name_request = NameRequest { extension: plan.container.extension(), start_ms: start.0, may_be_own };
        let suffixes = &settings.watch.temporary_suffixes;
        let mut free = finish::free_paths(settled.candidate(), &name_request, &settings.finish, suffixes);
        free.find(|path| is_free(ctx, settled.candidate(), path))
    });
    PlannedItem {
        path: path.to_owned(),
        plan: plan.action.name().to_owned(),
        to: to.flatten(),
        defects: inspection.defects,
    }
}
